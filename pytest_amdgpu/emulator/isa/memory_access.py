"""Vector and scalar memory instructions of a group of waves.

Addresses come as Python ints, arrays [waves, 1] or arrays [waves, lanes]. An access that the page tables
refuse raises VmFault for the first lane, in wave and lane order, before anything is stored.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_amdgpu.emulator.isa.atomics import atomic
from pytest_amdgpu.emulator.isa.gather import Store
from pytest_amdgpu.emulator.memory import Access, AddressSpace, Mapping, Reason, VmFault

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group

SHARED_APERTURE_HIGH = 0x10000
"""High half of flat addresses in the LDS aperture (base 1 << 48)."""
PRIVATE_APERTURE_HIGH = 0x20000
"""High half of flat addresses in the private aperture (base 2 << 48)."""

Lanes = npt.NDArray[np.bool_]


class MemoryAccess:
    """Global, flat, LDS, scratch and scalar accesses of one dispatch."""

    def __init__(self, space: AddressSpace) -> None:
        self.space = space
        self._version = -1
        self._stores: dict[Mapping, Store] = {}
        self._last: Mapping | None = None
        self._starts = np.empty(0, np.uint64)
        self._ends = np.empty(0, np.uint64)
        self._mappings: tuple[Mapping, ...] = ()

    # ---- translation --------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Forget translations that may have changed."""
        self._version = self.space.version
        self._mappings = self.space.mappings
        self._starts = np.array([mapping.start for mapping in self._mappings], np.uint64)
        self._ends = np.array([mapping.end for mapping in self._mappings], np.uint64)
        self._stores.clear()
        self._last = None

    def _store(self, mapping: Mapping) -> Store:
        store = self._stores.get(mapping)
        if store is None:
            store = self._stores[mapping] = Store(mapping.data)
        return store

    def _one_mapping(self, low: int, end: int, access: Access) -> Mapping | None:
        """The mapping that holds [low, end) and permits the access, if it is one."""
        if self._version != self.space.version:
            self._refresh()
        mapping = self._last
        if mapping is None or low < mapping.start or end > mapping.end:
            mapping = self.space.find(low)
            if mapping is None or end > mapping.end:
                return None
            self._last = mapping
        if access is not Access.READ and not mapping.writable:
            return None
        return mapping

    def _place(
        self, address: Any, active: Lanes | None, shape: tuple[int, int], size: int, access: Access
    ) -> tuple[list[tuple[Store, Any, Any]], bool]:
        """Find where lanes go: (store, which lanes, offsets of these lanes) for every mapping that is met.

        "Which lanes" is None for all of them (then offsets have the whole shape). The second result is
        whether lanes cross from one mapping into the next; such lanes are missing from the first.
        """
        if type(address) is int or address.ndim < 2 or address.shape != shape:
            address = np.broadcast_to(np.asarray(address, np.uint64), shape)
        chosen = address if active is None else address[active]
        low, high = int(chosen.min()), int(chosen.max())
        mapping = self._one_mapping(low, high + size, access)
        if mapping is not None:
            return [(self._store(mapping), active, (chosen - np.uint64(mapping.start)).view(np.int64))], False
        return self._place_many(chosen.reshape(-1), active, shape, size, access)

    def _place_many(
        self, addresses: Any, active: Lanes | None, shape: tuple[int, int], size: int, access: Access
    ) -> tuple[list[tuple[Store, Any, Any]], bool]:
        if active is None:
            active = np.ones(shape, np.bool_)
        lanes = np.flatnonzero(active)
        which = np.searchsorted(self._starts, addresses, "right") - 1
        ends = addresses + np.uint64(size)
        known = which >= 0
        inside = known & (ends <= self._ends[which] if len(self._ends) else False)
        for position in np.flatnonzero(~inside).tolist():
            # Rare: report a fault, or find that the lane goes on in the next mapping.
            self.space.spans(int(addresses[position]), size, access)
        if access is not Access.READ:
            for index in np.unique(which[inside]).tolist():
                if not self._mappings[index].writable:
                    position = int(np.flatnonzero(inside & (which == index))[0])
                    raise VmFault(int(addresses[position]), access, Reason.READ_ONLY)
        places = []
        for index in np.unique(which[inside]).tolist():
            mapping = self._mappings[index]
            here = inside & (which == index)
            selected = np.zeros(active.size, np.bool_)
            selected[lanes[here]] = True
            offsets = (addresses[here] - np.uint64(mapping.start)).view(np.int64)
            places.append((self._store(mapping), selected.reshape(shape), offsets))
        return places, not inside.all()

    @staticmethod
    def _active(g: Group, where: Any) -> Lanes | None:
        """The lanes that take part; None for all."""
        if where is None or where is True:
            everywhere: Lanes | None = g.active
            return everywhere
        active: Lanes | None = g.active
        lanes: Lanes = np.broadcast_to(where, g.shape)
        return lanes if active is None else lanes & active

    # ---- global -------------------------------------------------------------------------------------------

    def load_global(
        self, g: Group, address: Any, where: Any, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Load items per lane; 0 where inactive."""
        active = self._active(g, where)
        if active is not None and not active.any():
            return [np.zeros(g.shape, np.uint32)] * count
        places, crossing = self._place(address, active, g.shape, count * width, Access.READ)
        if not crossing and places[0][1] is None:
            return places[0][0].load(places[0][2], count, width, signed)
        results = [np.zeros(g.shape, np.uint32) for _ in range(count)]
        for store, lanes, offsets in places:
            for result, items in zip(results, store.load(offsets, count, width, signed), strict=True):
                result[lanes] = items
        if crossing:
            self._load_crossing(g, address, active, places, results, width, signed)
        return results

    def _crossing(self, g: Group, active: Lanes | None, places: list[tuple[Store, Any, Any]]) -> Any:
        rest = np.ones(g.shape, np.bool_) if active is None else active.copy()
        for _, lanes, _ in places:
            rest &= ~lanes
        return np.argwhere(rest)

    def _load_crossing(
        self,
        g: Group,
        address: Any,
        active: Lanes | None,
        places: list[tuple[Store, Any, Any]],
        results: list[Any],
        width: int,
        signed: bool,
    ) -> None:
        addresses = np.broadcast_to(np.asarray(address, np.uint64), g.shape)
        for row, lane in self._crossing(g, active, places):
            data = self.space.read(int(addresses[row, lane]), width * len(results))
            for i, result in enumerate(results):
                item = int.from_bytes(data[i * width : (i + 1) * width], "little", signed=signed)
                result[row, lane] = item & 0xFFFFFFFF

    def store_global(self, g: Group, address: Any, where: Any, values: tuple[Any, ...], width: int) -> None:
        """Store items per lane."""
        active = self._active(g, where)
        if active is not None and not active.any():
            return
        size = width * len(values)
        places, crossing = self._place(address, active, g.shape, size, Access.WRITE)
        for store, lanes, offsets in places:
            store.store(offsets, tuple(_chosen(value, lanes, g.shape) for value in values), width)
        if crossing:
            addresses = np.broadcast_to(np.asarray(address, np.uint64), g.shape)
            columns = [np.broadcast_to(value, g.shape) for value in values]
            for row, lane in self._crossing(g, active, places):
                data = b"".join(int(column[row, lane]).to_bytes(4, "little")[:width] for column in columns)
                self.space.write(int(addresses[row, lane]), data)

    def atomic_global(
        self, g: Group, op: str, address: Any, where: Any, value: Any, compare: Any, dtype: Any, ret: bool
    ) -> Any:
        """Read-modify-write per lane; returns what was there."""
        active = self._active(g, where)
        width = np.dtype(dtype).itemsize
        result = np.zeros(g.shape, dtype)
        if active is not None and not active.any():
            return result
        addresses = np.broadcast_to(np.asarray(address, np.uint64), g.shape)
        aligned = addresses & np.uint64(~(width - 1) & (1 << 64) - 1)
        with self.space.atomic_lock:
            places, _ = self._place(aligned, active, g.shape, width, Access.ATOMIC)
            for store, lanes, offsets in places:
                old = atomic(
                    store.aligned(width).view(dtype),
                    op,
                    (offsets >> (width.bit_length() - 1)).reshape(-1),
                    _flat(value, lanes, g.shape, dtype),
                    None if compare is None else _flat(compare, lanes, g.shape, dtype),
                    ret,
                )
                if ret:
                    result[... if lanes is None else lanes] = old.reshape(offsets.shape)
        return result

    # ---- LDS ----------------------------------------------------------------------------------------------

    def _lds_offsets(self, g: Group, address: Any, where: Any, size: int) -> tuple[Lanes | None, Any]:
        """The lanes that are in range, and their offsets in the LDS of all workgroups of the chunk."""
        active = self._active(g, where)
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
        return found if active is None else _spread(found, active, g.shape)

    def store_lds(self, g: Group, address: Any, where: Any, values: tuple[Any, ...], width: int) -> None:
        """Store items per lane to the workgroup's LDS; dropped out of range."""
        active, offsets = self._lds_offsets(g, address, where, width * len(values))
        if offsets.size:
            g.chunk.lds.store(offsets, tuple(_chosen(value, active, g.shape) for value in values), width)

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
                _flat(value, active, g.shape, dtype),
                None if compare is None else _flat(compare, active, g.shape, dtype),
                ret,
            )
            if ret:
                result[... if active is None else active] = old.reshape(offsets.shape)
        return result

    # ---- scratch ------------------------------------------------------------------------------------------

    def _scratch_address(self, g: Group, address: Any) -> Any:
        """Where private memory lies: dwords of the lanes of a wave are interleaved.

        Raises VmFault at the (low) private address when the dispatch has no scratch.
        """
        address = np.broadcast_to(np.asarray(address, np.uint32), g.shape)
        wave = g.chunk.scratch_bases(g)
        lane_offset = (g.lane_id * np.uint32(4)).astype(np.uint64)
        wide = address.astype(np.uint64)
        dword = (wide >> np.uint64(2)) * np.uint64(4 * g.shape[1])
        return wave + dword + lane_offset + (wide & np.uint64(3))

    def _scratch_check(self, g: Group, address: Any, where: Any, size: int, access: Access) -> Lanes | None:
        """The active lanes, after checking that they stay within the private segment."""
        active = self._active(g, where)
        limit = g.chunk.scratch_lane_bytes
        address = np.broadcast_to(np.asarray(address, np.uint32), g.shape)
        outside = address.astype(np.uint64) + np.uint64(size) > np.uint64(limit)
        if active is not None:
            outside &= active
        if outside.any():
            position = int(outside.argmax())
            raise VmFault(
                (PRIVATE_APERTURE_HIGH << 32) + int(address.flat[position]), access, Reason.NOT_PRESENT
            )
        return active

    def load_scratch(
        self, g: Group, address: Any, where: Any, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Load items per lane from private memory."""
        active = self._scratch_check(g, address, where, count * width, Access.READ)
        if active is not None and not active.any():
            return [np.zeros(g.shape, np.uint32)] * count
        if width > 1 and np.any(np.asarray(address) & np.uint32(width - 1)):
            return self._load_scratch_bytes(g, address, active, count, width, signed)
        results = []
        for i in range(count):
            place = self._scratch_address(g, address if i == 0 else address + np.uint32(4 * i))
            results += self.load_global(g, place, active, 1, width, signed)
        return results

    def _load_scratch_bytes(
        self, g: Group, address: Any, active: Lanes | None, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Unaligned: dwords of a lane are not consecutive, so byte by byte."""
        results = []
        for i in range(count):
            item = np.zeros(g.shape, np.uint32)
            for byte in range(width):
                place = self._scratch_address(g, np.asarray(address, np.uint32) + np.uint32(i * width + byte))
                item |= self.load_global(g, place, active, 1, 1, False)[0] << np.uint32(8 * byte)
            if signed and width == 2:
                item = item.astype(np.int16).astype(np.int32).view(np.uint32)
            results.append(item)
        return results

    def store_scratch(self, g: Group, address: Any, where: Any, values: tuple[Any, ...], width: int) -> None:
        """Store items per lane to private memory."""
        active = self._scratch_check(g, address, where, width * len(values), Access.WRITE)
        if active is not None and not active.any():
            return
        if width > 1 and np.any(np.asarray(address) & np.uint32(width - 1)):
            for i, value in enumerate(values):
                for byte in range(width):
                    place = self._scratch_address(
                        g, np.asarray(address, np.uint32) + np.uint32(i * width + byte)
                    )
                    self.store_global(g, place, active, (np.asarray(value) >> np.uint32(8 * byte),), 1)
            return
        for i, value in enumerate(values):
            place = self._scratch_address(g, address if i == 0 else address + np.uint32(4 * i))
            self.store_global(g, place, active, (value,), width)

    def atomic_scratch(
        self, g: Group, op: str, address: Any, where: Any, value: Any, compare: Any, dtype: Any, ret: bool
    ) -> Any:
        """Read-modify-write per lane of a dword in private memory."""
        active = self._scratch_check(g, address, where, np.dtype(dtype).itemsize, Access.ATOMIC)
        if np.dtype(dtype).itemsize != 4:
            raise NotImplementedError("64-bit atomic in private memory")
        return self.atomic_global(
            g, op, self._scratch_address(g, address), active, value, compare, dtype, ret
        )

    # ---- flat ---------------------------------------------------------------------------------------------

    def _spaces(self, g: Group, address: Any, where: Any) -> list[tuple[str, Any, Any]]:
        """The spaces that the lanes address: (name, which lanes, address in the space)."""
        active = self._active(g, where)
        address = np.broadcast_to(np.asarray(address, np.uint64), g.shape)
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
        for name, lanes, place in self._spaces(g, address, where):
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

    # ---- scalar -------------------------------------------------------------------------------------------

    def load_scalar(self, g: Group, address: Any, count: int, width: int, signed: bool) -> list[Any]:
        """Load items at a scalar address: Python ints for a Python int, else arrays [waves, 1]."""
        if type(address) is int:
            return self._load_uniform(address, count, width, signed)
        address = np.ascontiguousarray(address)
        living = g.living
        if g.alive is not None:
            address = np.where(g.alive[:, None], address, address[living[0]])
        if width == 4:
            address = address & np.uint64(~3 & (1 << 64) - 1)
        places, crossing = self._place(address, None, address.shape, count * width, Access.READ)
        if not crossing and places[0][1] is None:
            return places[0][0].load(places[0][2], count, width, signed)
        rows = [self._load_uniform(int(row), count, width, signed) for row in address[:, 0]]
        return [np.array(column, np.uint32)[:, None] for column in zip(*rows, strict=True)]

    def _load_uniform(self, address: int, count: int, width: int, signed: bool) -> list[Any]:
        if width < 4:
            item = int.from_bytes(self.space.read(address, width), "little", signed=signed)
            return [item & 0xFFFFFFFF]
        address &= ~3
        mapping = self._one_mapping(address, address + 4 * count, Access.READ)
        if mapping is not None:
            first = (address - mapping.start) >> 2
            return mapping.u32[first : first + count].tolist()
        return list(struct.unpack(f"<{count}I", self.space.read(address, 4 * count)))


def _chosen(value: Any, lanes: Any, shape: tuple[int, int]) -> Any:
    """The values of some lanes; a single value serves all."""
    if lanes is None or np.ndim(value) == 0:
        return value
    return np.broadcast_to(value, shape)[lanes]


def _flat(value: Any, lanes: Any, shape: tuple[int, int], dtype: Any) -> Any:
    """The values of some lanes as a flat array."""
    whole = np.broadcast_to(np.asarray(value, dtype), shape)
    return (whole if lanes is None else whole[lanes]).reshape(-1)


def _spread(found: list[Any], lanes: Lanes, shape: tuple[int, int]) -> list[Any]:
    """Values of some lanes in an array of all, 0 elsewhere."""
    results = []
    for items in found:
        result = np.zeros(shape, np.uint32)
        result[lanes] = items
        results.append(result)
    return results
