"""The supervisor's process: takes messages, lets the watch do what is due, and ends when pytest has.

It begins with a socket that listens, made by pytest, so that its address is valid before the process runs.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from pytest_amdgpu.supervisor import process_state
from pytest_amdgpu.supervisor.account import Account
from pytest_amdgpu.supervisor.peers import Peer, Peers
from pytest_amdgpu.supervisor.protocol import LIMIT, MAIN, THE_RUN, Limit, Pulse, Said, Told, decode
from pytest_amdgpu.supervisor.smi_events import Listener
from pytest_amdgpu.supervisor.treatment import Treatment
from pytest_amdgpu.supervisor.watch import Watched

ORPHAN_PATIENCE = 3.0
"""Seconds that workers have to end by themselves when the controller is gone."""
_HEARTBEAT = 1.0
"""Seconds between two looks at whether the controller is there."""
_LOG_LINES = 50
_FIRST_CONNECTION = 30.0
"""Seconds within which pytest must say who it is."""


class Supervisor:
    """Takes messages and passes them on to who acts upon them."""

    def __init__(self, listener: socket.socket, send_signal: Callable[[int, int], None] = os.kill) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._listener = listener
        self._peers = Peers()
        self._account = Account()
        self._treatment = Treatment(self._peers, self._account, self._selector, send_signal)
        self._watch = self._treatment.watch
        self._left_at = 0.0
        """When the controller's connection ended, until that is acted upon."""
        self._ends = time.monotonic() + _FIRST_CONNECTION
        self._stop_told = True
        """Whether the controller knows what became of the end that somebody wanted of the run."""
        self._exit_patience: float | None = None
        """Seconds that a guarded process has from the end of the run to its own."""
        self._exit_code: int | None = None
        """Of the controller's process, when the guard has said it."""

    # The loop.
    # --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until pytest has ended, in order or not."""
        while not self._is_done():
            wait = self._watch.poll()
            if self._is_done():
                break
            self._treatment.reap()
            wait = _HEARTBEAT if wait is None else min(wait, _HEARTBEAT)
            events = self._selector.select(0.0 if self._left_at else wait)
            for key, _events in events:
                key.data(key.fileobj)
            if not self._stop_told and not self._watch.stops:
                self._stop_told = True
                self._peers.tell_controller(Told.STOPPED)
            self._mind_controller(quiet=not events)
        if self._peers.guard is not None:
            self._peers.guard.tell(Told.STATUS, self._account.status)

    def _is_done(self) -> bool:
        if any(process.due is not None for process in self._watch):
            return False
        if self._peers.guard is not None and not self._account.spoken:
            # What pytest has said of its end must still come true.
            return self._exit_code is not None and self._account.over
        return self._account.over or (self._peers.controller is None and time.monotonic() > self._ends)

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
            data, fds, _, _ = socket.recv_fds(
                peer.connection, LIMIT, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._disconnected(peer)
            return
        kind, *rest = decode(data)
        if kind == Said.SMI and peer.name in self._watch:
            self._listen(peer, rest[0], rest[1], fds)
        else:
            if kind == Said.WORKER and fds:
                peer.pulse = Pulse(fds[0])
            for fd in fds:
                os.close(fd)
            self._take(peer, kind, rest)

    def _disconnected(self, peer: Peer) -> None:
        self._selector.unregister(peer.connection)
        peer.connection.close()
        for device in list(peer.listeners):
            self._listen_no_more(peer, device)
        self._peers.remove(peer)
        if peer is self._peers.controller:
            self._left_at = time.monotonic()
        elif peer is self._peers.guard:
            self._guard_is_gone()
        elif peer.name != MAIN and peer.name in self._watch and self._watch[peer.name].step == 0:
            # One that is being ended is watched until it is dead, and the controller speaks for itself.
            self._watch.remove(peer.name)

    def _mind_controller(self, *, quiet: bool) -> None:
        """Notice that the controller is gone, when all is read that was said before.

        It may have died while a child of it keeps its connection open.
        """
        controller = self._peers.controller
        if controller is None:
            return
        if not self._left_at:
            if quiet and not self._peers.controller_is_alive():
                self._disconnected(controller)
        elif quiet or time.monotonic() > self._left_at + _HEARTBEAT:
            self._left_at = 0.0
            self._controller_is_gone(controller.ended, controller.status)

    # What processes say.
    # --------------------------------------------------------------------------------------------------------

    def _take(self, peer: Peer, kind: str, rest: list[Any]) -> None:
        if kind == Said.CONTROLLER:
            pid, self._account.verdict, self._account.facts = rest
            self._peers.controller, self._peers.controller_pid = peer, pid
            self._peers.controller_started = process_state.started(pid)
        elif kind == Said.WORKER:
            peer.name, pid, peer.stacks = rest
            self._watch.add(peer.name, pid)
            peer.started = process_state.started(pid)
            for device, reason in self._treatment.quarantine.items():
                peer.tell(Told.QUARANTINE, device, reason)
            if self._account.over:
                self._watch.end(peer.name, ORPHAN_PATIENCE)
        elif kind == Said.END:
            peer.ended, peer.status = True, rest[0]
        elif kind == Said.GUARD:
            self._peers.guard = peer
            self._peers.guard_pid, pid, start_patience, self._exit_patience = rest
            if self._peers.controller is None:
                self._watch.add(MAIN, pid)
                self._expect("start", start_patience)
        elif kind == Said.STOP:
            for process in self._watch:
                # A controller has workers to wait for, and need not do it at once when it is asked once.
                if process.name != MAIN or rest[0] > 1 or len(list(self._watch)) == 1:
                    self._watch.stop(process.name, rest[0])
            self._stop_told = False
        elif kind == Said.ENDED:
            self._exit_code = rest[0]
            # All that the process has said before its end is read first.
            self._left_at = self._left_at or time.monotonic()
            self._check_end()
        elif kind == Said.TROUBLE:
            self._account.told.append(rest[0])
        elif kind in (Said.EXPECT, Said.RECORD):
            self._account.take(kind, rest)
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
            self._watch.idle(process.name, Limit(*rest[1]) if rest[1] else None)
        elif kind == Said.STOPPING:
            self._watch.stopping(process.name, Limit(*rest[1]) if rest[1] else None)
        elif kind == Said.CAUGHT:
            self._watch.caught(process.name)
        elif kind == Said.LATE:
            self._watch.late(process.name, Limit(*rest[0]) if rest[0] else None)
        elif kind == Said.QUEUE:
            process.queues[rest[0], rest[1]] = rest
        elif kind == Said.QUEUE_GONE:
            process.queues.pop((rest[0], rest[1]), None)
        elif kind == Said.LOG:
            process.log.append(rest[0])
            del process.log[:-_LOG_LINES]

    # What kernels say of GPUs.
    # --------------------------------------------------------------------------------------------------------

    def _listen(self, peer: Peer, device: str, why: str, fds: list[int]) -> None:
        """Listen to the events of a device, in place of what there was of it before."""
        self._listen_no_more(peer, device)
        unheard = self._watch[peer.name].unheard
        unheard.pop(device, None)
        if not fds:
            unheard[device] = why or "the descriptor has not arrived"
            return
        listener = peer.listeners[device] = Listener(device, fds[0])
        self._selector.register(listener.fd, selectors.EVENT_READ, lambda _: self._hear(peer, listener))

    def _hear(self, peer: Peer, listener: Listener) -> None:
        if peer.listeners.get(listener.device) is not listener:
            # It was replaced while its turn came.
            return
        lines = listener.read()
        if peer.name in self._watch:
            events = self._watch[peer.name].events
            events.extend((time.monotonic(), line) for line in lines)
            del events[:-_LOG_LINES]
        if listener.ended:
            self._listen_no_more(peer, listener.device)

    def _listen_no_more(self, peer: Peer, device: str) -> None:
        listener = peer.listeners.pop(device, None)
        if listener is not None:
            self._selector.unregister(listener.fd)
            listener.close()

    # The end.
    # --------------------------------------------------------------------------------------------------------

    def _expect(self, phase: str, patience: float | None) -> None:
        """Watch that a process of which the supervisor hears nothing else comes to its next step."""
        limit = Limit(time.monotonic() + patience, patience) if patience else None
        self._watch.begin(MAIN, THE_RUN, phase, limit, ())

    def _check_end(self) -> None:
        """Compare what the controller has said at its end with how its process has ended."""
        if self._peers.controller is None and self._exit_code is not None:
            self._watch.remove(MAIN)
            # One that has said nothing at all has left before its run began.
            self._account.over = True
            if not self._account.spoken and self._is_news(self._exit_code):
                self._account.trouble(
                    f"pytest's process ended with {self._exit_code}, and its verdict did not say so"
                )
                self._account.speak(self._watch)

    def _is_news(self, code: int) -> bool:
        """Whether an exit code says something else than pytest has said at the end of its run."""
        from pytest_amdgpu.results.verdict import EXIT_STATUS, Verdict

        if self._account.status is None:
            # What cannot be used has no verdict.
            return self._peers.controller_pid != 0 and code != EXIT_STATUS[Verdict.USAGE]
        return self._account.status == 0 and code != 0

    def _guard_is_gone(self) -> None:
        self._peers.guard = None
        if self._exit_code is None:
            self._account.trouble("the process that waited for pytest died before the end of the run")
            if MAIN in self._watch:
                self._account.died(self._watch[MAIN])
                self._watch.end(MAIN, 0.0)

    def _controller_is_gone(self, in_order: bool, status: int | None) -> None:
        self._peers.controller = None
        if in_order and not self._account.over:
            self._account.status = status
        if not in_order and not self._account.over:
            if not self._account.troubles:
                pid = self._peers.controller_pid
                self._account.trouble(f"pytest's process {pid} died before the end of the run")
            self._account.speak(self._watch)
        self._account.over = True
        for process in self._watch:
            if not in_order and not (process.name == MAIN and process.pid == self._peers.controller_pid):
                self._watch.end(process.name, ORPHAN_PATIENCE)
            elif process.step == 0 or process.name == MAIN:
                self._watch.remove(process.name)
        if in_order and self._peers.guard is not None:
            self._watch.add(MAIN, self._peers.controller_pid)
            self._expect("exit", self._exit_patience)
        self._check_end()


def main() -> None:
    """Supervise over the socket whose descriptor is the first argument."""
    # It shares no terminal, but may share a group with who sends these to all.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    Supervisor(socket.socket(fileno=int(sys.argv[1]))).run()
