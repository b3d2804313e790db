"""Scheduling of waves: divergence, waiting for each other, barriers, budgets, errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from kernel_launcher import Bench, pair

from pytest_amdgpu.emulator.isa.errors import IllegalInstruction

U32 = np.uint32


@pytest.fixture(params=["gfx942", "gfx1100"])
def bench(request: pytest.FixtureRequest, require_tool: Callable[[str], str]) -> Bench:
    return Bench(require_tool("llvm-mc"), request.param)


def dialect(bench: Bench, text: str) -> str:
    """Write RDNA3's names as CDNA3's where that is the target."""
    if bench.runner.family.name == "gfx1100":
        return text
    for new, old in (
        ("global_load_b32", "global_load_dword"),
        ("global_store_b32", "global_store_dword"),
        ("global_atomic_add_u32", "global_atomic_add"),
        ("v_add_nc_u32", "v_add_u32"),
        (" glc", " sc0"),
        ("ds_store_b32", "ds_write_b32"),
        ("ds_load_b32", "ds_read_b32"),
        ("s_load_b32", "s_load_dword"),
        ("exec_lo", "exec"),
    ):
        text = text.replace(new, old)
    return text


# Workgroup s2 waits until the dword at s[0:1] is count - 1 - s2, then adds 1: the last one goes first.
TURNSTILE = """
    s_sub_u32 s3, {count} - 1, s2
    v_mov_b32 v1, 0
    v_mov_b32 v3, 1
wait:
    {sleep}
    global_load_b32 v2, v1, s[0:1] glc
    s_waitcnt vmcnt(0)
    v_readfirstlane_b32 s4, v2
    s_cmp_eq_u32 s4, s3
    s_cbranch_scc0 wait
    s_mov_b64 exec, 1
    global_atomic_add_u32 v1, v3, s[0:1]
    s_endpgm
"""


@pytest.mark.parametrize("sleep", ["s_sleep 1", ""])
def test_waves_wait_for_waves_that_come_later(bench: Bench, sleep: str) -> None:
    text = dialect(bench, TURNSTILE.format(count=12, sleep=sleep))
    counter = bench.runner.array(np.zeros(1, U32))
    bench.run(text, pair(counter.address), groups=12)
    assert counter.array[0] == 12


def test_workgroups_wait_for_workgroups_that_have_not_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_amdgpu.emulator.isa.dispatch.LANES", 4 * bench.wave_size)
    text = dialect(bench, TURNSTILE.format(count=20, sleep="s_sleep 1"))
    counter = bench.runner.array(np.zeros(1, U32))
    bench.run(text, pair(counter.address), groups=20)
    assert counter.array[0] == 20


def test_a_dispatch_that_waits_gives_the_caller_its_turn(bench: Bench) -> None:
    text = dialect(bench, TURNSTILE.format(count=1, sleep="s_sleep 1"))
    counter = bench.runner.array(np.full(1, 9, U32))
    dispatch = bench.start(text, pair(counter.address))
    for _ in range(3):
        assert not dispatch.run(50)
    assert dispatch.describe().startswith("1 waves at ")
    counter.array[0] = 0
    assert dispatch.run(1000)
    assert dispatch.run(1)
    assert counter.array[0] == 1


def test_a_budget_is_kept(bench: Bench) -> None:
    dispatch = bench.start(
        "s_mov_b32 s3, 1000\nloop:\ns_sub_u32 s3, s3, 1\ns_cmp_lg_u32 s3, 0\ns_cbranch_scc1 loop\ns_endpgm\n"
    )
    turns = 1
    while not dispatch.run(100):
        turns += 1
    assert 10 <= turns <= 12


# Each lane loops as often as its number says; waves leave at different times too.
LOOP = """
    v_and_b32 v0, 0x3ff, v0
    v_mov_b32 v1, 0
    v_mov_b32 v2, v0
    s_mov_b64 s[6:7], exec
loop:
    v_cmp_lt_u32 vcc, v1, v2
    s_and_b64 exec, exec, vcc
    s_cbranch_execz done
    v_add_nc_u32 v1, 1, v1
    s_branch loop
done:
    s_mov_b64 exec, s[6:7]
    s_mul_i32 s3, s2, {block}
    v_add_nc_u32 v0, s3, v0
    v_lshlrev_b32 v0, 2, v0
    global_store_b32 v0, v1, s[0:1]
    s_endpgm
"""


def test_lanes_and_waves_that_leave_a_loop_at_different_times(bench: Bench) -> None:
    text = dialect(bench, LOOP.format(block=256))
    if bench.wave_size == 32:
        text = text.replace("s_mov_b64 s[6:7], exec", "s_mov_b32 s6, exec_lo")
        text = text.replace("s_and_b64 exec, exec, vcc", "s_and_b32 exec_lo, exec_lo, vcc_lo")
        text = text.replace("vcc, v1", "vcc_lo, v1").replace(
            "s_mov_b64 exec, s[6:7]", "s_mov_b32 exec_lo, s6"
        )
    out = bench.runner.array(np.zeros((3, 256), U32))
    bench.run(text, pair(out.address), groups=3, block=256)
    assert (out.array == np.arange(256)).all()


BARRIER = """
    v_and_b32 v0, 0x3ff, v0
    v_readfirstlane_b32 s3, v0
    s_cmp_lt_u32 s3, {early}
    s_cbranch_scc1 end
    v_lshlrev_b32 v1, 2, v0
    ds_store_b32 v1, v0
    s_cmp_lt_u32 s3, {late}
    s_cbranch_scc1 go
    s_mov_b32 s4, 100
