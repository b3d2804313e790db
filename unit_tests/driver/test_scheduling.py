"""Priorities, pausing, masks of compute units: what the kernel is asked for, and what is refused before."""

from __future__ import annotations

import errno

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import CommandError, QueueClosedError
from pytest_amdgpu.driver.scheduling import mask_words
from pytest_amdgpu.driver.topology import GpuNode, discover
from pytest_amdgpu.kernel.protocol import KernelError

eight_xccs = pytest.mark.parametrize("fake", ["mi300x"], indirect=True)


def node_of(name: str) -> GpuNode:
    return discover(FakeKernel(name))[0]


@pytest.mark.parametrize(
    ("priority", "number"), [("low", 0), ("normal", 7), ("high", 11), (0, 0), (5, 5), (15, 15)]
)
@pytest.mark.parametrize("kind", ["sdma", "pm4", "aql"])
def test_priority_of_a_new_queue(
    fake: FakeKernel, device: Device, kind: str, priority: int | str, number: int
) -> None:
    """HSA's names stand for libhsakmt's numbers: minimum 0, normal 7, high 11."""
    if kind == "sdma":
        queue = device.sdma_queue(priority=priority)
    else:
        queue = device.compute_queue(kind, priority=priority)
    (asked,) = fake.queues.values()
    assert asked.queue_priority == queue.priority == number


@pytest.mark.parametrize("priority", [-1, 16])
def test_a_priority_out_of_range_is_refused(fake: FakeKernel, device: Device, priority: int) -> None:
    with pytest.raises(CommandError, match=f"priority {priority} is not in the range 0 to 15"):
        device.sdma_queue(priority=priority)
    assert not fake.queues
    queue = device.compute_queue()
    with pytest.raises(CommandError, match=f"priority {priority} is not in the range 0 to 15"):
        queue.set_priority(priority)


def test_an_unknown_priority_is_refused(device: Device) -> None:
    with pytest.raises(
        CommandError, match="unknown priority 'urgent'; there are low, normal, high, or 0 to 15"
    ):
        device.compute_queue(priority="urgent")


def test_pause_and_resume_keep_the_ring_and_the_priority(fake: FakeKernel, device: Device) -> None:
    queue = device.compute_queue("pm4", priority="high")
    before = bytes(fake.queues[queue.queue_id])
    queue.pause()
    paused = fake.queues[queue.queue_id]
    assert (queue.paused, paused.queue_percentage, paused.queue_priority) == (True, 0, 11)
    queue.set_priority("low")
    assert (paused.queue_percentage, paused.queue_priority) == (0, 0)
    queue.set_priority("high")
    queue.resume()
    assert not queue.paused
    assert bytes(fake.queues[queue.queue_id]) == before


def test_a_paused_queue_with_work_is_not_waited_for(device: Device) -> None:
    queue, semaphore = device.sdma_queue(), device.timeline_semaphore()
    queue.pause()
    queue.wait_idle(timeout=0)
    queue.signal(semaphore, 1).submit()
    with pytest.raises(CommandError, match=r"sdma queue 0 on .* is paused and has work: resume\(\) it"):
        queue.wait_idle(timeout=60)
    queue.close()


def test_what_the_kernel_refuses_changes_nothing(fake: FakeKernel, device: Device) -> None:
    queue = device.compute_queue()
    fake.fail("UPDATE_QUEUE", errno.ETIME)
    with pytest.raises(KernelError):
        queue.pause()
    assert (queue.paused, queue.priority) == (False, 7)


def test_a_closed_queue_is_not_scheduled(device: Device) -> None:
    queue = device.compute_queue()
    queue.close()
    for use in (queue.pause, queue.resume, queue.saved_waves, lambda: queue.set_cu_mask(1)):
        with pytest.raises(QueueClosedError):
            use()


