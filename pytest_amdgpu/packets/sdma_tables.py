"""Bit tables of the SDMA packets, all generations.

Sources, in amdgpu of Linux 7.0 (drivers/gpu/drm/amd/amdgpu): vega10_sdma_pkt_open.h for generation 4,
navi10_sdma_pkt_open.h for 5, sdma_v6_0_0_pkt_open.h for 6 and 7, sdma_v7_0.c for what generation 7 does
differently. A row is (field, bits, generations it exists in, default); the encoder's required
arguments are named in front, in the order of its parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = "4567"


@dataclass(frozen=True, slots=True)
class Row:
    """A field of an SDMA packet and the generations that have it."""

    name: str
    bits: str
    generations: str = ALL
    default: int = 0
    zero_bits: int = 0
    multiple: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """An SDMA packet: its identity in dword 0, its length, its fields."""

    name: str
    op: int
    sub_op: int
    words: int
    required: str
    rows: tuple[Row, ...]
    generations: str = ALL
    fixed: tuple[tuple[str, int], ...] = ()
    """Further bits of dword 0 that identify it, as (bits, value)."""
    tail: tuple[str, str, int] | None = None
    """Name of the dwords behind the fixed part, bits of their counter, bias of the counter."""


_COPY_ROWS = (
    Row("encrypt", "0[16]"),
    Row("tmz", "0[18]"),
)

TABLES: tuple[Table, ...] = (
    Table("NOP", 0, 0, 1, "data", (), tail=("data", "0[29:16]", 0)),
    Table(
        "COPY_LINEAR",
        1,
        0,
        7,
        "src_addr dst_addr count",
        (
            *_COPY_ROWS,
            Row("cpv", "0[19]", "6"),
            Row("backwards", "0[25]", "567"),
            Row("count", "1[21:0]", "45"),
            Row("count", "1[29:0]", "67"),
            Row("dst_sw", "2[17:16]"),
            Row("dst_cache_policy", "2[20:18]", "67"),
            Row("src_sw", "2[25:24]"),
            Row("src_cache_policy", "2[28:26]", "67"),
            Row("src_addr", "3[31:0] 4[31:0]"),
            Row("dst_addr", "5[31:0] 6[31:0]"),
        ),
        fixed=(("0[27]", 0),),
    ),
    # Generation 7 appends a dword of compression control when cpv is set (sdma_v7_0_emit_copy_buffer).
    Table(
        "COPY_LINEAR_DCC",
        1,
        0,
        8,
        "src_addr dst_addr count",
        (
            *_COPY_ROWS,
            Row("backwards", "0[25]"),
            Row("count", "1[29:0]"),
            Row("dst_sw", "2[17:16]"),
            Row("dst_cache_policy", "2[20:18]"),
            Row("src_sw", "2[25:24]"),
            Row("src_cache_policy", "2[28:26]"),
            Row("src_addr", "3[31:0] 4[31:0]"),
            Row("dst_addr", "5[31:0] 6[31:0]"),
            Row("data_format", "7[5:0]"),
            Row("number_type", "7[11:9]"),
            Row("read_mode", "7[17:16]"),
            Row("write_mode", "7[19:18]"),
            Row("max_compressed", "7[25:24]"),
            Row("max_uncompressed", "7[26]"),
        ),
        generations="7",
        fixed=(("0[27]", 0), ("0[19]", 1)),
    ),
    Table(
        "COPY_BROADCAST",
        1,
        0,
        9,
        "src_addr dst1_addr dst2_addr count",
        (
            *_COPY_ROWS,
            Row("cpv", "0[19]", "67"),
            Row("count", "1[21:0]", "45"),
            Row("count", "1[29:0]", "67"),
            Row("dst2_sw", "2[9:8]"),
            Row("dst2_cache_policy", "2[12:10]", "67"),
            Row("dst1_sw", "2[17:16]"),
            Row("dst1_cache_policy", "2[20:18]", "67"),
            Row("src_sw", "2[25:24]"),
            Row("src_cache_policy", "2[28:26]", "67"),
            Row("src_addr", "3[31:0] 4[31:0]"),
            Row("dst1_addr", "5[31:0] 6[31:0]"),
            Row("dst2_addr", "7[31:0] 8[31:0]"),
        ),
        fixed=(("0[27]", 1),),
    ),
    Table(
        "COPY_SUB_WINDOW",
        1,
        4,
        13,
        "src_addr src_pitch dst_addr dst_pitch rect_x rect_y elementsize",
        (
            Row("tmz", "0[18]"),
            Row("cpv", "0[19]", "67"),
            Row("elementsize", "0[31:29]"),
            Row("src_addr", "1[31:0] 2[31:0]"),
            Row("src_x", "3[13:0]", "456"),
            Row("src_y", "3[29:16]", "456"),
            Row("src_z", "4[10:0]", "4"),
            Row("src_z", "4[12:0]", "56"),
            Row("src_pitch", "4[31:13]", "456"),
            Row("src_slice_pitch", "5[27:0]", "456"),
            Row("dst_addr", "6[31:0] 7[31:0]"),
            Row("dst_x", "8[13:0]", "456"),
            Row("dst_y", "8[29:16]", "456"),
            Row("dst_z", "9[10:0]", "4"),
            Row("dst_z", "9[12:0]", "56"),
            Row("dst_pitch", "9[31:13]", "456"),
            Row("dst_slice_pitch", "10[27:0]", "456"),
            Row("rect_x", "11[13:0]", "456"),
            Row("rect_y", "11[29:16]", "456"),
            Row("rect_z", "12[10:0]", "4"),
            Row("rect_z", "12[12:0]", "56"),
            Row("dst_sw", "12[17:16]", "456"),
            Row("dst_cache_policy", "12[20:18]", "6"),
            Row("src_sw", "12[25:24]", "456"),
            Row("src_cache_policy", "12[28:26]", "6"),
            # Generation 7 moved everything (ROCr's gfx12 structure; no kernel header shows it).
            Row("src_x", "3[15:0]", "7"),
            Row("src_y", "3[31:16]", "7"),
            Row("src_z", "4[13:0]", "7"),
            Row("src_pitch", "4[31:16]", "7"),
            Row("src_slice_pitch", "5[31:0]", "7"),
            Row("dst_x", "8[15:0]", "7"),
            Row("dst_y", "8[31:16]", "7"),
            Row("dst_z", "9[13:0]", "7"),
            Row("dst_pitch", "9[31:16]", "7"),
            Row("dst_slice_pitch", "10[31:0]", "7"),
            Row("rect_x", "11[15:0]", "7"),
            Row("rect_y", "11[31:16]", "7"),
            Row("rect_z", "12[13:0]", "7"),
            Row("dst_cache_policy", "12[22:20]", "7"),
            Row("src_cache_policy", "12[30:28]", "7"),
        ),
    ),
    # Privileged: the engine refuses it on user queues.
    Table(
        "COPY_PHYSICAL",
        1,
        8,
        7,
        "src_addr dst_addr count",
        (
            Row("tmz", "0[18]"),
            Row("cpv", "0[19]", "67"),
            Row("count", "1[21:0]"),
            Row("addr_pair_num", "1[31:24]", "67"),
            Row("dst_mtype", "2[5:3]", "567"),
            Row("dst_l2_policy", "2[7:6]", "567"),
            Row("dst_llc", "2[8]", "67"),
            Row("src_mtype", "2[13:11]", "567"),
            Row("src_l2_policy", "2[15:14]", "567"),
            Row("src_llc", "2[16]", "67"),
            Row("dst_sw", "2[17:16]", "45"),
            Row("dst_sw", "2[18:17]", "67"),
            Row("dst_gcc", "2[19]"),
            Row("dst_sys", "2[20]"),
            Row("dst_log", "2[21]"),
            Row("dst_snoop", "2[22]"),
            Row("dst_gpa", "2[23]"),
            Row("src_sw", "2[25:24]"),
            Row("src_gcc", "2[27]"),
            Row("src_sys", "2[28]"),
            Row("src_snoop", "2[30]"),
            Row("src_gpa", "2[31]"),
            Row("src_addr", "3[31:0] 4[31:0]"),
            Row("dst_addr", "5[31:0] 6[31:0]"),
        ),
    ),
    Table(
        "COPY_SUB_WINDOW_LARGE",
        1,
        36,
        20,
        "src_addr src_pitch dst_addr dst_pitch rect_x rect_y",
        (
            Row("tmz", "0[18]"),
            Row("cpv", "0[19]"),
            Row("src_addr", "1[31:0] 2[31:0]"),
            Row("src_x", "3[31:0]"),
            Row("src_y", "4[31:0]"),
            Row("src_z", "5[31:0]"),
            Row("src_pitch", "6[31:0]"),
            Row("src_slice_pitch", "7[31:0] 8[15:0]"),
            Row("dst_addr", "9[31:0] 10[31:0]"),
            Row("dst_x", "11[31:0]"),
            Row("dst_y", "12[31:0]"),
            Row("dst_z", "13[31:0]"),
            Row("dst_pitch", "14[31:0]"),
            Row("dst_slice_pitch", "15[31:0] 16[15:0]"),
            Row("dst_sw", "16[17:16]"),
            Row("dst_policy", "16[20:18]"),
            Row("src_sw", "16[25:24]"),
            Row("src_policy", "16[28:26]"),
            Row("rect_x", "17[31:0]"),
            Row("rect_y", "18[31:0]"),
            Row("rect_z", "19[31:0]"),
        ),
        generations="67",
    ),
    Table(
        "WRITE_LINEAR",
        2,
        0,
        4,
        "dst_addr data",
        (
            *_COPY_ROWS,
            Row("cpv", "0[28]", "67"),
            Row("dst_addr", "1[31:0] 2[31:0]", multiple=4),
            Row("sw", "3[25:24]"),
            Row("cache_policy", "3[28:26]", "67"),
        ),
        tail=("data", "3[19:0]", -1),
    ),
    Table(
        "INDIRECT",
        4,
        0,
        6,
        "base size",
        (
            Row("vmid", "0[19:16]"),
            Row("priv", "0[31]", "567"),
            Row("base", "1[31:0] 2[31:0]", multiple=32),
            Row("size", "3[19:0]"),
            Row("csa_addr", "4[31:0] 5[31:0]"),
        ),
    ),
    Table(
        "FENCE",
        5,
        0,
        4,
        "addr data",
        (
            # Memory type 3 is uncached: without it the value may stay in a cache of the engine.
            Row("mtype", "0[18:16]", "567", default=3),
            Row("gcc", "0[19]", "567"),
            Row("sys", "0[20]", "567"),
            Row("snp", "0[22]", "567"),
            Row("gpa", "0[23]", "567"),
            Row("l2_policy", "0[25:24]", "567"),
            Row("llc_policy", "0[26]", "67"),
            Row("cpv", "0[28]", "67"),
            Row("addr", "1[31:0] 2[31:0]", multiple=4),
            Row("data", "3[31:0]"),
        ),
    ),
    Table("TRAP", 6, 0, 2, "int_context", (Row("int_context", "1[27:0]"),)),
    Table(
        "POLL_MEM",
        8,
        0,
        6,
        "addr value",
        (
            Row("cache_policy", "0[22:20]", "67"),
            Row("cpv", "0[24]", "67"),
            Row("hdp_flush", "0[26]"),
            Row("func", "0[30:28]", default=5),
            Row("addr", "1[31:0] 2[31:0]", multiple=4),
            Row("value", "3[31:0]"),
            Row("mask", "4[31:0]", default=0xFFFFFFFF),
            Row("interval", "5[15:0]", default=4),
            Row("retry_count", "5[27:16]", default=0xFFF),
        ),
        fixed=(("0[31]", 1),),
    ),
    # Also flushes the host data path: the kernel sets hdp_flush (every SDMA ring's emit_hdp_flush), ROCr
    # sends func 0 at address 1 << 63 (hdp_flush_cmd in sdma_registers.h).
    Table(
        "POLL_REG",
        8,
        0,
        6,
        "addr value",
        (
            Row("cache_policy", "0[22:20]", "67"),
            Row("cpv", "0[24]", "67"),
            Row("hdp_flush", "0[26]"),
            Row("func", "0[30:28]"),
            Row("addr", "1[31:0] 2[31:0]"),
            Row("value", "3[31:0]"),
            Row("mask", "4[31:0]", default=0xFFFFFFFF),
            Row("interval", "5[15:0]", default=4),
            Row("retry_count", "5[27:16]", default=0xFFF),
        ),
        fixed=(("0[31]", 0),),
    ),
    Table(
        "POLL_REG_WRITE_MEM",
        8,
        1,
        4,
        "reg_addr mem_addr",
        (
            Row("cache_policy", "0[26:24]", "67"),
            Row("cpv", "0[28]", "67"),
            Row("reg_addr", "1[31:2]", zero_bits=2),
            Row("mem_addr", "2[31:0] 3[31:0]", multiple=4),
        ),
    ),
    Table(
        "ATOMIC",
        10,
        0,
        8,
        "addr op src_data",
        (
            Row("loop", "0[16]"),
            Row("tmz", "0[18]"),
            Row("cache_policy", "0[22:20]", "67"),
            Row("cpv", "0[24]", "67"),
            Row("op", "0[31:25]"),
            Row("addr", "1[31:0] 2[31:0]", multiple=4),
            Row("src_data", "3[31:0] 4[31:0]"),
            Row("cmp_data", "5[31:0] 6[31:0]"),
            Row("loop_interval", "7[12:0]"),
        ),
    ),
    Table(
        "CONSTANT_FILL",
        11,
        0,
        5,
        "dst_addr value count",
        (
            Row("sw", "0[17:16]", "456"),
            Row("compress", "0[16]", "7"),
            Row("cache_policy", "0[26:24]", "67"),
            Row("cpv", "0[28]", "67"),
            Row("fillsize", "0[31:30]", default=2),
            Row("dst_addr", "1[31:0] 2[31:0]"),
            Row("value", "3[31:0]"),
            Row("count", "4[21:0]", "45"),
            Row("count", "4[29:0]", "67"),
        ),
    ),
    Table(
        "FILL_MULTI",
        11,
        1,
        6,
        "dst_addr byte_stride dma_count count",
        (
            Row("cache_policy", "0[26:24]", "67"),
            Row("cpv", "0[28]", "67"),
            Row("memlog_clr", "0[31]"),
            Row("byte_stride", "1[31:0]"),
            Row("dma_count", "2[31:0]"),
            Row("dst_addr", "3[31:0] 4[31:0]"),
            Row("count", "5[25:0]"),
        ),
    ),
    Table("TIMESTAMP_SET", 13, 0, 3, "value", (Row("value", "1[31:0] 2[31:0]"),)),
    Table(
        "TIMESTAMP_GET",
        13,
        1,
        3,
        "addr",
        (
            Row("l2_policy", "0[25:24]", "67"),
            Row("llc_policy", "0[26]", "67"),
            Row("cpv", "0[28]", "67"),
            Row("addr", "1[31:3] 2[31:0]", zero_bits=3),
        ),
    ),
    Table(
        "TIMESTAMP_GET_GLOBAL",
        13,
        2,
        3,
        "addr",
        (
            Row("l2_policy", "0[25:24]", "67"),
            Row("llc_policy", "0[26]", "67"),
            Row("cpv", "0[28]", "67"),
            Row("addr", "1[31:3] 2[31:0]", zero_bits=3),
        ),
    ),
    Table(
        "COND_EXE",
        9,
        0,
        5,
        "addr reference exec_count",
        (
            Row("cache_policy", "0[26:24]", "67"),
            Row("cpv", "0[28]", "67"),
            Row("addr", "1[31:0] 2[31:0]", multiple=4),
            Row("reference", "3[31:0]"),
            Row("exec_count", "4[13:0]"),
        ),
    ),
    Table(
        "GCR_REQ",
        17,
        0,
        5,
        "",
        (
            Row("base_va", "1[31:7] 2[15:0]", zero_bits=7),
            Row("gcr_control", "2[31:16] 3[2:0]"),
            Row("limit_va", "3[31:7] 4[15:0]", zero_bits=7),
            Row("vmid", "4[27:24]"),
        ),
        generations="567",
    ),
    Table(
        "SEMAPHORE",
        7,
        0,
        3,
        "addr",
        (
            Row("write_one", "0[29]"),
            Row("signal", "0[30]"),
            Row("mailbox", "0[31]"),
            Row("addr", "1[31:0] 2[31:0]", multiple=8),
        ),
    ),
    # Privileged, like COPY_PHYSICAL.
    Table(
        "SRBM_WRITE",
        14,
        0,
        3,
        "addr data",
        (
            Row("byte_en", "0[31:28]", default=0xF),
            Row("addr", "1[17:0]"),
            Row("apertureid", "1[31:20]", "567"),
            Row("data", "2[31:0]"),
        ),
    ),
    Table(
        "PRE_EXE",
        15,
        0,
        2,
        "dev_sel exec_count",
        (Row("dev_sel", "0[23:16]"), Row("exec_count", "1[13:0]")),
    ),
)
