"""The kernel boundary on real hardware: each call goes to the operating system."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
from collections.abc import Callable, Sequence
from typing import TypeVar

from pytest_amdgpu.abi import ioctl, kfd
from pytest_amdgpu.kernel.describe import describe, describe_mmap, describe_open
from pytest_amdgpu.kernel.protocol import Argument, KernelError

_T = TypeVar("_T")

_MAP_FAILED = ctypes.c_void_p(-1).value

_WAITING_REQUESTS = frozenset({ioctl.decode(kfd.KfdIoctl.WAIT_EVENTS)[2:]})
"""Ioctls (by type and number) that wait for a bounded time.

A signal that interrupts them goes to the caller, who knows how much of its time is left.
"""


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class LinuxKernel:
    """The operating system's own system calls, on whatever GPUs the machine has.

    ctypes' CDLL releases the interpreter's lock during each call, so a wait stops no other thread.
    EINTR is retried, except where the call waits: WAIT_EVENTS and poll raise it as `KernelError`.
    """

    name = "hardware"

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int64,
        )
        self._libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        self._libc.poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)
        self._fence = _store_fence()

    def open(self, path: str, flags: int) -> int:
        """Open a device node."""
        return _wrapped("open", lambda: describe_open(path, flags), lambda: os.open(path, flags))

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        _wrapped("close", lambda: str(fd), lambda: os.close(fd))

    def read(self, fd: int, size: int) -> bytes:
        """Read at most `size` bytes from a descriptor."""
        return _wrapped("read", lambda: f"{fd}, {size} bytes", lambda: os.read(fd, size))

    def write(self, fd: int, data: bytes) -> int:
        """Write to a descriptor."""
        return _wrapped("write", lambda: f"{fd}, {len(data)} bytes", lambda: os.write(fd, data))

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        """Do an ioctl; `argument` is read and written in place, also when the call fails."""
        waiting = ioctl.decode(request)[2:] in _WAITING_REQUESTS
        while (result := self._libc.ioctl(fd, request, ctypes.byref(argument))) < 0:
            number = ctypes.get_errno()
            if number != errno.EINTR or waiting:
                name, text = describe(request, argument)
                raise KernelError(number, name, f"fd={fd}, {text}" if text else f"fd={fd}")
        return int(result)

    def mmap(self, address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        """Map memory and return its address."""
        # An offset is signed for the C library, and doorbells' offsets have the top bit set.
        signed_offset = ctypes.c_int64(offset).value
        result = self._libc.mmap(address, length, protection, flags, fd, signed_offset)
        if result == _MAP_FAILED:
            text = describe_mmap(address, length, protection, flags, fd, offset)
            raise KernelError(ctypes.get_errno(), "mmap", text)
        return int(result or 0)

    def munmap(self, address: int, length: int) -> None:
        """Unmap memory."""
        if self._libc.munmap(address, length):
            raise KernelError(ctypes.get_errno(), "munmap", f"address={address:#x}, length={length:#x}")

    def poll(self, fds: Sequence[tuple[int, int]], timeout: float | None) -> list[tuple[int, int]]:
        """Wait for events on descriptors; `timeout` in seconds, None for ever.

        Raises `KernelError` with EINTR when a signal came first.
        """
        table = (_PollFd * len(fds))(*(_PollFd(fd, events) for fd, events in fds))
        # Rounded up: a wait of less than a millisecond must not become a look.
        milliseconds = -1 if timeout is None else math.ceil(timeout * 1000)
        if self._libc.poll(ctypes.byref(table), len(fds), milliseconds) < 0:
            raise KernelError(ctypes.get_errno(), "poll", f"fds={list(fds)}, timeout={timeout}")
        return [(entry.fd, entry.revents) for entry in table if entry.revents]

    def listdir(self, path: str) -> list[str]:
        """List a directory of sysfs."""
        return _wrapped("listdir", lambda: repr(path), lambda: os.listdir(path))

    def read_text(self, path: str) -> str:
        """Read a file of sysfs."""

        def read() -> str:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()

        return _wrapped("read", lambda: repr(path), read)

    def store_doorbell(self, address: int, value: int) -> None:
        """Store 64 bits to a mapped doorbell, after all earlier stores of this thread."""
        self._fence()
        ctypes.c_uint64.from_address(address).value = value


def _wrapped(call: str, describe_arguments: Callable[[], str], function: Callable[[], _T]) -> _T:
    """Call a function of `os` (which retries EINTR, PEP 475) and raise its failure as `KernelError`."""
    try:
        return function()
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, call, describe_arguments()) from None


def _store_fence() -> Callable[[], object]:
    """Return what orders a doorbell's store after the stores before it on this machine.

    x86-64 needs nothing: doorbells are mapped uncached (amdkfd/kfd_doorbell.c), and a store to uncached
    memory is ordered after earlier stores and drains write-combining buffers.
    """
    if platform.machine() in ("x86_64", "AMD64"):
        return lambda: None
    fence = ctypes.CDLL("libatomic.so.1").atomic_thread_fence
    fence.argtypes, fence.restype = (ctypes.c_int,), None
    sequentially_consistent = 5
    return lambda: fence(sequentially_consistent)
