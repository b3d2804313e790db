"""Conversions between number formats (VOP1, VOP3)."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I16, I32, Type, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table, Unary, byte, unary


def to_signed(type_: Type) -> Unary:
    """Towards zero, saturating, NaN to 0."""
    return lambda b, x: b.fptosi(x, type_)


def to_unsigned(type_: Type) -> Unary:
    """Towards zero, saturating, NaN to 0."""
    return lambda b, x: b.fptoui(x, type_)


def from_signed(type_: Type) -> Unary:
    """To nearest even."""
    return lambda b, x: b.sitofp(x, type_)


def from_unsigned(type_: Type) -> Unary:
    """To nearest even."""
    return lambda b, x: b.uitofp(x, type_)


def from_byte(number: int) -> Unary:
    """Byte `number` of a dword as F32."""
    return lambda b, x: b.uitofp(byte(b, x, number), F32)


def to_nearest(b: Builder, x: Value) -> Value:
    """floor(x + 0.5)."""
    return b.fptosi(b.ffloor(b.fadd(x, 0.5)), I32)


def to_floor(b: Builder, x: Value) -> Value:
    """floor(x)."""
    return b.fptosi(b.ffloor(x), I32)


def nibble_offset(b: Builder, x: Value) -> Value:
    """The low four bits as a signed number of sixteenths."""
    return b.fmul(b.sitofp(b.ashr(b.shl(x, 28), 28), F32), 0.0625)


def normalized(type_: Type, *, signed: bool) -> Unary:
    """-1..1 to -32767..32767, or 0..1 to 0..65535; to nearest even, limited, NaN to 0."""

    def apply(b: Builder, x: Value) -> Value:
        # In F32, where both scales are exact.
        wide = b.fpext(x, F32) if type_ is F16 else x
        low, scale = (-1.0, 32767.0) if signed else (0.0, 65535.0)
        limited = b.fmax(b.fmin(wide, 1.0), low)
        rounded = b.frint(b.fmul(limited, scale))
        number = b.trunc(b.fptosi(rounded, I32), I16)
        return b.select(b.isnan(wide), 0, number)

    return apply


def pack(type_: Type, operation: Unary) -> Semantic:
    """Two sources, converted to 16 bits each, in the halves of a dword."""

    def build(b: Builder) -> None:
        low, high = (operation(b, b.src(i, type_)) for i in range(2))
        b.dst(b.combine32(low, high))

    return build


def limit_signed(b: Builder, x: Value) -> Value:
    """To 16 bits, saturating."""
    return b.trunc(b.smin(b.smax(x, b.const(I32, -0x8000)), 0x7FFF), I16)


def limit_unsigned(b: Builder, x: Value) -> Value:
    """To 16 bits, saturating."""
    return b.trunc(b.umin(x, 0xFFFF), I16)


def _to_byte(b: Builder, x: Value) -> Value:
    """A float as an integer 0..255, towards zero."""
    return b.umin(b.fptoui(x, I32), 255)


def insert_byte(b: Builder) -> None:
    """Source 0 as a byte, at the byte that source 1 names in source 2."""
    shift = b.shl(b.and_(b.src(1, I32), 3), 3)
    hole = b.not_(b.shl(b.const(I32, 0xFF), shift))
    b.dst(b.or_(b.and_(b.src(2, I32), hole), b.shl(_to_byte(b, b.src(0, F32)), shift)))


def accumulate_byte(b: Builder) -> None:
    """Source 0 as a byte, at the byte of the destination that source 1 names."""
    shift = b.shl(b.and_(b.src(1, I32), 3), 3)
    hole = b.not_(b.shl(b.const(I32, 0xFF), shift))
    b.dst(b.or_(b.and_(b.dst_old(I32), hole), b.shl(_to_byte(b, b.src(0, F32)), shift)))


def pack_halves(b: Builder) -> None:
    """Two F16 sources, bit for bit, into the halves of a dword."""
    b.dst(b.combine32(b.src(0, F16), b.src(1, F16)))


TABLE: Table = {
    "v_cvt_i32_f64": unary(F64, to_signed(I32)),
    "v_cvt_u32_f64": unary(F64, to_unsigned(I32)),
    "v_cvt_i32_f32": unary(F32, to_signed(I32)),
    "v_cvt_u32_f32": unary(F32, to_unsigned(I32)),
    "v_cvt_i16_f16": unary(F16, to_signed(I16)),
    "v_cvt_u16_f16": unary(F16, to_unsigned(I16)),
    "v_cvt_f64_i32": unary(I32, from_signed(F64)),
    "v_cvt_f64_u32": unary(I32, from_unsigned(F64)),
    "v_cvt_f32_i32": unary(I32, from_signed(F32)),
    "v_cvt_f32_u32": unary(I32, from_unsigned(F32)),
    "v_cvt_f16_i16": unary(I16, from_signed(F16)),
    "v_cvt_f16_u16": unary(I16, from_unsigned(F16)),
    "v_cvt_f16_f32": unary(F32, lambda b, x: b.fptrunc(x, F16)),
    "v_cvt_f32_f16": unary(F16, lambda b, x: b.fpext(x, F32)),
    "v_cvt_f32_f64": unary(F64, lambda b, x: b.fptrunc(x, F32)),
    "v_cvt_f64_f32": unary(F32, lambda b, x: b.fpext(x, F64)),
    "v_cvt_i32_i16": unary(I16, lambda b, x: b.sext(x, I32)),
    "v_cvt_u32_u16": unary(I16, lambda b, x: b.zext(x, I32)),
    **{f"v_cvt_f32_ubyte{i}": unary(I32, from_byte(i)) for i in range(4)},
    "v_cvt_rpi_i32_f32": unary(F32, to_nearest),
    "v_cvt_flr_i32_f32": unary(F32, to_floor),
    "v_cvt_off_f32_i4": unary(I32, nibble_offset),
    "v_cvt_norm_i16_f16": unary(F16, normalized(F16, signed=True)),
    "v_cvt_norm_u16_f16": unary(F16, normalized(F16, signed=False)),
    "v_cvt_pknorm_i16_f16": pack(F16, normalized(F16, signed=True)),
    "v_cvt_pknorm_u16_f16": pack(F16, normalized(F16, signed=False)),
    "v_cvt_pknorm_i16_f32": pack(F32, normalized(F32, signed=True)),
    "v_cvt_pknorm_u16_f32": pack(F32, normalized(F32, signed=False)),
    "v_cvt_pkrtz_f16_f32": pack(F32, lambda b, x: b.fptrunc_rtz(x, F16)),
    "v_cvt_pk_i16_i32": pack(I32, limit_signed),
    "v_cvt_pk_u16_u32": pack(I32, limit_unsigned),
    "v_cvt_pk_i16_f32": pack(F32, to_signed(I16)),
    "v_cvt_pk_u16_f32": pack(F32, to_unsigned(I16)),
    "v_cvt_pk_u8_f32": insert_byte,
    "v_cvt_pkaccum_u8_f32": accumulate_byte,
    "v_pack_b32_f16": pack_halves,
}
