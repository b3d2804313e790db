"""Floating-point arithmetic of scalars (SOP1, SOP2, SOPC; RDNA3.5 ISA document, 16.1 to 16.3).

A 16-bit result is in the low half of the destination; the high half is zero.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F16, F32, I32, Type
from pytest_amdgpu.emulator.isa.semantics.compare import FLOAT_COMPARISONS
from pytest_amdgpu.emulator.isa.semantics.convert import from_signed, from_unsigned, to_signed, to_unsigned
from pytest_amdgpu.emulator.isa.semantics.rows import Binary, Semantic, Table, Unary, binary, ternary, unary
from pytest_amdgpu.emulator.isa.semantics.vector_float import maximum, minimum

_TYPES: dict[str, Type] = {"f16": F16, "f32": F32}
_UNARY: dict[str, Unary] = {
    "ceil": Builder.fceil,
    "floor": Builder.ffloor,
    "trunc": Builder.ftrunc,
    "rndne": Builder.frint,
}
_BINARY: dict[str, Binary] = {
    "add": Builder.fadd,
    "sub": Builder.fsub,
    "mul": Builder.fmul,
    "min": Builder.fmin,
    "max": Builder.fmax,
    "minimum": minimum,
    "maximum": maximum,
}


def compare(type_: Type, operation: Binary) -> Semantic:
    """SCC says whether the comparison of the two sources holds."""

    def build(b: Builder) -> None:
        b.set_scc(operation(b, b.src(0, type_), b.src(1, type_)))

    return build


def accumulate(type_: Type) -> Semantic:
    """source 0 * source 1 + destination, rounded once."""

    def build(b: Builder) -> None:
        b.dst(b.fma(b.src(0, type_), b.src(1, type_), b.dst_old(type_)))

    return build


def convert_high(b: Builder) -> None:
    """The F16 in the high half as F32."""
    b.dst(b.fpext(b.bitcast(b.hi16(b.src(0, I32)), F16), F32))


def pack_toward_zero(b: Builder) -> None:
    """Two F32, rounded towards zero to F16, in the halves of a dword."""
    b.dst(b.combine32(*(b.fptrunc_rtz(b.src(i, F32), F16) for i in range(2))))


TABLE: Table = {
    **{
        f"s_{name}_{suffix}": unary(type_, op)
        for suffix, type_ in _TYPES.items()
        for name, op in _UNARY.items()
    },
    **{
        f"s_{name}_{suffix}": binary(type_, op)
        for suffix, type_ in _TYPES.items()
        for name, op in _BINARY.items()
    },
    **{f"s_fmac_{suffix}": accumulate(type_) for suffix, type_ in _TYPES.items()},
    **{
        f"s_cmp_{name}_{suffix}": compare(type_, operation)
        for suffix, type_ in _TYPES.items()
        for name, operation in FLOAT_COMPARISONS.items()
    },
    # The constant is an operand in its place.
    "s_fmaak_f32": ternary(F32, Builder.fma),
    "s_fmamk_f32": ternary(F32, Builder.fma),
    "s_cvt_f32_i32": unary(I32, from_signed(F32)),
    "s_cvt_f32_u32": unary(I32, from_unsigned(F32)),
    "s_cvt_i32_f32": unary(F32, to_signed(I32)),
    "s_cvt_u32_f32": unary(F32, to_unsigned(I32)),
    "s_cvt_f16_f32": unary(F32, lambda b, x: b.fptrunc(x, F16)),
    "s_cvt_f32_f16": unary(F16, lambda b, x: b.fpext(x, F32)),
    "s_cvt_hi_f32_f16": convert_high,
    "s_cvt_pk_rtz_f16_f32": pack_toward_zero,
}
