"""A process of pytest as the supervisor's other side: says what it is at, and takes the interrupt."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic  # tests put other clocks into the module
from types import FrameType
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.supervisor import protocol
from pytest_amdgpu.supervisor.protocol import Pulse, Said
from pytest_amdgpu.supervisor.signals import INTERRUPT, STACKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_amdgpu.supervisor.protocol import Limit, QueuePlace

_PR_SET_PTRACER = 0x59616D61
"""prctl(2): who may read the process's memory where Yama restricts it (include/uapi/linux/prctl.h)."""
_ROOT = str(Path(__file__).parent.parent.parent)
_PROGRAM = "import sys; sys.path.append({root!r}); from pytest_amdgpu.supervisor.main import main; main()"


class SupervisorGoneError(RuntimeError):
    """The supervisor died or reads nothing: whoever runs on is not supervised."""


def start() -> tuple[str, subprocess.Popen[bytes]]:
    """Start a supervisor in a session of its own; return its address, to which one can connect at once.

    It writes to this process's stderr. Raises OSError.
    """
    listener, address = protocol.listen()
    with listener:
        program = _PROGRAM.format(root=_ROOT)
        process = subprocess.Popen(
            # Neither the environment nor site has a say: it starts quickly, and as it did yesterday.
            [sys.executable, "-I", "-S", "-c", program, str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )
    return address, process


class Connection:
    """A connection to a supervisor. Any thread may say something."""

    def __init__(self, address: str) -> None:
        """Raises `SupervisorGoneError`."""
        try:
            self.socket = protocol.connect(address)
        except OSError as error:
            raise SupervisorGoneError(f"there is no supervisor at {address}: {error}") from error

    def say(self, *message: Any) -> None:
        """Send a message; raises `SupervisorGoneError`."""
        try:
            self.socket.send(protocol.encode(*message), socket.MSG_NOSIGNAL)
        except OSError as error:
            raise SupervisorGoneError(f"the supervisor cannot be reached: {error}") from error

    def told(self) -> Iterator[list[Any]]:
        """Yield the messages that have come; raises `SupervisorGoneError` behind the last one of all."""
        while True:
            try:
                data = self.socket.recv(protocol.LIMIT, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                raise SupervisorGoneError(f"the supervisor cannot be reached: {error}") from error
            if not data:
                raise SupervisorGoneError("the supervisor died")
            yield protocol.decode(data)

    def close(self, status: int | None = None) -> None:
        """End the connection in order; the controller says the exit status of its verdict."""
        # One that is gone need not know it.
        with contextlib.suppress(SupervisorGoneError):
            self.say(Said.END, status)
        # A thread that waits for it in select(2) keeps it open, and those that wait for its end waiting.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Client(Connection):
    """A process that is watched: one that runs tests, or the controller. Made in the main thread.

    It goes on without a supervisor that is gone: the controller knows that, too.
    """

    def __init__(self, address: str, name: str, patience: float, fail: Callable[[bool], None]) -> None:
        """`fail` raises what ends a phase that is late, or (False) what takes longer than `patience` in none.

        Raises `SupervisorGoneError`.
        """
        super().__init__(address)
        self._gone = False
        self._patience = patience
        self._fail = fail
        self._deadline: float | None = None
        pulse = os.memfd_create("amdgpu-pulse")
        os.truncate(pulse, Pulse.SIZE)
        self._pulse = Pulse(pulse)
        self._stacks = os.fdopen(os.memfd_create("amdgpu-stacks"), "w")
        # Only the main thread, which takes the signal: the stack of one that runs meanwhile cannot be walked.
        faulthandler.register(STACKS, self._stacks, all_threads=False, chain=False)
        self._handler = signal.signal(INTERRUPT, self._interrupted)
        # The supervisor is a descendant of who listened for it. Where there is no Yama this is refused, and
        # not needed.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(_listeners_pid(self.socket)), 0, 0, 0)
        pid = os.getpid()
        self._say_with(pulse, Said.WORKER, name, pid, f"/proc/{pid}/fd/{self._stacks.fileno()}")
        os.close(pulse)
        self.idle()

    def say(self, *message: Any) -> None:
        """Send a message, if there is somebody to take it."""
        if not self._gone:
            try:
                super().say(*message)
            except SupervisorGoneError:
                self._gone = True

    def begin(self, test: str, phase: str, limit: Limit | None, devices: Sequence[str] = ()) -> None:
        """Say that a phase begins, and when it must be over."""
        self.beat()
        self.say(Said.PHASE, os.getpid(), protocol.shortened(test), phase, limit, devices)
        self._deadline = limit.end if limit else math.inf

    def over(self) -> bool:
        """Know that a phase is over: no interrupt belongs to it any more. Return whether it was late."""
        late = self._deadline is not None and monotonic() >= self._deadline
        self.beat()
        return late

    def stopping(self, limit: Limit | None) -> None:
        """Say that the run ends because somebody wants it, and when it must have."""
        self.beat()
        self.say(Said.STOPPING, os.getpid(), limit)
        self._deadline = limit.end if limit else math.inf

    def idle(self) -> None:
        """Say that there is no phase, until the next one begins."""
        self.beat()
        self.say(Said.IDLE, os.getpid(), self._limit())

    def beat(self) -> None:
        """Show that the process goes on, in no phase."""
        self._deadline = None
        self.go_on()

    def rest(self) -> None:
        """Be late in nothing, until `go_on` or whatever else is told."""
        self._pulse.rests = True

    def go_on(self) -> None:
        """End a rest."""
        self._pulse.beat = monotonic()
        self._pulse.rests = False

    def _limit(self) -> Limit | None:
        """Return the time of what is done in no phase."""
        if math.isinf(self._patience):
            return None
        return protocol.Limit(self._pulse.beat + self._patience, self._patience)

    def queue(self, place: QueuePlace) -> None:
        """Say where a queue is."""
        self.say(Said.QUEUE, *place)

    def queue_gone(self, name: str, device: str) -> None:
        """Say that a queue is no more."""
        self.say(Said.QUEUE_GONE, name, device)

    def log(self, line: str) -> None:
        """Pass on a line of the kernel's log."""
        self.say(Said.LOG, protocol.shortened(line))

    def smi_events(self, device: str, fd: int) -> None:
        """Pass on a descriptor of the system management events of a device; it stays the caller's, too."""
        self._say_with(fd, Said.SMI, device, "")

    def no_smi_events(self, device: str, why: str) -> None:
        """Say why there is no such descriptor."""
        self.say(Said.SMI, device, protocol.shortened(why))

    def _say_with(self, fd: int, *message: Any) -> None:
        """Send a message and a descriptor, if there is somebody to take them."""
        if not self._gone:
            try:
                socket.send_fds(self.socket, [protocol.encode(*message)], [fd], socket.MSG_NOSIGNAL)
            except OSError:
                self._gone = True

    def close(self, status: int | None = None) -> None:
        """End the connection in order, and take no interrupt any more."""
        self._deadline = None
        self.rest()
        super().close(status)
        faulthandler.unregister(STACKS)
        # Whoever was about to be interrupted must not die of it.
        signal.signal(INTERRUPT, signal.SIG_IGN)
        self._stacks.close()

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        __tracebackhide__ = True
        in_phase = self._deadline is not None
        end = self._pulse.beat + self._patience if self._deadline is None else self._deadline
        if monotonic() < end or self._pulse.rests:
            self.say(Said.LATE, self._limit())
            return
        self.beat()
        self.say(Said.CAUGHT)
        self._fail(in_phase)


def _listeners_pid(connection: socket.socket) -> int:
    # The first member of struct ucred, see SO_PEERCRED in unix(7).
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)
