"""Vector memory instructions: alignment, faults, ordering, mappings, LDS and scratch limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_launcher import Bench, GpuArray, pair

from pytest_amdgpu.emulator.memory import PAGE_SIZE, Access, BufferObject, Reason, VmFault

U32 = np.uint32
LOAD = {
    "gfx942": "global_load_dword{} v{}, v[{}:{}], off\ns_waitcnt vmcnt(0)\n",
    "gfx1100": "global_load_b32{} v{}, v[{}:{}], off\ns_waitcnt vmcnt(0)\n",
}
# Copies one dword per lane: source address s[0:1] + s4 * lane, target s[2:3] + s5 * lane.
COPY = """
    v_and_b32 v0, 0x3ff, v0
    v_mul_lo_u32 v1, v0, s4
    v_mul_lo_u32 v2, v0, s5
    {load} v3, v1, s[0:1]
    s_waitcnt vmcnt(0)
    {store} v2, v3, s[2:3]
    s_endpgm
"""
NAMES = {
    "gfx942": {"load": "global_load_dword", "store": "global_store_dword"},
    "gfx1100": {"load": "global_load_b32", "store": "global_store_b32"},
}


@pytest.fixture(params=["gfx942", "gfx1100"])
def bench(request: pytest.FixtureRequest, require_tool: Callable[[str], str]) -> Bench:
    return Bench(require_tool("llvm-mc"), request.param)


def copy(bench: Bench, source: int, target: int, step: int = 4, target_step: int = 4, **changes: Any) -> None:
    text = COPY.format(**NAMES[bench.runner.family.name])
    bench.run(text, [*pair(source), *pair(target), step, target_step], **changes)


@pytest.mark.parametrize("step", [4, 8, 0, 1, 3, 5])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_loads_at_any_alignment(bench: Bench, step: int, shift: int) -> None:
    data = np.random.default_rng(1).integers(0, 256, 1024, dtype=np.uint8)
    given, out = bench.runner.array(data), bench.runner.array(np.zeros(bench.wave_size, U32))
    copy(bench, given.address + shift, out.address, step)
    expected = [
        int.from_bytes(data[shift + step * i : shift + step * i + 4].tobytes(), "little")
        for i in range(bench.wave_size)
    ]
    assert out.array.tolist() == expected


@pytest.mark.parametrize("step", [4, 8, 0, 1, 3, 5])
@pytest.mark.parametrize("shift", [0, 1])
def test_the_last_lane_wins_where_stores_overlap(bench: Bench, step: int, shift: int) -> None:
    values = np.random.default_rng(2).integers(0, 1 << 32, bench.wave_size, dtype=U32)
    given, out = bench.runner.array(values), bench.runner.array(np.zeros(1024, np.uint8))
    copy(bench, given.address, out.address + shift, 4, step)
    expected = np.zeros(1024, np.uint8)
    for lane, value in enumerate(values.tolist()):
        expected[shift + step * lane : shift + step * lane + 4] = list(value.to_bytes(4, "little"))
    assert (out.array == expected).all()


def test_last_wave_and_workgroup_win(bench: Bench) -> None:
    out = bench.runner.array(np.zeros(1, U32))
    store = NAMES[bench.runner.family.name]["store"]
    text = f"v_mov_b32 v1, s2\nv_mov_b32 v2, 0\n{store} v2, v1, s[0:1]\ns_endpgm\n"
    bench.run(text, pair(out.address), groups=2000)
    assert out.array[0] == 1999


def test_a_load_fault_names_the_first_lane_that_faults(bench: Bench) -> None:
    given, out = bench.runner.map(PAGE_SIZE), bench.runner.map(PAGE_SIZE)
    with pytest.raises(VmFault) as caught:
        copy(bench, given.address + PAGE_SIZE - 40, out.address)
    fault = caught.value
    assert (fault.address, fault.access, fault.reason) == (
        given.address + PAGE_SIZE,
        Access.READ,
        Reason.NOT_PRESENT,
    )
    assert any("global_load" in note for note in fault.__notes__)


def test_a_fault_within_a_dword_names_its_first_missing_byte(bench: Bench) -> None:
    given, out = bench.runner.map(PAGE_SIZE), bench.runner.map(PAGE_SIZE)
    with pytest.raises(VmFault) as caught:
        copy(bench, given.address + PAGE_SIZE - 6, out.address)
    assert caught.value.address == given.address + PAGE_SIZE


@pytest.mark.parametrize("address", [(1 << 64) - 4, (1 << 64) - 1, 1 << 63, 1 << 48])
def test_an_address_beyond_all_tables_faults(bench: Bench, address: int) -> None:
    """The end of the first goes on at 0."""
    out = bench.runner.array(np.zeros(64, U32))
    with pytest.raises(VmFault) as caught:
        copy(bench, address, out.address, 0)
    assert (caught.value.access, caught.value.reason) == (Access.READ, Reason.NOT_PRESENT)
    with pytest.raises(VmFault) as caught:
        copy(bench, out.address, address, 4, 0)
    assert (caught.value.access, caught.value.reason) == (Access.WRITE, Reason.NOT_PRESENT)


def test_nothing_is_stored_when_a_lane_faults(bench: Bench) -> None:
    given, out = bench.runner.array(np.arange(64, dtype=U32)), bench.runner.map(PAGE_SIZE)
    with pytest.raises(VmFault) as caught:
        copy(bench, given.address, out.address + PAGE_SIZE - 40)
    assert caught.value.address == out.address + PAGE_SIZE
    assert caught.value.access is Access.WRITE
    assert not out.array.any()


def test_a_store_to_read_only_memory_faults(bench: Bench) -> None:
    given, out = bench.runner.map(64), bench.runner.map(PAGE_SIZE, writable=False)
    with pytest.raises(VmFault) as caught:
        copy(bench, given.address, out.address + 16)
    assert caught.value.address == out.address + 16
    assert caught.value.reason is Reason.READ_ONLY


def test_the_first_lane_decides_between_kinds_of_fault(bench: Bench) -> None:
    base = 0x1_0000_0000
    bench.runner.space.map(base, BufferObject(np.zeros(PAGE_SIZE, np.uint8), writable=False))
    given = bench.runner.map(64)
    # The lanes go up from the end of a page that is read-only into nothing, then from nothing into that page.
    with pytest.raises(VmFault) as caught:
        copy(bench, given.address, base + PAGE_SIZE - 8)
    assert (caught.value.address, caught.value.reason) == (base + PAGE_SIZE - 8, Reason.READ_ONLY)
    with pytest.raises(VmFault) as caught:
        copy(bench, given.address, base - 8)
    assert (caught.value.address, caught.value.reason) == (base - 8, Reason.NOT_PRESENT)


def test_disabled_lanes_do_not_fault(bench: Bench) -> None:
    given, out = bench.runner.array(np.arange(1024, dtype=U32)), bench.runner.array(np.zeros(64, U32))
    copy(bench, given.address + PAGE_SIZE - 20, out.address, block=5)
    assert out.array[:6].tolist() == [1019, 1020, 1021, 1022, 1023, 0]


def test_lanes_spread_over_mappings_and_cross_them(bench: Bench) -> None:
    data = np.random.default_rng(3).integers(0, 256, (2, PAGE_SIZE), dtype=np.uint8)
    base = 0x1_0000_0000
    for page, content in enumerate(data):
        bench.runner.space.map(base + page * PAGE_SIZE, BufferObject(content))
    whole = data.reshape(-1).copy()
    out = bench.runner.array(np.zeros(bench.wave_size, U32))
    start = PAGE_SIZE - 62
    copy(bench, base + start, out.address)
    expected = whole[start : start + 4 * bench.wave_size].view(U32)
    assert (out.array == expected).all()
    # And stores: the dword at the border is shared by both mappings.
    values = bench.runner.array(np.arange(1, bench.wave_size + 1, dtype=U32))
    copy(bench, values.address, base + start)
    stored = data.reshape(-1)[start : start + 4 * bench.wave_size].tobytes()
    assert stored == values.array.tobytes()


def test_a_load_from_an_unmapped_scalar_address_faults(bench: Bench) -> None:
    name = "s_load_dword" if bench.runner.family.name == "gfx942" else "s_load_b32"
    with pytest.raises(VmFault) as caught:
        bench.run(f"{name} s4, s[0:1], 0x10\ns_endpgm\n", pair(0x5000))
    assert caught.value.address == 0x5010


def test_code_must_be_executable(bench: Bench) -> None:
    code = bench.code("s_endpgm\n", executable=False)
    with pytest.raises(VmFault) as caught:
        bench.run(code)
    assert (caught.value.address, caught.value.reason) == (code.address, Reason.NO_EXECUTE)


def test_running_off_the_end_of_the_code_faults(bench: Bench) -> None:
    code = bench.code("s_nop 0\n" * (PAGE_SIZE // 4))
    with pytest.raises(VmFault) as caught:
        bench.run(code)
    assert (caught.value.address, caught.value.access) == (code.address + PAGE_SIZE, Access.EXECUTE)


def test_an_instruction_that_goes_on_beyond_the_code_faults(bench: Bench) -> None:
    long = "s_mov_b32 s4, 0x12345678\n"
    code = bench.code("s_nop 0\n" * (PAGE_SIZE // 4 - 1) + long)
    base = 0x1_0000_0000
    bench.runner.space.map(base, BufferObject(code.array[:PAGE_SIZE].copy()))
    with pytest.raises(VmFault) as caught:
        bench.run(GpuArray(base, code.array))
    assert (caught.value.address, caught.value.access) == (base + PAGE_SIZE, Access.EXECUTE)


def test_an_instruction_may_lie_in_two_mappings(bench: Bench) -> None:
    store = NAMES[bench.runner.family.name]["store"]
    end = f"v_mov_b32 v1, 0\nv_mov_b32 v2, s4\n{store} v1, v2, s[0:1]\ns_endpgm\n"
    text = "s_nop 0\n" * (PAGE_SIZE // 4 - 1) + "s_mov_b32 s4, 0x12345678\n" + end
    code = bench.code(text)
    base = 0x1_0000_0000
    for page in range(2):
        part = code.array[page * PAGE_SIZE : (page + 1) * PAGE_SIZE].copy()
        bench.runner.space.map(base + page * PAGE_SIZE, BufferObject(part))
    out = bench.runner.array(np.zeros(1, U32))
    bench.run(GpuArray(base, code.array), pair(out.address))
    assert out.array[0] == 0x12345678


LDS = {
    "gfx942": "ds_write_b32 v1, v2\ns_waitcnt lgkmcnt(0)\nds_read_b32 v3, v1\n",
    "gfx1100": "ds_store_b32 v1, v2\ns_waitcnt lgkmcnt(0)\nds_load_b32 v3, v1\n",
}


def test_lds_beyond_the_workgroups_share_reads_zero_and_drops_stores(bench: Bench) -> None:
    name = bench.runner.family.name
    out = bench.runner.array(np.full((3, bench.wave_size), 7, U32))
    text = f"""
        v_and_b32 v0, 0x3ff, v0
        v_lshlrev_b32 v1, 3, v0
        v_add_u32 v2, 100, v0
        {LDS[name]}
        s_waitcnt lgkmcnt(0)
        s_mul_i32 s2, s2, {4 * bench.wave_size}
        v_lshlrev_b32 v0, 2, v0
        v_add_u32 v0, s2, v0
        {NAMES[name]["store"]} v0, v3, s[0:1]
        s_endpgm
    """
    if name == "gfx1100":
        text = text.replace("v_add_u32", "v_add_nc_u32")
    bench.run(text, pair(out.address), groups=3, lds_bytes=128)
    lanes = np.arange(bench.wave_size)
    assert (out.array == np.where(lanes < 16, lanes + 100, 0)).all()


def test_private_memory_without_scratch_faults(bench: Bench) -> None:
    name = "scratch_load_dword" if bench.runner.family.name == "gfx942" else "scratch_load_b32"
    text = f"v_mov_b32 v1, 16\n{name} v2, v1, off\ns_endpgm\n"
    with pytest.raises(VmFault) as caught:
        bench.run(text)
    assert caught.value.address & 0xFFFFFFFF == 16


def test_private_memory_of_lanes_is_interleaved_by_dwords(bench: Bench) -> None:
    name = "scratch_store_dword" if bench.runner.family.name == "gfx942" else "scratch_store_b32"
    size = 16 * bench.wave_size
    scratch = bench.runner.array(np.zeros((2, 4, bench.wave_size), U32))
    text = f"v_and_b32 v0, 0x3ff, v0\nv_mov_b32 v1, 8\n{name} v1, v0, off\ns_endpgm\n"
    bench.run(text, block=2 * bench.wave_size, scratch_base=scratch.address, scratch_wave_bytes=size)
    expected = np.zeros_like(scratch.array)
    expected[:, 2] = np.arange(2 * bench.wave_size).reshape(2, bench.wave_size)
    assert (scratch.array == expected).all()


@pytest.mark.parametrize("address", ["8", "6", "v0 * 12", "v0 + 1"])
def test_private_memory_holds_what_was_stored(bench: Bench, address: str) -> None:
    """Uniform, unaligned, differing by lane, and differing by lane and unaligned."""
    gfx9 = bench.runner.family.name == "gfx942"
    suffixes = {"b32": "dword", "b64": "dwordx2", "b16": "short", "u8": "ubyte", "i16": "sshort"}

    def op(name: str, suffix: str) -> str:
        if name == "store" and suffix == "b16":
            return "scratch_store_short" if gfx9 else "scratch_store_b16"
        return f"scratch_{name}_{suffixes[suffix] if gfx9 else suffix}"

    add = "v_add_u32" if gfx9 else "v_add_nc_u32"
    place = {
        "8": "v_mov_b32 v1, 8",
        "6": "v_mov_b32 v1, 6",
        "v0 * 12": "v_mul_u32_u24 v1, 12, v0",
        "v0 + 1": f"{add} v1, 1, v0",
    }[address]
    store = NAMES[bench.runner.family.name]["store"]
    out = bench.runner.array(np.zeros((4, bench.wave_size), U32))
    lines = [
        f"v_lshlrev_b32 v9, 2, v0\n{add} v9, {4 * row * bench.wave_size}, v9\n{store} v9, v{4 + row}, s[0:1]"
        for row in range(4)
    ]
    text = f"""
        v_and_b32 v0, 0x3ff, v0
        {place}
        {add} v2, 0x81828300, v0
        v_not_b32 v3, v2
        {op("store", "b64")} v1, v[2:3], off
        {op("store", "b16")} v1, v0, off offset:1
        {op("load", "b64")} v[4:5], v1, off
        {op("load", "u8")} v6, v1, off offset:3
        {op("load", "i16")} v7, v1, off offset:2
        s_waitcnt vmcnt(0)
        {chr(10).join(lines)}
        s_endpgm
    """
    scratch = bench.runner.map(1 << 16)
    bench.run(text, pair(out.address), scratch_base=scratch.address, scratch_wave_bytes=1 << 16)
    for lane in range(bench.wave_size):
        low = 0x81828300 + lane
        data = bytearray((low | (~low & 0xFFFFFFFF) << 32).to_bytes(8, "little"))
        data[1:3] = lane.to_bytes(2, "little")
        expected = [
            int.from_bytes(data[:4], "little"),
            int.from_bytes(data[4:], "little"),
            data[3],
            int.from_bytes(data[2:4], "little", signed=True) & 0xFFFFFFFF,
        ]
        assert out.array[:, lane].tolist() == expected, lane


FLAT = """
    v_and_b32 v0, 0x3ff, v0
    v_lshlrev_b32 v4, 2, v0
    v_and_b32 v1, 3, v0
    v_mov_b32 v2, s0
    v_mov_b32 v3, s1
    {add_address}
    v_cmp_eq_u32 vcc, 1, v1
    v_mov_b32 v5, 0x10000
    v_mov_b32 v6, 0x20000
    v_cndmask_b32 v2, v2, v4, vcc
    v_cndmask_b32 v3, v3, v5, vcc
    v_cmp_eq_u32 vcc, 2, v1
    v_cndmask_b32 v2, v2, {private}, vcc
    v_cndmask_b32 v3, v3, v6, vcc
    v_or_b32 v7, 0x100, v0
    flat_store_{word} v[2:3], v7
    s_waitcnt vmcnt(0) lgkmcnt(0)
    flat_load_{word} v8, v[2:3]
    s_waitcnt vmcnt(0) lgkmcnt(0)
    v_mov_b32 v2, s2
    v_mov_b32 v3, s3
    {add_address}
    flat_store_{word} v[2:3], v8
    s_endpgm
