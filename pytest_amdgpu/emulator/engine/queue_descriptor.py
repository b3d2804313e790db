"""What the command processor reads of the queue's descriptor in memory, amd_queue_t.

Nobody tells it the descriptor's address. It finds it from the read pointer, which is a field of the
descriptor: behind it stands the offset of that field (`read_dispatch_id_field_base_byte_offset`).

What a driver has to fill in: that offset (0x80 for amd_queue_t) if any kernel asks for the queue pointer,
scratch or the buffer descriptor of scratch; `compute_tmpring_size` and `scratch_backing_memory_location`
before the first dispatch with private memory (`scratch_resource_descriptor` too where flat scratch is not
architected); in `queue_properties` bit 3 for time stamps in completion signals. Layout from ROCr's
amd_hsa_queue.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine.errors import BadPacketError

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

_FIELD_OFFSET_BEHIND_RPTR = 8
_TMPRING_SIZE = 0x8C
_SCRATCH_DESCRIPTOR = 0x90
_SCRATCH_LOCATION = 0xA0
_PROPERTIES = 0xB4
_ENABLE_PROFILING = 1 << 3


class QueueDescriptor:
    """Reads amd_queue_t of one queue, each time anew because the driver may change it between packets."""

    def __init__(self, context: QueueContext) -> None:
        self._context = context

    @property
    def address(self) -> int:
        """Where the descriptor is; BadPacketError if the driver has not said."""
        rptr = self._context.rptr_address
        offset = self._context.memory.read_u32(rptr + _FIELD_OFFSET_BEHIND_RPTR)
        if offset == 0:
            raise BadPacketError(
                f"the kernel needs the queue's descriptor, but read_dispatch_id_field_base_byte_offset (at"
                f" {rptr + _FIELD_OFFSET_BEHIND_RPTR:#x}) is 0"
            )
        return rptr - offset

    @property
    def tmpring_size(self) -> int:
        """COMPUTE_TMPRING_SIZE for the dispatches of this queue."""
        return self._context.memory.read_u32(self.address + _TMPRING_SIZE)

    @property
    def scratch_location(self) -> int:
        """Address of the scratch memory."""
        return self._context.memory.read_u64(self.address + _SCRATCH_LOCATION)

    @property
    def scratch_descriptor(self) -> tuple[int, ...]:
        """Buffer resource of the scratch memory, four dwords."""
        address = self.address + _SCRATCH_DESCRIPTOR
        return tuple(self._context.memory.read_u32(address + 4 * index) for index in range(4))

    @property
    def profiling(self) -> bool:
        """Whether completion signals get time stamps; no where there is no descriptor."""
        if self._context.memory.read_u32(self._context.rptr_address + _FIELD_OFFSET_BEHIND_RPTR) == 0:
            return False
        return bool(self._context.memory.read_u32(self.address + _PROPERTIES) & _ENABLE_PROFILING)
