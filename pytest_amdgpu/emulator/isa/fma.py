"""Fused multiply-add with a single rounding, for arrays of f16, f32 and f64.

f32 and f16 compute in f64, where the product is exact, and round the sum to odd before the final rounding;
that makes the double rounding harmless (Boldo and Melquiond, "Emulation of a FMA and correctly rounded
sums"). f64 uses their error-free transformations where no intermediate can overflow or underflow, and exact
fractions elsewhere.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

F64Array = npt.NDArray[np.float64]
_FALLING_SHIFT = np.array(64 - 29, np.uint64)
_HALFWAY = np.array(1 << 63, np.uint64)
_ONE = np.array(1, np.uint64)
# Doubled bits (sign shifted out) of 2**-125: f32 results below may be denormal and round at another bit.
_SMALL = np.array(int(np.float64(2.0**-125).view(np.uint64)) << 1, np.uint64)


def _round_to_odd(a: F64Array, b: F64Array, total: F64Array) -> F64Array:
    """Return the exact a + b, whose rounded value is `total`, rounded to odd instead."""
    part = total - a
    error = (a - (total - part)) + (b - part)
    bits = total.view(np.int64)
    inexact_even = (error != 0) & ((bits & 1) == 0) & np.isfinite(total)
    # Away from zero where the error has the sign of the sum, towards it elsewhere.
    step = np.where((error > 0) == (total > 0), 1, -1)
    return np.where(inexact_even, bits + step, bits).view(np.float64)


def fma32(a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float32 arrays or scalars."""
    product = a.astype(np.float64)
    if a.shape == b.shape:
        product *= b
    else:
        product = product * b
    wide = c.astype(np.float64)
    total = product + wide
    if total.ndim == 0:
        return _round_to_odd(product, wide, np.asarray(total)).astype(np.float32)[()]
    # Rounding twice goes wrong only halfway between two results: the 29 bits that fall away are 100...0.
    bits = total.view(np.uint64)
    scratch = bits << _FALLING_SHIFT
    risky = scratch == _HALFWAY
    # Small results are denormal and round at another bit; without the sign and less 1, zero is not small.
    np.add(bits, bits, out=scratch)
    scratch -= _ONE
    if risky.any() or (scratch < _SMALL).any():
        total = _round_to_odd(product, wide, total)
    return total.astype(np.float32)


def fma16(a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float16 arrays or scalars."""
    product = np.multiply(a, b, dtype=np.float64)
    wide = c.astype(np.float64)
    return _round_to_odd(product, wide, np.asarray(product + wide)).astype(np.float16)


def _split(a: F64Array) -> tuple[F64Array, F64Array]:
    """Veltkamp's split into two halves of 26 bits."""
    t = a * 134217729.0
    high = t - (t - a)
    return high, a - high


def _two_sum(a: F64Array, b: F64Array) -> tuple[F64Array, F64Array]:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def exact_fma64(a: float, b: float, c: float) -> float:
    """a * b + c of Python floats, by exact fractions."""
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        product = math.nan if (a == 0 or b == 0) and (math.isinf(a) or math.isinf(b)) else a * b
        if math.isfinite(a) and math.isfinite(b):
            return c
        return product + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        # The sign of an exact zero is that of the sum of the signed product and c.
        sign = math.copysign(1.0, a) * math.copysign(1.0, b)
        return math.copysign(0.0, sign) + c if a == 0 or b == 0 else 0.0
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


_exact = np.frompyfunc(exact_fma64, 3, 1)
_EXPONENT = np.array(0x7FF, np.uint64)


def _exponent(a: F64Array) -> npt.NDArray[np.int64]:
    return ((a.view(np.uint64) >> np.uint64(52)) & _EXPONENT).astype(np.int64)


def fma64(a: Any, b: Any, c: Any) -> Any:
    """a * b + c of float64 arrays or scalars."""
    a, b, c = np.broadcast_arrays(a, b, c)
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    high = a * b
    low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low
    middle, low_error = _two_sum(c, low)
    total, error = _two_sum(high, middle)
    rest = _round_to_odd(low_error, error, low_error + error)
    result = np.asarray(total + rest)
    # Biased exponents: neither the split nor the product nor its error may leave the normal range.
    ea, eb, ec = _exponent(a), _exponent(b), _exponent(c)
    product = ea + eb
    unsafe = (ea > 1990) | (eb > 1990) | (ec > 1990) | (product > 3000) | (product < 1200)
    unsafe |= ((ec < 200) & (ec != 0)) | (result == 0)
    zero = (a == 0) | (b == 0)
    if zero.any():
        # The product is a signed zero: a plain sum is exact.
        result = np.where(zero & np.isfinite(a) & np.isfinite(b), high + c, result)
        unsafe &= ~zero | ~(np.isfinite(a) & np.isfinite(b))
    if unsafe.any():
        result = result.copy()
        result[unsafe] = _exact(a[unsafe], b[unsafe], c[unsafe]).astype(np.float64)
    return result
