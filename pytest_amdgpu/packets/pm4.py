"""PM4 packets by generation: `pm4_packets("gfx11").dispatch_direct(...)`, and their decoder."""

from __future__ import annotations

import functools

from pytest_amdgpu.packets.layout import Codec, Encoder, Field, Layout, Tail, Words, pieces
from pytest_amdgpu.packets.pm4_tables import GFX9, TABLES, Table

PM4_GENERATIONS = ("gfx9", "gfx940", "gfx10", "gfx11", "gfx12")
"""gfx9 stands for gfx908 and gfx90a, gfx940 for gfx942 and gfx950."""

_TYPE3 = 3 << 30
_COUNT_MASK = 0x3FFF << 16
_SINGLE_NOP_COUNT = 0x3FFF

CACHE_FLUSH_AND_INV_TS = 0x14
"""Event of RELEASE_MEM: end of pipe with a time stamp, caches written back and invalidated."""
CS_PARTIAL_FLUSH = 7
"""Event of EVENT_WRITE, with index 4: wait until the dispatches before it have ended."""
INTERRUPT_AFTER_WRITE = 2
"""`int_sel` of RELEASE_MEM: interrupt when the write has been confirmed."""
DATA_32BIT = 1
DATA_64BIT = 2
DATA_GPU_CLOCK = 3


class Pm4Packets(Codec):
    """Packets of one PM4 generation, and the cache policy of that generation.

    Each attribute builds a packet and returns its dwords; arguments in front are required, the
    others have defaults. Registers of SET_SH_REG are SH-relative dword indices (packets/registers.py).
    """

    dispatch_direct: Encoder
    """dispatch_direct(x, y, z, initiator)"""
    dispatch_indirect: Encoder
    """dispatch_indirect(addr, initiator): form of compute queues, three dwords at addr"""
    set_sh_reg: Encoder
    """set_sh_reg(register, *values)"""
    set_uconfig_reg: Encoder
    """set_uconfig_reg(register, *values)"""
    acquire_mem: Encoder
    """acquire_mem(*, ...): fields of CP_COHER_CNTL (gfx9) or GCR_CNTL (gfx10 and up)"""
    release_mem: Encoder
    """release_mem(addr, data, *, data_sel=2, int_sel=0, int_ctxid=0, ...)"""
    wait_reg_mem: Encoder
    """wait_reg_mem(addr, value, *, func=5, space=1, mask, interval=4): 32 bits, func as POLL_MEM"""
    wait_reg_mem64: Encoder
    """wait_reg_mem64(addr, value, *, func=5, ...): gfx10 and up"""
    write_data: Encoder
    """write_data(addr, data, *, dst_sel=5, write_confirm=1)"""
    copy_data: Encoder
    """copy_data(src_sel, src, dst_sel, dst, *, count_sel=0): count_sel 1 copies 64 bits"""
    atomic_mem: Encoder
    """atomic_mem(addr, op, src_data, *, command=0, cmp_data=0, loop_interval=0)"""
    event_write: Encoder
    """event_write(event_type, event_index)"""
    event_write_addr: Encoder
    """event_write_addr(event_type, event_index, addr)"""
    indirect_buffer: Encoder
    """indirect_buffer(base, size, *, valid=1): size in dwords"""
    cond_exec: Encoder
    """cond_exec(addr, exec_count): skip exec_count dwords if the dword at addr is 0"""
    pred_exec: Encoder
    """pred_exec(exec_count, xcc_mask): gfx940 only"""

    def __init__(self, generation: str) -> None:
        self.generation = generation
        layouts = [_layout(generation, table) for table in TABLES if generation in table.generations.split()]
        name = f"PM4 {generation}"
        nop = _TYPE3 | _SINGLE_NOP_COUNT << 16 | 0x10 << 8
        layouts.append(Layout(name, "NOP", 1, (), ((0, 0xFFFFFFFF, nop),)))
        layouts.append(Layout(name, "FILLER", 1, (), ((0, 0xFFFFFFFF, 2 << 30),)))
        super().__init__(name, layouts)

    def nop(self, body_dwords: int = 0) -> Words:
        """Build a NOP of `body_dwords + 1` dwords."""
        if body_dwords < 0 or body_dwords > _SINGLE_NOP_COUNT:
            raise ValueError(
                f"{self.engine} NOP: body_dwords = {body_dwords} is not in 0..{_SINGLE_NOP_COUNT}"
            )
        count = body_dwords - 1 if body_dwords else _SINGLE_NOP_COUNT
        return (_TYPE3 | count << 16 | 0x10 << 8,) + (0,) * body_dwords

    def acquire_all(self) -> Words:
        """Write back and invalidate all caches that a shader or the command processor reads through."""
        if self.generation in GFX9.split():
            return self.acquire_mem(sh_icache=1, sh_kcache=1, tc=1, tcl1=1, tc_wb=1)
        return self.acquire_mem(
            gl2_inv=1, gl2_wb=1, glm_inv=1, glm_wb=1, gl1_inv=1, glv_inv=1, glk_inv=1, glk_wb=1, gli_inv=1
        )

    def acquire_before_dispatch(self) -> Words:
        """Invalidate the caches of the shaders, so that a dispatch reads what was written before it."""
        if self.generation in GFX9.split():
            return self.acquire_mem(sh_kcache=1, tcl1=1)
        return self.acquire_mem(glm_inv=1, glm_wb=1, gl1_inv=1, glv_inv=1, glk_inv=1, glk_wb=1)

    def release(self, addr: int, value: int, interrupt_event_id: int = 0, data_64bit: bool = True) -> Words:
        """Write caches back when all earlier work has ended, then write `value`, then maybe interrupt."""
        data_sel = DATA_64BIT if data_64bit else DATA_32BIT
        int_sel = INTERRUPT_AFTER_WRITE if interrupt_event_id else 0
        if self.generation in GFX9.split():
            return self.release_mem(
                addr,
                value,
                tc_wb=1,
                tc_nc=1,
                data_sel=data_sel,
                int_sel=int_sel,
                int_ctxid=interrupt_event_id,
            )
        return self.release_mem(
            addr,
            value,
            seq=1,
            gl2_wb=1,
            gl2_inv=1,
            gl1_inv=1,
            glv_inv=1,
            data_sel=data_sel,
            int_sel=int_sel,
            int_ctxid=interrupt_event_id,
            **({} if self.generation == "gfx12" else {"glm_inv": 1, "glm_wb": 1}),
        )

    def release_event(self, slot_addr: int, event_id: int) -> Words:
        """Write the event's slot and interrupt with its id, without touching caches."""
        return self.release_mem(slot_addr, event_id, int_sel=INTERRUPT_AFTER_WRITE, int_ctxid=event_id)

    def key(self, header: int) -> int:
        """Packet type and opcode."""
        return header & (3 << 30 | 0xFF00)

    def describe_header(self, header: int) -> str:
        """Say which opcode and count a dword 0 has."""
        kind = header >> 30
        if kind != 3:
            return f"{self.engine}: dword {header:#010x} is of packet type {kind}"
        opcode, count = header >> 8 & 0xFF, header >> 16 & 0x3FFF
        known = [
            f"{layout.name} has count {layout.fixed[0][2] >> 16 & 0x3FFF}"
            for layout in self.layouts.values()
            if self.key(layout.fixed[0][2]) == self.key(header)
        ]
        if known:
            return f"{self.engine}: opcode {opcode:#x} with count {count}, but {' and '.join(known)}"
        return f"{self.engine} has no packet with opcode {opcode:#x} (count {count})"


