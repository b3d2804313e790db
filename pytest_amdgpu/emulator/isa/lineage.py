"""Where the registers of a group of waves are found after the group has parted from others or joined them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]


class Part:
    """Rows of the registers of a group as they were at some moment."""

    def __init__(self, registers: list[Any], source: Source, rows: Rows, positions: Rows | None) -> None:
        self.registers = registers
        self.source = source
        self.rows = rows
        self.positions = positions

    def resolve(self, index: int) -> tuple[Any, Rows]:
        """Return an array and which of its rows the part's rows are."""
        array = self.registers[index]
        # A copy that has not been written since leads back to where it came from.
        if array is None or array is self.source.copies.get(index):
            base, rows = self.source.resolve(index)
            return base, self.rows if rows is None else rows[self.rows]
        return array, self.rows


class Source:
    """Where a group finds registers that it has not touched since it was made from `parts`.

    Without parts every register is `undefined`, an array of one row.
    """

    def __init__(self, parts: Sequence[Part], count: int, undefined: Any = None) -> None:
        self.parts = parts
        self._undefined = undefined
        self.count = count
        self.copies: dict[int, Any] = {}
        self._resolved: dict[int, tuple[Any, Rows | None]] = {}
        self.depth: int = 1 + max((part.source.depth for part in parts), default=0)

    def resolve(self, index: int) -> tuple[Any, Rows | None]:
        """Return an array and which of its rows the group has; None for all of them in order."""
        answer = self._resolved.get(index)
        if answer is None:
            # Remembered, because the same ancestors are reached on many ways.
            answer = self._resolved[index] = self._resolve(index)
        return answer

    def _resolve(self, index: int) -> tuple[Any, Rows | None]:
        if not self.parts:
            return self._undefined, np.zeros(self.count, np.intp)
        found = [part.resolve(index) for part in self.parts]
        first = found[0][0]
        if len(found) == 1:
            return found[0]
        if all(array is first for array, _ in found):
            rows = np.empty(self.count, np.intp)
            for part, (_, part_rows) in zip(self.parts, found, strict=True):
                rows[part.positions] = part_rows
            if len(first) == self.count and (rows == np.arange(self.count)).all():
                return first, None
            return first, rows
        joined = np.empty((self.count, first.shape[1]), first.dtype)
        for part, (array, part_rows) in zip(self.parts, found, strict=True):
            joined[part.positions] = array[part_rows]
        return joined, None

    def get(self, index: int) -> Any:
        """Return the register's array."""
        array, rows = self.resolve(index)
        if rows is not None:
            array = np.take(array, rows, axis=0)
        self.copies[index] = array
        return array
