"""The caches between shaders and memory: what has been invalidated and written back, and by whom.

Every place where hardware acquires or releases calls here: ACQUIRE_MEM and RELEASE_MEM, the
scopes in the headers of AQL packets, and the flush before a completion signal. SDMA does not look into the
shaders' caches.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.shader_memory import ShaderMemory


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
    """The caches that one queue's shaders use, as its packets see them.

    The model behind it (`ShaderMemory`) has one cache. Writing back the L2 reaches memory, since those
    nearer to the compute units write through. Invalidating any cache that holds data makes shaders read
    memory again: the L2 of some parts is kept coherent with other engines, so that drivers may rightly
    invalidate no more than the nearer ones.
    """

    def __init__(self, memory: ShaderMemory) -> None:
        self._memory = memory
        self.invalidated: Counter[Level] = Counter()
        self.written_back: Counter[Level] = Counter()

    def apply(self, invalidate: Level, write_back: Level) -> None:
        """Write back, then invalidate.

        When this returns, what shaders wrote is in memory as far as `write_back` goes, and what they
        read from now on comes from memory as far as `invalidate` goes.
        """
        self.written_back.update(write_back)
        self.invalidated.update(invalidate)
        if Level.L2 in write_back:
            self._memory.write_back()
        if invalidate & (Level.SCALAR | Level.VECTOR | Level.L2):
            self._memory.invalidate()


def acquire_levels(fields: Mapping[str, int]) -> tuple[Level, Level]:
    """Return what the fields of an ACQUIRE_MEM invalidate and what they write back.

    Fields of CP_COHER_CNTL on gfx9 (soc15d.h), of GCR_CNTL from gfx10 on (nvd.h).
    """
    return _levels(fields, _ACQUIRE_INVALIDATES), _levels(fields, _WRITES_BACK)


def release_levels(fields: Mapping[str, int]) -> tuple[Level, Level]:
    """Return what the fields of a RELEASE_MEM invalidate and what they write back."""
    return _levels(fields, _RELEASE_INVALIDATES), _levels(fields, _WRITES_BACK)


_ACQUIRE_INVALIDATES = {
    "sh_icache": Level.INSTRUCTION,
    "sh_kcache": Level.SCALAR,
    "tcl1": Level.VECTOR,
    "tc": Level.L2,
    "gli_inv": Level.INSTRUCTION,
    "glk_inv": Level.SCALAR,
    "glv_inv": Level.VECTOR,
    "gl2_inv": Level.L2,
}
_RELEASE_INVALIDATES = {
    "tcl1": Level.VECTOR,
    "tc": Level.L2,
    "glv_inv": Level.VECTOR,
    "gl2_inv": Level.L2,
}
_WRITES_BACK = {
    "tc_wb": Level.L2,
    "sh_kcache_wb": Level.SCALAR,
    "glk_wb": Level.SCALAR,
    "gl2_wb": Level.L2,
}


def scope_levels(scope: int, num_xcc: int) -> Level:
    """Return what a fence scope in the header of an AQL packet (0 none, 1 agent, 2 system) reaches.

    The L2 is shared by the agent, but for parts with several XCCs, each of which has its own.
    """
    if scope == 0:
        return Level.NONE
    levels = Level.INSTRUCTION | Level.SCALAR | Level.VECTOR
    return levels | Level.L2 if scope == 2 or num_xcc > 1 else levels


def _levels(fields: Mapping[str, int], table: Mapping[str, Level]) -> Level:
    levels = Level.NONE
    for name, level in table.items():
        if fields.get(name):
            levels |= level
    return levels
