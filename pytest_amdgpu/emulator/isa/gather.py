"""Loads, stores and read-modify-writes of many lanes on one array of bytes.

Offsets are int64 arrays of byte offsets, all within the bytes; values are uint32 arrays of the same shape.
Unaligned offsets are allowed. Where lanes overlap, the last one in array order wins a store.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]

_TYPES: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_SIGNED: dict[int, Any] = {1: np.int8, 2: np.int16}
_iota_cache: dict[tuple[int, int], Offsets] = {}


def _iota(count: int, stride: int) -> Offsets:
    """0, stride, 2 * stride, ...: kept, because the same few are asked for again and again."""
    found = _iota_cache.get((count, stride))
    if found is None:
        if len(_iota_cache) > 64:
            _iota_cache.clear()
        found = _iota_cache[count, stride] = np.arange(count, dtype=np.int64) * stride
    return found


class Store:
    """Bytes seen as items of 1, 2, 4 and 8 bytes, at aligned and at any offsets."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self._aligned: dict[int, Any] = {1: data}
        self._unaligned: dict[int, Any] = {1: data}

    def aligned(self, width: int) -> Any:
        """Items of `width` bytes, indexed by offset // width."""
        view = self._aligned.get(width)
        if view is None:
            size = self.data.size // width * width
            view = self._aligned[width] = self.data[:size].view(_TYPES[width])
        return view

    def unaligned(self, width: int) -> Any:
        """Items of `width` bytes, indexed by offset."""
        view = self._unaligned.get(width)
        if view is None:
            view = self._unaligned[width] = np.ndarray(
                (self.data.size - width + 1,), _TYPES[width], self.data, strides=(1,)
            )
        return view

    def _items(self, offsets: Offsets, width: int) -> tuple[Any, Offsets, int]:
        """The view that suits the offsets, the indices into it, and its step from one item to the next."""
        if width == 1:
            return self.data, offsets, 1
        if np.bitwise_or.reduce(offsets, axis=None) & (width - 1):
            return self.unaligned(width), offsets, width
        return self.aligned(width), offsets >> (width.bit_length() - 1), 1

    def load(self, offsets: Offsets, count: int, width: int, signed: bool) -> list[Words]:
        """Load `count` consecutive items per offset, extended to 32 bits."""
        run = self._contiguous(offsets, count * width)
        if run is not None:
            items = run.view(_TYPES[width]).reshape(*offsets.shape, count)
            found = [items[..., i] for i in range(count)]
        else:
            view, index, step = self._items(offsets, width)
            found = [view[index + i * step if i else index] for i in range(count)]
        if width == 4:
            return [np.array(item) for item in found] if run is not None else found
        if signed:
            return [item.view(_SIGNED[width]).astype(np.int32).view(np.uint32) for item in found]
        return [item.astype(np.uint32) for item in found]

    def store(self, offsets: Offsets, values: tuple[Any, ...], width: int) -> None:
        """Store consecutive items per offset; values may be scalars."""
        count = len(values)
        run = self._contiguous(offsets, count * width)
        if run is not None:
            items = run.view(_TYPES[width]).reshape(*offsets.shape, count)
            for i, value in enumerate(values):
                items[..., i] = value
            return
        view, index, step = self._items(offsets, width)
        for i, value in enumerate(values):
            narrow = value if width == 4 else np.asarray(value).astype(_TYPES[width])
            view[index + i * step if i else index] = narrow

    def _contiguous(self, offsets: Offsets, size: int) -> Bytes | None:
        """The bytes that the offsets cover, if each begins where the one before ends."""
        flat = offsets.reshape(-1)
        count = flat.size
        first = int(flat[0])
        if int(flat[-1]) - first != size * (count - 1):
            return None
        if count > 1 and not (flat - first == _iota(count, size)).all():
            return None
        return self.data[first : first + size * count]
