"""IEEE 754 arithmetic on bits, worked out exactly with fractions: an oracle that shares no code with numpy.

A float is its bits in a `Format`. Finite numbers become fractions, results are rounded once to nearest even.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Format:
    """A binary interchange format: width in bits and bits of mantissa."""

    bits: int
    mantissa: int

    @property
    def bias(self) -> int:
        return (1 << (self.bits - self.mantissa - 2)) - 1

    @property
    def infinity(self) -> int:
        return (2 * self.bias + 1) << self.mantissa

    @property
    def sign(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def nan(self) -> int:
        return self.infinity | 1 << (self.mantissa - 1)

    def magnitude(self, x: int) -> int:
        return x & (self.sign - 1)

    def negative(self, x: int) -> bool:
        return bool(x & self.sign)

    def is_nan(self, x: int) -> bool:
        return self.magnitude(x) > self.infinity

    def is_signalling(self, x: int) -> bool:
        return self.is_nan(x) and not x >> (self.mantissa - 1) & 1

    def is_inf(self, x: int) -> bool:
        return self.magnitude(x) == self.infinity

    def is_zero(self, x: int) -> bool:
        return self.magnitude(x) == 0

    def exponent(self, x: int) -> int:
        """The biased exponent field."""
        return self.magnitude(x) >> self.mantissa

    def number(self, x: int) -> Fraction:
        """The value of finite bits."""
        fraction = x & (1 << self.mantissa) - 1
        exponent = self.exponent(x)
        if exponent:
            fraction |= 1 << self.mantissa
        value = Fraction(fraction) * Fraction(2) ** (max(exponent, 1) - self.bias - self.mantissa)
        return -value if self.negative(x) else value

    def round(self, value: Fraction, negative_zero: bool = False, *, truncate: bool = False) -> int:
        """The nearest bits, ties to even (or towards zero); the sign of an exact zero is given."""
        if value == 0:
            return self.sign if negative_zero else 0
        sign = self.sign if value < 0 else 0
        value = abs(value)
        exponent = max(value.numerator.bit_length() - value.denominator.bit_length() - 1, 1 - self.bias)
        while value >= Fraction(2) ** (exponent + 1):
            exponent += 1
        unit = Fraction(2) ** (exponent - self.mantissa)
        steps = value / unit
        whole = math.floor(steps) if truncate else round(steps)
        if whole >> (self.mantissa + 1):
            whole, exponent = whole >> 1, exponent + 1
        if whole >> self.mantissa == 0:
            return sign | whole
        if exponent > self.bias:
            return sign | (self.infinity - 1 if truncate else self.infinity)
        return sign | (exponent + self.bias - 1 << self.mantissa) + whole

    # ---- operations ---------------------------------------------------------------------------------------

    def add(self, a: int, b: int) -> int:
        return self.fma(a, self.round(Fraction(1)), b)

    def sub(self, a: int, b: int) -> int:
        return self.add(a, b ^ self.sign)

    def mul(self, a: int, b: int) -> int:
        if self.is_nan(a) or self.is_nan(b):
            return self.nan
        sign = (a ^ b) & self.sign
        if self.is_inf(a) or self.is_inf(b):
            return self.nan if self.is_zero(a) or self.is_zero(b) else sign | self.infinity
        return self.round(self.number(a) * self.number(b), bool(sign))

    def fma(self, a: int, b: int, c: int) -> int:
        if self.is_nan(a) or self.is_nan(b) or self.is_nan(c):
            return self.nan
        sign = (a ^ b) & self.sign
        if self.is_inf(a) or self.is_inf(b):
            if self.is_zero(a) or self.is_zero(b) or (self.is_inf(c) and (c & self.sign) != sign):
                return self.nan
            return sign | self.infinity
        if self.is_inf(c):
            return c
        exact = self.number(a) * self.number(b) + self.number(c)
        zero_product = self.is_zero(a) or self.is_zero(b)
        both_negative = bool(sign) and self.negative(c) and zero_product and self.is_zero(c)
        return self.round(exact, both_negative)

    def div(self, a: int, b: int) -> int:
        sign = (a ^ b) & self.sign
        zeros, infinities = self.is_zero(a) and self.is_zero(b), self.is_inf(a) and self.is_inf(b)
        if self.is_nan(a) or self.is_nan(b) or zeros or infinities:
            return self.nan
        if self.is_inf(a) or self.is_zero(b):
            return sign | self.infinity
        if self.is_inf(b):
            return sign
        return self.round(self.number(a) / self.number(b), bool(sign))

    def sqrt(self, x: int) -> int:
        if self.is_zero(x):
            return x
        if self.is_nan(x) or self.negative(x):
            return self.nan
        if self.is_inf(x):
            return x
        # An odd power of two below the last bit that is kept tells a tie from what lies beside it.
        value, shift = self.number(x), 4 * self.bits
        scaled = value * 4**shift * 4 ** (2 * self.bias)
        root = math.isqrt(int(scaled))
        sticky = root * root != scaled
        return self.round((Fraction(2 * root + sticky)) / 2 / 2**shift / 2 ** (2 * self.bias))

    def less(self, a: int, b: int) -> bool:
        return not self.is_nan(a) and not self.is_nan(b) and self.ordered(a) < self.ordered(b)

    def equal(self, a: int, b: int) -> bool:
        return not self.is_nan(a) and not self.is_nan(b) and self.ordered(a) == self.ordered(b)

    def ordered(self, x: int) -> int:
        """An integer in the order of the numbers; both zeros are equal."""
        return -self.magnitude(x) if self.negative(x) else self.magnitude(x)

    def minimum(self, a: int, b: int) -> int:
        """A quiet NaN loses; -0 is less than +0."""
        if self.is_nan(a):
            return b
        if self.is_nan(b):
            return a
        if self.is_zero(a) and self.is_zero(b):
            return a | b
        return a if self.less(a, b) else b

    def maximum(self, a: int, b: int) -> int:
        if self.is_nan(a):
            return b
        if self.is_nan(b):
            return a
        if self.is_zero(a) and self.is_zero(b):
            return a & b
        return b if self.less(a, b) else a

    def median(self, a: int, b: int, c: int) -> int:
        """As the ISA manuals define v_med3: the larger of the two that are left without the largest."""
        if any(self.is_nan(x) for x in (a, b, c)):
            return self.minimum(self.minimum(a, b), c)
        largest = self.maximum(self.maximum(a, b), c)
        if self.equal(largest, a):
            return self.maximum(b, c)
        return self.maximum(a, c) if self.equal(largest, b) else self.maximum(a, b)

    def integral(self, x: int, how: str) -> int:
        """Rounded to an integral value: floor, ceil, trunc or round (ties to even)."""
        if self.is_nan(x) or self.is_inf(x) or self.is_zero(x):
            return x
        value = self.number(x)
        whole = {"floor": math.floor, "ceil": math.ceil, "trunc": math.trunc, "round": round}[how](value)
        return self.round(Fraction(whole), self.negative(x))

    def fract(self, x: int) -> int:
        """x - floor(x), below 1."""
        if self.is_nan(x) or self.is_inf(x):
            return self.nan
        value = self.number(x)
        below_one = self.round(Fraction(1)) - 1
        return min(self.round(value - math.floor(value)), below_one)

    def ldexp(self, x: int, n: int) -> int:
        if self.is_nan(x) or self.is_inf(x) or self.is_zero(x):
            return x
        limited = max(-5000, min(5000, n))
        return self.round(self.number(x) * Fraction(2) ** limited)

    def frexp(self, x: int) -> tuple[int, int]:
        """Mantissa bits and exponent; 0 for what has none."""
        if self.is_nan(x) or self.is_inf(x) or self.is_zero(x):
            return x, 0
        value, exponent = self.number(x), 0
        while abs(value) >= 1:
            value, exponent = value / 2, exponent + 1
        while abs(value) < Fraction(1, 2):
            value, exponent = value * 2, exponent - 1
        return self.round(value), exponent

    def convert(self, x: int, to: Format, *, truncate: bool = False) -> int:
        if self.is_nan(x):
            return to.nan
        sign = to.sign if self.negative(x) else 0
        if self.is_inf(x):
            return sign | to.infinity
        return to.round(self.number(x), bool(sign), truncate=truncate)

    def to_integer(self, x: int, lowest: int, highest: int) -> int:
        """Towards zero, saturating; NaN is 0."""
        if self.is_nan(x):
            return 0
        if self.is_inf(x):
            return lowest if self.negative(x) else highest
        return max(lowest, min(highest, math.trunc(self.number(x))))

    def classes(self, x: int) -> int:
        """The bit of x's class in a v_cmp_class mask."""
        negative = self.negative(x)
        if self.is_nan(x):
            return 1 << (0 if self.is_signalling(x) else 1)
        if self.is_inf(x):
            return 1 << (2 if negative else 9)
        if self.is_zero(x):
            return 1 << (5 if negative else 6)
        if self.exponent(x):
            return 1 << (3 if negative else 8)
        return 1 << (4 if negative else 7)


F16 = Format(16, 10)
F32 = Format(32, 23)
F64 = Format(64, 52)
