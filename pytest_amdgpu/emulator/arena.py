"""The host memory behind software VRAM, GTT and doorbells: one memfd, one mapping of it per allocation.

One sparse file for everything rather than one per buffer object, because a process may have thousands
of buffers but only some thousand descriptors. Offsets are never used twice; what is freed is punched out
of the file, so its pages go back to the host.

Memory can be shared with other processes: `Arena.share` opens the file anew, and this description holds read
locks on the ranges that it is for (open file description locks, fcntl(2)). They last until its last copy, in
whichever process, is closed; only then are the ranges punched out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from pytest_amdgpu.emulator import host
from pytest_amdgpu.emulator.memory import PAGE_SIZE, Bytes

ARENA_NAME = "software-gpu-memory"
"""What the files of arenas are called, in all processes."""


class HostMemory:
    """A range of the arena, mapped for the emulator at `address`; freed with the last reference.

    The numpy views of it count as references, and so do the client's own mappings (`ClientMaps`).
    """

    def __init__(self, address: int, size: int, offset: int, fd: int) -> None:
        self.address = address
        self.size = size
        self.offset = offset
        """Where the range lies in the file."""
        self.fd = fd
        """The file, -1 where there is none."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "typestr": "|u1", "shape": (self.size,), "data": (self.address, False)}

    def view(self) -> Bytes:
        """Return the bytes, in place."""
        import numpy as np

        return np.asarray(self)


def map_shared(fd: int, size: int, offset: int) -> HostMemory:
    """Map a range that another process shares by `fd`, which stays the caller's; OSError if it cannot."""
    own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    try:
        address = host.mmap(0, size, host.PROT_READ | host.PROT_WRITE, host.MAP_SHARED, own, offset)
    except OSError:
        os.close(own)
        raise
    memory = HostMemory(address, size, offset, own)
    weakref.finalize(memory, _unmap_shared, os.getpid(), address, size, own).atexit = False
    return memory


def _unmap_shared(pid: int, address: int, size: int, fd: int) -> None:
    if os.getpid() == pid:
        host.munmap(address, size)
        os.close(fd)


def borrow(address: int, size: int) -> Bytes:
    """Return a view of memory of the client, which must outlive it."""
    return HostMemory(address, size, 0, -1).view()


class Arena:
    """Allocates host memory; thread-safe."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._end = 0
        self._lock = threading.Lock()
        self._shared: set[int] = set()
        """Offsets of ranges that were shared."""
        self._closed_ends: int = 0
        """End of the files that were closed: of their ranges nobody can tell whether others use them."""
        self._waiting: deque[tuple[int, int, int]] = deque()
        """Address, size and offset of ranges that are free here and may be used by others."""

    @property
    def fd(self) -> int:
        """The memfd, made when it is first needed."""
        if self._fd is None:
            self._fd = os.memfd_create(ARENA_NAME, os.MFD_CLOEXEC)
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
        memory = HostMemory(address, size, offset, fd)
        # At exit the pages vanish anyway, while threads may still look at them.
        weakref.finalize(memory, self._release, os.getpid(), address, size, offset).atexit = False
        return memory

    def share(self, parts: Sequence[HostMemory]) -> int:
        """Return a new descriptor of the file that keeps ranges of it in being, closed on exec."""
        fd = os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            for part in parts:
                _lock(fd, fcntl.F_RDLCK, part.offset, part.size)
                self._shared.add(part.offset)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _release(self, pid: int, address: int, size: int, offset: int) -> None:
        """Free a range. May run in any thread, wherever the last reference goes, and so takes no lock."""
        # A forked child shares the file: it must not punch holes into its parent's memory.
        if os.getpid() != pid:
            return
        if offset not in self._shared:
            host.madvise(address, size, host.MADV_REMOVE)
            host.munmap(address, size)
            return
        self._waiting.append((address, size, offset))
        self._free_waiting()

    def _free_waiting(self) -> None:
        """Free those of the ranges that were shared which no other process uses any more."""
        for _ in range(len(self._waiting)):
            try:
                address, size, offset = self._waiting.popleft()
            except IndexError:
                return
            if offset >= self._closed_ends:
                if not self._is_only_user(size, offset):
                    self._waiting.append((address, size, offset))
                    continue
                host.madvise(address, size, host.MADV_REMOVE)
            host.munmap(address, size)
            self._shared.discard(offset)

    def _is_only_user(self, size: int, offset: int) -> bool:
        try:
            _lock(self.fd, fcntl.F_WRLCK, offset, size)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        _lock(self.fd, fcntl.F_UNLCK, offset, size)
        return True

    def resident(self) -> int:
        """Return how many bytes of the host's memory the arena holds: pages that somebody touched."""
        self._free_waiting()
        return 0 if self._fd is None else os.fstat(self._fd).st_blocks * 512

    def close(self) -> None:
        """Close the file; memory that is still referenced, here or in other processes, stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._closed_ends = self._end
            self._free_waiting()


def _lock(fd: int, kind: int, start: int, size: int) -> None:
    """Take or give back a lock of the open file description, without waiting; OSError if it is taken."""
    # struct flock of x86-64 and other 64-bit machines: l_type, l_whence, l_start, l_len, l_pid.
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhxxxxqqixxxx", kind, os.SEEK_SET, start, size, 0))
