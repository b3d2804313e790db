"""Scalar arithmetic, comparison, bit fields and moves (SOP1, SOP2, SOPC, SOPK).

What sets SCC and to what: AMD's CDNA3 and RDNA3 ISA documents, sections 12.1 to 12.4 and 16.1 to 16.4.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import I1, I32, I64, Type, Value
from pytest_amdgpu.emulator.isa.semantics.bits import (
    bit_field_mask,
    extract_signed,
    extract_unsigned,
    find_low_one,
    leading_sign_bits,
    leading_zeros,
)
from pytest_amdgpu.emulator.isa.semantics.carry import (
    add_carry,
    add_overflows,
    sub_borrow,
    sub_overflows,
)
from pytest_amdgpu.emulator.isa.semantics.rows import (
    Binary,
    Semantic,
    Table,
    Unary,
    binary,
    inverted,
    unary,
)

# ---- forms ------------------------------------------------------------------------------------------------


def unary_scc(type_: Type, operation: Unary) -> Semantic:
    """One source; SCC says whether the result is not zero."""

    def build(b: Builder) -> None:
        result = operation(b, b.src(0, type_))
        b.dst(result)
        b.set_scc(b.ne(result, 0))

    return build


def binary_scc(
    type_: Type, operation: Binary, second: Type | None = None, *, signed: bool = False
) -> Semantic:
    """Two sources (`signed`: a literal as first one is); SCC says whether the result is not zero."""

    def build(b: Builder) -> None:
        result = operation(b, b.src(0, type_, signed_literal=signed), b.src(1, second or type_))
        b.dst(result)
        b.set_scc(b.ne(result, 0))

    return build


def compare(type_: Type, operation: Binary) -> Semantic:
    """SCC says whether the comparison of the two sources holds."""

    def build(b: Builder) -> None:
        b.set_scc(operation(b, b.src(0, type_), b.src(1, type_)))

    return build


def choose(type_: Type, first_if: Binary) -> Semantic:
    """The first source where the comparison holds, else the second; SCC says whether it was the first."""

    def build(b: Builder) -> None:
        x, y = b.src(0, type_), b.src(1, type_)
        first = first_if(b, x, y)
        b.dst(b.select(first, x, y))
        b.set_scc(first)

    return build


def and_not(b: Builder, x: Value, y: Value) -> Value:
    """x without the bits of y."""
    return b.and_(x, b.not_(y))


def or_not(b: Builder, x: Value, y: Value) -> Value:
    """The bits of x and those that y lacks."""
    return b.or_(x, b.not_(y))


def not_and(b: Builder, x: Value, y: Value) -> Value:
    """y without the bits of x."""
    return b.and_(b.not_(x), y)


def not_or(b: Builder, x: Value, y: Value) -> Value:
    """The bits of y and those that x lacks."""
    return b.or_(b.not_(x), y)


# ---- sums -------------------------------------------------------------------------------------------------


def add_u32(b: Builder) -> None:
    """Sum; SCC is the unsigned carry."""
    total, carry = add_carry(b, b.src(0, I32), b.src(1, I32))
    b.dst(total)
    b.set_scc(carry)


def addc_u32(b: Builder) -> None:
    """Sum with SCC as carry in and out."""
    total, carry = add_carry(b, b.src(0, I32), b.src(1, I32), b.scc())
    b.dst(total)
    b.set_scc(carry)


def sub_u32(b: Builder) -> None:
    """Difference; SCC is the unsigned borrow."""
    difference, borrow = sub_borrow(b, b.src(0, I32), b.src(1, I32))
    b.dst(difference)
    b.set_scc(borrow)


def subb_u32(b: Builder) -> None:
    """Difference with SCC as borrow in and out."""
    difference, borrow = sub_borrow(b, b.src(0, I32), b.src(1, I32), b.scc())
    b.dst(difference)
    b.set_scc(borrow)


def add_i32(b: Builder) -> None:
    """Sum; SCC is the signed overflow."""
    x, y = b.src(0, I32), b.src(1, I32)
    total = b.add(x, y)
    b.dst(total)
    b.set_scc(add_overflows(b, x, y, total))


def addk_i32(b: Builder) -> None:
    """Destination plus the sign-extended immediate; SCC is the signed overflow."""
    x, y = b.dst_old(I32), b.const(I32, b.imm())
    total = b.add(x, y)
    b.dst(total)
    b.set_scc(add_overflows(b, x, y, total))


def mulk_i32(b: Builder) -> None:
    """Destination times the sign-extended immediate."""
    b.dst(b.mul(b.dst_old(I32), b.imm()))


def sub_i32(b: Builder) -> None:
    """Difference; SCC is the signed overflow."""
    x, y = b.src(0, I32), b.src(1, I32)
    difference = b.sub(x, y)
    b.dst(difference)
    b.set_scc(sub_overflows(b, x, y, difference))


def shift_add(count: int) -> Semantic:
    """(x << count) + y; SCC says whether the exact sum needs more than 32 bits."""

    def build(b: Builder) -> None:
        x, y = b.zext(b.src(0, I32), I64), b.zext(b.src(1, I32), I64)
        total = b.add(b.shl(x, count), y)
        b.dst(b.lo32(total))
        b.set_scc(b.ne(b.hi32(total), 0))

    return build


def abs_difference(b: Builder, x: Value, y: Value) -> Value:
    """|x - y| in wrapping signed arithmetic."""
    difference = b.sub(x, y)
    return b.select(b.slt(difference, 0), b.neg(difference), difference)


def absolute(b: Builder, x: Value) -> Value:
    """|x|, the most negative number stays."""
    return b.select(b.slt(x, 0), b.neg(x), x)


# ---- bit fields and bits ----------------------------------------------------------------------------------


def field_extract(type_: Type, *, signed: bool) -> Semantic:
    """Bits of the first source: the second has the offset in its low bits and the width in bits 16..22."""

    def build(b: Builder) -> None:
        control = b.src(1, I32)
        width = b.and_(b.lshr(control, 16), 0x7F)
        if type_ is I64:
            width = b.zext(width, I64)
        extract = extract_signed if signed else extract_unsigned
        result = extract(b, b.src(0, type_, signed_literal=signed), control, width)
        b.dst(result)
        b.set_scc(b.ne(result, 0))

    return build


def bit_set(type_: Type, *, one: bool) -> Semantic:
    """Set or clear the destination's bit that the source names."""

    def build(b: Builder) -> None:
        bit = b.shl(b.const(type_, 1), b.src(0, I32))
        old = b.dst_old(type_)
        b.dst(b.or_(old, bit) if one else and_not(b, old, bit))

    return build


