"""Fused multiply-add rounds once. Oracle: fma and fmaf of the host's C library; exact fractions for f16."""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from pytest_amdgpu.emulator.isa.fma import fma16, fma32, fma64

COUNT = 20_000


def host_fma(dtype: Any) -> Callable[..., float]:
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    function = library.fma if dtype is np.float64 else library.fmaf
    kind = ctypes.c_double if dtype is np.float64 else ctypes.c_float
    function.restype, function.argtypes = kind, [kind] * 3
    return function  # type: ignore[no-any-return]


def triples(dtype: Any) -> dict[str, tuple[Any, Any, Any]]:
    """Operands that need the exact sum: cancellation, halfway cases, denormals, extremes."""
    generator = np.random.default_rng(1)
    bits = np.uint64 if dtype is np.float64 else np.uint32
    fraction = 52 if dtype is np.float64 else 23
    a, b, c = generator.standard_normal((3, COUNT)).astype(dtype)
    limits = np.finfo(dtype)
    ordinary = [0, -0.0, 1, -1, 3, 1 + 2.0**-12, 2.0**-60, -(2.0**-60), 2.0**fraction]
    extreme = [np.inf, -np.inf, np.nan, limits.tiny, limits.smallest_subnormal, limits.max, -limits.max]
    edges = np.array([*ordinary, *extreme, 1 + limits.eps], dtype)
    low = limits.minexp
    scale = generator.integers(low - fraction, low + 60, COUNT)
    any_bits = generator.integers(0, np.iinfo(bits).max, (3, COUNT), dtype=bits).view(dtype)
    return {
        "ordinary": (a, b, c),
        "cancelling": (a, b, -(a * b)),
        "nearly cancelling": (a, b, (-(a * b) * (1 + 4 * limits.eps)).astype(dtype)),
        "any bits": tuple(any_bits),  # type: ignore[dict-item]
        "edges": tuple(generator.choice(edges, (3, COUNT))),  # type: ignore[dict-item]
        "denormal": (np.ldexp(a, low // 2), np.ldexp(b, low - low // 2), np.ldexp(c, scale).astype(dtype)),
    }


@pytest.mark.parametrize(
    "kind", ["ordinary", "cancelling", "nearly cancelling", "any bits", "edges", "denormal"]
)
@pytest.mark.parametrize(("dtype", "function"), [(np.float32, fma32), (np.float64, fma64)])
def test_fma_rounds_once(dtype: Any, function: Callable[..., Any], kind: str) -> None:
    with np.errstate(all="ignore"):
        a, b, c = triples(dtype)[kind]
        got = function(a, b, c)
    host = host_fma(dtype)
    expected = np.array([host(*row) for row in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)], dtype)
    bits = np.uint64 if dtype is np.float64 else np.uint32
    same = (got.view(bits) == expected.view(bits)) | (np.isnan(got) & np.isnan(expected))
    wrong = np.flatnonzero(~same)[:3]
    assert not len(wrong), [(a[i], b[i], c[i], got[i], expected[i]) for i in wrong]


def test_the_textbook_case_that_double_rounding_gets_wrong() -> None:
    a = np.array([1 + 2.0**-12], np.float32)
    c = np.array([2.0**-60], np.float32)
    twice = (a.astype(np.float64) * a + c).astype(np.float32)
    assert fma32(a, a, c) != twice
    assert fma32(a, a, c) == np.float32(1 + 2.0**-11 + 2.0**-23)


def exact_f16(a: float, b: float, c: float) -> float:
    """Round the exact value to f16, to nearest even, on integers."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return math.nan
    exponent = max(math.frexp(float(abs(exact)))[1] - 11, -24)
    scaled = exact / Fraction(2) ** exponent
    value = round(scaled) * 2.0**exponent
    return math.copysign(math.inf, value) if abs(value) >= 65520 else value


def test_fma_of_halves() -> None:
    generator = np.random.default_rng(2)
    a, b, c = generator.integers(0, 1 << 16, (3, COUNT), dtype=np.uint16).view(np.float16)
    finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(c)
    a, b, c = a[finite], b[finite], c[finite]
    with np.errstate(all="ignore"):
        got = fma16(a, b, c).astype(np.float64)
    for x, y, z, value in zip(a.tolist(), b.tolist(), c.tolist(), got.tolist(), strict=True):
        expected = exact_f16(x, y, z)
        assert math.isnan(expected) or value == expected, (x, y, z, value, expected)
