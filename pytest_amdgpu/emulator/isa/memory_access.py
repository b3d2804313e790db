"""The memory instructions of a group of waves; here those with flat addresses, which name the space by
address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.buffers import BufferMemory
from pytest_amdgpu.emulator.isa.global_memory import GlobalMemory
from pytest_amdgpu.emulator.isa.lanes import active_lanes
from pytest_amdgpu.emulator.isa.lds import LdsMemory
from pytest_amdgpu.emulator.isa.scratch import PRIVATE_APERTURE_HIGH
from pytest_amdgpu.emulator.memory import Access

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group

SHARED_APERTURE_HIGH = 0x10000
"""High half of flat addresses in the LDS aperture (base 1 << 48)."""


class MemoryAccess(BufferMemory, LdsMemory, GlobalMemory):
    """Global, flat, LDS, scratch, buffer and scalar accesses of one dispatch."""

    def _spaces(self, g: Group, address: Any, where: Any) -> list[tuple[str, Any, Any]]:
        """The spaces that the lanes address: (name, which lanes, address in the space)."""
        if type(address) is int:
            place = address & 0xFFFFFFFF
            if address >> 32 == SHARED_APERTURE_HIGH:
                return [("lds", where, place)]
            if address >> 32 == PRIVATE_APERTURE_HIGH:
                return [("scratch", where, place)]
            return [("global", where, address)]
        active = active_lanes(g, where)
        address = np.broadcast_to(address, g.shape)
        high = (address >> np.uint64(32)).astype(np.uint32)
        shared, private = high == SHARED_APERTURE_HIGH, high == PRIVATE_APERTURE_HIGH
        if not shared.any() and not private.any():
            return [("global", active, address)]
        low = address.astype(np.uint32)
        found: list[tuple[str, Any, Any]] = []
        for name, lanes, where_to in (
            ("global", ~(shared | private), address),
            ("lds", shared, low),
            ("scratch", private, low),
        ):
            taking = lanes if active is None else lanes & active
            if taking.any():
                found.append((name, taking, where_to))
        return found

    def load_flat(
        self, g: Group, address: Any, where: Any, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Load items per lane from wherever the flat address points."""
        spaces = self._spaces(g, address, where)
        if len(spaces) == 1:
            name, lanes, place = spaces[0]
            return list(getattr(self, f"load_{name}")(g, place, lanes, count, width, signed))
        results = [np.zeros(g.shape, np.uint32) for _ in range(count)]
        for name, lanes, place in spaces:
            found = getattr(self, f"load_{name}")(g, place, lanes, count, width, signed)
            for result, items in zip(results, found, strict=True):
                result[lanes] = items[lanes]
        return results

    def store_flat(self, g: Group, address: Any, where: Any, values: tuple[Any, ...], width: int) -> None:
        """Store items per lane to wherever the flat address points."""
        spaces = self._spaces(g, address, where)
        if len(spaces) > 1:
            # A fault in one space must come before stores to another.
            size = width * len(values)
            for name, lanes, place in spaces:
                if name == "global":
                    self._place(place, lanes, g.shape, size, Access.WRITE)
                elif name == "scratch":
                    self._check(g, place, lanes, size, Access.WRITE)
        for name, lanes, place in spaces:
            getattr(self, f"store_{name}")(g, place, lanes, values, width)

    def atomic_flat(
        self, g: Group, op: str, address: Any, where: Any, value: Any, compare: Any, dtype: Any, ret: bool
    ) -> Any:
        """Read-modify-write per lane wherever the flat address points."""
        result = np.zeros(g.shape, dtype)
        for name, lanes, place in self._spaces(g, address, where):
            old = getattr(self, f"atomic_{name}")(g, op, place, lanes, value, compare, dtype, ret)
            if ret:
                if lanes is None:
                    return old
                result[lanes] = old[lanes]
        return result
