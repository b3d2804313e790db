"""A user-mode queue as amdkfd keeps it, and what its engine reports back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.abi.drm_info import AmdgpuInfoGpuvmFault
from pytest_amdgpu.abi.kfd import (
    HsaHwExceptionData,
    HsaMemoryExceptionData,
    HwExceptionCause,
    HwResetType,
    MemoryErrorType,
    MemoryExceptionFailure,
)
from pytest_amdgpu.emulator.engine.factory import create_queue
from pytest_amdgpu.emulator.memory import PAGE_SIZE, Access, Mapping, Reason, VmFault

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import InterruptSource, QueueContext
    from pytest_amdgpu.emulator.engine.factory import EngineQueue
    from pytest_amdgpu.emulator.process import ProcessDevice

_CONTEXT_ID_BITS: dict[InterruptSource, int] = {"eop": 32, "sdma": 28, "sq": 24}
"""Bits of the event id that an interrupt carries (kfd_int_process_v9.c and its successors)."""
_FAULT_PERMISSION = 0xF << 4
_FAULT_WALKER = 1 << 1
_FAULT_WRITE = 1 << 18
_FAULT_ATOMIC = 1 << 19


class Queue:
    """One queue. The engine belongs to it from `start` to `destroy`."""

    engine: EngineQueue

    def __init__(self, device: ProcessDevice, context: QueueContext) -> None:
        self.device = device
        self.id = context.queue_id
        self.context = context
        self.ring_address = context.ring_address
        self.ring_size = context.ring_size
        self.held: dict[str, Mapping] = {}
        """GPU mappings that cannot be removed while the queue lives, by what they are to it."""
        self.sdma_place: tuple[int, int] | None = None
        self.doorbell_slot = 0
        self.cu_mask: tuple[int, ...] = ()

    def start(self, held: dict[str, Mapping]) -> None:
        """Start the engine and enter the queue into its process; whatever fails, the slots are given back."""
        device = self.device
        try:
            self.engine = create_queue(self.context)
        except BaseException:
            self._give_slots()
            raise
        for what, mapping in held.items():
            self.hold(what, mapping)
        device.gpu.queue_count += 1
        device.process.queues[self.id] = device.queues[self.id] = self
        # Looked at after the queue can be found, because a fault of another queue evicts those it finds.
        if device.evicted:
            self.engine.evict()
            device.process.machine.log(
                f"amdgpu {device.gpu.pci_address}: queue {self.id} is created evicted and will not run: "
                "the process had a page fault on this GPU"
            )

    def _give_slots(self) -> None:
        self.device.doorbells.give(self.doorbell_slot)
        if self.sdma_place is not None:
            self.device.gpu.give_sdma_queue(self.sdma_place)

    def hold(self, what: str, mapping: Mapping) -> None:
        """Keep a mapping from being removed, instead of the one that was `what` before."""
        mapping.queue_references += 1
        self.release(what)
        self.held[what] = mapping

    def release(self, what: str) -> None:
        """Let go of a mapping."""
        mapping = self.held.pop(what, None)
        if mapping is not None:
            mapping.queue_references -= 1

    def destroy(self) -> None:
        """Stop the engine, then free what the queue holds, also when the engine did not stop."""
        try:
            self.engine.stop()
        finally:
            for what in list(self.held):
                self.release(what)
            self._give_slots()
            self.device.gpu.queue_count -= 1
            del self.device.queues[self.id]
            del self.device.process.queues[self.id]


class QueueReports:
    """The `QueueHost` of a queue: turns what its engine meets into events, evictions and lines of the log.

    A queue that meets an illegal instruction or a bad packet hangs. The real kernel notices when it next
    tries to preempt the queue, and resets that queue alone; here that happens at once: HW_EXCEPTION events
    with reset_type 1 (per engine), cause hang, memory_lost 0.
    """

    def __init__(self, device: ProcessDevice, queue_id: int) -> None:
        self._device = device
        self._queue_id = queue_id

    def log(self, text: str) -> None:
        """Write a line to the kernel's log."""
        gpu = self._device.gpu
        self._device.process.machine.log(f"amdgpu {gpu.pci_address}: queue {self._queue_id}: {text}")

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
        delivered = events.signal_interrupt(event_id, _CONTEXT_ID_BITS[source])
        if event_id in delivered:
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
        present = fault.reason is not Reason.NOT_PRESENT
        status = (
            (_FAULT_PERMISSION if present else _FAULT_PERMISSION | _FAULT_WALKER)
            | (_FAULT_WRITE if fault.access in (Access.WRITE, Access.ATOMIC) else 0)
            | (_FAULT_ATOMIC if fault.access is Access.ATOMIC else 0)
        )
        gpu.last_fault = AmdgpuInfoGpuvmFault(page, status, 0)
        self.log(
            f"[gfxhub0] no-retry page fault: {fault.access.value} at {fault.address:#x}, in page starting at "
            f"address {page:#018x}: {fault.reason.value} (process pid {process.pid}, "
            f"VM_L2_PROTECTION_FAULT_STATUS {status:#010x})"
        )
        self._device.evict()
        data = HsaMemoryExceptionData(
            MemoryExceptionFailure(NotPresent=not present, ReadOnly=fault.reason is Reason.READ_ONLY),
            page,
            gpu.gpu_id,
            MemoryErrorType.NO_RAS,
        )
        listeners = process.events.memory_exception(data)
        self.log(
            f"all queues of the process on this GPU are evicted for good; {listeners} MEMORY events signalled"
        )

    def illegal_instruction(self, text: str) -> None:
        """Reset the queue after a wave met an instruction that does not exist."""
        self._reset_queue(f"illegal instruction: {text}")

    def bad_packet(self, text: str) -> None:
        """Reset the queue after its engine met a packet that it cannot execute."""
        self._reset_queue(f"bad packet: {text}")

    def _reset_queue(self, cause: str) -> None:
        gpu = self._device.gpu
        data = HsaHwExceptionData(HwResetType.PER_ENGINE_RESET, HwExceptionCause.GPU_HANG, 0, gpu.gpu_id)
        self.log(cause)
        listeners = self._device.process.events.hw_exception(data)
        self.log(f"queue hangs and is reset; {listeners} HW_EXCEPTION events signalled")