def _layout(generation: str, table: Table) -> Layout:
    header = _TYPE3 | table.opcode << 8
    mask = 3 << 30 | 0xFF00
    tail = None
    required = tuple(name.lstrip("*") for name in table.required.split())
    if table.tail is None:
        header |= (table.words - 2) << 16
        mask |= _COUNT_MASK
    else:
        # The header counts the body's dwords minus one.
        tail = Tail(
            table.tail.lstrip("*"),
            Field("count", pieces("0[29:16]")),
            table.words - 2,
            spread=table.tail.startswith("*"),
        )
    fields = [
        Field(
            row.name,
            pieces(row.bits, row.zero_bits),
            None if row.name in required else row.default,
            row.zero_bits,
        )
        for row in table.rows
        if generation in row.generations.split()
    ]
    return Layout(
        f"PM4 {generation}",
        table.name,
        table.words,
        tuple(fields),
        ((0, mask, header),),
        tail,
        required,
        show_counter=False,
    )


@functools.cache
def pm4_packets(generation: str) -> Pm4Packets:
    """Return the packets of a PM4 generation; `ValueError` names the known ones."""
    if generation not in PM4_GENERATIONS:
        raise ValueError(f"unknown PM4 generation {generation!r}; known: {', '.join(PM4_GENERATIONS)}")
    return Pm4Packets(generation)
