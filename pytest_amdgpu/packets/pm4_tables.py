"""Bit tables of the PM4 type-3 packets, all generations.

Sources: soc15d.h (gfx9, gfx9.4.3) and nvd.h (gfx10 to gfx12) of amdgpu in Linux 7.0
(drivers/gpu/drm/amd/amdgpu), and where those have only the opcode (DISPATCH_INDIRECT, WAIT_REG_MEM64),
PAL's structures (gfx9_plus_merged_f32_mec_pm4_packets.h). A row is (field, bits, generations that have
it, default); the encoder's required arguments are named in front, in the order of its parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

GFX9 = "gfx9 gfx940"
GFX10_UP = "gfx10 gfx11 gfx12"
ALL = f"{GFX9} {GFX10_UP}"


@dataclass(frozen=True, slots=True)
class Row:
    """A field of a PM4 packet and the generations that have it."""

    name: str
    bits: str
    generations: str = ALL
    default: int = 0
    zero_bits: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A PM4 packet: opcode, length in dwords with the header, fields."""

    name: str
    opcode: int
    words: int
    required: str
    rows: tuple[Row, ...]
    generations: str = ALL
    tail: str | None = None
    """Name of the dwords behind the fixed part; a leading `*` makes them positional arguments."""


_COHERENCE_RANGE = (
    # In units of 256 bytes; the default is everything. The kernel fills 24 bits of the high dword on all
    # generations, although nvd.h names only 8.
    Row("size", "2[31:0] 3[23:0]", default=0xFFFFFF_FFFFFFFF),
    Row("base", "4[31:0] 5[23:0]"),
)

