"""Keeps a process from dying: `python tracer.py PID`, until this process ends.

A process that is traced with PTRACE_O_TRACEEXIT stops on its way out, whatever ends it, SIGKILL included,
with all its files and sockets still open (ptrace(2)). To others that is a process in uninterruptible sleep.
Numbers: linux/ptrace.h. Prints a line when it has hold of the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PTRACE_CONT = 7
PTRACE_SEIZE = 0x4206
PTRACE_LISTEN = 0x4208
PTRACE_O_TRACEEXIT = 1 << 6
PTRACE_EVENT_EXIT = 6
PTRACE_EVENT_STOP = 128

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, data: int) -> None:
    if _LIBC.ptrace(request, pid, None, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def hold(pid: int) -> None:
    """Trace the process: pass on its signals, and leave it alone where it exits."""
    _ptrace(PTRACE_SEIZE, pid, PTRACE_O_TRACEEXIT)
    print("holds", flush=True)
    while True:
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            return
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == PTRACE_EVENT_EXIT:
            signal.pause()
        elif event == PTRACE_EVENT_STOP and number != signal.SIGTRAP:
            # Stopped by job control, until a SIGCONT comes.
            _ptrace(PTRACE_LISTEN, pid, 0)
        else:
            _ptrace(PTRACE_CONT, pid, 0 if event else number)


if __name__ == "__main__":
    hold(int(sys.argv[1]))
