"""The doorbells of one process on one GPU: which slots there are, who has them, and their memory.

Layout: amdkfd's kfd_doorbell.c and the doorbell assignments of amdgpu_doorbell.h. A slot is 8 bytes. CP
queues get the lowest free slot outside the range that SDMA and other engines have, SDMA queues a slot
fixed by engine and queue number.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import DOORBELL_SLICE
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.kfd.queue import Queue

SLOTS = DOORBELL_SLICE // 8
_MIRROR = 512
_FIRST_RESERVED = 0x100
"""The first slot of SDMA on all generations (*_DOORBELL_sDMA_ENGINE0 and _START of amdgpu_doorbell.h)."""
_SDMA_SLOTS_PER_ENGINE = 10


class Doorbells:
    """A process's slice of doorbells on one GPU."""

    def __init__(self, gpu: SoftwareGpu, memory: HostMemory) -> None:
        self.gpu = gpu
        self.memory = memory
        self._values = memory.view().data.cast("Q")
        self._queues: dict[int, Queue] = {}
        reserved = range(_FIRST_RESERVED, gpu.family.kernel.last_reserved_doorbell + 1)
        self._reserved = {slot + mirror for slot in reserved for mirror in (0, _MIRROR)}

    def take_cp_slot(self, queue: Queue) -> int:
        """Give a compute queue the lowest free slot; EBUSY when there is none."""
        for slot in range(SLOTS):
            if slot not in self._queues and slot not in self._reserved:
                self._queues[slot] = queue
                return slot
        raise Refusal(errno.EBUSY, f"all doorbells for compute queues are used on {self.gpu!r}")

    def take_sdma_slot(self, queue: Queue, engine: int, number: int) -> int:
        """Give an SDMA queue the slot that belongs to its engine and queue number."""
        slot = _FIRST_RESERVED + _SDMA_SLOTS_PER_ENGINE * engine + (number & 1) * _MIRROR + (number >> 1)
        self._queues[slot] = queue
        return slot

    def give(self, slot: int) -> None:
        """Take a slot back from its queue."""
        del self._queues[slot]

    def store(self, offset: int, value: int) -> Queue | None:
        """Store 64 bits at a byte offset of the slice and return the queue that this rings, if any."""
        self._values[offset >> 3] = value
        return self._queues.get(offset >> 3)
