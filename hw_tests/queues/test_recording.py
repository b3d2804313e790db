"""Recordings: put together once, submitted many times, each time with what memory holds then."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest


@pytest.fixture
def finish(make_queue):
    """Return a function that makes a recording of a chain; it is freed before its queue is closed."""
    with ExitStack() as free:

        def make(chain):
            recording = chain.finish()
            free.callback(recording.free)
            # Runs first: a recording must not be freed while its queue may still execute it.
            free.callback(recording.queue.wait_idle, 10)
            return recording

        yield make


def test_a_recorded_copy_takes_what_is_there_when_it_runs(
    sdma_queue, finish, visible_buffer, gtt_buffer, timeline_semaphore, rng
):
    source, target = gtt_buffer(10_000), visible_buffer(10_000)
    recording = finish(sdma_queue.record().copy(target, source))
    for value in range(1, 6):
        source.array[:] = rng.integers(0, 256, source.size, dtype=np.uint8)
        recording.submit()
        sdma_queue.signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)
        assert np.array_equal(target.array, source.array)


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_a_recorded_dispatch_runs_each_time(
    kind, make_queue, finish, suite_kernel, gtt_buffer, timeline_semaphore
):
    queue = make_queue(kind)
    counter, out = gtt_buffer(4), gtt_buffer(4 * 640)
    counter.array[:] = 0
    recording = finish(queue.record().dispatch(suite_kernel("atomics", "tickets"), 64, [out, counter, 64]))
    for _ in range(10):
        recording.submit()
    queue.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=20)
    assert counter.view(np.uint32)[0] == 640


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_a_recorded_chain_keeps_its_order(
    kind, make_queue, finish, suite_kernel, gtt_buffer, timeline_semaphore
):
    """Each dispatch reads what the one before it wrote: in another order the numbers are others."""
    queue, add, count = make_queue(kind), suite_kernel("vector_add"), 100
    numbers = [gtt_buffer(4 * count), gtt_buffer(4 * count)]
    expected = [1, 2]
    for buffer, value in zip(numbers, expected, strict=True):
        buffer.view(np.uint32)[:] = value
    chain = queue.record()
    for step in range(8):
        chain.dispatch(add, count, [numbers[step % 2], *numbers, count])
    recording = finish(chain)
    for _ in range(3):
        recording.submit()
    queue.signal(timeline_semaphore, 1).submit()
    for step in range(24):
        expected[step % 2] = sum(expected)
    timeline_semaphore.wait(1, timeout=20)
    for buffer, value in zip(numbers, expected, strict=True):
        assert (buffer.view(np.uint32) == value).all()
