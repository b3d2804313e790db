"""Kernel events below the semaphores: who wakes whom, and what a wait that is not woken does."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest

LONG = 6.0
"""Seconds that a wait may take which something must end; nothing that works needs half of it."""
SOON = 0.05
"""Seconds after which what ends a wait happens: the waiter sleeps by then."""


@contextmanager
def woken():
    """Check that what runs inside did not sleep for the whole of `LONG`."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < LONG / 2


@pytest.fixture
def event(amdgpu_device):
    """A signal event."""
    event = amdgpu_device.backend.create_event()
    yield event
    amdgpu_device.backend.destroy_event(event)


def test_an_event_that_was_signalled_before_ends_the_wait(amdgpu_device, event):
    backend = amdgpu_device.backend
    backend.signal_event(event)
    with woken():
        assert backend.wait_event(event, 1, LONG) != 1


def test_a_wait_that_nothing_ends_keeps_its_age(amdgpu_device, event):
    assert amdgpu_device.backend.wait_event(event, 1, 0.02) == 1


def test_another_thread_ends_the_wait(amdgpu_device, event):
    backend = amdgpu_device.backend
    signaller = threading.Timer(SOON, backend.signal_event, [event])
    signaller.start()
    with woken():
        assert backend.wait_event(event, 1, LONG) != 1
    signaller.join()


def test_a_wait_is_not_ended_by_another_event(amdgpu_device, event):
    backend = amdgpu_device.backend
    other = backend.create_event()
    backend.signal_event(other)
    assert backend.wait_event(event, 1, 0.02) == 1
    backend.destroy_event(other)


def test_the_age_tells_signals_apart(amdgpu_device, event):
    backend, age, seen = amdgpu_device.backend, 1, []
    for _ in range(5):
        backend.signal_event(event)
        age = backend.wait_event(event, age, LONG)
        seen.append(age)
    assert len(set(seen)) == 5
    assert backend.wait_event(event, age, 0.02) == age


def test_events_have_slots_of_their_own(amdgpu_device):
    """More than the 256 events that a process can have whose events page the kernel made."""
    backend = amdgpu_device.backend
    events = [backend.create_event() for _ in range(300)]
    assert len({event.event_id for event in events}) == 300
    assert len({event.slot_address for event in events}) == 300
    for event in events:
        backend.destroy_event(event)


@pytest.mark.parametrize("engine", ["sdma", "pm4", "aql"])
def test_an_engines_interrupt_ends_the_wait(engine, make_queue, make_semaphore, timeline_semaphore):
    """The host sleeps in the kernel when the engine signals: the value alone would not wake it."""
    queue, go = make_queue(engine), make_semaphore()
    queue.wait(go, 1).signal(timeline_semaphore, 1).submit()
    signaller = threading.Timer(SOON, go.signal, [1])
    signaller.start()
    with woken():
        timeline_semaphore.wait(1, timeout=LONG)
    signaller.join()


@pytest.mark.parametrize("engine", ["sdma", "pm4", "aql"])
def test_every_interrupt_ends_a_wait(engine, make_queue, timeline_semaphore):
    """Also when signals follow each other closely, so that one may come before the wait for it begins."""
    queue = make_queue(engine)
    for value in range(1, 51):
        queue.signal(timeline_semaphore, value).submit()
        with woken():
            timeline_semaphore.wait(value, timeout=LONG)