@pytest.mark.parametrize(
    ("name", "mask", "words"),
    [
        ("mi210", 1, [1, 0, 0, 0]),
        ("mi210", 1 << 103 | 5, [5, 0, 0, 0x80]),
        ("mi210", None, [0xFFFFFFFF] * 3 + [0xFF]),
        ("mi210", range(40), [0xFFFFFFFF, 0xFF, 0, 0]),
        ("mi300x", 0xFF, [0xFF] + [0] * 9),
        ("mi300x", None, [0xFFFFFFFF] * 9 + [0xFFFF]),
        ("rx7900xtx", [0, 1, 34, 35], [3, 12, 0]),
        ("rx9060xt", None, [0xFFFFFFFF]),
    ],
)
def test_words_of_a_mask(name: str, mask: object, words: list[int]) -> None:
    node = node_of(name)
    assert mask_words(node, mask, range(node.num_xcc)) == words  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("mi210", 0, "the mask 0x0 names no compute unit; work would never run"),
        ("mi210", [], "names no compute unit"),
        ("mi210", -1, "names no compute unit"),
        ("mi210", [104], "compute unit 104 does not exist; the GPU has 104, numbered from 0"),
        ("mi210", [3, -2], "compute unit -2 does not exist"),
        (
            "rx7900xtx",
            [0, 1, 6],
            "one of the compute units 6 and 7, which gfx1100 has in pairs: name both or none",
        ),
        ("rx7900xtx", [7], "one of the compute units 6 and 7"),
        ("mi300x", 0x7F, r"no compute unit of XCC 7 \(those are 7, 15, \.\.\.\)"),
    ],
)
def test_a_mask_that_cannot_work_is_refused(name: str, mask: object, message: str) -> None:
    node = node_of(name)
    with pytest.raises(CommandError, match=message):
        mask_words(node, mask, range(node.num_xcc))  # type: ignore[arg-type]


@eight_xccs
def test_a_pm4_queue_needs_units_of_its_own_xcc_only(fake: FakeKernel, device: Device) -> None:
    queue = device.compute_queue("pm4", cu_mask=[0, 8])
    assert fake.cu_masks[queue.queue_id] == [0x101] + [0] * 9
    with pytest.raises(CommandError, match="no compute unit of XCC 0"):
        queue.set_cu_mask([1])


@eight_xccs
def test_a_queue_whose_mask_is_refused_is_closed(fake: FakeKernel, device: Device) -> None:
    device.compute_queue("aql").close()
    held = fake.held()
    with pytest.raises(CommandError, match="no compute unit of XCC 1"):
        device.compute_queue("aql", cu_mask=1)
    assert fake.held() == held


@pytest.mark.parametrize("fake", ["rx7900xtx"], indirect=True)
def test_a_mask_of_pairs(fake: FakeKernel, device: Device) -> None:
    queue = device.compute_queue(cu_mask=0xF0)
    assert fake.cu_masks[queue.queue_id] == [0xF0, 0, 0]
    queue.set_cu_mask(None)
    assert fake.cu_masks[queue.queue_id] == [0xFFFFFFFF] * 3


@eight_xccs
def test_saved_waves_are_read_from_the_headers(fake: FakeKernel, device: Device) -> None:
    queue = device.compute_queue("aql")
    with pytest.raises(CommandError, match=r"is not paused: the hardware has its waves; pause\(\) it first"):
        queue.saved_waves()
    queue.pause()
    fake.saved_waves = [(8 * xcc, 1000 * xcc) for xcc in range(8)]
    assert [(waves.control_stack, waves.wave_state) for waves in queue.saved_waves()] == fake.saved_waves


@pytest.mark.parametrize(
    ("name", "units", "engines", "arrays", "slots", "waves", "queues"),
    [
        ("mi210", 104, 8, 1, 14, 32, 24),
        ("mi300x", 304, 4, 1, 10, 32, 24),
        ("rx7900xtx", 96, 6, 2, 8, 32, 8),
        ("rx9060xt", 32, 2, 2, 8, 32, 4),
    ],
)
def test_what_the_topology_says_of_compute_units(
    name: str, units: int, engines: int, arrays: int, slots: int, waves: int, queues: int
) -> None:
    node = node_of(name)
    assert (node.compute_units, node.shader_engines, node.arrays_per_engine) == (units, engines, arrays)
    assert node.units_per_array == slots
    assert (node.waves_per_unit, node.hardware_queues) == (waves, queues)