spin:
    s_sub_u32 s4, s4, 1
    s_cmp_lg_u32 s4, 0
    s_cbranch_scc1 spin
go:
    s_waitcnt lgkmcnt(0)
    s_barrier
    v_xor_b32 v2, 0x3c0, v1
    ds_load_b32 v3, v2
    s_waitcnt lgkmcnt(0)
    s_mul_i32 s2, s2, 0x400
    v_add_nc_u32 v1, s2, v1
    global_store_b32 v1, v3, s[0:1]
end:
    s_endpgm
"""


def test_a_barrier_joins_the_waves_of_a_workgroup_that_have_not_ended(bench: Bench) -> None:
    text = dialect(bench, BARRIER.format(early=64, late=128))
    out = bench.runner.array(np.full((5, 256), 9999, U32))
    bench.run(text, pair(out.address), groups=5, block=256, lds_bytes=1024)
    lanes = np.arange(64, 256)
    # 0x3c0 is 240 dwords: lane ^ 240. Lanes below 64 left before they wrote what these would read.
    other = lanes ^ 240
    assert (out.array[:, lanes[other >= 64]] == other[other >= 64]).all()
    assert (out.array[:, :64] == 9999).all()


def test_an_instruction_that_does_not_exist_is_named(bench: Bench) -> None:
    code = bench.code("s_nop 0\n.long 0xbf7f1234\ns_endpgm\n")
    with pytest.raises(IllegalInstruction) as caught:
        bench.run(code)
    assert caught.value.address == code.address + 4
    assert "bf7f1234" in str(caught.value)


def test_a_trap_without_handler_stops(bench: Bench) -> None:
    code = bench.code("s_nop 0\ns_trap 2\ns_endpgm\n")
    with pytest.raises(IllegalInstruction, match="trap 2") as caught:
        bench.run(code)
    assert caught.value.address == code.address + 4


def test_code_may_change_between_dispatches(bench: Bench) -> None:
    store = dialect(bench, "global_store_b32 v1, v2, s[0:1]")
    out = bench.runner.array(np.zeros(1, U32))
    code = bench.code(f"v_mov_b32 v1, 0\nv_mov_b32 v2, 17\n{store}\ns_endpgm\n")
    bench.run(code, pair(out.address))
    assert out.array[0] == 17
    other = bench.code(f"v_mov_b32 v1, 0\nv_mov_b32 v2, 18\n{store}\ns_endpgm\n")
    code.array[:] = other.array
    bench.run(code, pair(out.address))
    assert out.array[0] == 18


def test_calls_through_registers(bench: Bench) -> None:
    text = dialect(
        bench,
        """
        s_getpc_b64 s[4:5]
    here:
        s_add_u32 s4, s4, function-here
        s_addc_u32 s5, s5, 0
        v_mov_b32 v1, 0
        s_swappc_b64 s[6:7], s[4:5]
        global_store_b32 v1, v2, s[0:1]
        s_endpgm
    function:
        v_mov_b32 v2, 42
        s_setpc_b64 s[6:7]
    """,
    )
    out = bench.runner.array(np.zeros(1, U32))
    bench.run(text, pair(out.address))
    assert out.array[0] == 42


def test_waves_that_jump_to_different_places(bench: Bench) -> None:
    text = dialect(
        bench,
        """
        s_getpc_b64 s[4:5]
    here:
        s_and_b32 s3, s2, 3
        s_mul_i32 s3, s3, one-zero
        s_add_u32 s3, s3, zero-here
        s_add_u32 s4, s4, s3
        s_addc_u32 s5, s5, 0
        s_setpc_b64 s[4:5]
    zero:
        s_movk_i32 s6, 10
        s_branch store
    one:
        s_movk_i32 s6, 11
        s_branch store
        s_movk_i32 s6, 12
        s_branch store
        s_movk_i32 s6, 13
    store:
        s_lshl_b32 s2, s2, 2
        v_mov_b32 v1, s2
        v_mov_b32 v2, s6
        global_store_b32 v1, v2, s[0:1]
        s_endpgm
    """,
    )
    out = bench.runner.array(np.zeros(50, U32))
    bench.run(text, pair(out.address), groups=50)
    assert (out.array == 10 + np.arange(50) % 4).all()


def test_mode_decides_over_denormals(bench: Bench) -> None:
    store = dialect(bench, "global_store_b32 v1, v2, s[0:1]")
    text = f"v_mov_b32 v1, 0\nv_mov_b32 v2, 0x00400000\nv_add_f32 v2, v2, v2\n{store}\ns_endpgm\n"
    out = bench.runner.array(np.zeros(1, U32))
    bench.run(text, pair(out.address))
    assert out.array[0] == 0x00800000
    bench.run(text, pair(out.address), rsrc1=0xC0 << 12)
    assert out.array[0] == 0
    # s_setreg changes MODE's bits 5:4 while the wave runs.
    change = "s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 2), 3\n"
    bench.run(change + text, pair(out.address), rsrc1=0xC0 << 12)
    assert out.array[0] == 0x00800000
    with pytest.raises(IllegalInstruction, match="rounding"):
        bench.run(text, pair(out.address), rsrc1=0xF1 << 12)


def test_an_empty_grid_is_done_at_once(bench: Bench) -> None:
    assert bench.start("s_trap 1\n", groups=0).run(1)


def test_messages_reach_the_queue(bench: Bench) -> None:
    sent: list[int] = []
    text = "s_mov_b32 m0, 0x123\ns_sendmsg sendmsg(MSG_INTERRUPT)\ns_endpgm\n"
    bench.run(text, groups=3, interrupt=sent.append)
    assert sent == [0x123] * 3
