"""Private memory of a group of waves.

Each wave has an area of the dispatch's scratch memory in which the lanes' dwords are interleaved: dword d of
lane l lies at dword d * wave size + l. So lanes that access the same private address, as spilled registers
and local variables do, access consecutive memory. Beyond a lane's share, or without scratch memory, an access
faults with the address in the private aperture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.errors import IllegalInstruction, NotEmulatedError
from pytest_amdgpu.emulator.isa.global_memory import GlobalMemory
from pytest_amdgpu.emulator.isa.lanes import Lanes, active_lanes
from pytest_amdgpu.emulator.isa.numpy_ops import lane_mask, select
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group

PRIVATE_APERTURE_HIGH = 0x20000
"""High half of flat addresses in the private aperture (base 2 << 48)."""

_TYPES: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32}
_SIGNED: dict[int, Any] = {1: np.int8, 2: np.int16}


class ScratchMemory(GlobalMemory):
    """Private accesses of one dispatch."""

    def _area(self, g: Group, access: Access) -> Any:
        """The chunk's scratch as dwords [waves of the chunk, dwords of a lane, lanes]; VmFault if not
        mapped.
        """
        if self._version != self.space.version:
            self._refresh()
        area = g.chunk.scratch_area
        if area is None or area[0] != self._version:
            start, size = g.chunk.scratch_start, g.chunk.scratch_bytes
            # One buffer object holds all of it: drivers allocate scratch in one piece.
            data = self.space.view(start, size, access)
            area = (
                self._version,
                data.view(np.uint32).reshape(-1, g.chunk.scratch_lane_bytes // 4, g.shape[1]),
            )
            g.chunk.scratch_area = area
        return area[1]

    def _check(self, g: Group, address: Any, where: Any, size: int, access: Access) -> Lanes | None:
        """The active lanes, after checking that they stay within their share."""
        active = active_lanes(g, where)
        limit = g.chunk.scratch_lane_bytes - size
        if type(address) is int:
            if 0 <= address <= limit:
                return active
        elif limit >= 0 and address.max() <= limit:
            return active
        spread = np.broadcast_to(np.asarray(address, np.uint32), g.shape)
        outside = spread.astype(np.int64) > limit
        if active is not None:
            outside &= active
        if outside.any():
            first = int(spread.flat[int(outside.argmax())])
            raise VmFault((PRIVATE_APERTURE_HIGH << 32) + first, access, Reason.NOT_PRESENT)
        return np.ones(g.shape, np.bool_) if active is None else active

    @staticmethod
    def _common(address: Any) -> int | None:
        """The address that all lanes share, if they do."""
        if type(address) is int:
            return address
        first = int(address.flat[0])
        return first if (address == first).all() else None

    def load_private(
        self, g: Group, address: Any, where: Any, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Load items per lane from private memory."""
        active = self._check(g, address, where, count * width, Access.READ)
        if active is not None and not active.any():
            return [np.zeros(g.shape, np.uint32)] * count
        area = self._area(g, Access.READ)
        common = self._common(address)
        if common is not None and common % 4 == 0 and width == 4:
            rows = g.chunk_rows
            return [np.array(area[rows, common // 4 + i]) for i in range(count)]
        if _unaligned(address, width, active, g.shape):
            return [self._load_bytes(g, address, active, i * width, width, signed) for i in range(count)]
        results = []
        for i in range(count):
            items, index = self._items(g, area, address, i * width, width, active)
            found = items[index]
            if signed:
                found = found.view(_SIGNED[width]).astype(np.int32)
            results.append(found.astype(np.uint32))
        return results

    def store_private(self, g: Group, address: Any, where: Any, values: tuple[Any, ...], width: int) -> None:
        """Store items per lane to private memory."""
        active = self._check(g, address, where, width * len(values), Access.WRITE)
        if active is not None and not active.any():
            return
        area = self._area(g, Access.WRITE)
        common = self._common(address)
        if common is not None and common % 4 == 0 and width == 4:
            rows = g.chunk_rows
            mask = None if active is None else lane_mask(active, np.int32).view(np.uint32)
            for i, value in enumerate(values):
                if mask is not None:
                    value = select(mask, value, area[rows, common // 4 + i])
                area[rows, common // 4 + i] = value
            return
        if width > 1 and _unaligned(address, width, active, g.shape):
            for byte in range(width * len(values)):
                part = np.asarray(values[byte // width]) >> np.uint32(8 * (byte % width))
                self.store_private(g, np.asarray(address, np.uint32) + np.uint32(byte), active, (part,), 1)
            return
        for i, value in enumerate(values):
            items, index = self._items(g, area, address, i * width, width, active)
            kind = _TYPES[width]
            whole = np.broadcast_to(np.asarray(value).astype(kind), g.shape)
            if active is None:
                items[index] = whole
            else:
                items[index[active]] = whole[active]

    def atomic_private(
        self, g: Group, op: str, address: Any, where: Any, value: Any, compare: Any, dtype: Any, ret: bool
    ) -> Any:
        """Read-modify-write per lane of a dword in private memory."""
        if np.dtype(dtype).itemsize != 4:
            raise NotEmulatedError(g.pc, (), "64-bit atomics on private memory are not emulated")
        active = self._check(g, address, where, 4, Access.ATOMIC)
        lane = np.broadcast_to(np.asarray(address, np.uint32), g.shape).astype(np.uint64)
        dword = (lane >> np.uint64(2)) * np.uint64(g.shape[1]) + g.lane_id
        place = g.chunk.scratch_bases(g) + dword * np.uint64(4)
        return self.atomic_global(g, op, place, active, value, compare, dtype, ret)

    # ---- by flat or scratch instructions ------------------------------------------------------------------

    @staticmethod
    def _check_flat_scratch(g: Group) -> None:
        """IllegalInstruction unless FLAT_SCRATCH, where code has to set it up, holds the wave's address."""
        held = g.chunk.flat_scratch(g)
        if held is None:
            return
        wrong = np.broadcast_to(held != g.chunk.scratch_bases(g), (g.count, 1))
        if g.alive is not None:
            wrong = wrong & g.alive[:, None]
        if wrong.any():
            wave = int(wrong.argmax())
            value = int(np.broadcast_to(held, (g.count, 1))[wave, 0])
            base = int(g.chunk.scratch_bases(g)[wave, 0])
            raise IllegalInstruction(
                g.pc, (), f"FLAT_SCRATCH is {value:#x}, the wave's private memory is at {base:#x}"
            )

    def load_scratch(
        self, g: Group, address: Any, where: Any, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Load items per lane from private memory, by FLAT_SCRATCH."""
        self._check_flat_scratch(g)
        return self.load_private(g, address, where, count, width, signed)

    def store_scratch(self, g: Group, address: Any, where: Any, values: tuple[Any, ...], width: int) -> None:
        """Store items per lane to private memory, by FLAT_SCRATCH."""
        self._check_flat_scratch(g)
        self.store_private(g, address, where, values, width)

    def atomic_scratch(
        self, g: Group, op: str, address: Any, where: Any, value: Any, compare: Any, dtype: Any, ret: bool
    ) -> Any:
        """Read-modify-write per lane of a dword in private memory, by FLAT_SCRATCH."""
        self._check_flat_scratch(g)
        return self.atomic_private(g, op, address, where, value, compare, dtype, ret)

    # ---- items --------------------------------------------------------------------------------------------

    def _load_bytes(
        self, g: Group, address: Any, active: Lanes | None, offset: int, width: int, signed: bool
    ) -> Any:
        """One item per lane byte by byte, at any alignment."""
        item = np.zeros(g.shape, np.uint32)
        for byte in range(width):
            place = np.asarray(address, np.uint32) + np.uint32(offset + byte)
            item |= self.load_private(g, place, active, 1, 1, False)[0] << np.uint32(8 * byte)
        if signed:
            return item.astype(np.uint16).view(np.int16).astype(np.int32).view(np.uint32)
        return item

    def _items(
        self, g: Group, area: Any, address: Any, offset: int, width: int, active: Lanes | None
    ) -> tuple[Any, Any]:
        """The chunk's scratch as items of `width` bytes, and the index of each lane's.

        Disabled lanes index anything that exists. NotEmulatedError for an item that crosses a dword: its
        bytes do not lie together, and compilers do not make such accesses.
        """
        spread = np.broadcast_to(np.asarray(address, np.uint32), g.shape).astype(np.int64) + offset
        if active is not None:
            spread = np.where(active, spread, 0)
        if (spread & (width - 1)).any():
            raise NotEmulatedError(
                g.pc, (), f"private access of {width} bytes at an address that is not a multiple of it"
            )
        lanes = g.shape[1]
        dword = (g.chunk_slots * area.shape[1] + (spread >> 2)) * lanes + g.lane_id
        items = area.reshape(-1).view(_TYPES[width])
        if width == 4:
            return items, dword
        return items, dword * (4 // width) + (spread & 3) // width


def _unaligned(address: Any, width: int, active: Lanes | None, shape: tuple[int, int]) -> bool:
    """Whether any active lane's address is not a multiple of the width."""
    odd = np.asarray(address) & (width - 1) != 0
    if not odd.any():
        return False
    return active is None or bool((np.broadcast_to(odd, shape) & active).any())
