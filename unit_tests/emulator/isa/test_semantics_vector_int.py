"""Integer vector instructions against their definitions in the ISA manuals, on Python integers.

Definitions: CDNA3 ISA 12.7 to 12.11 and RDNA3 ISA 16.7 to 16.12. An oracle gets A, B, C as 64-bit integers
and returns the new destination.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from instruction_bench import VECTOR_IN, Words, bench

M16, M32, M64 = 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
Oracle = Callable[[int, int, int], int]

EDGES = (
    0x00000000, 0x00000001, 0x00000002, 0x0000001F, 0x00000020, 0x0000FFFF, 0x00010000, 0x007FFFFF,
    0x00800000, 0x00FFFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFF0000, 0xFFFF8000, 0x00007FFF,
    0xFFFFFFFE, 0xFFFFFFFF,
)  # fmt: skip


def signed(x: int, bits: int = 32) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def low(f: Oracle, bits: int = 32) -> Oracle:
    """The oracle on the low bits of its arguments."""
    mask = (1 << bits) - 1
    return lambda a, b, c: f(a & mask, b & mask, c & mask)


def low_signed(f: Oracle, bits: int = 32) -> Oracle:
    """The oracle on the low bits of its arguments as signed numbers."""
    return lambda a, b, c: f(signed(a, bits), signed(b, bits), signed(c, bits))


def limit(x: int, lowest: int, highest: int) -> int:
    return max(lowest, min(highest, x))


def clz(x: int, bits: int = 32) -> int:
    return bits - x.bit_length() if x else -1


def cls(x: int) -> int:
    return clz(x ^ (M32 if x >> 31 else 0))


def ctz(x: int) -> int:
    return (x & -x).bit_length() - 1


def octets(x: int, count: int = 4) -> list[int]:
    return list(x.to_bytes(8, "little"))[:count]


def sad(a: int, b: int, c: int, masked: bool = False) -> int:
    pairs = zip(octets(a), octets(b), strict=True)
    return c + sum(abs(x - y) for x, y in pairs if y or not masked)


def perm(a: int, b: int, c: int) -> int:
    data = octets(b) + octets(a)

    def one(selector: int) -> int:
        if selector >= 13:
            return 0xFF
        if selector == 12:
            return 0
        if selector >= 8:
            return 0xFF if data[2 * (selector - 8) + 1] & 0x80 else 0
        return data[selector]

    return int.from_bytes(bytes(one(s) for s in octets(c)), "little")


def lerp(a: int, b: int, c: int) -> int:
    triples = zip(octets(a), octets(b), octets(c), strict=True)
    return int.from_bytes(bytes((x + y + (z & 1)) >> 1 for x, y, z in triples), "little")


def bfe_i(a: int, b: int, c: int) -> int:
    width = c & 31
    return signed((signed(a) >> (b & 31)) & ((1 << width) - 1), width) if width else 0


def qsad(a: int, b: int, c: int, masked: bool = False) -> int:
    total = 0
    for i in range(4):
        value = sad(a >> 8 * i & M32, b & M32, c >> 16 * i & M16, masked) & M16
        total |= value << 16 * i
    return total


def dot(bits: int, a_signed: bool, b_signed: bool) -> Oracle:
    def f(a: int, b: int, c: int) -> int:
        total = c
        for i in range(32 // bits):
            x, y = a >> bits * i & (1 << bits) - 1, b >> bits * i & (1 << bits) - 1
            total += (signed(x, bits) if a_signed else x) * (signed(y, bits) if b_signed else y)
        return total

    return f


def sat_pk(a: int, b: int, c: int) -> int:
    return limit(signed(a, 16), 0, 255) | limit(signed(a >> 16, 16), 0, 255) << 8


def halves(f: Callable[[int, int, int], int], signed_halves: bool = False) -> Oracle:
    """A packed operation: the oracle on both halves."""

    def g(a: int, b: int, c: int) -> int:
        result = 0
        for shift in (0, 16):
            args = [(x >> shift) & M16 for x in (a, b, c)]
            if signed_halves:
                args = [signed(x, 16) for x in args]
            result |= (f(*args) & M16) << shift
        return result

    return g


# (text for gfx942, text for gfx1100; None where the generation lacks it), dwords written, oracle
Row = tuple[str | None, str | None, int, Oracle]


def both(text: str, dwords: int, oracle: Oracle) -> Row:
    return text, text, dwords, oracle


def row(gfx9: str | None, gfx11: str | None, oracle: Oracle, dwords: int = 1) -> Row:
    return gfx9, gfx11, dwords, oracle


def two(gfx9: str, gfx11: str | None = None, modifiers: str = "") -> tuple[str, str]:
    """v8, v2, v4 operands under one or two names."""
    return f"{gfx9} v8, v2, v4{modifiers}", f"{gfx11 or gfx9} v8, v2, v4{modifiers}"


def three(gfx9: str, gfx11: str | None = None, modifiers: str = "") -> tuple[str, str]:
    return f"{gfx9} v8, v2, v4, v6{modifiers}", f"{gfx11 or gfx9} v8, v2, v4, v6{modifiers}"


def one(gfx9: str, gfx11: str | None = None) -> tuple[str, str]:
    return f"{gfx9} v8, v2", f"{gfx11 or gfx9} v8, v2"


ROWS: list[Row] = [
    row(*one("v_mov_b32"), low(lambda a, b, c: a)),
    row("v_mov_b64 v[8:9], v[2:3]", None, lambda a, b, c: a, 2),
    row(*two("v_add_u32", "v_add_nc_u32"), low(lambda a, b, c: a + b)),
    row(*two("v_sub_u32", "v_sub_nc_u32"), low(lambda a, b, c: a - b)),
    row(*two("v_subrev_u32", "v_subrev_nc_u32"), low(lambda a, b, c: b - a)),
    row(*two("v_add_u32", "v_add_nc_u32", " clamp"), low(lambda a, b, c: min(a + b, M32))),
    row(*two("v_sub_u32", "v_sub_nc_u32", " clamp"), low(lambda a, b, c: max(a - b, 0))),
    row(*two("v_subrev_u32", "v_subrev_nc_u32", " clamp"), low(lambda a, b, c: max(b - a, 0))),
    row(*two("v_add_i32", "v_add_nc_i32"), low(lambda a, b, c: a + b)),
    row(*two("v_sub_i32", "v_sub_nc_i32"), low(lambda a, b, c: a - b)),
    row(
        *two("v_add_i32", "v_add_nc_i32", " clamp"),
        low_signed(lambda a, b, c: limit(a + b, -(1 << 31), (1 << 31) - 1)),
    ),
    row(
        *two("v_sub_i32", "v_sub_nc_i32", " clamp"),
        low_signed(lambda a, b, c: limit(a - b, -(1 << 31), (1 << 31) - 1)),
    ),
    row(*three("v_add3_u32"), low(lambda a, b, c: a + b + c)),
    row(*three("v_lshl_add_u32"), low(lambda a, b, c: (a << (b & 31)) + c)),
    row(*three("v_add_lshl_u32"), low(lambda a, b, c: (a + b) << (c & 31))),
    row("v_lshl_add_u64 v[8:9], v[2:3], v4, v[6:7]", None, lambda a, b, c: (a << (b & 7)) + c, 2),
    row(*three("v_lshl_or_b32"), low(lambda a, b, c: a << (b & 31) | c)),
    row(*three("v_and_or_b32"), low(lambda a, b, c: a & b | c)),
    row(*three("v_or3_b32"), low(lambda a, b, c: a | b | c)),
    row(None, three("v_xor3_b32")[1], low(lambda a, b, c: a ^ b ^ c)),
    row(*three("v_xad_u32"), low(lambda a, b, c: (a ^ b) + c)),
    row(*two("v_mul_lo_u32"), low(lambda a, b, c: a * b)),
    row(*two("v_mul_hi_u32"), low(lambda a, b, c: a * b >> 32)),
    row(*two("v_mul_hi_i32"), low_signed(lambda a, b, c: a * b >> 32)),
    row(*two("v_mul_u32_u24"), low(lambda a, b, c: a * b, 24)),
    row(*two("v_mul_i32_i24"), low_signed(lambda a, b, c: a * b, 24)),
    row(*two("v_mul_hi_u32_u24"), low(lambda a, b, c: a * b >> 32, 24)),
    row(*two("v_mul_hi_i32_i24"), low_signed(lambda a, b, c: a * b >> 32, 24)),
    row(*three("v_mad_u32_u24"), lambda a, b, c: (a & 0xFFFFFF) * (b & 0xFFFFFF) + c),
    row(*three("v_mad_i32_i24"), lambda a, b, c: signed(a, 24) * signed(b, 24) + c),
    row(*three("v_mad_u32_u16"), lambda a, b, c: (a & M16) * (b & M16) + c),
    row(*three("v_mad_i32_i16"), lambda a, b, c: signed(a, 16) * signed(b, 16) + c),
    both("v_mad_u64_u32 v[8:9], {o}, v2, v4, v[6:7]", 2, lambda a, b, c: (a & M32) * (b & M32) + c),
    both("v_mad_i64_i32 v[8:9], {o}, v2, v4, v[6:7]", 2, lambda a, b, c: signed(a) * signed(b) + c),
    row(*two("v_and_b32"), low(lambda a, b, c: a & b)),
    row(*two("v_or_b32"), low(lambda a, b, c: a | b)),
    row(*two("v_xor_b32"), low(lambda a, b, c: a ^ b)),
    row(*two("v_xnor_b32"), low(lambda a, b, c: ~(a ^ b))),
    row(*one("v_not_b32"), low(lambda a, b, c: ~a)),
    row(*three("v_bfi_b32"), low(lambda a, b, c: a & b | ~a & c)),
    row(*two("v_bfm_b32"), low(lambda a, b, c: ((1 << (a & 31)) - 1) << (b & 31))),
    row(*three("v_bfe_u32"), low(lambda a, b, c: a >> (b & 31) & ((1 << (c & 31)) - 1))),
    row(*three("v_bfe_i32"), low(bfe_i)),
    row(*one("v_bfrev_b32"), low(lambda a, b, c: int(f"{a:032b}"[::-1], 2))),
    row(*one("v_ffbh_u32", "v_clz_i32_u32"), low(lambda a, b, c: clz(a))),
    row(*one("v_ffbh_i32", "v_cls_i32"), low(lambda a, b, c: cls(a))),
    row(*one("v_ffbl_b32", "v_ctz_i32_b32"), low(lambda a, b, c: ctz(a))),
    row(*two("v_bcnt_u32_b32"), low(lambda a, b, c: a.bit_count() + b)),
    row(*two("v_lshlrev_b32"), low(lambda a, b, c: b << (a & 31))),
    row(*two("v_lshrrev_b32"), low(lambda a, b, c: b >> (a & 31))),
    row(*two("v_ashrrev_i32"), low(lambda a, b, c: signed(b) >> (a & 31))),
    both("v_lshlrev_b64 v[8:9], v2, v[4:5]", 2, lambda a, b, c: b << (a & 63)),
    both("v_lshrrev_b64 v[8:9], v2, v[4:5]", 2, lambda a, b, c: b >> (a & 63)),
    both("v_ashrrev_i64 v[8:9], v2, v[4:5]", 2, lambda a, b, c: signed(b, 64) >> (a & 63)),
    row(*two("v_min_u32"), low(lambda a, b, c: min(a, b))),
    row(*two("v_max_u32"), low(lambda a, b, c: max(a, b))),
    row(*two("v_min_i32"), low_signed(lambda a, b, c: min(a, b))),
    row(*two("v_max_i32"), low_signed(lambda a, b, c: max(a, b))),
    row(*three("v_min3_u32"), low(lambda a, b, c: min(a, b, c))),
    row(*three("v_max3_u32"), low(lambda a, b, c: max(a, b, c))),
    row(*three("v_med3_u32"), low(lambda a, b, c: sorted((a, b, c))[1])),
    row(*three("v_min3_i32"), low_signed(lambda a, b, c: min(a, b, c))),
    row(*three("v_max3_i32"), low_signed(lambda a, b, c: max(a, b, c))),
    row(*three("v_med3_i32"), low_signed(lambda a, b, c: sorted((a, b, c))[1])),
    row(None, three("v_minmax_u32")[1], low(lambda a, b, c: max(min(a, b), c))),
    row(None, three("v_maxmin_u32")[1], low(lambda a, b, c: min(max(a, b), c))),
    row(None, three("v_minmax_i32")[1], low_signed(lambda a, b, c: max(min(a, b), c))),
    row(None, three("v_maxmin_i32")[1], low_signed(lambda a, b, c: min(max(a, b), c))),
    row(*three("v_alignbit_b32"), low(lambda a, b, c: (a << 32 | b) >> (c & 31))),
    row(*three("v_alignbyte_b32"), low(lambda a, b, c: (a << 32 | b) >> 8 * (c & 3))),
    row(*three("v_perm_b32"), low(perm)),
    row(*three("v_sad_u8"), low(sad)),
    row(*three("v_msad_u8"), low(lambda a, b, c: sad(a, b, c, masked=True))),
    row(*three("v_sad_hi_u8"), low(lambda a, b, c: (sad(a, b, 0) << 16) + c)),
    row(
        *three("v_sad_u16"), low(lambda a, b, c: abs((a & M16) - (b & M16)) + abs((a >> 16) - (b >> 16)) + c)
    ),
    row(*three("v_sad_u32"), low(lambda a, b, c: abs(a - b) + c)),
    both("v_qsad_pk_u16_u8 v[8:9], v[2:3], v4, v[6:7]", 2, qsad),
    both("v_mqsad_pk_u16_u8 v[8:9], v[2:3], v4, v[6:7]", 2, lambda a, b, c: qsad(a, b, c, masked=True)),
    row(*three("v_lerp_u8"), low(lerp)),
    row(
        "v_dot4_i32_i8 v8, v2, v4, v6",
        "v_dot4_i32_iu8 v8, v2, v4, v6 neg_lo:[1,1,0]",
        low(dot(8, True, True)),
    ),
    row(None, "v_dot4_i32_iu8 v8, v2, v4, v6 neg_lo:[1,0,0]", low(dot(8, True, False))),
    row(None, "v_dot4_i32_iu8 v8, v2, v4, v6", low(dot(8, False, False))),
    row(*three("v_dot4_u32_u8"), low(dot(8, False, False))),
    row(
        "v_dot8_i32_i4 v8, v2, v4, v6",
        "v_dot8_i32_iu4 v8, v2, v4, v6 neg_lo:[1,1,0]",
        low(dot(4, True, True)),
    ),
    row(*three("v_dot8_u32_u4"), low(dot(4, False, False))),
    row("v_dot2_i32_i16 v8, v2, v4, v6", None, low(dot(16, True, True))),
    row("v_dot2_u32_u16 v8, v2, v4, v6", None, low(dot(16, False, False))),
    row(
        "v_dot4_i32_i8 v8, v2, v4, v6 clamp",
        "v_dot4_i32_iu8 v8, v2, v4, v6 neg_lo:[1,1,0] clamp",
        lambda a, b, c: limit(dot(8, True, True)(a & M32, b & M32, signed(c)), -(1 << 31), (1 << 31) - 1),
    ),
    row(*two("v_pk_add_u16"), low(halves(lambda a, b, c: a + b))),
    row(*two("v_pk_sub_u16"), low(halves(lambda a, b, c: a - b))),
    row(*two("v_pk_add_u16", modifiers=" clamp"), low(halves(lambda a, b, c: min(a + b, M16)))),
    row(*two("v_pk_sub_u16", modifiers=" clamp"), low(halves(lambda a, b, c: max(a - b, 0)))),
    row(
        *two("v_pk_add_i16", modifiers=" clamp"),
        low(halves(lambda a, b, c: limit(a + b, -32768, 32767), signed_halves=True)),
    ),
    row(
        *two("v_pk_sub_i16", modifiers=" clamp"),
        low(halves(lambda a, b, c: limit(a - b, -32768, 32767), signed_halves=True)),
    ),
    row(*two("v_pk_mul_lo_u16"), low(halves(lambda a, b, c: a * b))),
    row(*two("v_pk_lshlrev_b16"), low(halves(lambda a, b, c: b << (a & 15)))),
    row(*two("v_pk_lshrrev_b16"), low(halves(lambda a, b, c: b >> (a & 15)))),
    row(*two("v_pk_ashrrev_i16"), low(halves(lambda a, b, c: b >> (a & 15), signed_halves=True))),
    row(*two("v_pk_min_u16"), low(halves(lambda a, b, c: min(a, b)))),
    row(*two("v_pk_max_u16"), low(halves(lambda a, b, c: max(a, b)))),
    row(*two("v_pk_min_i16"), low(halves(lambda a, b, c: min(a, b), signed_halves=True))),
    row(*two("v_pk_max_i16"), low(halves(lambda a, b, c: max(a, b), signed_halves=True))),
    row(*three("v_pk_mad_u16"), low(halves(lambda a, b, c: a * b + c))),
    row(*three("v_pk_mad_i16"), low(halves(lambda a, b, c: a * b + c))),
    row(*three("v_pk_mad_u16", modifiers=" clamp"), low(halves(lambda a, b, c: min(a * b + c, M16)))),
    row(
        *three("v_pk_mad_i16", modifiers=" clamp"),
        low(halves(lambda a, b, c: limit(a * b + c, -32768, 32767), signed_halves=True)),
    ),
    row(
        *two("v_pk_add_u16", modifiers=" op_sel:[1,0] op_sel_hi:[0,1]"),
        low(lambda a, b, c: ((a >> 16) + b & M16) | ((a + (b >> 16)) & M16) << 16),
    ),
    row(
        "v_pk_mov_b32 v[8:9], v[2:3], v[4:5] op_sel:[1,0]",
        None,
        lambda a, b, c: a >> 32 | (b & M32) << 32,
        2,
    ),
    row(
        "v_pk_mov_b32 v[8:9], v[2:3], v[4:5] op_sel:[0,1]",
        None,
        lambda a, b, c: a & M32 | b >> 32 << 32,
        2,
    ),
    row(*two("v_cvt_pk_u16_u32"), low(lambda a, b, c: min(a, M16) | min(b, M16) << 16)),
    row(
        *two("v_cvt_pk_i16_i32"),
        low_signed(lambda a, b, c: (limit(a, -32768, 32767) & M16) | (limit(b, -32768, 32767) & M16) << 16),
    ),
    row(*two("v_pack_b32_f16"), low(lambda a, b, c: a & M16 | (b & M16) << 16)),
    row(*two("v_pack_b32_f16", modifiers=" op_sel:[1,0,0]"), low(lambda a, b, c: a >> 16 | (b & M16) << 16)),
    row(
        "v_accvgpr_write_b32 a3, v2\ns_nop 3\nv_accvgpr_mov_b32 a4, a3\nv_accvgpr_read_b32 v8, a4",
        None,
        low(lambda a, b, c: a),
    ),
]

# 16-bit results: (gfx942, gfx1100, oracle, whether gfx942 keeps the destination's high half)
ROWS16: list[tuple[str | None, str | None, Oracle, bool]] = [
    ("v_add_u16 v8, v2, v4", "v_add_nc_u16 v8, v2, v4", lambda a, b, c: a + b, False),
    ("v_sub_u16 v8, v2, v4", "v_sub_nc_u16 v8, v2, v4", lambda a, b, c: a - b, False),
    ("v_subrev_u16 v8, v2, v4", None, lambda a, b, c: b - a, False),
    ("v_add_i16 v8, v2, v4", "v_add_nc_i16 v8, v2, v4", lambda a, b, c: a + b, True),
    ("v_sub_i16 v8, v2, v4", "v_sub_nc_i16 v8, v2, v4", lambda a, b, c: a - b, True),
    (
        "v_add_i16 v8, v2, v4 clamp",
        "v_add_nc_i16 v8, v2, v4 clamp",
        lambda a, b, c: limit(signed(a, 16) + signed(b, 16), -32768, 32767),
        True,
    ),
    ("v_mul_lo_u16 v8, v2, v4", "v_mul_lo_u16 v8, v2, v4", lambda a, b, c: a * b, False),
    ("v_lshlrev_b16 v8, v2, v4", "v_lshlrev_b16 v8, v2, v4", lambda a, b, c: b << (a & 15), False),
    ("v_lshrrev_b16 v8, v2, v4", "v_lshrrev_b16 v8, v2, v4", lambda a, b, c: b >> (a & 15), False),
    (
        "v_ashrrev_i16 v8, v2, v4",
        "v_ashrrev_i16 v8, v2, v4",
        lambda a, b, c: signed(b, 16) >> (a & 15),
        False,
    ),
    ("v_min_u16 v8, v2, v4", "v_min_u16 v8, v2, v4", lambda a, b, c: min(a, b), False),
    ("v_max_u16 v8, v2, v4", "v_max_u16 v8, v2, v4", lambda a, b, c: max(a, b), False),
    (
        "v_min_i16 v8, v2, v4",
        "v_min_i16 v8, v2, v4",
        lambda a, b, c: min(signed(a, 16), signed(b, 16)),
        False,
    ),
    (
        "v_max_i16 v8, v2, v4",
        "v_max_i16 v8, v2, v4",
        lambda a, b, c: max(signed(a, 16), signed(b, 16)),
        False,
    ),
    ("v_mad_u16 v8, v2, v4, v6", "v_mad_u16 v8, v2, v4, v6", lambda a, b, c: a * b + c, True),
    ("v_mad_i16 v8, v2, v4, v6", "v_mad_i16 v8, v2, v4, v6", lambda a, b, c: a * b + c, True),
    ("v_mad_legacy_u16 v8, v2, v4, v6", None, lambda a, b, c: a * b + c, False),
    ("v_mad_legacy_i16 v8, v2, v4, v6", None, lambda a, b, c: a * b + c, False),
    (
        "v_mad_u16 v8, v2, v4, v6 clamp",
        "v_mad_u16 v8, v2, v4, v6 clamp",
        lambda a, b, c: min(a * b + c, M16),
        True,
    ),
    ("v_min3_u16 v8, v2, v4, v6", "v_min3_u16 v8, v2, v4, v6", lambda a, b, c: min(a, b, c), True),
    ("v_max3_u16 v8, v2, v4, v6", "v_max3_u16 v8, v2, v4, v6", lambda a, b, c: max(a, b, c), True),
    ("v_med3_u16 v8, v2, v4, v6", "v_med3_u16 v8, v2, v4, v6", lambda a, b, c: sorted((a, b, c))[1], True),
    (
        "v_med3_i16 v8, v2, v4, v6",
        "v_med3_i16 v8, v2, v4, v6",
        lambda a, b, c: sorted(signed(x, 16) for x in (a, b, c))[1],
        True,
    ),
    (
        "v_min3_i16 v8, v2, v4, v6",
        "v_min3_i16 v8, v2, v4, v6",
        lambda a, b, c: min(signed(x, 16) for x in (a, b, c)),
        True,
    ),
    (
        "v_max3_i16 v8, v2, v4, v6",
        "v_max3_i16 v8, v2, v4, v6",
        lambda a, b, c: max(signed(x, 16) for x in (a, b, c)),
        True,
    ),
    (None, "v_and_b16 v8, v2, v4", lambda a, b, c: a & b, True),
    (None, "v_or_b16 v8, v2, v4", lambda a, b, c: a | b, True),
    (None, "v_xor_b16 v8, v2, v4", lambda a, b, c: a ^ b, True),
    (None, "v_not_b16 v8, v2", lambda a, b, c: ~a, True),
    (None, "v_mov_b16 v8, v2", lambda a, b, c: a, True),
    ("v_sat_pk_u8_i16 v8, v2", "v_sat_pk_u8_i16 v8, v2", sat_pk, False),
]


def inputs(seed: int, rows: int = 256) -> Words:
    """Rows of input dwords: edges paired with edges, then random numbers, then edges with random numbers."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 32, (rows, VECTOR_IN), dtype=np.uint32)
    edges = np.array(EDGES, np.uint32)
    for column in range(6):
        at_edge = rng.random(rows) < 0.6
        words[at_edge, column] = rng.choice(edges, int(at_edge.sum()))
    return words


