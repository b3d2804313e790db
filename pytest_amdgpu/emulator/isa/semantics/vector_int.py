"""Integer and bitwise vector arithmetic (VOP1, VOP2, VOP3), and vector moves.

`clamp` on an integer operation saturates; the operations that support it say so here (CDNA3 ISA section 6.5,
RDNA3 ISA section 7.2.3).
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F16, F32, I16, I32, I64, Type, Value
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
    add_saturating_s,
    add_saturating_u,
    sub_borrow,
    sub_saturating_s,
    sub_saturating_u,
)
from pytest_amdgpu.emulator.isa.semantics.rows import (
    Binary,
    Semantic,
    Table,
    Ternary,
    binary,
    byte,
    chained,
    inverted,
    nested,
    nothing,
    swapped,
    ternary,
    unary,
)

# ---- forms ------------------------------------------------------------------------------------------------


def clamped(type_: Type, operation: Binary, saturating: Binary, *, keep_high: bool | None = None) -> Semantic:
    """Two sources; with the clamp modifier the second operation instead of the first."""

    def build(b: Builder) -> None:
        chosen = saturating if b.mod("clamp") else operation
        b.dst(chosen(b, b.src(0, type_), b.src(1, type_)), keep_high=keep_high)

    return build


def carry_out(*, subtract: bool, carry_in: bool, reverse: bool = False) -> Semantic:
    """Sum or difference; the carry goes to destination 1, a lane mask, and comes from source 2.

    With clamp the result saturates and the carry is unchanged.
    """

    def build(b: Builder) -> None:
        x, y = b.src(0, I32), b.src(1, I32)
        if reverse:
            x, y = y, x
        incoming = b.src_mask(2) if carry_in else None
        result, carry = (sub_borrow if subtract else add_carry)(b, x, y, incoming)
        if b.mod("clamp"):
            result = b.select(carry, 0 if subtract else I32.mask, result)
        b.dst(result)
        b.dst_mask_bits(b.ballot(carry), 1)

    return build


def reversed_shift(type_: Type, operation: Binary) -> Semantic:
    """Shift whose count is the first source."""
    count = I16 if type_ is I16 else I32

    def build(b: Builder) -> None:
        value = b.src(1, type_, signed_literal=operation is Builder.ashr)
        b.dst(operation(b, value, b.src(0, count)))

    return build


def kept_high(semantic_type: Type, operation: Ternary) -> Semantic:
    """Three 16-bit sources; the other half of the destination is kept on every generation (op_sel forms)."""

    def build(b: Builder) -> None:
        sources = [b.src(i, semantic_type) for i in range(3)]
        b.dst(operation(b, *sources), keep_high=True)

    return build


# ---- 24-bit and widening products -------------------------------------------------------------------------


def low24(b: Builder, x: Value) -> Value:
    """The low 24 bits, zero-extended."""
    return b.and_(x, 0xFFFFFF)


def low24_signed(b: Builder, x: Value) -> Value:
    """The low 24 bits, sign-extended."""
    return b.ashr(b.shl(x, 8), 8)


def mul_u24(b: Builder, x: Value, y: Value) -> Value:
    """Low half of the product of 24-bit unsigned numbers."""
    return b.mul(low24(b, x), low24(b, y))


def mul_i24(b: Builder, x: Value, y: Value) -> Value:
    """Low half of the product of 24-bit signed numbers."""
    return b.mul(low24_signed(b, x), low24_signed(b, y))


def mulhi_u24(b: Builder, x: Value, y: Value) -> Value:
    """High half of the product of 24-bit unsigned numbers."""
    return b.mulhi_u(low24(b, x), low24(b, y))


def mulhi_i24(b: Builder, x: Value, y: Value) -> Value:
    """High half of the product of 24-bit signed numbers."""
    return b.mulhi_s(low24_signed(b, x), low24_signed(b, y))


def mad(*, signed: bool, multiply: Binary) -> Semantic:
    """multiply(x, y) + z; with clamp the sum of the 32-bit product saturates."""
    saturating = add_saturating_s if signed else add_saturating_u

    def build(b: Builder) -> None:
        product = multiply(b, b.src(0, I32), b.src(1, I32))
        z = b.src(2, I32)
        b.dst(saturating(b, product, z) if b.mod("clamp") else b.add(product, z))

    return build


def mad_widening(*, signed: bool) -> Semantic:
    """32 x 32 + 64 bits; destination 1 gets the 65th bit of the sum."""

    def build(b: Builder) -> None:
        extend = b.sext if signed else b.zext
        product = b.mul(extend(b.src(0, I32), I64), extend(b.src(1, I32), I64))
        addend = b.src(2, I64, signed_literal=signed)
        total, carry = add_carry(b, product, addend)
        b.dst(total)
        if signed:
            # The sum of two sign-extended 65-bit numbers: signs and carry added modulo two.
            carry = b.xor(carry, b.xor(b.slt(product, 0), b.slt(addend, 0)))
        b.dst_mask_bits(b.ballot(carry), 1)

    return build


def mad_16_to_32(*, signed: bool) -> Semantic:
    """16 x 16 + 32 bits."""

    def build(b: Builder) -> None:
        extend = b.sext if signed else b.zext
        product = b.mul(extend(b.src(0, I16), I32), extend(b.src(1, I16), I32))
        z = b.src(2, I32)
        if b.mod("clamp"):
            b.dst((add_saturating_s if signed else add_saturating_u)(b, product, z))
        else:
            b.dst(b.add(product, z))

    return build


def mad_16(*, signed: bool, keep_high: bool) -> Semantic:
    """16 x 16 + 16 bits; with clamp the exact result is limited to 16 bits."""

    def build(b: Builder) -> None:
        x, y, z = (b.src(i, I16) for i in range(3))
        result = b.add(b.mul(x, y), z)
        if b.mod("clamp"):
            extend = b.sext if signed else b.zext
            exact = b.add(b.mul(extend(x, I64), extend(y, I64)), extend(z, I64))
            limited = (
                b.smax(b.smin(exact, 0x7FFF), b.const(I64, -0x8000)) if signed else b.umin(exact, 0xFFFF)
            )
            result = b.trunc(limited, I16)
        b.dst(result, keep_high=keep_high or None)

    return build


# ---- medians, byte permutations, sums of differences ------------------------------------------------------


def median(smallest: Binary, largest: Binary) -> Ternary:
    """The middle one of three."""

    def apply(b: Builder, x: Value, y: Value, z: Value) -> Value:
        return largest(b, smallest(b, x, y), smallest(b, largest(b, x, y), z))

    return apply


def align(bits_per_step: int) -> Semantic:
    """The low 32 bits of the pair (source 0 above source 1) shifted right by source 2 bits or bytes."""

    def build(b: Builder) -> None:
        steps = b.and_(b.src(2, I32), 32 // bits_per_step - 1)
        pair = b.combine64(b.src(1, I32), b.src(0, I32))
        b.dst(b.lo32(b.lshr(pair, b.mul(steps, bits_per_step))))

    return build


def permute_bytes(b: Builder) -> None:
    """Each byte of source 2 chooses a byte of the pair (source 0 above source 1), a sign, or a constant."""
    pair = b.combine64(b.src(1, I32), b.src(0, I32))
    control = b.src(2, I32)
    result = b.const(I32, 0)
    for position in range(4):
        selector = byte(b, control, position)
        chosen = b.lo32(b.lshr(pair, b.shl(b.and_(selector, 7), 3)))
        # Selectors 8 to 11 replicate the sign of bytes 1, 3, 5 and 7.
        sign_at = b.add(b.shl(b.and_(selector, 3), 4), 15)
        sign = b.neg(b.and_(b.lo32(b.lshr(pair, sign_at)), 1))
        special = b.select(b.eq(selector, 12), 0, b.const(I32, 0xFF))
        special = b.select(b.ult(selector, 12), sign, special)
        chosen = b.and_(b.select(b.ult(selector, 8), chosen, special), 0xFF)
        result = b.or_(result, b.shl(chosen, 8 * position))
    b.dst(result)


def _distance(b: Builder, x: Value, y: Value) -> Value:
    return b.sub(b.umax(x, y), b.umin(x, y))


def _sum_of_distances(b: Builder, x: Value, y: Value, start: Value, *, masked: bool = False) -> Value:
    """`start` plus the distances of the four bytes; `masked` skips bytes whose y is zero."""
    total = start
    for i in range(4):
        reference = byte(b, y, i)
        distance = _distance(b, byte(b, x, i), reference)
        total = b.add(total, b.select(b.eq(reference, 0), 0, distance) if masked else distance)
    return total


def sad_u8(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """Sum of absolute differences of bytes, plus z."""
    return _sum_of_distances(b, x, y, z)


def msad_u8(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """The same, without the bytes whose reference y is zero."""
    return _sum_of_distances(b, x, y, z, masked=True)


def sad_hi_u8(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """Sum of absolute differences of bytes in the high half, plus z."""
    return b.add(b.shl(_sum_of_distances(b, x, y, b.const(I32, 0)), 16), z)


def sad_u16(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """Sum of absolute differences of halves, plus z."""
    low = _distance(b, b.and_(x, 0xFFFF), b.and_(y, 0xFFFF))
    high = _distance(b, b.lshr(x, 16), b.lshr(y, 16))
    return b.add(b.add(low, high), z)


def sad_u32(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """Absolute difference, plus z."""
    return b.add(_distance(b, x, y), z)


def quad_sad_u16(*, masked: bool) -> Semantic:
    """Four 16-bit sums over the windows of four bytes at bytes 0 to 3 of the 64-bit source."""

    def build(b: Builder) -> None:
        data, reference, start = b.src(0, I64), b.src(1, I32), b.src(2, I64)
        halves = []
        for i in range(4):
            window = b.lo32(b.lshr(data, 8 * i))
            initial = b.and_(b.lo32(b.lshr(start, 16 * i)), 0xFFFF)
            halves.append(b.lo16(_sum_of_distances(b, window, reference, initial, masked=masked)))
        b.dst(b.combine64(b.combine32(halves[0], halves[1]), b.combine32(halves[2], halves[3])))

    return build


def quad_sad_u32(b: Builder) -> None:
    """The masked sums over four windows, each added to its own dword of source 2."""
    data, reference = b.src(0, I64), b.src(1, I32)
    for i in range(4):
        window = b.lo32(b.lshr(data, 8 * i))
        b.dst_dword(i, _sum_of_distances(b, window, reference, b.src_dword(2, i), masked=True))


def lerp_u8(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """Average of each pair of bytes, rounded up where bit 0 of z's byte is set."""
    result = b.const(I32, 0)
    for i in range(4):
        total = b.add(b.add(byte(b, x, i), byte(b, y, i)), b.and_(b.lshr(z, 8 * i), 1))
        result = b.or_(result, b.shl(b.and_(b.lshr(total, 1), 0xFF), 8 * i))
    return result


