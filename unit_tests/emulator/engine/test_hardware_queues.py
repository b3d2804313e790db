"""Slots for compute queues: who gets them, in which order, and for how long."""

from __future__ import annotations

import pytest

from pytest_amdgpu.emulator.engine import hardware_queues
from pytest_amdgpu.emulator.engine.hardware_queues import QUANTUM, HardwareQueues, Seat


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(hardware_queues, "time", made)
    return made


def seat(queues: HardwareQueues, priority: int = 7) -> Seat:
    return Seat(queues, lambda: priority)


def test_there_are_as_many_as_the_hardware_has(clock: Clock) -> None:
    queues = HardwareQueues(2)
    first, second, third = (seat(queues) for _ in range(3))
    assert first.take(0)
    assert second.take(0)
    assert not third.take(0)
    first.leave()
    assert third.take(0)
    assert (first.taken, second.taken, third.taken) == (False, True, True)


def test_nobody_yields_while_nobody_waits(clock: Clock) -> None:
    queues = HardwareQueues(1)
    first = seat(queues)
    first.take(0)
    clock.now += 100 * QUANTUM
    assert not first.must_yield()


def test_an_equal_gets_its_turn_after_a_quantum(clock: Clock) -> None:
    queues = HardwareQueues(1)
    first, second = seat(queues), seat(queues)
    first.take(0)
    clock.now += QUANTUM / 2
    assert not second.take(0)
    assert not first.must_yield()
    clock.now += QUANTUM
    assert first.must_yield()


def test_the_highest_priority_is_next(clock: Clock) -> None:
    queues = HardwareQueues(1)
    holder, low, high = seat(queues), seat(queues, 2), seat(queues, 9)
    holder.take(0)
    assert not low.take(0)
    assert not high.take(0)
    assert holder.must_yield()
    holder.leave()
    assert not low.take(0)
    assert high.take(0)


def test_of_equals_who_waits_longer_is_next(clock: Clock) -> None:
    queues = HardwareQueues(1)
    holder, first, second = seat(queues), seat(queues), seat(queues)
    holder.take(0)
    first.take(0)
    clock.now += QUANTUM / 10
    second.take(0)
    holder.leave()
    assert not second.take(0)
    assert first.take(0)


def test_only_the_weakest_holder_yields(clock: Clock) -> None:
    queues = HardwareQueues(2)
    strong, weak, high = seat(queues, 10), seat(queues, 3), seat(queues, 15)
    strong.take(0)
    weak.take(0)
    high.take(0)
    assert weak.must_yield()
    assert not strong.must_yield()


def test_the_lowest_priority_gets_a_whole_quantum_in_the_end(clock: Clock) -> None:
    queues = HardwareQueues(1)
    high, low = seat(queues, 15), seat(queues, 0)
    high.take(0)
    low.take(0)
    clock.now += 14 * QUANTUM
    assert not high.must_yield()
    clock.now += 2 * QUANTUM
    assert high.must_yield()
    high.leave()
    assert low.take(0)
    assert not high.take(0)
    clock.now += QUANTUM * 0.9
    assert not low.must_yield()
    clock.now += QUANTUM * 0.2
    assert low.must_yield()


def test_who_leaves_the_line_is_not_waited_for(clock: Clock) -> None:
    queues = HardwareQueues(1)
    holder, waiting = seat(queues), seat(queues)
    holder.take(0)
    waiting.take(0)
    waiting.leave()
    clock.now += 2 * QUANTUM
    assert not holder.must_yield()
