"""Run-time functions that generated code calls where an operation is no single numpy expression.

Lane values are arrays [waves, lanes]; scalars are Python ints (numpy scalars for floats) while uniform, else
arrays [waves, 1]. Functions whose name starts with `s_` take scalars in either form. The caller holds
`numpy.errstate(all="ignore")`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
"""A numpy array, or a numpy scalar where the value is a uniform scalar; the functions serve both."""

u1, u2, u4, u8 = np.uint8, np.uint16, np.uint32, np.uint64
i1, i2, i4, i8 = np.int8, np.int16, np.int32, np.int64
f2, f4, f8 = np.float16, np.float32, np.float64
_SIGNED = {np.dtype(u2): i2, np.dtype(u4): i4, np.dtype(u8): i8}
_BITS = {np.dtype(f2): u2, np.dtype(f4): u4, np.dtype(f8): u8}
_SHIFT32 = np.array(32, u8)

# ---- scalars in either form -------------------------------------------------------------------------------


def s_signed(x: Any, bits: int) -> Any:
    """Reinterpret as signed."""
    if type(x) is int or type(x) is bool:
        return x - (1 << bits) if x >> (bits - 1) else x
    return x.view(_SIGNED[x.dtype])


def s_ashr(a: Any, n: Any, bits: int) -> Any:
    """Arithmetic shift right."""
    if type(a) is int and type(n) is int:
        return s_signed(a, bits) >> n & (1 << bits) - 1
    a, n = np_scalar(a, bits), np_scalar(n, bits)
    return (s_signed(a, bits) >> s_signed(n, bits)).view(a.dtype)


def s_select(condition: Any, a: Any, b: Any, dtype: Any) -> Any:
    """Choose by a scalar condition."""
    if type(condition) is bool or type(condition) is int:
        return a if condition else b
    return np.where(condition, np_typed(a, dtype), np_typed(b, dtype))


def s_combine64(low: Any, high: Any) -> Any:
    """Join two halves."""
    if type(low) is int and type(high) is int:
        return low | high << 32
    return np_scalar(low, 32).astype(u8) | np_scalar(high, 32).astype(u8) << _SHIFT32


def s_narrow(x: Any, bits: int) -> Any:
    """Keep the low bits."""
    return x & (1 << bits) - 1 if type(x) is int else x.astype(u2 if bits == 16 else u4)


def s_hi32(x: Any) -> Any:
    """Keep the high half."""
    return x >> 32 if type(x) is int else (x >> _SHIFT32).astype(u4)


def s_mulhi_u(a: Any, b: Any) -> Any:
    """High half of an unsigned 32-bit product."""
    if type(a) is int and type(b) is int:
        return a * b >> 32
    return mulhi_u(np_scalar(a, 32), np_scalar(b, 32))


def s_zext(x: Any, dtype: Any) -> Any:
    """Widen an unsigned integer or a truth value."""
    return int(x) if type(x) is int or type(x) is bool else x.astype(dtype)


def s_sext(x: Any, bits: int, dtype: Any) -> Any:
    """Widen a signed integer of `bits` bits."""
    if type(x) is int or type(x) is bool:
        return (-int(x) if bits == 1 else s_signed(x, bits)) & (1 << np.dtype(dtype).itemsize * 8) - 1
    if bits == 1:
        return -x.astype(_SIGNED[np.dtype(dtype)]).view(dtype)
    return s_signed(x, bits).astype(_SIGNED[np.dtype(dtype)]).view(dtype)


def np_scalar(x: Any, bits: int) -> Any:
    """Turn a Python int into a numpy scalar of an unsigned type."""
    return (u2 if bits == 16 else u4 if bits == 32 else u8)(x) if type(x) is int or type(x) is bool else x


def np_typed(x: Any, dtype: Any) -> Any:
    """Turn a Python number into a numpy scalar."""
    return dtype(x) if type(x) is int or type(x) is bool else x


def normal(x: Any) -> Any:
    """Turn a numpy scalar of an integer or truth type back into a Python number."""
    return x.item() if x.ndim == 0 else x


def s_float(x: Any, dtype: Any) -> Any:
    """Reinterpret integer bits as a float."""
    return np_scalar(x, dtype(0).itemsize * 8).view(dtype)


def s_bits(x: Any, dtype: Any) -> Any:
    """Reinterpret a float as integer bits."""
    return normal(x.view(dtype))


def s_ctz(x: Any, bits: int) -> Any:
    """Count trailing zeros."""
    if type(x) is int:
        return (x & -x).bit_length() - 1 if x else bits
    return ctz(x)


def s_clz(x: Any, bits: int) -> Any:
    """Count leading zeros."""
    return bits - x.bit_length() if type(x) is int else clz(x)


def s_popcount(x: Any) -> Any:
    """Count one bits."""
    return x.bit_count() if type(x) is int else np.bitwise_count(x).astype(u4)


def uniform(x: Array) -> Any:
    """Turn an array [waves, 1] into a Python number if all waves agree."""
    first = x[0, 0]
    return first.item() if (x == first).all() else x


# ---- integers ---------------------------------------------------------------------------------------------


def combine64(low: Array, high: Array) -> Array:
    """Join two halves; either may be a scalar."""
    shape = low.shape if getattr(low, "ndim", 0) == 2 and low.shape[1] > 1 else high.shape
    joined = np.empty((*np.broadcast_shapes(np.shape(low), shape), 2), u4)
    joined[..., 0] = low
    joined[..., 1] = high
    return joined.view(u8)[..., 0]


def mulhi_u(a: Array, b: Array) -> Array:
    """High half of an unsigned 32-bit product."""
    return (np.multiply(a, b, dtype=u8) >> _SHIFT32).astype(u4)


def mulhi_s(a: Array, b: Array) -> Array:
    """High half of a signed 32-bit product; the arguments are signed."""
    return (np.multiply(a, b, dtype=i8) >> 32).astype(i4).view(u4)


def select(mask: Array, a: Array, b: Array) -> Array:
    """Choose by a mask of all ones or zeros as wide as the values (which are integers)."""
    return b ^ ((a ^ b) & mask)


def lane_mask(condition: Array, dtype: Any) -> Array:
    """All ones where a truth value holds, as a signed integer type of the values' width."""
    return np.negative(condition.view(i1)).astype(dtype)