def operands(line: Sequence[int]) -> tuple[int, int, int]:
    a, b, c = (int(line[i]) | int(line[i + 1]) << 32 for i in (0, 2, 4))
    return a, b, c


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_integer_results(target: str, require_tool: Callable[[str], str]) -> None:
    column = 0 if target == "gfx942" else 1
    rows = [(str(r[column]), r[2], r[3]) for r in ROWS if r[column] is not None]
    programs = bench(require_tool, target, {f"i{n}": text for n, (text, _, _) in enumerate(rows)})
    words = inputs(1)
    wrong = []
    for n, (text, dwords, oracle) in enumerate(rows):
        result = programs.run(f"i{n}", words)
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            a, b, c = operands(line)
            expected = oracle(a, b, c) & (1 << 32 * dwords) - 1
            actual = int.from_bytes(np.array(got[:dwords], np.uint32).tobytes(), "little")
            if actual != expected:
                wrong.append(f"{text}: {a:#x} {b:#x} {c:#x} -> {actual:#x}, expected {expected:#x}")
                break
            if got[dwords:4] != line[8 + dwords : 12]:
                wrong.append(f"{text}: wrote more than {dwords} dwords")
                break
    assert wrong == []


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_16_bit_results_and_what_becomes_of_the_other_half(
    target: str, require_tool: Callable[[str], str]
) -> None:
    column = 0 if target == "gfx942" else 1
    rows = [(str(r[column]), r[2], r[3]) for r in ROWS16 if r[column] is not None]
    programs = bench(
        require_tool, target, {f"i{n}": _halved(text, target) for n, (text, _, _) in enumerate(rows)}
    )
    words = inputs(2)
    wrong = []
    for n, (text, oracle, keeps) in enumerate(rows):
        result = programs.run(f"i{n}", words)
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            a, b, c = operands(line)
            if "sat_pk" not in text:
                a, b, c = a & M16, b & M16, c & M16
            kept = line[8] & 0xFFFF0000 if keeps or target == "gfx1100" else 0
            expected = oracle(a, b, c) & M16 | kept
            if got[0] != expected:
                wrong.append(f"{text}: {a:#x} {b:#x} {c:#x} -> {got[0]:#x}, expected {expected:#x}")
                break
    assert wrong == []


