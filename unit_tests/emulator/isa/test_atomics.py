"""Atomics behave as if the lanes came one after the other. Oracle: a loop over Python ints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_amdgpu.emulator.isa.atomics import atomic

MASK = 0xFFFFFFFF


def signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


ORACLES: dict[str, Callable[[int, int], int]] = {
    "swap": lambda old, value: value,
    "add": lambda old, value: old + value,
    "sub": lambda old, value: old - value,
    "rsub": lambda old, value: value - old,
    "smin": lambda old, value: min(old, value, key=signed),
    "umin": min,
    "smax": lambda old, value: max(old, value, key=signed),
    "umax": max,
    "and": lambda old, value: old & value,
    "or": lambda old, value: old | value,
    "xor": lambda old, value: old ^ value,
    "inc": lambda old, value: 0 if old >= value else old + 1,
    "dec": lambda old, value: value if old == 0 or old > value else old - 1,
}


@pytest.mark.parametrize("slots", [3, 1000], ids=["colliding", "mostly apart"])
@pytest.mark.parametrize("returning", [True, False])
@pytest.mark.parametrize("op", [*ORACLES, "cmpswap"])
def test_atomic_in_lane_order(op: str, returning: bool, slots: int) -> None:
    generator = np.random.default_rng(7)
    items = generator.integers(0, 1 << 32, slots, dtype=np.uint32)
    if op in ("inc", "dec", "cmpswap"):
        items %= 5
    index = generator.integers(0, slots, 200)
    value = generator.integers(0, 1 << 32, 200, dtype=np.uint32)
    if op in ("inc", "dec", "cmpswap"):
        value %= 7
    compare = generator.integers(0, 5, 200, dtype=np.uint32) if op == "cmpswap" else None
    expected = items.tolist()
    found = []
    for lane, place in enumerate(index.tolist()):
        old = expected[place]
        found.append(old)
        if compare is None:
            expected[place] = ORACLES[op](old, int(value[lane])) & MASK
        elif old == compare[lane]:
            expected[place] = int(value[lane])
    result = atomic(items, op, index, value, compare, returning)
    assert items.tolist() == expected
    if returning:
        assert result.tolist() == found


def test_distinct_places() -> None:
    items = np.arange(100, dtype=np.uint64)
    old = atomic(items, "umax", np.arange(100)[::-1], np.full(100, 50, np.uint64), None, True)
    assert old.tolist() == list(range(99, -1, -1))
    assert items.tolist() == [max(i, 50) for i in range(100)]


def test_floats_add_in_lane_order() -> None:
    items = np.zeros(1, np.float32)
    value = np.array([2**24, 1, 1, -(2**24)], np.float32)
    old = atomic(items, "fadd", np.zeros(4, np.int64), value, None, True)
    # 2**24 + 1 rounds back to 2**24, twice: another order would leave 2.
    assert old.tolist() == [0, 2**24, 2**24, 2**24]
    assert items[0] == 0


def test_pairs_of_halves() -> None:
    items = np.array([1.0, 2.0], np.float16).view(np.uint32)
    value: Any = np.array([0.5, -1.0], np.float16).view(np.uint32)
    atomic(items, "pk_add_f16", np.zeros(1, np.int64), value, None, False)
    assert items.view(np.float16).tolist() == [1.5, 1.0]
    # bfloat16 is the upper half of a float: 1.0 is 0x3f80, 2.0 is 0x4000, 3.0 is 0x4040.
    items = np.array([0x40003F80], np.uint32)
    atomic(items, "pk_add_bf16", np.zeros(1, np.int64), np.array([0x3F803F80], np.uint32), None, False)
    assert items.tolist() == [0x40404000]
