"""The cache list of a GPU's topology node, from which compute units are present.

The rule is amdkfd's (kfd_fill_cache_non_crat_info in kfd_topology.c of Linux 6.12): a first-level cache
has one entry for each group of compute units with at least one active unit, a second- or third-level
cache has one entry for the node.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ENTRY_BITS = 32
"""Flags of a sibling map for each shader array."""

CuBitmaps = Sequence[Sequence[Sequence[int]]]
"""Masks of active compute units by XCC, shader engine and shader array."""


@dataclass(frozen=True, slots=True)
class CacheKind:
    """A kind of cache that a GPU has: `size` in KiB, shared by groups of `cus` neighbouring units."""

    level: int
    size: int
    line_size: int
    type: int
    """Bits of HSA_CACHE_TYPE: 1 data, 2 instructions, 4 CPU, 8 shader (so 9 or 10 on a GPU)."""
    cus: int


@dataclass(frozen=True, slots=True)
class Cache:
    """One entry of `nodes/N/caches`; `first_slot` counts compute unit slots from the start of the GPU."""

    kind: CacheKind
    first_slot: int
    sibling_map: tuple[int, ...]

    def properties(self, simd_id_base: int) -> dict[str, int | str]:
        """Lines of the entry's `properties` file, in the kernel's order."""
        return {
            "processor_id_low": simd_id_base + self.first_slot,
            "level": self.kind.level,
            "size": self.kind.size,
            "cache_line_size": self.kind.line_size,
            "cache_lines_per_tag": 0,
            "association": 0,
            "latency": 0,
            "type": self.kind.type,
            "sibling_map": ",".join(map(str, self.sibling_map)),
        }


@functools.cache
def _flags(mask: int) -> tuple[int, ...]:
    # A GPU has hundreds of caches with the same few masks.
    return tuple(mask >> bit & 1 for bit in range(ENTRY_BITS))


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1


def _first_level(kind: CacheKind, arrays: Sequence[int], slots: int) -> Iterator[Cache]:
    for index, array in enumerate(arrays):
        for block in range(0, slots, kind.cus):
            mask = array >> block & ((1 << kind.cus) - 1)
            if mask:
                first = _lowest(mask)
                yield Cache(kind, index * slots + block + first, _flags(mask >> first))


def _shared(kind: CacheKind, arrays: Sequence[int], slots: int) -> Cache:
    masks = [array & ((1 << kind.cus) - 1) for array in arrays]
    first = _lowest(masks[0])
    # The kernel stores the map of the first array before it starts its loop over all, so that array
    # comes twice and the last one never; dumps of real machines show it.
    listed = [masks[0] >> first, *masks[:-1]]
    return Cache(kind, first, tuple(flag for mask in listed for flag in _flags(mask)))


def cache_list(kinds: Sequence[CacheKind], bitmaps: CuBitmaps, slots: int) -> tuple[Cache, ...]:
    """Return the entries in the kernel's order; `slots` are the unit slots of a shader array."""
    arrays = [array for xcc in bitmaps for engine in xcc for array in engine]
    result: list[Cache] = []
    for kind in kinds:
        if kind.level == 1:
            result.extend(_first_level(kind, arrays, slots))
        else:
            result.append(_shared(kind, arrays, slots))
    return tuple(result)
