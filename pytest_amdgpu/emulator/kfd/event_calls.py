"""Ioctls about events."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    EVENT_PAGE_SIZE,
    FIRST_NONSIGNAL_EVENT_ID,
    MMAP_TYPE_SHIFT,
    SIGNAL_EVENT_LIMIT,
    WAIT_FOR_EVER,
    CreateEventArgs,
    DestroyEventArgs,
    EventData,
    EventType,
    KfdIoctl,
    MmapType,
    ResetEventArgs,
    SetEventArgs,
    WaitEventsArgs,
    WaitResult,
)
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.events import SLOTS_BEFORE_MAPPING
from pytest_amdgpu.emulator.memory import Location
from pytest_amdgpu.emulator.process import HANDLE_GPU_SHIFT
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Handler, Process

_MAX_WAITED_EVENTS = 1 << 20
_SLOTTED = (EventType.SIGNAL, EventType.DEBUG_EVENT)


def create_event(process: Process, args: CreateEventArgs) -> None:
    """Make an event; a handle in `event_page_offset` first becomes the events page, for good."""
    if args.event_page_offset:
        _set_event_page(process, args.event_page_offset)
    if args.event_type in _SLOTTED and process.events.page is None:
        process.event_page = process.machine.arena.allocate(EVENT_PAGE_SIZE)
        process.events.set_page(process.event_page.view(), SLOTS_BEFORE_MAPPING)
    event = process.events.create(args.event_type, bool(args.auto_reset))
    args.event_id = event.id
    if event.id < FIRST_NONSIGNAL_EVENT_ID:
        args.event_page_offset = MmapType.EVENTS << MMAP_TYPE_SHIFT
        args.event_slot_index = args.event_trigger_data = event.id


def _set_event_page(process: Process, handle: int) -> None:
    if process.events.page is not None:
        raise Refusal(errno.EINVAL, "the process has an events page already")
    process.bound_device(handle >> HANDLE_GPU_SHIFT, errno.ENODEV)
    bo = process.object(handle, errno.EINVAL)
    if bo.location is Location.USERPTR:
        raise Refusal(errno.EINVAL, "user memory cannot be the events page")
    if bo.size < EVENT_PAGE_SIZE:
        # amdkfd does not look and would overwrite what lies behind.
        process.machine.misuse(f"the events page has {bo.size} bytes, the kernel fills {EVENT_PAGE_SIZE}")
        raise Refusal(errno.EINVAL, f"the events page needs {EVENT_PAGE_SIZE} bytes, not {bo.size}")
    process.events.set_page(bo.data, SIGNAL_EVENT_LIMIT)
    process.event_page = bo.memory
    process.event_page_handle = handle


def destroy_event(process: Process, args: DestroyEventArgs) -> None:
    """End an event."""
    process.events.destroy(args.event_id)


def set_event(process: Process, args: SetEventArgs) -> None:
    """Signal an event from the host."""
    process.events.set(args.event_id)


def reset_event(process: Process, args: ResetEventArgs) -> None:
    """Clear an event."""
    process.events.reset(args.event_id)


def wait_events(process: Process, args: WaitEventsArgs) -> None:
    """Wait for events. Running out of time is a result and not an error."""
    timeout_ms, size = args.timeout, ctypes.sizeof(EventData)
    try:
        if args.num_events > _MAX_WAITED_EVENTS:
            raise Refusal(errno.ENOMEM, f"{args.num_events} events")
        raw = bytearray(client.read(args.events_ptr, size * args.num_events))
        elements = [EventData.from_buffer(raw, index * size) for index in range(args.num_events)]
        timeout = None if timeout_ms == WAIT_FOR_EVER else timeout_ms / 1000
        args.wait_result = process.events.wait(elements, bool(args.wait_for_all), timeout)
        if args.wait_result == WaitResult.COMPLETE:
            client.write(args.events_ptr, bytes(raw))
    except Refusal:
        args.wait_result = WaitResult.FAIL
        raise


HANDLERS: dict[KfdIoctl, Handler] = {
    KfdIoctl.CREATE_EVENT: create_event,
}
HANDLERS_WITHOUT_LOCK: dict[KfdIoctl, Handler] = {
    KfdIoctl.DESTROY_EVENT: destroy_event,
    KfdIoctl.SET_EVENT: set_event,
    KfdIoctl.RESET_EVENT: reset_event,
    KfdIoctl.WAIT_EVENTS: wait_events,
}
"""The table of events has its own lock, so these work while a queue is being destroyed."""
