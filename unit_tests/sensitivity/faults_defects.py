"""Defects of what faults stop, and of what is told of them."""

from __future__ import annotations

import errno

import pytest
from injection import defect, shorten_waits

from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.resources import Resource, Tracker
from pytest_amdgpu.emulator.kfd import reports
from pytest_amdgpu.emulator.kfd.queue import Queue
from pytest_amdgpu.emulator.kfd.reports import QueueReports
from pytest_amdgpu.emulator.memory import AddressSpace, BufferObject, Mapping
from pytest_amdgpu.emulator.process import ProcessDevice
from pytest_amdgpu.emulator.refusal import Refusal


@defect
def everything_may_be_executed(patch: pytest.MonkeyPatch) -> None:
    """The page tables know no memory without code."""
    shorten_waits(patch)
    make = AddressSpace.map

    def executable(self: AddressSpace, start: int, bo: BufferObject) -> Mapping:
        bo.executable = True
        return make(self, start, bo)

    patch.setattr(AddressSpace, "map", executable)


@defect
def what_was_freed_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Tracker, resource: Resource) -> None:
        self._out.pop(id(resource), None)

    patch.setattr(Tracker, "discard", forget)


@defect
def a_memory_fault_stops_its_queue_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ProcessDevice, "evict", lambda self: None)


@defect
def a_lost_queue_takes_work(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Device, "refuse_lost", lambda self, queue: None)


@defect
def every_bad_packet_has_the_code_of_another(patch: pytest.MonkeyPatch) -> None:
    report = QueueReports.bad_packet
    patch.setattr(
        QueueReports,
        "bad_packet",
        lambda self, text, code: report(self, text, ExceptionCode.QUEUE_PACKET_RESERVED),
    )


@defect
def a_bad_packet_stops_all_queues(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    report = QueueReports.bad_packet

    def stop_all(self: QueueReports, text: str, code: ExceptionCode) -> None:
        self._device.evict()
        report(self, text, code)

    patch.setattr(QueueReports, "bad_packet", stop_all)


@defect
def queues_made_after_a_bad_packet_do_not_run(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    tell = reports.tell_runtime

    def evict_later_ones(queue: Queue, exceptions: int) -> bool:
        queue.device.evicted = True
        return tell(queue, exceptions)

    patch.setattr(reports, "tell_runtime", evict_later_ones)


@defect
def an_illegal_instruction_stops_all_queues(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    patch.setattr(QueueReports, "illegal_instruction", lambda self, text: self._device.evict())


@defect
def uncached_memory_is_cached(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    make = AddressSpace.map

    def cached(self: AddressSpace, start: int, bo: BufferObject) -> Mapping:
        bo.uncached = False
        return make(self, start, bo)

    patch.setattr(AddressSpace, "map", cached)


@defect
def running_waves_cannot_be_preempted(patch: pytest.MonkeyPatch) -> None:
    """DESTROY_QUEUE fails with ETIME where a kernel runs."""
    destroy = Queue.destroy

    def fail(self: Queue) -> None:
        running = "running kernel" in self.engine.state()
        destroy(self)
        if running:
            raise Refusal(errno.ETIME, "the waves do not stop")

    patch.setattr(Queue, "destroy", fail)
