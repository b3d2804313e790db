"""Read-modify-write of many lanes on one array, as if the lanes came one after the other.

Where all lanes hit different items one numpy operation does it. Where they collide, integer additions become
a running sum per item, and everything else goes lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Scalar = Any

_UNSIGNED_TO_SIGNED = {np.dtype(np.uint32): np.int32, np.dtype(np.uint64): np.int64}


def _signed(array: Any) -> Any:
    return array.view(_UNSIGNED_TO_SIGNED[array.dtype])


def _minimum(old: Any, value: Any) -> Any:
    return np.minimum(_signed(old), _signed(value)).view(old.dtype)


def _maximum(old: Any, value: Any) -> Any:
    return np.maximum(_signed(old), _signed(value)).view(old.dtype)


def _increment(old: Any, value: Any) -> Any:
    return np.where(old >= value, 0, old + old.dtype.type(1)).astype(old.dtype)


def _decrement(old: Any, value: Any) -> Any:
    return np.where((old == 0) | (old > value), value, old - old.dtype.type(1)).astype(old.dtype)


def _pk_add_f16(old: Any, value: Any) -> Any:
    return (old.view(np.float16) + value.view(np.float16)).view(old.dtype)


def _bf16(words: Any) -> Any:
    return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _pk_add_bf16(old: Any, value: Any) -> Any:
    total = (_bf16(old.view(np.uint16)) + _bf16(value.view(np.uint16))).view(np.uint32)
    rounded = (total + np.uint32(0x7FFF) + (total >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    nan = (total & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    rounded = np.where(nan, (total >> np.uint32(16)) | np.uint32(0x40), rounded)
    return rounded.astype(np.uint16).view(old.dtype)


_VECTOR: dict[str, Callable[[Any, Any], Any]] = {
    "swap": lambda old, value: value,
    "add": np.add,
    "sub": np.subtract,
    "rsub": lambda old, value: value - old,
    "smin": _minimum,
    "umin": np.minimum,
    "smax": _maximum,
    "umax": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "inc": _increment,
    "dec": _decrement,
    "fadd": np.add,
    "fmin": np.fmin,
    "fmax": np.fmax,
    "pk_add_f16": _pk_add_f16,
    "pk_add_bf16": _pk_add_bf16,
}

# Operations whose order does not matter to what is left in memory, and numpy's function for them.
_UNORDERED: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "umin": np.minimum,
    "umax": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def atomic(items: Any, op: str, index: Any, value: Any, compare: Any | None, ret: bool) -> Any:
    """Apply `op` to `items[index]` lane by lane in order; return what each lane found there.

    `index` is a flat array, `value` (and `compare` for cmpswap) arrays of the same length and the type of
    `items`. Without `ret` the result is meaningless.
    """
    if not ret and op in _UNORDERED:
        _UNORDERED[op].at(items, index, value)
        return value
    if op in ("smin", "smax") and not ret:
        (np.minimum if op == "smin" else np.maximum).at(_signed(items), index, _signed(value))
        return value
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    first = np.ones(len(index), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    if first.all():
        old = items[index]
        if op == "cmpswap":
            items[index] = np.where(old == compare, value, old)
        else:
            items[index] = _VECTOR[op](old, value)
        return old
    if op in ("add", "sub"):
        return _running_sum(items, order, ordered, first, value if op == "add" else -value)
    return _one_by_one(items, op, index, value, compare)


def _running_sum(items: Any, order: Any, ordered: Any, first: Any, value: Any) -> Any:
    """Additions that collide: each lane finds the item plus what lanes before it added."""
    sums = np.cumsum(value[order], dtype=items.dtype)
    starts = np.flatnonzero(first)
    before = sums - value[order]
    base = before[starts]
    lengths = np.diff(np.append(starts, len(order)))
    found = items[ordered] + (before - np.repeat(base, lengths))
    ends = np.append(starts[1:], len(order)) - 1
    items[ordered[starts]] += sums[ends] - base
    old = np.empty_like(found)
    old[order] = found
    return old


def _one_by_one(items: Any, op: str, index: Any, value: Any, compare: Any | None) -> Any:
    old = np.empty(len(index), items.dtype)
    function = _VECTOR.get(op)
    for lane, position in enumerate(index.tolist()):
        was = items[position : position + 1]
        old[lane] = was[0]
        if compare is not None:
            if was[0] == compare[lane]:
                items[position] = value[lane]
        elif function is not None:
            items[position] = function(was.copy(), value[lane : lane + 1])[0]
    return old
