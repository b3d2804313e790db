"""Kernel events below the semaphores: who wakes whom, and what a wait that is not woken does."""

from __future__ import annotations

import threading
import time

import pytest


@pytest.fixture
def event(amdgpu_device):
    """A signal event."""
    event = amdgpu_device.backend.create_event()
    yield event
    amdgpu_device.backend.destroy_event(event)


def test_an_event_that_was_signalled_before_ends_the_wait(amdgpu_device, event):
    backend = amdgpu_device.backend
    backend.signal_event(event)
    started = time.monotonic()
    assert backend.wait_event(event, 1, 30.0) != 1
    assert time.monotonic() - started < 20


def test_a_wait_that_nothing_ends_keeps_its_age(amdgpu_device, event):
    assert amdgpu_device.backend.wait_event(event, 1, 0.02) == 1


def test_another_thread_ends_the_wait(amdgpu_device, event):
    backend, ages = amdgpu_device.backend, []
    waiter = threading.Thread(target=lambda: ages.append(backend.wait_event(event, 1, 30.0)))
    waiter.start()
    backend.signal_event(event)
    waiter.join(30)
    assert len(ages) == 1
    assert ages[0] != 1


def test_the_age_tells_signals_apart(amdgpu_device, event):
    backend, age, seen = amdgpu_device.backend, 1, []
    for _ in range(5):
        backend.signal_event(event)
        age = backend.wait_event(event, age, 30.0)
        seen.append(age)
    assert len(set(seen)) == 5
    assert backend.wait_event(event, age, 0.02) == age


def test_events_have_slots_of_their_own(amdgpu_device):
    backend = amdgpu_device.backend
    events = [backend.create_event() for _ in range(300)]
    assert len({event.event_id for event in events}) == 300
    assert len({event.slot_address for event in events}) == 300
    for event in events:
        backend.destroy_event(event)


@pytest.mark.parametrize("engine", ["sdma", "pm4", "aql"])
def test_an_engines_interrupt_ends_the_wait(engine, make_queue, timeline_semaphore):
    """The host sleeps in the kernel while the engine works: the wait must not take its whole timeout."""
    queue = make_queue(engine)
    started = time.monotonic()
    for value in range(1, 21):
        queue.signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=30)
    assert time.monotonic() - started < 25
