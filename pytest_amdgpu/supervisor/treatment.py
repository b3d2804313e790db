"""What is done to a process that is late; `watch.py` decides when."""

from __future__ import annotations

import contextlib
import math
import selectors
import signal
import sys
import time
from collections.abc import Callable

from pytest_amdgpu.supervisor import process_state
from pytest_amdgpu.supervisor.account import Account
from pytest_amdgpu.supervisor.looks import Looks
from pytest_amdgpu.supervisor.peers import Peers
from pytest_amdgpu.supervisor.protocol import MAIN, THE_RUN, Told
from pytest_amdgpu.supervisor.signals import INTERRUPT, STACKS
from pytest_amdgpu.supervisor.watch import Watch, Watched


class Treatment:
    """The `Actions` of the watch."""

    def __init__(
        self,
        peers: Peers,
        account: Account,
        selector: selectors.BaseSelector,
        send_signal: Callable[[int, int], None],
    ) -> None:
        self.watch = Watch(time.monotonic, self)
        self.quarantine: dict[str, str] = {}
        """Why a device is used no more, by its id."""
        self._peers = peers
        self._account = account
        self._looks = Looks(selector, self.watch.seen)
        self._send_signal = send_signal

    def look(self, process: Watched) -> None:
        """Gather evidence."""
        self._looks.forget(process)
        self._looks.begin(process, "")

    def interrupt(self, process: Watched) -> None:
        """Raise an exception in the test, if Python runs; a stopped process is let go on for that."""
        peer = self._peers.of(process)
        evidence = self._looks.end(process)
        if peer is not None:
            peer.tell(Told.EVIDENCE, process.test, evidence)
        self._signal(process, signal.SIGINT if process.stops else INTERRUPT)
        if process_state.state(process.pid) == "T":
            # The interrupt waits there, so that it comes before whatever the process goes on with.
            self._signal(process, signal.SIGCONT)

    def look_closer(self, process: Watched) -> None:
        """Let faulthandler write the stack, which needs no GIL, and gather evidence.

        The controller is told what will come, for a process in such a state may die of anything.
        """
        self._tell_killing(process)
        self._signal(process, STACKS)
        peer = self._peers.of(process)
        self._looks.begin(process, peer.stacks if peer else "")

    def terminate(self, process: Watched) -> None:
        """Tell the controller and send SIGTERM."""
        self._looks.end(process)
        if process.test and process.limit is not None:
            self._condemn(process)
        elif process.stops:
            self._tell_interrupted(process)
        # Else it is left of a run that is over.
        self._signal(process, signal.SIGTERM)
        # A process that is stopped takes no signal but this and SIGKILL.
        self._signal(process, signal.SIGCONT)

    def kill(self, process: Watched) -> None:
        """Send SIGKILL."""
        self._signal(process, signal.SIGKILL)

    def give_up(self, process: Watched) -> None:
        """Tell the controller not to wait for the process, and everybody to use its devices no more.

        If it is the controller itself, speak for it.
        """
        self._account.trouble(f"process {process.pid} ({process.name}) was killed and does not die")
        if process.name == MAIN:
            self._account.speak(self.watch)
        else:
            reason = f"{process.test} did not end, and its process does not die"
            for device in process.devices:
                if self.quarantine.setdefault(device, reason) == reason:
                    for peer in self._peers:
                        peer.tell(Told.QUARANTINE, device, reason)
            self._peers.tell_controller(Told.LOST, process.name)

    def is_alive(self, process: Watched) -> bool:
        """Whether it is there."""
        peer = self._peers.of(process)
        since = peer.started if peer is not None else process_state.started(process.pid)
        return process_state.is_alive(process.pid, since)

    def last_beat(self, process: Watched) -> float:
        """Read the pulse; a process that has none yet went on when its phase began."""
        peer = self._peers.of(process)
        if peer is None or peer.pulse is None:
            return process.begun
        return math.inf if peer.pulse.rests else peer.pulse.beat

    def is_suspended(self, process: Watched) -> bool:
        """Whether the process and the one that the shell knows are both stopped, as Ctrl-Z does."""
        pids = {process.pid, self._peers.guard_pid or self._peers.controller_pid}
        return len(pids) == 2 and all(process_state.state(pid) == "T" for pid in pids)

    def reap(self) -> None:
        """Take note of children that have died."""
        self._looks.reap()

    def _tell_killing(self, process: Watched) -> str:
        """Tell the controller what is done to a process, and why; return that as text."""
        when = (
            "when the run was"
            if process.limit is None
            else f"within {process.limit.seconds:g} s, nor when it was"
        )
        text = (
            f"{'Timeout' if process.limit else 'Interrupted'}: {process.phase} of {process.test} did not end"
            f" {when} interrupted: process {process.pid} was killed"
        )
        if process.test:
            evidence = self._looks.text(process)
            message = (process.name, process.test, process.phase, process.devices, text, evidence)
            self._peers.tell_controller(Told.KILLING, *message)
        return text

    def _condemn(self, process: Watched) -> None:
        """Tell that a process is killed."""
        text = self._tell_killing(process)
        if process.name == MAIN:
            if process.test != THE_RUN:
                self._account.timeout(process.test, text)
            self._trouble(process, text)

    def _tell_interrupted(self, process: Watched) -> None:
        """Tell everybody that a process is killed because somebody ends the run: no device is to blame."""
        text = self._tell_killing(process)
        self._account.interrupted(process, text)
        if process.name == MAIN:
            self._trouble(process, text)

    def _trouble(self, process: Watched, text: str) -> None:
        self._account.trouble(text)
        sys.stderr.write(f"\namdgpu: {text}\n{self._looks.text(process)}\n")

    def _signal(self, process: Watched, number: int) -> None:
        if self.is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                self._send_signal(process.pid, number)
