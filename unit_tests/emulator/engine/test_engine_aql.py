"""AQL packets on the emulated packet processor; packets and descriptors are packed by hand here."""

from __future__ import annotations

import struct

import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.emulator.engine.caches import release_scope
from pytest_amdgpu.families.registry import family
from pytest_amdgpu.packets.pm4 import pm4_packets

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
BARRIER = 1 << 8
PREFERRED = 0x80  # offset of the read pointer in amd_queue_t


def words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data)


def dispatch(
    kernel,
    *,
    grid=(256, 1, 1),
    block=(64, 1, 1),
    dims=None,
    private=0,
    group=0,
    kernarg=0,
    signal=0,
    header=0,
):
    dims = dims if dims is not None else 3
    return words(
        struct.pack("<6H5I4Q", 2 | header, dims, *block, 0, *grid, private, group, kernel, kernarg, 0, signal)
    )


def barrier(kind, *signals, completion=0, header=0):
    padded = [*signals, *[0] * (5 - len(signals))]
    return words(struct.pack("<HHI5QQQ", kind | header, 0, 0, *padded, 0, completion))


def vendor(address, dwords, *, completion=0, kind=1, left=10, header=0):
    jump = 0xC0023F00, address & 0xFFFFFFFF, address >> 32, dwords | 1 << 23
    return words(struct.pack("<HH5I8IQ", header, kind, *jump, left, *[0] * 8, completion))


class Signal:
    """amd_signal_t in memory of the bench."""

    def __init__(self, bench, value):
        self.block = bench.block()
        self.handle = self.block.address
        self.block.u64[0] = 1
        self.block.u64[1] = value

    @property
    def value(self):
        return int(self.block.u64[1].astype("int64"))


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


