"""SDMA packets on the emulated engine, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.emulator.engine.shader_memory import shader_memory
from pytest_amdgpu.emulator.memory import Access, Reason
from pytest_amdgpu.families.registry import family
from pytest_amdgpu.packets.sdma import sdma_packets

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
    return sdma_packets(family(target).sdma)


@pytest.fixture
def sdma(bench, target):
    return bench.queue(target)


def noise(block, seed=1):
    block.array[:] = np.random.default_rng(seed).integers(0, 256, block.array.size, np.uint8)
    return block.array.copy()


@pytest.mark.parametrize(
    ("source_offset", "target_offset", "size"), [(0, 0, 1), (3, 1, 4097), (5, 0, 12288), (0, 7, 64)]
)
def test_copy_moves_exactly_the_bytes(bench, sdma, packets, source_offset, target_offset, size):
    source, destination = bench.block(16384), bench.block(16384)
    data, expected = noise(source, 1), noise(destination, 2)
    expected[target_offset : target_offset + size] = data[source_offset : source_offset + size]
    sdma.run(
        packets.copy_linear(source.address + source_offset, destination.address + target_offset, size - 1)
    )
    assert np.array_equal(destination.array, expected)
    assert np.array_equal(source.array, data)


def test_copy_crosses_mappings(bench, sdma, packets):
    first, second = bench.block(8192, gap=False), bench.block(8192)
    noise(first, 1), noise(second, 2)
    low, high = bench.block(4096, gap=False), bench.block(16384)
    sdma.run(packets.copy_linear(first.address + 100, low.address + 7, 12000 - 1))
    everything = np.concatenate([first.array, second.array])
    result = np.concatenate([low.array, high.array])
    assert np.array_equal(result[7 : 7 + 12000], everything[100 : 100 + 12000])
    assert not result[:7].any()
    assert not result[7 + 12000 :].any()


@pytest.mark.parametrize("distance", [1, 3, 64, 1000, 9000, -1, -64, -5000])
def test_overlapping_copy_goes_forward(bench, sdma, packets, distance):
    block = bench.block(65536)
    expected = noise(block)
    start, size = 16384, 20000
    for index in range(size):
        expected[start + distance + index] = expected[start + index]
    sdma.run(packets.copy_linear(block.address + start, block.address + start + distance, size - 1))
    assert np.array_equal(block.array, expected)


def test_broadcast_writes_both(bench, sdma, packets):
    source, one, two = bench.block(), bench.block(), bench.block()
    data = noise(source)
    sdma.run(packets.copy_broadcast(source.address, one.address, two.address, 4095))
    assert np.array_equal(one.array, data)
    assert np.array_equal(two.array, data)


@pytest.mark.parametrize("elementsize", [0, 2, 4])
def test_sub_window(bench, sdma, packets, elementsize):
    element = 1 << elementsize
    source, destination = bench.block(32 * 16 * 4 * element), bench.block(24 * 10 * 5 * element)
    noise(source)
    sdma.run(
        packets.copy_sub_window(
            source.address,
            31,
            destination.address,
            23,
            6,
            4,
            elementsize,
            src_x=3,
            src_y=2,
            src_z=1,
            src_slice_pitch=32 * 16 - 1,
            dst_x=5,
            dst_y=1,
            dst_z=2,
            dst_slice_pitch=24 * 10 - 1,
            rect_z=1,
        )
    )
    cube = source.array.reshape(4, 16, 32, element)
    expected = np.zeros((5, 10, 24, element), np.uint8)
    expected[2:4, 1:6, 5:12] = cube[1:3, 2:7, 3:10]
    assert np.array_equal(destination.array.reshape(expected.shape), expected)


def test_sub_window_wider_than_its_pitch(bench, sdma, packets):
    block = bench.block()
    sdma.submit(packets.copy_sub_window(block.address, 7, block.address, 7, 8, 0, 2))
    sdma.wait_stopped()
    assert "src pitch of 8 elements" in sdma.host.bad[0]


@pytest.mark.parametrize(("fillsize", "dtype"), [(0, np.uint8), (1, np.uint16), (2, np.uint32)])
def test_fill(bench, sdma, packets, fillsize, dtype):
    block = bench.block(16384)
    width = np.dtype(dtype).itemsize
    sdma.run(packets.constant_fill(block.address + 4, 0x89ABCDEF, 100 * width - 1, fillsize=fillsize))
    expected = np.zeros(16384, np.uint8)
    expected[4 : 4 + 100 * width].view(dtype)[:] = 0x89ABCDEF & (1 << 8 * width) - 1
    assert np.array_equal(block.array, expected)


def test_fill_counts_dwords_as_rocr_does(bench, sdma, packets):
    block = bench.block()
    sdma.run(packets.constant_fill(block.address, 7, (10 - 1) * 4))
    assert block.u32[:11].tolist() == [7] * 10 + [0]


def test_fill_of_unaligned_dwords_is_refused(bench, sdma, packets):
    block = bench.block()
    sdma.submit(packets.constant_fill(block.address + 2, 7, 3))
    sdma.wait_stopped()
    assert "is not a multiple of 4" in sdma.host.bad[0]


def test_write_and_nop(bench, sdma, packets):
    low, high = bench.block(4096, gap=False), bench.block()
    data = list(range(1000, 1100))
    sdma.run(packets.nop(5), packets.write_linear(low.address + 4096 - 40, data), packets.nop())
    assert [*low.u32[-10:], *high.u32[:91]] == [*data, 0]


def test_fence_trap_in_order(bench, sdma, packets):
    block = bench.block()
    seen = []
    sdma.host.on_interrupt = lambda event_id: seen.append(int(block.u32[3]))
    sdma.run(packets.fence(block.address + 12, 0xDEADBEEF), packets.trap(0x123))
    assert seen == [0xDEADBEEF]
    assert sdma.host.interrupts == [(0x123, "sdma")]


@pytest.mark.parametrize(
    ("func", "value", "passes"),
    [
        (0, 99, True),
        (1, 4, True), (1, 5, False),
        (2, 5, True), (2, 6, False),
        (3, 5, True), (3, 4, False),
        (4, 4, True), (4, 5, False),
        (5, 5, True), (5, 4, False),
        (6, 6, True), (6, 5, False),
    ],
)  # fmt: skip
def test_poll_functions_and_retries(bench, func, value, passes):
    sdma, packets = bench.queue("gfx942"), sdma_packets("4.4")
    block = bench.block()
    block.u32[0] = 0xFF00_0000 | value
    sdma.submit(
        packets.poll_mem(block.address, 5, mask=0xFFFF, func=func, retry_count=3),
        packets.fence(block.address + 4, 1),
    )
    if passes:
        sdma.wait_idle()
        assert block.u32[1] == 1
    else:
        sdma.wait_stopped()
        assert block.u32[1] == 0
        assert "after 3 retries" in sdma.host.bad[0]


def test_poll_waits_for_the_host(bench, sdma, packets):
    block = bench.block()
    sdma.submit(packets.poll_mem(block.address, 3), packets.fence(block.address + 4, 1))
    sdma.wait(lambda: f"polling {block.address:#x}" in sdma.queue.state())
    block.u32[0] = 3
    sdma.wait_idle()
    assert block.u32[1] == 1


def test_timestamps(bench, sdma, packets):
    block = bench.block()
    sdma.context.gpu.ticks = 5_000_000_000
    sdma.run(
        packets.timestamp_set(100),
        packets.timestamp_get(block.address),
        packets.timestamp_get_global(block.address + 8),
        packets.timestamp_get_global(block.address + 16),
    )
    assert block.u64[:3].tolist() == [101, 5_000_000_003, 5_000_000_004]


@pytest.mark.parametrize(("written", "expected"), [(7, [1, 1]), (8, [0, 1])])
def test_cond_exe(bench, sdma, packets, written, expected):
    block = bench.block()
    block.u32[0] = written
    guarded = packets.fence(block.address + 4, 1)
    sdma.run(packets.cond_exe(block.address, 7, len(guarded)), guarded, packets.fence(block.address + 8, 1))
    assert block.u32[1:3].tolist() == expected


def test_indirect_buffer(bench, sdma, packets):
    block, commands = bench.block(), bench.block()
    words = [*packets.fence(block.address, 1), *packets.fence(block.address + 4, 2), *packets.nop(3)]
    commands.u32[: len(words)] = words
    sdma.run(
        packets.nop(),
        packets.nop(),
        packets.indirect(commands.address, len(words)),
        packets.fence(block.address + 8, 3),
    )
    assert block.u32[:3].tolist() == [1, 2, 3]


def test_indirect_must_end_at_eight_dwords(bench, sdma, packets):
    commands = bench.block()
    sdma.submit(packets.indirect(commands.address, 8))
    sdma.wait_stopped()
    assert "not at a multiple of 8" in sdma.host.bad[0]


def test_indirect_buffer_that_ends_inside_a_packet(bench, sdma, packets):
    commands = bench.block()
    commands.u32[:3] = packets.fence(0x1000, 1)[:3]
    sdma.submit(packets.nop(1), packets.indirect(commands.address, 3))
    sdma.wait_stopped()
    assert f"indirect buffer at {commands.address:#x} ends inside a packet" in sdma.host.bad[0]


@pytest.mark.parametrize("target", ["gfx1030", "gfx1100", "gfx1200"], indirect=True)
def test_gcr_request_writes_the_l2_back(bench, sdma, packets):
    block, copy = bench.block(), bench.block()
    shaders = shader_memory(bench.memory)
    with shaders.running():
        shaders.write_u32(block.address, 5)
    sdma.run(packets.copy_linear(block.address, copy.address, 3))
    assert copy.u32[0] == 0
    sdma.run(packets.gcr_req(gcr_control=0xC3F0), packets.copy_linear(block.address, copy.address, 3))
    assert copy.u32[0] == 5


def test_unknown_packet_is_shown(bench, sdma, packets):
    sdma.submit(packets.nop(), (0xAB, 1, 2))
    sdma.wait_stopped()
    assert "ring offset 0x4" in sdma.host.bad[0]
    assert "000000ab 00000001 00000002" in sdma.host.bad[0]
    assert "halted" in sdma.queue.state()


def test_copy_count_above_the_limit(bench):
    sdma, packets = bench.queue("gfx942"), sdma_packets("4.4")
    words = list(packets.copy_linear(0x1000, 0x2000, 0))
    words[1] = 0x40_0000
    sdma.submit(words)
    sdma.wait_stopped()
    assert "0x400000 of dword 1" in sdma.host.bad[0]


def test_copy_of_version_7_in_seven_dwords(bench):
    """With `cpv` set the packet has a dword of compression control, which here is the next packet."""
    sdma, packets = bench.queue("gfx1200"), sdma_packets("7.0")
    block = bench.block()
    words = packets.copy_linear_dcc(block.address, block.address + 64, 15)
    assert len(words) == 8
    sdma.submit(words[:7], packets.fence(block.address + 128, 1))
    sdma.wait_stopped()
    assert sdma.host.bad
    assert block.u32[32] == 0


def test_modes_that_are_not_emulated(bench):
    sdma, packets = bench.queue("gfx1100"), sdma_packets("6.0")
    sdma.submit(packets.copy_linear(0x1000, 0x2000, 0, backwards=1))
    sdma.wait_stopped()
    assert "backwards = 1 is not emulated" in sdma.host.bad[0]


def test_fault_at_the_first_bad_byte_keeps_what_was_copied(bench, sdma, packets):
    source, destination = bench.block(16384), bench.block(8192)
    data = noise(source)
    sdma.submit(packets.copy_linear(source.address, destination.address + 10, 16383), packets.trap(1))
    sdma.wait_stopped()
    (fault,) = sdma.host.faults
    assert (fault.address, fault.access, fault.reason) == (
        destination.address + 8192,
        Access.WRITE,
        Reason.NOT_PRESENT,
    )
    assert np.array_equal(destination.array[10:], data[: 8192 - 10])
    assert not sdma.host.interrupts


def test_fault_of_the_source_and_of_rights(bench, target, packets):
    source, protected = bench.block(), bench.block(writable=False)
    reading = bench.queue(target)
    reading.submit(packets.copy_linear(source.address + 4000, source.address, 199))
    reading.wait_stopped()
    assert (reading.host.faults[0].address, reading.host.faults[0].access) == (
        source.address + 4096,
        Access.READ,
    )
    writing = bench.queue(target)
    writing.submit(packets.constant_fill(protected.address + 8, 1, 3))
    bench.until(lambda: len(bench.host.faults) == 2)
    assert (bench.host.faults[1].address, bench.host.faults[1].reason) == (
        protected.address + 8,
        Reason.READ_ONLY,
    )


@pytest.mark.parametrize(
    ("before", "write_one", "after"),
    [(0, 0, 1), (0xFFFF_FFFF, 0, 1 << 32), ((1 << 64) - 1, 0, 0), (0, 1, 1), (1 << 40, 1, 1)],
)
def test_a_semaphore_that_is_signalled(bench, sdma, packets, before, write_one, after):
    block = bench.block()
    block.array.view(np.uint64)[1:3] = before, 7
    sdma.run(packets.semaphore(block.address + 8, signal=1, write_one=write_one))
    assert block.array.view(np.uint64)[:3].tolist() == [0, after, 7]


@pytest.mark.parametrize(
    ("fields", "offset", "reason"),
    [
        ({}, 0, "no public source says what a wait does to the semaphore"),
        ({"signal": 1, "mailbox": 1}, 0, "mailbox = 1 is not emulated"),
        ({"signal": 1}, 4, "is not a multiple of 8"),
    ],
)
def test_what_is_refused_of_semaphores(bench, sdma, packets, fields, offset, reason):
    block = bench.block()
    words = [*packets.semaphore(block.address, **fields)]
    words[1] |= offset
    sdma.submit(words)
    sdma.wait_stopped()
    assert reason in sdma.host.bad[0]
    assert not block.array.any()