def _halved(text: str, target: str) -> str:
    """With the low halves of registers, as gfx11's assembler wants them."""
    if target == "gfx942":
        return text
    name, _, rest = text.partition(" ")
    for register in ("v8", "v2", "v4", "v6"):
        if not (name == "v_sat_pk_u8_i16" and register == "v2"):
            rest = rest.replace(register, f"{register}.l")
    return f"{name} {rest}"


def carry_rows(target: str) -> list[tuple[str, Callable[[int, int, int], tuple[int, int]]]]:
    """Instruction and oracle for (result, carry) of low dwords of A and B and a carry-in."""
    gfx11 = target == "gfx1100"
    add, sub, rev = (
        ("v_add_co_ci_u32", "v_sub_co_ci_u32", "v_subrev_co_ci_u32")
        if gfx11
        else ("v_addc_co_u32", "v_subb_co_u32", "v_subbrev_co_u32")
    )
    return [
        ("v_add_co_u32 v8, {o}, v2, v4", lambda a, b, i: (a + b, a + b > M32)),
        ("v_sub_co_u32 v8, {o}, v2, v4", lambda a, b, i: (a - b, b > a)),
        ("v_subrev_co_u32 v8, {o}, v2, v4", lambda a, b, i: (b - a, a > b)),
        (f"{add} v8, {{o}}, v2, v4, {{m}}", lambda a, b, i: (a + b + i, a + b + i > M32)),
        (f"{sub} v8, {{o}}, v2, v4, {{m}}", lambda a, b, i: (a - b - i, b + i > a)),
        (f"{rev} v8, {{o}}, v2, v4, {{m}}", lambda a, b, i: (b - a - i, a + i > b)),
    ]


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_carries(target: str, require_tool: Callable[[str], str]) -> None:
    rows = carry_rows(target)
    programs = bench(require_tool, target, {f"i{n}": text for n, (text, _) in enumerate(rows)})
    words = inputs(3)
    for n, (text, oracle) in enumerate(rows):
        result = programs.run(f"i{n}", words)
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            value, carry = oracle(line[0], line[2], line[12] >> 1 & 1)
            assert (got[0], got[5]) == (value & M32, carry), (text, line)
            assert got[4] == line[12] & 1, f"{text} changed VCC"


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_wide_multiply_add_reports_bit_64(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        "u": "v_mad_u64_u32 v[8:9], {o}, v2, v4, v[6:7]",
        "s": "v_mad_i64_i32 v[8:9], {o}, v2, v4, v[6:7]",
    }
    programs = bench(require_tool, target, texts)
    words = inputs(4)
    for label in texts:
        result = programs.run(label, words)
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            a, b, c = operands(line)
            exact = (a & M32) * (b & M32) + c if label == "u" else signed(a) * signed(b) + signed(c, 64)
            assert got[5] == exact >> 64 & 1, (label, line)


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_selection_by_lane_masks(target: str, require_tool: Callable[[str], str]) -> None:
    programs = bench(
        require_tool,
        target,
        {
            "vcc": "v_cndmask_b32 v8, v2, v4, {vcc}",
            "mask": "v_cndmask_b32 v8, v2, v4, {m}",
            "negated": "v_cndmask_b32 v8, -v2, |v4|, {m}",
        },
    )
    words = inputs(5)
    a, b, flags = words[:, 0], words[:, 2], words[:, 12]
    vcc, mask = flags & 1 != 0, flags & 2 != 0
    assert (programs.run("vcc", words)[:, 0] == np.where(vcc, b, a)).all()
    assert (programs.run("mask", words)[:, 0] == np.where(mask, b, a)).all()
    expected = np.where(mask, b & 0x7FFFFFFF, a ^ 0x80000000)
    assert (programs.run("negated", words)[:, 0] == expected).all()


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_swap_exchanges_two_registers(target: str, require_tool: Callable[[str], str]) -> None:
    words = inputs(6)
    texts = {"swap": "v_swap_b32 v8, v9"}
    if target == "gfx1100":
        texts["halves"] = "v_swap_b16 v8.h, v9.l"
    programs = bench(require_tool, target, texts)
    result = programs.run("swap", words)
    assert (result[:, 0] == words[:, 9]).all()
    assert (result[:, 1] == words[:, 8]).all()
    if target == "gfx1100":
        result = programs.run("halves", words)
        assert (result[:, 0] == (words[:, 8] & 0xFFFF | words[:, 9] << 16)).all()
        assert (result[:, 1] == (words[:, 9] & 0xFFFF0000 | words[:, 8] >> 16)).all()


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_masked_quad_sums_fill_four_registers(target: str, require_tool: Callable[[str], str]) -> None:
    text = "v_mqsad_u32_u8 v[8:11], v[2:3], v4, v[8:11]"
    if target == "gfx1100":
        # The destination must not overlap a source.
        text = (
            "v_mov_b32 v16, v8\nv_mov_b32 v17, v9\nv_mov_b32 v18, v10\nv_mov_b32 v19, v11\n"
            + text.replace("v4, v[8:11]", "v4, v[16:19]")
        )
    programs = bench(require_tool, target, {"mqsad": text})
    words = inputs(7)
    result = programs.run("mqsad", words)
    for line, got in zip(words.tolist(), result.tolist(), strict=True):
        a, b, _ = operands(line)
        expected = [sad(a >> 8 * i & M32, b & M32, line[8 + i], masked=True) & M32 for i in range(4)]
        assert got[:4] == expected


