"""Assertions about what lies in GPU memory, whose messages suit megabytes: how much differs, and where."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_SHOWN = 8
"""Differing places that a message shows."""


def assert_equal(actual: Any, expected: Any) -> None:
    """Assert that two buffers (anything with an `array`) or arrays hold the same.

    Two arrays must have the same shape and type, and are compared by element; a NaN equals a NaN of the
    same bits. A buffer is compared by byte, with an array too.
    """
    __tracebackhide__ = True
    first, second = _array(actual), _array(expected)
    if hasattr(actual, "array") or hasattr(expected, "array"):
        first, second = _bytes_of(first), _bytes_of(second)
    if (first.shape, first.dtype) != (second.shape, second.dtype):
        raise AssertionError(
            f"{first.dtype} of shape {first.shape} cannot equal {second.dtype} of shape {second.shape}"
        )
    if difference := describe_difference(first, second):
        raise AssertionError(difference)


def describe_difference(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> str:
    """Return where two arrays of one shape and type differ, or an empty text."""
    size = actual.dtype.itemsize
    first = _bytes_of(actual).reshape(actual.size, size)
    second = _bytes_of(expected).reshape(actual.size, size)
    places = np.flatnonzero((first != second).any(axis=1))
    if not places.size:
        return ""
    what = "bytes" if actual.dtype == np.uint8 else f"elements of {actual.dtype}"
    lines = [
        f"{places.size} of {actual.size} {what} differ, from offset {places[0] * size:#x} to "
        f"{places[-1] * size + size - 1:#x}"
    ]
    values, wanted = actual.reshape(-1), expected.reshape(-1)
    lines += [
        f"  at {place * size:#x}: {_text(values[place])}, expected {_text(wanted[place])}"
        for place in places[:_SHOWN]
    ]
    if places.size > _SHOWN:
        lines.append("  ...")
    return "\n".join(lines)


def _array(value: Any) -> npt.NDArray[Any]:
    return np.ascontiguousarray(value.array if hasattr(value, "array") else value)


def _bytes_of(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


def _text(value: Any) -> str:
    if isinstance(value, np.unsignedinteger):
        return f"{int(value):#0{2 + 2 * value.itemsize}x}"
    return str(value)