def ctz(x: Array) -> Array:
    """Count trailing zeros."""
    return np.bitwise_count(((x & (~x + x.dtype.type(1))) - x.dtype.type(1)).astype(x.dtype)).astype(u4)


def clz(x: Array) -> Array:
    """Count leading zeros."""
    if x.dtype == u8:
        high = clz((x >> _SHIFT32).astype(u4))
        low = clz(x.astype(u4))
        return np.where(high == 32, high + low, high)
    bits = x.dtype.itemsize * 8
    return (bits - np.frexp(x.astype(f8))[1]).astype(u4)


_SWAPS = ((0x5555555555555555, 1), (0x3333333333333333, 2), (0x0F0F0F0F0F0F0F0F, 4))


def bitreverse(x: Array) -> Array:
    """Reverse the bits."""
    kind = x.dtype.type
    ones = (1 << x.dtype.itemsize * 8) - 1
    for pattern, count in _SWAPS:
        mask = kind(pattern & ones)
        x = (x >> kind(count)) & mask | (x & mask) << kind(count)
    return x.byteswap()


# ---- floats -----------------------------------------------------------------------------------------------


def fmin(a: Array, b: Array) -> Array:
    """IEEE minNum with -0 below +0."""
    kind = _BITS[a.dtype]
    merged = (a.view(kind) | b.view(kind)).view(a.dtype)
    return np.where(a == b, merged, np.fmin(a, b))


