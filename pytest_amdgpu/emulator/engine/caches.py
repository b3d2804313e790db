"""The caches between shaders and memory: what has been invalidated and written back, and by whom.

Every place where hardware acquires or releases calls here: ACQUIRE_MEM, RELEASE_MEM and GCR_REQ, the
scopes in the headers of AQL packets, and the flush before a completion signal. SDMA does not look into the
shaders' caches.
"""

from __future__ import annotations

import enum
from collections import Counter


class Level(enum.Flag):
    """Caches by what a driver must think of, not by generation."""

    NONE = 0
    INSTRUCTION = enum.auto()
    SCALAR = enum.auto()
    VECTOR = enum.auto()
    """The caches nearest to the compute units (TCP, GL0) and, where there is one, the array's (GL1)."""
    L2 = enum.auto()


ALL_LEVELS = Level.INSTRUCTION | Level.SCALAR | Level.VECTOR | Level.L2


class Caches:
    """The caches that one queue's shaders use."""

    def __init__(self) -> None:
        self.acquired: Counter[Level] = Counter()
        self.released: Counter[Level] = Counter()

    def acquire(self, levels: Level) -> None:
        """Invalidate: what is read from now on comes from memory."""
        for level in levels:
            self.acquired[level] += 1

    def release(self, levels: Level) -> None:
        """Write back: what shaders have written so far is in memory when this returns."""
        for level in levels:
            self.released[level] += 1


def gcr_levels(control: int) -> tuple[Level, Level]:
    """Return what a GCR_CNTL value (gfx10 and up, 19 bits) invalidates and what it writes back.

    Bits as in the kernel's nvd.h: GLI_INV [1:0], GLM_WB 4, GLM_INV 5, GLK_WB 6, GLK_INV 7, GLV_INV 8,
    GL1_INV 9, GL2_INV 14, GL2_WB 15.
    """
    invalidated = {0x3: Level.INSTRUCTION, 1 << 7: Level.SCALAR, 1 << 8: Level.VECTOR, 1 << 14: Level.L2}
    written = {1 << 6: Level.SCALAR, 1 << 15: Level.L2}
    return _levels(control, invalidated), _levels(control, written)


def _levels(control: int, table: dict[int, Level]) -> Level:
    levels = Level.NONE
    for mask, level in table.items():
        if control & mask:
            levels |= level
    return levels
