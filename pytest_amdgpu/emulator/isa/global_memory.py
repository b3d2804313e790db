"""Global and scalar memory instructions of a group of waves.

Addresses come as Python ints, arrays [waves, 1] or arrays [waves, lanes]. An access that the page tables
refuse raises VmFault for the first lane, in wave and lane order, before anything is stored.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.atomics import atomic
from pytest_amdgpu.emulator.isa.gather import Store
from pytest_amdgpu.emulator.isa.lanes import Lanes, active_lanes, chosen, flat
from pytest_amdgpu.emulator.memory import Access, AddressSpace, Mapping

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group


class GlobalMemory:
    """Global and scalar accesses of one dispatch."""

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
        if self.space.poisoned and access is not Access.WRITE:
            for first in chosen.reshape(-1).tolist():
                self.space.check_poison(first, size)
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
        # An end that is not above the beginning has gone past 64 bits.
        known = (which >= 0) & (ends > addresses)
        inside = known & (ends <= self._ends[which] if len(self._ends) else False)
        met = np.unique(which[inside]).tolist()
        refused = ~inside
        if access is not Access.READ:
            # Only mappings that are met are asked: caches copy a buffer for whoever asks to write it.
            refused |= np.isin(which, [index for index in met if not self._mappings[index].writable])
        for position in np.flatnonzero(refused).tolist():
            # Rare: this reports a fault, or finds that the lane goes on in the next mapping.
            self.space.spans(int(addresses[position]), size, access)
        places = []
        for index in met:
            mapping = self._mappings[index]
            here = inside & (which == index)
            selected = np.zeros(active.size, np.bool_)
            selected[lanes[here]] = True
            offsets = (addresses[here] - np.uint64(mapping.start)).view(np.int64)
            places.append((self._store(mapping), selected.reshape(shape), offsets))
        return places, not inside.all()

    # ---- global -------------------------------------------------------------------------------------------

    def load_global(
        self, g: Group, address: Any, where: Any, count: int, width: int, signed: bool
    ) -> list[Any]:
        """Load items per lane; 0 where inactive."""
        active = active_lanes(g, where)
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
        active = active_lanes(g, where)
        if active is not None and not active.any():
            return
        size = width * len(values)
        places, crossing = self._place(address, active, g.shape, size, Access.WRITE)
        for store, lanes, offsets in places:
            store.store(offsets, tuple(chosen(value, lanes, g.shape) for value in values), width)
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
        active = active_lanes(g, where)
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
                    flat(value, lanes, g.shape, dtype),
                    None if compare is None else flat(compare, lanes, g.shape, dtype),
                    ret,
                )
                if ret:
                    result[... if lanes is None else lanes] = old.reshape(offsets.shape)
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
        if self.space.poisoned:
            self.space.check_poison(address, 4 * count)
        mapping = self._one_mapping(address, address + 4 * count, Access.READ)
        if mapping is not None:
            first = (address - mapping.start) >> 2
            return mapping.u32[first : first + count].tolist()
        return list(struct.unpack(f"<{count}I", self.space.read(address, 4 * count)))
