"""LDS instructions of a group of waves: an array of bytes per workgroup; out of range reads 0 and drops
stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.atomics import atomic
from pytest_amdgpu.emulator.isa.lanes import Lanes, active_lanes, chosen, flat, spread

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group


class LdsMemory:
    """LDS accesses of one dispatch; the bytes are the chunk's."""

    def _lds_offsets(self, g: Group, address: Any, where: Any, size: int) -> tuple[Lanes | None, Any]:
        """The lanes that are in range, and their offsets in the LDS of all workgroups of the chunk."""
        active = active_lanes(g, where)
        address = np.broadcast_to(np.asarray(address, np.uint32), g.shape)
        limit = g.chunk.lds_bytes - size
        inside = address <= np.uint32(limit) if limit >= 0 else np.zeros(g.shape, np.bool_)
        if not inside.all():
            active = inside if active is None else active & inside
        offsets = address + g.lds_base
        return active, offsets if active is None else offsets[active]

    def load_lds(self, g: Group, address: Any, where: Any, count: int, width: int, signed: bool) -> list[Any]:
        """Load items per lane from the workgroup's LDS; 0 out of range."""
        active, offsets = self._lds_offsets(g, address, where, count * width)
        if offsets.size == 0:
            return [np.zeros(g.shape, np.uint32)] * count
        found = g.chunk.lds.load(offsets, count, width, signed)
        return found if active is None else spread(found, active, g.shape)

    def store_lds(self, g: Group, address: Any, where: Any, values: tuple[Any, ...], width: int) -> None:
        """Store items per lane to the workgroup's LDS; dropped out of range."""
        active, offsets = self._lds_offsets(g, address, where, width * len(values))
        if offsets.size:
            g.chunk.lds.store(offsets, tuple(chosen(value, active, g.shape) for value in values), width)

    def atomic_lds(
        self, g: Group, op: str, address: Any, where: Any, value: Any, compare: Any, dtype: Any, ret: bool
    ) -> Any:
        """Read-modify-write per lane in the workgroup's LDS; returns what was there."""
        width = np.dtype(dtype).itemsize
        active, offsets = self._lds_offsets(g, address, where, width)
        result = np.zeros(g.shape, dtype)
        if offsets.size:
            old = atomic(
                g.chunk.lds.aligned(width).view(dtype),
                op,
                (offsets >> (width.bit_length() - 1)).reshape(-1),
                flat(value, active, g.shape, dtype),
                None if compare is None else flat(compare, active, g.shape, dtype),
                ret,
            )
            if ret:
                result[... if active is None else active] = old.reshape(offsets.shape)
        return result
