"""A queue of an SDMA engine: copies, fills, and semaphores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self, cast

from pytest_amdgpu.driver.arguments import whole_number
from pytest_amdgpu.driver.backend import NORMAL_PRIORITY, QueueKind
from pytest_amdgpu.driver.commands import (
    Commands,
    check_place,
    check_semaphore,
    encode,
    nops,
    timestamp_address,
    transfer_size,
)
from pytest_amdgpu.driver.errors import CommandError, NoSdmaQueueError, PeerAccessError
from pytest_amdgpu.driver.links import why_unreachable
from pytest_amdgpu.driver.queue import Queue
from pytest_amdgpu.driver.recording import Recording
from pytest_amdgpu.packets.layout import Packet
from pytest_amdgpu.packets.sdma import SdmaPackets, sdma_packets

if TYPE_CHECKING:
    from pytest_amdgpu.driver.buffer import Buffer, BufferSlice
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.links import Link
    from pytest_amdgpu.driver.semaphore import TimelineSemaphore
    from pytest_amdgpu.driver.topology import GpuNode

DEFAULT_RING_SIZE = 1 << 18

_GREATER_OR_EQUAL = 5

_GL2_WRITE_BACK = 1 << 15
_INVALIDATE = 1 << 14 | 1 << 9 | 1 << 8 | 1 << 7 | 1
"""GCR_CNTL: invalidate GL2, GL1, GLV, GLK and (all of) GLI."""

_FILL_SIZES = {1: 0, 2: 1, 4: 2}
_FILL_MASKS = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF}


class SdmaCommands(Commands):
    """A chain of commands for an SDMA queue."""

    CODE_ALIGNMENT = 32
    """An INDIRECT packet must end on 8 dwords of the ring, so every submission begins on them."""

    def __init__(self, queue: SdmaQueue) -> None:
        super().__init__(queue)
        self._sdma = queue.packets
        self._copy_limit = queue.copy_limit
        self._fill_limit = queue.fill_limit
        self._acquire = queue.acquire
        """What the next transfer must begin with, to see what others wrote: nothing, after the first."""

    def wait(self, semaphore: TimelineSemaphore, value: int) -> Self:
        """Do nothing of what follows before the semaphore is at least `value`, then see what it guards.

        The engine compares 32 bits: the upper half first, where it matters, then the lower.
        """
        check_semaphore(semaphore)
        value = semaphore.check_value(value)
        semaphore.check_reach(self.queue.device)
        if semaphore.value < value:
            semaphore.note_narrow_wait(value)
            poll = self._sdma.poll_mem
            high, low = value >> 32, value & 0xFFFFFFFF
            if high:
                self.code += encode(poll(semaphore.address + 4, high, func=_GREATER_OR_EQUAL))
            self.code += encode(poll(semaphore.address, low, func=_GREATER_OR_EQUAL))
        self.code += cast("SdmaQueue", self.queue).acquire
        self._acquire = b""
        self._note_split()
        return self

    def signal(self, semaphore: TimelineSemaphore, value: int) -> Self:
        """When all that precedes is done and visible, set the semaphore and wake the host's waiters.

        FENCE writes 32 bits. The lower half goes first: the value in between is below the final one,
        so nobody wakes too early. Below 2**32 the upper half is 0 and stays so, because values only grow.
        """
        check_semaphore(semaphore)
        value = semaphore.check_signal(value)
        semaphore.check_reach(self.queue.device)
        sdma, address = self._sdma, semaphore.address
        code = self.code
        code += cast("SdmaQueue", self.queue).release_caches
        code += encode(sdma.fence(address, value & 0xFFFFFFFF))
        if value >> 32:
            code += encode(sdma.fence(address + 4, value >> 32))
        code += encode(sdma.fence(semaphore.slot_address, semaphore.event_id))
        code += encode(sdma.trap(semaphore.event_id))
        self.signals.append((semaphore, value))
        self._note_split()
        return self

    def timestamp(self, buffer: Buffer | BufferSlice, offset: int = 0) -> Self:
        """When all that precedes is done, store the GPU's constant counter (64 bits) in a buffer."""
        self.code += encode(self._sdma.timestamp_get_global(timestamp_address(buffer, offset)))
        self._note_split()
        return self

    def copy(
        self, destination: Buffer | BufferSlice, source: Buffer | BufferSlice, size: int | None = None
    ) -> Self:
        """Copy `size` bytes (default: all of `source`) to the beginning of `destination`."""
        check_place(source, "the source")
        left = transfer_size(destination, source, size)
        to, source_address = destination.address, source.address
        copy_linear, limit = self._sdma.copy_linear, self._copy_limit
        self.code += self._acquire
        self._acquire = b""
        while left:
            piece = min(left, limit)
            self.code += encode(copy_linear(source_address, to, piece - 1))
            self._note_split()
            source_address += piece
            to += piece
            left -= piece
        return self

    def fill(
        self, destination: Buffer | BufferSlice, value: int, size: int | None = None, *, width: int = 1
    ) -> Self:
        """Store `value` of `width` bytes (1, 2 or 4) over `size` bytes (default: all) of `destination`."""
        left = transfer_size(destination, None, size)
        to = destination.address
        if whole_number(width, "the width of a fill in bytes") not in _FILL_SIZES:
            raise CommandError(f"SDMA fills with values of 1, 2 or 4 bytes, not of {width}")
        value = whole_number(value, "the value of a fill")
        if left % width or to % width:
            raise CommandError(f"{left} bytes at {to:#x} cannot be filled with values of {width} bytes")
        if not 0 <= value <= _FILL_MASKS[width]:
            raise CommandError(f"fill value {value:#x} does not fit {width} bytes")
        fill, fillsize, limit = self._sdma.constant_fill, _FILL_SIZES[width], self._fill_limit
        self.code += self._acquire
        self._acquire = b""
        while left:
            piece = min(left, limit)
            self.code += encode(fill(to, value, piece - 1, fillsize=fillsize))
            self._note_split()
            to += piece
            left -= piece
        return self