def count_zeros(b: Builder, x: Value) -> Value:
    """Number of zero bits."""
    return b.ctpop(b.not_(x))


def quads_active(b: Builder, x: Value) -> Value:
    """Bit 4i is set where any of the bits 4i..4i+3 is."""
    pairs = b.or_(x, b.lshr(x, 1))
    return b.and_(b.or_(pairs, b.lshr(pairs, 2)), 0x1111111111111111 & x.type.mask)


def whole_quads(b: Builder, x: Value) -> Value:
    """All four bits of each group of four in which any is set."""
    return b.mul(quads_active(b, x), 15)


def quad_mask(b: Builder, x: Value) -> Value:
    """Bit i says whether any of the bits 4i..4i+3 is set."""
    packed = quads_active(b, x)
    for shift, mask in ((3, 0x0303030303030303), (6, 0x000F000F000F000F), (12, 0x000000FF000000FF)):
        packed = b.and_(b.or_(packed, b.lshr(packed, shift)), mask & x.type.mask)
    if x.type is I64:
        packed = b.and_(b.or_(packed, b.lshr(packed, 24)), 0xFFFF)
    return packed


def bit_replicate(b: Builder, x: Value) -> Value:
    """Every bit twice, in 64 bits."""
    spread = b.zext(x, I64)
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        spread = b.and_(b.or_(spread, b.shl(spread, shift)), mask)
    return b.or_(spread, b.shl(spread, 1))


def sign_extend(type_: Type, bits: int) -> Unary:
    """The low `bits` bits, sign-extended to `type_`."""

    def apply(b: Builder, x: Value) -> Value:
        return b.ashr(b.shl(x, type_.bits - bits), type_.bits - bits)

    return apply


def test_bit(type_: Type, *, one: bool) -> Semantic:
    """SCC says whether the bit that the second source names is one (or zero)."""

    def build(b: Builder) -> None:
        bit = b.trunc(b.lshr(b.src(0, type_), b.src(1, I32)), I1)
        b.set_scc(bit if one else b.not_(bit))

    return build


def pack(low_half: int, high_half: int) -> Binary:
    """A half of the first source below a half of the second."""

    def apply(b: Builder, x: Value, y: Value) -> Value:
        low = b.hi16(x) if low_half else b.lo16(x)
        high = b.hi16(y) if high_half else b.lo16(y)
        return b.combine32(low, high)

    return apply


# ---- moves ------------------------------------------------------------------------------------------------


