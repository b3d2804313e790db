"""The arithmetic of Linux ioctl request numbers (asm-generic/ioctl.h): direction, size, type, number."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

READ = 2
"""Direction bit: the kernel writes the argument back (`_IOR`)."""
WRITE = 1
"""Direction bit: the kernel reads the argument (`_IOW`)."""

_NR_BITS, _TYPE_BITS, _SIZE_BITS = 8, 8, 14
_TYPE_SHIFT = _NR_BITS
_SIZE_SHIFT = _TYPE_SHIFT + _TYPE_BITS
_DIRECTION_SHIFT = _SIZE_SHIFT + _SIZE_BITS


class Request(NamedTuple):
    """The parts of a request number; `size` is in bytes."""

    direction: int
    size: int
    type: int
    nr: int


class IoctlSpec(NamedTuple):
    """One ioctl: its full kernel name, its newest request number, and its argument (None: it has none)."""

    name: str
    request: int
    struct: type[ctypes.Structure] | type[ctypes.Union] | None


def encode(direction: int, size: int, type: int, nr: int) -> int:
    """Compose a request number."""
    return direction << _DIRECTION_SHIFT | size << _SIZE_SHIFT | type << _TYPE_SHIFT | nr


def decode(request: int) -> Request:
    """Take a request number apart."""
    return Request(
        direction=request >> _DIRECTION_SHIFT & 3,
        size=request >> _SIZE_SHIFT & (1 << _SIZE_BITS) - 1,
        type=request >> _TYPE_SHIFT & (1 << _TYPE_BITS) - 1,
        nr=request & (1 << _NR_BITS) - 1,
    )


def with_size(request: int, size: int) -> int:
    """Return the same request for an argument of `size` bytes (older, shorter, or variable structures)."""
    parts = decode(request)
    return encode(parts.direction, size, parts.type, parts.nr)