def engine_for(link: Link, node: GpuNode) -> tuple[int | None, bool]:
    """Choose what serves a link: an engine by number, or whether any of those for XGMI (else of the others).

    A single recommended engine is taken by its number; over several the kernel deals queues in turn.
    """
    engines = link.engines
    if len(engines) == 1:
        return engines[0], False
    if engines:
        return None, set(engines) <= set(node.xgmi_engines)
    return None, link.kind == "xgmi" and bool(node.xgmi_engines)


class SdmaQueue(Queue[SdmaCommands]):
    """A queue of an SDMA engine."""

    kind = QueueKind.SDMA
    UNIT = 1

    def __init__(
        self,
        device: Device,
        ring_size: int = DEFAULT_RING_SIZE,
        *,
        engine: int | None = None,
        xgmi: bool = False,
        priority: int | str = NORMAL_PRIORITY,
    ) -> None:
        """`engine` is the number of an SDMA engine, `xgmi` asks for one of those for XGMI links.

        By default the kernel chooses among the others. Raises `CommandError` for an engine that is not there.
        """
        node = device.node
        if engine is not None:
            engine = whole_number(engine, "the number of an SDMA engine")
        if not (engine is None or engine in node.sdma_engines or engine in node.xgmi_engines):
            last = node.xgmi_engines.stop - 1
            raise CommandError(f"{device.name} has the SDMA engines 0 to {last}, not {engine}")
        self.packets: SdmaPackets = sdma_packets(device.family.sdma)
        self.copy_limit = device.family.sdma_copy_limit
        self.fill_limit = device.family.sdma_fill_limit
        # From generation 5 on SDMA reads and writes through GL2, which shaders share; before, it bypasses it.
        caches = hasattr(self.packets, "gcr_req")
        self.acquire = (
            encode(self.packets.gcr_req(gcr_control=_GL2_WRITE_BACK | _INVALIDATE)) if caches else b""
        )
        self.release_caches = encode(self.packets.gcr_req(gcr_control=_GL2_WRITE_BACK)) if caches else b""
        super().__init__(device, ring_size, engine=engine, xgmi=xgmi, priority=priority)

    def copy(
        self, destination: Buffer | BufferSlice, source: Buffer | BufferSlice, size: int | None = None
    ) -> SdmaCommands:
        """Go on with the open chain: `SdmaCommands.copy`."""
        return self._chain().copy(destination, source, size)

    def fill(
        self, destination: Buffer | BufferSlice, value: int, size: int | None = None, *, width: int = 1
    ) -> SdmaCommands:
        """Go on with the open chain: `SdmaCommands.fill`."""
        return self._chain().fill(destination, value, size, width=width)

    def record_commands(self, commands: Commands) -> Recording:
        """Put a finished chain into memory, to be run by an INDIRECT packet."""
        memory = self.system_memory(len(commands.code))
        memory.write(commands.code)
        call = encode(self.packets.indirect(memory.address, len(commands.code) // 4))
        # The packet must end on 8 dwords.
        lead = self.padding(-len(call) % SdmaCommands.CODE_ALIGNMENT)
        return Recording(self, memory, lead + call, commands.signals)

    def padding(self, size: int) -> bytes:
        """Return NOP packets of `size` bytes."""
        return nops(self.packets.nop, size)

    def decode_all(self, words: memoryview) -> Iterable[Packet]:
        """Decode the packets in `words`."""
        return self.packets.decode_stream(words)

    def decode(self, words: memoryview) -> str:
        """Return the text of the packet at the beginning of `words`."""
        return str(self.packets.decode(words))

    def _commands(self) -> SdmaCommands:
        return SdmaCommands(self)


def sdma_queue(
    device: Device,
    ring_size: int | None,
    *,
    engine: int | None,
    peer: Device | None,
    priority: int | str,
) -> SdmaQueue:
    """Do `Device.sdma_queue`."""
    if not (device.node.sdma_engines or device.node.xgmi_engines):
        raise NoSdmaQueueError(
            f"{device.node.description} has no SDMA queue: num_sdma_engines and num_sdma_xgmi_engines are 0"
            f" in {device.node.path}/properties, as for a virtual function or a partition that no engine is"
            " left for; give it some, or copy with a kernel"
        )
    xgmi = False
    if peer is not None:
        if engine is not None:
            raise CommandError(f"either engine={engine} or peer={peer.name} chooses the engine, not both")
        link = device.link_to(peer)
        if link is None:
            why = why_unreachable(device.kernel, peer.node, device.node)
            raise PeerAccessError(f"{device.name} cannot reach {peer.name}: {why}")
        engine, xgmi = engine_for(link, device.node)
    if ring_size is None:
        ring_size = DEFAULT_RING_SIZE
    return SdmaQueue(device, ring_size, engine=engine, xgmi=xgmi, priority=priority)
