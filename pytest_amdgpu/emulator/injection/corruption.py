"""Defects that spoil data: one byte that an engine writes is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pytest_amdgpu.emulator.injection.options import Option, number
from pytest_amdgpu.emulator.injection.queues import ENGINE, QueueDefect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_amdgpu.emulator.engine.queue import QueueThread
    from pytest_amdgpu.packets.layout import Packet


class Written(NamedTuple):
    """What a packet writes: a range of GPU addresses."""

    address: int
    size: int


_WRITES: dict[str, Callable[[Packet], Written]] = {
    "COPY_LINEAR": lambda packet: Written(packet["dst_addr"], packet["count"] + 1),
    "COPY_BROADCAST": lambda packet: Written(packet["dst1_addr"], packet["count"] + 1),
    "CONSTANT_FILL": lambda packet: Written(packet["dst_addr"], packet["count"] + 1),
    "WRITE_LINEAR": lambda packet: Written(packet["dst_addr"], 4 * len(packet.data)),
    "WRITE_DATA": lambda packet: Written(packet["addr"], 4 * len(packet.data)),
}
"""Packets that write data, and where. A fill of dwords may count less, see `SdmaInterpreter._fill`."""

_ANY = "none"


def written(packet: Packet) -> Written | None:
    """Return what a packet writes, None if it is not one that writes data."""
    where = _WRITES.get(packet.name)
    return None if where is None else where(packet)


def turn_over(queue: QueueThread, address: int) -> None:
    """Turn all bits of a byte over."""
    queue.memory.write(address, bytes([queue.memory.read(address, 1)[0] ^ 0xFF]))
    queue.memory.notify()


class CorruptByte(QueueDefect):
    """One byte that a packet wrote is turned over."""

    name: ClassVar[str] = "corrupt-byte"
    summary: ClassVar[str] = "one byte of what a packet copies, fills or writes is wrong (all its bits)"
    occasion: ClassVar[str] = "a copy, fill or write that `address` and `size` allow"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "address",
            "a GPU address from 0 to 2**64 - 1, or none",
            _ANY,
            "only where this byte is written, and this byte is wrong",
            lambda text: None if text == _ANY else number(0, (1 << 64) - 1)(text),
        ),
        Option(
            "size",
            "a number of bytes from 1 on, or none",
            _ANY,
            "only what one packet writes of this size",
            lambda text: None if text == _ANY else number(1, 1 << 40)(text),
        ),
        Option(
            "offset",
            "a number of bytes from 0 on, or last",
            "last",
            "which byte of what is written is wrong, without `address`",
            lambda text: None if text == "last" else number(0, 1 << 40)(text),
        ),
        ENGINE,
    )
    defaults: ClassVar[Mapping[str, str]] = {"times": "all"}

    def after_packet(self, queue: QueueThread, packet: Packet) -> None:
        """Turn the byte over."""
        place = written(packet)
        if place is None or not self.concerns(queue.context):
            return
        address, size = place
        wrong, offset = self.values["address"], self.values["offset"]
        if wrong is None:
            wrong = address + (size - 1 if offset is None else offset)
        if address <= wrong < address + size and self.values["size"] in (None, size) and self.happens():
            queue.context.host.log(f"injected: the byte at {wrong:#x} is wrong, by {packet}")
            turn_over(queue, wrong)