@pytest.fixture
def aql(bench, target):
    driver = bench.queue(target, QueueType.COMPUTE_AQL, ring_size=4096)
    driver.ring.u32[::16] = 1  # every header INVALID
    # The read pointer lies 0x80 into the descriptor: put a descriptor around it.
    driver.pointers.array.view("u4")[(512 + 8) // 4] = PREFERRED
    return driver


@pytest.fixture
def descriptor(aql):
    """amd_queue_t of the queue, as bytes."""
    start = 512 - PREFERRED
    return aql.pointers.array[start : start + 256], aql.pointers.address + start


@pytest.fixture
def kernel(bench, target):
    """Write a kernel descriptor; returns its address. The entry is 256-byte aligned behind it."""
    block = bench.block()

    def build(
        *,
        properties=0x8,
        rsrc1=0xC0041,
        rsrc2=2 << 1 | 1 << 7,
        rsrc3=3,
        group=0,
        private=0,
        preload=0,
        entry=256,
    ):
        data = struct.pack(
            "<III4xq20xIIIHH4x",
            group,
            private,
            0,
            entry,
            rsrc3,
            rsrc1,
            rsrc2,
            properties | wave(target),
            preload,
        )
        block.array[:64] = bytearray(data)
        return block.address

    return build


def wave(target):
    return 0x400 if family(target).wave_sizes[0] == 32 else 0


def stop_with(aql, *submitted):
    aql.submit(*submitted)
    aql.wait_stopped()
    return aql.host.bad[0]


def test_dispatch_state(bench, target, aql, kernel, fake_shaders):
    row = family(target)
    handle = kernel(group=1000)
    aql.run(dispatch(handle, grid=(130, 3, 2), block=(64, 2, 1), group=1000, kernarg=0x1234_5678_9AB0))
    (state,) = fake_shaders.states
    assert state.family is row
    assert state.entry == handle + 256
    assert (state.rsrc1, state.rsrc3) == (0xC0041, 3)
    units = -(-1000 // row.lds_granule)
    assert state.rsrc2 == 2 << 1 | 1 << 7 | units << 15
    assert state.lds_bytes == units * row.lds_granule
    assert (state.workgroups, state.grid, state.block) == ((3, 2, 2), (130, 3, 2), (64, 2, 1))
    assert state.user_data == (0x5678_9AB0, 0x1234, *[0] * 14)
    assert state.wave_size == row.wave_sizes[0]
    assert (state.scratch_base, state.scratch_wave_bytes) == (0, 0)


def test_slot_is_given_back_and_rptr_counts_packets(aql, kernel, fake_shaders):
    handle = kernel()
    for _ in range(70):
        aql.run(dispatch(handle), dispatch(handle, header=BARRIER))
    assert aql.rptr == 140
    assert set(aql.ring.u32[::16] & 0xFF) == {1}
    assert len(fake_shaders.started) == 140


def test_user_sgprs_in_hardware_order(bench, target, aql, kernel, descriptor, fake_shaders):
    data, queue_address = descriptor
    data[0x90:0xB0].view("u4")[:] = [0xD0, 0xD1, 0xD2, 0xD3, 0x1000, 0x2, 0, 0]
    architected = family(target).architected_flat_scratch
    properties = 0b1011111 if architected else 0b1111111
    count = 4 + 2 + 2 + 2 + 2 + 1 + (0 if architected else 2)
    arguments = bench.block()
    aql.run(dispatch(kernel(), header=BARRIER))
    handle = kernel(properties=properties, rsrc2=count << 1)
    aql.run(dispatch(handle, kernarg=arguments.address))
    packet = aql.ring.address + 64
    # The index stride of 32 lanes is filled in where the descriptor's word is for waves of any size.
    expected = [0xD0, 0xD1, 0xD2, 0xD3 | (2 << 21 if wave(target) else 0)]
    for value in (packet, queue_address, arguments.address, 1):
        expected += [value & 0xFFFFFFFF, value >> 32]
    if not architected:
        expected += [0x1000, 0x2]
    expected.append(0)
    assert list(fake_shaders.states[1].user_data[:count]) == expected


@pytest.mark.parametrize("target", ["gfx1030"], indirect=True)
def test_index_stride_of_scratch_is_that_of_the_waves(target, aql, kernel, descriptor, fake_shaders, bench):
    descriptor[0][0x9C:0xA0].view("u4")[0] = 0x21814FAC
    for wave32 in (0, 1 << 10):
        handle = kernel(properties=1 << 0, rsrc2=4 << 1)
        bench.memory.write(handle + 56, struct.pack("<H", 1 << 0 | wave32))
        aql.run(dispatch(handle))
    assert [state.user_data[3] for state in fake_shaders.states] == [0x21E14FAC, 0x21C14FAC]


def test_kernarg_preload(bench, aql, kernel, fake_shaders):
    arguments = bench.block()
    arguments.u32[:8] = range(100, 108)
    handle = kernel(rsrc2=5 << 1, preload=3 | 2 << 7)
    aql.run(dispatch(handle, kernarg=arguments.address))
    (state,) = fake_shaders.states
    assert state.user_data[2:5] == (102, 103, 104)
    assert state.entry == handle + 512


def test_scratch_from_the_queue_descriptor(target, aql, kernel, descriptor, fake_shaders):
    data, _ = descriptor
    granule = family(target).scratch.wave_granule
    data[0x8C:0x90].view("u4")[0] = 32 | 8 << 12
    data[0xA0:0xA8].view("u8")[0] = 0x7_0000_0000
    aql.run(dispatch(kernel(rsrc2=2 << 1 | 1), private=8 * granule // 64))
    (state,) = fake_shaders.states
    assert (state.scratch_base, state.scratch_wave_bytes) == (0x7_0000_0000, 8 * granule)


def test_scratch_that_the_queue_does_not_have(aql, kernel, fake_shaders):
    assert "provides 0 per wave" in stop_with(aql, dispatch(kernel(rsrc2=2 << 1 | 1), private=16))


def test_queue_without_descriptor_offset(aql, kernel, fake_shaders):
    aql.pointers.array.view("u4")[(512 + 8) // 4] = 0
    assert "read_dispatch_id_field_base_byte_offset" in stop_with(aql, dispatch(kernel(properties=4)))


@pytest.mark.parametrize(
    ("packet", "code", "message"),
    [
        ({"dims": 0}, 16, "0 dimensions (KFD exception 16"),
        ({"dims": 7}, 19, "bits 0x40000 of dword 0 are reserved (KFD exception 19"),
        ({"grid": (0, 1, 1)}, 16, "(0, 1, 1) is empty (KFD exception 16"),
        ({"dims": 1, "grid": (64, 2, 1)}, 16, "of a dispatch of 1 dimensions"),
        ({"block": (0, 1, 1)}, 21, "(KFD exception 21"),
        ({"block": (64, 17, 1)}, 21, "exceeds 1024 work-items (KFD exception 21"),
        ({"group": 1 << 20}, 17, "of LDS, a workgroup has at most"),
        ({"signal": 8}, 20, "signal 0x8 is not a multiple of 64"),
    ],
)
def test_refused_dispatches(aql, kernel, fake_shaders, packet, code, message):
    assert message in stop_with(aql, dispatch(kernel(), **packet))
    assert aql.host.codes == [code]
    assert not fake_shaders.started


@pytest.mark.parametrize(
    ("descriptor_change", "message"),
    [
        ({"entry": 128}, "is not a multiple of 256 (KFD exception 18"),
        ({"properties": 0x18, "rsrc2": 2 << 1}, "wants 4 user SGPRs but has 2"),
    ],
)
def test_refused_kernels(aql, kernel, fake_shaders, descriptor_change, message):
    assert message in stop_with(aql, dispatch(kernel(**descriptor_change)))
    assert aql.host.codes == [18]


def test_kernel_object_that_is_none(aql, fake_shaders):
    assert "kernel object 0x0 is no address" in stop_with(aql, dispatch(0))


def test_kernel_object_outside_memory_faults(aql, fake_shaders):
    aql.submit(dispatch(0x7000_0000))
    aql.wait_stopped()
    assert aql.host.faults[0].address == 0x7000_0000


def test_too_little_for_the_kernel_is_misuse(aql, kernel, fake_shaders):
    aql.run(dispatch(kernel(group=64, private=8), kernarg=0x1004))
    assert len(aql.host.misuses) == 3
    aql.host.misuses.clear()


def test_completion_signal_event_and_time_stamps(bench, aql, kernel, descriptor, fake_shaders):
    signal, mailbox = Signal(bench, 3), bench.block()
    signal.block.u64[2] = mailbox.address + 8
    signal.block.u32[6] = 21
    descriptor[0][0xB4] = 1 << 3
    seen = []
    aql.host.on_interrupt = lambda event_id: seen.append((signal.value, int(mailbox.u64[1])))
    aql.run(dispatch(kernel(), signal=signal.handle))
    assert seen == [(2, 21)]
    assert aql.host.interrupts == [(21, "eop")]
    start, end = signal.block.u64[4:6].tolist()
    assert 1000 < start < end


def test_completion_signal_with_a_mailbox_that_is_no_address_of_64_bits(bench, aql):
    signal = Signal(bench, 1)
    signal.block.u64[2] = 0x1001
    assert "its event mailbox 0x1001 is not a multiple of 8" in stop_with(
        aql, barrier(3, completion=signal.handle)
    )


def test_completion_without_event(bench, aql, kernel, fake_shaders):
    signal = Signal(bench, 0)
    aql.run(dispatch(kernel(), signal=signal.handle))
    assert signal.value == -1
    assert not aql.host.interrupts
    assert not signal.block.u64[4:6].any()


def test_packet_that_is_announced_but_not_published(bench, aql, kernel, fake_shaders):
    signal = Signal(bench, 1)
    packet = dispatch(kernel(), signal=signal.handle)
    hidden = (packet[0] & ~0xFF | 1, *packet[1:])
    aql.submit(hidden)
    aql.wait(lambda: "header is still INVALID" in aql.queue.state())
    assert not fake_shaders.started
    aql.ring.u32[0] = packet[0]
    aql.wait_idle()
    assert signal.value == 0


def test_doorbells_of_several_producers_in_any_order(bench, aql, kernel, fake_shaders):
    handle = kernel()
    aql.place(dispatch(handle), dispatch(handle), dispatch(handle))
    for index in (2, 0, 1):
        aql.queue.ring_doorbell(index)
    aql.wait_idle()
    assert len(fake_shaders.started) == 3


def test_barrier_bit_orders_dispatches(aql, kernel, monkeypatch):
    running, overlapped, started = set(), [], []

    def start(state):
        started.append(FakeOverlap(len(started), running, overlapped))
        return started[-1]

    monkeypatch.setattr("pytest_amdgpu.emulator.engine.shaders._start", start)
    handle = kernel()
    ordered = dispatch(handle, header=BARRIER)
    aql.run(dispatch(handle), dispatch(handle), ordered, ordered)
    assert set(overlapped) == {(0, 1)}


class FakeOverlap:
    """Runs five slices and notes which other dispatches run beside it."""

    stalled = False

    def suspend(self):
        pass

    def __init__(self, number, running, overlapped):
        self.number, self.running, self.overlapped = number, running, overlapped
        self.slices = 0

    def run(self, budget):
        self.running.add(self.number)
        if len(self.running) > 1:
            self.overlapped.append(tuple(sorted(self.running)))
        self.slices += 1
        if self.slices < 5:
            return False
        self.running.remove(self.number)
        return True


@pytest.mark.parametrize("kind", [3, 5])
def test_barrier_packets_wait_for_signals(bench, aql, kind, kernel, fake_shaders):
    first, second, done = Signal(bench, 1), Signal(bench, 1), Signal(bench, 1)
    aql.submit(barrier(kind, first.handle, second.handle, completion=done.handle), dispatch(kernel()))
    aql.wait(lambda: "waiting for signals" in aql.queue.state())
    second.block.u64[1] = 0
    if kind == 3:
        aql.wait(lambda: "BARRIER_AND waiting" in aql.queue.state())
        assert done.value == 1
        assert not fake_shaders.started
        first.block.u64[1] = 0
    aql.wait_idle()
    assert done.value == 0
    assert len(fake_shaders.started) == 1


@pytest.mark.parametrize("kind", [3, 5])
def test_barrier_packet_without_signals_passes(bench, aql, kind):
    done = Signal(bench, 1)
    aql.run(barrier(kind, completion=done.handle))
    assert done.value == 0


def test_dispatch_satisfies_a_later_barrier(bench, aql, kernel, fake_shaders):
    one, done = Signal(bench, 1), Signal(bench, 1)
    aql.run(dispatch(kernel(), signal=one.handle), barrier(3, one.handle, completion=done.handle))
    assert (one.value, done.value) == (0, 0)


def test_vendor_packet_runs_pm4(bench, target, aql):
    packets = pm4_packets(family(target).pm4)
    block, commands, done = bench.block(), bench.block(), Signal(bench, 1)
    stream = [*packets.write_data(block.address, [7]), *packets.release(block.address + 8, 9)]
    commands.u32[: len(stream)] = stream
    aql.run(vendor(commands.address, len(stream), completion=done.handle))
    assert block.u32[0] == 7
    assert int(block.u64[1]) == 9
    assert done.value == 0


def test_pm4_atomics_happen_once_on_every_xcc_that_executes_them(bench, fake_shaders):
    aql = bench.queue("gfx942", QueueType.COMPUTE_AQL, ring_size=4096, num_xcc=8)
    packets = pm4_packets("gfx940")
    block, commands = bench.block(), bench.block()
    add = packets.atomic_mem(block.address, 0x0F, 1)
    event = packets.release_event(block.address + 64, 5)
    stream = [
        *add,
        *packets.pred_exec(len(add), 0b101),
        *add,
        *packets.pred_exec(len(add), 0),
        *add,
        *packets.pred_exec(len(event), 1),
        *event,
    ]
    commands.u32[: len(stream)] = stream
    aql.run(vendor(commands.address, len(stream)))
    assert block.u32[0] == 8 + 2
    assert aql.host.interrupts == [(5, "eop")]


def test_pred_exec_must_cover_whole_packets(bench, fake_shaders):
    aql = bench.queue("gfx942", QueueType.COMPUTE_AQL, ring_size=4096, num_xcc=8)
    packets, commands = pm4_packets("gfx940"), bench.block()
    stream = [*packets.pred_exec(3, 1), *packets.write_data(commands.address, [1])]
    commands.u32[: len(stream)] = stream
    assert "PRED_EXEC ends 3 dwords into WRITE_DATA" in stop_with(aql, vendor(commands.address, len(stream)))


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (
            vendor(0x1000, 4, kind=9),
            "AQL vendor packet of format 9, only 1 (PM4 IB) is known (KFD exception 23",
        ),
        (vendor(0x1000, 4, left=3), "dword 5 is 0x00000003"),
        (words(bytes([4, 0]) + bytes(62)), "does not execute AGENT_DISPATCH (KFD exception 20"),
        (words(bytes([77, 0]) + bytes(62)), "AQL has no packet of type 77"),
        (barrier(3, header=3 << 9), "reserved fence scope"),
        (words(bytes(64)), "format 0"),
    ],
)
def test_refused_packets(aql, packet, message):
    text = stop_with(aql, barrier(3), packet)
    assert message in text
    assert "ring offset 0x40, packet 0x1" in text


@pytest.mark.parametrize(
    ("target", "acquire", "release", "expected"),
    # The kernel adds 1 to what it sees of 10, which was 0 when a kernel looked before.
    [
        ("gfx1100", 0, 0, 10),
        ("gfx1100", 0, 2, 1),
        ("gfx1100", 2, 0, 10),
        ("gfx1100", 2, 2, 11),
        ("gfx1100", 1, 2, 11),
        ("gfx1100", 2, 1, 10),
        ("gfx942", 1, 1, 10),
    ],
    indirect=["target"],
)
def test_fence_scopes(bench, aql, kernel, fake_shaders, acquire, release, expected):
    block, handle = bench.block(), kernel()
    fake_shaders.work = lambda state: state.memory.read_u32(block.address)
    aql.run(dispatch(handle))
    block.u32[0] = 10

    def work(state):
        state.memory.write_u32(block.address, state.memory.read_u32(block.address) + 1)

    fake_shaders.work = work
    aql.run(dispatch(handle, header=acquire << 9 | release << 11))
    assert block.u32[0] == expected


def test_barrier_packet_acquires_behind_its_wait(bench, aql, kernel, fake_shaders):
    gate, block, seen = Signal(bench, 1), bench.block(), []
    fake_shaders.work = lambda state: seen.append(state.memory.read_u32(block.address))
    aql.run(dispatch(kernel()))
    aql.submit(barrier(3, gate.handle, header=2 << 9), dispatch(kernel(), header=BARRIER))
    aql.wait(lambda: "waiting for signals" in aql.queue.state())
    block.u32[0] = 5
    gate.block.u64[1] = 0
    aql.wait_idle()
    assert seen == [0, 5]


def test_agent_scope_writes_back_where_each_xcc_has_its_l2():
    assert release_scope(1, 8) == (True, False)
    assert release_scope(1, 1) == (False, False)


def test_fault_in_a_kernel_stops_the_queue(bench, aql, kernel, fake_shaders):
    def work(state):
        state.memory.read_u32(0x9000_0000)

    fake_shaders.work = work
    signal = Signal(bench, 1)
    aql.submit(dispatch(kernel(), signal=signal.handle))
    aql.wait_stopped()
    assert aql.host.faults[0].address == 0x9000_0000
    assert f"while running kernel {kernel():#x} grid (256, 1, 1)" in aql.host.lines[0]
    assert signal.value == 1


def test_long_kernel_is_evicted_and_goes_on(bench, aql, kernel, fake_shaders):
    fake_shaders.slices = 1 << 60
    signal = Signal(bench, 1)
    aql.submit(dispatch(kernel(), signal=signal.handle))
    aql.wait(lambda: fake_shaders.started and fake_shaders.started[0].budgets)
    aql.queue.evict()
    assert signal.value == 1
    fake_shaders.started[0].slices = 0
    aql.queue.restore()
    aql.wait_idle()
    assert signal.value == 0
