"""A compute queue whose ring holds AQL packets, which all XCCs of a device work on together.

What is no dispatch goes through AMD's vendor packet, which runs PM4 from an indirect buffer. Each XCC's
command processor runs it, so what must happen once is put under PRED_EXEC for the first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_amdgpu.driver import aql_packet
from pytest_amdgpu.driver.backend import NORMAL_PRIORITY, QueueKind
from pytest_amdgpu.driver.commands import Commands, encode, resolve
from pytest_amdgpu.driver.compute_queue import ComputeCommands, ComputeQueue
from pytest_amdgpu.driver.dispatch_template import DispatchTemplate, TemplateLink
from pytest_amdgpu.driver.recording import Recording
from pytest_amdgpu.packets.aql import PACKET_BYTES, QueueOffset, aql_packets

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.launch import Launch
    from pytest_amdgpu.driver.program import ProgramKernel
    from pytest_amdgpu.packets.layout import Packet

_FIRST_XCC = 1


class AqlCommands(ComputeCommands):
    """A chain of commands for an AQL queue."""

    CODE_ALIGNMENT = PACKET_BYTES
    queue: AqlQueue

    def parts(self, limit: int) -> Iterator[memoryview]:
        """Cut the code between packets into parts of at most `limit` bytes."""
        return _parts(self.code, limit)

    def _command(self, pm4: bytes) -> None:
        start = self._add_payload(pm4)
        packet = self.queue.pm4_packet(len(pm4) // 4)
        self.links.append((self.code, len(self.code) + aql_packet.INDIRECT_BUFFER_ADDRESS, start))
        self.code += packet
        self._note_split()

    def _command_once(self, pm4: bytes) -> None:
        if self.queue.device.node.num_xcc > 1:
            pm4 = encode(self.queue.packets.pred_exec(len(pm4) // 4, _FIRST_XCC)) + pm4
        self._command(pm4)


def _parts(code: bytes | bytearray, limit: int) -> Iterator[memoryview]:
    view = memoryview(code)
    step = limit // PACKET_BYTES * PACKET_BYTES
    return (view[start : start + step] for start in range(0, len(view), step))


class AqlQueue(ComputeQueue):
    """A compute queue of AQL packets. Its pointers count packets, its doorbell takes the last one's index."""

    kind = QueueKind.AQL
    UNIT = PACKET_BYTES
    DOORBELL_BIAS = 1

    def __init__(self, device: Device, ring_size: int, *, priority: int | str = NORMAL_PRIORITY) -> None:
        self._pm4_packets: dict[int, bytes] = {}
        super().__init__(device, ring_size, priority=priority)

    @property
    def xccs(self) -> range:
        """All XCCs work on the queue."""
        return range(self.device.node.num_xcc)

    def pm4_packet(self, dwords: int) -> bytes:
        """Return a packet that runs an indirect buffer of `dwords`, whose address is still 0."""
        packet = self._pm4_packets.get(dwords)
        if packet is None:
            packet = self._pm4_packets[dwords] = aql_packet.pm4_buffer(dwords)
        return packet

    def record_commands(self, commands: Commands) -> Recording:
        """Put what a chain points to into memory. Its packets can only be in the ring: they are kept."""
        memory = None
        if commands.payload:
            memory = self.system_memory(len(commands.payload))
            resolve(commands.links, memory.address)
            memory.write(commands.payload)
        return Recording(self, memory, bytes(commands.code), commands.signals)

    def execute_recording(self, recording: Recording) -> None:
        """Put a recording's packets into the ring, in parts if it is long."""
        if len(recording.invocation) <= self.ring.longest:
            super().execute_recording(recording)
            return
        self.check_open()
        self.device.refuse_lost(self.name)
        for part in _parts(recording.invocation, self.ring.longest):
            self._put(part)
        self._note(recording.signals)

    def decode_all(self, words: memoryview) -> Iterable[Packet]:
        """Decode the packets in `words`."""
        return aql_packets().decode_stream(words)

    def decode(self, words: memoryview) -> str:
        """Return the text of the packet at the beginning of `words`."""
        packet = aql_packets().decode(words)
        if packet.name != "PM4_IB":
            return str(packet)
        base = packet["base"]
        for buffer in self.held_memory():
            if buffer.cpu_visible and buffer.address <= base < buffer.address + buffer.size:
                code = buffer.memory[base - buffer.address :][: 4 * packet["size"]].cast("I")
                return f"{packet}, which runs: " + "; ".join(map(str, self.packets.decode_stream(code)))
        return str(packet)

    def padding(self, size: int) -> bytes:
        """Return packets of `size` bytes that do nothing."""
        return aql_packet.nothing(size)

    def _commands(self) -> AqlCommands:
        return AqlCommands(self)

    def _dispatch_template(self, kernel: ProgramKernel, planned: Launch) -> DispatchTemplate:
        links = (TemplateLink(False, aql_packet.KERNARG_ADDRESS, 0),) if kernel.kernarg_size else ()
        return DispatchTemplate(
            code=aql_packet.kernel_dispatch(planned, kernel.descriptor_address),
            payload=bytes(kernel.kernarg_size),
            links=links,
            kernarg_size=kernel.kernarg_size,
            grid=planned.grid,
            block=planned.block,
        )

    def _scratch_changed(self) -> None:
        """Describe the new scratch in amd_queue_t, when no dispatch that uses the old one can run."""
        if self._submissions:
            self.wait_idle(self.full_timeout)
        setup, page = self.scratch.setup, self._memory.pointers.memory
        struct.pack_into("<I", page, QueueOffset.COMPUTE_TMPRING_SIZE, setup.tmpring_size)
        if not self.device.family.architected_flat_scratch:
            resource = setup.resource(self.device.family)
            struct.pack_into("<4I", page, QueueOffset.SCRATCH_RESOURCE_DESCRIPTOR, *resource)
        location = QueueOffset.SCRATCH_BACKING_MEMORY_LOCATION
        struct.pack_into("<QQ", page, location, setup.address, setup.size)
        struct.pack_into("<I", page, QueueOffset.SCRATCH_WAVE64_LANE_BYTE_SIZE, setup.lane_size)
