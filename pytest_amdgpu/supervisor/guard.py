"""The process that a gate's shell waits for. It runs no test, and exits as the verdict says.

Pytest's process can be left in many ways, C's `_exit(0)` and signals among them, by a test, by what it tests
or by a plugin. So pytest runs in a child, and its status counts only if the supervisor has heard the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import traceback
import warnings
from subprocess import Popen
from typing import Any

from pytest_amdgpu.results.verdict import EXIT_STATUS, Verdict
from pytest_amdgpu.supervisor.client import Connection, SupervisorGoneError, start
from pytest_amdgpu.supervisor.protocol import Said, Told

_PASSED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_SI_KERNEL = 0x80
"""`si_code` of what a terminal sends, which goes to pytest as well (include/uapi/asm-generic/siginfo.h)."""
_GLANCE = 1.0
"""Seconds between two looks at whether pytest is given up, which wakes nobody."""
_LAST_WORD = 60.0
"""Seconds that the supervisor gets to end what is left of the run, and to write the verdict."""


def run_in_child(start_patience: float | None, exit_patience: float | None) -> str:
    """Return in a new child of this process: the address of a supervisor. The process itself never returns.

    The child has so many seconds until it says something to the supervisor, and from the end of the run to
    its own. Called while there is one thread. Raises OSError, `SupervisorGoneError`.
    """
    address, supervisor = start()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # Children would end without a status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    with warnings.catch_warnings():
        # Python warns of threads of libraries, too, which know what a fork is.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        supervisor.returncode = 0  # It is no child of this process.
        return address
    status = EXIT_STATUS[Verdict.INFRASTRUCTURE]
    try:
        guard = Guard(child, address, supervisor)
        guard.say(Said.GUARD, os.getpid(), child, start_patience, exit_patience)
        status = guard.wait()
    except BaseException:
        traceback.print_exc()
        os.kill(child, signal.SIGTERM)
    finally:
        # What is registered to be done at the end is pytest's to do.
        os._exit(status)


class Guard:
    """Waits for a child, passes signals on to it, and asks the supervisor what has become of the run."""

    def __init__(self, child: int, address: str, supervisor: Popen[bytes]) -> None:
        """Raises `SupervisorGoneError`."""
        self._child = child
        self._supervisor = supervisor
        self._connection = Connection(address)
        self._interrupts = 0
        self._word: int | None = None
        self._heard = False

    def say(self, *message: Any) -> None:
        """Tell the supervisor something, if it is there."""
        with contextlib.suppress(SupervisorGoneError):
            self._connection.say(*message)

    def wait(self) -> int:
        """Return the status to exit with, as soon as the child has ended or is given up."""
        while True:
            signalled = signal.sigtimedwait({*_PASSED_ON, signal.SIGCHLD}, _GLANCE)
            if signalled is not None and signalled.si_signo != signal.SIGCHLD:
                self._pass_on(signalled)
            pid, status = os.waitpid(self._child, os.WNOHANG)
            if pid:
                return self._judge(os.waitstatus_to_exitcode(status))
            if self._listen():
                return self._judge(None)

    def _pass_on(self, signalled: signal.struct_siginfo) -> None:
        if signalled.si_signo == signal.SIGINT:
            self._interrupts += 1
            self.say(Said.STOP, self._interrupts)
        if signalled.si_code != _SI_KERNEL:
            os.kill(self._child, signalled.si_signo)

    def _listen(self) -> bool:
        """Whether the supervisor has said its last word; one that is gone says none."""
        with contextlib.suppress(SupervisorGoneError):
            for kind, *rest in self._connection.told():
                if kind == Told.STATUS:
                    self._word, self._heard = rest[0], True
        return self._heard

    def _judge(self, ended: int | None) -> int:
        """Return the status to exit with; `ended` is the child's exit code, None if it is given up."""
        if ended is None:
            # It may still be one that has only closed what it had open.
            os.kill(self._child, signal.SIGKILL)
        else:
            self.say(Said.ENDED, ended)
            end = time.monotonic() + _LAST_WORD
            while not self._listen() and self._supervisor.poll() is None and time.monotonic() < end:
                select.select([self._connection.socket], [], [], _GLANCE)
            # It may have spoken and died since.
            self._listen()
        status, why = exit_status(ended, self._word, heard=self._heard)
        if why:
            print(f"amdgpu: {why}", file=sys.stderr, flush=True)
        return status


def exit_status(ended: int | None, word: int | None, *, heard: bool) -> tuple[int, str]:
    """Return the status of a run, and what to say of it.

    `ended` is pytest's exit code, negative for a signal, None if it has not ended. `word` is the status of
    the verdict, None if there is no verdict, or if the supervisor was not `heard`.
    """
    if word:
        return word, ""
    # What cannot be used has no verdict, and without a supervisor pytest's process speaks for itself.
    known = [status for verdict, status in EXIT_STATUS.items() if verdict is Verdict.USAGE or not heard]
    if (ended == 0 and word == 0) or (ended in known and ended):
        return ended, ""
    how = "does not end" if ended is None else f"ended with {ended}"
    why = f"pytest's process {how}, and there is no verdict that says so"
    return EXIT_STATUS[Verdict.INFRASTRUCTURE], why
