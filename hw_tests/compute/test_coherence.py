"""Shaders see what others wrote to memory they have read before, and others see what shaders wrote."""

from __future__ import annotations

import numpy as np
import pytest

COUNT = 5000
ROUNDS = 4


@pytest.fixture(params=["vram", "gtt", "userptr"])
def buffers(request):
    """A source, zeros, and a target of shaders, in memory of each location in turn."""
    allocate = request.getfixturevalue(f"{request.param}_buffer")
    source, zeros, target = (allocate(4 * COUNT) for _ in range(3))
    zeros.array[:] = 0
    return source, zeros, target


def test_a_kernel_sees_what_the_host_wrote_since(
    any_compute_queue, suite_kernel, buffers, timeline_semaphore, random_words
):
    source, zeros, target = buffers
    kernel = suite_kernel("vector_add")
    for value in range(1, ROUNDS):
        data = source.view(np.uint32)[:] = random_words(COUNT)
        any_compute_queue.dispatch(kernel, COUNT, [target, source, zeros, COUNT])
        any_compute_queue.signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)
        assert np.array_equal(target.view(np.uint32), data)


def test_a_kernel_sees_what_sdma_wrote_since(
    any_compute_queue, sdma_queue, suite_kernel, buffers, timeline_semaphore
):
    source, zeros, target = buffers
    kernel = suite_kernel("vector_add")
    for value in range(1, 2 * ROUNDS, 2):
        sdma_queue.wait(timeline_semaphore, value - 1).fill(source, value, width=4)
        sdma_queue.signal(timeline_semaphore, value).submit()
        any_compute_queue.wait(timeline_semaphore, value)
        any_compute_queue.dispatch(kernel, COUNT, [target, source, zeros, COUNT])
        any_compute_queue.signal(timeline_semaphore, value + 1).submit()
        timeline_semaphore.wait(value + 1, timeout=10)
        assert (target.view(np.uint32) == value).all()


def test_sdma_takes_what_a_kernel_wrote(
    any_compute_queue, sdma_queue, suite_kernel, buffers, gtt_buffer, timeline_semaphore
):
    target, taken = buffers[2], gtt_buffer(4 * COUNT)
    for value in range(1, 2 * ROUNDS, 2):
        any_compute_queue.dispatch(suite_kernel("fill"), COUNT, [target, value, COUNT])
        any_compute_queue.signal(timeline_semaphore, value).submit()
        sdma_queue.wait(timeline_semaphore, value).copy(taken, target)
        sdma_queue.signal(timeline_semaphore, value + 1).submit()
        timeline_semaphore.wait(value + 1, timeout=10)
        assert (taken.view(np.uint32) == value).all()
