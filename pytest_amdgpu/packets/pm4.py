"""PM4 packets by generation: `pm4_packets("gfx11").dispatch_direct(...)`, and their decoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.compiler import Encoder, encoder
from pytest_amdgpu.packets.layout import Field, Layout, Tail, Words, pieces
from pytest_amdgpu.packets.pm4_tables import TABLES, Table

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


_IGNORED = ((0, 3),)
"""Predicate and shader type of the header: kfdtest sets the latter on compute queues, others do not."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What a generation's packets say about caches, as values of the packets' fields."""

    acquire_all: Mapping[str, int]
    acquire_before_dispatch: Mapping[str, int]
    release: Mapping[str, int]


_GFX9_POLICY = CachePolicy(
    # gfx_v9_0_emit_mem_sync, gfx_v9_4_3_emit_mem_sync
    acquire_all={"sh_icache": 1, "sh_kcache": 1, "tc": 1, "tcl1": 1, "tc_wb": 1},
    acquire_before_dispatch={"sh_kcache": 1, "tcl1": 1},
    # gfx_v9_0_ring_emit_fence, gfx_v9_4_3_ring_emit_fence, in the form that is not write-back only
    release={"tcl1": 1, "tc": 1, "tc_wb": 1, "tc_md": 1, "cache_policy": 0},
)
_GFX10_ACQUIRE_ALL = {
    # gfx_v10_0_emit_mem_sync, and the same in gfx_v11_0.c and gfx_v12_0.c
    "gl2_inv": 1,
    "gl2_wb": 1,
    "glm_inv": 1,
    "glm_wb": 1,
    "gl1_inv": 1,
    "glv_inv": 1,
    "glk_inv": 1,
    "gli_inv": 1,
}
_GFX10_BEFORE_DISPATCH = {"gl1_inv": 1, "glv_inv": 1, "glk_inv": 1}
_GFX10_POLICY = CachePolicy(
    _GFX10_ACQUIRE_ALL,
    _GFX10_BEFORE_DISPATCH,
    # gfx_v10_0_ring_emit_fence and gfx_v11_0_ring_emit_fence; GLM_WB must not come without GLM_INV, and
    # policy 3 takes the value past the caches.
    release={"seq": 1, "gl2_wb": 1, "glm_inv": 1, "glm_wb": 1, "cache_policy": 3},
)
CACHE_POLICIES: Mapping[str, CachePolicy] = {
    "gfx9": _GFX9_POLICY,
    "gfx940": _GFX9_POLICY,
    "gfx10": _GFX10_POLICY,
    "gfx11": _GFX10_POLICY,
    # gfx_v12_0_ring_emit_fence: there is no metadata cache any more.
    "gfx12": CachePolicy(
        _GFX10_ACQUIRE_ALL, _GFX10_BEFORE_DISPATCH, release={"seq": 1, "gl2_wb": 1, "cache_policy": 3}
    ),
}
"""Cache policy by generation, from amdgpu of Linux 7.0 (drivers/gpu/drm/amd/amdgpu)."""


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
        layouts.append(Layout(name, "NOP", 1, (), ((0, 0xFFFFFFFC, nop),), ignored=_IGNORED))
        layouts.append(Layout(name, "FILLER", 1, (), ((0, 0xFFFFFFFF, 2 << 30),)))
        super().__init__(name, layouts)
        policy = CACHE_POLICIES[generation]
        # Built once: these are in every submission.
        self._acquire_all = self.acquire_mem(**policy.acquire_all)
        self._acquire_before_dispatch = self.acquire_mem(**policy.acquire_before_dispatch)
        layout = self.layouts["RELEASE_MEM"].with_values(cache_policy=policy.release["cache_policy"])
        caches = {name: value for name, value in policy.release.items() if name != "cache_policy"}
        self._release = encoder(layout.with_values(**caches))
        event = layout.with_values(int_sel=INTERRUPT_AFTER_WRITE)
        self._release_event = encoder(replace(event, required=("addr", "data", "int_ctxid")))

    def nop(self, body_dwords: int = 0) -> Words:
        """Build a NOP of `body_dwords + 1` dwords."""
        if body_dwords < 0 or body_dwords > _SINGLE_NOP_COUNT:
            raise ValueError(
                f"{self.engine} NOP: body_dwords = {body_dwords} is not in 0..{_SINGLE_NOP_COUNT}"
            )
        count = body_dwords - 1 if body_dwords else _SINGLE_NOP_COUNT
        return (_TYPE3 | count << 16 | 0x10 << 8,) + (0,) * body_dwords

    def acquire_all(self) -> Words:
        """Write back and invalidate all caches that shaders and the command processor read through.

        For use after a wait for another engine, another GPU or the host, and after code was loaded.
        """
        return self._acquire_all

    def acquire_before_dispatch(self) -> Words:
        """Invalidate the first-level caches of the shaders, between dispatches of one queue.

        Enough for data that earlier dispatches wrote; what came past the second level needs `acquire_all`.
        """
        return self._acquire_before_dispatch

    def release(self, addr: int, value: int, interrupt_event_id: int = 0, data_64bit: bool = True) -> Words:
        """Write `value` to `addr` when all earlier work has ended and its caches are written back.

        With an event id the write is followed by an interrupt with that id; the event's slot must have
        been written before (`release_event` does both). Raises `ValueError` for an address that is not
        a multiple of the size of the data.
        """
        if data_64bit and addr & 7:
            raise ValueError(f"{self.engine} RELEASE_MEM: addr = {addr:#x} is not a multiple of 8")
        if data_64bit and not interrupt_event_id:
            return self._release(addr, value)
        return self._release(
            addr,
            value,
            data_sel=DATA_64BIT if data_64bit else DATA_32BIT,
            int_sel=INTERRUPT_AFTER_WRITE if interrupt_event_id else 0,
            int_ctxid=interrupt_event_id,
        )

    def release_event(self, slot_addr: int, event_id: int) -> Words:
        """Write the event's slot when earlier work has ended, and interrupt with the event's id.

        amdkfd looks at the 64-bit slot when the interrupt arrives and signals the event only if it is
        no longer all ones. Caches are left alone: the packet belongs behind a `release`.
        """
        return self._release_event(slot_addr, event_id, event_id)

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
            if layout.tail is None and self.key(layout.fixed[0][2]) == self.key(header)
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
        ignored=_IGNORED,
    )


@functools.cache
def pm4_packets(generation: str) -> Pm4Packets:
    """Return the packets of a PM4 generation; `ValueError` names the known ones."""
    if generation not in PM4_GENERATIONS:
        raise ValueError(f"unknown PM4 generation {generation!r}; known: {', '.join(PM4_GENERATIONS)}")
    return Pm4Packets(generation)
