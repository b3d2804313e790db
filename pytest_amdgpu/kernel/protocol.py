"""What the driver asks of a kernel: the one boundary between driver and hardware or software GPU.

`LinuxKernel` (kernel/linux.py) passes each call to the operating system; `EmulatedKernel`
(emulator/kernel.py) answers it from software GPUs; `TracingKernel` (kernel/trace.py) records the
calls of either. Nothing above this boundary asks which one it has, except to print it.
"""

from __future__ import annotations

import ctypes
import errno as errno_module
import os
from collections.abc import Sequence
from typing import Protocol, TypeAlias

Argument: TypeAlias = ctypes.Structure | ctypes.Union | ctypes.Array[ctypes.c_char]
"""The argument of an ioctl, read and written in place."""


class KernelError(OSError):
    """A call at the kernel boundary failed.

    Carries `errno` and its name, the name of the call (for an ioctl the name of its request, such as
    `AMDKFD_IOC_CREATE_QUEUE`) and its arguments, decoded to text. The message holds all three.
    """

    def __init__(self, errno: int, call: str, arguments: str) -> None:
        name = errno_module.errorcode.get(errno, "ENOTSUPP" if errno == 524 else str(errno))
        text = "operation not supported" if errno == 524 else os.strerror(errno)
        super().__init__(errno, f"{call}({arguments}) failed: {name} ({text})")
        self.errno_name = name
        self.call = call
        self.arguments = arguments


class Kernel(Protocol):
    """System calls on device nodes, reads of sysfs, and the store to a doorbell.

    Every method raises `KernelError` where the system call fails.
    """

    name: str
    """`hardware` or `software`, to be printed and not to be branched on."""

    def open(self, path: str, flags: int) -> int:
        """Open a device node (`/dev/kfd`, `/dev/dri/renderD128`) and return its descriptor."""

    def close(self, fd: int) -> None:
        """Close a descriptor."""

    def read(self, fd: int, size: int) -> bytes:
        """Read at most `size` bytes from a descriptor; EAGAIN where it would block."""

    def write(self, fd: int, data: bytes) -> int:
        """Write to a descriptor and return how many bytes were taken."""

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        """Do an ioctl; `argument` is read and written in place, also when the call fails."""

    def mmap(self, address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        """Map memory as mmap(2) does (`fd` -1 for anonymous memory) and return the CPU address."""

    def munmap(self, address: int, length: int) -> None:
        """Unmap memory."""

    def poll(self, fds: Sequence[tuple[int, int]], timeout: float | None) -> list[tuple[int, int]]:
        """Wait for events on descriptors: pairs of descriptor and event mask in, ready pairs out.

        `timeout` is in seconds; None waits for ever.
        """

    def listdir(self, path: str) -> list[str]:
        """List a directory of sysfs (names in no particular order)."""

    def read_text(self, path: str) -> str:
        """Read a file of sysfs."""

    def store_doorbell(self, address: int, value: int) -> None:
        """Store 64 bits to a mapped doorbell, after all earlier stores of this thread."""
