"""The client's pointers: copied from and to, as a kernel does, and never followed otherwise."""

from __future__ import annotations

import errno

from pytest_amdgpu.emulator import host
from pytest_amdgpu.emulator.refusal import Refusal

ADDRESS_LIMIT = 0x7FFF_FFFF_F000
"""First address that no x86-64 process with 4-level page tables can have (TASK_SIZE_MAX)."""


def read(address: int, size: int) -> bytes:
    """Copy from the client; EFAULT if it has no such memory."""
    if not size:
        return b""
    try:
        return host.read_memory(address, size)
    except OSError as error:
        raise Refusal(errno.EFAULT, f"cannot read {size} bytes at {address:#x}: {error}") from None


def write(address: int, data: bytes) -> None:
    """Copy to the client; EFAULT if it has no such memory or may not write it."""
    if not data:
        return
    try:
        host.write_memory(address, data)
    except OSError as error:
        raise Refusal(errno.EFAULT, f"cannot write {len(data)} bytes at {address:#x}: {error}") from None


def in_user_space(address: int) -> bool:
    """Whether an address can belong to a process at all."""
    return address < ADDRESS_LIMIT


def regions(start: int, end: int) -> list[tuple[int, int, str]]:
    """Return the parts of [start, end) with their rights (`rw-p`), by address; EFAULT where nothing is."""
    found = []
    position = start
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            extent, rights = line.split(None, 2)[:2]
            first, last = (int(part, 16) for part in extent.split("-"))
            if first > position or position >= end:
                break
            if last > position:
                found.append((position, min(last, end), rights))
                position = last
    if position < end:
        raise Refusal(errno.EFAULT, f"nothing is mapped at {position:#x}")
    return found


def require_mapped(address: int, size: int) -> None:
    """Refuse with EFAULT a range that the client has not mapped, readable and writable, as a whole."""
    for start, _, rights in regions(address, address + size):
        if not rights.startswith("rw"):
            raise Refusal(errno.EFAULT, f"page at {start:#x} is mapped {rights}, not rw")
