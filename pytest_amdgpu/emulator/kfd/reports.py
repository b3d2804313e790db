"""What a queue's engine reports, turned into events, evictions and lines of the kernel's log.

Faults and interrupts: kfd_int_process_v9.c, kfd_int_process_v11.c and kfd_events.c in amdkfd. What the log
says of a page fault is in `fault_log`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.drm_info import AmdgpuInfoGpuvmFault
from pytest_amdgpu.abi.kfd import (
    ContextSaveAreaHeader,
    HsaHwExceptionData,
    HsaMemoryExceptionData,
    HwExceptionCause,
    HwResetType,
    MemoryErrorType,
    MemoryExceptionFailure,
)
from pytest_amdgpu.emulator import client, fault_log
from pytest_amdgpu.emulator.debug import bit
from pytest_amdgpu.emulator.memory import PAGE_SIZE, VmFault
from pytest_amdgpu.emulator.ras import consume_poison
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.abi.kfd_debug import ExceptionCode
    from pytest_amdgpu.emulator.engine.context import InterruptSource
    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.process import ProcessDevice

_CONTEXT_ID_BITS: dict[InterruptSource, int] = {"eop": 32, "sdma": 28, "sq": 24}
"""Bits of the event id that an interrupt carries."""


class QueueReports:
    """The `QueueHost` of a queue.

    A bad packet on a compute queue goes to the runtime where there is one (RUNTIME_ENABLE, and a queue
    whose context save area names a payload and an event): the exception's bit is ORed into the payload
    and the event is set. Every other queue that meets a bad packet just hangs. The real kernel notices that
    when it next tries to preempt the queue, and then resets it; here it notices at once, and resets this
    queue alone. What the process is told is as for a whole GPU, because kfd_signal_reset_event fills
    HW_EXCEPTION in one way only: reset_type 0, memory_lost 1.

    Of an illegal instruction the process is told nothing. The wave enters the trap handler of amdkfd, which
    halts it where no second-level handler (SET_TRAP_HANDLER) takes over (L_NO_NEXT_TRAP in
    cwsr_trap_handler_gfx9.asm and _gfx10.asm), so its dispatch never ends; a halted wave can be saved, so
    preempting the queue succeeds and nothing is reset. Only the log has a line (SQ interrupt, error type 2).
    """

    def __init__(self, device: ProcessDevice, queue_id: int, *, sdma: bool = False) -> None:
        self._device = device
        self._queue_id = queue_id
        self._sdma = sdma

    def log(self, text: str) -> None:
        """Write a line to the kernel's log."""
        gpu = self._device.gpu
        self._device.process.machine.log(f"amdgpu {gpu.pci_address}: queue {self._queue_id}: {text}")

    def is_event_slot(self, address: int) -> bool:
        """Whether a GPU address is on the process's page of events."""
        mapping, page = self._device.space.find(address), self._device.process.event_page
        return mapping is not None and page is not None and mapping.bo.memory is page

    def misuse(self, text: str) -> None:
        """Warn about a bug of the driver, and log it."""
        self._device.process.machine.misuse_later(
            f"{self._device.gpu.pci_address} queue {self._queue_id}: {text}"
        )

    def interrupt(self, event_id: int, source: InterruptSource) -> None:
        """Signal the event that an interrupt names."""
        events = self._device.process.events
        if event_id == 0 and source == "eop":
            # Dropped in the interrupt handler on GC 9.4.1 and later; also what a fence without event sends.
            self.log("end-of-pipe interrupt with context id 0 is not delivered")
            return
        injected = self._device.gpu.injected
        if injected is not None and injected.loses_interrupt():
            self.log(f"injected: the {source} interrupt with id {event_id:#x} is lost")
            return
        hostility, event = self._device.process.machine.hostility, events.event(event_id)

        def deliver_late() -> None:
            # An interrupt that comes after its event was destroyed finds nothing, which is nobody's fault.
            if events.event(event_id) is event:
                self._deliver(event_id, source)

        if hostility and event and hostility.delivers_late(self._device.process, event, deliver_late):
            return
        self._deliver(event_id, source)

    def _deliver(self, event_id: int, source: InterruptSource) -> None:
        events = self._device.process.events
        delivered = events.signal_interrupt(event_id, _CONTEXT_ID_BITS[source], self._queue_id)
        if event_id in delivered or events.overtaken(event_id, self._queue_id):
            return
        if self._device.process.machine.hostility and events.event(event_id):
            # An earlier interrupt came late and was served with what belonged to this one.
            return
        if delivered:
            self.misuse(
                f"{source} interrupt with id {event_id:#x} found events {delivered} by their slots only"
            )
        elif events.slot(event_id) is None:
            self.misuse(
                f"{source} interrupt with id {event_id:#x}, which is no slot of the events page: lost"
            )
        else:
            self.misuse(
                f"{source} interrupt with id {event_id:#x}, but nothing was written to the event's slot: lost"
            )

    def vm_fault(self, fault: VmFault) -> None:
        """Evict all queues of the process on this GPU and signal its MEMORY events."""
        gpu, process = self._device.gpu, self._device.process
        page = fault.address & ~(PAGE_SIZE - 1)
        known = fault_log.facts(gpu, fault, sdma=self._sdma)
        gpu.last_fault = AmdgpuInfoGpuvmFault(page, known.status, int(known.hub.startswith("mmhub")))
        for line in fault_log.page_fault(process, fault, known):
            process.machine.log(f"amdgpu {gpu.pci_address}: {line}")
        gpu.smi.vm_fault(process.pid)
        data = HsaMemoryExceptionData(
            MemoryExceptionFailure(NotPresent=known.not_present, ReadOnly=known.read_only),
            page,
            gpu.gpu_id,
            MemoryErrorType.NO_RAS,
        )
        if process.debug.raise_memory_violation(self._device, data):
            self.log("the page fault is left to the debugger")
        else:
            signal_page_fault(self._device, data)

    def poison_consumed(self, address: int) -> None:
        """Tell the process of a memory error that it has met."""
        consume_poison(self._device, sdma=self._sdma)

    def illegal_instruction(self, text: str) -> None:
        """Log that a wave is halted."""
        self.log(f"sq_intr: error, err_type 2 (illegal instruction): {text}")
        self.log("the wave is halted and its dispatch never ends; no event tells of it")

    def not_emulated(self, text: str) -> None:
        """Reset the queue, because nothing would come of waiting."""
        self.log(text)
        self._reset_queue()

    def bad_packet(self, text: str, code: ExceptionCode) -> None:
        """Tell the runtime of a packet that the engine cannot execute, or reset the queue."""
        self.log(f"bad packet: {text}")
        process = self._device.process
        queue = process.queues.get(self._queue_id)
        if queue is not None and process.debug.raise_on_queue(queue, code):
            self.log(f"{code.name} is left to the debugger")
        elif queue is None or not tell_runtime(queue, bit(code)):
            self._reset_queue()

    def _reset_queue(self) -> None:
        gpu = self._device.gpu
        data = HsaHwExceptionData(HwResetType.WHOLE_GPU_RESET, HwExceptionCause.GPU_HANG, 1, gpu.gpu_id)
        listeners = self._device.process.events.hw_exception(data)
        self.log(f"queue hangs and is reset; {listeners} HW_EXCEPTION events signalled")


