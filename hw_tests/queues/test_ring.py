"""Rings: wrap-around, a full ring, many submissions, and queues made and destroyed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import QueueClosedError, WaitTimeoutError

RING = 4096
KINDS = ["sdma", "pm4", "aql"]
STAMP = 32
"""Bytes between timestamps: SDMA wants them aligned so."""
COME_AND_GO = 40
"""More than the SDMA queues that the engines behind PCIe have: two engines with up to ten queues each."""


def test_an_sdma_ring_wraps(make_queue, visible_buffer, timeline_semaphore, rng):
    """Ten times around a small ring, each copy checked by the one that follows it."""
    queue = make_queue("sdma", ring_size=RING)
    buffers = [visible_buffer(256) for _ in range(3)]
    data = rng.integers(0, 256, 256, dtype=np.uint8)
    buffers[0].array[:] = data
    for step in range(1, 1001):
        queue.copy(buffers[step % 3], buffers[(step - 1) % 3]).fill(buffers[(step - 1) % 3], 0)
        queue.signal(timeline_semaphore, step).submit()
    timeline_semaphore.wait(1000, timeout=20)
    assert np.array_equal(buffers[1000 % 3].array, data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_ring_waits_for_space(kind, make_queue, make_semaphore, gtt_buffer, timeline_semaphore):
    """More work than the ring holds, behind a wait that the host ends when the ring is full.

    Nothing is lost or overwritten: every submission stores a timestamp of its own.
    """
    queue = make_queue(kind, ring_size=RING)
    count = RING // 16
    stamps = gtt_buffer(STAMP * count)
    stamps.array[:] = 0
    go = make_semaphore()
    queue.wait(go, 1).submit()
    release = threading.Timer(0.1, go.signal, [1])
    release.start()
    for index in range(count):
        queue.timestamp(stamps, STAMP * index).submit()
    assert go.value == 1, "all of it fitted into the ring"
    queue.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=20)
    release.join()
    times = stamps.view(np.uint64)[:: STAMP // 8]
    assert times[0] > 0
    assert (times[1:] >= times[:-1]).all()


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_a_compute_ring_wraps(kind, make_queue, suite_kernel, gtt_buffer, timeline_semaphore):
    queue = make_queue(kind, ring_size=RING)
    kernel = suite_kernel("fill")
    out = gtt_buffer(4 * 300)
    out.array[:] = 0
    for index in range(300):
        queue.dispatch(kernel, 1, [out[4 * index : 4 * index + 4], index + 1, 1], block=1)
        queue.signal(timeline_semaphore, index + 1).submit()
    timeline_semaphore.wait(300, timeout=30)
    assert np.array_equal(out.view(np.uint32), np.arange(1, 301, dtype=np.uint32))


@pytest.mark.parametrize("kind", KINDS)
def test_queues_come_and_go(kind, amdgpu_device, make_queue, timeline_semaphore):
    """One after the other, more than there can be at once of SDMA's; none leaves anything behind."""
    make_queue(kind).close()
    before = amdgpu_device.available_vram()
    for step in range(1, COME_AND_GO + 1):
        queue = make_queue(kind)
        queue.signal(timeline_semaphore, step).submit()
        timeline_semaphore.wait(step, timeout=10)
        queue.close()
    assert amdgpu_device.available_vram() == before


def test_the_default_compute_queue_uses_the_whole_gpu(compute_queue, amdgpu_device):
    """A PM4 queue runs on one XCC, so where there are several the default is AQL."""
    assert compute_queue.kind.value == ("aql" if amdgpu_device.node.num_xcc > 1 else "pm4")


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_queue_refuses_work(kind, make_queue, timeline_semaphore):
    queue = make_queue(kind)
    queue.close()
    with pytest.raises(QueueClosedError):
        queue.signal(timeline_semaphore, 1).submit()


def test_two_queues_work_at_once(make_queue, timeline_semaphore):
    """One queue waits for the other, which was given its work later."""
    first, second = make_queue("sdma"), make_queue("sdma")
    first.wait(timeline_semaphore, 1).signal(timeline_semaphore, 2).submit()
    with pytest.raises(WaitTimeoutError):
        timeline_semaphore.wait(1, timeout=0.05)
    second.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(2, timeout=10)
    assert timeline_semaphore.value == 2
