"""Queues whose ring is a stream of dwords (SDMA, PM4): fetching, decoding, skipping, indirect buffers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.memory import Access, AddressSpace
from pytest_amdgpu.packets.layout import Codec, Packet, PacketError, TruncatedPacketError

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

_FETCH = 1024
"""Dwords read from the ring at once; the read pointer is reported at least this often."""


def read_dwords(memory: AddressSpace, address: int, count: int) -> list[int]:
    """Load `count` dwords; VmFault where they are not mapped."""
    words: list[int] = np.frombuffer(memory.read(address, 4 * count), "<u4").tolist()
    return words


def refuse_reserved(packet: Packet) -> None:
    """Raise BadPacketError if a packet has bits set that its generation does not define.

    Hardware ignores most of them, but a value that spills out of its field (a copy count above the limit of
    the family, say) does something other than was meant.
    """
    stray = packet.reserved()
    if stray:
        bits = ", ".join(f"{mask:#x} of dword {index}" for index, mask in stray)
        raise BadPacketError(f"{packet}: {bits} are reserved in this generation")


def show_dwords(words: Sequence[int], limit: int = 16) -> str:
    """Format the first dwords of a packet for a message."""
    shown = " ".join(f"{word:08x}" for word in words[:limit])
    return shown + (f" ... ({len(words)} dwords)" if len(words) > limit else "")


class DwordQueue(QueueThread):
    """A queue of packets that are dwords.

    `rptr` counts units of `unit` bytes. A subclass executes packets in `execute`.
    """

    def __init__(self, context: QueueContext, kind: str, unit: int, codec: Codec) -> None:
        super().__init__(context, kind, unit)
        self._codec = codec
        self._skip = 0
        self._current: Packet | None = None
        self._where = ""

    @abstractmethod
    def execute(self, packet: Packet) -> None:
        """Do what a packet says. `skip` and `run_indirect` change what is read next."""

    def skip(self, count: int) -> None:
        """Pass over the next `count` dwords of the stream that the current packet is in."""
        self._skip = count

    @property
    def position(self) -> int:
        """Dwords of the ring that lie before the packet that executes."""
        return self.rptr * self.unit // 4

    def run(self, limit: int) -> None:
        """Execute the packets up to the write pointer; return early at one that is not whole yet."""
        wanted = _FETCH
        while self.rptr < limit:
            words = self._fetch(limit, wanted)
            used = self._run_words(words)
            if used == 0:
                if len(words) * 4 >= (limit - self.rptr) * self.unit:
                    return
                wanted *= 2
                continue
            wanted = _FETCH
            self.publish_rptr()

    def run_indirect(self, words: list[int], where: str) -> None:
        """Execute an indirect buffer: a stream of whole packets of its own."""
        outer, self._skip = (self._skip, self._where), 0
        self._where = where
        index = 0
        while index < len(words):
            self.checkpoint()
            packet = self._decode(words, index)
            self._current = packet
            self.execute(packet)
            index += packet.words + self._take_skip(len(words) - index - packet.words)
        self._skip, self._where = outer

    def describe_position(self) -> str:
        """Show the packet at the read pointer, decoded and as dwords, and where it is."""
        place = self._where or "the ring"
        offset = self.rptr * self.unit % max(self.context.ring_size, 1)
        current = self._current
        what = f"{current} [{show_dwords(current.raw)}]" if current is not None else ""
        return f"; at ring offset {offset:#x} in {place}: {what}"

    def _run_words(self, words: list[int]) -> int:
        """Execute the whole packets at the start of `words`; return how many dwords they are."""
        index = 0
        while index < len(words):
            self.checkpoint()
            if self._skip:
                step = min(self._skip, len(words) - index)
                self._skip -= step
            else:
                try:
                    packet = self._decode(words, index)
                except TruncatedPacketError:
                    break
                self._current = packet
                self.execute(packet)
                step = packet.words
            index += step
            self.rptr += step * 4 // self.unit
        return index

    def _decode(self, words: list[int], index: int) -> Packet:
        try:
            packet = self._codec.decode(words, index)
        except TruncatedPacketError:
            if self._where:
                raise BadPacketError(f"{self._where} ends inside a packet") from None
            raise
        except PacketError:
            self._current = None
            raise BadPacketError(f"unknown packet [{show_dwords(words[index : index + 16])}]") from None
        refuse_reserved(packet)
        return packet

    def _take_skip(self, available: int) -> int:
        skip, self._skip = self._skip, 0
        if skip > available:
            raise BadPacketError(
                f"{self._current}: skips {skip} dwords, {available} are left in {self._where}"
            )
        return skip

    def _fetch(self, limit: int, wanted: int) -> list[int]:
        """Read up to `wanted` dwords at the read pointer, around the end of the ring."""
        size = self.context.ring_size // 4
        position = self.position
        count = min((limit - self.rptr) * self.unit // 4, wanted)
        start = position % size
        ring = self.memory.view(self.context.ring_address, 4 * size, Access.READ).view(np.uint32)
        words: list[int] = ring[start : start + count].tolist()
        if start + count > size:
            words += ring[: start + count - size].tolist()
        return words
