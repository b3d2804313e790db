"""Which packets maintain the shaders' caches, and how.

`ShaderMemory` models one cache that stands for all. Writing back the L2 reaches memory, since the caches
nearer to the compute units write through. Invalidating any cache that holds data makes shaders read memory
again: the L2 of some parts is kept coherent with other engines, so that drivers may rightly invalidate no
more than the nearer ones. SDMA does not look into these caches, but can have them maintained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Maintenance(NamedTuple):
    """What to do with the caches, in this order."""

    write_back: bool
    invalidate: bool


# Fields of CP_COHER_CNTL and RELEASE_MEM on gfx9 (soc15d.h), of GCR_CNTL from gfx10 on (nvd.h).
_INVALIDATING = ("sh_kcache", "tcl1", "tc", "glk_inv", "glv_inv", "gl2_inv")
_WRITING_BACK = ("tc_wb", "gl2_wb")
_GCR_GL2_INV = 1 << 14
_GCR_GL2_WB = 1 << 15


def packet_maintenance(fields: Mapping[str, int]) -> Maintenance:
    """Return what the fields of an ACQUIRE_MEM or RELEASE_MEM ask for."""
    return Maintenance(
        any(fields.get(name) for name in _WRITING_BACK), any(fields.get(name) for name in _INVALIDATING)
    )


def gcr_maintenance(control: int) -> Maintenance:
    """Return what the GCR_CNTL value of SDMA's GCR_REQ asks for: of these caches it reaches the L2."""
    return Maintenance(bool(control & _GCR_GL2_WB), bool(control & _GCR_GL2_INV))


def acquire_scope(scope: int) -> Maintenance:
    """Return what the acquire fence scope of an AQL packet (0 none, 1 agent, 2 system) asks for."""
    return Maintenance(False, scope != 0)


def release_scope(scope: int, num_xcc: int) -> Maintenance:
    """Return what the release fence scope of an AQL packet asks for.

    The L2 is shared by the agent, so that its scope needs no write-back, but for parts with several XCCs,
    each of which has an L2 of its own.
    """
    return Maintenance(scope == 2 or (scope == 1 and num_xcc > 1), False)
