"""What the kernel says of a process: whether it lives, and what each of its threads waits for.

Files of /proc as in proc(5). `syscall` and memory need the right to trace the process, `stack` a privilege;
what cannot be read is left out.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

from pytest_amdgpu.kernel.describe import ioctl_spec

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in uninterruptible sleep",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "a zombie",
    "X": "dead",
    "I": "idle",
}
_PF_EXITING = 0x4
"""A bit of the flags of a process (include/linux/sched.h)."""
_THREADS = 32
"""Threads that are shown."""
_SYSCALLS = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "poll": 7,
        "mmap": 9,
        "munmap": 11,
        "ioctl": 16,
        "pause": 34,
        "nanosleep": 35,
        "futex": 202,
        "epoll_wait": 232,
        "clock_nanosleep": 230,
        "select": 23,
        "pselect6": 270,
        "ppoll": 271,
        "wait4": 61,
        "recvfrom": 45,
        "recvmsg": 47,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "ppoll": 73,
        "mmap": 222,
        "munmap": 215,
        "ioctl": 29,
        "nanosleep": 101,
        "futex": 98,
        "epoll_pwait": 22,
        "clock_nanosleep": 115,
        "pselect6": 72,
        "wait4": 260,
        "recvfrom": 207,
        "recvmsg": 212,
    },
}
"""Numbers of calls that processes wait in (arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h)."""
_NAMES = {number: name for name, number in _SYSCALLS.get(platform.machine(), {}).items()}
_ON_DESCRIPTORS = {"read", "write", "ioctl", "recvfrom", "recvmsg", "epoll_wait", "epoll_pwait"}


def state(pid: int) -> str:
    """Return the letter of a process's state, "" if there is no such process."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def started(pid: int) -> int:
    """Return when a process started, which tells it from a later one with its number; 0 if there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def is_alive(pid: int, since: int) -> bool:
    """Whether the process that started at `since` is there, and no zombie."""
    fields = _stat(pid)
    return bool(fields) and int(fields[19]) == since and fields[0] not in "ZX"


def is_exiting(pid: int) -> bool:
    """Whether a process is being taken apart by the kernel, or is no more."""
    fields = _stat(pid)
    return not fields or fields[0] in "ZX" or bool(int(fields[6]) & _PF_EXITING)


def describe(pid: int) -> Iterator[str]:
    """Yield lines: the state of a process, one for each thread, then the main one's kernel stack."""
    letter = state(pid)
    if not letter:
        yield f"process {pid} is gone"
        return
    yield f"process {pid} is {_STATES.get(letter, letter)}"
    try:
        threads = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except OSError as error:
        yield f"its threads cannot be listed: {error.strerror}"
        return
    for thread in threads[:_THREADS]:
        yield _describe_thread(pid, thread)
    if len(threads) > _THREADS:
        yield f"and {len(threads) - _THREADS} more threads"
    for thread in threads[:_THREADS]:
        # Only where somebody has to know more: the kernel's stack of most threads is that of a futex.
        if (thread == pid or _thread_state(pid, thread) == "D") and (stack := _read(pid, thread, "stack")):
            yield f"kernel stack of thread {thread}:"
            yield from (f"    {line}" for line in stack.splitlines())


def _describe_thread(pid: int, thread: int) -> str:
    letter = _thread_state(pid, thread) or "?"
    parts = [f"thread {thread} {_read(pid, thread, 'comm')}: {_STATES.get(letter, letter)}"]
    where = _read(pid, thread, "wchan")
    if where not in ("", "0"):
        parts.append(f"in {where}")
    if call := describe_call(pid, _read(pid, thread, "syscall")):
        parts.append(call)
    return ", ".join(parts)


def describe_call(pid: int, text: str) -> str:
    """Name a system call, its descriptor's file and the request of an ioctl."""
    fields = text.split()
    if not fields or not fields[0].isdecimal():
        # It runs, or waits outside of any call.
        return ""
    name = _NAMES.get(int(fields[0]))
    if name is None:
        return f"system call {fields[0]}({', '.join(fields[1:7])})"
    arguments = fields[1:7]
    if name in _ON_DESCRIPTORS:
        descriptor = int(arguments[0], 16)
        try:
            arguments[0] = f"{descriptor} ({os.readlink(f'/proc/{pid}/fd/{descriptor}')})"
        except OSError:
            arguments[0] = str(descriptor)
    if name == "ioctl":
        request = int(arguments[1], 16) & 0xFFFFFFFF
        known = ioctl_spec(request)
        arguments[1:] = [known.name if known else f"{request:#010x}"]
    return f"system call {name}({', '.join(arguments)})"


def _thread_state(pid: int, thread: int) -> str:
    return (_fields(_read(pid, thread, "stat")) or [""])[0]


def _read(pid: int, thread: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/task/{thread}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    return _fields(_read(pid, pid, "stat"))


def _fields(stat: str) -> list[str]:
    """Return what stands behind the name, which can hold blanks and parentheses itself."""
    return stat.rpartition(")")[2].split()