def test_low_half_of_a_signed_product_on_gfx1010(require_tool: Callable[[str], str]) -> None:
    programs = bench(require_tool, "gfx1010", {"product": "v_mul_lo_i32 v8, v2, v4"})
    words = inputs(43)
    for line, got in zip(words.tolist(), programs.run("product", words).tolist(), strict=True):
        assert got[0] == signed(line[0]) * signed(line[2]) & M32


def test_accumulating_dot_products(require_tool: Callable[[str], str]) -> None:
    rows = {"v_dot4c_i32_i8": 8, "v_dot8c_i32_i4": 4, "v_dot2c_i32_i16": 16}
    programs = bench(require_tool, "gfx942", {name: f"{name} v8, v2, v4" for name in rows})
    words = inputs(12)
    for name, bits in rows.items():
        for line, got in zip(words.tolist(), programs.run(name, words).tolist(), strict=True):
            assert got[0] == dot(bits, True, True)(line[0], line[2], line[8]) & M32, name


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_lower_lanes_are_counted(target: str, require_tool: Callable[[str], str]) -> None:
    programs = bench(
        require_tool,
        target,
        {"lo": "v_mbcnt_lo_u32_b32 v8, v2, v4", "hi": "v_mbcnt_hi_u32_b32 v8, v2, v4"},
    )
    words = inputs(8)
    low_counts, high_counts = programs.run("lo", words)[:, 0], programs.run("hi", words)[:, 0]
    wave_size = 32 if target == "gfx1100" else 64
    for i, line in enumerate(words.tolist()):
        below = (1 << i % wave_size) - 1
        assert low_counts[i] == (line[2] + (line[0] & below & M32).bit_count()) & M32
        assert high_counts[i] == (line[2] + (line[0] & below >> 32).bit_count()) & M32


