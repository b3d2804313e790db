"""Timeline semaphores: signalled by SDMA, compute and the host, and awaited by all three."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import SemaphoreValueError, WaitTimeoutError

ENGINES = ["sdma", "pm4", "aql"]
TURNS = 20
STAMP = 32
"""Bytes between timestamps: SDMA wants them aligned so."""


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
    # Beyond the value that is awaited: a timeline may make steps.
    go.signal(7)
    timeline_semaphore.wait(1, timeout=10)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(ENGINES, 2)))
def test_engines_hand_over_to_each_other(first, second, make_queue, gtt_buffer, timeline_semaphore):
    """Each takes a timestamp when it is its turn, and these are in the order of the turns."""
    one, other, stamps = make_queue(first), make_queue(second), gtt_buffer(STAMP * TURNS)
    stamps.array[:] = 0
    # The second queue has all its work before the first has any: only the semaphore makes the order.
    for queue, turns in ((other, range(1, TURNS, 2)), (one, range(0, TURNS, 2))):
        for turn in turns:
            queue.wait(timeline_semaphore, turn).timestamp(stamps, STAMP * turn)
            queue.signal(timeline_semaphore, turn + 1).submit()
    timeline_semaphore.wait(TURNS, timeout=20)
    assert timeline_semaphore.value == TURNS
    times = stamps.view(np.uint64)[:: STAMP // 8]
    assert times[0] > 0
    assert (times[1:] >= times[:-1]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_values_beyond_32_bits(engine, make_queue, make_semaphore):
    """A value whose low half is smaller than before still counts as larger."""
    semaphore = make_semaphore(initial=0xFFFF_FFF0)
    queue = make_queue(engine)
    queue.wait(semaphore, 0xFFFF_FFF0).signal(semaphore, 0x1_0000_0001).submit()
    semaphore.wait(0x1_0000_0001, timeout=10)
    assert semaphore.value == 0x1_0000_0001


@pytest.mark.parametrize("engine", ENGINES)
def test_both_halves_of_a_value_are_awaited(engine, make_queue, make_semaphore, timeline_semaphore):
    """An engine that compares 32 bits at a time must not go on for a low half that is large enough."""
    semaphore, queue = make_semaphore(initial=0xFFFF_FFF0), make_queue(engine)
    queue.wait(semaphore, 0x1_0000_0005).signal(timeline_semaphore, 1).submit()
    for value in (0xFFFF_FFFF, 0x1_0000_0004):
        semaphore.signal(value)
        with pytest.raises(WaitTimeoutError):
            timeline_semaphore.wait(1, timeout=0.05)
    semaphore.signal(0x1_0000_0005)
    timeline_semaphore.wait(1, timeout=10)


@pytest.mark.parametrize("engine", ENGINES)
def test_several_semaphores_are_all_awaited(engine, make_queue, make_semaphore, timeline_semaphore):
    queue, first, second = make_queue(engine), make_semaphore(), make_semaphore()
    queue.wait(first, 1).wait(second, 1).signal(timeline_semaphore, 1).submit()
    for semaphore in (second, first):
        with pytest.raises(WaitTimeoutError):
            timeline_semaphore.wait(1, timeout=0.05)
        semaphore.signal(1)
    timeline_semaphore.wait(1, timeout=10)


def test_copied_data_are_there_when_the_signal_is(
    visible_buffer, gtt_buffer, sdma_queue, timeline_semaphore, rng
):
    size = 1 << 20
    source, target = gtt_buffer(size), visible_buffer(size)
    for value in range(1, 21):
        source.array[:] = rng.integers(0, 256, size, dtype=np.uint8)
        sdma_queue.copy(target, source).signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)
        assert np.array_equal(target.array, source.array)


def test_a_wait_that_nothing_will_end_says_so(sdma_queue, timeline_semaphore):
    sdma_queue.signal(timeline_semaphore, 3).submit()
    timeline_semaphore.wait(3, timeout=10)
    with pytest.raises(WaitTimeoutError, match=r"waited 0\.05 s for 4 of .*\(value 3\)"):
        timeline_semaphore.wait(4, timeout=0.05)


def test_a_wait_for_the_past_returns_at_once(timeline_semaphore):
    timeline_semaphore.signal(10)
    timeline_semaphore.wait(3, timeout=0)
    timeline_semaphore.wait(10, timeout=0)


def test_a_value_never_goes_back(timeline_semaphore):
    timeline_semaphore.signal(10)
    with pytest.raises(SemaphoreValueError, match="10"):
        timeline_semaphore.signal(9)
    assert timeline_semaphore.value == 10
