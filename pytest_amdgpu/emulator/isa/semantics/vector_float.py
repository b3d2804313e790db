"""Floating-point vector arithmetic of all widths (VOP1, VOP2, VOP3), without conversions and packed forms."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I16, I32, Type, Value
from pytest_amdgpu.emulator.isa.semantics.rows import (
    Binary,
    Semantic,
    Table,
    Ternary,
    Unary,
    binary,
    chained,
    nested,
    swapped,
    ternary,
    unary,
)

_TYPES = {"f16": F16, "f32": F32, "f64": F64}


# ---- fused and unfused multiply-add -----------------------------------------------------------------------


def multiply_add(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, rounded twice."""
    return b.fadd(b.fmul(x, y), z)


def accumulate(type_: Type, operation: Ternary) -> Semantic:
    """operation(source 0, source 1, destination): v_fmac, v_mac."""

    def build(b: Builder) -> None:
        b.dst(operation(b, b.src(0, type_), b.src(1, type_), b.dst_old(type_)))

    return build


def kept_high(type_: Type, operation: Ternary) -> Semantic:
    """Three sources; 16-bit results keep the other half of the destination on every generation."""

    def build(b: Builder) -> None:
        b.dst(operation(b, *(b.src(i, type_) for i in range(3))), keep_high=True)

    return build


