"""The few system calls of the host that Python's own modules do not offer in the form needed here.

All go through ctypes with the GIL released, and raise OSError.
"""

from __future__ import annotations

import ctypes
import os
from typing import NoReturn

MAP_SHARED = 0x01
MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20
PROT_READ = 0x1
PROT_WRITE = 0x2
MADV_REMOVE = 9
MADV_DONTFORK = 10

_MAP_FAILED = (1 << 64) - 1

_libc = ctypes.CDLL(None, use_errno=True)
_size, _pointer, _int = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
_mmap = _libc.mmap
_mmap.argtypes, _mmap.restype = (_pointer, _size, _int, _int, _int, ctypes.c_int64), ctypes.c_size_t
_munmap = _libc.munmap
_munmap.argtypes = (_pointer, _size)
_madvise = _libc.madvise
_madvise.argtypes = (_pointer, _size, _int)


class _IoVector(ctypes.Structure):
    _fields_ = (("base", _pointer), ("length", _size))


_vectors = (ctypes.POINTER(_IoVector), ctypes.c_ulong)
_vm_arguments = (_int, *_vectors, *_vectors, ctypes.c_ulong)
_vm_readv = _libc.process_vm_readv
_vm_writev = _libc.process_vm_writev
_vm_readv.argtypes = _vm_writev.argtypes = _vm_arguments
_vm_readv.restype = _vm_writev.restype = ctypes.c_ssize_t


def _raise_errno(call: str) -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, f"{call}: {os.strerror(number)}")


def mmap(address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
    """Map memory, mmap(2)."""
    result: int = _mmap(address, length, protection, flags, fd, offset)
    if result == _MAP_FAILED:
        _raise_errno("mmap")
    return result


def munmap(address: int, length: int) -> None:
    """Unmap memory, munmap(2)."""
    if _munmap(address, length):
        _raise_errno("munmap")


def madvise(address: int, length: int, advice: int) -> None:
    """Advise about memory, madvise(2)."""
    if _madvise(address, length, advice):
        _raise_errno("madvise")


def read_memory(address: int, size: int) -> bytes:
    """Copy from any address of this process; EFAULT where it cannot be read."""
    buffer = ctypes.create_string_buffer(size)
    _transfer(_vm_readv, ctypes.addressof(buffer), address, size)
    return buffer.raw


def write_memory(address: int, data: bytes) -> None:
    """Copy to any address of this process; EFAULT where it cannot be written."""
    buffer = ctypes.create_string_buffer(data, len(data))
    _transfer(_vm_writev, ctypes.addressof(buffer), address, len(data))


def _transfer(call: ctypes._NamedFuncPointer, own: int, other: int, size: int) -> None:
    done = call(os.getpid(), _IoVector(own, size), 1, _IoVector(other, size), 1, 0)
    if done < 0:
        _raise_errno("process_vm_readv or process_vm_writev")
    if done < size:
        ctypes.set_errno(14)  # a transfer stops at the first page that cannot be reached: EFAULT
        _raise_errno("process_vm_readv or process_vm_writev")


def memory_size() -> int:
    """Return how much memory the host lets this process have, in bytes."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = file.read().strip()
    except OSError:
        return total  # no second version of control groups here, so no limit to be found
    return min(total, int(limit)) if limit.isdigit() else total
