"""Buffer instructions (MUBUF): addresses from a descriptor in scalar registers, an index and an offset.

The rules are those of the chapters on buffer addressing and range checking of AMD's CDNA2, RDNA2 and RDNA3
instruction set documents. A descriptor of private memory (swizzled by lane, as compilers of gfx90a and
gfx1030 use it for the stack) is recognized, because private memory has a faster way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.isa.numpy_ops import uniform
from pytest_amdgpu.emulator.isa.scratch import ScratchMemory

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group

_ELEMENT_BYTES = 4
"""Bytes that stay together in a swizzled buffer of gfx9 and gfx10."""
_BY_INDEX, _RAW_GFX9 = 1, 4
"""What gfx9 has of the range checks; those below 4 are numbered as in OOB_SELECT of gfx10 and later."""


@dataclass(frozen=True, slots=True)
class BufferPlace:
    """Where an instruction points: the descriptor's four dwords, and what the instruction adds.

    Scalars are ints or arrays [waves, 1]; index (None: there is none) and offset may be arrays [waves,
    lanes]. All are unsigned and 32 bits wide.
    """

    low: Any
    high: Any
    records: Any
    format: Any
    scalar_offset: Any
    offset: Any
    index: Any = None


def _same(g: Group, value: Any, name: str) -> int:
    """A part of the descriptor that selects how addresses are made, which must not differ between waves."""
    if type(value) is int:
        return value
    values = np.unique(value[g.living])
    if len(values) > 1:
        raise IllegalInstruction(g.pc, (), f"waves of one group have different {name} in a buffer descriptor")
    return int(values[0])


def _any_living(g: Group, condition: Any) -> bool:
    """Whether a condition [waves, 1] holds for a wave that is still here."""
    return bool((condition if g.alive is None else condition & g.alive[:, None]).any())


class _Descriptor:
    """The fields of a descriptor."""

    def __init__(self, g: Group, place: BufferPlace) -> None:
        rules = g.chunk.state.family.shader.buffers
        high = np.asarray(place.high, np.uint64)
        self.base = (high & np.uint64(0xFFFF)) << np.uint64(32) | np.asarray(place.low, np.uint64)
        word1 = _same(g, place.high & 0xFFFF0000, "strides")
        word3 = _same(g, place.format, "formats")
        self.stride = word1 >> 16 & 0x3FFF
        self.element = (0, 4, 8, 16)[word1 >> 30] if rules.element_by_size else _ELEMENT_BYTES * (word1 >> 31)
        """Bytes that stay together if the buffer is swizzled, else 0."""
        self.index_stride = 8 << (word3 >> 21 & 3)
        self.adds_lane = bool(word3 >> 23 & 1)
        if rules.bounds_by_field:
            self.check = word3 >> 28 & 3
        else:
            self.check = _BY_INDEX if self.stride and self.element else _RAW_GFX9
        if self.adds_lane and rules.stride_with_format:
            self.stride |= (word3 >> 15 & 15) << 14


class BufferMemory(ScratchMemory):
    """Buffer accesses of one dispatch."""

    def _private(self, g: Group, place: BufferPlace, descriptor: _Descriptor) -> Any:
        """The private address, if the descriptor is that of each wave's own private memory, else None."""
        lanes = g.shape[1]
        if (
            not descriptor.adds_lane
            or place.index is not None
            or not g.chunk.scratch_lane_bytes
            or descriptor.element != _ELEMENT_BYTES
            or descriptor.index_stride != lanes
            or _any_living(g, descriptor.base != g.chunk.scratch_bases(g))
        ):
            return None
        scalar = np.asarray(place.scalar_offset, np.uint32).reshape(-1, 1)
        if _any_living(g, scalar % np.uint32(_ELEMENT_BYTES * lanes) != 0):
            return None
        return uniform(np.atleast_2d(np.asarray(place.offset, np.uint32)) + scalar // np.uint32(lanes))

    @staticmethod
    def _address(
        g: Group, place: BufferPlace, where: Any, descriptor: _Descriptor, extra: int, size: int
    ) -> tuple[Any, Any]:
        """Addresses [waves, lanes] of the item `extra` bytes further on, and which of them are in range."""
        offset = np.broadcast_to(np.asarray(place.offset, np.uint32), g.shape).astype(np.int64) + extra
        index = np.zeros(g.shape, np.int64)
        if place.index is not None:
            index += np.asarray(place.index, np.uint32)
        if descriptor.adds_lane:
            index += g.lane_id
        stride, element = descriptor.stride, descriptor.element
        linear = place_bytes = index * stride + offset
        if element:
            block, member = np.divmod(index, descriptor.index_stride)
            part, inside = np.divmod(offset, element)
            rows = (block * stride + part * element) * descriptor.index_stride
            place_bytes = rows + member * element + inside
        scalar = np.asarray(place.scalar_offset, np.int64)
        records = np.asarray(place.records, np.int64)
        match descriptor.check:
            case 0:  # index and offset within the stride
                good = (index < records) & (offset + size <= stride)
            case 1:  # index
                good = index < records
            case 2:  # nothing, unless the buffer is empty
                good = records != 0
            case 3:  # bytes
                good = linear + size <= records
            case _:
                good = offset + size <= records - scalar if element else linear + size <= records - scalar
        address = (place_bytes + scalar).view(np.uint64) + descriptor.base
        return address, np.broadcast_to(good if where is None else good & where, g.shape)

    def load_buffer(
        self, g: Group, place: BufferPlace, where: Any, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Load items per lane; 0 out of range."""
        descriptor = _Descriptor(g, place)
        private = self._private(g, place, descriptor)
        if private is not None:
            return self.load_private(g, private, where, count, width, signed)
        results = []
        for item in range(count):
            address, good = self._address(g, place, where, descriptor, item * width, width)
            results += self.load_global(g, address, good, 1, width, signed)
        return results

    def store_buffer(
        self, g: Group, place: BufferPlace, where: Any, values: tuple[Any, ...], width: int
    ) -> None:
        """Store items per lane; nothing out of range."""
        descriptor = _Descriptor(g, place)
        private = self._private(g, place, descriptor)
        if private is not None:
            self.store_private(g, private, where, values, width)
            return
        for item, value in enumerate(values):
            address, good = self._address(g, place, where, descriptor, item * width, width)
            self.store_global(g, address, good, (value,), width)

    def atomic_buffer(
        self,
        g: Group,
        op: str,
        place: BufferPlace,
        where: Any,
        value: Any,
        compare: Any,
        dtype: Any,
        ret: bool,
    ) -> Any:
        """Read-modify-write per lane; nothing out of range."""
        address, good = self._address(g, place, where, _Descriptor(g, place), 0, np.dtype(dtype).itemsize)
        return self.atomic_global(g, op, address, good, value, compare, dtype, ret)