def multiply_add_flushed(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z of f32, rounded twice; denormals are zero whatever MODE says (CDNA2 ISA, V_MAD_F32)."""
    return _flush(b, b.fadd(_flush(b, b.fmul(_flush(b, x), _flush(b, y))), _flush(b, z)))


def multiply_zero_wins(b: Builder, x: Value, y: Value) -> Value:
    """x * y, but zero times anything (infinity, NaN) is +0: the rule of Direct3D 9."""
    zero = b.or_(b.feq(x, 0.0), b.feq(y, 0.0))
    return b.select(zero, 0.0, b.fmul(x, y))


def fma_zero_wins(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, where zero times anything is +0."""
    zero = b.or_(b.feq(x, 0.0), b.feq(y, 0.0))
    return b.select(zero, b.fadd(z, 0.0), b.fma(x, y, z))


def mad_zero_wins(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, rounded twice, where zero times anything is +0."""
    return b.fadd(multiply_zero_wins(b, x, y), z)


def multiply_lit(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y for lighting; the lowest number where y is that, -infinity or NaN, or z is not positive."""
    lowest = -3.4028234663852886e38
    dark = b.or_(b.not_(b.fgt(y, lowest)), b.not_(b.fgt(z, 0.0)))
    return b.select(dark, lowest, multiply_zero_wins(b, x, y))


def nan_wins(operation: Binary) -> Binary:
    """The extreme that IEEE 754-2019 calls maximum or minimum: a NaN if either is one."""

    def apply(b: Builder, x: Value, y: Value) -> Value:
        return b.select(b.funord(x, y), b.fadd(x, y), operation(b, x, y))

    return apply


maximum, minimum = nan_wins(Builder.fmax), nan_wins(Builder.fmin)


def median(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """The middle one of three; with a NaN among them the smallest of the numbers.

    Written as the manuals do, which decides between zeros of both signs: the larger of the two that remain
    when the first operand equal to the largest is taken away.
    """
    unordered = b.or_(b.funord(x, y), b.isnan(z))
    largest = b.fmax(b.fmax(x, y), z)
    rest = b.select(b.feq(largest, y), b.fmax(x, z), b.fmax(x, y))
    middle = b.select(b.feq(largest, x), b.fmax(y, z), rest)
    return b.select(unordered, b.fmin(b.fmin(x, y), z), middle)


# ---- approximations ---------------------------------------------------------------------------------------


def without_denormals(operation: Unary) -> Unary:
    """An f32 approximation that takes denormals as zero and gives zero for them, whatever MODE says.

    CDNA3 ISA section 12.8, V_EXP_F32, V_LOG_F32, V_RCP_F32, V_RSQ_F32, V_SQRT_F32: "denormals are flushed";
    LLVM scales operands of these instructions for that reason.
    """

    def apply(b: Builder, x: Value) -> Value:
        return _flush(b, operation(b, _flush(b, x)))

    return apply


def _flush(b: Builder, x: Value) -> Value:
    bits = b.bitcast(x, I32)
    denormal = b.ult(b.and_(bits, 0x7FFFFFFF), 0x00800000)
    return b.bitcast(b.select(denormal, b.and_(bits, 0x80000000), bits), F32)


def _approximations() -> Table:
    operations: dict[str, Unary] = {
        "exp": Builder.exp2,
        "log": Builder.log2,
        "rcp": Builder.rcp,
        "rsq": Builder.rsq,
        "sqrt": Builder.fsqrt,
    }
    table: Table = {}
    for name, operation in operations.items():
        table[f"v_{name}_f32"] = unary(F32, without_denormals(operation))
        table[f"v_{name}_f16"] = unary(F16, operation)
        if name not in ("exp", "log"):
            table[f"v_{name}_f64"] = unary(F64, operation)
    table["v_rcp_iflag_f32"] = table["v_rcp_f32"]
    for name, wave in (("sin", Builder.sin), ("cos", Builder.cos)):
        table[f"v_{name}_f32"] = unary(F32, wave)
        table[f"v_{name}_f16"] = unary(F16, wave)
    return table


# ---- exponents --------------------------------------------------------------------------------------------


def scale(type_: Type) -> Semantic:
    """Source 0 times two to the power of source 1, an integer (16 bits wide for F16)."""

    def build(b: Builder) -> None:
        exponent = b.sext(b.src(1, I16), I32) if type_ is F16 else b.src(1, I32)
        b.dst(b.ldexp(b.src(0, type_), exponent))

    return build


def exponent_i16(b: Builder, x: Value) -> Value:
    """The exponent of frexp in 16 bits."""
    return b.trunc(b.frexp_exp(x), I16)


# ---- cube maps --------------------------------------------------------------------------------------------


def _cube(b: Builder) -> tuple[Value, Value, Value, Value, Value]:
    """x, y, z and whether the major axis is z, or else y."""
    x, y, z = (b.src(i, F32) for i in range(3))
    magnitude_x, magnitude_y, magnitude_z = b.fabs(x), b.fabs(y), b.fabs(z)
    major_z = b.and_(b.fge(magnitude_z, magnitude_x), b.fge(magnitude_z, magnitude_y))
    return x, y, z, major_z, b.fge(magnitude_y, magnitude_x)


def cube_face(b: Builder) -> None:
    """Number of the cube's face that the vector hits: +x -x +y -y +z -z."""
    x, y, z, major_z, major_y = _cube(b)

    def face(axis: Value, number: float) -> Value:
        return b.select(b.flt(axis, 0.0), b.const(F32, number + 1), b.const(F32, number))

    b.dst(b.select(major_z, face(z, 4.0), b.select(major_y, face(y, 2.0), face(x, 0.0))))


def cube_s(b: Builder) -> None:
    """S coordinate on the cube's face."""
    x, _, z, major_z, major_y = _cube(b)
    on_z = b.select(b.flt(z, 0.0), b.fneg(x), x)
    on_x = b.select(b.flt(x, 0.0), z, b.fneg(z))
    b.dst(b.select(major_z, on_z, b.select(major_y, x, on_x)))


def cube_t(b: Builder) -> None:
    """T coordinate on the cube's face."""
    _, y, z, major_z, major_y = _cube(b)
    on_y = b.select(b.flt(y, 0.0), b.fneg(z), z)
    b.dst(b.select(b.and_(major_y, b.not_(major_z)), on_y, b.fneg(y)))


def cube_major_axis(b: Builder) -> None:
    """Twice the component along the major axis."""
    x, y, z, major_z, major_y = _cube(b)
    b.dst(b.fmul(b.select(major_z, z, b.select(major_y, y, x)), 2.0))


def _arithmetic() -> Table:
    table: Table = {}
    both: dict[str, Binary] = {
        "add": Builder.fadd,
        "mul": Builder.fmul,
        "min": Builder.fmin,
        "max": Builder.fmax,
    }
    one: dict[str, Unary] = {
        "floor": Builder.ffloor,
        "ceil": Builder.fceil,
        "trunc": Builder.ftrunc,
        "rndne": Builder.frint,
        "fract": Builder.fract,
        "frexp_mant": Builder.frexp_mant,
    }
    for suffix, type_ in _TYPES.items():
        for name, operation in both.items():
            table[f"v_{name}_{suffix}"] = binary(type_, operation)
        for name, function in one.items():
            table[f"v_{name}_{suffix}"] = unary(type_, function)
        table[f"v_maximum_{suffix}"] = binary(type_, maximum)
        table[f"v_minimum_{suffix}"] = binary(type_, minimum)
        table[f"v_fma_{suffix}"] = kept_high(type_, Builder.fma)
        table[f"v_fmac_{suffix}"] = accumulate(type_, Builder.fma)
        table[f"v_ldexp_{suffix}"] = scale(type_)
    for suffix, type_ in (("f16", F16), ("f32", F32)):
        table[f"v_sub_{suffix}"] = binary(type_, Builder.fsub)
        table[f"v_subrev_{suffix}"] = binary(type_, swapped(Builder.fsub))
        table[f"v_min3_{suffix}"] = kept_high(type_, nested(Builder.fmin))
        table[f"v_max3_{suffix}"] = kept_high(type_, nested(Builder.fmax))
        table[f"v_med3_{suffix}"] = kept_high(type_, median)
        table[f"v_minmax_{suffix}"] = ternary(type_, chained(Builder.fmin, Builder.fmax))
        table[f"v_maxmin_{suffix}"] = ternary(type_, chained(Builder.fmax, Builder.fmin))
        table[f"v_maximum3_{suffix}"] = kept_high(type_, nested(maximum))
        table[f"v_minimum3_{suffix}"] = kept_high(type_, nested(minimum))
        table[f"v_minimummaximum_{suffix}"] = ternary(type_, chained(minimum, maximum))
        table[f"v_maximumminimum_{suffix}"] = ternary(type_, chained(maximum, minimum))
        # The constant is an operand in its place: x * K + y and x * y + K.
        table[f"v_fmamk_{suffix}"] = table[f"v_fmaak_{suffix}"] = ternary(type_, Builder.fma)
    return table


TABLE: Table = {
    **_arithmetic(),
    **_approximations(),
    "v_fma_legacy_f16": ternary(F16, Builder.fma),
    "v_mad_legacy_f16": ternary(F16, multiply_add),
    "v_mad_f32": ternary(F32, multiply_add_flushed),
    "v_mac_f32": accumulate(F32, multiply_add_flushed),
    "v_madmk_f32": ternary(F32, multiply_add_flushed),
    "v_madak_f32": ternary(F32, multiply_add_flushed),
    "v_mad_legacy_f32": ternary(F32, mad_zero_wins),
    "v_mac_legacy_f32": accumulate(F32, mad_zero_wins),
    "v_mad_f16": kept_high(F16, multiply_add),
    "v_mac_f16": accumulate(F16, multiply_add),
    "v_madmk_f16": ternary(F16, multiply_add),
    "v_madak_f16": ternary(F16, multiply_add),
    "v_mullit_f32": ternary(F32, multiply_lit),
    "v_mul_legacy_f32": binary(F32, multiply_zero_wins),
    "v_mul_dx9_zero_f32": binary(F32, multiply_zero_wins),
    "v_fma_dx9_zero_f32": ternary(F32, fma_zero_wins),
    "v_fmac_dx9_zero_f32": accumulate(F32, fma_zero_wins),
    "v_frexp_exp_i32_f32": unary(F32, Builder.frexp_exp),
    "v_frexp_exp_i32_f64": unary(F64, Builder.frexp_exp),
    "v_frexp_exp_i16_f16": unary(F16, exponent_i16),
    "v_cubeid_f32": cube_face,
    "v_cubesc_f32": cube_s,
    "v_cubetc_f32": cube_t,
    "v_cubema_f32": cube_major_axis,
}
