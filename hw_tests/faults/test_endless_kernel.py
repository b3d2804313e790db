"""A kernel that does not end: it is no fault, it can be told to end, and its queue can be destroyed."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import WaitTimeoutError


@pytest.fixture
def spin(suite_kernel, gtt_buffer):
    """Return a function that makes a queue spin, and the words that it looks at and writes."""
    go, out = gtt_buffer(4, uncached=True), gtt_buffer(8, uncached=True)

    def start(queue):
        return queue.dispatch(suite_kernel("spin"), 1, [go, out])

    return start, go.view(np.uint32), out.view(np.uint32)


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_a_kernel_ends_when_the_host_tells_it(kind, make_queue, spin, timeline_semaphore, wait_until_it_runs):
    start, go, out = spin
    start(make_queue(kind)).signal(timeline_semaphore, 1).submit()
    wait_until_it_runs(timeline_semaphore, out)
    with pytest.raises(WaitTimeoutError, match="faults seen: none"):
        timeline_semaphore.wait(1, timeout=0.02)
    go[0] = 1
    timeline_semaphore.wait(1, timeout=10)
    assert out.tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_the_queue_of_an_endless_kernel_can_be_destroyed(
    kind, make_queue, make_semaphore, spin, suite_kernel, gtt_buffer, wait_until_it_runs
):
    """The kernel driver takes the waves off the GPU, and nothing else on the device suffers."""
    start, _, out = spin
    queue, never, done = make_queue(kind), make_semaphore(), make_semaphore()
    start(queue).signal(never, 1).submit()
    wait_until_it_runs(never, out)
    queue.close()
    filled = gtt_buffer(4 * 64)
    make_queue(kind).dispatch(suite_kernel("fill"), 64, [filled, 9, 64]).signal(done, 1).submit()
    done.wait(1, timeout=10)
    assert (filled.view(np.uint32) == 9).all()
    assert (int(out[1]), never.value) == (0, 0)
