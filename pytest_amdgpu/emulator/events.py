"""The events of a process: what interrupts, faults and SET_EVENT signal and WAIT_EVENTS waits for.

Rules: amdkfd's kfd_events.c. A signal event owns a slot of the events page. The GPU writes anything but
all ones to the slot and then interrupts; the kernel sets the slot back to all ones as it delivers.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_amdgpu.abi.kfd import (
    EVENT_PAGE_SIZE,
    FIRST_NONSIGNAL_EVENT_ID,
    SIGNAL_EVENT_LIMIT,
    EventData,
    EventType,
    HsaHwExceptionData,
    HsaMemoryExceptionData,
    WaitResult,
)
from pytest_amdgpu.emulator.memory import Bytes
from pytest_amdgpu.emulator.refusal import Refusal

UNSIGNALED = (1 << 64) - 1
"""What the kernel keeps in a slot between interrupts."""
SLOTS_BEFORE_MAPPING = 256
"""Slots that may be used before the client has mapped the page (oldest runtimes mapped only these)."""
_SLOTTED = (EventType.SIGNAL, EventType.DEBUG_EVENT)


@dataclass(eq=False)
class Event:
    """One event. `age` counts the times it was signalled, from 1."""

    id: int
    type: int
    auto_reset: bool
    signaled: bool = False
    age: int = 1
    destroyed: bool = False
    memory: HsaMemoryExceptionData | None = None
    hardware: HsaHwExceptionData | None = None
    waiters: list[_Waiter] = field(default_factory=list)
    served_queue: int | None = None
    """The queue whose interrupt emptied the slot last."""

    def signal(self) -> None:
        """Activate all who wait; without waiters, or without auto-reset, stay signalled."""
        self.signaled = not self.auto_reset or not self.waiters
        self.age += 1
        for waiter in self.waiters:
            waiter.activated = True
            waiter.wakeup.notify()


class _Waiter:
    """One element of one WAIT_EVENTS call."""

    __slots__ = ("activated", "aged", "event", "wakeup")

    def __init__(self, event: Event, last_age: int, wakeup: threading.Condition) -> None:
        self.event = event
        self.wakeup = wakeup
        self.activated = event.signaled
        event.signaled = event.signaled and not event.auto_reset
        self.aged = event.type == EventType.SIGNAL and last_age != 0
        if self.aged and last_age != event.age:
            self.activated = True


class EventTable:
    """All events of a process; thread-safe."""

    def __init__(self, interrupts_wait: Callable[[], bool] | None = None) -> None:
        """`interrupts_wait` says, before a wait goes to sleep, whether a signal comes instead."""
        self._interrupts_wait = interrupts_wait
        self._lock = threading.Lock()
        self._events: dict[int, Event] = {}
        self._page: Bytes | None = None
        self._slots: memoryview | None = None
        self._lowest_slot = 1  # no slot below is free
        self.slot_limit = SLOTS_BEFORE_MAPPING
        """Slots that may be used, slot 0 included; mapping or handing in the page sets it."""

    @property
    def page(self) -> Bytes | None:
        """The events page, once there is one."""
        return self._page

    def set_page(self, page: Bytes, slots: int) -> None:
        """Use `page` (32 KiB) from now on and allow `slots` of it."""
        with self._lock:
            self._page = page
            page[:EVENT_PAGE_SIZE] = 0xFF
            self._slots = page[:EVENT_PAGE_SIZE].data.cast("Q")
            self.slot_limit = slots

    def create(self, type: int, auto_reset: bool) -> Event:
        """Make an event with the lowest free id of its kind; ENOSPC when the slots are used up."""
        with self._lock:
            if type in _SLOTTED:
                assert self._slots is not None
                number = self._lowest_slot
                while number in self._events:
                    number += 1
                if number >= self.slot_limit:
                    raise Refusal(errno.ENOSPC, f"all {self.slot_limit} event slots are used (0 is reserved)")
                self._lowest_slot = number + 1
                self._slots[number] = UNSIGNALED
            else:
                number = FIRST_NONSIGNAL_EVENT_ID
                while number in self._events:
                    number += 1
            event = self._events[number] = Event(number, type, auto_reset)
            return event

    def _find(self, event_id: int) -> Event:
        event = self._events.get(event_id)
        if event is None:
            raise Refusal(errno.EINVAL, f"there is no event {event_id:#x}")
        return event

    def _find_signal(self, event_id: int) -> Event:
        event = self._find(event_id)
        if event.type != EventType.SIGNAL:
            raise Refusal(errno.EINVAL, f"event {event_id:#x} is of type {event.type}, not a signal event")
        return event

    def destroy(self, event_id: int) -> None:
        """Remove an event; who waits for it fails with EIO."""
        with self._lock:
            self._destroy(self._find(event_id))

    def _destroy(self, event: Event) -> None:
        event.destroyed = True
        del self._events[event.id]
        self._lowest_slot = min(self._lowest_slot, event.id)
        for waiter in event.waiters:
            waiter.wakeup.notify()

    def destroy_all(self) -> None:
        """Remove every event and the page: the process ends."""
        with self._lock:
            for event in list(self._events.values()):
                self._destroy(event)
            self._page = self._slots = None

    def set(self, event_id: int) -> None:
        """Signal a signal event from the host."""
        with self._lock:
            self._find_signal(event_id).signal()

    def reset(self, event_id: int) -> None:
        """Clear a signal event."""
        with self._lock:
            self._find_signal(event_id).signaled = False

    def event(self, event_id: int) -> Event | None:
        """Return an event, None if there is none of that id."""
        return self._events.get(event_id)

    def signal_interrupt(self, event_id: int, bits: int, queue_id: int = 0) -> list[int]:
        """Deliver an interrupt whose context id has `bits` bits, and return the ids of the events signalled.

        When the id names no event whose slot was written, every event with a written slot is signalled, as
        the kernel does for interrupts that lost bits. None at all: the interrupt is lost.
        """
        with self._lock:
            slots = self._slots
            if slots is None:
                return []
            number = event_id & ((1 << bits) - 1)
            found: list[Event] = []
            if number < SIGNAL_EVENT_LIMIT and slots[number] != UNSIGNALED and number in self._events:
                found = [self._events[number]]
            else:
                found = [
                    event
                    for event in self._events.values()
                    if event.id < SIGNAL_EVENT_LIMIT and slots[event.id] != UNSIGNALED
                ]
            delivered = []
            for event in found:
                if event.type == EventType.SIGNAL:
                    slots[event.id] = UNSIGNALED
                    event.served_queue = queue_id
                    event.signal()
                    delivered.append(event.id)
            return delivered

    def overtaken(self, event_id: int, queue_id: int) -> bool:
        """Whether the interrupt of another queue was served with what this queue wrote to the slot.

        That is how it goes when two queues signal one event at the same time, and nothing is lost by it.
        """
        with self._lock:
            event = self._events.get(event_id)
            if event is None or event.served_queue in (None, queue_id):
                return False
            event.served_queue = queue_id
            return True

    def slot(self, event_id: int) -> int | None:
        """Return what the slot of an event holds, None if the id has no slot."""
        slots = self._slots
        return slots[event_id] if slots is not None and event_id < SIGNAL_EVENT_LIMIT else None

    def memory_exception(self, data: HsaMemoryExceptionData) -> int:
        """Give `data` to every MEMORY event, signal them, and return how many there are."""
        with self._lock:
            events = [event for event in self._events.values() if event.type == EventType.MEMORY]
            for event in events:
                event.memory = data
                event.signal()
            return len(events)

    def hw_exception(self, data: HsaHwExceptionData) -> int:
        """Give `data` to every HW_EXCEPTION event, signal them, and return how many there are."""
        with self._lock:
            events = [event for event in self._events.values() if event.type == EventType.HW_EXCEPTION]
            for event in events:
                event.hardware = data
                event.signal()
            return len(events)

    def memory_error(self, memory: HsaMemoryExceptionData, hardware: HsaHwExceptionData) -> int:
        """Signal MEMORY and HW_EXCEPTION events with these data, all at once; returns how many there are."""
        with self._lock:
            events = [
                event
                for event in self._events.values()
                if event.type in (EventType.MEMORY, EventType.HW_EXCEPTION)
            ]
            for event in events:
                if event.type == EventType.MEMORY:
                    event.memory = memory
                else:
                    event.hardware = hardware
                event.signal()
            return len(events)

    def wait(self, elements: Sequence[EventData], wait_all: bool, timeout: float | None) -> WaitResult:
        """Wait for any or all of the events and fill the elements of those that were signalled.

        `timeout` is in seconds, None for ever. Raises Refusal with EINVAL for an unknown id and with EIO
        when an event is destroyed meanwhile, with EINTR where a signal is played. A Python signal handler
        that raises ends the wait, too; what an auto-reset event lost to either is given back.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        waiters: list[_Waiter] = []
        undo = False
        with self._lock:
            wakeup = threading.Condition(self._lock)
            try:
                for element in elements:
                    event = self._find(element.event_id)
                    waiters.append(_Waiter(event, element.signal_event_data.last_event_age, wakeup))
                    event.waiters.append(waiters[-1])
                while (result := _test(waiters, wait_all)) is WaitResult.TIMEOUT:
                    remaining = None if deadline is None else deadline - time.monotonic()
                    if remaining is not None and remaining <= 0:
                        break
                    if self._interrupts_wait is not None and self._interrupts_wait():
                        raise Refusal(errno.EINTR, "a signal came while waiting")
                    wakeup.wait(remaining)
                if result is WaitResult.FAIL:
                    raise Refusal(errno.EIO, "an event was destroyed while waiting for it")
                if result is WaitResult.COMPLETE:
                    for element, waiter in zip(elements, waiters, strict=True):
                        _fill(element, waiter)
                return result
            except BaseException as error:
                undo = not isinstance(error, Refusal) or error.errno == errno.EINTR
                raise
            finally:
                for waiter in waiters:
                    waiter.event.waiters.remove(waiter)
                    if undo and waiter.activated and waiter.event.auto_reset:
                        waiter.event.signal()


def _test(waiters: list[_Waiter], wait_all: bool) -> WaitResult:
    if any(waiter.event.destroyed for waiter in waiters):
        return WaitResult.FAIL
    activated = sum(waiter.activated for waiter in waiters)
    if activated == len(waiters) or (activated and not wait_all):
        return WaitResult.COMPLETE
    return WaitResult.TIMEOUT


def _fill(element: EventData, waiter: _Waiter) -> None:
    event = waiter.event
    if not waiter.activated:
        return
    if event.type == EventType.MEMORY and event.memory is not None:
        element.memory_exception_data = event.memory
    elif event.type == EventType.HW_EXCEPTION and event.hardware is not None:
        element.hw_exception_data = event.hardware
    elif event.type == EventType.SIGNAL and waiter.aged:
        element.signal_event_data.last_event_age = event.age
