"""Priorities of queues."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import CommandError

ROUNDS = 2000


def lcg(count: int, rounds: int) -> np.ndarray:
    """What `toil` computes: `rounds` steps of x -> x * 1664525 + 1013904223 modulo 2^32."""
    factor, term = 1, 0
    for _ in range(rounds):
        factor, term = factor * 1664525 & 0xFFFFFFFF, (term * 1664525 + 1013904223) & 0xFFFFFFFF
    return np.arange(1, count + 1, dtype=np.uint32) * np.uint32(factor) + np.uint32(term)


def test_the_higher_priority_is_served_first(amdgpu_device, suite_kernel, gtt_buffer, make_semaphore):
    """Two queues have several times as much work as the compute units hold that both are confined to.

    Both begin at once, and do the same; the work-groups of the one with the higher priority go first.
    """
    node = amdgpu_device.node
    kernel = suite_kernel("toil")
    units = range(node.num_xcc * (2 if node.family.units_in_pairs else 1))
    count = 4 * len(units) * node.waves_per_unit * kernel.wave_size
    expected = lcg(count, ROUNDS)
    go, stamps, results = make_semaphore(), gtt_buffer(64), []
    queues = {}
    for place, priority in enumerate(("low", "high")):
        out = gtt_buffer(4 * count)
        out.array[:] = 0
        results.append(out)
        queue = queues[priority] = amdgpu_device.compute_queue(priority=priority, cu_mask=units)
        queue.wait(go, 1).dispatch(kernel, count, [out, ROUNDS], block=kernel.wave_size)
        queue.timestamp(stamps, 32 * place).submit()
    go.signal(1)
    for queue in queues.values():
        queue.wait_idle(timeout=20)
        queue.close()
    for out in results:
        assert np.array_equal(out.view(np.uint32), expected)
    low, high = stamps.view(np.uint64)[[0, 4]]
    assert high < low


def test_the_lowest_priority_works_beside_the_highest(amdgpu_device, suite_kernel, gtt_buffer):
    """A queue of the highest priority has a wave that waits for what a queue of the lowest one writes."""
    kernel = suite_kernel("pass_on")
    numbers = gtt_buffer(192, uncached=True)
    numbers.array[:] = 0
    first, second, third = (numbers[start : start + 4] for start in (0, 64, 128))
    with (
        amdgpu_device.compute_queue(priority=15) as high,
        amdgpu_device.compute_queue(priority=0) as low,
    ):
        high.dispatch(kernel, 1, [second, third], block=1).submit()
        low.dispatch(kernel, 1, [first, second], block=1).submit()
        numbers.view(np.uint32)[0] = 1
        for queue in (high, low):
            queue.wait_idle(timeout=10)
    assert numbers.view(np.uint32)[::16].tolist() == [1, 2, 3]


@pytest.mark.parametrize("kind", ["sdma", "pm4", "aql"])
def test_a_queue_works_at_every_priority(kind, make_queue, timeline_semaphore):
    queue = make_queue(kind, priority="low")
    assert queue.priority == 0
    for value, priority in enumerate(("low", 3, "normal", "high", 15), 1):
        queue.set_priority(priority)
        queue.signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)
    assert queue.priority == 15


def test_a_priority_that_does_not_exist_is_refused(amdgpu_device, compute_queue):
    with pytest.raises(CommandError, match="priority 16 is not in the range 0 to 15"):
        compute_queue.set_priority(16)
    with pytest.raises(CommandError, match="unknown priority 'urgent'; there are low, normal, high"):
        amdgpu_device.compute_queue(priority="urgent")
