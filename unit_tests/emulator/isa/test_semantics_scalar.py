"""Scalar instructions against their definitions in the ISA manuals, on Python integers.

Definitions: CDNA3 ISA 12.1 to 12.5 and RDNA3 ISA 16.1 to 16.5. An oracle gets the sources as unsigned
integers and SCC, and returns the destination and SCC (None: unchanged).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from instruction_bench import SCALAR_IN, Words, bench

from pytest_amdgpu.emulator.isa.errors import IllegalInstruction

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
Result = tuple[int, "int | bool | None"]
Oracle = Callable[[int, int, int, int], Result]
"""A, B, the old destination, SCC."""

EDGES = (
    0,
    1,
    2,
    31,
    32,
    63,
    0x0000FFFF,
    0x7FFFFFFF,
    0x80000000,
    0x80000001,
    0xFFFF8000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)


def signed(x: int, bits: int = 32) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def nonzero(f: Callable[[int, int], int], bits: int = 32) -> Oracle:
    """SCC says whether the result is not zero."""

    def g(a: int, b: int, d: int, scc: int) -> Result:
        value = f(a, b) & (1 << bits) - 1
        return value, value != 0

    return g


def plain(f: Callable[[int, int], int]) -> Oracle:
    return lambda a, b, d, scc: (f(a, b), None)


def compares(f: Callable[[int, int], bool]) -> Oracle:
    return lambda a, b, d, scc: (d, f(a, b))


def overflow_add(a: int, b: int, d: int, scc: int) -> Result:
    exact = signed(a) + signed(b)
    return exact, exact != signed(exact)


def overflow_sub(a: int, b: int, d: int, scc: int) -> Result:
    exact = signed(a) - signed(b)
    return exact, exact != signed(exact)


def field_u(bits: int) -> Callable[[int, int], int]:
    def f(a: int, b: int) -> int:
        return a >> (b & bits - 1) & (1 << (b >> 16 & 127)) - 1

    return f


def field_s(bits: int) -> Callable[[int, int], int]:
    def f(a: int, b: int) -> int:
        width = b >> 16 & 127
        shifted = signed(a, bits) >> (b & bits - 1)
        return signed(shifted, width) if 0 < width < bits else shifted if width else 0

    return f


def absdiff(a: int, b: int) -> int:
    difference = signed(signed(a) - signed(b))
    return -difference if difference < 0 else difference


def first(bit: int, bits: int) -> Callable[[int, int], int]:
    def f(a: int, b: int) -> int:
        positions = [i for i in range(bits) if a >> i & 1 == bit]
        return positions[0] if positions else -1

    return f


def leading(bits: int) -> Callable[[int, int], int]:
    return lambda a, b: bits - a.bit_length() if a else -1


def leading_sign(bits: int) -> Callable[[int, int], int]:
    def f(a: int, b: int) -> int:
        different = [i for i in range(1, bits) if a >> (bits - 1 - i) & 1 != a >> (bits - 1)]
        return different[0] if different else -1

    return f


def quads(a: int, bits: int) -> list[bool]:
    return [a >> i & 15 != 0 for i in range(0, bits, 4)]


def wqm(bits: int) -> Callable[[int, int], int]:
    return lambda a, b: sum(15 << 4 * i for i, active in enumerate(quads(a, bits)) if active)


def quadmask(bits: int) -> Callable[[int, int], int]:
    return lambda a, b: sum(1 << i for i, active in enumerate(quads(a, bits)) if active)


def shift_add(count: int) -> Oracle:
    def f(a: int, b: int, d: int, scc: int) -> Result:
        exact = (a << count) + b
        return exact, exact > M32

    return f


Row = tuple["str | None", "str | None", int, int, Oracle]
"""Name on gfx942, name on gfx1100, bits of the sources, bits of the destination, oracle."""


def row(gfx9: str | None, gfx11: str | None, bits: int, oracle: Oracle, out: int | None = None) -> Row:
    return gfx9, gfx11, bits, out or bits, oracle


def named(name: str, oracle: Oracle, bits: int = 32, out: int | None = None) -> Row:
    return name, name, bits, out or bits, oracle


def bitwise(stem: str, other: str, f: Callable[[int, int], int]) -> list[Row]:
    return [row(f"s_{stem}_b{bits}", f"s_{other}_b{bits}", bits, nonzero(f, bits)) for bits in (32, 64)]


BINARY: list[Row] = [
    named("s_add_u32", lambda a, b, d, scc: (a + b, a + b > M32)),
    named("s_sub_u32", lambda a, b, d, scc: (a - b, b > a)),
    named("s_addc_u32", lambda a, b, d, scc: (a + b + scc, a + b + scc > M32)),
    named("s_subb_u32", lambda a, b, d, scc: (a - b - scc, b + scc > a)),
    named("s_add_i32", overflow_add),
    named("s_sub_i32", overflow_sub),
    named("s_mul_i32", plain(lambda a, b: a * b)),
    named("s_mul_hi_u32", plain(lambda a, b: a * b >> 32)),
    named("s_mul_hi_i32", plain(lambda a, b: signed(a) * signed(b) >> 32)),
    named("s_absdiff_i32", nonzero(absdiff)),
    named("s_min_i32", lambda a, b, d, scc: (min(signed(a), signed(b)), signed(a) < signed(b))),
    named("s_max_i32", lambda a, b, d, scc: (max(signed(a), signed(b)), signed(a) >= signed(b))),
    named("s_min_u32", lambda a, b, d, scc: (min(a, b), a < b)),
    named("s_max_u32", lambda a, b, d, scc: (max(a, b), a >= b)),
    named("s_lshl_b32", nonzero(lambda a, b: a << (b & 31))),
    named("s_lshr_b32", nonzero(lambda a, b: a >> (b & 31))),
    named("s_ashr_i32", nonzero(lambda a, b: signed(a) >> (b & 31))),
    *[named(f"s_lshl{i}_add_u32", shift_add(i)) for i in (1, 2, 3, 4)],
    named("s_bfm_b32", plain(lambda a, b: ((1 << (a & 31)) - 1) << (b & 31))),
    named("s_bfe_u32", nonzero(field_u(32))),
    named("s_bfe_i32", nonzero(field_s(32))),
    named("s_pack_ll_b32_b16", plain(lambda a, b: a & 0xFFFF | b << 16)),
    named("s_pack_lh_b32_b16", plain(lambda a, b: a & 0xFFFF | b & 0xFFFF0000)),
    named("s_pack_hh_b32_b16", plain(lambda a, b: a >> 16 | b & 0xFFFF0000)),
    row(None, "s_pack_hl_b32_b16", 32, plain(lambda a, b: a >> 16 | b << 16)),
    named("s_cselect_b32", lambda a, b, d, scc: (a if scc else b, None)),
    named("s_cselect_b64", lambda a, b, d, scc: (a if scc else b, None), 64),
    *bitwise("and", "and", lambda a, b: a & b),
    *bitwise("or", "or", lambda a, b: a | b),
    *bitwise("xor", "xor", lambda a, b: a ^ b),
    *bitwise("andn2", "and_not1", lambda a, b: a & ~b),
    *bitwise("orn2", "or_not1", lambda a, b: a | ~b),
    *bitwise("nand", "nand", lambda a, b: ~(a & b)),
    *bitwise("nor", "nor", lambda a, b: ~(a | b)),
    *bitwise("xnor", "xnor", lambda a, b: ~(a ^ b)),
]

SHIFTS64: list[Row] = [
    named("s_lshl_b64", nonzero(lambda a, b: a << (b & 63), 64), 64),
    named("s_lshr_b64", nonzero(lambda a, b: a >> (b & 63), 64), 64),
    named("s_ashr_i64", nonzero(lambda a, b: signed(a, 64) >> (b & 63), 64), 64),
    named("s_bfe_u64", nonzero(field_u(64), 64), 64),
    named("s_bfe_i64", nonzero(field_s(64), 64), 64),
]
"""64-bit first source, 32-bit second."""

UNARY: list[Row] = [
    named("s_mov_b32", plain(lambda a, b: a)),
    named("s_mov_b64", plain(lambda a, b: a), 64),
    named("s_cmov_b32", lambda a, b, d, scc: (a if scc else d, None)),
    named("s_cmov_b64", lambda a, b, d, scc: (a if scc else d, None), 64),
    named("s_not_b32", nonzero(lambda a, b: ~a)),
    named("s_not_b64", nonzero(lambda a, b: ~a, 64), 64),
    named("s_abs_i32", nonzero(lambda a, b: abs(signed(a)))),
    named("s_wqm_b32", nonzero(wqm(32))),
    named("s_wqm_b64", nonzero(wqm(64), 64), 64),
    named("s_quadmask_b32", nonzero(quadmask(32))),
    named("s_quadmask_b64", nonzero(quadmask(64), 64), 64),
    named(
        "s_bitreplicate_b64_b32", plain(lambda a, b: sum(3 << 2 * i for i in range(32) if a >> i & 1)), 32, 64
    ),
    named("s_brev_b32", plain(lambda a, b: int(f"{a:032b}"[::-1], 2))),
    named("s_brev_b64", plain(lambda a, b: int(f"{a:064b}"[::-1], 2)), 64),
    named("s_bcnt0_i32_b32", nonzero(lambda a, b: 32 - a.bit_count())),
    named("s_bcnt0_i32_b64", nonzero(lambda a, b: 64 - a.bit_count()), 64, 32),
    named("s_bcnt1_i32_b32", nonzero(lambda a, b: a.bit_count())),
    named("s_bcnt1_i32_b64", nonzero(lambda a, b: a.bit_count()), 64, 32),
    row("s_ff0_i32_b32", None, 32, plain(first(0, 32))),
    row("s_ff0_i32_b64", None, 64, plain(first(0, 64)), 32),
    row("s_ff1_i32_b32", "s_ctz_i32_b32", 32, plain(first(1, 32))),
    row("s_ff1_i32_b64", "s_ctz_i32_b64", 64, plain(first(1, 64)), 32),
    row("s_flbit_i32_b32", "s_clz_i32_u32", 32, plain(leading(32))),
    row("s_flbit_i32_b64", "s_clz_i32_u64", 64, plain(leading(64)), 32),
    row("s_flbit_i32", "s_cls_i32", 32, plain(leading_sign(32))),
    row("s_flbit_i32_i64", "s_cls_i32_i64", 64, plain(leading_sign(64)), 32),
    named("s_sext_i32_i8", plain(lambda a, b: signed(a, 8))),
    named("s_sext_i32_i16", plain(lambda a, b: signed(a, 16))),
    named("s_bitset0_b32", lambda a, b, d, scc: (d & ~(1 << (a & 31)), None)),
    named("s_bitset1_b32", lambda a, b, d, scc: (d | 1 << (a & 31), None)),
    named("s_bitset0_b64", lambda a, b, d, scc: (d & ~(1 << (a & 63)), None), 32, 64),
    named("s_bitset1_b64", lambda a, b, d, scc: (d | 1 << (a & 63), None), 32, 64),
]

COMPARE: list[Row] = [
    *[
        named(f"s_cmp_{name}_u32", compares(f))
        for name, f in {
            "eq": lambda a, b: a == b,
            "lg": lambda a, b: a != b,
            "gt": lambda a, b: a > b,
            "ge": lambda a, b: a >= b,
            "lt": lambda a, b: a < b,
            "le": lambda a, b: a <= b,
        }.items()
    ],
    *[
        named(f"s_cmp_{name}_i32", compares(f))
        for name, f in {
            "eq": lambda a, b: a == b,
            "lg": lambda a, b: a != b,
            "gt": lambda a, b: signed(a) > signed(b),
            "ge": lambda a, b: signed(a) >= signed(b),
            "lt": lambda a, b: signed(a) < signed(b),
            "le": lambda a, b: signed(a) <= signed(b),
        }.items()
    ],
    named("s_cmp_eq_u64", compares(lambda a, b: a == b), 64),
    named("s_cmp_lg_u64", compares(lambda a, b: a != b), 64),
    named("s_bitcmp0_b32", compares(lambda a, b: not a >> (b & 31) & 1)),
    named("s_bitcmp1_b32", compares(lambda a, b: bool(a >> (b & 31) & 1))),
]

IMMEDIATE: list[tuple[str, Oracle]] = [
    ("s_movk_i32 s24, 0x8001", plain(lambda a, b: -0x7FFF)),
    ("s_cmovk_i32 s24, 0x8001", lambda a, b, d, scc: (-0x7FFF if scc else d, None)),
    ("s_addk_i32 s24, 0x7fff", lambda a, b, d, scc: overflow_add(d, 0x7FFF, d, scc)),
    ("s_addk_i32 s24, 0x8000", lambda a, b, d, scc: overflow_add(d, -0x8000 & M32, d, scc)),
    ("s_mulk_i32 s24, 0x8003", lambda a, b, d, scc: (signed(d) * -0x7FFD, None)),
    ("s_cmpk_eq_i32 s20, 0xffff", compares(lambda a, b: a == M32)),
    ("s_cmpk_lg_i32 s20, 0xffff", compares(lambda a, b: a != M32)),
    ("s_cmpk_gt_i32 s20, 0xffff", compares(lambda a, b: signed(a) > -1)),
    ("s_cmpk_ge_i32 s20, 0xffff", compares(lambda a, b: signed(a) >= -1)),
    ("s_cmpk_lt_i32 s20, 0x1f", compares(lambda a, b: signed(a) < 31)),
    ("s_cmpk_le_i32 s20, 0x1f", compares(lambda a, b: signed(a) <= 31)),
    ("s_cmpk_eq_u32 s20, 0xffff", compares(lambda a, b: a == 0xFFFF)),
    ("s_cmpk_lg_u32 s20, 0xffff", compares(lambda a, b: a != 0xFFFF)),
    ("s_cmpk_gt_u32 s20, 0xffff", compares(lambda a, b: a > 0xFFFF)),
    ("s_cmpk_ge_u32 s20, 0xffff", compares(lambda a, b: a >= 0xFFFF)),
    ("s_cmpk_lt_u32 s20, 0xffff", compares(lambda a, b: a < 0xFFFF)),
    ("s_cmpk_le_u32 s20, 0xffff", compares(lambda a, b: a <= 0xFFFF)),
    ("s_mov_b64 s[24:25], 0x80000000", lambda a, b, d, scc: (0x80000000, None)),
    ("s_and_b32 s24, s20, 0xff00ff00", nonzero(lambda a, b: a & 0xFF00FF00)),
    ("s_add_u32 s24, s20, -16", lambda a, b, d, scc: (a + 0xFFFFFFF0, a + 0xFFFFFFF0 > M32)),
]

MASKS: list[tuple[str, str, Callable[[int, int], int]]] = [
    ("and", "and", lambda s, e: s & e),
    ("or", "or", lambda s, e: s | e),
    ("xor", "xor", lambda s, e: s ^ e),
    ("andn2", "and_not1", lambda s, e: s & ~e),
    ("orn2", "or_not1", lambda s, e: s | ~e),
    ("andn1", "and_not0", lambda s, e: ~s & e),
    ("orn1", "or_not0", lambda s, e: ~s | e),
    ("nand", "nand", lambda s, e: ~(s & e)),
    ("nor", "nor", lambda s, e: ~(s | e)),
    ("xnor", "xnor", lambda s, e: ~(s ^ e)),
]


def inputs(seed: int, rows: int = 96) -> Words:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 32, (rows, SCALAR_IN), dtype=np.uint32)
    for column in range(6):
        at_edge = rng.random(rows) < 0.5
        words[at_edge, column] = rng.choice(np.array(EDGES, np.uint32), int(at_edge.sum()))
    words[rng.random(rows) < 0.2, 2] &= 0x7F007F
    words[:, 10] &= 1
    return words


def pair(line: list[int], i: int, bits: int) -> int:
    return (line[i] | line[i + 1] << 32) & (1 << bits) - 1


def register(base: int, bits: int) -> str:
    return f"s{base}" if bits == 32 else f"s[{base}:{base + 1}]"


def check(
    target: str,
    require_tool: Callable[[str], str],
    rows: list[tuple[str, int, int, int, Oracle]],
    *,
    writes: bool = True,
) -> None:
    """Rows are text, bits of A, of B, of the destination, oracle."""
    programs = bench(require_tool, target, {f"i{n}": r[0] for n, r in enumerate(rows)}, scalar=True)
    words = inputs(11)
    for n, (text, a_bits, b_bits, out, oracle) in enumerate(rows):
        result = programs.run(f"i{n}", words)
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            a, b, scc = pair(line, 0, a_bits), pair(line, 2, b_bits), line[10]
            value, flag = oracle(a, b, pair(line, 4, out), scc)
            expected = value & (1 << out) - 1
            seen = pair(got, 0, out)
            assert seen == expected, f"{text}: {a:#x} {b:#x} -> {seen:#x}, expected {expected:#x}"
            assert got[6] == (scc if flag is None else int(flag)), f"{text}: {a:#x} {b:#x}: SCC is {got[6]}"
            if out == 32:
                assert got[1] == line[5], f"{text} writes a second register"


def chosen(rows: list[Row], target: str) -> list[tuple[str, int, int, Oracle]]:
    column = 0 if target == "gfx942" else 1
    return [(str(r[column]), r[2], r[3], r[4]) for r in rows if r[column] is not None]


targets = pytest.mark.parametrize("target", ["gfx942", "gfx1100"])


@targets
def test_two_sources(target: str, require_tool: Callable[[str], str]) -> None:
    rows = [
        (f"{name} {register(24, out)}, {register(20, bits)}, {register(22, bits)}", bits, bits, out, oracle)
        for name, bits, out, oracle in chosen(BINARY, target)
    ]
    check(target, require_tool, rows)


@targets
def test_64_bit_shifts_and_fields(target: str, require_tool: Callable[[str], str]) -> None:
    rows = [
        (f"{name} {register(24, out)}, {register(20, bits)}, s22", bits, 32, out, oracle)
        for name, bits, out, oracle in chosen(SHIFTS64, target)
    ]
    rows.append(
        (
            "s_bfm_b64 s[24:25], s20, s22",
            32,
            32,
            64,
            plain(lambda a, b: ((1 << (a & 63)) - 1) << (b & 63)),
        )
    )
    check(target, require_tool, rows)


@targets
def test_one_source(target: str, require_tool: Callable[[str], str]) -> None:
    rows = [
        (f"{name} {register(24, out)}, {register(20, bits)}", bits, 32, out, oracle)
        for name, bits, out, oracle in chosen(UNARY, target)
    ]
    check(target, require_tool, rows)


@targets
def test_comparisons(target: str, require_tool: Callable[[str], str]) -> None:
    rows = [
        (f"{name} {register(20, bits)}, {register(22, bits)}", bits, bits, 32, oracle)
        for name, bits, _, oracle in chosen(COMPARE, target)
    ]
    rows += [
        (
            f"s_bitcmp{one}_b64 s[20:21], s22",
            64,
            32,
            32,
            compares(lambda a, b, one=one: a >> (b & 63) & 1 == one),
        )
        for one in (0, 1)
    ]
    check(target, require_tool, rows)


@targets
def test_immediates_and_literals(target: str, require_tool: Callable[[str], str]) -> None:
    rows = [(text, 32, 32, 64 if "s[24:25]" in text else 32, oracle) for text, oracle in IMMEDIATE]
    check(target, require_tool, rows)


@targets
def test_masks_are_combined_with_exec(target: str, require_tool: Callable[[str], str]) -> None:
    bits = 32 if target == "gfx1100" else 64
    texts = {}
    for old, new, _ in MASKS:
        stem = new if bits == 32 else old
        texts[f"save_{old}"] = f"s_{stem}_saveexec_b{bits} {register(24, bits)}, {register(20, bits)}"
        if old in ("andn1", "andn2"):
            texts[f"wr_{old}"] = f"s_{stem}_wrexec_b{bits} {register(24, bits)}, {register(20, bits)}"
    programs = bench(require_tool, target, texts, scalar=True)
    words = inputs(12)
    words[::7, 6:8] = words[::7, 0:2]
    for label in texts:
        form, _, name = label.partition("_")
        function = next(f for old, _, f in MASKS if old == name)
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            source, old = pair(line, 0, bits), pair(line, 6, bits)
            new = function(source, old) & (1 << bits) - 1
            assert pair(got, 0, bits) == (old if form == "save" else new), label
            assert pair(got, 2, bits) == new, label
            assert got[6] == (new != 0), label


@targets
def test_branches_look_at_scc_vcc_and_exec(target: str, require_tool: Callable[[str], str]) -> None:
    conditions: dict[str, Callable[[int, int, int], bool]] = {
        "scc0": lambda scc, vcc, execute: not scc,
        "scc1": lambda scc, vcc, execute: bool(scc),
        "vccz": lambda scc, vcc, execute: vcc == 0,
        "vccnz": lambda scc, vcc, execute: vcc != 0,
        "execz": lambda scc, vcc, execute: execute == 0,
        "execnz": lambda scc, vcc, execute: execute != 0,
    }
    texts = {
        name: f"s_mov_b32 s24, 7\n  s_cbranch_{name} taken_{name}\n  s_mov_b32 s24, 9\ntaken_{name}:"
        for name in conditions
    }
    texts["always"] = "s_mov_b32 s24, 7\n  s_branch taken_always\n  s_mov_b32 s24, 9\ntaken_always:"
    programs = bench(require_tool, target, texts, scalar=True)
    words = inputs(13)
    words[::2, 6:8] = 0
    words[::3, 8:10] = 0
    bits = 32 if target == "gfx1100" else 64
    for name, condition in conditions.items():
        for line, got in zip(words.tolist(), programs.run(name, words).tolist(), strict=True):
            taken = condition(line[10], pair(line, 8, bits), pair(line, 6, bits))
            assert got[0] == (7 if taken else 9), (name, line)
    assert (programs.run("always", words)[:, 0] == 7).all()


@targets
def test_program_counter_arithmetic(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        # A call: the address after it is kept, and the way back works.
        "call": "s_mov_b32 s24, 1\n s_call_b64 s[6:7], callee\n s_add_u32 s24, s24, 10\n s_branch over\n"
        "callee: s_add_u32 s24, s24, 100\n s_setpc_b64 s[6:7]\nover:",
        "swap": "s_mov_b32 s24, 1\n s_getpc_b64 s[6:7]\n back: s_add_u32 s6, s6, (there - back)\n"
        " s_addc_u32 s7, s7, 0\n s_swappc_b64 s[14:15], s[6:7]\n s_add_u32 s24, s24, 10\n s_branch end\n"
        "there: s_add_u32 s24, s24, 100\n s_setpc_b64 s[14:15]\nend:",
    }
    programs = bench(require_tool, target, texts, scalar=True)
    for label in texts:
        assert (programs.run(label, inputs(14, 2))[:, 0] == 111).all()


@targets
def test_mode_register_fields_are_read_back(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        "literal": "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 2), 1\n"
        " s_getreg_b32 s24, hwreg(HW_REG_MODE, 4, 2)",
        "register": "s_setreg_b32 hwreg(HW_REG_MODE, 4, 4), s20\n s_getreg_b32 s24, hwreg(HW_REG_MODE, 4, 4)",
    }
    if target == "gfx1100":
        texts["denorm"] = "s_denorm_mode 5\n s_getreg_b32 s24, hwreg(HW_REG_MODE, 4, 4)"
        texts["round"] = "s_round_mode 0\n s_getreg_b32 s24, hwreg(HW_REG_MODE, 0, 4)"
    programs = bench(require_tool, target, texts, scalar=True)
    words = inputs(15, 4)
    words[:, 0] = 0x12345
    assert (programs.run("literal", words)[:, 0] == 1).all()
    assert (programs.run("register", words)[:, 0] == words[:, 0] & 15).all()
    if target == "gfx1100":
        assert (programs.run("denorm", words)[:, 0] == 5).all()
        assert (programs.run("round", words)[:, 0] == 0).all()


@targets
def test_waits_and_hints_change_nothing(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {"waits": "s_nop 3\n s_waitcnt 0\n s_sleep 1\n s_setprio 1\n s_icache_inv\n s_sethalt 0\n"}
    if target == "gfx1100":
        texts["gfx11"] = (
            "s_delay_alu instid0(VALU_DEP_1)\n s_waitcnt_vscnt null, 0x0\n s_clause 0x1\n"
            " s_waitcnt_depctr 0xfff"
        )
    programs = bench(require_tool, target, texts, scalar=True)
    words = inputs(16, 8)
    for label in texts:
        result = programs.run(label, words)
        assert (result[:, :2] == words[:, 4:6]).all()
        assert (result[:, 6] == words[:, 10]).all()


def test_gfx11_asks_for_the_clock_by_message(require_tool: Callable[[str], str]) -> None:
    texts = {
        "wide": "s_sendmsg_rtn_b64 s[6:7], sendmsg(MSG_RTN_GET_REALTIME)\n s_waitcnt lgkmcnt(0)\n"
        " s_sendmsg_rtn_b64 s[24:25], sendmsg(MSG_RTN_GET_REALTIME)\n s_waitcnt lgkmcnt(0)\n"
        " s_sub_u32 s24, s24, s6\n s_subb_u32 s25, s25, s7",
        "other": "s_sendmsg_rtn_b32 s24, sendmsg(MSG_RTN_GET_DOORBELL)",
    }
    programs = bench(require_tool, "gfx1100", texts, scalar=True)
    assert (programs.run("wide", inputs(18, 2))[:, 1] == 0).all()
    with pytest.raises(IllegalInstruction, match="nobody answers message 0x80 of s_sendmsg_rtn_b32"):
        programs.run("other", inputs(18, 1))


def test_counters_advance(require_tool: Callable[[str], str]) -> None:
    rows = {
        name: f"{name} s[6:7]\n s_waitcnt lgkmcnt(0)\n {name} s[24:25]\n s_waitcnt lgkmcnt(0)\n"
        " s_sub_u32 s24, s24, s6"
        for name in ("s_memtime", "s_memrealtime")
    }
    programs = bench(require_tool, "gfx942", rows, scalar=True)
    for name in rows:
        assert (programs.run(name, inputs(17, 2))[:, 0].astype(np.int32) >= 0).all()


@targets
def test_a_trap_without_a_handler_is_named(target: str, require_tool: Callable[[str], str]) -> None:
    programs = bench(require_tool, target, {"trap": "s_trap 2", "halt": "s_sethalt 1"}, scalar=True)
    with pytest.raises(IllegalInstruction, match="trap 2"):
        programs.run("trap", inputs(19, 1))
    with pytest.raises(IllegalInstruction, match="s_sethalt"):
        programs.run("halt", inputs(19, 1))
