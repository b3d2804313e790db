"""The life of a queue: doorbells, wrap, eviction, waiting without using CPU, stopping."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.packets.sdma import sdma_packets

PACKETS = sdma_packets("4.4")


@pytest.fixture
def sdma(bench):
    return bench.queue("gfx942", ring_size=4096)


def test_ring_wraps_and_pointers_do_not(bench, sdma):
    block = bench.block()
    for turn in range(700):
        sdma.run(PACKETS.fence(block.address, turn), PACKETS.nop(2))
        assert block.u32[0] == turn
    assert sdma.rptr == 700 * 28


def test_full_ring(bench, sdma):
    block = bench.block()
    fences = [PACKETS.fence(block.address + 4 * index, index + 1) for index in range(256)]
    for _ in range(3):
        block.array[:] = 0
        sdma.run(*fences)
        assert block.u32[:256].tolist() == list(range(1, 257))


def test_write_packet_larger_than_one_fetch(bench):
    sdma = bench.queue("gfx942", ring_size=65536)
    block = bench.block(65536)
    data = np.random.default_rng(1).integers(0, 1 << 32, 9000, np.uint32).tolist()
    sdma.run(PACKETS.write_linear(block.address, data))
    sdma.run(PACKETS.write_linear(block.address, data[::-1]))
    assert block.u32[:9000].tolist() == data[::-1]


def test_packet_published_in_two_parts(bench, sdma):
    block = bench.block()
    fence = PACKETS.fence(block.address, 5)
    sdma.submit(fence[:2])
    sdma.wait(lambda: "waiting for the rest of a packet" in sdma.queue.state())
    sdma.run(fence[2:])
    assert block.u32[0] == 5


@pytest.mark.parametrize(
    ("doorbell", "message"),
    [
        (4096 + 4, "is 0x1004 ahead of read pointer 0x0, but the ring holds 0x1000"),
        (6, "in the middle of a dword"),
    ],
)
def test_impossible_doorbells(bench, sdma, doorbell, message):
    sdma.pointers.u64[0] = 8192
    sdma.queue.ring_doorbell(doorbell)
    sdma.wait_stopped()
    assert message in sdma.host.bad[0]


def test_doorbell_that_goes_back(bench, sdma):
    sdma.run(PACKETS.nop(3))
    sdma.queue.ring_doorbell(8)
    sdma.wait_stopped()
    assert "went back from 0x10 to 0x8" in sdma.host.bad[0]


def test_doorbell_before_the_write_pointer_is_misuse(bench, sdma):
    block = bench.block()
    words = PACKETS.fence(block.address, 1)
    sdma.ring.u32[:4] = words
    sdma.queue.ring_doorbell(16)
    sdma.wait(lambda: block.u32[0] == 1)
    assert "before it was stored to memory" in sdma.host.misuses.pop()


@pytest.mark.parametrize(
    ("kind", "written", "value", "unit"),
    [(QueueType.SDMA, 64, 16, "bytes"), (QueueType.COMPUTE, 16, 64, "dwords")],
)
def test_doorbell_in_the_unit_of_the_other_engine_is_misuse(bench, kind, written, value, unit):
    driver = bench.queue("gfx1100", kind)
    driver.pointers.u64[0] = written
    driver.queue.ring_doorbell(value)
    assert f"in a wrong unit: the write pointer is {written:#x} {unit}" in driver.host.misuses[0]
    driver.queue.stop()
    driver.host.misuses.clear()


def test_eviction_between_packets_and_doorbell_meanwhile(bench, sdma):
    block = bench.block()
    sdma.run(PACKETS.fence(block.address, 1))
    sdma.queue.evict()
    sdma.queue.evict()
    sdma.submit(PACKETS.fence(block.address, 2))
    assert "evicted" in sdma.queue.state()
    assert block.u32[0] == 1
    sdma.queue.restore()
    sdma.wait_idle()
    assert block.u32[0] == 2


def test_restore_reads_the_write_pointer_from_memory(bench, sdma):
    block = bench.block()
    sdma.queue.evict()
    sdma.place(PACKETS.fence(block.address, 2))
    sdma.queue.restore()
    sdma.wait_idle()
    assert block.u32[0] == 2


def test_eviction_while_polling(bench, sdma):
    block = bench.block()
    sdma.submit(PACKETS.poll_mem(block.address, 1), PACKETS.fence(block.address + 4, 1))
    sdma.wait(lambda: "polling" in sdma.queue.state())
    sdma.queue.evict()
    assert "evicted while polling" in sdma.queue.state()
    mapping = bench.memory.find(block.address)
    bench.memory.unmap(mapping)
    bench.memory.map(block.address, mapping.bo)
    block.u32[0] = 1
    assert block.u32[1] == 0
    sdma.queue.restore()
    sdma.wait_idle()
    assert block.u32[1] == 1


def test_eviction_in_the_middle_of_a_copy(bench):
    sdma = bench.queue("gfx942")
    source, target = bench.block(64 << 20), bench.block(64 << 20)
    source.array[:] = 7
    size = 4 << 20
    packets = [
        PACKETS.copy_linear(source.address + at, target.address + at, size - 1)
        for at in range(0, 64 << 20, size)
    ]
    sdma.submit(*packets)
    for _ in range(5):
        sdma.queue.evict()
        done = int(target.array[:: 1 << 20].sum())
        assert int(target.array[:: 1 << 20].sum()) == done
        sdma.queue.restore()
    sdma.wait_idle()
    assert target.array.min() == 7


def test_inactive_queue_runs_after_update_on_its_new_ring(bench):
    sdma = bench.queue("gfx942", ring_size=4096, active=False)
    block, ring = bench.block(), bench.block(8192)
    sdma.submit(PACKETS.fence(block.address, 1))
    assert "inactive" in sdma.queue.state()
    ring.u32[:4] = PACKETS.fence(block.address, 2)
    sdma.queue.update(ring.address, 8192, active=True)
    sdma.wait_idle()
    assert block.u32[0] == 2
    sdma.queue.update(ring.address, 8192, active=False)
    assert "inactive" in sdma.queue.state()


@pytest.mark.parametrize("state", ["idle", "polling", "evicted", "halted"])
def test_stop_from_every_state(bench, sdma, state):
    block = bench.block()
    if state == "polling":
        sdma.submit(PACKETS.poll_mem(block.address, 1))
        sdma.wait(lambda: "polling" in sdma.queue.state())
    elif state == "evicted":
        sdma.queue.evict()
    elif state == "halted":
        sdma.submit((0xFF,))
        sdma.wait_stopped()
        sdma.queue.evict()
        sdma.queue.restore()
        sdma.queue.ring_doorbell(64)
    sdma.queue.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("SDMA")]
    sdma.queue.stop()


def test_two_queues_wait_for_each_other(bench):
    one, two = bench.queue("gfx942"), bench.queue("gfx1100")
    block, packets = bench.block(), sdma_packets("6.0")
    for turn in range(1, 40, 2):
        one.place(PACKETS.fence(block.address, turn), PACKETS.poll_mem(block.address, turn + 1))
        two.place(packets.poll_mem(block.address, turn), packets.fence(block.address, turn + 1))
    two.queue.ring_doorbell(two.put)
    one.queue.ring_doorbell(one.put)
    one.wait_idle()
    two.wait_idle()
    assert block.u32[0] == 40


def test_fault_in_one_queue_evicts_another_from_its_thread(bench):
    faulty, other = bench.queue("gfx942"), bench.queue("gfx942")
    evicted = threading.Event()

    def fault(_):
        for driver in (faulty, other):
            driver.queue.evict()
        evicted.set()

    bench.host.vm_fault = fault
    block = bench.block()
    other.submit(PACKETS.poll_mem(block.address, 1))
    faulty.submit(PACKETS.fence(0x1000, 1))
    assert evicted.wait(20)
    bench.until(lambda: "evicted" in other.queue.state())
    assert "halted" in faulty.queue.state()


def test_idle_queue_uses_no_cpu(bench, sdma):
    sdma.run(PACKETS.nop())
    switches = context_switches(sdma)
    threading.Event().wait(0.05)
    assert context_switches(sdma) == switches


def context_switches(driver) -> int:
    """How often the queue's thread has been put on a CPU: an idle one is not even woken."""
    assert isinstance(driver.queue, QueueThread)
    thread = driver.queue._thread
    text = (Path("/proc/self/task") / str(thread.native_id) / "status").read_text()
    fields = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    return int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])