def conditional_move(type_: Type) -> Semantic:
    """Copy if SCC, else keep the destination."""

    def build(b: Builder) -> None:
        b.dst(b.select(b.scc(), b.src(0, type_), b.dst_old(type_)))

    return build


def select(type_: Type) -> Semantic:
    """The first source if SCC, else the second."""

    def build(b: Builder) -> None:
        b.dst(b.select(b.scc(), b.src(0, type_), b.src(1, type_)))

    return build


def move_immediate(b: Builder) -> None:
    """The sign-extended immediate."""
    b.dst(b.const(I32, b.imm()))


def conditional_move_immediate(b: Builder) -> None:
    """The sign-extended immediate if SCC, else keep the destination."""
    b.dst(b.select(b.scc(), b.const(I32, b.imm()), b.dst_old(I32)))


def mask_with_exec(operation: Binary, *, type_: Type, save: bool) -> Semantic:
    """EXEC = operation(source, EXEC); the destination gets the old EXEC (`save`) or the new one."""

    def build(b: Builder) -> None:
        old = b.exec()
        source = b.src(0, type_)
        new = b.zext(operation(b, source, b.trunc(old, type_)), I64)
        b.dst(b.trunc(old if save else new, type_))
        b.set_exec(new)
        b.set_scc(b.ne(new, 0))

    return build


_BITWISE: dict[str, Binary] = {
    "and": Builder.and_,
    "or": Builder.or_,
    "xor": Builder.xor,
    "andn2": and_not,
    "orn2": or_not,
    "nand": inverted(Builder.and_),
    "nor": inverted(Builder.or_),
    "xnor": inverted(Builder.xor),
}

_WITH_EXEC: dict[str, Binary] = {**_BITWISE, "andn1": not_and, "orn1": not_or}

_WIDTHS = {"b32": I32, "b64": I64}

_SIGNED: dict[str, Binary] = {
    "eq": Builder.eq,
    "lg": Builder.ne,
    "gt": Builder.sgt,
    "ge": Builder.sge,
    "lt": Builder.slt,
    "le": Builder.sle,
}
_UNSIGNED: dict[str, Binary] = {
    "eq": Builder.eq,
    "lg": Builder.ne,
    "gt": Builder.ugt,
    "ge": Builder.uge,
    "lt": Builder.ult,
    "le": Builder.ule,
}


def compare_immediate(operation: Binary) -> Semantic:
    """SCC says whether the comparison with the immediate holds (the decoder has extended it)."""

    def build(b: Builder) -> None:
        b.set_scc(operation(b, b.src(0, I32), b.const(I32, b.imm())))

    return build