"""


def flat(bench: Bench, private: str) -> str:
    gfx9 = bench.runner.family.name == "gfx942"
    carry = "v_addc_co_u32 v3, vcc, 0, v3, vcc" if gfx9 else "v_add_co_ci_u32 v3, vcc_lo, 0, v3, vcc_lo"
    first = "v_add_co_u32 v2, vcc, v4, v2" if gfx9 else "v_add_co_u32 v2, vcc_lo, v4, v2"
    text = FLAT.format(
        word="dword" if gfx9 else "b32",
        private=private,
        add_address=f"{first}\n{carry}",
    )
    return text if gfx9 else text.replace("u32 vcc, ", "u32 vcc_lo, ").replace(", vcc\n", ", vcc_lo\n")


def test_a_flat_access_goes_where_each_lane_points(bench: Bench) -> None:
    memory, out = bench.runner.array(np.zeros(64, U32)), bench.runner.array(np.zeros(64, U32))
    scratch = bench.runner.map(1 << 16)
    lanes = np.arange(bench.wave_size)
    bench.run(
        flat(bench, "v4"),
        [*pair(memory.address), *pair(out.address)],
        lds_bytes=1024,
        scratch_base=scratch.address,
        scratch_wave_bytes=1 << 16,
    )
    assert (out.array[: bench.wave_size] == lanes + 0x100).all()
    elsewhere = (lanes % 4 == 1) | (lanes % 4 == 2)
    assert (memory.array[: bench.wave_size] == np.where(elsewhere, 0, lanes + 0x100)).all()
    private = scratch.array.view(U32)[: 4096 * 4].reshape(-1, bench.wave_size)
    assert private[6, 6] == 0x106
    assert np.count_nonzero(private) == bench.wave_size // 4


def test_no_lane_of_a_flat_store_stores_when_another_faults(bench: Bench) -> None:
    memory, out = bench.runner.array(np.zeros(64, U32)), bench.runner.array(np.zeros(64, U32))
    with pytest.raises(VmFault) as caught:
        bench.run(flat(bench, "v4"), [*pair(memory.address), *pair(out.address)], lds_bytes=1024)
    assert caught.value.address == (0x20000 << 32) + 8
    assert not memory.array.any()
