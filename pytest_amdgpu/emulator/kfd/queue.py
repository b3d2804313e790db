"""A user-mode queue as amdkfd keeps it: what it holds of its process and GPU while it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.debug import bit
from pytest_amdgpu.emulator.engine.factory import create_queue
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.engine.factory import EngineQueue
    from pytest_amdgpu.emulator.memory import Mapping
    from pytest_amdgpu.emulator.process import Process, ProcessDevice

COMPUTE_TYPES = (QueueType.COMPUTE, QueueType.COMPUTE_AQL)


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
        self.shared_save_area: tuple[int, int] | None = None
        """Start and end of the shared virtual memory that is the context save area, where no buffer is."""
        self.sdma_place: tuple[int, int] | None = None
        self.doorbell_slot = 0
        self.cu_mask: tuple[int, ...] = ()
        self.enabled = context.active
        """Whether percentage and ring let it run."""
        self.exceptions = bit(ExceptionCode.QUEUE_NEW)
        """What is raised on the queue and was not cleared by a debugger."""

    @property
    def active(self) -> bool:
        """Whether it is or will be on the hardware."""
        return self.enabled and not self.device.evicted

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
        if self.shared_save_area is not None:
            device.process.svm.hold(*self.shared_save_area)
        device.gpu.queue_count += 1
        device.process.queues[self.id] = device.queues[self.id] = self
        # Looked at after the queue can be found, because a fault of another queue evicts those it finds.
        if device.evicted:
            self.engine.evict()
            device.process.machine.log(
                f"amdgpu {device.gpu.pci_address}: queue {self.id} is created evicted and will not run: "
                "the process had a page fault on this GPU, or a GPU was reset"
            )

    def restore(self) -> None:
        """Let the engine go on after it was evicted for a while, unless the process has lost the GPU."""
        self.engine.restore()
        # A fault may evict for good at any moment; what it evicted must not have been put back by this.
        if self.device.evicted:
            self.engine.evict()

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
            if self.shared_save_area is not None:
                self.device.process.svm.release(*self.shared_save_area)
            self._give_slots()
            if self.device.gws_queue is self:
                self.device.gws_queue = None
            self.device.gpu.queue_count -= 1
            del self.device.queues[self.id]
            del self.device.process.queues[self.id]


def find_queue(process: Process, queue_id: int, missing_errno: int) -> Queue:
    """Return a queue of the process; refused with `missing_errno` if there is none."""
    queue = process.queues.get(queue_id)
    if queue is None:
        raise Refusal(missing_errno, f"there is no queue {queue_id}")
    return queue
