"""What the client has mapped through the kernel, by CPU address: buffers, doorbells, events."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory


@dataclass(frozen=True)
class ClientMap:
    """CPU addresses [start, end) that show `memory` from `offset` on; keeps that memory alive."""

    start: int
    end: int
    memory: HostMemory
    offset: int
    owner: object
    """The buffer object, doorbell page or event table that the memory belongs to."""


class ClientMaps:
    """A table of non-overlapping `ClientMap`s."""

    def __init__(self) -> None:
        self._maps: list[ClientMap] = []

    def __len__(self) -> int:
        return len(self._maps)

    def find(self, address: int) -> ClientMap | None:
        """Return the map that holds an address, if any."""
        index = bisect_right(self._maps, address, key=lambda item: item.start) - 1
        if index >= 0 and address < self._maps[index].end:
            return self._maps[index]
        return None

    def overlaps(self, start: int, end: int) -> bool:
        """Whether a map has addresses of [start, end)."""
        return any(item.start < end and start < item.end for item in self._maps)

    def add(self, item: ClientMap) -> None:
        """Enter a map that the host has just made; what it covers is gone."""
        self.remove(item.start, item.end)
        insort(self._maps, item, key=lambda other: other.start)

    def remove(self, start: int, end: int) -> None:
        """Forget [start, end): whole maps, or the part of a map that lies in it."""
        first = bisect_right(self._maps, start, key=lambda item: item.end)
        last = bisect_left(self._maps, end, key=lambda item: item.start)
        kept = []
        for item in self._maps[first:last]:
            if item.start < start:
                kept.append(replace(item, end=start))
            if item.end > end:
                cut = end - item.start
                kept.append(replace(item, start=end, offset=item.offset + cut))
        self._maps[first:last] = kept

    def clear(self) -> None:
        """Forget everything."""
        self._maps = []
