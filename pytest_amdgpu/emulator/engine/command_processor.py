"""The command processor's PM4: executes the packets that `packets.pm4` decodes, all generations.

It serves PM4 queues and the indirect buffers that AQL packets point to. On a part with several XCCs an
AQL queue is read by the command processor of every one of them: what a packet does once per reader
(an atomic, an interrupt) happens once for each that PRED_EXEC lets execute it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine import atomics
from pytest_amdgpu.emulator.engine.caches import packet_maintenance
from pytest_amdgpu.emulator.engine.compare import comparison
from pytest_amdgpu.emulator.engine.dispatch import pm4_state
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.sh_registers import ShRegisters
from pytest_amdgpu.emulator.engine.shader_memory import CommandMemory
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.stream import Interpreter
from pytest_amdgpu.packets.layout import Packet
from pytest_amdgpu.packets.pm4 import CS_PARTIAL_FLUSH, pm4_packets
from pytest_amdgpu.packets.registers import compute_registers

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.queue import QueueThread

_CS_PARTIAL_FLUSH_INDEX = 4
_END_OF_PIPE_EVENTS = {0x14: "CACHE_FLUSH_AND_INV_TS", 0x28: "BOTTOM_OF_PIPE_TS", 0x2F: "CS_DONE"}
_EVENT_INDICES = (5, 6)
"""End of pipe, and shader done."""
_HDP_FLUSH = (0xE26, 0xE27)
"""Request and done register of the host data path's flush, as drivers poll them (BIF_BX_PF_GPU_HDP_FLUSH)."""
_MEMORY_TARGETS = (2, 5)
"""`dst_sel` L2 and memory; the same to us."""
_CLOCKS = (9, 10)
"""`src_sel` of the GPU's and of the system's clock (PAL, MEC_COPY_DATA_src_sel_enum); the same to us."""
_RANGE = 1 << 64
_REFUSED = {
    "EVENT_WRITE_ADDR": "its events count what only graphics does",
    "SET_UCONFIG_REG": "those registers are not the queue's own and not emulated",
}
"""Packets that are known and not executed, and why."""


