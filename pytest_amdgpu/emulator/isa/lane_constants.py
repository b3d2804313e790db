"""Arrays over lanes that many blocks need: lane numbers, masks, numbers in every lane; kept by number of
waves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_KEPT = 64


class LaneConstants:
    """Constant arrays for groups of waves of one size. Nobody changes them: arrays of registers never are."""

    def __init__(self, wave_size: int) -> None:
        self.wave_size = wave_size
        self._lane_ids: dict[int, Any] = {}
        self._splats: dict[tuple[int, int], Any] = {}
        self._masks: dict[tuple[int, int], list[Any]] = {}

    def lane_id(self, count: int) -> Any:
        """Lane numbers [count, lanes]."""
        found = self._lane_ids.get(count)
        if found is None:
            row = np.arange(self.wave_size, dtype=np.uint32)
            found = self._lane_ids[count] = np.tile(row, (count, 1))
        return found

    def splat(self, value: int, count: int) -> Any:
        """A number in every lane [count, lanes]; kept, because arrays of registers are never changed."""
        found = self._splats.get((value, count))
        if found is None:
            if len(self._splats) > _KEPT:
                self._splats.clear()
            found = self._splats[value, count] = np.full((count, self.wave_size), value, np.uint32)
        return found

    def _mask(self, bits: int, count: int) -> list[Any]:
        found = self._masks.get((bits, count))
        if found is None:
            if len(self._masks) > _KEPT:
                self._masks.clear()
            octets = np.frombuffer(bits.to_bytes(8, "little"), np.uint8)
            row = np.unpackbits(octets, bitorder="little").view(np.bool_)[: self.wave_size]
            found = self._masks[bits, count] = [np.tile(row, (count, 1)), None]
        return found

    def mask_lanes(self, bits: int, count: int) -> Any:
        """The bits of a mask as truth values [count, lanes]."""
        return self._mask(bits, count)[0]

    def wide_mask(self, lanes: Any, bits: Any, count: int) -> Any:
        """Truth values as 32-bit masks; `bits` is the same as a scalar."""
        if type(bits) is not int:
            return np.negative(lanes.view(np.int8)).astype(np.int32).view(np.uint32)
        entry = self._mask(bits, count)
        if entry[1] is None:
            entry[1] = np.negative(entry[0].view(np.int8)).astype(np.int32).view(np.uint32)
        return entry[1]
