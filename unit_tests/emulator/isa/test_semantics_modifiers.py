"""What encodings do to operands: SDWA, DPP, halves of registers.

CDNA3 ISA 6.2 and 13.3.7 to 13.3.9, RDNA3 ISA 7.7 (table of BC and FI).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from instruction_bench import VECTOR_IN, Words, bench

M32 = 0xFFFFFFFF
SELECTIONS = ("BYTE_0", "BYTE_1", "BYTE_2", "BYTE_3", "WORD_0", "WORD_1", "DWORD")
UNUSED = ("UNUSED_PAD", "UNUSED_SEXT", "UNUSED_PRESERVE")


def inputs(seed: int) -> Words:
    return np.random.default_rng(seed).integers(0, 1 << 32, (128, VECTOR_IN), dtype=np.uint32)


def field(selection: str) -> tuple[int, int]:
    """Shift and width."""
    if selection == "DWORD":
        return 0, 32
    kind, number = selection.split("_")
    width = 8 if kind == "BYTE" else 16
    return width * int(number), width


def signed(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def selected(x: int, selection: str, extend: bool) -> int:
    shift, width = field(selection)
    part = x >> shift & (1 << width) - 1
    return signed(part, width) & M32 if extend else part


def inserted(x: int, selection: str, unused: str, old: int) -> int:
    shift, width = field(selection)
    mask = (1 << width) - 1
    part = (x & mask) << shift
    if unused == "UNUSED_PRESERVE":
        return part | old & ~(mask << shift) & M32
    if unused == "UNUSED_SEXT":
        return signed(part, shift + width) & M32
    return part


def test_sdwa_selects_parts_of_sources(require_tool: Callable[[str], str]) -> None:
    texts = {}
    for a in SELECTIONS:
        for b in SELECTIONS:
            for extend in (0, 1):
                sources = "sext(v2), v4" if extend else "v2, sext(v4)"
                texts[f"{a}_{b}_{extend}"] = (
                    f"v_sub_u32_sdwa v8, {sources} dst_sel:DWORD dst_unused:UNUSED_PAD "
                    f"src0_sel:{a} src1_sel:{b}"
                )
    programs = bench(require_tool, "gfx942", texts)
    words = inputs(71)[:64]
    for a in SELECTIONS:
        for b in SELECTIONS:
            for extend in (0, 1):
                got = programs.run(f"{a}_{b}_{extend}", words)[:, 0].tolist()
                expected = [
                    selected(line[0], a, bool(extend)) - selected(line[2], b, not extend) & M32
                    for line in words.tolist()
                ]
                assert got == expected, (a, b, extend)


def test_sdwa_writes_parts_of_the_destination(require_tool: Callable[[str], str]) -> None:
    forms = [(to, unused) for to in SELECTIONS for unused in UNUSED]
    texts = {
        f"{to}_{unused}": f"v_add_u32_sdwa v8, v2, v4 dst_sel:{to} dst_unused:{unused} "
        "src0_sel:DWORD src1_sel:WORD_1"
        for to, unused in forms
    }
    programs = bench(require_tool, "gfx942", texts)
    words = inputs(72)[:64]
    for to, unused in forms:
        got = programs.run(f"{to}_{unused}", words)[:, 0].tolist()
        expected = [inserted(line[0] + (line[2] >> 16), to, unused, line[8]) for line in words.tolist()]
        assert got == expected, (to, unused)


def test_sdwa_of_floats_and_comparisons(require_tool: Callable[[str], str]) -> None:
    texts = {
        "add": "v_add_f16_sdwa v8, -v2, |v4| dst_sel:WORD_1 dst_unused:UNUSED_PRESERVE "
        "src0_sel:WORD_1 src1_sel:WORD_0",
        "compare": "v_cmp_lt_u32_sdwa {o}, v2, v4 src0_sel:BYTE_3 src1_sel:BYTE_1",
        "scalar": "s_mov_b32 s6, 0x12345678\nv_and_b32_sdwa v8, v2, s6 dst_sel:DWORD dst_unused:UNUSED_PAD "
        "src0_sel:DWORD src1_sel:WORD_1",
    }
    programs = bench(require_tool, "gfx942", texts)
    words = inputs(73)
    words[:, (0, 2)] &= np.uint32(0xBBFFBBFF)
    a = (words[:, 0] >> 16).astype(np.uint16).view(np.float16)
    b = words[:, 2].astype(np.uint16).view(np.float16)
    half = (-a + np.abs(b)).view(np.uint16).astype(np.uint32)
    expected = half << np.uint32(16) | words[:, 8] & 0xFFFF
    assert (programs.run("add", words)[:, 0] == expected).all()
    less = (words[:, 0] >> 24) < (words[:, 2] >> 8 & 0xFF)
    assert (programs.run("compare", words)[:, 5] == less).all()
    assert (programs.run("scalar", words)[:, 0] == words[:, 0] & 0x1234).all()


def source_lane(control: str, lane: int, size: int) -> int | None:
    """The lane that a DPP control reads; None outside of the row or wave."""
    name, _, argument = control.partition(":")
    row, column = lane & ~15, lane & 15
    if name == "quad_perm":
        return lane & ~3 | eval(argument)[lane & 3]
    n = int(argument or 0)
    match name:
        case "row_shl":
            place = column + n
        case "row_shr":
            place = column - n
        case "row_ror":
            place = (column - n) % 16
        case "row_mirror":
            place = 15 - column
        case "row_half_mirror":
            place = column ^ 7
        case "row_share" | "row_newbcast":
            place = n
        case "row_xmask":
            place = column ^ n
        case "wave_shl":
            return lane + 1 if lane + 1 < size else None
        case "wave_rol":
            return (lane + 1) % size
        case "wave_shr":
            return lane - 1 if lane else None
        case "wave_ror":
            return (lane - 1) % size
        case "row_bcast":
            if n == 15:
                return row - 1 if row else None
            return 31 if lane >= 32 else None
        case _:
            raise ValueError(control)
    return row | place if 0 <= place < 16 else None


COMMON = (
    "quad_perm:[3,0,2,1]",
    "row_shl:1",
    "row_shl:15",
    "row_shr:4",
    "row_ror:3",
    "row_mirror",
    "row_half_mirror",
)
CONTROLS = {
    "gfx942": (*COMMON, "wave_shl:1", "wave_rol:1", "wave_shr:1", "wave_ror:1", "row_bcast:15",
               "row_bcast:31", "row_newbcast:6"),
    "gfx1100": (*COMMON, "row_share:6", "row_xmask:5"),
}  # fmt: skip


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
@pytest.mark.parametrize("masks", ["row_mask:0xf bank_mask:0xf", "row_mask:0x5 bank_mask:0xb"])
def test_dpp_moves_lanes_under_a_partial_exec(
    target: str, masks: str, require_tool: Callable[[str], str]
) -> None:
    size = 32 if target == "gfx1100" else 64
    rows, banks = (int(part.partition(":")[2], 16) for part in masks.split())
    options = ["", " bound_ctrl:1"]
    if target == "gfx1100":
        options += [" fi:1", " bound_ctrl:1 fi:1"]
    add = "v_add_nc_u32_dpp" if target == "gfx1100" else "v_add_u32_dpp"
    forms = [(control, option) for control in CONTROLS[target] for option in options]
    texts = {
        f"f{n}": f"s_mov_b{{bits}} {{exec}}, {{m}}\n{add} v8, v2, v4 {c} {masks}{o}"
        for n, (c, o) in enumerate(forms)
    }
    programs = bench(require_tool, target, texts)
    words = inputs(74)
    for n, (control, option) in enumerate(forms):
        got = programs.run(f"f{n}", words)[:, 0].reshape(-1, size).tolist()
        for wave, lines in enumerate(words.reshape(-1, size, VECTOR_IN).tolist()):
            active = [bool(line[12] & 2) for line in lines]
            for lane, line in enumerate(lines):
                at = source_lane(control, lane, size)
                available = at is not None and (active[at] or "fi:1" in option)
                written = active[lane] and rows >> (lane >> 4) & 1 and banks >> (lane >> 2 & 3) & 1
                if not written or (not available and "bound_ctrl" not in option):
                    expected = line[8]
                else:
                    expected = (lines[at][0] if available and at is not None else 0) + line[2] & M32
                assert got[wave][lane] == expected, (control, option, wave, lane)


def test_dpp8_and_comparisons_by_dpp(require_tool: Callable[[str], str]) -> None:
    texts = {
        "dpp8": "v_mov_b32_dpp v8, v2 dpp8:[7,0,6,1,5,2,4,3]",
        "off": "s_mov_b32 exec_lo, {m}\nv_mov_b32_dpp v8, v2 dpp8:[7,0,6,1,5,2,4,3]",
        "off_fi": "s_mov_b32 exec_lo, {m}\nv_mov_b32_dpp v8, v2 dpp8:[7,0,6,1,5,2,4,3] fi:1",
        "compare": "v_cmp_lt_u32_dpp vcc_lo, v2, v4 row_shr:3 row_mask:0xf bank_mask:0xd",
    }
    programs = bench(require_tool, "gfx1100", texts)
    words = inputs(75)
    order = (7, 0, 6, 1, 5, 2, 4, 3)
    results = {name: programs.run(name, words) for name in texts}
    lines = words.tolist()
    for i, line in enumerate(lines):
        at = i & ~7 | order[i & 7]
        value = lines[at][0]
        here, there = line[12] & 2, lines[at][12] & 2
        assert results["dpp8"][i, 0] == value
        assert results["off"][i, 0] == ((value if there else 0) if here else line[8])
        assert results["off_fi"][i, 0] == (value if here else line[8])
        # A lane that is switched off, or whose source is outside of the row, has a zero bit.
        column = i & 15
        written = column >= 3 and (i >> 2 & 3) != 1
        assert results["compare"][i, 4] == (written and lines[i - 3][0] < line[2])


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_halves_of_registers(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        f"h{a}{b}{to}": (
            f"v_mad_u16 v8.{'lh'[to]}, v2.{'lh'[a]}, v4.{'lh'[b]}, v6.l"
            if target == "gfx1100"
            else f"v_mad_u16 v8, v2, v4, v6 op_sel:[{a},{b},0,{to}]"
        )
        for a in (0, 1)
        for b in (0, 1)
        for to in (0, 1)
    }
    if target == "gfx1100":
        # The short encoding has its halves in bit 7 of the register numbers.
        texts |= {f"short{to}": f"v_add_f16_e32 v8.{'lh'[to]}, v2.h, v4.l" for to in (0, 1)}
    programs = bench(require_tool, target, texts)
    words = inputs(76)
    for name in texts:
        if name.startswith("short"):
            continue
        a, b, to = (int(digit) for digit in name[1:])
        for line, got in zip(words.tolist(), programs.run(name, words)[:, 0].tolist(), strict=True):
            result = (line[0] >> 16 * a & 0xFFFF) * (line[2] >> 16 * b & 0xFFFF) + (line[4] & 0xFFFF) & 0xFFFF
            assert got == line[8] & (0xFFFF if to else 0xFFFF0000) | result << 16 * to, name
    if target == "gfx1100":
        words[:, (0, 2)] &= np.uint32(0xBBFFBBFF)
        total = (words[:, 0] >> 16).astype(np.uint16).view(np.float16) + words[:, 2].astype(np.uint16).view(
            np.float16
        )
        half = total.view(np.uint16).astype(np.uint32)
        assert (programs.run("short0", words)[:, 0] == words[:, 8] & 0xFFFF0000 | half).all()
        assert (programs.run("short1", words)[:, 0] == words[:, 8] & 0xFFFF | half << np.uint32(16)).all()


def test_dual_instructions_read_before_either_writes(require_tool: Callable[[str], str]) -> None:
    texts = {
        "swap": "v_dual_mov_b32 v8, v9 :: v_dual_mov_b32 v9, v8",
        "mixed": "v_dual_fmac_f32 v8, v2, v4 :: v_dual_add_nc_u32 v9, v3, v5",
        "constant": "v_dual_fmamk_f32 v8, v2, 0x40400000, v4 :: v_dual_lshlrev_b32 v9, 3, v5",
        "mask": "v_dual_cndmask_b32 v8, v2, v4 :: v_dual_and_b32 v9, v3, v5",
    }
    programs = bench(require_tool, "gfx1100", texts)
    words = inputs(77)
    for column in (0, 2, 8):
        words[:, column] = (
            np.random.default_rng(column).integers(0, 64, len(words)).astype(np.float32).view(np.uint32)
        )
    a, b, d = (words[:, column].view(np.float32) for column in (0, 2, 8))
    swap = programs.run("swap", words)
    assert (swap[:, 0] == words[:, 9]).all()
    assert (swap[:, 1] == words[:, 8]).all()
    mixed = programs.run("mixed", words)
    assert (mixed[:, 0].view(np.float32) == a * b + d).all()
    assert (mixed[:, 1] == words[:, 1] + words[:, 3]).all()
    constant = programs.run("constant", words)
    assert (constant[:, 0].view(np.float32) == a * 3 + b).all()
    assert (constant[:, 1] == words[:, 3] << np.uint32(3)).all()
    mask = programs.run("mask", words)
    assert (mask[:, 0] == np.where(words[:, 12] & 1, words[:, 2], words[:, 0])).all()
    assert (mask[:, 1] == words[:, 1] & words[:, 3]).all()