def saturate_pack_u8(b: Builder, x: Value) -> Value:
    """Two signed 16-bit numbers limited to 0..255, in two bytes."""
    low, high = (b.smin(b.smax(half, 0), 255) for half in (b.sext(b.lo16(x), I32), b.sext(b.hi16(x), I32)))
    return b.lo16(b.or_(low, b.shl(high, 8)))


# ---- bits -------------------------------------------------------------------------------------------------


def bit_field_insert(b: Builder, mask: Value, x: Value, y: Value) -> Value:
    """The bits of x where `mask` is one, of y elsewhere."""
    return b.or_(b.and_(mask, x), b.and_(b.not_(mask), y))


def field_extract(*, signed: bool) -> Semantic:
    """Source 2 bits (0 to 31) of source 0 from bit number source 1 on."""

    def build(b: Builder) -> None:
        width = b.and_(b.src(2, I32), 31)
        extract = extract_signed if signed else extract_unsigned
        b.dst(extract(b, b.src(0, I32), b.src(1, I32), width))

    return build


def bitwise_by_table(type_: Type) -> Semantic:
    """Each bit as a truth table has it, indexed by the bits of the sources, the first one's highest."""

    def build(b: Builder) -> None:
        sources = [b.src(i, type_) for i in range(3)]
        table = b.mod("bitop3")
        result = b.const(type_, 0)
        for row in range(8):
            if table >> row & 1:
                term = b.const(type_, type_.mask)
                for position, source in enumerate(sources):
                    term = b.and_(term, source if row >> (2 - position) & 1 else b.not_(source))
                result = b.or_(result, term)
        b.dst(result)

    return build


