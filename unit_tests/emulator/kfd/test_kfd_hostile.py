"""Hostile timing: what is done to a client, that it is allowed, and that it follows from the seed."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Callable

import pytest
from kfd_client import Client, StubEngine

from pytest_amdgpu.abi.kfd import EventData, EventType, KfdIoctl, WaitResult
from pytest_amdgpu.emulator.hostile import Hostility
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.kfd.reports import QueueReports
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import KernelError

TOPOLOGY = "/sys/devices/virtual/kfd/kfd/topology"
PATIENCE = 60.0


@pytest.fixture
def hostile(make_client: Callable[..., Client], engines: list[StubEngine]) -> Client:
    """A client of one RX 7900 XTX with hostile timing whose queues have stub engines."""
    return make_client(hostile=1)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0)


def wait(client: Client, event: int, timeout_ms: int) -> int:
    data = EventData(event_id=event)
    args = client.call(
        KfdIoctl.WAIT_EVENTS, events_ptr=ctypes.addressof(data), num_events=1, timeout=timeout_ms
    )
    return int(args.wait_result)


def decisions(seed: int) -> list[object]:
    hostility = Hostility(seed)
    return [
        hostility.gpu_ids(4),
        hostility.node_numbers(4),
        [hostility.interrupts_wait() for _ in range(40)],
        [hostility.look_at_generation() for _ in range(40)],
        hostility.shuffled("abcdefgh"),
    ]


def test_decisions_follow_from_the_seed() -> None:
    assert decisions(7) == decisions(7)
    assert all(one != other for one, other in zip(decisions(7), decisions(8), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_nodes_and_gpus_have_any_numbers_but_different_ones(seed: int) -> None:
    kernel = EmulatedKernel([model("rx7900xtx")] * 8, hostile=seed)
    ids = [gpu.gpu_id for gpu in kernel.gpus]
    assert len(set(ids)) == 8
    assert all(0 < gpu_id < 1 << 16 for gpu_id in ids)
    shown = {
        name: int(kernel.read_text(f"{TOPOLOGY}/nodes/{name}/gpu_id"))
        for name in sorted(kernel.listdir(f"{TOPOLOGY}/nodes"), key=int)
    }
    assert shown["0"] == 0
    assert [gpu_id for gpu_id in shown.values() if gpu_id] == ids
    for name in shown:
        for kind in ("io_links", "p2p_links"):
            for link in kernel.listdir(f"{TOPOLOGY}/nodes/{name}/{kind}"):
                text = kernel.read_text(f"{TOPOLOGY}/nodes/{name}/{kind}/{link}/properties")
                ends = dict(line.split() for line in text.splitlines())
                assert ends["node_from"] == name
                assert ends["node_to"] in shown
    kernel.shutdown()


def test_a_gpu_shows_up_between_two_looks() -> None:
    """Who does not compare generations misses it; who does is let alone in the next round."""
    kernel = EmulatedKernel([model("rx7900xtx")] * 2, hostile=1)

    def look() -> int:
        return int(kernel.read_text(f"{TOPOLOGY}/generation_id"))

    missed = 0
    for _ in range(100):
        before, seen = look(), len(kernel.listdir(f"{TOPOLOGY}/nodes"))
        if look() != before:
            before, again = look(), len(kernel.listdir(f"{TOPOLOGY}/nodes"))
            assert look() == before
            missed += again > seen
    assert missed > 0
    kernel.shutdown()


def test_wait_is_interrupted_eintr_with_result_fail(hostile: Client) -> None:
    """And only one that would sleep: a poll and an event that is there are answered."""
    event = hostile.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL, auto_reset=1).event_id
    data = EventData(event_id=event)
    fields = {"events_ptr": ctypes.addressof(data), "num_events": 1, "timeout": 1}
    interrupted = 0
    for _ in range(60):
        assert wait(hostile, event, 0) == WaitResult.TIMEOUT
        try:
            assert wait(hostile, event, 1) == WaitResult.TIMEOUT
        except KernelError as error:
            interrupted += error.errno == errno.EINTR
    assert 0 < interrupted < 60
    hostile.process.events._interrupts_wait = lambda: True
    hostile.refused(errno.EINTR, KfdIoctl.WAIT_EVENTS, out={"wait_result": WaitResult.FAIL}, **fields)
    hostile.call(KfdIoctl.SET_EVENT, event_id=event)
    assert wait(hostile, event, 1) == WaitResult.COMPLETE


def test_a_queue_is_taken_off_and_comes_back(hostile: Client, engines: list[StubEngine]) -> None:
    """What is rung meanwhile is lost or not; the write pointer in memory is what counts."""
    queue = hostile.create_queue()
    address = hostile.map_doorbells() + (queue.doorbell_offset & 0x1FFF)
    for value in range(100):
        hostile.kernel.store_doorbell(address, value)
    calls = engines[0].calls
    assert "evict" in calls
    until(lambda: calls.count("evict") == calls.count("restore"))
    rung = [call for call in calls if call not in ("evict", "restore")]
    assert 50 < len(rung) < 100


def test_a_queue_that_is_lost_meanwhile_does_not_come_back(
    hostile: Client, engines: list[StubEngine]
) -> None:
    queue = hostile.create_queue()
    object_of = hostile.process.queues[queue.queue_id]
    assert hostile.kernel._hostility is not None
    until(lambda: hostile.kernel._hostility.evicts(object_of) or "evict" in engines[0].calls)
    object_of.device.evict()
    restored = engines[0].calls.count("restore")
    hostile.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    assert engines[0].calls.count("restore") <= restored + 1
    assert engines[0].calls[-2:] == ["evict", "stop"]


def test_interrupts_come_late_and_several_become_one(hostile: Client) -> None:
    page = hostile.event_page()
    event = hostile.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL, auto_reset=1).event_id
    slot = ctypes.c_uint64.from_address(page.va_addr + 8 * event)
    reports = QueueReports(hostile.process.devices[hostile.gpu_id], 0)
    kept = hostile.process.events.event(event)
    assert kept is not None
    for _ in range(200):
        slot.value = 1
        reports.interrupt(event, "sdma")
    until(lambda: slot.value == (1 << 64) - 1)
    assert 1 < kept.age < 201


def test_an_interrupt_of_a_destroyed_event_is_no_bug(hostile: Client) -> None:
    """Also not if another event has its id by now."""
    page = hostile.event_page()
    reports = QueueReports(hostile.process.devices[hostile.gpu_id], 0)
    for _ in range(50):
        event = hostile.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL).event_id
        ctypes.c_uint64.from_address(page.va_addr + 8 * event).value = 1
        reports.interrupt(event, "sdma")
        hostile.call(KfdIoctl.DESTROY_EVENT, event_id=event)
