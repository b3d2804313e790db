"""PM4 packets on the emulated command processor."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.emulator.engine.caches import packet_maintenance
from pytest_amdgpu.emulator.engine.shader_memory import shader_memory
from pytest_amdgpu.families.registry import family
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.registers import compute_registers

TARGETS = [
    "gfx908",
    "gfx90a",
    "gfx942",
    "gfx950",
    "gfx1010",
    "gfx1030",
    "gfx1100",
    "gfx1151",
    "gfx1200",
    "gfx1201",
]


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


@pytest.fixture
def packets(target):
    return pm4_packets(family(target).pm4)


@pytest.fixture
def registers(target):
    return compute_registers(family(target).registers)


@pytest.fixture
def compute(bench, target):
    return bench.queue(target, QueueType.COMPUTE, ring_size=4096)


@pytest.fixture
def program(packets, registers):
    """SET_SH_REG packets of a plain dispatch, with registers replaced or left out (None) by name."""

    def build(**changes):
        values = {
            "PGM_LO": 0x1000,
            "PGM_HI": 0x12,
            "PGM_RSRC1": 0x000C0041,
            "PGM_RSRC2": 2 << 1 | 1 << 7,
            "PGM_RSRC3": 3 if "COMPUTE_PGM_RSRC3" in registers else None,
            "NUM_THREAD_X": 64,
            "NUM_THREAD_Y": 2,
            "NUM_THREAD_Z": 1,
            "USER_DATA_0": 0xAA,
            "USER_DATA_1": 0xBB,
            **changes,
        }
        return [
            word
            for name, value in values.items()
            if value is not None
            for word in packets.set_sh_reg(registers[f"COMPUTE_{name}"], value)
        ]

    return build


def stop_with(compute, *submitted) -> str:
    compute.submit(*submitted)
    compute.wait_stopped()
    return compute.host.bad[0]


def test_nop_filler_and_wrap(bench, compute, packets):
    block = bench.block()
    for turn in range(200):
        compute.run(packets.nop(3), (2 << 30,), packets.nop(), packets.write_data(block.address, [turn]))
        assert block.u32[0] == turn
    assert compute.rptr == 200 * 11 % 1024


def test_release_writes_then_interrupts(bench, compute, packets):
    block = bench.block()
    seen = []
    compute.host.on_interrupt = lambda event_id: seen.append(int(block.u64[1]))
    compute.run(packets.release(block.address + 8, 0x1_2345_6789), packets.release_event(block.address, 77))
    assert seen == [0x1_2345_6789]
    assert int(block.u64[0]) == 77
    assert compute.host.interrupts == [(77, "eop")]


@pytest.mark.parametrize(
    ("data_sel", "expected"),
    [(0, [0, 0]), (1, [0x89ABCDEF, 0]), (2, [0x89ABCDEF, 0x01234567]), (3, [1001, 0]), (4, [1001, 0])],
)
def test_release_data_selection(bench, compute, packets, data_sel, expected):
    block = bench.block()
    compute.run(packets.release_mem(block.address, 0x01234567_89ABCDEF, data_sel=data_sel))
    assert block.u32[:2].tolist() == expected


@pytest.mark.parametrize(("int_sel", "count"), [(0, 0), (1, 1), (2, 1), (3, 0)])
def test_release_interrupt_selection(bench, compute, packets, int_sel, count):
    block = bench.block()
    compute.run(packets.release_mem(block.address, 1, int_sel=int_sel, int_ctxid=9))
    assert compute.host.interrupts == [(9, "eop")] * count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event_index": 0}, "end-of-pipe"),
        ({"event_type": 7}, "end-of-pipe"),
        ({"dst_sel": 2}, "dst_sel"),
        ({"data_sel": 6}, "data_sel 6"),
        ({"int_sel": 5}, "int_sel 5"),
    ],
)
def test_release_that_hardware_would_not_understand(bench, compute, packets, change, message):
    assert message in stop_with(compute, packets.release_mem(bench.block().address, 1, **change))


def test_release_of_64_bits_at_a_dword_address(bench, compute, packets):
    assert "not a multiple of 8" in stop_with(compute, packets.release_mem(bench.block().address + 4, 1))


@pytest.mark.parametrize(
    ("target", "wide"),
    [*((name, False) for name in TARGETS), *((name, True) for name in ("gfx1030", "gfx1100", "gfx1200"))],
    indirect=["target"],
)
def test_wait_for_memory(bench, compute, packets, wide):
    block = bench.block()
    wait = packets.wait_reg_mem64(block.address, 1 << 40) if wide else packets.wait_reg_mem(block.address, 3)
    compute.submit(wait, packets.write_data(block.address + 64, [1]))
    compute.wait(lambda: f"polling {block.address:#x}" in compute.queue.state())
    assert block.u32[16] == 0
    block.u64[0] = 1 << 40 | 3
    compute.wait_idle()
    assert block.u32[16] == 1


def test_hdp_flush_is_no_wait(bench, compute, packets):
    compute.run((0xC0053C00, 0x45, 0xE26, 0xE27, 0xFFFFFFFF, 0xFFFFFFFF, 4))


def test_other_registers_cannot_be_polled(bench, compute, packets):
    assert "registers cannot be polled" in stop_with(compute, (0xC0053C00, 0x05, 0x1234, 0, 1, 1, 4))


def test_write_data(bench, compute, packets):
    low, high = bench.block(gap=False), bench.block()
    compute.run(packets.write_data(low.address + 4088, [1, 2, 3, 4]))
    assert [*low.u32[-2:], *high.u32[:3]] == [1, 2, 3, 4, 0]
    compute.run(packets.write_data(low.address, [5, 6], no_increment=1))
    assert low.u32[:2].tolist() == [6, 0]


@pytest.mark.parametrize("no_increment", [0, 1])
def test_write_data_without_data_is_refused(compute, packets, no_increment):
    words = packets.write_data(0x1000, [7], no_increment=no_increment)
    header = words[0] - (1 << 16)  # one dword less in the count
    assert "there is no data in it" in stop_with(compute, (header, *words[1:4]))


def test_copy_data(bench, compute, packets):
    block = bench.block()
    block.u64[0] = 0x1111_2222_3333_4444
    compute.run(
        packets.copy_data(1, block.address, 5, block.address + 8, count_sel=1),
        packets.copy_data(2, block.address + 4, 2, block.address + 16),
        packets.copy_data(5, 0xABC, 5, block.address + 24),
    )
    assert [hex(value) for value in block.u64[1:4]] == ["0x1111222233334444", "0x11112222", "0xabc"]


@pytest.mark.parametrize("clock", [9, 10])
def test_copy_data_reads_a_clock(bench, compute, packets, clock):
    # PAL, MEC_COPY_DATA_src_sel_enum: the GPU's clock count is 9, the system's 10.
    block = bench.block()
    compute.run(packets.copy_data(clock, 0, 5, block.address, count_sel=1))
    assert block.u64[0] == 1001


def test_atomic_and_its_old_value(bench, compute, packets):
    block = bench.block()
    block.u64[0] = 40
    compute.run(
        packets.atomic_mem(block.address, 0x2F, 2), packets.copy_data(6, 0, 5, block.address + 8, count_sel=1)
    )
    assert block.u64[:2].tolist() == [42, 40]


def test_atomic_that_repeats(bench, compute, packets):
    block = bench.block()
    compute.submit(packets.atomic_mem(block.address, 0x08, 9, cmp_data=4, command=1))
    compute.wait(lambda: "repeating" in compute.queue.state())
    block.u32[0] = 4
    compute.wait_idle()
    assert block.u32[0] == 9


@pytest.mark.parametrize(("value", "expected"), [(0, [0, 1]), (1, [1, 1])])
def test_cond_exec(bench, compute, packets, value, expected):
    block = bench.block()
    block.u32[8] = value
    guarded = packets.write_data(block.address, [1])
    compute.run(
        packets.cond_exec(block.address + 32, len(guarded)),
        guarded,
        packets.write_data(block.address + 4, [1]),
    )
    assert block.u32[:2].tolist() == expected


def test_indirect_buffers_nest_and_chain(bench, compute, packets):
    block, first, second, inner = (bench.block() for _ in range(4))

    def fill(buffer, *parts):
        words = [word for part in parts for word in part]
        buffer.u32[: len(words)] = words
        return len(words)

    inner_size = fill(inner, packets.write_data(block.address + 4, [2]))
    second_size = fill(second, packets.write_data(block.address + 8, [3]))
    first_size = fill(
        first,
        packets.write_data(block.address, [1]),
        packets.indirect_buffer(inner.address, inner_size),
        packets.indirect_buffer(second.address, second_size, chain=1),
        packets.write_data(block.address + 16, [99]),
    )
    compute.run(
        packets.indirect_buffer(first.address, first_size), packets.write_data(block.address + 12, [4])
    )
    assert block.u32[:5].tolist() == [1, 2, 3, 4, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"valid": 0}, "valid bit"), ({"chain": 1}, "a chain in the ring"), ({"priv": 1}, "priv")],
)
def test_indirect_buffers_that_are_refused(bench, compute, packets, change, message):
    assert message in stop_with(compute, packets.indirect_buffer(bench.block().address, 4, **change))


def test_indirect_buffer_outside_memory_faults(bench, compute, packets):
    compute.submit(packets.indirect_buffer(0x7000_0000, 4))
    compute.wait_stopped()
    assert compute.host.faults[0].address == 0x7000_0000


def test_unknown_opcode_is_shown(compute):
    text = stop_with(compute, (0xC000AA00, 1))
    assert "opcode 0xaa" in text
    assert "c000aa00 00000001" in text


def test_register_without_name_and_reserved_bits(compute, packets):
    assert "no COMPUTE register at SH index 0x2ff" in stop_with(compute, packets.set_sh_reg(0x2FF, 1))
    assert compute.host.codes == [22]


def test_reserved_bits_of_a_register(compute, packets, registers):
    text = stop_with(compute, packets.set_sh_reg(registers["COMPUTE_PGM_HI"], 0x1234))
    assert "bits 0x1200 are reserved" in text
    assert compute.host.codes == [22]


def test_dispatch_state(bench, target, compute, packets, program, fake_shaders):
    row = family(target)
    compute.run(
        program(
            PGM_RSRC2=3 << 15 | 1 << 7 | 2 << 1 | 1,
            TMPRING_SIZE=32 | 2 << 12,
            DISPATCH_SCRATCH_BASE_LO=0x55,
            DISPATCH_SCRATCH_BASE_HI=0x1,
        ),
        packets.dispatch_direct(3, 2, 1, 5),
        packets.event_write(7, 4),
    )
    (state,) = fake_shaders.states
    assert state.family is row
    assert state.memory is shader_memory(bench.memory)
    assert state.entry == 0x12_0000_1000 << 8
    assert (state.rsrc1, state.rsrc3) == (0x000C0041, 0 if target == "gfx908" else 3)
    assert state.user_data == (0xAA, 0xBB, *[0] * 14)
    assert (state.workgroups, state.start, state.block, state.grid) == (
        (3, 2, 1),
        (0, 0, 0),
        (64, 2, 1),
        (192, 4, 1),
    )
    assert state.wave_size == 64
    assert state.scratch_base == 0x1_0000_0055 << 8
    assert state.scratch_wave_bytes == 2 * row.scratch.wave_granule
    assert state.lds_bytes == 3 * row.lds_granule
    assert state.num_xcc == 1


def test_wave32_by_the_initiator(target, compute, packets, program, fake_shaders):
    dispatch = packets.dispatch_direct(1, 1, 1, 0x8005)
    if family(target).wave_sizes == (64,):
        assert "bits 0x8000 are reserved" in stop_with(compute, program(), dispatch)
    else:
        compute.run(program(), dispatch)
        assert fake_shaders.states[0].wave_size == 32


def test_partial_workgroups(compute, packets, program, fake_shaders):
    use_threads, partial = 1 << 5, 1 << 1
    compute.run(
        program(NUM_THREAD_X=64 | 10 << 16, NUM_THREAD_Y=2),
        packets.dispatch_direct(3, 1, 1, 1 | partial),
        packets.dispatch_direct(130, 3, 1, 1 | use_threads | partial),
        packets.dispatch_direct(130, 3, 1, 1 | use_threads),
    )
    assert [(state.workgroups, state.grid) for state in fake_shaders.states] == [
        ((3, 1, 1), (138, 2, 1)),
        ((3, 2, 1), (130, 3, 1)),
        ((3, 2, 1), (192, 4, 1)),
    ]


def test_dispatch_indirect_reads_its_size_from_memory(bench, compute, packets, program, fake_shaders):
    block = bench.block()
    block.u32[4:7] = 5, 6, 7
    compute.run(program(), packets.dispatch_indirect(block.address + 16, 5))
    assert fake_shaders.states[0].workgroups == (5, 6, 7)


def test_empty_dispatch_runs_nothing(compute, packets, program, fake_shaders):
    compute.run(program(), packets.dispatch_direct(3, 0, 1, 5))
    assert not fake_shaders.started


@pytest.mark.parametrize(
    ("changes", "initiator", "code", "message"),
    [
        ({}, 4, 20, "does not enable the compute shader"),
        ({"NUM_THREAD_Y": None}, 5, 20, "dispatch without COMPUTE_NUM_THREAD_Y"),
        ({"PGM_RSRC1": None}, 5, 20, "dispatch without COMPUTE_PGM_RSRC1"),
        ({"NUM_THREAD_Z": 0}, 5, 21, "a dimension is 0"),
        ({"NUM_THREAD_Z": 9}, 5, 21, "exceeds 1024"),
        ({"PGM_RSRC2": 1}, 5, 20, "COMPUTE_TMPRING_SIZE provides none"),
        ({"PGM_RSRC2": 400 << 15}, 5, 17, "of LDS"),
    ],
)
def test_dispatches_that_would_hang_or_corrupt(
    compute, packets, program, fake_shaders, changes, initiator, code, message
):
    assert message in stop_with(compute, program(**changes), packets.dispatch_direct(1, 1, 1, initiator))
    assert compute.host.codes == [code]


def test_packets_overtake_a_dispatch_unless_ordered(bench, compute, packets, program, fake_shaders):
    block = bench.block()

    def work(state):
        block.u32[0] += 1

    fake_shaders.work = work
    dispatch = packets.dispatch_direct(1, 1, 1, 5)
    copy = [packets.copy_data(1, block.address, 5, block.address + 4 * (index + 1)) for index in range(3)]
    compute.run(
        program(), dispatch, copy[0], packets.event_write(7, 4), copy[1], dispatch,
        packets.release(block.address + 64, 1), copy[2],
    )  # fmt: skip
    assert block.u32[:4].tolist() == [2, 0, 1, 2]


def test_waiting_packet_lets_the_dispatch_run(bench, compute, packets, program, fake_shaders):
    block = bench.block()

    def work(state):
        block.u32[0] = 5

    fake_shaders.work = work
    compute.run(program(), packets.dispatch_direct(1, 1, 1, 5), packets.wait_reg_mem(block.address, 5))
    assert block.u32[0] == 5


def test_long_dispatch_can_be_evicted_and_destroyed(bench, compute, packets, program, fake_shaders):
    fake_shaders.slices = 1 << 60
    compute.submit(program(), packets.dispatch_direct(1, 1, 1, 5), packets.event_write(7, 4))
    compute.wait(lambda: fake_shaders.started and len(fake_shaders.started[0].budgets) > 10)
    compute.queue.evict()
    assert "evicted while running kernel 0x12000010" in compute.queue.state()
    done = len(fake_shaders.started[0].budgets)
    assert len(fake_shaders.started[0].budgets) == done
    compute.queue.restore()
    compute.wait(lambda: len(fake_shaders.started[0].budgets) > done)
    compute.queue.stop()


def test_budget_grows_while_slices_are_short(compute, packets, program, fake_shaders):
    fake_shaders.slices = 20
    compute.run(program(), packets.dispatch_direct(1, 1, 1, 5))
    budgets = fake_shaders.started[0].budgets
    assert budgets[0] < budgets[5] <= budgets[-1]


def test_many_dispatches_in_flight(compute, packets, program, fake_shaders):
    fake_shaders.slices = 3
    compute.run(program(), *[packets.dispatch_direct(1, 1, 1, 5)] * 60)
    assert len(fake_shaders.started) == 60


def test_cache_maintenance_of_packets(packets):
    def of(words):
        return packet_maintenance(packets.decode(words).fields)

    assert of(packets.acquire_all()) == (True, True)
    assert of(packets.acquire_before_dispatch()) == (False, True)
    assert of(packets.release(0x1000, 1)).write_back
    assert of(packets.release_event(0x1000, 1)) == (False, False)


def test_tinygrad_dispatch_runs(bench, fake_shaders):
    """The dwords that tinygrad's runtime was seen to send for a gfx11 dispatch and signal."""
    compute, block = bench.queue("gfx1100", QueueType.COMPUTE), bench.block()
    address = [block.address & 0xFFFFFFFF, block.address >> 32]
    compute.run(
        (0xC0065800, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, 0x3F0),
        (0xC0027600, 0x20C, 0x1000, 0),
        (0xC0027600, 0x212, 0x60AF0000, 0x84),
        (0xC0017600, 0x228, 0),
        (0xC0017600, 0x218, 0),
        (0xC0037600, 0x21B, 0, 0, 0),
        (0xC0027600, 0x240, *address),
        (0xC0017600, 0x215, 0),
        (0xC0087600, 0x204, 0, 0, 0, 32, 1, 1, 0, 0),
        (0xC0031500, 4, 1, 1, 0x8005),
        (0xC0004600, 0x407),
        (0xC0064900, 0x0070F514, 0x20000000, *address, 7, 0, 0),
    )
    assert fake_shaders.states[0].grid == (128, 1, 1)
    assert np.array_equal(block.u32[:2], [7, 0])