TABLES: tuple[Table, ...] = (
    Table("NOP", 0x10, 1, "data", (), tail="data"),
    Table(
        "DISPATCH_DIRECT",
        0x15,
        5,
        "x y z initiator",
        (Row("x", "1[31:0]"), Row("y", "2[31:0]"), Row("z", "3[31:0]"), Row("initiator", "4[31:0]")),
    ),
    Table(
        "DISPATCH_INDIRECT",
        0x16,
        4,
        "addr initiator",
        (Row("addr", "1[31:2] 2[31:0]", zero_bits=2), Row("initiator", "3[31:0]")),
    ),
    Table(
        "ATOMIC_MEM",
        0x1E,
        9,
        "addr op src_data",
        (
            Row("op", "1[5:0]", GFX9),
            Row("op", "1[6:0]", GFX10_UP),
            Row("command", "1[11:8]"),
            Row("cache_policy", "1[26:25]"),
            Row("addr", "2[31:0] 3[31:0]"),
            Row("src_data", "4[31:0] 5[31:0]"),
            Row("cmp_data", "6[31:0] 7[31:0]"),
            Row("loop_interval", "8[12:0]"),
        ),
    ),
    Table(
        "COND_EXEC",
        0x22,
        5,
        "addr exec_count",
        (Row("addr", "1[31:2] 2[31:0]", zero_bits=2), Row("exec_count", "4[13:0]")),
    ),
    Table(
        "PRED_EXEC",
        0x23,
        2,
        "exec_count xcc_mask",
        (Row("exec_count", "1[13:0]"), Row("xcc_mask", "1[31:24]")),
        generations="gfx940",
    ),
    Table(
        "WRITE_DATA",
        0x37,
        4,
        "addr data",
        (
            Row("dst_sel", "1[11:8]", default=5),
            Row("no_increment", "1[16]"),
            Row("resume_vf", "1[19]", "gfx940"),
            Row("write_confirm", "1[20]", default=1),
            Row("mode", "1[21]", GFX10_UP),
            Row("aid", "1[23:22]", GFX10_UP),
            Row("temporal", "1[25:24]", "gfx12"),
            Row("cache_policy", "1[26:25]", "gfx9 gfx940 gfx10 gfx11"),
            Row("engine_sel", "1[31:30]"),
            Row("addr", "2[31:2] 3[31:0]", zero_bits=2),
        ),
        tail="data",
    ),
    Table(
        "WAIT_REG_MEM",
        0x3C,
        7,
        "addr value",
        (
            Row("func", "1[2:0]", default=5),
            Row("space", "1[5:4]", default=1),
            Row("operation", "1[7:6]"),
            Row("engine_sel", "1[8]"),
            Row("mes_intr_pipe", "1[23:22]"),
            Row("mes_action", "1[24]"),
            Row("cache_policy", "1[26:25]"),
            Row("addr", "2[31:0] 3[31:0]"),
            Row("value", "4[31:0]"),
            Row("mask", "5[31:0]", default=0xFFFFFFFF),
            Row("interval", "6[15:0]", default=4),
            Row("offload", "6[31]"),
        ),
    ),
    Table(
        "WAIT_REG_MEM64",
        0x93,
        9,
        "addr value",
        (
            Row("func", "1[2:0]", default=5),
            Row("space", "1[5:4]", default=1),
            Row("operation", "1[7:6]"),
            Row("mes_intr_pipe", "1[23:22]"),
            Row("mes_action", "1[24]"),
            Row("cache_policy", "1[26:25]"),
            Row("addr", "2[31:3] 3[31:0]", zero_bits=3),
            Row("value", "4[31:0] 5[31:0]"),
            Row("mask", "6[31:0] 7[31:0]", default=0xFFFFFFFF_FFFFFFFF),
            Row("interval", "8[15:0]", default=4),
        ),
        generations=GFX10_UP,
    ),
    Table(
        "INDIRECT_BUFFER",
        0x3F,
        4,
        "base size",
        (
            Row("base", "1[31:2] 2[31:0]", zero_bits=2),
            Row("size", "3[19:0]"),
            Row("chain", "3[20]"),
            Row("preemption", "3[21]"),
            Row("valid", "3[23]", default=1),
            Row("vmid", "3[27:24]"),
            Row("cache_policy", "3[29:28]"),
            Row("pre_resume", "3[30]"),
            Row("priv", "3[31]"),
        ),
    ),
    Table(
        "COPY_DATA",
        0x40,
        6,
        "src_sel src dst_sel dst",
        (
            Row("src_sel", "1[3:0]"),
            Row("dst_sel", "1[11:8]"),
            Row("src_cache_policy", "1[14:13]"),
            Row("count_sel", "1[16]"),
            Row("write_confirm", "1[20]", default=1),
            Row("mode", "1[21]", GFX10_UP),
            Row("aid", "1[24:23]", GFX10_UP),
            Row("dst_cache_policy", "1[26:25]"),
            Row("pq_exe_status", "1[29]"),
            Row("src", "2[31:0] 3[31:0]"),
            Row("dst", "4[31:0] 5[31:0]"),
        ),
    ),
    Table(
        "EVENT_WRITE",
        0x46,
        2,
        "event_type event_index",
        (Row("event_type", "1[5:0]"), Row("event_index", "1[11:8]"), Row("offload_enable", "1[31]", GFX9)),
    ),
    Table(
        "EVENT_WRITE_ADDR",
        0x46,
        4,
        "event_type event_index addr",
        (
            Row("event_type", "1[5:0]"),
            Row("event_index", "1[11:8]"),
            Row("addr", "2[31:3] 3[31:0]", zero_bits=3),
        ),
    ),
    Table(
        "RELEASE_MEM",
        0x49,
        8,
        "addr data",
        (
            Row("event_type", "1[5:0]", default=0x14),
            Row("event_index", "1[11:8]", default=5),
            Row("tcl1_vol", "1[12]", GFX9),
            Row("tc_vol", "1[13]", GFX9),
            Row("tc_wb", "1[15]", GFX9),
            Row("tcl1", "1[16]", GFX9),
            Row("tc", "1[17]", GFX9),
            Row("tc_nc", "1[19]", GFX9),
            Row("tc_md", "1[21]", GFX9),
            Row("glm_wb", "1[12]", "gfx10 gfx11"),
            Row("glm_inv", "1[13]", "gfx10 gfx11"),
            Row("glv_inv", "1[14]", GFX10_UP),
            Row("gl1_inv", "1[15]", GFX10_UP),
            Row("gl2_us", "1[16]", GFX10_UP),
            Row("gl2_range", "1[18:17]", GFX10_UP),
            Row("gl2_discard", "1[19]", GFX10_UP),
            Row("gl2_inv", "1[20]", GFX10_UP),
            Row("gl2_wb", "1[21]", GFX10_UP),
            Row("seq", "1[23:22]", GFX10_UP),
            Row("cache_policy", "1[26:25]"),
            Row("execute", "1[28]"),
            Row("dst_sel", "2[17:16]"),
            Row("int_sel", "2[26:24]"),
            Row("data_sel", "2[31:29]", default=2),
            Row("addr", "3[31:2] 4[31:0]", zero_bits=2),
            Row("data", "5[31:0] 6[31:0]"),
            Row("int_ctxid", "7[31:0]"),
        ),
    ),
    Table(
        "ACQUIRE_MEM",
        0x58,
        7,
        "",
        (
            Row("tc_nc", "1[3]"),
            Row("tc_wc", "1[4]"),
            Row("tc_inv_metadata", "1[5]"),
            Row("tcl1_vol", "1[15]"),
            Row("tc_wb", "1[18]"),
            Row("tcl1", "1[22]"),
            Row("tc", "1[23]"),
            Row("cb", "1[25]"),
            Row("db", "1[26]"),
            Row("sh_kcache", "1[27]"),
            Row("sh_kcache_vol", "1[28]"),
            Row("sh_icache", "1[29]"),
            Row("sh_kcache_wb", "1[30]"),
            Row("engine_sel", "1[31]"),
            *_COHERENCE_RANGE,
            Row("interval", "6[15:0]", default=10),
        ),
        generations=GFX9,
    ),
    Table(
        "ACQUIRE_MEM",
        0x58,
        8,
        "",
        (
            Row("engine_sel", "1[31]"),
            *_COHERENCE_RANGE,
            Row("interval", "6[15:0]", default=10),
            Row("gli_inv", "7[1:0]"),
            Row("gl1_range", "7[3:2]"),
            Row("glm_wb", "7[4]"),
            Row("glm_inv", "7[5]"),
            Row("glk_wb", "7[6]"),
            Row("glk_inv", "7[7]"),
            Row("glv_inv", "7[8]"),
            Row("gl1_inv", "7[9]"),
            Row("gl2_us", "7[10]"),
            Row("gl2_range", "7[12:11]"),
            Row("gl2_discard", "7[13]"),
            Row("gl2_inv", "7[14]"),
            Row("gl2_wb", "7[15]"),
            Row("seq", "7[17:16]"),
            Row("range_is_pa", "7[18]"),
        ),
        generations=GFX10_UP,
    ),
    Table(
        "SET_SH_REG",
        0x76,
        2,
        "register values",
        (Row("register", "1[15:0]"), Row("vmid_shift", "1[27:23]"), Row("index", "1[31:28]")),
        tail="*values",
    ),
    Table(
        "SET_UCONFIG_REG",
        0x79,
        2,
        "register values",
        (Row("register", "1[15:0]"),),
        tail="*values",
    ),
)
