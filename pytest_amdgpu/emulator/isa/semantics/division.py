"""The three steps around the Newton iteration of a division: v_div_scale, v_div_fmas, v_div_fixup.

v_div_scale scales numerator or denominator away from overflow, underflow and denormals, and says in VCC that
the quotient has to be scaled back; v_div_fmas takes the last step of the iteration and scales back;
v_div_fixup puts in the special cases. CDNA3 ISA section 12.11, opcodes 478 to 483 and 519.

The manuals are not consistent about the scale of v_div_fmas (2**32 and 2**64, without a sign). What is here
follows from v_div_scale: it scales by 2**64 (f32) or 2**128 (f64), the denominator up where the quotient
would overflow, the numerator up where it would be denormal. So the quotient is scaled up if it is large and
down if it is small, with one rounding, because the results of the sequence are correctly rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I32, INT_OF, Type, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table


@dataclass(frozen=True)
class Format:
    """What the sequence needs to know of a float format; exponents are biased."""

    type_: Type
    mantissa_bits: int
    scale: int
    """Exponent of the power of two by which v_div_scale scales."""
    overflow_distance: int
    """Difference of exponents from which on the quotient counts as near overflow."""
    tiny_exponent: int
    """Largest exponent of a numerator that counts as tiny."""
    underflow_distance: int
    """Difference of exponents below which the quotient rounds to zero whatever the mantissas are."""

    @property
    def bias(self) -> int:
        """Exponent of 1.0."""
        return (1 << self.type_.bits - 2 - self.mantissa_bits) - 1

    @property
    def max_exponent(self) -> int:
        """Exponent of infinities and NaNs."""
        return 2 * self.bias + 1

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << self.type_.bits - 1

    @property
    def infinity(self) -> int:
        """The bits of +infinity."""
        return self.max_exponent << self.mantissa_bits

    @property
    def quiet_nan(self) -> int:
        """The bits of the default NaN: negative and quiet."""
        return self.sign | self.infinity | 1 << self.mantissa_bits - 1


_F16 = Format(F16, 10, 0, 0, 0, 0)
_F32 = Format(F32, 23, 64, 96, 23, -150)
_F64 = Format(F64, 52, 128, 768, 53, -1075)


def _exponent(b: Builder, form: Format, bits: Value) -> Value:
    """The biased exponent as I32."""
    shifted = b.and_(b.lshr(bits, form.mantissa_bits), form.max_exponent)
    return b.trunc(shifted, I32) if bits.type.bits > 32 else b.zext(shifted, I32)


def div_scale(form: Format) -> Semantic:
    """Source 0, which is the denominator (source 1) or the numerator (2), scaled; VCC in destination 1."""

    def build(b: Builder) -> None:
        integer = INT_OF[form.type_]
        value, denominator, numerator = (b.src(i, form.type_) for i in range(3))
        denominator_bits, numerator_bits = b.bitcast(denominator, integer), b.bitcast(numerator, integer)
        is_denominator = b.feq(value, denominator)
        is_numerator = b.feq(value, numerator)
        magnitude = b.and_(denominator_bits, form.sign - 1)
        denominator_exponent = _exponent(b, form, denominator_bits)
        numerator_exponent = _exponent(b, form, numerator_bits)
        quotient_bits = b.and_(b.bitcast(b.fdiv(numerator, denominator), integer), form.sign - 1)

        zero = b.or_(b.feq(denominator, 0.0), b.feq(numerator, 0.0))
        near_overflow = b.sge(b.sub(numerator_exponent, denominator_exponent), form.overflow_distance)
        denominator_denormal = b.eq(denominator_exponent, 0)
        # 1 / denominator is denormal above 2**(bias - 1).
        reciprocal_denormal = b.ugt(magnitude, (2 * form.bias - 1) << form.mantissa_bits)
        quotient_denormal = b.ult(quotient_bits, 1 << form.mantissa_bits)
        tiny = b.sle(numerator_exponent, form.tiny_exponent)

        same = b.bitcast(value, integer)
        up = b.bitcast(b.ldexp(value, b.const(I32, form.scale)), integer)
        down = b.bitcast(b.ldexp(value, b.const(I32, -form.scale)), integer)
        # In the order of precedence, last one first.
        result = b.select(tiny, up, same)
        result = b.select(quotient_denormal, b.select(is_numerator, up, same), result)
        result = b.select(reciprocal_denormal, down, result)
        # The manuals scale the denominator up here, which would make it infinite.
        both = b.and_(reciprocal_denormal, quotient_denormal)
        result = b.select(both, b.select(is_denominator, down, same), result)
        result = b.select(denominator_denormal, up, result)
        result = b.select(near_overflow, b.select(is_denominator, up, same), result)
        result = b.select(zero, form.quiet_nan, result)
        flag = b.or_(near_overflow, b.and_(quotient_denormal, b.not_(denominator_denormal)))
        b.dst(result)
        b.dst_mask_bits(b.ballot(b.and_(flag, b.not_(zero))), 1)

    return build


def div_fmas(form: Format) -> Semantic:
    """source 0 * source 1 + source 2, scaled back in lanes whose bit in VCC is set."""

    def build(b: Builder) -> None:
        integer = INT_OF[form.type_]
        x, y, z = (b.src(i, form.type_) for i in range(3))
        total = b.fma(x, y, z)
        scale_back = b.lanes(b.vcc())
        large = b.ugt(_exponent(b, form, b.bitcast(z, integer)), form.bias)
        up = b.ldexp(total, b.const(I32, form.scale))
        down = _scale_down_once_rounded(b, form, total, _fma_error(b, x, y, z))
        b.dst(b.select(scale_back, b.select(large, up, down), total))

    return build


def _fma_error(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """A number with the sign of (x * y + z) minus its rounded value, zero if that is exact."""
    product = b.fmul(x, y)
    product_error = b.fma(x, y, b.fneg(product))
    total = b.fadd(z, product)
    part = b.fsub(total, z)
    total_error = b.fadd(b.fsub(z, b.fsub(total, part)), b.fsub(product, part))
    return b.fadd(b.fadd(b.fsub(total, b.fma(x, y, z)), total_error), product_error)


def _scale_down_once_rounded(b: Builder, form: Format, total: Value, error: Value) -> Value:
    """total + error times 2**-scale: where the scaled total is a tie, the error decides, not evenness."""
    integer = INT_OF[form.type_]
    scaled = b.ldexp(total, b.const(I32, -form.scale))
    difference = b.fsub(b.ldexp(scaled, b.const(I32, form.scale)), total)
    # Half the distance between denormals, scaled up: 2**(1 - bias - mantissa_bits - 1 + scale).
    half_step = (form.scale - form.mantissa_bits) << form.mantissa_bits
    tie = b.eq(b.and_(b.bitcast(difference, integer), form.sign - 1), half_step)
    bits = b.bitcast(total, integer)
    away = b.xor(b.slt(b.bitcast(error, integer), 0), b.slt(bits, 0))
    nudged = b.bitcast(b.select(away, b.sub(bits, 1), b.add(bits, 1)), form.type_)
    decided = b.and_(tie, b.fne(error, 0.0))
    return b.select(decided, b.ldexp(nudged, b.const(I32, -form.scale)), scaled)


def div_fixup(form: Format, *, keep_high: bool | None = None) -> Semantic:
    """The quotient (source 0) with the right sign, or what denominator (1) or numerator (2) demand."""

    def build(b: Builder) -> None:
        integer = INT_OF[form.type_]
        quotient, denominator, numerator = (b.src(i, form.type_) for i in range(3))
        q, d, n = (b.bitcast(operand, integer) for operand in (quotient, denominator, numerator))
        sign = b.and_(b.xor(d, n), form.sign)
        d_abs, n_abs = b.and_(d, form.sign - 1), b.and_(n, form.sign - 1)
        d_zero, n_zero = b.feq(denominator, 0.0), b.feq(numerator, 0.0)
        d_inf, n_inf = b.eq(d_abs, form.infinity), b.eq(n_abs, form.infinity)
        quiet = 1 << form.mantissa_bits - 1

        result = b.and_(q, form.sign - 1)
        if form.underflow_distance:
            distance = b.sub(_exponent(b, form, n), _exponent(b, form, d))
            result = b.select(b.slt(distance, form.underflow_distance), 0, result)
            # The iteration itself overflows where the quotient is far too large, and yields a NaN then.
            result = b.select(b.sgt(distance, form.bias + 1), form.infinity, result)
        result = b.select(b.or_(d_inf, n_zero), 0, result)
        result = b.select(b.or_(d_zero, n_inf), form.infinity, result)
        result = b.or_(result, sign)
        invalid = b.or_(b.and_(d_zero, n_zero), b.and_(d_inf, n_inf))
        result = b.select(invalid, form.quiet_nan, result)
        result = b.select(b.isnan(denominator), b.or_(d, quiet), result)
        result = b.select(b.isnan(numerator), b.or_(n, quiet), result)
        b.dst(b.bitcast(result, form.type_), keep_high=keep_high)

    return build


TABLE: Table = {
    "v_div_scale_f32": div_scale(_F32),
    "v_div_scale_f64": div_scale(_F64),
    "v_div_fmas_f32": div_fmas(_F32),
    "v_div_fmas_f64": div_fmas(_F64),
    "v_div_fixup_f32": div_fixup(_F32),
    "v_div_fixup_f64": div_fixup(_F64),
    "v_div_fixup_f16": div_fixup(_F16, keep_high=True),
    "v_div_fixup_legacy_f16": div_fixup(_F16),
}
