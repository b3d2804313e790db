"""An AQL compute queue: the packet processor of HSA, with AMD's vendor packet.

Packets are taken in order. A kernel dispatch is launched and the next packet follows at once, unless that
has the barrier bit; a barrier packet holds up everything behind it. A slot is given back (its header set to
INVALID, the read pointer moved) when the packet and all before it are complete, because a kernel may read
its own packet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.engine.aql_dispatch import KernelDispatch, aql_state, misuses, refusal
from pytest_amdgpu.emulator.engine.caches import acquire_scope, release_scope
from pytest_amdgpu.emulator.engine.command_processor import CommandProcessor
from pytest_amdgpu.emulator.engine.queue_descriptor import QueueDescriptor
from pytest_amdgpu.emulator.engine.shader_queue import ShaderQueue
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.signals import check_signal, complete_signal, signal_value
from pytest_amdgpu.emulator.engine.stream import read_dwords, show_dwords
from pytest_amdgpu.emulator.memory import VmFault
from pytest_amdgpu.packets.aql import PACKET_BYTES, PACKET_WORDS, FenceScope, PacketType, aql_packets
from pytest_amdgpu.packets.layout import Packet, UnknownPacketError

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

_UNSUPPORTED = ExceptionCode.QUEUE_PACKET_UNSUPPORTED
_VENDOR_UNSUPPORTED = ExceptionCode.QUEUE_PACKET_VENDOR_UNSUPPORTED
_DEPENDENCIES = tuple(f"dep_signal{index}" for index in range(5))


class AqlQueue(ShaderQueue):
    """A compute queue of AQL packets. Pointers count packets; the doorbell is the index of the last one."""

    def __init__(self, context: QueueContext) -> None:
        super().__init__(context, "AQL", PACKET_BYTES)
        self._shaders = Shaders(self)
        self.seat = self._shaders.seat()
        self._commands = CommandProcessor(self, self._shaders, tuple(range(context.gpu.num_xcc)))
        self._descriptor = QueueDescriptor(context)
        self._retired = 0
        self._open: set[int] = set()
        self._handlers: dict[str, Callable[[int, Packet], None]] = {
            "KERNEL_DISPATCH": self._kernel_dispatch,
            "BARRIER_AND": self._barrier,
            "BARRIER_OR": self._barrier,
            "PM4_IB": self._pm4_ib,
        }

    def limit_of(self, doorbell: int) -> int:
        """Return the write pointer: one behind the packet that was announced."""
        return doorbell + 1

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
            self._await_publication(self.rptr)
            self._open.add(self.rptr)
            self._process(self.rptr)
            self.rptr += 1
            self._retire()

    def describe_position(self) -> str:
        """Show the packet that is taken as dwords, and the PM4 packet it led to."""
        address = self._slot(self.rptr)
        try:
            words = read_dwords(self.memory, address, PACKET_WORDS)
        except VmFault as fault:
            return f"; the ring cannot be read: {fault}"
        offset = address - self.context.ring_address
        # The read pointer is that of the oldest packet that is not complete.
        behind = f" (read pointer {self.free_up_to:#x})" if self.free_up_to != self.rptr else ""
        text = f"; at ring offset {offset:#x}, packet {self.rptr:#x}{behind}: [{show_dwords(words)}]"
        return text + self._commands.describe()

    def take_lower_doorbell(self, previous: int, value: int) -> None:
        """Ignore it: with several producers the doorbell of an earlier packet may come late."""

    def _slot(self, index: int) -> int:
        return self.context.ring_address + index * PACKET_BYTES % self.context.ring_size

    def _await_publication(self, index: int) -> None:
        self.wait_until(
            lambda: self.memory.read_u32(self._slot(index)) & 0xFF != PacketType.INVALID,
            f"waiting for packet {index:#x}: the doorbell announced it, but its header is still INVALID",
        )

    def _retire(self) -> None:
        """Give back the slots of packets that are complete, in order."""
        while self._retired < self.rptr and self._retired not in self._open:
            address = self._slot(self._retired)
            self.memory.write_u32(address, self.memory.read_u32(address) & 0xFFFF0000 | PacketType.INVALID)
            self._retired += 1
        self.publish_rptr()

    def _process(self, index: int) -> None:
        words = read_dwords(self.memory, self._slot(index), PACKET_WORDS)
        try:
            packet = aql_packets().decode(words)
        except UnknownPacketError as error:
            vendor = words[0] & 0xFF == PacketType.VENDOR_SPECIFIC
            raise refusal(_VENDOR_UNSUPPORTED if vendor else _UNSUPPORTED, error.reason) from None
        handler = self._handlers.get(packet.name)
        if handler is None:
            raise refusal(_UNSUPPORTED, f"the emulated packet processor does not execute {packet.name}")
        stray = ", ".join(f"{bits:#x} of dword {dword}" for dword, bits in packet.reserved())
        if stray:
            raise refusal(ExceptionCode.QUEUE_PACKET_RESERVED, f"{packet.name}: bits {stray} are reserved")
        if max(packet["acquire"], packet["release"]) > FenceScope.SYSTEM:
            raise refusal(ExceptionCode.QUEUE_PACKET_RESERVED, f"{packet}: reserved fence scope")
        check_signal(packet["completion_signal"])
        if packet["barrier"]:
            self._shaders.drain()
        injected = self.context.injected
        if injected is None or injected.before_packet(self, packet):
            handler(index, packet)
        else:
            self._complete(index, packet, self.context.gpu.clock())

    def _acquire(self, packet: Packet) -> None:
        self._shaders.memory.maintain(acquire_scope(packet["acquire"]))

    def _kernel_dispatch(self, index: int, packet: Packet) -> None:
        dispatch = KernelDispatch.of(packet)
        for text in misuses(self.context, dispatch):
            self.warn_once(text)
        state = aql_state(self.context, self._descriptor, dispatch, self._slot(index), index)
        self._acquire(packet)
        begun = self.context.gpu.clock()
        self._shaders.launch(state, str(dispatch), lambda: self._complete(index, packet, begun))

    def _barrier(self, index: int, packet: Packet) -> None:
        signals = [packet[name] for name in _DEPENDENCIES if packet[name]]
        for handle in signals:
            check_signal(handle)
        enough = all if packet.name == "BARRIER_AND" else any
        if signals:
            names = ", ".join(f"{handle:#x}" for handle in signals)
            self.wait_until(
                lambda: enough(
                    signal_value(self._commands.command_memory, handle) == 0 for handle in signals
                ),
                f"{packet.name} waiting for signals {names} to be 0",
            )
        # Behind the wait: what the signals stand for was not there before.
        self._acquire(packet)
        self._complete(index, packet, self.context.gpu.clock())

    def _pm4_ib(self, index: int, packet: Packet) -> None:
        self._acquire(packet)
        begun = self.context.gpu.clock()
        # The packet holds an INDIRECT_BUFFER of PM4 in its dwords 1 to 4.
        self._commands.run(list(packet.raw[1:5]), lambda dwords: None)
        if packet["completion_signal"]:
            self._shaders.drain()
        self._complete(index, packet, begun)

    def _complete(self, index: int, packet: Packet, begun: int) -> None:
        self._shaders.memory.maintain(release_scope(packet["release"], self.context.gpu.num_xcc))
        signal = packet["completion_signal"]
        if signal:
            times = (begun, self.context.gpu.clock()) if self._descriptor.profiling else None
            complete_signal(self, self._commands.command_memory, signal, times)
        self._open.discard(index)
        self._retire()