TABLE: Table = {
    "s_add_u32": add_u32,
    "s_addc_u32": addc_u32,
    "s_sub_u32": sub_u32,
    "s_subb_u32": subb_u32,
    "s_add_i32": add_i32,
    "s_sub_i32": sub_i32,
    "s_addk_i32": addk_i32,
    "s_mulk_i32": mulk_i32,
    "s_mul_i32": binary(I32, Builder.mul),
    "s_add_nc_u64": binary(I64, Builder.add),
    "s_sub_nc_u64": binary(I64, Builder.sub),
    "s_mul_u64": binary(I64, Builder.mul),
    "s_mul_hi_u32": binary(I32, Builder.mulhi_u),
    "s_mul_hi_i32": binary(I32, Builder.mulhi_s),
    "s_absdiff_i32": binary_scc(I32, abs_difference),
    "s_abs_i32": unary_scc(I32, absolute),
    "s_min_i32": choose(I32, Builder.slt),
    "s_min_u32": choose(I32, Builder.ult),
    "s_max_i32": choose(I32, Builder.sge),
    "s_max_u32": choose(I32, Builder.uge),
    "s_lshl_b32": binary_scc(I32, Builder.shl),
    "s_lshl_b64": binary_scc(I64, Builder.shl, I32),
    "s_lshr_b32": binary_scc(I32, Builder.lshr),
    "s_lshr_b64": binary_scc(I64, Builder.lshr, I32),
    "s_ashr_i32": binary_scc(I32, Builder.ashr),
    "s_ashr_i64": binary_scc(I64, Builder.ashr, I32, signed=True),
    "s_lshl1_add_u32": shift_add(1),
    "s_lshl2_add_u32": shift_add(2),
    "s_lshl3_add_u32": shift_add(3),
    "s_lshl4_add_u32": shift_add(4),
    "s_bfm_b32": binary(I32, bit_field_mask(I32)),
    "s_bfm_b64": binary(I32, bit_field_mask(I64)),
    "s_bfe_u32": field_extract(I32, signed=False),
    "s_bfe_i32": field_extract(I32, signed=True),
    "s_bfe_u64": field_extract(I64, signed=False),
    "s_bfe_i64": field_extract(I64, signed=True),
    "s_pack_ll_b32_b16": binary(I32, pack(0, 0)),
    "s_pack_lh_b32_b16": binary(I32, pack(0, 1)),
    "s_pack_hl_b32_b16": binary(I32, pack(1, 0)),
    "s_pack_hh_b32_b16": binary(I32, pack(1, 1)),
    "s_cselect_b32": select(I32),
    "s_cselect_b64": select(I64),
    "s_mov_b32": unary(I32, lambda b, x: x),
    "s_mov_b64": unary(I64, lambda b, x: x),
    "s_cmov_b32": conditional_move(I32),
    "s_cmov_b64": conditional_move(I64),
    "s_movk_i32": move_immediate,
    "s_cmovk_i32": conditional_move_immediate,
    "s_not_b32": unary_scc(I32, Builder.not_),
    "s_not_b64": unary_scc(I64, Builder.not_),
    "s_wqm_b32": unary_scc(I32, whole_quads),
    "s_wqm_b64": unary_scc(I64, whole_quads),
    "s_quadmask_b32": unary_scc(I32, quad_mask),
    "s_quadmask_b64": unary_scc(I64, quad_mask),
    "s_bitreplicate_b64_b32": unary(I32, bit_replicate),
    "s_brev_b32": unary(I32, Builder.bitreverse),
    "s_brev_b64": unary(I64, Builder.bitreverse),
    "s_bcnt0_i32_b32": unary_scc(I32, count_zeros),
    "s_bcnt0_i32_b64": unary_scc(I64, count_zeros),
    "s_bcnt1_i32_b32": unary_scc(I32, Builder.ctpop),
    "s_bcnt1_i32_b64": unary_scc(I64, Builder.ctpop),
    "s_ff0_i32_b32": unary(I32, lambda b, x: find_low_one(b, b.not_(x))),
    "s_ff0_i32_b64": unary(I64, lambda b, x: find_low_one(b, b.not_(x))),
    "s_ff1_i32_b32": unary(I32, find_low_one),
    "s_ff1_i32_b64": unary(I64, find_low_one),
    "s_flbit_i32_b32": unary(I32, leading_zeros),
    "s_flbit_i32_b64": unary(I64, leading_zeros),
    "s_flbit_i32": unary(I32, leading_sign_bits),
    "s_flbit_i32_i64": unary(I64, leading_sign_bits),
    "s_sext_i32_i8": unary(I32, sign_extend(I32, 8)),
    "s_sext_i32_i16": unary(I32, sign_extend(I32, 16)),
    "s_bitset0_b32": bit_set(I32, one=False),
    "s_bitset0_b64": bit_set(I64, one=False),
    "s_bitset1_b32": bit_set(I32, one=True),
    "s_bitset1_b64": bit_set(I64, one=True),
    "s_bitcmp0_b32": test_bit(I32, one=False),
    "s_bitcmp1_b32": test_bit(I32, one=True),
    "s_bitcmp0_b64": test_bit(I64, one=False),
    "s_bitcmp1_b64": test_bit(I64, one=True),
    "s_cmp_eq_u64": compare(I64, Builder.eq),
    "s_cmp_lg_u64": compare(I64, Builder.ne),
    **{
        f"s_{name}_{width}": binary_scc(type_, operation)
        for name, operation in _BITWISE.items()
        for width, type_ in _WIDTHS.items()
    },
    **{
        f"s_{name}_saveexec_{width}": mask_with_exec(operation, type_=type_, save=True)
        for name, operation in _WITH_EXEC.items()
        for width, type_ in _WIDTHS.items()
    },
    **{
        f"s_{name}_wrexec_{width}": mask_with_exec(operation, type_=type_, save=False)
        for name, operation in (("andn1", not_and), ("andn2", and_not))
        for width, type_ in _WIDTHS.items()
    },
    **{f"s_cmp_{name}_i32": compare(I32, operation) for name, operation in _SIGNED.items()},
    **{f"s_cmp_{name}_u32": compare(I32, operation) for name, operation in _UNSIGNED.items()},
    **{f"s_cmpk_{name}_i32": compare_immediate(operation) for name, operation in _SIGNED.items()},
    **{f"s_cmpk_{name}_u32": compare_immediate(operation) for name, operation in _UNSIGNED.items()},
}
