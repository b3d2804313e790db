"""Timeline semaphores: signalled by SDMA, compute and the host, and awaited by all three."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import SemaphoreValueError, WaitTimeoutError

ENGINES = ["sdma", "pm4", "aql"]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_signals_the_host(engine, make_queue, timeline_semaphore):
    queue = make_queue(engine)
    for value in (1, 2, 7):
        queue.signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)
        assert timeline_semaphore.value == value


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_waits_for_the_host(engine, make_queue, make_semaphore, timeline_semaphore):
    queue, go = make_queue(engine), make_semaphore()
    queue.wait(go, 5).signal(timeline_semaphore, 1).submit()
    go.signal(4)
    with pytest.raises(WaitTimeoutError):
        timeline_semaphore.wait(1, timeout=0.05)
    go.signal(5)
    timeline_semaphore.wait(1, timeout=10)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(ENGINES, 2)))
def test_engines_hand_over_to_each_other(first, second, make_queue, timeline_semaphore):
    one, other = make_queue(first), make_queue(second)
    for step in range(0, 20, 2):
        one.wait(timeline_semaphore, step).signal(timeline_semaphore, step + 1).submit()
        other.wait(timeline_semaphore, step + 1).signal(timeline_semaphore, step + 2).submit()
    timeline_semaphore.wait(20, timeout=20)
    assert timeline_semaphore.value == 20


@pytest.mark.parametrize("engine", ENGINES)
def test_values_beyond_32_bits(engine, make_queue, make_semaphore):
    """A value whose low half is smaller than before still counts as larger."""
    semaphore = make_semaphore(initial=0xFFFF_FFF0)
    queue = make_queue(engine)
    queue.wait(semaphore, 0xFFFF_FFF0).signal(semaphore, 0x1_0000_0001).submit()
    semaphore.wait(0x1_0000_0001, timeout=10)
    assert semaphore.value == 0x1_0000_0001


def test_data_are_there_when_the_signal_is(vram_buffer, gtt_buffer, sdma_queue, timeline_semaphore, rng):
    source, target = gtt_buffer(1 << 20), vram_buffer(1 << 20)
    for value in range(1, 21):
        source.array[:] = rng.integers(0, 256, 1, dtype=np.uint8)
        sdma_queue.copy(target, source).signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)
        assert np.array_equal(target.array, source.array)


def test_a_wait_that_nothing_will_end_says_so(sdma_queue, timeline_semaphore):
    sdma_queue.signal(timeline_semaphore, 3).submit()
    timeline_semaphore.wait(3, timeout=10)
    with pytest.raises(WaitTimeoutError, match="3") as caught:
        timeline_semaphore.wait(4, timeout=0.05)
    assert "4" in str(caught.value)


def test_a_wait_for_the_past_returns_at_once(timeline_semaphore):
    timeline_semaphore.signal(10)
    timeline_semaphore.wait(3, timeout=0)
    timeline_semaphore.wait(10, timeout=0)


def test_a_value_never_goes_back(timeline_semaphore):
    timeline_semaphore.signal(10)
    with pytest.raises(SemaphoreValueError, match="10"):
        timeline_semaphore.signal(9)
    assert timeline_semaphore.value == 10
