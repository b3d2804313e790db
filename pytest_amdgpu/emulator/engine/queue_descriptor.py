"""What the command processor reads of the queue's descriptor in memory, amd_queue_t.

Nobody tells it the descriptor's address. It finds it from the read pointer, which is a field of the
descriptor: behind it stands the offset of that field (`read_dispatch_id_field_base_byte_offset`).

What a driver has to fill in: that offset (0x80 for amd_queue_t) if any kernel asks for the queue pointer,
scratch or the buffer descriptor of scratch; `compute_tmpring_size` and `scratch_backing_memory_location`
before the first dispatch with private memory (`scratch_resource_descriptor` too where flat scratch is not
architected); in `queue_properties` bit 3 for time stamps in completion signals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.packets.aql import QUEUE_PROPERTY_ENABLE_PROFILING, QueueOffset

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

_BEHIND_RPTR = QueueOffset.READ_DISPATCH_ID_FIELD_BASE_BYTE_OFFSET - QueueOffset.READ_DISPATCH_ID


class QueueDescriptor:
    """Reads amd_queue_t of one queue, each time anew because the driver may change it between packets."""

    def __init__(self, context: QueueContext) -> None:
        self._context = context

    @property
    def address(self) -> int:
        """Where the descriptor is; BadPacketError if the driver has not said."""
        rptr = self._context.rptr_address
        offset = self._context.memory.read_u32(rptr + _BEHIND_RPTR)
        if offset == 0:
            raise BadPacketError(
                f"the kernel needs the queue's descriptor, but read_dispatch_id_field_base_byte_offset (at"
                f" {rptr + _BEHIND_RPTR:#x}) is 0"
            )
        return rptr - offset

    @property
    def tmpring_size(self) -> int:
        """COMPUTE_TMPRING_SIZE for the dispatches of this queue."""
        return self._context.memory.read_u32(self.address + QueueOffset.COMPUTE_TMPRING_SIZE)

    @property
    def scratch_location(self) -> int:
        """Address of the scratch memory."""
        return self._context.memory.read_u64(self.address + QueueOffset.SCRATCH_BACKING_MEMORY_LOCATION)

    @property
    def scratch_descriptor(self) -> tuple[int, ...]:
        """Buffer resource of the scratch memory, four dwords."""
        address = self.address + QueueOffset.SCRATCH_RESOURCE_DESCRIPTOR
        return tuple(self._context.memory.read_u32(address + 4 * index) for index in range(4))

    @property
    def profiling(self) -> bool:
        """Whether completion signals get time stamps; no where there is no descriptor."""
        if self._context.memory.read_u32(self._context.rptr_address + _BEHIND_RPTR) == 0:
            return False
        return bool(
            self._context.memory.read_u32(self.address + QueueOffset.QUEUE_PROPERTIES)
            & QUEUE_PROPERTY_ENABLE_PROFILING
        )
