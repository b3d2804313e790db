"""The host memory behind software VRAM, GTT and doorbells: one memfd, one mapping of it per allocation.

One sparse file for everything rather than one per buffer object, because a process may have thousands
of buffers but only some thousand descriptors. Offsets are never used twice; what is freed is punched out
of the file, so its pages go back to the host.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

import numpy as np

from pytest_amdgpu.emulator import host
from pytest_amdgpu.emulator.memory import PAGE_SIZE, Bytes


class HostMemory:
    """A range of the arena, mapped for the emulator at `address`; freed with the last reference.

    The numpy views of it count as references, and so do the client's own mappings (`ClientMaps`).
    """

    def __init__(self, address: int, size: int, offset: int) -> None:
        self.address = address
        self.size = size
        self.offset = offset
        """Where the range lies in the arena's file."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "typestr": "|u1", "shape": (self.size,), "data": (self.address, False)}

    def view(self) -> Bytes:
        """Return the bytes, in place."""
        return np.asarray(self)


def _release(pid: int, address: int, size: int) -> None:
    # A forked child shares the file: it must not punch holes into its parent's memory.
    if os.getpid() == pid:
        host.madvise(address, size, host.MADV_REMOVE)
        host.munmap(address, size)


def borrow(address: int, size: int) -> Bytes:
    """Return a view of memory of the client, which must outlive it."""
    return HostMemory(address, size, 0).view()


class Arena:
    """Allocates host memory; thread-safe."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._end = 0
        self._lock = threading.Lock()

    @property
    def fd(self) -> int:
        """The memfd, made when it is first needed."""
        if self._fd is None:
            self._fd = os.memfd_create("software-gpu-memory", os.MFD_CLOEXEC)
        return self._fd

    def allocate(self, size: int) -> HostMemory:
        """Return `size` zeroed bytes (whole pages); OSError if the host refuses."""
        if size <= 0 or size % PAGE_SIZE:
            raise ValueError(f"{size} bytes are not whole pages")
        with self._lock:
            offset = self._end
            fd = self.fd
            os.ftruncate(fd, offset + size)
            self._end = offset + size
        address = host.mmap(0, size, host.PROT_READ | host.PROT_WRITE, host.MAP_SHARED, fd, offset)
        memory = HostMemory(address, size, offset)
        # At exit the pages vanish anyway, while threads may still look at them.
        weakref.finalize(memory, _release, os.getpid(), address, size).atexit = False
        return memory

    def resident(self) -> int:
        """Return how many bytes of the host's memory the arena holds: pages that somebody touched."""
        return 0 if self._fd is None else os.fstat(self._fd).st_blocks * 512

    def close(self) -> None:
        """Close the file; memory that is still referenced stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