class CommandProcessor(Interpreter):
    """Executes PM4. The command processors of `xccs` read the same packets."""

    def __init__(self, queue: QueueThread, shaders: Shaders, xccs: tuple[int, ...]) -> None:
        family = queue.context.gpu.family
        super().__init__(queue, pm4_packets(family.pm4))
        self.command_memory = CommandMemory(queue.memory, shaders.memory)
        self._shaders = shaders
        self._xccs = xccs
        self._everyone = (1 << len(xccs)) - 1
        self._mask = self._everyone
        self._masked = 0
        self._atomic_return = 0
        self._registers = ShRegisters(compute_registers(family.registers))
        self.handlers = {
            "NOP": lambda packet: None,
            "FILLER": lambda packet: None,
            "SET_SH_REG": self._set_sh_reg,
            "DISPATCH_DIRECT": self._dispatch_direct,
            "DISPATCH_INDIRECT": self._dispatch_indirect,
            "ACQUIRE_MEM": self._acquire_mem,
            "RELEASE_MEM": self._release_mem,
            "WAIT_REG_MEM": self._wait_reg_mem,
            "WAIT_REG_MEM64": self._wait_reg_mem,
            "WRITE_DATA": self._write_data,
            "COPY_DATA": self._copy_data,
            "ATOMIC_MEM": self._atomic_mem,
            "EVENT_WRITE": self._event_write,
            "INDIRECT_BUFFER": self._indirect_buffer,
            "COND_EXEC": self._cond_exec,
            "PRED_EXEC": self._pred_exec,
        }
        self.refused = _REFUSED

    def ignored_bits(self, packet: Packet, dword: int) -> int:
        """Allow the size that drivers write to mean everything, wider than the field."""
        return 0xFF00_0000 if packet.name == "ACQUIRE_MEM" and dword == 3 else 0

    def before(self, packet: Packet) -> None:
        """Count down the dwords that PRED_EXEC covers."""
        if not self._masked:
            self._mask = self._everyone
            return
        if packet.words > self._masked:
            raise BadPacketError(f"PRED_EXEC ends {self._masked} dwords into {packet.name}")
        self._masked -= packet.words

    def _set_sh_reg(self, packet: Packet) -> None:
        self.require_zero(packet, "vmid_shift")
        everyone = self._mask == self._everyone
        for index, value in enumerate(packet.data):
            self._registers.write(
                packet["register"] + index, value, all_xccs=everyone, first_xcc=bool(self._mask & 1)
            )

    def _dispatch_direct(self, packet: Packet) -> None:
        self._dispatch((packet["x"], packet["y"], packet["z"]), packet["initiator"])

    def _dispatch_indirect(self, packet: Packet) -> None:
        read = self.command_memory.read_u32
        x, y, z = (read(packet["addr"] + 4 * axis) for axis in range(3))
        self._dispatch((x, y, z), packet["initiator"])

    def _dispatch(self, dims: tuple[int, int, int], initiator: int) -> None:
        if self._mask != self._everyone:
            raise BadPacketError("a dispatch on some of the XCCs is not emulated")
        state = pm4_state(self.context, self._registers, dims, initiator, self._xccs)
        if 0 not in state.workgroups:
            self._shaders.launch(state, f"kernel {state.entry:#x} of {dims}")

    def _event_write(self, packet: Packet) -> None:
        if (packet["event_type"], packet["event_index"]) != (CS_PARTIAL_FLUSH, _CS_PARTIAL_FLUSH_INDEX):
            raise BadPacketError(f"{packet}: the only emulated event is CS_PARTIAL_FLUSH (7) with index 4")
        self._shaders.drain()

    def _acquire_mem(self, packet: Packet) -> None:
        self._shaders.memory.maintain(packet_maintenance(packet.fields))

    def _release_mem(self, packet: Packet) -> None:
        if packet["event_type"] not in _END_OF_PIPE_EVENTS or packet["event_index"] not in _EVENT_INDICES:
            raise BadPacketError(f"{packet}: not an end-of-pipe event with index 5 or 6")
        if packet["dst_sel"] > 1:
            raise BadPacketError(f"{packet}: dst_sel is neither memory nor L2")
        if packet["int_sel"] > 3:
            raise BadPacketError(f"{packet}: int_sel {packet['int_sel']} is not emulated")
        self._shaders.drain()
        self._shaders.memory.maintain(packet_maintenance(packet.fields))
        for _ in range(self._mask.bit_count()):
            self._write_selected(packet)
            if packet["int_sel"] in (1, 2):
                self.context.host.interrupt(packet["int_ctxid"], "eop")

    def _write_selected(self, packet: Packet) -> None:
        selection = packet["data_sel"]
        clock = self.context.gpu.clock
        values: dict[int, tuple[int, Callable[[], int]]] = {
            1: (4, lambda: packet["data"] & 0xFFFFFFFF),
            2: (8, lambda: packet["data"]),
            3: (8, clock),
            4: (8, clock),
        }
        if selection == 0:
            return
        if selection not in values:
            raise BadPacketError(f"{packet}: data_sel {selection} is not emulated")
        size, value = values[selection]
        self._store(self.require_aligned(packet, "addr", size), size, value())

    def _wait_reg_mem(self, packet: Packet) -> None:
        size = 8 if packet.name.endswith("64") else 4
        self.require_zero(packet, "engine_sel")
        if packet["space"] == 0:
            if packet["operation"] == 1 and (packet["addr"] & 0xFFFFFFFF, packet["addr"] >> 32) == _HDP_FLUSH:
                return  # memory and the host's view of it are the same bytes
            raise BadPacketError(f"{packet}: registers cannot be polled, but for the HDP flush")
        if packet["space"] != 1 or packet["operation"] not in (0, 3):
            raise BadPacketError(f"{packet}: reserved space or operation")
        address = self.require_aligned(packet, "addr", size)
        sign, holds = comparison(packet["func"])
        mask, value = packet["mask"], packet["value"]
        read = self.command_memory.read_u64 if size == 8 else self.command_memory.read_u32
        what = f"polling {address:#x} for {size * 8}-bit value & {mask:#x} {sign} {value:#x}"
        self.queue.wait_until(lambda: holds(read(address) & mask, value), what)

    def _write_data(self, packet: Packet) -> None:
        if packet["dst_sel"] not in _MEMORY_TARGETS:
            raise BadPacketError(f"{packet}: dst_sel is neither memory nor L2")
        if not packet.data:
            raise BadPacketError(f"{packet}: there is no data in it")
        if packet["no_increment"]:
            self.command_memory.write_u32(packet["addr"], packet.data[-1])
        else:
            self.command_memory.write(packet["addr"], struct.pack(f"<{len(packet.data)}I", *packet.data))
        self.memory.notify()

    def _copy_data(self, packet: Packet) -> None:
        size = 8 if packet["count_sel"] else 4
        source = packet["src_sel"]
        if packet["dst_sel"] not in _MEMORY_TARGETS:
            raise BadPacketError(f"{packet}: dst_sel is neither memory nor L2")
        if source in (1, 2):
            address = self.require_aligned(packet, "src", size)
            value = int.from_bytes(self.command_memory.read(address, size), "little")
        elif source == 5:
            value = packet["src"]
        elif source == 6:
            value = self._atomic_return
        elif source in _CLOCKS:
            value = self.context.gpu.clock()
        else:
            raise BadPacketError(f"{packet}: src_sel {source} is not emulated")
        self._store(self.require_aligned(packet, "dst", size), size, value)

    def _store(self, address: int, size: int, value: int) -> None:
        if size == 8:
            self.command_memory.write_u64(address, value % _RANGE)
        else:
            self.command_memory.write_u32(address, value & 0xFFFFFFFF)
        self.memory.notify()

    def _atomic_mem(self, packet: Packet) -> None:
        if packet["command"] > 3:
            raise BadPacketError(f"{packet}: reserved command {packet['command']}")
        op, address, compare = packet["op"], packet["addr"], packet["cmp_data"]
        repeat = packet["command"] == 1

        def attempt() -> bool:
            self._atomic_return = atomics.atomic(
                self.command_memory, address, op, packet["src_data"], compare
            )
            return not repeat or atomics.compare_succeeds(op, self._atomic_return, compare)

        for _ in range(self._mask.bit_count()):
            self.queue.wait_until(
                attempt, f"repeating a compare-and-swap of {address:#x} until it is {compare:#x}"
            )
            self.memory.notify()

    def _indirect_buffer(self, packet: Packet) -> None:
        self.require_zero(packet, "priv")
        if not packet["valid"]:
            raise BadPacketError(f"{packet}: the valid bit (23) is clear")
        if self._masked:
            raise BadPacketError(f"{packet}: inside PRED_EXEC")
        if packet["chain"]:
            if not self.where:
                raise BadPacketError(f"{packet}: a chain in the ring")
            self.chain(packet["base"], packet["size"])
        else:
            if self.depth >= 2:
                raise BadPacketError(f"{packet}: indirect buffers nest two deep at most")
            self.enter(packet["base"], packet["size"])

    def _cond_exec(self, packet: Packet) -> None:
        if self.command_memory.read_u32(packet["addr"]) == 0:
            self._pass(packet["exec_count"])

    def _pred_exec(self, packet: Packet) -> None:
        if not self.where:
            raise BadPacketError(f"{packet}: works in indirect buffers only")
        if self._masked:
            raise BadPacketError(f"{packet}: inside PRED_EXEC")
        if packet["xcc_mask"] & self._everyone:
            self._mask = packet["xcc_mask"] & self._everyone
            self._masked = packet["exec_count"]
        else:
            self.skip(packet["exec_count"])

    def _pass(self, count: int) -> None:
        if self._masked:
            if count > self._masked:
                raise BadPacketError("COND_EXEC skips beyond the end of PRED_EXEC")
            self._masked -= count
        self.skip(count)