def signal_page_fault(device: ProcessDevice, data: HsaMemoryExceptionData) -> None:
    """Evict all queues of a process on a GPU for good and signal the process's MEMORY events."""
    device.evict()
    listeners = device.process.events.memory_exception(data)
    device.process.machine.log(
        f"amdgpu {device.gpu.pci_address}: all queues of the process on this GPU are evicted for good; "
        f"{listeners} MEMORY events signalled"
    )


def tell_runtime(queue: Queue, exceptions: int) -> bool:
    """Deliver exceptions as kfd_send_exception_to_runtime does; False if nobody listens.

    The mask is ORed into the payload that the context save area names, and its event is set.
    """
    process, area = queue.device.process, queue.context.ctx_save_address
    if not process.runtime_enabled or not area:
        return False
    try:
        header = ContextSaveAreaHeader.from_buffer_copy(
            client.read(area, ctypes.sizeof(ContextSaveAreaHeader))
        )
        if not header.err_payload_addr or not header.err_event_id:
            return False
        payload = int.from_bytes(client.read(header.err_payload_addr, 8), "little")
        client.write(header.err_payload_addr, (payload | exceptions).to_bytes(8, "little"))
        process.events.set(header.err_event_id)
    except Refusal as refusal:
        process.machine.log(f"queue {queue.id}: {exceptions:#x} cannot be told to the runtime: {refusal.why}")
        return False
    process.machine.log(
        f"queue {queue.id}: exceptions {exceptions:#x} told to the runtime by event {header.err_event_id:#x}"
    )
    return True