def count_bits(b: Builder, x: Value, y: Value) -> Value:
    """Number of ones in x, plus y."""
    return b.add(b.ctpop(x), y)


def count_lower_lanes(*, high: bool) -> Semantic:
    """Source 1 plus the number of ones in source 0 that stand for lower lanes (of 0..31, or of 32..63)."""

    def build(b: Builder) -> None:
        lane = b.lane_id()
        if high:
            below = b.select(b.ult(lane, 32), 0, b.sub(b.shl(b.const(I32, 1), lane), 1))
        else:
            below = b.select(b.ult(lane, 32), b.sub(b.shl(b.const(I32, 1), lane), 1), b.const(I32, I32.mask))
        b.dst(b.add(b.ctpop(b.and_(b.src(0, I32), below)), b.src(1, I32)))

    return build


def swap(type_: Type) -> Semantic:
    """Exchange destination and source, both vector registers."""

    def build(b: Builder) -> None:
        source, destination = b.src(0, type_), b.dst_old(type_)
        b.dst(source, keep_high=True)
        if type_ is I32:
            b.set_vgpr(b.src_vgpr_index(0), destination)
            return
        register = b.src_vgpr_index(0)
        word, half = b.vgpr(register), b.zext(destination, I32)
        if b.mod("op_sel") & 1:
            b.set_vgpr(register, b.or_(b.and_(word, 0xFFFF), b.shl(half, 16)))
        else:
            b.set_vgpr(register, b.or_(b.and_(word, 0xFFFF0000), half))

    return build


