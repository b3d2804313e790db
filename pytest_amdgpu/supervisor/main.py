"""The supervisor's process: takes messages, lets the watch do what is due, and ends when pytest has.

It begins with a socket that listens, made by pytest, so that its address is valid before the process runs.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_amdgpu.supervisor import process_state
from pytest_amdgpu.supervisor.protocol import LIMIT, MAIN, Limit, Said, Told, decode, encode, shortened
from pytest_amdgpu.supervisor.signals import INTERRUPT, STACKS
from pytest_amdgpu.supervisor.watch import Watch, Watched

ORPHAN_PATIENCE = 3.0
"""Seconds that workers have to end by themselves when the controller is gone."""
QUEUES = "queues:"
"""Title of the last section of the evidence."""
_HEARTBEAT = 1.0
"""Seconds between two looks at whether the controller is there."""
_LOG_LINES = 50
_FIRST_CONNECTION = 30.0
"""Seconds within which pytest must say who it is."""
_EVIDENCE_LIMIT = 24000
"""Characters of evidence, which mostly fit into a packet."""


class Peer:
    """A process of pytest, as it is connected."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.name = ""
        """Of the worker that it is; empty if it runs no tests."""
        self.stacks = ""
        self.started = 0
        self.ended = False

    def tell(self, *message: Any) -> None:
        """Send, if the other side still reads; the last part is shortened until all fits."""
        while True:
            try:
                data = encode(*message)
                break
            except ValueError:
                message = (*message[:-1], message[-1][: len(message[-1]) // 2])
        with contextlib.suppress(OSError):
            self.connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class Supervisor:
    """Takes messages and acts; `Actions` of the watch."""

    def __init__(self, listener: socket.socket, send_signal: Callable[[int, int], None] = os.kill) -> None:
        self._send_signal = send_signal
        self._watch = Watch(time.monotonic, self)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._listener = listener
        self._peers: list[Peer] = []
        self._looks: dict[str, Any] = {}
        self._stuck_looks: list[Any] = []
        self._evidence: dict[str, str] = {}
        self._quarantine: dict[str, str] = {}
        self._controller: Peer | None = None
        self._controller_pid = 0
        self._controller_started = 0
        self._left_at = 0.0
        """When the controller's connection ended, until that is acted upon."""
        self._verdict: str | None = None
        self._facts: dict[str, Any] = {}
        self._portions: list[Any] = []
        self._troubles: list[str] = []
        self._over = False
        self._ends = time.monotonic() + _FIRST_CONNECTION

    # The loop.
    # --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until pytest has ended, in order or not."""
        while not self._is_done():
            wait = self._watch.poll()
            if self._is_done():
                break
            self._stuck_looks = [look for look in self._stuck_looks if not look.reap()]
            wait = _HEARTBEAT if wait is None else min(wait, _HEARTBEAT)
            events = self._selector.select(0.0 if self._left_at else wait)
            for key, _events in events:
                key.data(key.fileobj)
            self._mind_controller(quiet=not events)

    def _is_done(self) -> bool:
        if self._over:
            return not any(process.due is not None for process in self._watch)
        return self._controller is None and time.monotonic() > self._ends

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        # struct ucred of socket(7): pid, uid, gid.
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if struct.unpack("iII", credentials)[1] != os.getuid():
            connection.close()
            return
        peer = Peer(connection)
        self._peers.append(peer)
        self._selector.register(connection, selectors.EVENT_READ, lambda _: self._receive(peer))

    def _receive(self, peer: Peer) -> None:
        try:
            data = peer.connection.recv(LIMIT, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._disconnected(peer)
            return
        kind, *rest = decode(data)
        self._take(peer, kind, rest)

    def _disconnected(self, peer: Peer) -> None:
        self._selector.unregister(peer.connection)
        peer.connection.close()
        self._peers.remove(peer)
        if peer is self._controller:
            self._left_at = time.monotonic()
        elif peer.name != MAIN and peer.name in self._watch and self._watch[peer.name].step == 0:
            # One that is being ended is watched until it is dead, and the controller speaks for itself.
            self._watch.remove(peer.name)

    def _mind_controller(self, *, quiet: bool) -> None:
        """Notice that the controller is gone, when all is read that was said before.

        It may have died while a child of it keeps its connection open.
        """
        controller = self._controller
        if controller is None:
            return
        if not self._left_at:
            if quiet and not process_state.is_alive(self._controller_pid, self._controller_started):
                self._disconnected(controller)
        elif quiet or time.monotonic() > self._left_at + _HEARTBEAT:
            self._left_at = 0.0
            self._controller_is_gone(controller.ended)

    # What processes say.
    # --------------------------------------------------------------------------------------------------------

    def _take(self, peer: Peer, kind: str, rest: list[Any]) -> None:
        if kind == Said.CONTROLLER:
            self._controller = peer
            self._controller_pid, self._verdict, self._facts = rest
            self._controller_started = process_state.started(self._controller_pid)
        elif kind == Said.WORKER:
            peer.name, pid, peer.stacks = rest
            self._watch.add(peer.name, pid)
            peer.started = process_state.started(pid)
            for device, reason in self._quarantine.items():
                peer.tell(Told.QUARANTINE, device, reason)
            if self._over:
                self._watch.end(peer.name, ORPHAN_PATIENCE)
        elif kind == Said.END:
            peer.ended = True
        elif kind in (Said.EXPECT, Said.RECORD):
            self._portions.append((kind, rest))
        elif peer.name in self._watch:
            self._take_of_worker(peer, self._watch[peer.name], kind, rest)

    def _take_of_worker(self, peer: Peer, process: Watched, kind: str, rest: list[Any]) -> None:
        if kind in (Said.PHASE, Said.IDLE):
            pid = rest[0]
            if pid != process.pid:
                # The run goes on in a child (devices/renewal.py).
                process.pid, peer.started = pid, process_state.started(pid)
                process.queues.clear()
        if kind == Said.PHASE:
            _, test, phase, limit, devices = rest
            if test != process.test:
                process.log.clear()
            self._watch.begin(process.name, test, phase, Limit(*limit) if limit else None, tuple(devices))
        elif kind == Said.IDLE:
            self._watch.idle(process.name)
        elif kind == Said.CAUGHT:
            self._watch.caught(process.name)
        elif kind == Said.LATE:
            self._watch.late(process.name)
        elif kind == Said.QUEUE:
            process.queues[rest[0], rest[1]] = rest
        elif kind == Said.QUEUE_GONE:
            process.queues.pop((rest[0], rest[1]), None)
        elif kind == Said.LOG:
            process.log.append(rest[0])
            del process.log[:-_LOG_LINES]

    # What is done to a process that is late.
    # --------------------------------------------------------------------------------------------------------

    def look(self, process: Watched) -> None:
        """Gather evidence."""
        self._evidence.pop(process.name, None)
        self._look(process, "")

    def interrupt(self, process: Watched) -> None:
        """Raise an exception in the test, if Python runs; a stopped process is let go on for that."""
        peer = self._peer(process)
        evidence = self._end_look(process)
        if peer is not None:
            peer.tell(Told.EVIDENCE, process.test, evidence)
        self._signal(process, INTERRUPT)
        if process_state.state(process.pid) == "T":
            # The interrupt waits there, so that it comes before whatever the process goes on with.
            self._signal(process, signal.SIGCONT)

    def look_closer(self, process: Watched) -> None:
        """Let faulthandler write the stack, which needs no GIL, and gather evidence.

        The controller is told what will come, for a process in such a state may die of anything.
        """
        self._tell_killing(process)
        self._signal(process, STACKS)
        peer = self._peer(process)
        self._look(process, peer.stacks if peer else "")

    def terminate(self, process: Watched) -> None:
        """Tell the controller and send SIGTERM."""
        self._end_look(process)
        if process.test:
            self._condemn(process)
        self._signal(process, signal.SIGTERM)
        # A process that is stopped takes no signal but this and SIGKILL.
        self._signal(process, signal.SIGCONT)

    def kill(self, process: Watched) -> None:
        """Send SIGKILL."""
        self._signal(process, signal.SIGKILL)

    def give_up(self, process: Watched) -> None:
        """Tell the controller not to wait for the process; if it is that itself, speak for it."""
        self._trouble(f"process {process.pid} ({process.name}) was killed and does not die")
        if process.name == MAIN:
            self._speak()
        elif self._controller is not None:
            self._controller.tell(Told.LOST, process.name)

    def is_alive(self, process: Watched) -> bool:
        """Whether it is there."""
        peer = self._peer(process)
        since = peer.started if peer is not None else process_state.started(process.pid)
        return process_state.is_alive(process.pid, since)

    def is_suspended(self, process: Watched) -> bool:
        """Whether process and controller are both stopped, as Ctrl-Z does."""
        pids = {process.pid, self._controller_pid}
        return len(pids) == 2 and all(process_state.state(pid) == "T" for pid in pids)

    def _look(self, process: Watched, stacks: str) -> None:
        from pytest_amdgpu.supervisor.evidence import Look, sections

        try:
            look = Look(lambda: sections(process, stacks))
        except OSError as error:
            self._evidence[process.name] = f"no evidence could be gathered: {error}"
            self._watch.seen(process.name)
            return
        self._looks[process.name] = look
        self._selector.register(look.fd, selectors.EVENT_READ, lambda _: self._read_look(process, look))

    def _read_look(self, process: Watched, look: Any) -> None:
        if not look.read():
            self._end_look(process)
            self._watch.seen(process.name)

    def _end_look(self, process: Watched) -> str:
        """Return what was seen of a process at last."""
        look = self._looks.pop(process.name, None)
        if look is not None:
            look.read()
            self._selector.unregister(look.fd)
            look.close()
            self._stuck_looks.append(look)
            before, seen = self._evidence.get(process.name, ""), look.text.rstrip()
            if QUEUES in before and QUEUES not in seen:
                # There was no time for all of it again.
                seen = f"{seen}\n{before[before.index(QUEUES) :]}"
            self._evidence[process.name] = shortened(seen, _EVIDENCE_LIMIT)
        return self._evidence.get(process.name, "")

    def _tell_killing(self, process: Watched) -> str:
        """Tell the controller what is done to a process, and why; return that as text."""
        seconds = process.limit.seconds if process.limit else 0.0
        text = (
            f"Timeout: {process.phase} of {process.test} did not end within {seconds:g} s, nor when"
            f" it was interrupted: process {process.pid} was killed"
        )
        if process.test and self._controller is not None:
            evidence = self._evidence.get(process.name, "")
            message = (process.name, process.test, process.phase, process.devices, text, evidence)
            self._controller.tell(Told.KILLING, *message)
        return text

    def _condemn(self, process: Watched) -> None:
        """Tell everybody that a process is killed: its devices are used no more."""
        text = self._tell_killing(process)
        reason = f"{process.test} did not end and could not be interrupted"
        for device in process.devices:
            if self._quarantine.setdefault(device, reason) == reason:
                for peer in self._peers:
                    peer.tell(Told.QUARANTINE, device, reason)
        if process.name == MAIN:
            self._portions.append(("timeout", [process.test, text]))
            self._trouble(f"{text}, which ran all tests")
            sys.stderr.write(f"\namdgpu: {text}\n{self._evidence.get(process.name, '')}\n")

    def _signal(self, process: Watched, number: int) -> None:
        if self.is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                self._send_signal(process.pid, number)

    def _peer(self, process: Watched) -> Peer | None:
        return next((peer for peer in self._peers if peer.name == process.name), None)

    # The end.
    # --------------------------------------------------------------------------------------------------------

    def _trouble(self, text: str) -> None:
        if text not in self._troubles:
            self._troubles.append(text)

    def _controller_is_gone(self, in_order: bool) -> None:
        self._controller = None
        if not in_order and not self._over:
            if not self._troubles:
                self._trouble(f"pytest's process {self._controller_pid} died before the end of the run")
            self._speak()
        self._over = True
        for process in self._watch:
            if process.name == MAIN:
                self._watch.remove(process.name)
            elif not in_order:
                self._watch.end(process.name, ORPHAN_PATIENCE)

    def _speak(self) -> None:
        """Write the verdict that pytest did not come to write."""
        from pytest_amdgpu.results.record import Outcome, Trust
        from pytest_amdgpu.supervisor.last_word import Results

        self._over = True
        results = Results()
        for kind, rest in self._portions:
            if kind == Said.EXPECT:
                results.devices = tuple(rest[0])
                results.expect(rest[1])
            elif kind == Said.RECORD:
                results.take(rest[0])
            else:
                results.was_running(rest[0], Outcome.TIMEOUT, Trust.CLEAN, rest[1])
        for process in self._watch:
            if process.name == MAIN and process.test:
                text = f"pytest's process died in {process.phase} of it"
                results.was_running(process.test, Outcome.CRASH, Trust.INFRA, text)
        judgment = results.judge(self._troubles)
        lines = [f"\namdgpu verdict: {judgment.verdict.value}", *judgment.reasons[:20]]
        if self._verdict is not None:
            try:
                results.write(Path(self._verdict), self._facts, judgment)
            except OSError as error:
                lines.append(f"amdgpu: the verdict could not be written: {error}")
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()


def main() -> None:
    """Supervise over the socket whose descriptor is the first argument."""
    # It shares no terminal, but may share a group with who sends these to all.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    Supervisor(socket.socket(fileno=int(sys.argv[1]))).run()
