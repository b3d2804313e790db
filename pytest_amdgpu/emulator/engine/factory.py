"""Make the engine half of a queue: the one entry from the kernel side into the engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from pytest_amdgpu.abi.kfd import QueueType

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.compute_units import EngineMasks
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.engine.queue import QueueThread
    from pytest_amdgpu.emulator.engine.wave_save import SavedWaves


class EngineQueue(Protocol):
    """A queue that runs in a thread of its own. Every method may be called from any thread.

    `evict`, `update` and `stop` wait for that thread, which may be inside a `QueueHost` method: call them
    without holding a lock that those methods take.
    """

    def ring_doorbell(self, value: int) -> None:
        """Take a 64-bit store to the queue's doorbell (units: see `QueueContext`) and return at once."""

    def evict(self) -> None:
        """Take the queue off the hardware; it keeps its state.

        Returns when the queue touches memory no more. A packet that waits or a dispatch that runs is
        interrupted and continued by `restore`. Called from an engine's own thread (as `QueueHost.vm_fault`
        is) it does not wait, so that two queues that fault at once cannot wait for each other. Harmless when
        evicted already.
        """

    def restore(self) -> None:
        """Continue an evicted queue; harmless when it is not evicted, without effect when it has halted."""

    def update(self, ring_address: int, ring_size: int, *, priority: int = 7, active: bool = True) -> None:
        """Give the queue another ring, priority or activity (UPDATE_QUEUE); preempts it meanwhile."""

    def set_engine_masks(self, masks: EngineMasks) -> None:
        """Restrict the compute units that the queue's waves use (SET_CU_MASK); preempts it meanwhile."""

    def saved_waves(self) -> Sequence[SavedWaves]:
        """Return what the last preemption saved to the context save area, by XCC."""

    def stop(self) -> None:
        """Destroy the queue: what runs is abandoned, and the thread is joined.

        Raises `EngineStuckError` when the thread does not end within `STOP_TIMEOUT` seconds.
        """

    def state(self) -> str:
        """Describe for diagnosis what the queue is doing: pointers, doorbell, the packet it waits in."""


def create_queue(context: QueueContext) -> EngineQueue:
    """Start the engine of a new queue; ValueError for a queue type that has none."""
    queue = _queue_class(QueueType(context.queue_type))(context)
    queue.start()
    return queue


def _queue_class(kind: QueueType) -> Callable[[QueueContext], QueueThread]:
    if kind in (QueueType.SDMA, QueueType.SDMA_XGMI, QueueType.SDMA_BY_ENG_ID):
        from pytest_amdgpu.emulator.engine.sdma import SdmaQueue

        return SdmaQueue
    if kind is QueueType.COMPUTE:
        from pytest_amdgpu.emulator.engine.pm4 import Pm4Queue

        return Pm4Queue
    if kind is QueueType.COMPUTE_AQL:
        from pytest_amdgpu.emulator.engine.aql import AqlQueue

        return AqlQueue
    raise ValueError(f"no engine serves queues of type {kind!r}")
