"""The memory that a hardware queue holds on to: ring, pointers, and what compute queues need besides.

The kernel wants each of them to be a mapping of its own with exactly the right size (kfd_queue.c,
kfd_queue_acquire_buffers).
"""

from __future__ import annotations

import ctypes
import struct
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from pytest_amdgpu.abi.kfd import ContextSaveAreaHeader
from pytest_amdgpu.driver.arguments import whole_number
from pytest_amdgpu.driver.backend import (
    NORMAL_PRIORITY,
    PAGE,
    Backend,
    HardwareQueue,
    Location,
    MemoryRequest,
    QueueKind,
    QueueRequest,
)
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.errors import CommandError
from pytest_amdgpu.families.queue_sizes import QueueSizes, queue_sizes
from pytest_amdgpu.packets.aql import (
    PACKET_BYTES,
    PACKET_WORDS,
    QUEUE_PROPERTY_IS_PTR64,
    PacketType,
    QueueOffset,
)

WRITE_POINTER = QueueOffset.WRITE_DISPATCH_ID
READ_POINTER = QueueOffset.READ_DISPATCH_ID
"""Offsets of the pointers in their page, which for a compute queue is an amd_queue_t."""

ERROR_PAYLOAD = 0x800
"""Offset in the same page of the word that the kernel ORs exception codes into."""

SMALLEST_RING = PAGE
LARGEST_RING = 1 << 30


@dataclass(slots=True)
class QueueMemory:
    """A queue of the hardware with its memory. `close` takes both back."""

    hardware: HardwareQueue
    ring: Buffer
    pointers: Buffer
    request: QueueRequest
    context_save: Buffer | None
    _undo: ExitStack

    def pointer(self, offset: int) -> memoryview:
        """One 64-bit word of the pointers' page."""
        return self.pointers.memory[offset : offset + 8].cast("Q")

    def close(self) -> None:
        """Destroy the queue, then free its memory; all of it is tried even if a step fails."""
        self._undo.close()


def create(
    backend: Backend,
    kind: QueueKind,
    ring_size: int,
    name: str,
    *,
    engine: int | None = None,
    xgmi: bool = False,
    priority: int = NORMAL_PRIORITY,
) -> QueueMemory:
    """Allocate what a queue needs and start it; whatever fails, nothing is left behind.

    Raises `CommandError` for a ring size that the hardware cannot have.
    """
    ring_size = whole_number(ring_size, "the size of a ring in bytes")
    if ring_size & (ring_size - 1) or not SMALLEST_RING <= ring_size <= LARGEST_RING:
        raise CommandError(
            f"a ring of {ring_size} bytes: the size must be a power of two,"
            f" at least {SMALLEST_RING} and at most {LARGEST_RING}"
        )
    with ExitStack() as undo:

        def take(request: MemoryRequest) -> Buffer:
            buffer = Buffer(backend, backend.allocate(request), request.size)
            undo.callback(buffer.free)
            return buffer

        ring = take(MemoryRequest(Location.GTT, ring_size, executable=True, uncached=True))
        pointers = take(MemoryRequest(Location.GTT, PAGE, uncached=True))
        end_of_pipe = context_save = None
        sizes = None
        if kind is not QueueKind.SDMA:
            sizes = queue_sizes(backend.node.properties, backend.node.family)
            end_of_pipe = take(
                MemoryRequest(Location.VRAM, sizes.eop_size, cpu_visible=False, executable=True)
            )
            context_save = take(_context_save_request(backend, sizes))
            payload = pointers.address + ERROR_PAYLOAD
            event_id = backend.watch_queue(payload, name)
            undo.callback(backend.unwatch_queue, payload)
            _describe_queue(pointers, ring, backend)
            if kind is QueueKind.AQL:
                ring.view(np.uint32)[::PACKET_WORDS] = PacketType.INVALID
            _write_save_area_headers(context_save, sizes, backend.node.num_xcc, payload, event_id)
        queue_request = QueueRequest(
            kind,
            ring.allocation,
            pointers.address + READ_POINTER,
            pointers.address + WRITE_POINTER,
            end_of_pipe=end_of_pipe.allocation if end_of_pipe is not None else None,
            context_save=context_save.allocation if context_save is not None else None,
            context_save_size=sizes.cwsr_size if sizes else 0,
            control_stack_size=sizes.ctl_stack_size if sizes else 0,
            engine=engine,
            xgmi=xgmi,
            priority=priority,
        )
        hardware = backend.create_queue(queue_request)
        undo.callback(backend.destroy_queue, hardware)
        return QueueMemory(hardware, ring, pointers, queue_request, context_save, undo.pop_all())


def _describe_queue(page: Buffer, ring: Buffer, backend: Backend) -> None:
    """Fill in what a kernel may read of amd_queue_t through its queue pointer.

    The command processor finds the structure from the read pointer and the offset that stands behind it.
    """
    memory = page.memory
    struct.pack_into("<Q", memory, QueueOffset.BASE_ADDRESS, ring.address)
    for offset, value in (
        (QueueOffset.SIZE, ring.size // PACKET_BYTES),
        (QueueOffset.GROUP_SEGMENT_APERTURE_BASE_HI, backend.shared_aperture >> 32),
        (QueueOffset.PRIVATE_SEGMENT_APERTURE_BASE_HI, backend.private_aperture >> 32),
        (QueueOffset.READ_DISPATCH_ID_FIELD_BASE_BYTE_OFFSET, READ_POINTER),
        (QueueOffset.QUEUE_PROPERTIES, QUEUE_PROPERTY_IS_PTR64),
    ):
        struct.pack_into("<I", memory, offset, value)


def _context_save_request(backend: Backend, sizes: QueueSizes) -> MemoryRequest:
    """The save area belongs into VRAM, but the host writes its headers, which a small BAR does not allow."""
    location = Location.VRAM if backend.node.large_bar else Location.GTT
    return MemoryRequest(location, sizes.cwsr_mapping_size, executable=True)


def _write_save_area_headers(
    area: Buffer, sizes: QueueSizes, num_xcc: int, error_payload: int, error_event: int
) -> None:
    """Tell the trap handler of each XCC where the debugger's area is, and the kernel whom to tell of errors.

    Layout as libhsakmt's queues.c makes it: the areas of all XCCs, then their debug areas.
    """
    for xcc in range(num_xcc):
        header = ContextSaveAreaHeader.from_address(area.address + xcc * sizes.cwsr_size)
        ctypes.memset(ctypes.addressof(header), 0, ctypes.sizeof(header))
        header.debug_offset = (num_xcc - xcc) * sizes.cwsr_size
        header.debug_size = sizes.debug_size * num_xcc
        header.err_payload_addr = error_payload
        header.err_event_id = error_event