def fmax(a: Array, b: Array) -> Array:
    """IEEE maxNum with -0 below +0."""
    kind = _BITS[a.dtype]
    merged = (a.view(kind) & b.view(kind)).view(a.dtype)
    return np.where(a == b, merged, np.fmax(a, b))


_LARGEST_FRACTION = {
    np.dtype(f2): np.nextafter(f2(1), f2(0)),
    np.dtype(f4): np.nextafter(f4(1), f4(0)),
    np.dtype(f8): np.nextafter(f8(1), f8(0)),
}


def fract(a: Array) -> Array:
    """Fraction above the floor."""
    return np.minimum(a - np.floor(a), _LARGEST_FRACTION[a.dtype])


_TINY = {np.dtype(t): np.finfo(t).tiny for t in (f2, f4, f8)}


def flush(a: Array) -> Array:
    """Denormals to zero of the same sign."""
    return np.where(np.abs(a) < _TINY[a.dtype], np.copysign(a.dtype.type(0), a), a)


def isnan2(a: Array, b: Array) -> Array:
    """Either is NaN."""
    return np.isnan(a) | np.isnan(b)


_FORMAT = {np.dtype(f2): (10, 5), np.dtype(f4): (23, 8), np.dtype(f8): (52, 11)}


def fclass(a: Array, mask: Any) -> Array:
    """Whether the class of each number is among the bits of a mask."""
    fraction_bits, exponent_bits = _FORMAT[a.dtype]
    kind = _BITS[a.dtype]
    bits = a.view(kind)
    fraction = bits & kind((1 << fraction_bits) - 1)
    exponent = (bits >> kind(fraction_bits)) & kind((1 << exponent_bits) - 1)
    negative = (bits >> kind(fraction_bits + exponent_bits)).astype(bool)
    top = exponent == (1 << exponent_bits) - 1
    quiet = (fraction >> kind(fraction_bits - 1)).astype(bool)
    # Classes of positive numbers; those of negative ones lie mirrored: 9 - class, beginning at 2.
    positive = np.where(top, 9, np.where(exponent != 0, 8, np.where(fraction != 0, 7, 6)))
    number = np.where(negative, 11 - positive, positive)
    number = np.where(top & (fraction != 0), np.where(quiet, 1, 0), number)
    return (np_scalar(mask, 32) >> number.astype(u4) & u4(1)).astype(bool)


def ldexp(a: Array, exponent: Array) -> Array:
    """a * 2**exponent, exponent as unsigned bits; rounded once, as C's ldexp."""
    clipped = np.clip(s_signed(exponent, 32), -4000, 4000)
    return np.ldexp(a, np.asarray(clipped).astype(np.intc)[()])


def frexp_exp(a: Array) -> Array:
    """Exponent of a = m * 2**e with |m| in [0.5, 1); 0 where there is none."""
    exponent = np.frexp(a.astype(f8))[1]
    return np.where(np.isfinite(a), exponent, 0).astype(i4).view(u4)


def frexp_mant(a: Array) -> Array:
    """Significand of a = m * 2**e with |m| in [0.5, 1)."""
    return np.where(np.isfinite(a), np.frexp(a)[0], a)


def _wide(function: Any, a: Array) -> Array:
    return function(a.astype(f8)).astype(a.dtype)


def exp2(a: Array) -> Array:
    """2**a."""
    return _wide(np.exp2, a)


def log2(a: Array) -> Array:
    """Base-2 logarithm."""
    return _wide(np.log2, a)


def rcp(a: Array) -> Array:
    """1 / a."""
    return a.dtype.type(1) / a


def rsq(a: Array) -> Array:
    """1 / sqrt(a)."""
    return _wide(lambda wide: 1.0 / np.sqrt(wide), a)


def _part_of_turn(turns: Array) -> Array:
    """The angle in -0.5..0.5 that is a whole number of revolutions away; a zero keeps its sign."""
    return np.where(turns == 0, turns, turns - np.rint(turns))