def move(type_: Type) -> Semantic:
    """Copy; `neg` and `abs` apply, as to a float."""

    def build(b: Builder) -> None:
        b.dst(b.src(0, type_), modifiers=False)

    return build


def conditional_mask(type_: Type) -> Semantic:
    """Source 1 in lanes whose bit in the mask (source 2) is set, else source 0; `neg` and `abs` apply."""

    def build(b: Builder) -> None:
        b.dst(b.select(b.src_mask(2), b.src(1, type_), b.src(0, type_)), modifiers=False)

    return build


def xor_add(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """(x ^ y) + z."""
    return b.add(b.xor(x, y), z)


_MIN_MAX: dict[str, tuple[Binary, Binary]] = {
    "i": (Builder.smin, Builder.smax),
    "u": (Builder.umin, Builder.umax),
}


def _three_operand_extremes() -> Table:
    table: Table = {}
    for sign, (smallest, largest) in _MIN_MAX.items():
        rows: dict[str, Ternary] = {
            "min3": nested(smallest),
            "max3": nested(largest),
            "med3": median(smallest, largest),
        }
        for name, operation in rows.items():
            table[f"v_{name}_{sign}32"] = ternary(I32, operation)
            table[f"v_{name}_{sign}16"] = kept_high(I16, operation)
        table[f"v_minmax_{sign}32"] = ternary(I32, chained(smallest, largest))
        table[f"v_maxmin_{sign}32"] = ternary(I32, chained(largest, smallest))
        for name, pair in (("min", smallest), ("max", largest)):
            table[f"v_{name}_{sign}32"] = binary(I32, pair)
            table[f"v_{name}_{sign}16"] = binary(I16, pair)
    return table


TABLE: Table = {
    "v_nop": nothing,
    "v_mov_b32": move(F32),
    "v_mov_b16": move(F16),
    "v_mov_b64": unary(I64, lambda b, x: x),
    "v_accvgpr_mov_b32": unary(I32, lambda b, x: x),
    "v_accvgpr_read_b32": unary(I32, lambda b, x: x),
    "v_accvgpr_write_b32": unary(I32, lambda b, x: x),
    "v_swap_b32": swap(I32),
    "v_swap_b16": swap(I16),
    "v_cndmask_b32": conditional_mask(F32),
    "v_cndmask_b16": conditional_mask(F16),
    # sums and differences
    "v_add_u32": clamped(I32, Builder.add, add_saturating_u),
    "v_sub_u32": clamped(I32, Builder.sub, sub_saturating_u),
    "v_subrev_u32": clamped(I32, swapped(Builder.sub), swapped(sub_saturating_u)),
    "v_add_i32": clamped(I32, Builder.add, add_saturating_s),
    "v_sub_i32": clamped(I32, Builder.sub, sub_saturating_s),
    "v_add_u16": clamped(I16, Builder.add, add_saturating_u),
    "v_sub_u16": clamped(I16, Builder.sub, sub_saturating_u),
    "v_subrev_u16": clamped(I16, swapped(Builder.sub), swapped(sub_saturating_u)),
    "v_add_i16": clamped(I16, Builder.add, add_saturating_s, keep_high=True),
    "v_sub_i16": clamped(I16, Builder.sub, sub_saturating_s, keep_high=True),
    "v_add_co_u32": carry_out(subtract=False, carry_in=False),
    "v_sub_co_u32": carry_out(subtract=True, carry_in=False),
    "v_subrev_co_u32": carry_out(subtract=True, carry_in=False, reverse=True),
    "v_addc_co_u32": carry_out(subtract=False, carry_in=True),
    "v_subb_co_u32": carry_out(subtract=True, carry_in=True),
    "v_subbrev_co_u32": carry_out(subtract=True, carry_in=True, reverse=True),
    "v_add3_u32": ternary(I32, nested(Builder.add)),
    "v_lshl_add_u32": ternary(I32, chained(Builder.shl, Builder.add)),
    "v_add_lshl_u32": ternary(I32, chained(Builder.add, Builder.shl)),
    "v_lshl_add_u64": ternary(I64, lambda b, x, count, y: b.add(b.shl(x, b.and_(count, 7)), y), second=I32),
    "v_lshl_or_b32": ternary(I32, chained(Builder.shl, Builder.or_)),
    "v_and_or_b32": ternary(I32, chained(Builder.and_, Builder.or_)),
    "v_or3_b32": ternary(I32, nested(Builder.or_)),
    "v_xor3_b32": ternary(I32, nested(Builder.xor)),
    "v_xad_u32": ternary(I32, xor_add),
    # products
    "v_mul_lo_u32": binary(I32, Builder.mul),
    "v_mul_lo_i32": binary(I32, Builder.mul),
    "v_mul_hi_u32": binary(I32, Builder.mulhi_u),
    "v_mul_hi_i32": binary(I32, Builder.mulhi_s),
    "v_mul_lo_u16": binary(I16, Builder.mul),
    "v_mul_u32_u24": binary(I32, mul_u24),
    "v_mul_i32_i24": binary(I32, mul_i24),
    "v_mul_hi_u32_u24": binary(I32, mulhi_u24),
    "v_mul_hi_i32_i24": binary(I32, mulhi_i24),
    "v_mad_u32_u24": mad(signed=False, multiply=mul_u24),
    "v_mad_i32_i24": mad(signed=True, multiply=mul_i24),
    "v_mad_u64_u32": mad_widening(signed=False),
    "v_mad_i64_i32": mad_widening(signed=True),
    "v_mad_u32_u16": mad_16_to_32(signed=False),
    "v_mad_i32_i16": mad_16_to_32(signed=True),
    "v_mad_u16": mad_16(signed=False, keep_high=True),
    "v_mad_i16": mad_16(signed=True, keep_high=True),
    "v_mad_legacy_u16": mad_16(signed=False, keep_high=False),
    "v_mad_legacy_i16": mad_16(signed=True, keep_high=False),
    # bits
    "v_and_b32": binary(I32, Builder.and_),
    "v_or_b32": binary(I32, Builder.or_),
    "v_xor_b32": binary(I32, Builder.xor),
    "v_xnor_b32": binary(I32, inverted(Builder.xor)),
    "v_not_b32": unary(I32, Builder.not_),
    "v_and_b16": binary(I16, Builder.and_),
    "v_or_b16": binary(I16, Builder.or_),
    "v_xor_b16": binary(I16, Builder.xor),
    "v_not_b16": unary(I16, Builder.not_),
    "v_bitop3_b32": bitwise_by_table(I32),
    "v_bitop3_b16": bitwise_by_table(I16),
    "v_bfi_b32": ternary(I32, bit_field_insert),
    "v_bfm_b32": binary(I32, bit_field_mask(I32)),
    "v_bfe_u32": field_extract(signed=False),
    "v_bfe_i32": field_extract(signed=True),
    "v_bfrev_b32": unary(I32, Builder.bitreverse),
    "v_ffbh_u32": unary(I32, leading_zeros),
    "v_ffbh_i32": unary(I32, leading_sign_bits),
    "v_ffbl_b32": unary(I32, find_low_one),
    "v_bcnt_u32_b32": binary(I32, count_bits),
    "v_mbcnt_lo_u32_b32": count_lower_lanes(high=False),
    "v_mbcnt_hi_u32_b32": count_lower_lanes(high=True),
    "v_lshlrev_b32": reversed_shift(I32, Builder.shl),
    "v_lshrrev_b32": reversed_shift(I32, Builder.lshr),
    "v_ashrrev_i32": reversed_shift(I32, Builder.ashr),
    "v_lshlrev_b64": reversed_shift(I64, Builder.shl),
    "v_lshrrev_b64": reversed_shift(I64, Builder.lshr),
    "v_ashrrev_i64": reversed_shift(I64, Builder.ashr),
    "v_lshlrev_b16": reversed_shift(I16, Builder.shl),
    "v_lshrrev_b16": reversed_shift(I16, Builder.lshr),
    "v_ashrrev_i16": reversed_shift(I16, Builder.ashr),
    # bytes
    "v_alignbit_b32": align(1),
    "v_alignbyte_b32": align(8),
    "v_perm_b32": permute_bytes,
    "v_sad_u8": ternary(I32, sad_u8),
    "v_msad_u8": ternary(I32, msad_u8),
    "v_sad_hi_u8": ternary(I32, sad_hi_u8),
    "v_sad_u16": ternary(I32, sad_u16),
    "v_sad_u32": ternary(I32, sad_u32),
    "v_qsad_pk_u16_u8": quad_sad_u16(masked=False),
    "v_mqsad_pk_u16_u8": quad_sad_u16(masked=True),
    "v_mqsad_u32_u8": quad_sad_u32,
    "v_lerp_u8": ternary(I32, lerp_u8),
    "v_sat_pk_u8_i16": unary(I32, saturate_pack_u8),
    **_three_operand_extremes(),
}