def test_bug_of_the_emulator_is_reported_and_raised(bench, sdma, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_value))
    sdma.host.on_interrupt = lambda event_id: 1 // 0
    sdma.submit(PACKETS.trap(1))
    sdma.wait_stopped()
    sdma.queue.stop()
    assert "the emulator failed: ZeroDivisionError" in sdma.host.bad[0]
    assert isinstance(seen[0], ZeroDivisionError)


@pytest.mark.parametrize("kind", [QueueType.SDMA_XGMI, QueueType.SDMA_BY_ENG_ID])
def test_all_kinds_of_sdma_queue(bench, kind):
    sdma, block = bench.queue("gfx942", kind), bench.block()
    sdma.run(PACKETS.fence(block.address, 1))
    assert block.u32[0] == 1


def test_evictions_at_any_time_change_nothing(bench):
    """Two queues hand a buffer to and fro and add to it, while a third thread evicts them at random."""
    queues = [bench.queue("gfx942"), bench.queue("gfx1100")]
    packets = [sdma_packets("4.4"), sdma_packets("6.0")]
    turn, counter, here, there = bench.block(), bench.block(), bench.block(1 << 20), bench.block(1 << 20)
    here.array[:] = np.random.default_rng(5).integers(0, 256, 1 << 20, np.uint8)
    expected = here.array.copy()
    rounds = 60
    for number in range(rounds):
        side = number % 2
        source, target = (here, there) if side == 0 else (there, here)
        queues[side].place(
            packets[side].poll_mem(turn.address, number, func=3),
            packets[side].copy_linear(source.address, target.address, (1 << 20) - 1),
            packets[side].constant_fill(source.address, 0, (1 << 20) - 1),
            packets[side].atomic(counter.address, 0x2F, number),
            packets[side].fence(turn.address, number + 1),
        )
    finished = threading.Event()
    rng = np.random.default_rng(6)

    def disturb():
        while not finished.is_set():
            queue = queues[int(rng.integers(2))].queue
            queue.evict()
            finished.wait(float(rng.random()) * 1e-3)
            queue.restore()
            finished.wait(float(rng.random()) * 1e-3)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for driver in queues:
            driver.queue.ring_doorbell(driver.put)
        bench.until(lambda: turn.u32[0] == rounds)
    finally:
        finished.set()
        thread.join(20)
    for driver in queues:
        driver.queue.restore()
        driver.wait_idle()
    assert np.array_equal(here.array, expected)
    assert not there.array.any()
    assert int(counter.u64[0]) == rounds * (rounds - 1) // 2