def _quarter_sine(turns: Array) -> Array:
    """Sine of -0.5..0.5 revolutions, exact at multiples of a quarter."""
    folded = np.where(np.abs(turns) > 0.25, np.copysign(0.5, turns) - turns, turns)
    return np.sin(2.0 * np.pi * folded)


def sin(a: Array) -> Array:
    """Sine of revolutions."""
    return _wide(lambda wide: _quarter_sine(_part_of_turn(wide)), a)


def cos(a: Array) -> Array:
    """Cosine of revolutions."""
    return _wide(lambda wide: np.sin(2.0 * np.pi * (0.25 - np.abs(_part_of_turn(wide)))), a)


def to_int(a: Array, bits: int, signed: bool) -> Array:
    """Towards zero, saturating, NaN to 0; as unsigned bits."""
    kind: Any = {16: i2, 32: i4, 64: i8}[bits] if signed else {16: u2, 32: u4, 64: u8}[bits]
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    wide = np.trunc(a.astype(f8))
    # 2**63 - 1 is no double: the comparison, not a clip, decides there.
    over = wide >= f8(2.0) ** (bits - 1 if signed else bits)
    inside = np.where(over | (wide < low) | np.isnan(wide), 0, wide)
    result = np.where(over, high, np.where(wide < low, low, inside.astype(kind))).astype(kind)
    return result.view({16: u2, 32: u4, 64: u8}[bits])


def truncate(a: Array, dtype: Any) -> Array:
    """To a narrower float, towards zero."""
    near = a.astype(dtype)
    kind = _BITS[np.dtype(dtype)]
    too_far = np.abs(near.astype(a.dtype)) > np.abs(a)
    too_far &= np.isfinite(a)
    return (near.view(kind) - too_far.astype(kind)).view(dtype)


# ---- lanes ------------------------------------------------------------------------------------------------


def pull(value: Array, index: Array) -> Array:
    """Each lane takes the value of another; a table [lanes] serves all waves."""
    if index.ndim == 1:
        return np.take(value, index, axis=1)
    return np.take_along_axis(value, (index & u4(value.shape[1] - 1)).astype(np.intp), axis=1)


def push(value: Array, index: Array, active: Array | None, shape: tuple[int, int]) -> Array:
    """Each active lane sends its value to another; the highest sender wins, others get 0."""
    result = np.zeros(shape, u4)
    rows = np.broadcast_to(np.arange(shape[0])[:, None], shape)
    lanes = np.broadcast_to(index & u4(shape[1] - 1), shape)
    value = np.broadcast_to(value, shape)
    if active is not None:
        rows, lanes, value = rows[active], lanes[active], value[active]
    result[rows, lanes] = value
    return result


def read_lane(value: Array, lane: Any) -> Any:
    """One lane of every wave, as a scalar."""
    if type(lane) is int:
        column = value[:, lane : lane + 1]
    else:
        column = np.take_along_axis(value, lane.astype(np.intp), axis=1)
    return column[0, 0].item() if len(column) == 1 else uniform(np.ascontiguousarray(column))


def write_lane(old: Array, value: Any, lane: Any) -> Array:
    """Replace one lane of every wave, in a copy."""
    return overwrite_lane(old.copy(), value, lane)


def overwrite_lane(old: Array, value: Any, lane: Any) -> Array:
    """Replace one lane of every wave in place."""
    if type(lane) is int:
        old[:, lane : lane + 1] = value
    else:
        np.put_along_axis(old, lane.astype(np.intp), value, axis=1)
    return old


def first_active(exec_bits: Any) -> Any:
    """The lowest lane that EXEC enables, 0 if none."""
    if type(exec_bits) is int:
        return (exec_bits & -exec_bits).bit_length() - 1 if exec_bits else 0
    return ctz(exec_bits) & u4(63)
