"""SDMA packets by engine version: `sdma_packets("6.0").copy_linear(...)`, and their decoder."""

from __future__ import annotations

import functools

from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.compiler import Encoder
from pytest_amdgpu.packets.layout import Field, Layout, Piece, Tail, Words, pieces
from pytest_amdgpu.packets.sdma_tables import TABLES, Table

SDMA_VERSIONS = ("4.0", "4.2", "4.4.0", "4.4", "5.0", "5.2", "6.0", "6.1", "7.0")
"""Versions with a table. 4.4.0 is gfx90a's; 4.4 stands for 4.4.2 and 4.4.5 of gfx942 and gfx950."""

_WIDE_COUNT = {(version, name) for version in ("4.4.0", "5.2") for name in ("COPY_LINEAR", "COPY_BROADCAST")}
"""Copies before version 6 that take 30 bits of count: ROCr sends them (GpuAgent::CreateBlitSdma)."""


class SdmaPackets(Codec):
    """Packets of one SDMA version.

    Each attribute builds a packet and returns its dwords; arguments in front are required, the
    others have defaults. Counts are raw: `count` of a copy or fill holds bytes - 1. Sizes of a
    sub-window and its pitches hold value - 1, in elements of `1 << elementsize` bytes.
    """

    copy_linear: Encoder
    """copy_linear(src_addr, dst_addr, count)"""
    copy_linear_dcc: Encoder
    """copy_linear_dcc(src_addr, dst_addr, count): with compression control, version 7"""
    copy_broadcast: Encoder
    """copy_broadcast(src_addr, dst1_addr, dst2_addr, count)"""
    copy_sub_window: Encoder
    """copy_sub_window(src_addr, src_pitch, dst_addr, dst_pitch, rect_x, rect_y, elementsize, *, ...)"""
    write_linear: Encoder
    """write_linear(dst_addr, data): data is a sequence of dwords"""
    constant_fill: Encoder
    """constant_fill(dst_addr, value, count, *, fillsize=2): fillsize 0 bytes, 1 halves, 2 dwords"""
    fence: Encoder
    """fence(addr, data): 32-bit write behind all earlier packets; mtype 3 from version 5 on"""
    trap: Encoder
    """trap(int_context): interrupt; user queues pass the event id"""
    poll_mem: Encoder
    """poll_mem(addr, value, *, mask, func=5, interval=4, retry_count=0xfff): see POLL_FUNCTIONS"""
    atomic: Encoder
    """atomic(addr, op, src_data, *, cmp_data, loop, loop_interval)"""
    timestamp_set: Encoder
    """timestamp_set(value)"""
    timestamp_get: Encoder
    """timestamp_get(addr)"""
    timestamp_get_global: Encoder
    """timestamp_get_global(addr): the GPU's counter of 100 MHz"""
    cond_exe: Encoder
    """cond_exe(addr, reference, exec_count)"""
    indirect: Encoder
    """indirect(base, size): size in dwords"""
    gcr_req: Encoder
    """gcr_req(*, gcr_control, base_va, limit_va): version 5 and up"""

    def nop(self, count: int = 0) -> Words:
        """Build a NOP that skips `count` further dwords (14 bits), which are zero."""
        if count < 0 or count >> 14:
            raise ValueError(f"{self.engine} NOP: count = {count:#x} does not fit 14 bits")
        return (count << 16,) + (0,) * count

    def key(self, header: int) -> int:
        """Operation and sub-operation."""
        return header & 0xFFFF

    def describe_header(self, header: int) -> str:
        """Say which operation a dword 0 asks for."""
        return f"{self.engine} has no packet with op {header & 0xFF} sub_op {header >> 8 & 0xFF}"


def _bits(text: str) -> Piece:
    return pieces(text)[0]


def _layout(version: str, table: Table) -> Layout:
    generation = version[0]
    fixed_mask, fixed_value = 0xFFFF, table.op | table.sub_op << 8
    for bits, value in table.fixed:
        piece = _bits(bits)
        fixed_mask |= ((1 << piece.width) - 1) << piece.low
        fixed_value |= value << piece.low
    required = tuple(table.required.split())
    fields = []
    for row in table.rows:
        if generation not in row.generations:
            continue
        bits = row.bits
        if row.name == "count" and (version, table.name) in _WIDE_COUNT:
            bits = bits.replace("[21:0]", "[29:0]")
        default = None if row.name in required else row.default
        fields.append(Field(row.name, pieces(bits, row.zero_bits), default, row.zero_bits, row.multiple))
    tail = None
    if table.tail is not None:
        name, bits, bias = table.tail
        tail = Tail(name, Field("count", pieces(bits)), bias)
    return Layout(
        f"SDMA {version}",
        table.name,
        table.words,
        tuple(fields),
        ((0, fixed_mask, fixed_value),),
        tail,
        required,
    )


@functools.cache
def sdma_packets(version: str) -> SdmaPackets:
    """Return the packets of an SDMA version; `ValueError` names the known ones."""
    if version not in SDMA_VERSIONS:
        raise ValueError(f"unknown SDMA version {version!r}; known: {', '.join(SDMA_VERSIONS)}")
    tables = [table for table in TABLES if version[0] in table.generations]
    return SdmaPackets(f"SDMA {version}", [_layout(version, table) for table in tables])
