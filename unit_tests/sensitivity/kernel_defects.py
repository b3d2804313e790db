"""What the kernel's side of a software GPU can do wrong: memory, events, faults, clocks, the topology."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from injection import defect, shorten_waits

from pytest_amdgpu.abi.kfd import AllocFlag, EventData, EventType, KfdIoctl
from pytest_amdgpu.emulator import host
from pytest_amdgpu.emulator.events import Event, EventTable
from pytest_amdgpu.emulator.gpu import SoftwareGpu
from pytest_amdgpu.emulator.kfd import device_calls, memory_calls
from pytest_amdgpu.emulator.kfd.reports import QueueReports
from pytest_amdgpu.emulator.memory import AddressSpace, BufferObject, Location, VmFault
from pytest_amdgpu.emulator.process import Handler, Process, ProcessDevice

PAGE = 4096


def _replace_ioctl(patch: pytest.MonkeyPatch, request: KfdIoctl, handler: Handler) -> None:
    for module in (device_calls, memory_calls):
        if request in module.HANDLERS:
            patch.setitem(module.HANDLERS, request, handler)
            return
    raise LookupError(f"no handler of {request!r} to replace")


@defect
def every_gpu_is_said_to_be_in_one_slot(patch: pytest.MonkeyPatch) -> None:
    _change_property(patch, "location_id", 0x1200)


@defect
def the_size_of_lds_is_reported_in_half(patch: pytest.MonkeyPatch) -> None:
    _change_property(patch, "lds_size_in_kb", 32)


def _change_property(patch: pytest.MonkeyPatch, key: str, value: int) -> None:
    make = SoftwareGpu.__init__

    def init(self: SoftwareGpu, *arguments: Any, **keywords: Any) -> None:
        make(self, *arguments, **keywords)
        self.properties = {**self.properties, key: value}

    patch.setattr(SoftwareGpu, "__init__", init)


@defect
def the_clock_stands_still(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SoftwareGpu, "clock", lambda self: 12345)


@defect
def timestamps_of_queues_have_another_origin(patch: pytest.MonkeyPatch) -> None:
    """The clock that queues read is not the one that the kernel tells of."""
    read = device_calls.get_clock_counters

    def ahead(process: Process, args: Any) -> None:
        read(process, args)
        args.gpu_clock_counter += 1 << 40

    _replace_ioctl(patch, KfdIoctl.GET_CLOCK_COUNTERS, ahead)


@defect
def more_vram_is_available_than_there_is(patch: pytest.MonkeyPatch) -> None:
    def available(process: Process, args: Any) -> None:
        args.available = 2 * process.device(args.gpu_id).gpu.vram_size

    _replace_ioctl(patch, KfdIoctl.AVAILABLE_MEMORY, available)


@defect
def more_vram_can_be_had_than_there_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(memory_calls, "_require_room", lambda device, location, size, charge: None)


@defect
def freed_vram_stays_taken(patch: pytest.MonkeyPatch) -> None:
    remove = ProcessDevice.remove_object

    def keep(self: ProcessDevice, bo: BufferObject) -> None:
        remove(self, bo)
        if bo.location is Location.VRAM:
            self.gpu.charge(bo.size)

    patch.setattr(ProcessDevice, "remove_object", keep)


@defect
def a_destroyed_queue_keeps_its_engine_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SoftwareGpu, "give_sdma_queue", lambda self, place: None)


@defect
def buffers_of_one_size_are_the_same_memory(patch: pytest.MonkeyPatch) -> None:
    """Of GTT memory that is not a queue's."""
    allocate = memory_calls.alloc_memory
    first: dict[int, BufferObject] = {}

    def alias(process: Process, args: Any) -> None:
        flags = args.flags
        allocate(process, args)
        if flags & AllocFlag.GTT and not flags & AllocFlag.UNCACHED:
            bo = process.object(args.handle, 0)
            other = first.setdefault(bo.size, bo)
            bo.data, bo.memory = other.data, other.memory

    _replace_ioctl(patch, KfdIoctl.ALLOC_MEMORY_OF_GPU, alias)


@defect
def the_cpu_sees_the_first_page_again_as_the_last(patch: pytest.MonkeyPatch) -> None:
    mmap = host.mmap

    def wrapped(address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        result = mmap(address, length, protection, flags, fd, offset)
        if fd != -1 and flags & host.MAP_FIXED and length > PAGE:
            mmap(result + length - PAGE, PAGE, protection, flags, fd, offset)
        return result

    patch.setattr(host, "mmap", wrapped)


@defect
def an_events_age_stands_still(patch: pytest.MonkeyPatch) -> None:
    signal = Event.signal

    def ageless(self: Event) -> None:
        signal(self)
        self.age = 1

    patch.setattr(Event, "signal", ageless)


@defect
def a_signal_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    """Who sleeps finds out only when the time is over."""

    def silent(self: Event) -> None:
        self.signaled = not self.auto_reset or not self.waiters
        self.age += 1
        for waiter in self.waiters:
            waiter.activated = True

    patch.setattr(Event, "signal", silent)


@defect
def a_wait_counts_as_a_signal(patch: pytest.MonkeyPatch) -> None:
    wait = EventTable.wait

    def counted(self: EventTable, elements: Sequence[EventData], *arguments: Any) -> Any:
        for element in elements:
            self._events[element.event_id].age += 1
        return wait(self, elements, *arguments)

    patch.setattr(EventTable, "wait", counted)


@defect
def a_signal_goes_to_every_event(patch: pytest.MonkeyPatch) -> None:
    def everybody(self: EventTable, event_id: int) -> None:
        with self._lock:
            for event in self._events.values():
                if event.type == EventType.SIGNAL:
                    event.signal()

    patch.setattr(EventTable, "set", everybody)


@defect
def events_beyond_200_share_a_slot(patch: pytest.MonkeyPatch) -> None:
    create = EventTable.create

    def crowded(self: EventTable, type: int, auto_reset: bool) -> Event:
        return self._events[200] if 200 in self._events else create(self, type, auto_reset)

    patch.setattr(EventTable, "create", crowded)


@defect
def a_fault_is_reported_at_the_next_page(patch: pytest.MonkeyPatch) -> None:
    report = QueueReports.vm_fault

    def wrong(self: QueueReports, fault: VmFault) -> None:
        report(self, VmFault(fault.address + PAGE, fault.access, fault.reason))

    patch.setattr(QueueReports, "vm_fault", wrong)


@defect
def everything_may_be_written(patch: pytest.MonkeyPatch) -> None:
    """The page tables know no memory that is only read."""
    shorten_waits(patch)
    make = AddressSpace.map

    def writable(self: AddressSpace, start: int, bo: BufferObject) -> Any:
        bo.writable = True
        return make(self, start, bo)

    patch.setattr(AddressSpace, "map", writable)


@defect
def a_gpu_that_faulted_stays_evicted(patch: pytest.MonkeyPatch) -> None:
    """Also for processes that come later."""
    shorten_waits(patch)
    evict, make = ProcessDevice.evict, ProcessDevice.__init__
    faulted: set[int] = set()

    def remember(self: ProcessDevice) -> None:
        faulted.add(self.gpu.gpu_id)
        evict(self)

    def init(self: ProcessDevice, process: Process, gpu: SoftwareGpu) -> None:
        make(self, process, gpu)
        self.evicted = gpu.gpu_id in faulted

    patch.setattr(ProcessDevice, "evict", remember)
    patch.setattr(ProcessDevice, "__init__", init)
