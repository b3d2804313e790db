"""Events: refusals, slots, ages, auto-reset, waiting, and how interrupts find them (kfd_events.c)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from kfd_client import GTT, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PAGE, PROT_RW, Client

from pytest_amdgpu.abi.kfd import (
    EVENT_PAGE_SIZE,
    AllocFlag,
    EventData,
    EventType,
    HsaHwExceptionData,
    HsaMemoryExceptionData,
    KfdIoctl,
    WaitEventsArgs,
    WaitResult,
)
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.kernel.protocol import KernelError

UNMAPPED = 0x1234_5678_0000
ALL_ONES = (1 << 64) - 1
EVENTS_OFFSET = 2 << 62
WAIT_FAILED = {"wait_result": WaitResult.FAIL}


def create(client: Client, event_type: int = EventType.SIGNAL, *, auto_reset: bool = True) -> int:
    args = client.call(KfdIoctl.CREATE_EVENT, event_type=event_type, auto_reset=auto_reset)
    event_id: int = args.event_id
    return event_id


def elements(*events: int, ages: Sequence[int] = ()) -> ctypes.Array[EventData]:
    array = (EventData * len(events))()
    for index, event in enumerate(events):
        array[index].event_id = event
        if ages:
            array[index].signal_event_data.last_event_age = ages[index]
    return array


def wait(
    client: Client, array: ctypes.Array[EventData], *, wait_all: bool = False, timeout_ms: int = 0
) -> WaitResult:
    args = client.call(
        KfdIoctl.WAIT_EVENTS,
        events_ptr=ctypes.addressof(array),
        num_events=len(array),
        wait_for_all=wait_all,
        timeout=timeout_ms,
    )
    return WaitResult(args.wait_result)


def ready(client: Client, event: int) -> bool:
    return wait(client, elements(event)) is WaitResult.COMPLETE


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run in a thread and keep what it returns or raises."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        except KernelError as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def until_waiting(client: Client, event: int, count: int = 1) -> None:
    """Return when `count` threads wait for an event; they can only show that by being in its list."""
    deadline = time.monotonic() + 60
    while len(client.process.events._events[event].waiters) < count:
        assert time.monotonic() < deadline, "the thread did not start to wait"
        os.sched_yield()


def test_ids_start_at_1_and_are_slot_and_trigger_data(client: Client) -> None:
    args = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL)
    assert (args.event_id, args.event_slot_index, args.event_trigger_data) == (1, 1, 1)
    assert args.event_page_offset == EVENTS_OFFSET
    assert create(client, EventType.DEBUG_EVENT) == 2


@pytest.mark.parametrize("event_type", [1, 2, 3, 4, 6, 7, 8, 9, 1000])
def test_other_types_known_or_not_get_ids_without_a_slot(client: Client, event_type: int) -> None:
    args = client.call(KfdIoctl.CREATE_EVENT, event_type=event_type, event_slot_index=77)
    assert (args.event_id, args.event_slot_index) == (0x40000000, 77)
    assert create(client, event_type) == 0x40000001


def test_lowest_free_id_is_used_again(client: Client) -> None:
    ids = [create(client) for _ in range(4)]
    client.call(KfdIoctl.DESTROY_EVENT, event_id=ids[1])
    assert [create(client), create(client)] == [ids[1], 5]


def test_enospc_at_256_slots_until_the_page_is_mapped(client: Client) -> None:
    for _ in range(255):
        create(client)
    client.refused(errno.ENOSPC, KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL)
    assert create(client, EventType.MEMORY) == 0x40000000
    client.kernel.mmap(0, EVENT_PAGE_SIZE, PROT_RW, MAP_SHARED, client.fd, EVENTS_OFFSET)
    assert create(client) == 256


def test_enospc_at_4096_slots_with_a_page_handed_in(client: Client) -> None:
    client.event_page()
    for _ in range(4094):
        create(client)
    client.refused(errno.ENOSPC, KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL)


def test_page_given_when_one_exists_einval(client: Client) -> None:
    page = client.buffer(EVENT_PAGE_SIZE, GTT)
    create(client)
    client.refused(errno.EINVAL, KfdIoctl.CREATE_EVENT, event_page_offset=page.handle)


def test_page_given_twice_einval(client: Client) -> None:
    page = client.event_page()
    client.refused(errno.EINVAL, KfdIoctl.CREATE_EVENT, event_page_offset=page.handle)


def test_page_handle_of_unknown_gpu_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.CREATE_EVENT, event_page_offset=1)


def test_page_vm_not_acquired_enodev(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx", acquire=False)
    client.refused(errno.ENODEV, KfdIoctl.CREATE_EVENT, event_page_offset=client.gpu_id << 32 | 1)


def test_page_handle_number_unknown_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.CREATE_EVENT, event_page_offset=client.gpu_id << 32 | 99)


def test_page_of_user_memory_einval(client: Client) -> None:
    address = client.kernel.mmap(0, EVENT_PAGE_SIZE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    args = client.call(
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=address,
        size=EVENT_PAGE_SIZE,
        gpu_id=client.gpu_id,
        flags=AllocFlag.USERPTR | AllocFlag.WRITABLE,
        mmap_offset=address,
    )
    client.refused(errno.EINVAL, KfdIoctl.CREATE_EVENT, event_page_offset=args.handle)


def test_page_smaller_than_32_kib_is_a_driver_bug(client: Client) -> None:
    page = client.buffer(EVENT_PAGE_SIZE - PAGE, GTT)
    with pytest.warns(KfdMisuse, match="the events page has 28672 bytes"):
        client.refused(errno.EINVAL, KfdIoctl.CREATE_EVENT, event_page_offset=page.handle)


def test_page_is_filled_with_ones(client: Client) -> None:
    page = client.event_page()
    assert ctypes.string_at(page.va_addr, EVENT_PAGE_SIZE) == b"\xff" * EVENT_PAGE_SIZE


@pytest.mark.parametrize("request_number", [KfdIoctl.SET_EVENT, KfdIoctl.RESET_EVENT, KfdIoctl.DESTROY_EVENT])
def test_event_unknown_einval(client: Client, request_number: KfdIoctl) -> None:
    client.refused(errno.EINVAL, request_number, event_id=1)


@pytest.mark.parametrize("request_number", [KfdIoctl.SET_EVENT, KfdIoctl.RESET_EVENT])
@pytest.mark.parametrize("event_type", [EventType.MEMORY, EventType.HW_EXCEPTION, EventType.DEBUG_EVENT])
def test_event_not_a_signal_einval(client: Client, request_number: KfdIoctl, event_type: EventType) -> None:
    client.refused(errno.EINVAL, request_number, event_id=create(client, event_type))


def test_wait_bad_pointer_efault_with_result_fail(client: Client) -> None:
    client.refused(errno.EFAULT, KfdIoctl.WAIT_EVENTS, out=WAIT_FAILED, events_ptr=UNMAPPED, num_events=1)


def test_wait_for_more_events_than_the_kernel_makes_room_for_enomem(client: Client) -> None:
    client.refused(errno.ENOMEM, KfdIoctl.WAIT_EVENTS, out=WAIT_FAILED, num_events=0xFFFFFFFF)


def test_wait_event_unknown_einval_with_result_fail(client: Client) -> None:
    array = elements(create(client), 99)
    pointer = ctypes.addressof(array)
    client.refused(errno.EINVAL, KfdIoctl.WAIT_EVENTS, out=WAIT_FAILED, events_ptr=pointer, num_events=2)


@pytest.mark.parametrize("wait_all", [False, True])
def test_wait_for_no_events_completes(client: Client, wait_all: bool) -> None:
    assert wait(client, elements(), wait_all=wait_all) is WaitResult.COMPLETE


@pytest.mark.parametrize("timeout_ms", [0, 3])
def test_timeout_is_a_result_and_not_an_errno(client: Client, timeout_ms: int) -> None:
    start = time.monotonic()
    assert wait(client, elements(create(client)), timeout_ms=timeout_ms) is WaitResult.TIMEOUT
    assert time.monotonic() - start >= timeout_ms / 1000


def test_set_event_is_consumed_by_one_wait_with_auto_reset(client: Client) -> None:
    event = create(client, auto_reset=True)
    client.call(KfdIoctl.SET_EVENT, event_id=event)
    assert [ready(client, event), ready(client, event)] == [True, False]


def test_set_event_stays_without_auto_reset_until_reset(client: Client) -> None:
    event = create(client, auto_reset=False)
    client.call(KfdIoctl.SET_EVENT, event_id=event)
    assert [ready(client, event), ready(client, event)] == [True, True]
    client.call(KfdIoctl.RESET_EVENT, event_id=event)
    assert not ready(client, event)


def test_wait_for_all_needs_all(client: Client) -> None:
    first, second = create(client, auto_reset=False), create(client, auto_reset=False)
    client.call(KfdIoctl.SET_EVENT, event_id=first)
    assert wait(client, elements(first, second), wait_all=True) is WaitResult.TIMEOUT
    assert wait(client, elements(first, second)) is WaitResult.COMPLETE
    client.call(KfdIoctl.SET_EVENT, event_id=second)
    assert wait(client, elements(first, second), wait_all=True) is WaitResult.COMPLETE


def test_age_that_differs_completes_at_once_and_comes_back(client: Client) -> None:
    event = create(client)
    for age in (1, 2, 3):
        array = elements(event, ages=[age])
        assert wait(client, array) is WaitResult.TIMEOUT
        assert array[0].signal_event_data.last_event_age == age
        client.call(KfdIoctl.SET_EVENT, event_id=event)
        client.call(KfdIoctl.RESET_EVENT, event_id=event)
        assert wait(client, array) is WaitResult.COMPLETE
        assert array[0].signal_event_data.last_event_age == age + 1


def test_age_0_asks_for_the_old_behaviour(client: Client) -> None:
    event = create(client)
    client.call(KfdIoctl.SET_EVENT, event_id=event)
    array = elements(event, ages=[0])
    assert wait(client, array) is WaitResult.COMPLETE
    assert array[0].signal_event_data.last_event_age == 0
    assert wait(client, array) is WaitResult.TIMEOUT


@pytest.mark.parametrize("timeout_ms", [60_000, 0xFFFFFFFF])
def test_wait_is_woken_by_another_thread(client: Client, timeout_ms: int) -> None:
    event = create(client)
    thread, results = in_thread(lambda: wait(client, elements(event), timeout_ms=timeout_ms))
    until_waiting(client, event)
    client.call(KfdIoctl.SET_EVENT, event_id=event)
    thread.join(60)
    assert results == [WaitResult.COMPLETE]
    assert not ready(client, event), "auto-reset: the waiter has consumed it"


def test_all_waiters_are_woken(client: Client) -> None:
    event = create(client)
    waits = [in_thread(lambda: wait(client, elements(event), timeout_ms=60_000)) for _ in range(3)]
    until_waiting(client, event, 3)
    client.call(KfdIoctl.SET_EVENT, event_id=event)
    for thread, results in waits:
        thread.join(60)
        assert results == [WaitResult.COMPLETE]


def test_event_destroyed_while_waiting_eio_with_result_fail(client: Client) -> None:
    event = create(client)
    array = elements(event)
    args = WaitEventsArgs(ctypes.addressof(array), 1, 0, 60_000)
    thread, results = in_thread(lambda: client.kernel.ioctl(client.fd, KfdIoctl.WAIT_EVENTS, args))
    until_waiting(client, event)
    client.call(KfdIoctl.DESTROY_EVENT, event_id=event)
    thread.join(60)
    assert [error.errno for error in results] == [errno.EIO]
    assert args.wait_result == WaitResult.FAIL


def test_shutdown_wakes_who_waits(make_client: Callable[..., Client]) -> None:
    client = make_client()
    event = create(client)
    thread, results = in_thread(lambda: wait(client, elements(event), timeout_ms=0xFFFFFFFF))
    until_waiting(client, event)
    client.kernel.shutdown()
    thread.join(60)
    assert [error.errno for error in results] == [errno.EIO]


class Interrupted(Exception):
    pass


def test_signal_handler_that_raises_ends_the_wait_and_gives_the_event_back(client: Client) -> None:
    taken, missing = create(client), create(client)
    client.call(KfdIoctl.SET_EVENT, event_id=taken)

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(Interrupted):
            wait(client, elements(taken, missing), wait_all=True, timeout_ms=60_000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert ready(client, taken)
    assert not client.process.events._events[missing].waiters


def slots(client: Client) -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * 4096).from_address(client.event_page().va_addr)


def test_interrupt_signals_the_event_whose_slot_was_written(client: Client) -> None:
    page, first, second = slots(client), create(client), create(client)
    page[second] = 5
    assert client.process.events.signal_interrupt(second, 32) == [second]
    assert page[second] == ALL_ONES, "the kernel resets the slot"
    assert [ready(client, first), ready(client, second)] == [False, True]


def test_interrupt_without_a_written_slot_is_lost(client: Client) -> None:
    slots(client)
    event = create(client)
    assert client.process.events.signal_interrupt(event, 32) == []
    assert not ready(client, event)


def test_interrupt_with_a_bad_id_signals_all_events_with_written_slots(client: Client) -> None:
    page, events = slots(client), [create(client) for _ in range(3)]
    page[events[0]] = page[events[2]] = 0
    assert client.process.events.signal_interrupt(4095, 32) == [events[0], events[2]]
    assert [ready(client, event) for event in events] == [True, False, True]


@pytest.mark.parametrize(("bits", "sent"), [(28, 1 << 28 | 2), (24, 1 << 24 | 2)])
def test_interrupt_carries_only_the_low_bits_of_the_id(client: Client, bits: int, sent: int) -> None:
    page, event = slots(client), create(client)
    assert event == 2
    page[event] = 0
    assert client.process.events.signal_interrupt(sent, bits) == [event]


def test_interrupt_before_there_is_a_page_is_lost(client: Client) -> None:
    assert client.process.events.signal_interrupt(1, 32) == []


def test_memory_and_hw_exceptions_reach_all_events_of_their_type(client: Client) -> None:
    memory = [create(client, EventType.MEMORY, auto_reset=False) for _ in range(2)]
    hardware = create(client, EventType.HW_EXCEPTION)
    assert client.process.events.memory_exception(HsaMemoryExceptionData(va=0x1000, gpu_id=9)) == 2
    assert client.process.events.hw_exception(HsaHwExceptionData(reset_type=1, gpu_id=9)) == 1
    array = elements(*memory, hardware)
    assert wait(client, array, wait_all=True) is WaitResult.COMPLETE
    assert [array[index].memory_exception_data.va for index in (0, 1)] == [0x1000, 0x1000]
    assert (array[2].hw_exception_data.reset_type, array[2].hw_exception_data.gpu_id) == (1, 9)
    assert [ready(client, event) for event in (*memory, hardware)] == [True, True, False]


def test_only_activated_events_get_data(client: Client) -> None:
    memory, pending = create(client, EventType.MEMORY), create(client, EventType.MEMORY)
    client.process.events.memory_exception(HsaMemoryExceptionData(va=0x1000))
    client.call(KfdIoctl.DESTROY_EVENT, event_id=pending)
    pending = create(client, EventType.MEMORY)
    array = elements(memory, pending)
    assert wait(client, array) is WaitResult.COMPLETE
    assert [element.memory_exception_data.va for element in array] == [0x1000, 0]
