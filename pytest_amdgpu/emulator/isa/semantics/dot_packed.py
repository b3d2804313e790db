"""Packed arithmetic, mixed-precision multiply-add and dot products (VOP3P and their VOP2 forms).

The floating-point dot products are rounded after every step here; silicon aligns and truncates addends, so
its last bits differ (ROCm/rocm-systems issue 12056).
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F16, F32, I16, I32, I64, Type, Value
from pytest_amdgpu.emulator.isa.semantics.carry import (
    add_saturating_s,
    add_saturating_u,
    sub_saturating_s,
    sub_saturating_u,
)
from pytest_amdgpu.emulator.isa.semantics.rows import Binary, Semantic, Table, Ternary, swapped
from pytest_amdgpu.emulator.isa.semantics.vector_float import maximum, minimum

# ---- packed -----------------------------------------------------------------------------------------------


def packed2(type_: Type, operation: Binary, saturating: Binary | None = None) -> Semantic:
    """Two packed sources; integers with clamp use the second operation."""

    def build(b: Builder) -> None:
        chosen = saturating if saturating is not None and b.mod("clamp") else operation
        (x_low, x_high), (y_low, y_high) = (b.src_packed(i, type_) for i in range(2))
        b.dst_packed(chosen(b, x_low, y_low), chosen(b, x_high, y_high))

    return build


def packed3(type_: Type, operation: Ternary) -> Semantic:
    """Three packed sources."""

    def build(b: Builder) -> None:
        low, high = zip(*(b.src_packed(i, type_) for i in range(3)), strict=True)
        b.dst_packed(operation(b, *low), operation(b, *high))

    return build


def multiply_add_16(*, signed: bool) -> Semantic:
    """Packed 16 x 16 + 16 bits; with clamp the exact result is limited to 16 bits."""

    def one(b: Builder, x: Value, y: Value, z: Value) -> Value:
        if not b.mod("clamp"):
            return b.add(b.mul(x, y), z)
        extend = b.sext if signed else b.zext
        exact = b.add(b.mul(extend(x, I64), extend(y, I64)), extend(z, I64))
        if signed:
            return b.trunc(b.smax(b.smin(exact, 0x7FFF), b.const(I64, -0x8000)), I16)
        return b.trunc(b.umin(exact, 0xFFFF), I16)

    return packed3(I16, one)


def packed_accumulate(b: Builder) -> None:
    """v_pk_fmac_f16: both halves, without selection of halves."""
    x, y, z = b.src(0, I32), b.src(1, I32), b.dst_old(I32)
    low, high = (
        b.fma(*(b.bitcast(part(operand), F16) for operand in (x, y, z))) for part in (b.lo16, b.hi16)
    )
    b.set_vgpr(b.dst_vgpr_index(), b.combine32(low, high))


def packed_move(b: Builder) -> None:
    """A dword of the first pair and a dword of the second, chosen by op_sel."""
    b.dst_packed(b.src_packed(0, I32)[0], b.src_packed(1, I32)[0])


# ---- mixed precision --------------------------------------------------------------------------------------


def _mixed(b: Builder) -> Value:
    return b.fma(*(b.src_mix(i) for i in range(3)))


def mix_f32(b: Builder) -> None:
    """x * y + z of F16 and F32 sources, as F32."""
    b.dst(_mixed(b))


def mix_half(*, high: bool) -> Semantic:
    """The same, rounded once more to F16, into one half of the destination; the other half is kept."""

    def build(b: Builder) -> None:
        half = b.fptrunc(_mixed(b), F16)
        if b.mod("clamp"):
            half = b.clamp01(half)
        register = b.dst_vgpr_index()
        old = b.vgpr(register)
        low, upper = (b.lo16(old), half) if high else (half, b.hi16(old))
        b.set_vgpr(register, b.combine32(low, upper))

    return build


# ---- integer dot products ---------------------------------------------------------------------------------


def _element(b: Builder, word: Value, i: int, bits: int, *, signed: bool) -> Value:
    """Element i of `bits` bits, extended to 32 bits."""
    top = b.shl(word, 32 - bits * (i + 1))
    return b.ashr(top, 32 - bits) if signed else b.lshr(top, 32 - bits)


def _dot(
    b: Builder, x: Value, y: Value, z: Value, bits: int, x_signed: bool, y_signed: bool, *, total_signed: bool
) -> Value:
    """z plus the products of the elements; with clamp the exact sum is limited to 32 bits."""
    products = [
        b.mul(
            _element(b, x, i, bits, signed=x_signed),
            _element(b, y, i, bits, signed=y_signed),
        )
        for i in range(32 // bits)
    ]
    if not b.mod("clamp"):
        total = z
        for product in products:
            total = b.add(total, product)
        return total
    # Unsigned 16-bit products need all 32 bits, so signedness matters for the extension to 64.
    extend = b.sext if total_signed else b.zext
    wide = extend(z, I64)
    for product in products:
        wide = b.add(wide, extend(product, I64))
    if total_signed:
        return b.trunc(b.smax(b.smin(wide, 0x7FFFFFFF), b.const(I64, -0x80000000)), I32)
    return b.trunc(b.umin(wide, 0xFFFFFFFF), I32)


def dot_int(bits: int, *, signed: bool) -> Semantic:
    """Dot product of elements of `bits` bits plus source 2."""

    def build(b: Builder) -> None:
        if bits == 16:
            x, y = (b.combine32(*b.src_packed(i, I16)) for i in range(2))
        else:
            x, y = b.src(0, I32), b.src(1, I32)
        b.dst(_dot(b, x, y, b.src(2, I32), bits, signed, signed, total_signed=signed))

    return build


def dot_mixed_sign(bits: int) -> Semantic:
    """Dot product whose sources are signed where their neg_lo bit is set; the sum is signed."""

    def build(b: Builder) -> None:
        signs = b.mod("neg_lo")
        x, y, z = (b.src_dword(i, 0) for i in range(3))
        b.dst(_dot(b, x, y, z, bits, bool(signs & 1), bool(signs & 2), total_signed=True))

    return build


def dot_int_accumulate(bits: int) -> Semantic:
    """Signed dot product added to the destination."""

    def build(b: Builder) -> None:
        b.dst(_dot(b, b.src(0, I32), b.src(1, I32), b.dst_old(I32), bits, True, True, total_signed=True))

    return build


# ---- floating-point dot products --------------------------------------------------------------------------


def _bf16(b: Builder, half: Value) -> Value:
    """A bfloat16 as F32."""
    return b.bitcast(b.shl(b.zext(half, I32), 16), F32)


def _to_bf16(b: Builder, x: Value) -> Value:
    """An F32 as bfloat16, to nearest even; a NaN stays one."""
    bits = b.bitcast(x, I32)
    rounded = b.add(bits, b.add(b.and_(b.lshr(bits, 16), 1), 0x7FFF))
    return b.hi16(b.select(b.isnan(x), b.or_(bits, 0x00400000), rounded))


def _sum2(b: Builder, x: tuple[Value, Value], y: tuple[Value, Value], start: Value) -> Value:
    """start + x0 * y0 + x1 * y1, rounded to F32 after each step (the products are exact)."""
    total = b.fadd(b.fmul(x[0], y[0]), b.fmul(x[1], y[1]))
    return b.fadd(total, start)


def _halves(b: Builder, i: int) -> tuple[Value, Value]:
    low, high = b.src_packed(i, F16)
    return b.fpext(low, F32), b.fpext(high, F32)


def _bf16_halves(b: Builder, i: int) -> tuple[Value, Value]:
    low, high = b.src_packed(i, I16)
    return _bf16(b, low), _bf16(b, high)


def dot2_f32_f16(b: Builder) -> None:
    """Products of F16 pairs plus an F32."""
    b.dst(_sum2(b, _halves(b, 0), _halves(b, 1), b.src(2, F32)))


def dot2_f32_bf16(b: Builder) -> None:
    """Products of bfloat16 pairs plus an F32."""
    b.dst(_sum2(b, _bf16_halves(b, 0), _bf16_halves(b, 1), b.src(2, F32)))


def _plain_halves(b: Builder, i: int) -> tuple[Value, Value]:
    """The halves of a source in an encoding that cannot choose them."""
    word = b.src(i, I32)
    return b.lo16(word), b.hi16(word)


def dot2_f16(b: Builder) -> None:
    """Products of F16 pairs plus an F16, each step rounded to F16."""
    x0, x1, y0, y1 = (b.bitcast(half, F16) for i in range(2) for half in _plain_halves(b, i))
    total = b.fadd(b.fmul(x0, y0), b.fmul(x1, y1))
    b.dst(b.fadd(total, b.src(2, F16)), keep_high=True)


def dot2_bf16(b: Builder) -> None:
    """Products of bfloat16 pairs plus a bfloat16, rounded at the end."""
    x0, x1, y0, y1 = (_bf16(b, half) for i in range(2) for half in _plain_halves(b, i))
    total = _sum2(b, (x0, x1), (y0, y1), _bf16(b, b.src(2, I16)))
    b.dst(_to_bf16(b, total), keep_high=True)


def dot2_accumulate(b: Builder) -> None:
    """Products of F16 pairs added to the destination, one after the other; both halves, no selection."""
    total = b.dst_old(F32)
    for pair in zip(_plain_halves(b, 0), _plain_halves(b, 1), strict=True):
        x, y = (b.fpext(b.bitcast(half, F16), F32) for half in pair)
        total = b.fma(x, y, total)
    b.dst(total)


_PACKED_16: dict[str, tuple[Type, Binary, Binary | None]] = {
    "add_u16": (I16, Builder.add, add_saturating_u),
    "sub_u16": (I16, Builder.sub, sub_saturating_u),
    "add_i16": (I16, Builder.add, add_saturating_s),
    "sub_i16": (I16, Builder.sub, sub_saturating_s),
    "mul_lo_u16": (I16, Builder.mul, None),
    "lshlrev_b16": (I16, swapped(Builder.shl), None),
    "lshrrev_b16": (I16, swapped(Builder.lshr), None),
    "ashrrev_i16": (I16, swapped(Builder.ashr), None),
    "min_u16": (I16, Builder.umin, None),
    "max_u16": (I16, Builder.umax, None),
    "min_i16": (I16, Builder.smin, None),
    "max_i16": (I16, Builder.smax, None),
    "add_f16": (F16, Builder.fadd, None),
    "mul_f16": (F16, Builder.fmul, None),
    "min_f16": (F16, Builder.fmin, None),
    "max_f16": (F16, Builder.fmax, None),
    "minimum_f16": (F16, minimum, None),
    "maximum_f16": (F16, maximum, None),
    "add_f32": (F32, Builder.fadd, None),
    "mul_f32": (F32, Builder.fmul, None),
}

TABLE: Table = {
    **{f"v_pk_{name}": packed2(*row) for name, row in _PACKED_16.items()},
    "v_pk_fma_f16": packed3(F16, Builder.fma),
    "v_pk_fma_f32": packed3(F32, Builder.fma),
    "v_pk_mad_u16": multiply_add_16(signed=False),
    "v_pk_mad_i16": multiply_add_16(signed=True),
    "v_pk_fmac_f16": packed_accumulate,
    "v_pk_mov_b32": packed_move,
    "v_fma_mix_f32": mix_f32,
    "v_fma_mixlo_f16": mix_half(high=False),
    "v_fma_mixhi_f16": mix_half(high=True),
    "v_dot2_i32_i16": dot_int(16, signed=True),
    "v_dot2_u32_u16": dot_int(16, signed=False),
    "v_dot4_i32_i8": dot_int(8, signed=True),
    "v_dot4_u32_u8": dot_int(8, signed=False),
    "v_dot8_i32_i4": dot_int(4, signed=True),
    "v_dot8_u32_u4": dot_int(4, signed=False),
    "v_dot4_i32_iu8": dot_mixed_sign(8),
    "v_dot8_i32_iu4": dot_mixed_sign(4),
    "v_dot2c_i32_i16": dot_int_accumulate(16),
    "v_dot4c_i32_i8": dot_int_accumulate(8),
    "v_dot8c_i32_i4": dot_int_accumulate(4),
    "v_dot2_f32_f16": dot2_f32_f16,
    "v_dot2_f32_bf16": dot2_f32_bf16,
    "v_dot2_f16_f16": dot2_f16,
    "v_dot2_bf16_bf16": dot2_bf16,
    "v_dot2c_f32_f16": dot2_accumulate,
}
