"""An AQL compute queue: the packet processor of HSA, with AMD's vendor packet.

Packets are taken in order. A kernel dispatch is launched and the next packet follows at once, unless that
has the barrier bit; a barrier packet holds up everything behind it. A slot is given back (its header set to
INVALID, the read pointer moved) when the packet and all before it are complete, because a kernel may read
its own packet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.engine.aql_dispatch import KernelDispatch, aql_state, misuses
from pytest_amdgpu.emulator.engine.caches import Caches, Level, scope_levels
from pytest_amdgpu.emulator.engine.command_processor import CommandProcessor
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.engine.queue_descriptor import QueueDescriptor
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.signals import check_signal, complete_signal, signal_value
from pytest_amdgpu.emulator.engine.stream import show_dwords

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

PACKET_BYTES = 64
_VENDOR, _INVALID, _KERNEL_DISPATCH, _BARRIER_AND, _AGENT_DISPATCH, _BARRIER_OR = range(6)
_TYPES = ("VENDOR", "INVALID", "KERNEL_DISPATCH", "BARRIER_AND", "AGENT_DISPATCH", "BARRIER_OR")
_BARRIER_BIT = 1 << 8
_FORMAT_PM4_IB = 1
_PM4_IB_DWORDS_LEFT = 10
_INDIRECT_BUFFER = 0x3F
_VENDOR_FORMAT = 2
_DEPENDENCIES = 8
_COMPLETION = 56


class AqlQueue(QueueThread):
    """A compute queue of AQL packets. Pointers count packets; the doorbell is the index of the last one."""

    def __init__(self, context: QueueContext) -> None:
        super().__init__(context, "AQL", PACKET_BYTES)
        self._shaders = Shaders(self)
        self._caches = Caches()
        self._commands = CommandProcessor(self, self._shaders, self._caches, context.gpu.num_xcc)
        self._descriptor = QueueDescriptor(context)
        self._retired = 0
        self._open: set[int] = set()

    def limit_of(self, doorbell: int) -> int:
        """Return the write pointer: one behind the packet that was announced."""
        return doorbell + 1

    def advance(self) -> bool:
        """Run shaders while packets wait or there are none."""
        return self._shaders.advance()

    @property
    def free_up_to(self) -> int:
        """Return the first packet that is not complete."""
        return self._retired

    def write_rptr(self) -> None:
        """Report packets, 64-bit and never wrapping."""
        self.memory.write_u64(self.context.rptr_address, self._retired)

    def run(self, limit: int) -> None:
        """Process the packets up to the write pointer."""
        while self.rptr < limit:
            self.checkpoint()
            index = self.rptr
            self._await_publication(index)
            address = self._slot(index)
            self._open.add(index)
            self._process(_Packet(index, address, self.memory.read(address, PACKET_BYTES)))
            self.rptr += 1
            self._retire()

    def describe_position(self) -> str:
        """Show the packet at the read pointer as dwords, and the PM4 packet it led to."""
        words = struct.unpack("<16I", self.memory.read(self._slot(self.rptr), PACKET_BYTES))
        kind = words[0] & 0xFF
        name = _TYPES[kind] if kind < len(_TYPES) else f"type {kind}"
        offset = self._slot(self.rptr) - self.context.ring_address
        text = f"; at ring offset {offset:#x}, packet {self.rptr:#x}: {name} [{show_dwords(words)}]"
        return text + self._commands.describe()

    def _take_lower_doorbell(self, previous: int, value: int) -> None:
        # With several producers the doorbell of an earlier packet may come after that of a later one.
        return

    def _slot(self, index: int) -> int:
        return self.context.ring_address + index * PACKET_BYTES % self.context.ring_size

    def _await_publication(self, index: int) -> None:
        self.wait_until(
            lambda: self.memory.read_u32(self._slot(index)) & 0xFF != _INVALID,
            f"waiting for packet {index:#x}: the doorbell announced it, but its header is still INVALID",
        )

    def _retire(self) -> None:
        """Give back the slots of packets that are complete, in order."""
        while self._retired < self.rptr and self._retired not in self._open:
            address = self._slot(self._retired)
            self.memory.write_u32(address, self.memory.read_u32(address) & 0xFFFF0000 | _INVALID)
            self._retired += 1
        self.publish_rptr()

    def _process(self, packet: _Packet) -> None:
        handlers: dict[int, Callable[[_Packet], None]] = {
            _VENDOR: self._vendor,
            _KERNEL_DISPATCH: self._kernel_dispatch,
            _BARRIER_AND: self._barrier,
            _BARRIER_OR: self._barrier,
        }
        handler = handlers.get(packet.kind)
        if handler is None:
            raise _unsupported(f"AQL packet of type {packet.kind}")
        if 3 in (packet.acquire_scope, packet.release_scope):
            raise BadPacketError(f"AQL header {packet.header:#x} has a reserved fence scope")
        check_signal(packet.completion_signal)
        if packet.header & _BARRIER_BIT:
            self._shaders.drain()
        self._caches.apply(scope_levels(packet.acquire_scope, self.context.gpu.num_xcc), Level.NONE)
        handler(packet)

    def _kernel_dispatch(self, packet: _Packet) -> None:
        dispatch = KernelDispatch.parse(packet.data)
        for text in misuses(self.context, dispatch):
            self.warn_once(text)
        state = aql_state(self.context, self._descriptor, dispatch, packet.address, packet.index)
        begun = self.context.gpu.clock()
        self._shaders.launch(state, str(dispatch), lambda: self._complete(packet, begun))

    def _barrier(self, packet: _Packet) -> None:
        signals = [handle for handle in struct.unpack_from("<5Q", packet.data, _DEPENDENCIES) if handle]
        for handle in signals:
            check_signal(handle)
        enough = all if packet.kind == _BARRIER_AND else any
        if signals:
            names = ", ".join(f"{handle:#x}" for handle in signals)
            self.wait_until(
                lambda: enough(signal_value(self, handle) == 0 for handle in signals),
                f"{_TYPES[packet.kind]} waiting for signals {names} to be 0",
            )
        self._complete(packet, self.context.gpu.clock())

    def _vendor(self, packet: _Packet) -> None:
        kind = packet.data[_VENDOR_FORMAT]
        if kind != _FORMAT_PM4_IB:
            code = ExceptionCode.QUEUE_PACKET_VENDOR_UNSUPPORTED
            raise BadPacketError(
                f"AMD vendor packet of format {kind} (KFD exception {code.value}, {code.name})"
            )
        *jump, left = struct.unpack_from("<5I", packet.data, 4)
        if left != _PM4_IB_DWORDS_LEFT or jump[0] >> 8 & 0xFF != _INDIRECT_BUFFER:
            raise _unsupported(f"PM4-IB packet with [{show_dwords(jump)}] and {left} dwords left, not 10")
        begun = self.context.gpu.clock()
        self._commands.run(jump, lambda dwords: None)
        if packet.completion_signal:
            self._shaders.drain()
        self._complete(packet, begun)

    def _complete(self, packet: _Packet, begun: int) -> None:
        released = scope_levels(packet.release_scope, self.context.gpu.num_xcc)
        self._caches.apply(Level.NONE, released & (Level.L2 | Level.SCALAR))
        if packet.completion_signal:
            times = (begun, self.context.gpu.clock()) if self._descriptor.profiling else None
            complete_signal(self, packet.completion_signal, times)
        self._open.discard(packet.index)
        self._retire()


class _Packet:
    """One packet: its dispatch id, where it lies, and what all types have in common."""

    def __init__(self, index: int, address: int, data: bytes) -> None:
        self.index = index
        self.address = address
        self.data = data
        self.header: int = struct.unpack_from("<H", data)[0]
        self.completion_signal: int = struct.unpack_from("<Q", data, _COMPLETION)[0]
        self.kind = self.header & 0xFF
        self.acquire_scope = self.header >> 9 & 3
        self.release_scope = self.header >> 11 & 3


def _unsupported(text: str) -> BadPacketError:
    code = ExceptionCode.QUEUE_PACKET_UNSUPPORTED
    return BadPacketError(f"{text} (KFD exception {code.value}, {code.name})")