INTEGER_PREDICATES: dict[str, Callable[[int, int], bool]] = {
    "f": lambda a, b: False,
    "lt": lambda a, b: a < b,
    "eq": lambda a, b: a == b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ne": lambda a, b: a != b,
    "ge": lambda a, b: a >= b,
    "t": lambda a, b: True,
}


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_integer_comparisons(target: str, bits: int, require_tool: Callable[[str], str]) -> None:
    gfx11 = target == "gfx1100"
    sources = "v[2:3], v[4:5]" if bits == 64 else "v2.l, v4.l" if gfx11 and bits == 16 else "v2, v4"
    names = [
        (name, sign)
        for name in INTEGER_PREDICATES
        for sign in "iu"
        if not (gfx11 and bits == 16 and name in "ft")
    ]
    texts = {f"{name}_{sign}": f"v_cmp_{name}_{sign}{bits} {{o}}, {sources}" for name, sign in names}
    execute = "" if gfx11 else "{o}, "
    texts |= {f"x{name}_{sign}": f"v_cmpx_{name}_{sign}{bits} {execute}{sources}" for name, sign in names}
    programs = bench(require_tool, target, texts)
    words = inputs(9)
    words[::4, 2:4] = words[::4, 0:2]
    for name, sign in names:
        plain, changed = programs.run(f"{name}_{sign}", words), programs.run(f"x{name}_{sign}", words)
        for line, got, after in zip(words.tolist(), plain.tolist(), changed.tolist(), strict=True):
            a, b, _ = operands(line)
            if sign == "i":
                a, b = signed(a, bits), signed(b, bits)
            else:
                a, b = (x & (1 << bits) - 1 for x in (a, b))
            expected = INTEGER_PREDICATES[name](a, b)
            assert (got[5], got[6]) == (expected, 1), (name, sign, a, b)
            assert after[6] == expected, (name, sign, a, b)
            assert gfx11 or after[5] == expected, (name, sign, a, b)


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_literals_and_inline_constants_as_wide_as_the_type(
    target: str, require_tool: Callable[[str], str]
) -> None:
    texts = {
        "inline": "v_cmp_eq_u64 {o}, -3, v[2:3]",
        "unsigned": "v_cmp_eq_u64 vcc, 0x80000003, v[2:3]",
        "signed": "v_cmp_eq_i64 vcc, 0x80000003, v[2:3]",
    }
    values = {"inline": M64 - 2, "unsigned": 0x80000003, "signed": 0xFFFFFFFF80000003}
    if target == "gfx1100":
        texts = {name: text.replace("vcc", "vcc_lo") for name, text in texts.items()}
    programs = bench(require_tool, target, texts)
    for name, value in values.items():
        words = inputs(10)[:64]
        words[::2, 0], words[::2, 1] = value & M32, value >> 32
        column = 5 if name == "inline" else 4
        assert programs.run(name, words)[:, column].tolist() == [1, 0] * 32, name
