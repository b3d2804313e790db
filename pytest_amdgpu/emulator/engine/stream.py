"""Streams of dwords (rings and indirect buffers of SDMA and PM4): fetching, decoding, skipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.memory import Access, AddressSpace
from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.layout import Packet, TruncatedPacketError, UnknownPacketError

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

_FETCH = 1024
"""Dwords read from the ring at once; the read pointer is reported at least this often."""


def read_dwords(memory: AddressSpace, address: int, count: int) -> list[int]:
    """Load `count` dwords; VmFault where they are not mapped."""
    words: list[int] = np.frombuffer(memory.read(address, 4 * count), "<u4").tolist()
    return words


def show_dwords(words: Sequence[int], limit: int = 16) -> str:
    """Format the first dwords of a packet for a message."""
    shown = " ".join(f"{word:08x}" for word in words[:limit])
    return shown + (f" ... ({len(words)} dwords)" if len(words) > limit else "")


class Interpreter(ABC):
    """Executes packets of one generation on behalf of a queue.

    A subclass fills `handlers`, by packet name, and says in `refused` why it has none for the other packets
    of its generations. Handlers may call `skip`, `enter` and `chain` to change what is read next.
    """

    def __init__(self, queue: QueueThread, codec: Codec) -> None:
        self.queue = queue
        self.memory = queue.memory
        self.context = queue.context
        self.handlers: dict[str, Callable[[Packet], None]] = {}
        self.refused: Mapping[str, str] = {}
        self.current: Packet | None = None
        self.where = ""
        """The indirect buffer that is executed, or nothing for the ring."""
        self.depth = 0
        """How deep indirect buffers are nested."""
        self._codec = codec
        self._reserved: dict[str, list[tuple[int, int]]] = {}
        self._skip = 0
        self._next: tuple[list[int], str] | None = None

    @abstractmethod
    def before(self, packet: Packet) -> None:
        """Look at a packet before its handler does; BadPacketError for what none of them may ask."""

    def ignored_bits(self, packet: Packet, dword: int) -> int:
        """Return the bits that no field owns and that may be set nevertheless."""
        return 0

    def skip(self, count: int) -> None:
        """Pass over the next `count` dwords of the stream that the current packet is in."""
        self._skip = count

    def chain(self, base: int, size: int) -> None:
        """Continue with another indirect buffer in place of the rest of this one."""
        self._next = (read_dwords(self.memory, base, size), f"the indirect buffer at {base:#x}")

    def enter(self, base: int, size: int) -> None:
        """Execute an indirect buffer of `size` dwords, then go on behind the current packet."""
        outer = self.where
        self.depth += 1
        self.chain(base, size)
        while self._next is not None:
            (words, self.where), self._next = self._next, None
            self._run_whole(words)
        self.where = outer
        self.depth -= 1

    def run(self, words: list[int], moved: Callable[[int], None]) -> None:
        """Execute the whole packets at the start of `words`; `moved` is told the dwords of each when done."""
        index = 0
        while index < len(words):
            self.queue.checkpoint()
            if self._skip:
                step = min(self._skip, len(words) - index)
                self._skip -= step
            else:
                try:
                    packet = self._decode(words, index)
                except TruncatedPacketError:
                    return
                self._execute(packet)
                step = packet.words
            index += step
            moved(step)

    def require_aligned(self, packet: Packet, name: str, alignment: int) -> int:
        """Return a field that holds an address; BadPacketError if it is not aligned."""
        address = packet[name]
        if address % alignment:
            raise BadPacketError(f"{packet.name}: {name} {address:#x} is not a multiple of {alignment}")
        return address

    def require_zero(self, packet: Packet, *names: str) -> None:
        """Refuse fields that change what a packet does and that the engine does not have."""
        for name in names:
            if packet.fields.get(name):
                raise BadPacketError(f"{packet.name}: {name} = {packet[name]} is not emulated")

    def describe(self) -> str:
        """Show the packet that executes, decoded and as dwords."""
        place = f" (in {self.where})" if self.where else ""
        if self.current is None:
            return place
        return f"{place}: {self.current} [{show_dwords(self.current.raw)}]"

    def _run_whole(self, words: list[int]) -> None:
        index = 0
        while index < len(words) and self._next is None:
            self.queue.checkpoint()
            try:
                packet = self._decode(words, index)
            except TruncatedPacketError:
                raise BadPacketError(f"{self.where} ends inside a packet") from None
            self._execute(packet)
            index += packet.words + self._skip
            self._skip = 0
        if index > len(words):
            raise BadPacketError(f"{self.current} skips beyond the end of {self.where}")

    def _execute(self, packet: Packet) -> None:
        self.before(packet)
        handler = self.handlers.get(packet.name)
        if handler is None:
            raise BadPacketError(
                f"the emulated engine does not execute {packet.name}: {self.refused[packet.name]}"
            )
        injected = self.context.injected
        if injected is None:
            handler(packet)
        elif injected.before_packet(self.queue, packet):
            handler(packet)
            injected.after_packet(self.queue, packet)

    def _decode(self, words: list[int], index: int) -> Packet:
        self.current = None
        try:
            packet = self._codec.decode(words, index)
        except UnknownPacketError as error:
            shown = show_dwords(words[index : index + 16])
            # An index counts from the beginning of an indirect buffer; of a ring it is no place.
            why = str(error) if self.where else error.reason
            raise BadPacketError(f"unknown packet [{shown}]: {why}") from None
        self.current = packet
        self._refuse_reserved(packet)
        return packet

    def _refuse_reserved(self, packet: Packet) -> None:
        # Hardware ignores most of these bits, but a value that spills out of its field (a copy count above
        # the limit of the family, say) does something other than was meant.
        masks = self._reserved.get(packet.name)
        if masks is None:
            masks = self._reserved[packet.name] = self._reserved_bits(packet)
        for dword, mask in masks:
            stray = packet.raw[dword] & mask
            if stray:
                raise BadPacketError(
                    f"{packet.name}: bits {stray:#x} of dword {dword} are reserved in this generation"
                )

    def _reserved_bits(self, packet: Packet) -> list[tuple[int, int]]:
        layout = packet.layout
        assert layout is not None, "the codecs set it"
        masks = [
            (dword, 0xFFFFFFFF & ~layout.defined_bits(dword) & ~self.ignored_bits(packet, dword))
            for dword in range(layout.words)
        ]
        return [(dword, mask) for dword, mask in masks if mask]


class DwordQueue(QueueThread):
    """A queue whose ring is a stream of dwords; `rptr` counts units of `unit` bytes."""

    interpreter: Interpreter

    def __init__(self, context: QueueContext, kind: str, unit: int) -> None:
        super().__init__(context, kind, unit)

    def ring_doorbell(self, value: int) -> None:
        """Take a store to the doorbell, whose value should be what the write pointer in memory is.

        A value of four times or a quarter of that is in the other engine's unit: PM4 counts dwords, SDMA
        bytes. It is looked at here, in the client's thread, because the write pointer may move on later.
        """
        written = self.memory.read_u64(self.context.wptr_address)
        unit, other = ("dwords", 4 * written) if self.unit == 4 else ("bytes", written / 4)
        if written and value == other:
            self.warn_once(
                f"doorbell {value:#x} is in a wrong unit: the write pointer is {written:#x} {unit},"
                f" and the doorbell counts {unit}, too"
            )
        super().ring_doorbell(value)

    @property
    def position(self) -> int:
        """Dwords of the ring that lie before the packet that executes."""
        return self.rptr * self.unit // 4

    def run(self, limit: int) -> None:
        """Execute the packets up to the write pointer; return early at one that is not whole yet."""
        wanted = _FETCH
        while self.rptr < limit:
            before = self.rptr
            words = self._fetch(limit, wanted)
            self.interpreter.run(words, self._moved)
            if self.rptr != before:
                wanted = _FETCH
                self.publish_rptr()
            elif len(words) * 4 >= (limit - self.rptr) * self.unit:
                return
            else:
                wanted *= 4

    def describe_position(self) -> str:
        """Show the packet at the read pointer and where it is."""
        offset = self.rptr * self.unit % max(self.context.ring_size, 1)
        return f"; at ring offset {offset:#x}{self.interpreter.describe()}"

    def _moved(self, dwords: int) -> None:
        self.rptr += dwords * 4 // self.unit

    def _fetch(self, limit: int, wanted: int) -> list[int]:
        """Read up to `wanted` dwords at the read pointer, around the end of the ring."""
        size = self.context.ring_size // 4
        count = min((limit - self.rptr) * self.unit // 4, wanted)
        start = self.position % size
        ring = self.memory.view(self.context.ring_address, 4 * size, Access.READ).view(np.uint32)
        words: list[int] = ring[start : start + count].tolist()
        if start + count > size:
            words += ring[: start + count - size].tolist()
        return words
