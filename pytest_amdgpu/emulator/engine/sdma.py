"""The SDMA engine, versions 4 to 7: executes the packets that `packets.sdma` decodes.

What a packet means is the same in all versions; the tables of the decoder hold the differences. The
engine reads and writes memory, past the caches of the shaders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine import atomics, transfer
from pytest_amdgpu.emulator.engine.caches import gcr_maintenance
from pytest_amdgpu.emulator.engine.compare import comparison
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.shader_memory import shader_memory
from pytest_amdgpu.emulator.engine.stream import DwordQueue, Interpreter
from pytest_amdgpu.emulator.engine.sub_window import copy_sub_window
from pytest_amdgpu.packets.layout import Packet
from pytest_amdgpu.packets.sdma import sdma_packets

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

_RETRY_FOREVER = 0xFFF
_INDIRECT_ALIGNMENT = 32
_INDIRECT_END = 8
"""An INDIRECT packet must end at a multiple of 8 dwords of the ring (every SDMA ring's emit_ib in amdgpu)."""

_NOT_EMULATED = (
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
    "priv",
    "csa_addr",
    "data_format",
    "max_compressed",
)
"""Fields that change what a packet does and that this engine does not have; they must be 0."""

_PRIVILEGED = "user queues may not use it"
_REFUSED = {
    "COPY_PHYSICAL": f"it takes physical addresses, {_PRIVILEGED}",
    "SRBM_WRITE": f"it writes registers, {_PRIVILEGED}",
    "POLL_REG_WRITE_MEM": f"it reads registers, {_PRIVILEGED}",
    "COPY_SUB_WINDOW_LARGE": "no public source says in which unit it counts",
    "FILL_MULTI": "no public source says with what it fills",
    "PRE_EXE": "no public source says which device is which bit of dev_sel",
}
"""Packets that are known and not executed, and why."""


class SdmaQueue(DwordQueue):
    """A queue on an SDMA engine. Pointers and doorbell count bytes."""

    def __init__(self, context: QueueContext) -> None:
        super().__init__(context, f"SDMA {context.gpu.family.sdma} engine {context.sdma_engine}", 1)
        self.interpreter = SdmaInterpreter(self)

    def write_rptr(self) -> None:
        """Report bytes, 64-bit and never wrapping."""
        self.memory.write_u64(self.context.rptr_address, self.rptr)


class SdmaInterpreter(Interpreter):
    """Executes SDMA packets."""

    def __init__(self, queue: SdmaQueue) -> None:
        super().__init__(queue, sdma_packets(queue.context.gpu.family.sdma))
        self._ring = queue
        self._clock_offset = 0
        self.handlers = {
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
            "POLL_REG": self._poll_register,
            "ATOMIC": self._atomic,
            "SEMAPHORE": self._semaphore,
            "TIMESTAMP_SET": self._timestamp_set,
            "TIMESTAMP_GET": lambda packet: self._write_clock(packet, self._clock_offset),
            "TIMESTAMP_GET_GLOBAL": lambda packet: self._write_clock(packet, 0),
            "COND_EXE": self._cond_exe,
            "INDIRECT": self._indirect,
            "GCR_REQ": self._gcr_req,
        }
        self.refused = _REFUSED

    def before(self, packet: Packet) -> None:
        """Refuse modes that are not emulated."""
        self.require_zero(packet, *_NOT_EMULATED)

    def _bytes_of(self, packet: Packet, limit: int | None = None) -> int:
        size = packet["count"] + 1
        limit = limit or self.context.gpu.family.sdma_copy_limit
        if size > limit:
            raise BadPacketError(f"{packet.name} of {size:#x} bytes: the limit is {limit:#x} per packet")
        return size

    def _copy(self, packet: Packet) -> None:
        size = self._bytes_of(packet)
        transfer.copy(self.memory, packet["src_addr"], packet["dst_addr"], size, self.queue.checkpoint)
        self.memory.notify()

    def _copy_broadcast(self, packet: Packet) -> None:
        size = self._bytes_of(packet)
        for target in (packet["dst1_addr"], packet["dst2_addr"]):
            transfer.copy(self.memory, packet["src_addr"], target, size, self.queue.checkpoint)
        self.memory.notify()

    def _copy_sub_window(self, packet: Packet) -> None:
        copy_sub_window(self.memory, packet.fields, self.queue.checkpoint)
        self.memory.notify()

    def _write(self, packet: Packet) -> None:
        address = self.require_aligned(packet, "dst_addr", 4)
        transfer.write_dwords(self.memory, address, packet.data)
        self.memory.notify()

    def _fill(self, packet: Packet) -> None:
        width = {0: 1, 1: 2, 2: 4}.get(packet["fillsize"])
        if width is None:
            raise BadPacketError(f"CONSTANT_FILL: reserved fillsize {packet['fillsize']}")
        address = self.require_aligned(packet, "dst_addr", width)
        # amdgpu counts a fill of dwords in bytes - 1, ROCr in bytes - 4: the low bits carry nothing.
        items = (self._bytes_of(packet, self.context.gpu.family.sdma_fill_limit) - 1) // width + 1
        transfer.fill(self.memory, address, packet["value"], width, items, self.queue.checkpoint)
        self.memory.notify()

    def _fence(self, packet: Packet) -> None:
        self.memory.write_u32(self.require_aligned(packet, "addr", 4), packet["data"])
        self.memory.notify()

    def _trap(self, packet: Packet) -> None:
        self.context.host.interrupt(packet["int_context"], "sdma")

    def _poll(self, packet: Packet) -> None:
        address = self.require_aligned(packet, "addr", 4)
        sign, holds = comparison(packet["func"])
        mask, value = packet["mask"], packet["value"]
        tries = None if packet["retry_count"] == _RETRY_FOREVER else packet["retry_count"] + 1
        what = f"polling {address:#x} for value & {mask:#x} {sign} {value:#x}"
        if not self.queue.wait_until(lambda: holds(self.memory.read_u32(address) & mask, value), what, tries):
            raise BadPacketError(f"gave up {what} after {packet['retry_count']} retries")

    def _poll_register(self, packet: Packet) -> None:
        # What waits for nothing is ROCr's flush of the host data path; there is nothing to flush, for memory
        # and the host's view of it are the same bytes.
        if packet["func"]:
            raise BadPacketError(f"{packet}: it polls a register, {_PRIVILEGED}")

    def _atomic(self, packet: Packet) -> None:
        op, address, compare = packet["op"], packet["addr"], packet["cmp_data"]

        def attempt() -> bool:
            old = atomics.atomic(self.memory, address, op, packet["src_data"], compare)
            return not packet["loop"] or atomics.compare_succeeds(op, old, compare)

        self.queue.wait_until(
            attempt, f"repeating a compare-and-swap of {address:#x} until it is {compare:#x}"
        )
        self.memory.notify()

    def _semaphore(self, packet: Packet) -> None:
        """Signal: count a semaphore of 64 bits up, or set it to 1.

        The header of radeon for Sea Islands, whose SDMA has this packet with the same bits, says so (cikd.h,
        SDMA_SEMAPHORE_EXTRA_*); radeon_semaphore_create clears 64 bits. Neither says whether a wait counts
        down, nor what a mailbox is.
        """
        self.require_zero(packet, "mailbox")
        if not packet["signal"]:
            raise BadPacketError(f"{packet}: no public source says what a wait does to the semaphore")
        address = self.require_aligned(packet, "addr", 8)
        with self.memory.atomic_lock:
            if packet["write_one"]:
                self.memory.write_u64(address, 1)
            else:
                atomics.atomic(self.memory, address, atomics.ADD_64, 1, 0)
        self.memory.notify()

    def _timestamp_set(self, packet: Packet) -> None:
        self._clock_offset = packet["value"] - self.context.gpu.clock()

    def _write_clock(self, packet: Packet, offset: int) -> None:
        self.memory.write_u64(packet["addr"], self.context.gpu.clock() + offset & (1 << 64) - 1)
        self.memory.notify()

    def _cond_exe(self, packet: Packet) -> None:
        if self.memory.read_u32(self.require_aligned(packet, "addr", 4)) != packet["reference"]:
            self.skip(packet["exec_count"])

    def _indirect(self, packet: Packet) -> None:
        base = self.require_aligned(packet, "base", _INDIRECT_ALIGNMENT)
        if self.where:
            raise BadPacketError("INDIRECT inside an indirect buffer")
        end = self._ring.position + packet.words
        if end % _INDIRECT_END:
            raise BadPacketError(
                f"INDIRECT ends at dword {end:#x} of the ring, not at a multiple of {_INDIRECT_END}"
            )
        self.enter(base, packet["size"])

    def _gcr_req(self, packet: Packet) -> None:
        shader_memory(self.memory).maintain(gcr_maintenance(packet["gcr_control"]))
