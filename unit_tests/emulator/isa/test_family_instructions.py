"""What only some families have: buffers on each of them, FLAT_SCRATCH, scalar floats, truth tables.

Expected values are worked out by hand from the ISA documents; LLVM assembles the code.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_launcher import Bench, pair

from pytest_amdgpu.emulator.isa.errors import IllegalInstruction

U32 = np.uint32
BUFFER_TARGETS = (
    "gfx908",
    "gfx90a",
    "gfx942",
    "gfx950",
    "gfx1010",
    "gfx1030",
    "gfx1100",
    "gfx1151",
    "gfx1200",
)


class Target:
    """A bench, and the names of its generation."""

    def __init__(self, require_tool: Callable[[str], str], name: str) -> None:
        self.bench = Bench(require_tool("llvm-mc"), name)
        self.major = self.bench.runner.family.gfx_version[0]
        old = self.major < 11
        self.load = "buffer_load_dword" if old else "buffer_load_b32"
        self.load4 = "buffer_load_dwordx4" if old else "buffer_load_b128"
        self.store = "buffer_store_dword" if old else "buffer_store_b32"
        self.add = "buffer_atomic_add" if old else "buffer_atomic_add_u32"
        self.put = "global_store_dword" if old else "global_store_b32"
        self.put4 = "global_store_dwordx4" if old else "global_store_b128"
        self.returning = {9: "glc", 10: "glc", 11: "glc", 12: "th:TH_ATOMIC_RETURN"}[self.major]
        if name in ("gfx942", "gfx950"):
            self.returning = "sc0"
        self.wait = "s_wait_loadcnt 0x0" if self.major == 12 else "s_waitcnt vmcnt(0)"
        self.none = "null" if self.major == 12 else "0"

    def descriptor(self, address: int, records: int, *, stride: int = 0, check: int = 3) -> list[int]:
        """An unswizzled buffer; `check` is OOB_SELECT where that exists."""
        format_ = 4 << 15 if self.major == 9 else 20 << 12 | check << 28
        return [address & 0xFFFFFFFF, address >> 32 | stride << 16, records, format_]

    def run(self, text: str, user: list[int]) -> None:
        """Run one wave; lane numbers are in v0."""
        self.bench.run(text, user)


@pytest.fixture(params=BUFFER_TARGETS)
def target(request: pytest.FixtureRequest, require_tool: Callable[[str], str]) -> Target:
    return Target(require_tool, request.param)


def words(count: int) -> Any:
    return np.random.default_rng(count).integers(0, 1 << 32, count, dtype=U32)


def test_raw_buffers_end_at_their_records(target: Target) -> None:
    size = target.bench.wave_size
    source, result = target.bench.runner.array(words(size)), target.bench.runner.array(np.zeros(size, U32))
    records = 4 * (size - 5) + 2
    target.run(
        f"""
        v_lshlrev_b32 v1, 2, v0
        {target.load} v2, v1, s[0:3], {target.none} offen
        {target.wait}
        {target.put} v1, v2, s[4:5]
        s_endpgm
        """,
        [*target.descriptor(source.address, records), *pair(result.address)],
    )
    expected = source.array.copy()
    expected[size - 5 :] = 0
    assert result.array.tolist() == expected.tolist()


def test_structured_buffers_count_by_index(target: Target) -> None:
    size = target.bench.wave_size
    source = target.bench.runner.array(words(5 * size))
    result = target.bench.runner.array(np.zeros(size, U32))
    target.run(
        f"""
        v_lshlrev_b32 v1, 2, v0
        s_movk_i32 s6, 4
        {target.load} v2, v0, s[0:3], s6 idxen offset:8
        {target.wait}
        {target.put} v1, v2, s[4:5]
        s_endpgm
        """,
        [
            # gfx9 counts bytes unless the buffer is swizzled.
            *target.descriptor(
                source.address, 20 * size if target.major == 9 else size - 3, stride=20, check=1
            ),
            *pair(result.address),
        ],
    )
    expected = source.array[3::5].copy()
    if target.major > 9:
        expected[size - 3 :] = 0
    assert result.array.tolist() == expected.tolist()


def test_swizzled_buffers_keep_an_element_of_neighbours_together(target: Target) -> None:
    size, stride, index_stride = target.bench.wave_size, 16, 8
    source = target.bench.runner.array(words(size * stride // 4))
    result = target.bench.runner.array(np.ones(size, U32))
    low, high, _, format_ = target.descriptor(source.address, 0, stride=stride, check=1)
    high |= 1 << 31 if target.major < 11 else 1 << 30
    target.run(
        f"""
        v_lshlrev_b32 v1, 2, v0
        {target.load} v2, v0, s[0:3], {target.none} idxen offset:12
        {target.wait}
        {target.put} v1, v2, s[4:5]
        s_endpgm
        """,
        [low, high, size - 1, format_, *pair(result.address)],
    )
    # Dword 3 of eight structures lies together, after the dwords 0 to 2 of the same eight.
    places = [i // index_stride * 4 * index_stride + 3 * index_stride + i % index_stride for i in range(size)]
    assert result.array.tolist() == [*source.array[places[:-1]].tolist(), 0]


def test_wide_loads_are_cut_at_the_end(target: Target) -> None:
    source, result = target.bench.runner.array(words(4)), target.bench.runner.array(np.ones(4, U32))
    target.run(
        f"""
        v_mov_b32 v1, 0
        {target.load4} v[4:7], off, s[0:3], {target.none}
        {target.wait}
        {target.put4} v1, v[4:7], s[4:5]
        s_endpgm
        """,
        [*target.descriptor(source.address, 12), *pair(result.address)],
    )
    assert result.array.tolist() == [*source.array[:3].tolist(), 0]


def test_stores_and_atomics_out_of_range_vanish(target: Target) -> None:
    size = target.bench.wave_size
    given = words(size)
    memory, old = target.bench.runner.array(given), target.bench.runner.array(np.ones(size, U32))
    target.run(
        f"""
        v_lshlrev_b32 v1, 2, v0
        v_mov_b32 v2, 5
        v_mov_b32 v3, 7
        {target.add} v2, v1, s[0:3], {target.none} offen {target.returning}
        {target.wait}
        {target.put} v1, v2, s[4:5]
        {target.store} v3, v1, s[0:3], {target.none} offen offset:{4 * (size - 2)}
        s_endpgm
        """,
        [*target.descriptor(memory.address, 4 * (size - 1)), *pair(old.address)],
    )
    expected = given.copy()
    expected[: size - 1] += U32(5)
    expected[size - 2] = 7
    assert memory.array.tolist() == expected.tolist()
    assert old.array.tolist() == [*given[:-1].tolist(), 0]


@pytest.mark.parametrize(
    ("name", "setup"),
    [
        ("gfx908", "s_mov_b32 flat_scratch_lo, {}\n s_mov_b32 flat_scratch_hi, {}\n"),
        ("gfx90a", "s_mov_b32 flat_scratch_lo, {}\n s_mov_b32 flat_scratch_hi, {}\n"),
        ("gfx1010", "s_mov_b32 s8, {}\n s_setreg_b32 hwreg(HW_REG_FLAT_SCR_LO), s8\n"
         "s_mov_b32 s8, {}\n s_setreg_b32 hwreg(HW_REG_FLAT_SCR_HI), s8\n"),
        ("gfx1030", "s_mov_b32 s8, {}\n s_setreg_b32 hwreg(HW_REG_FLAT_SCR_LO), s8\n"
         "s_mov_b32 s8, {}\n s_setreg_b32 hwreg(HW_REG_FLAT_SCR_HI), s8\n"),
    ],
)  # fmt: skip
def test_private_memory_is_where_flat_scratch_says(
    name: str, setup: str, require_tool: Callable[[str], str]
) -> None:
    bench = Bench(require_tool("llvm-mc"), name)
    size = bench.wave_size
    scratch, result = bench.runner.map(16 * size), bench.runner.array(np.zeros(size, U32))
    body = """
        v_mov_b32 v4, 8
        s_mov_b64 s[6:7], src_private_base
        v_mov_b32 v5, s7
        flat_store_dword v[4:5], v0
        flat_load_dword v3, v[4:5]
        v_lshlrev_b32 v1, 2, v0
        s_waitcnt vmcnt(0) lgkmcnt(0)
        global_store_dword v1, v3, s[0:1]
        s_endpgm
    """
    state = {"scratch_base": scratch.address, "scratch_wave_bytes": 16 * size}
    bench.run(setup.format(*pair(scratch.address)) + body, pair(result.address), **state)
    assert result.array.tolist() == list(range(size))
    # Dword 2 of all lanes lies together.
    assert scratch.array.view(U32)[2 * size : 3 * size].tolist() == list(range(size))
    with pytest.raises(IllegalInstruction, match=r"FLAT_SCRATCH is 0x\w+, the wave's private memory is at"):
        bench.run(setup.format(*pair(scratch.address + 4096)) + body, pair(result.address), **state)


@pytest.mark.parametrize(
    ("name", "register", "number"),
    [
        ("gfx908", "HW_REG_HW_ID1", 23),
        ("gfx1010", "HW_REG_SHADER_CYCLES", 29),
        ("gfx1100", "HW_REG_SHADER_CYCLES_HI", 30),
        # What is SH_MEM_BASES and TRAPSTS on others.
        ("gfx1200", "HW_REG_PERF_SNAPSHOT_DATA1", 15),
        ("gfx1200", "HW_REG_TRAPSTS", 3),
    ],
)
def test_a_hardware_register_that_a_family_has_not(
    name: str, register: str, number: int, require_tool: Callable[[str], str]
) -> None:
    bench = Bench(require_tool("llvm-mc"), name)
    with pytest.raises(IllegalInstruction, match=f"hardware register {number} is not emulated"):
        bench.run(f"s_getreg_b32 s4, hwreg({number}, 0, 32)  // {register}\ns_endpgm", [])


def test_cycles_of_gfx12_have_64_bits(require_tool: Callable[[str], str]) -> None:
    """LLVM reads the cycle counter of gfx12 from two registers of 32 bits, that of gfx11 has 20."""
    bench = Bench(require_tool("llvm-mc"), "gfx1200")
    result = bench.runner.array(np.zeros(4, U32))
    before = time.perf_counter_ns()
    bench.run(
        """
        s_getreg_b32 s4, hwreg(HW_REG_SHADER_CYCLES_HI)
        s_getreg_b32 s5, hwreg(HW_REG_SHADER_CYCLES_LO)
        v_mov_b32 v2, s5
        v_mov_b32 v3, s4
        v_mov_b32 v1, 0
        global_store_b64 v1, v[2:3], s[0:1]
        s_endpgm
        """,
        pair(result.address),
    )
    # A second may pass between the two reads, the high half counts those of 4.3 s.
    assert abs(int(result.array.view(np.uint64)[0]) - before) < 1 << 33


def test_accumulators_of_gfx908_are_registers_of_their_own(require_tool: Callable[[str], str]) -> None:
    bench = Bench(require_tool("llvm-mc"), "gfx908")
    size = bench.wave_size
    result = bench.runner.array(np.zeros(2 * size, U32))
    bench.run(
        """
        v_mov_b32 v2, 7
        v_accvgpr_write_b32 a2, v0
        v_accvgpr_write_b32 a255, 5
        s_nop 3
        v_accvgpr_read_b32 v3, a2
        v_accvgpr_read_b32 v4, a255
        v_add_u32 v3, v3, v4
        v_lshlrev_b32 v1, 2, v0
        global_store_dword v1, v3, s[0:1]
        global_store_dword v1, v2, s[2:3]
        s_endpgm
        """,
        [*pair(result.address), *pair(result.address + 4 * size)],
    )
    assert result.array.tolist() == [*range(5, 5 + size), *[7] * size]


def scalars(
    require_tool: Callable[[str], str], name: str, lines: list[str], user: list[int], count: int
) -> list[int]:
    """Run scalar code on s[0:] and return s16 and the following registers."""
    bench = Bench(require_tool("llvm-mc"), name)
    result = bench.runner.array(np.zeros(count, U32))
    put = "".join(
        f"v_mov_b32 v1, {4 * i}\n v_mov_b32 v2, s{16 + i}\n global_store_b32 v1, v2, s[12:13]\n"
        for i in range(count)
    )
    padded = (user + [0] * 12)[:12] + list(pair(result.address))
    bench.run("\n".join([*lines, put, "s_endpgm"]), padded)
    values: list[int] = result.array.tolist()
    return values


def bits(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


@pytest.mark.parametrize("name", ["gfx1151", "gfx1200"])
def test_scalar_floats(name: str, require_tool: Callable[[str], str]) -> None:
    largest = "s_max_f32" if name == "gfx1151" else "s_max_num_f32"
    lines = [
        "s_add_f32 s16, s0, s1",
        "s_mul_f32 s17, s0, s1",
        f"{largest} s18, s0, s2",
        "s_floor_f32 s19, s1",
        "s_cvt_i32_f32 s20, s1",
        "s_cvt_f32_u32 s21, s3",
        "s_mov_b32 s22, s0",
        "s_fmac_f32 s22, s0, s1",
        "s_cvt_f16_f32 s23, s0",
        "s_cmp_lt_f32 s1, s0",
        "s_cselect_b32 s24, 1, 0",
        "s_cmp_u_f32 s2, s0",
        "s_cselect_b32 s25, 1, 0",
        "s_fmaak_f32 s26, s0, s1, 0x3f800000",
        "s_cvt_hi_f32_f16 s27, s4",
    ]
    user = [bits(1.5), bits(-2.75), bits(math.nan), 0xFFFFFFFF, 0x3C000000]
    got = scalars(require_tool, name, lines, user, 12)
    assert got == [
        bits(-1.25), bits(-4.125), bits(1.5), bits(-3.0), 0xFFFFFFFE, bits(2.0**32), bits(1.5 - 4.125),
        0x3E00, 1, 1, bits(-3.125), bits(1.0),
    ]  # fmt: skip


def test_scalars_of_rdna4(require_tool: Callable[[str], str]) -> None:
    bench = Bench(require_tool("llvm-mc"), "gfx1200")
    data = bench.runner.array(np.array([0x8081FF7F, 0x11112222, 0x33334444], U32))
    lines = [
        "s_load_u8 s16, s[0:1], 0x1",
        "s_load_i8 s17, s[0:1], 0x1",
        "s_load_u16 s18, s[0:1], 0x2",
        "s_load_i16 s19, s[0:1], 0x2",
        "s_wait_kmcnt 0x0",
        "s_mul_u64 s[20:21], s[2:3], s[4:5]",
        "s_add_nc_u64 s[22:23], s[2:3], s[4:5]",
        "s_sub_nc_u64 s[24:25], s[2:3], s[4:5]",
        "v_s_rcp_f32 s26, s6",
        "s_maximum_f32 s27, s6, s7",
    ]
    a, b = 0x123456789ABCDEF0, 0xFEDCBA9876543210
    result = bench.runner.array(np.zeros(12, U32))
    put = "".join(
        f"v_mov_b32 v1, {4 * i}\n v_mov_b32 v2, s{16 + i}\n global_store_b32 v1, v2, s[8:9]\n"
        for i in range(12)
    )
    user = [*pair(data.address), *pair(a), *pair(b), bits(4.0), bits(math.nan), *pair(result.address)]
    bench.run("\n".join([*lines, put, "s_endpgm"]), user)
    mask = (1 << 64) - 1
    wide = [part for value in (a * b & mask, a + b & mask, a - b & mask) for part in pair(value)]
    *exact, largest = result.array.tolist()
    assert exact == [0xFF, 0xFFFFFFFF, 0x8081, 0xFFFF8081, *wide, bits(0.25)]
    assert math.isnan(struct.unpack("<f", struct.pack("<I", largest))[0])


def test_other_barriers_than_the_workgroups_are_refused(require_tool: Callable[[str], str]) -> None:
    bench = Bench(require_tool("llvm-mc"), "gfx1200")
    with pytest.raises(IllegalInstruction, match="only the workgroup's barrier"):
        bench.run("s_barrier_signal 1\n s_endpgm")


def test_bits_by_truth_table(require_tool: Callable[[str], str]) -> None:
    bench = Bench(require_tool("llvm-mc"), "gfx950")
    result = bench.runner.array(np.zeros(3, U32))
    a, b, c = 0xF0F0A5A5, 0xCCCC3C3C, 0xAAAA0FF0
    tables = (0xCA, 0x96, 0x1F)
    text = "v_mov_b32 v3, s0\n v_mov_b32 v4, s1\n v_mov_b32 v5, s2\n"
    for i, table in enumerate(tables):
        text += f"v_bitop3_b32 v1, v3, v4, v5 bitop3:{table:#x}\n v_mov_b32 v2, {4 * i}\n"
        text += "global_store_dword v2, v1, s[4:5]\n"
    bench.run(text + "s_endpgm", [a, b, c, 0, *pair(result.address)])
    expected = [
        sum((table >> (a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1) & 1) << i for i in range(32))
        for table in tables
    ]
    assert result.array.tolist() == expected
