"""Bulk copies and fills straight between mappings.

The engine copies forward and stops at the first byte it cannot access: what lies before has been copied.
Ranges that overlap give what copying byte by byte in ascending order gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pytest_amdgpu.emulator.memory import Access, AddressSpace, Bytes

PIECE = 4 << 20
"""Bytes between two checkpoints: about a millisecond, so that an eviction need not wait for a large copy."""


def _window(memory: AddressSpace, address: int, size: int, access: Access) -> Bytes:
    """Return as many of `size` bytes as one mapping holds; VmFault if it is not even the first.

    PoisonConsumed if a byte to be read is bad.
    """
    mapping = memory.translate(address, access)
    offset = address - mapping.start
    window = mapping.data[offset : offset + size]
    if memory.poisoned and access is Access.READ:
        memory.check_poison(address, window.size)
    return window


def copy(memory: AddressSpace, source: int, target: int, size: int, checkpoint: Callable[[], None]) -> None:
    """Copy `size` bytes; raises VmFault with everything before the fault copied."""
    distance = target - source
    done = 0
    if 0 < distance < size:
        # Each byte is read after the byte `distance` below it was written: the first `distance` bytes repeat.
        # Copying from the start again and again doubles what is there and never reads what it writes.
        while done < size:
            step = min(size - done, distance + done)
            _copy_apart(memory, source, target + done, step, checkpoint)
            done += step
        return
    _copy_apart(memory, source, target, size, checkpoint)


def _copy_apart(
    memory: AddressSpace, source: int, target: int, size: int, checkpoint: Callable[[], None]
) -> None:
    done = 0
    while done < size:
        step = min(size - done, PIECE)
        data = _window(memory, source + done, step, Access.READ)
        place = _window(memory, target + done, step, Access.WRITE)
        step = min(data.size, place.size)
        np.copyto(place[:step], data[:step])
        del data, place  # a view that outlives the eviction would keep the buffer from being unmapped
        done += step
        checkpoint()


def fill(
    memory: AddressSpace, target: int, value: int, width: int, count: int, checkpoint: Callable[[], None]
) -> None:
    """Store the low `width` bytes (1, 2 or 4) of `value` `count` times; `target` is a multiple of `width`."""
    dtype = {1: np.uint8, 2: np.uint16, 4: np.uint32}[width]
    item = value & ((1 << 8 * width) - 1)
    done = 0
    while done < count * width:
        place = _window(memory, target + done, min(count * width - done, PIECE), Access.WRITE)
        # Mappings begin and end at pages, so no item is ever split between two.
        place.view(dtype).fill(item)
        done += place.size
        del place
        checkpoint()


def write_dwords(memory: AddressSpace, target: int, words: Sequence[int]) -> None:
    """Store dwords at an aligned address; VmFault with those before it stored."""
    done = 0
    while done < len(words):
        place = _window(memory, target + 4 * done, 4 * (len(words) - done), Access.WRITE)
        count = place.size // 4
        place.view(np.uint32)[:] = words[done : done + count]
        done += count
