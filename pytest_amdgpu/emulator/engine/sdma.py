"""The SDMA engine, versions 4 to 7: executes the packets that `packets.sdma` decodes.

What a packet means is the same in all versions; the tables of the decoder hold the differences. The
engine reads and writes memory, past the caches of the shaders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pytest_amdgpu.emulator.engine import atomics, transfer
from pytest_amdgpu.emulator.engine.caches import Caches, gcr_levels
from pytest_amdgpu.emulator.engine.compare import comparison
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.stream import DwordQueue, read_dwords
from pytest_amdgpu.emulator.engine.sub_window import copy_sub_window
from pytest_amdgpu.packets.layout import Packet
from pytest_amdgpu.packets.sdma import sdma_packets

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

_RETRY_FOREVER = 0xFFF
_INDIRECT_ALIGNMENT = 32
_INDIRECT_END = 8
"""An INDIRECT packet must end at a multiple of 8 dwords of the ring (every SDMA ring's emit_ib in amdgpu)."""

_UNSUPPORTED = (
    "tmz",
    "encrypt",
    "backwards",
    "src_sw",
    "dst_sw",
    "dst1_sw",
    "dst2_sw",
    "sw",
    "compress",
    "vmid",
)
"""Fields that change what a packet does and that this engine does not have; they must be 0."""


class SdmaQueue(DwordQueue):
    """A queue on an SDMA engine. Pointers and doorbell count bytes."""

    def __init__(self, context: QueueContext) -> None:
        family = context.gpu.family
        super().__init__(
            context, f"SDMA {family.sdma} engine {context.sdma_engine}", 1, sdma_packets(family.sdma)
        )
        self._caches = Caches()
        self._clock_offset = 0
        self._in_indirect = False
        self._handlers: dict[str, Callable[[Packet], None]] = {
            "NOP": lambda packet: None,
            "COPY_LINEAR": self._copy,
            "COPY_LINEAR_DCC": self._copy,
            "COPY_BROADCAST": self._copy_broadcast,
            "COPY_SUB_WINDOW": self._copy_sub_window,
            "WRITE_LINEAR": self._write,
            "CONSTANT_FILL": self._fill,
            "FENCE": self._fence,
            "TRAP": self._trap,
            "POLL_MEM": self._poll,
            "ATOMIC": self._atomic,
            "TIMESTAMP_SET": self._timestamp_set,
            "TIMESTAMP_GET": self._timestamp_get,
            "TIMESTAMP_GET_GLOBAL": self._timestamp_get_global,
            "COND_EXE": self._cond_exe,
            "INDIRECT": self._indirect,
            "GCR_REQ": self._gcr_req,
        }

    def write_rptr(self) -> None:
        """Report bytes, 64-bit and never wrapping."""
        self.memory.write_u64(self.context.rptr_address, self.rptr)

    def execute(self, packet: Packet) -> None:
        """Execute one packet; BadPacketError for what the engine does not have."""
        handler = self._handlers.get(packet.name)
        if handler is None:
            raise BadPacketError(f"the emulated SDMA engine does not execute {packet.name}")
        for name in _UNSUPPORTED:
            if packet.fields.get(name):
                raise BadPacketError(f"{packet.name}: {name} = {packet[name]} is not emulated")
        handler(packet)
        self.memory.notify()

    def _bytes_of(self, packet: Packet) -> int:
        size = packet["count"] + 1
        limit = self.context.gpu.family.sdma_copy_limit
        if size > limit:
            raise BadPacketError(
                f"{packet.name} of {size:#x} bytes: this engine's limit is {limit:#x} per packet"
            )
        return size

    def _copy(self, packet: Packet) -> None:
        size = self._bytes_of(packet)
        transfer.copy(self.memory, packet["src_addr"], packet["dst_addr"], size, self.checkpoint)

    def _copy_broadcast(self, packet: Packet) -> None:
        size = self._bytes_of(packet)
        for target in (packet["dst1_addr"], packet["dst2_addr"]):
            transfer.copy(self.memory, packet["src_addr"], target, size, self.checkpoint)

    def _copy_sub_window(self, packet: Packet) -> None:
        copy_sub_window(self.memory, packet.fields, self.checkpoint)

    def _write(self, packet: Packet) -> None:
        address = self._aligned(packet, "dst_addr", 4)
        for offset, piece in transfer.pieces(self.memory, address, 4 * len(packet.data)):
            piece.view(np.uint32)[:] = packet.data[offset // 4 : (offset + piece.size) // 4]

    def _fill(self, packet: Packet) -> None:
        width = {0: 1, 1: 2, 2: 4}.get(packet["fillsize"])
        if width is None:
            raise BadPacketError(f"CONSTANT_FILL: reserved fillsize {packet['fillsize']}")
        address = self._aligned(packet, "dst_addr", width)
        # amdgpu counts a fill of dwords in bytes - 1, ROCr in bytes - 4: the low bits carry nothing.
        items = (self._bytes_of(packet) - 1) // width + 1
        transfer.fill(self.memory, address, packet["value"], width, items, self.checkpoint)

    def _fence(self, packet: Packet) -> None:
        self.memory.write_u32(self._aligned(packet, "addr", 4), packet["data"])

    def _trap(self, packet: Packet) -> None:
        self.context.host.interrupt(packet["int_context"], "sdma")

    def _poll(self, packet: Packet) -> None:
        address = self._aligned(packet, "addr", 4)
        sign, holds = comparison(packet["func"])
        mask, value = packet["mask"], packet["value"]
        tries = None if packet["retry_count"] == _RETRY_FOREVER else packet["retry_count"] + 1
        what = f"polling {address:#x} for value & {mask:#x} {sign} {value:#x}"
        if not self.wait_until(lambda: holds(self.memory.read_u32(address) & mask, value), what, tries):
            raise BadPacketError(f"gave up {what} after {packet['retry_count']} retries")

    def _atomic(self, packet: Packet) -> None:
        op, address, compare = packet["op"], packet["addr"], packet["cmp_data"]

        def attempt() -> bool:
            old = atomics.atomic(self.memory, address, op, packet["src_data"], compare)
            return not packet["loop"] or atomics.compare_succeeds(op, old, compare)

        self.wait_until(attempt, f"repeating a compare-and-swap of {address:#x} until it is {compare:#x}")

    def _timestamp_set(self, packet: Packet) -> None:
        self._clock_offset = packet["value"] - self.context.gpu.clock()

    def _timestamp_get(self, packet: Packet) -> None:
        self._write_clock(packet, self._clock_offset)

    def _timestamp_get_global(self, packet: Packet) -> None:
        self._write_clock(packet, 0)

    def _write_clock(self, packet: Packet, offset: int) -> None:
        self.memory.write_u64(packet["addr"], self.context.gpu.clock() + offset & (1 << 64) - 1)

    def _cond_exe(self, packet: Packet) -> None:
        if self.memory.read_u32(self._aligned(packet, "addr", 4)) != packet["reference"]:
            self.skip(packet["exec_count"])

    def _indirect(self, packet: Packet) -> None:
        base, size = self._aligned(packet, "base", _INDIRECT_ALIGNMENT), packet["size"]
        if self._in_indirect:
            raise BadPacketError("INDIRECT inside an indirect buffer")
        end = self.position + packet.words
        if end % _INDIRECT_END:
            raise BadPacketError(
                f"INDIRECT ends at dword {end:#x} of the ring, not at a multiple of {_INDIRECT_END}"
            )
        if packet["csa_addr"] or packet.fields.get("priv"):
            raise BadPacketError("INDIRECT: a context save area and privilege are the kernel's")
        self._in_indirect = True
        self.run_indirect(read_dwords(self.memory, base, size), f"the indirect buffer at {base:#x}")
        self._in_indirect = False

    def _gcr_req(self, packet: Packet) -> None:
        invalidate, write_back = gcr_levels(packet["gcr_control"])
        self._caches.release(write_back)
        self._caches.acquire(invalidate)

    def _aligned(self, packet: Packet, name: str, alignment: int) -> int:
        address = packet[name]
        if address % alignment:
            raise BadPacketError(f"{packet.name}: {name} {address:#x} is not a multiple of {alignment}")
        return address
