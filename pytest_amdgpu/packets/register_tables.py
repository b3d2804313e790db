"""COMPUTE_* registers: SH-relative dword indices and bit fields by generation.

Sources, in amdgpu of Linux 7.0 (drivers/gpu/drm/amd/include/asic_reg/gc): gc_9_0 with gc_9_4_1 (gfx908),
gc_9_4_2 (gfx90a), gc_9_4_3 (gfx942, gfx950), gc_10_1_0, gc_10_3_0, gc_11_0_0, gc_11_5_0, gc_12_0_0, each
`_offset.h` for the index and `_sh_mask.h` for the fields; fields of gfx10 also from Mesa
(src/amd/registers). An index is register address - 0x2c00, where the address is the header's offset
plus segment base 0x2000 (gfx9) or 0x1260 (gfx10 and up).
"""

from __future__ import annotations

COLUMNS = ("gfx908", "gfx90a", "gfx942", "gfx10.1", "gfx10.3", "gfx11", "gfx11.5", "gfx12")

OFFSETS = """
DISPATCH_INITIATOR        200 200 200 200 200 200 200 200
DIM_X                     201 201 201 201 201 201 201 201
DIM_Y                     202 202 202 202 202 202 202 202
DIM_Z                     203 203 203 203 203 203 203 203
START_X                   204 204 204 204 204 204 204 204
START_Y                   205 205 205 205 205 205 205 205
START_Z                   206 206 206 206 206 206 206 206
NUM_THREAD_X              207 207 207 207 207 207 207 207
NUM_THREAD_Y              208 208 208 208 208 208 208 208
NUM_THREAD_Z              209 209 209 209 209 209 209 209
PIPELINESTAT_ENABLE       20a 20a 20a 20a 20a 20a 20a 20a
PERFCOUNT_ENABLE          20b 20b 20b 20b 20b 20b 20b 20b
PGM_LO                    20c 20c 20c 20c 20c 20c 20c 20c
PGM_HI                    20d 20d 20d 20d 20d 20d 20d 20d
DISPATCH_PKT_ADDR_LO      20e 20e 20e 20e 20e 20e 20e 20e
DISPATCH_PKT_ADDR_HI      20f 20f 20f 20f 20f 20f 20f 20f
DISPATCH_SCRATCH_BASE_LO  210 210 210 210 210 210 210 210
DISPATCH_SCRATCH_BASE_HI  211 211 211 211 211 211 211 211
PGM_RSRC1                 212 212 212 212 212 212 212 212
PGM_RSRC2                 213 213 213 213 213 213 213 213
VMID                      214 214 214 214 214 214 214 214
RESOURCE_LIMITS           215 215 215 215 215 215 215 215
STATIC_THREAD_MGMT_SE0    216 216 216 216 216 216 216 216
STATIC_THREAD_MGMT_SE1    217 217 217 217 217 217 217 217
TMPRING_SIZE              218 218 218 218 218 218 218 218
STATIC_THREAD_MGMT_SE2    219 219 219 219 219 219 219 219
STATIC_THREAD_MGMT_SE3    21a 21a 21a 21a 21a 21a 21a 21a
RESTART_X                 21b 21b 21b 21b 21b 21b 21b 21b
RESTART_Y                 21c 21c 21c 21c 21c 21c 21c 21c
RESTART_Z                 21d 21d 21d 21d 21d 21d 21d 21d
THREAD_TRACE_ENABLE       21e 21e 21e 21e 21e 21e 21e 21e
MISC_RESERVED             21f 21f 21f 21f 21f 21f 21f 21f
DISPATCH_ID               220 220 220 220 220 220 220 220
THREADGROUP_ID            221 221 221 221 221 221 221 221
REQ_CTRL                  -   -   -   222 222 222 222 222
RELAUNCH                  222 222 222 22b 22b 230 230 230
WAVE_RESTORE_ADDR_LO      223 223 223 22c 22c 231 231 231
WAVE_RESTORE_ADDR_HI      224 224 224 22d 22d 232 232 232
USER_ACCUM_0              -   -   -   224 224 224 224 224
USER_ACCUM_1              -   -   -   225 225 225 225 225
USER_ACCUM_2              -   -   -   226 226 226 226 226
USER_ACCUM_3              -   -   -   227 227 227 227 227
STATIC_THREAD_MGMT_SE4    225 225 -   -   -   22b 22b 22b
STATIC_THREAD_MGMT_SE5    226 226 -   -   -   22c 22c 22c
STATIC_THREAD_MGMT_SE6    227 227 -   -   -   22d 22d 22d
STATIC_THREAD_MGMT_SE7    228 228 -   -   -   22e 22e 22e
STATIC_THREAD_MGMT_SE8    -   -   -   -   -   -   -   223
TG_CHUNK_SIZE             -   -   227 -   -   -   -   -
RESTART_X2                -   229 -   -   -   -   -   -
RESTART_Y2                -   22a -   -   -   -   -   -
RESTART_Z2                -   22b -   -   -   -   -   -
SHADER_CHKSUM             -   22c 22c 22a 22a 22a 22a 22a
PGM_RSRC3                 -   22d 22d 228 228 228 228 228
DDID_INDEX                -   -   -   229 229 229 229 229
RELAUNCH2                 -   -   -   22e 22e 233 233 233
DISPATCH_INTERLEAVE       -   -   -   -   -   22f 22f 22f
PRESCALED_DIM_X           -   -   -   -   -   -   -   235
PRESCALED_DIM_Y           -   -   -   -   -   -   -   236
PRESCALED_DIM_Z           -   -   -   -   -   -   -   237
USER_DATA_0               240 240 240 240 240 240 240 240
DISPATCH_TUNNEL           -   -   -   27d 27d 27d 27d 27d
DISPATCH_END              -   27e 27e 27e 27e 27e 27e 27e
NOWHERE                   27f 27f 27f 27f 27f 27f 27f 27f
"""
"""One row a register, one column of hexadecimal indices for each of COLUMNS; `-` where it is absent."""

USER_DATA_COUNT = 16
"""USER_DATA_1 and the following lie behind USER_DATA_0."""

_GFX9 = "gfx908 gfx90a gfx942"
_GFX10 = "gfx10.1 gfx10.3"
_GFX11 = "gfx11 gfx11.5"

FIELDS: tuple[tuple[str, str, str], ...] = (
    (
        "DISPATCH_INITIATOR",
        f"{_GFX9} {_GFX10} {_GFX11} gfx12",
        "compute_shader_en 0, partial_tg_en 1, force_start_at_000 2, ordered_append_enbl 3,"
        " ordered_append_mode 4, use_thread_dimensions 5, order_mode 6, scalar_l1_inv_vol 10,"
        " vector_l1_inv_vol 11, restore 14",
    ),
    ("DISPATCH_INITIATOR", f"{_GFX10} {_GFX11} gfx12", "tunnel_enable 13, cs_w32_en 15"),
    ("DISPATCH_INITIATOR", f"{_GFX11} gfx12", "amp_shader_en 16, disable_disp_prempt_en 17"),
    ("DISPATCH_INITIATOR", "gfx12", "ping_pong_en 12, interleave_2d_en 18, ttrace_queue_id 31:29"),
    ("NUM_THREAD_X", f"{_GFX9} {_GFX10} {_GFX11}", "num_thread_full 15:0, num_thread_partial 31:16"),
    ("NUM_THREAD_Y", f"{_GFX9} {_GFX10} {_GFX11}", "num_thread_full 15:0, num_thread_partial 31:16"),
    ("NUM_THREAD_Z", f"{_GFX9} {_GFX10} {_GFX11} gfx12", "num_thread_full 15:0, num_thread_partial 31:16"),
    ("NUM_THREAD_X", "gfx12", "num_thread_full 12:0, interleave_bits_x 15:13, num_thread_partial 31:16"),
    ("NUM_THREAD_Y", "gfx12", "num_thread_full 12:0, interleave_bits_y 15:13, num_thread_partial 31:16"),
    ("PGM_HI", f"{_GFX9} {_GFX10} {_GFX11} gfx12", "data 7:0"),
    ("DISPATCH_SCRATCH_BASE_HI", f"{_GFX9} {_GFX10} {_GFX11} gfx12", "data 7:0"),
    (
        "PGM_RSRC1",
        f"{_GFX9} {_GFX10} {_GFX11} gfx12",
        "vgprs 5:0, sgprs 9:6, priority 11:10, float_mode 19:12, priv 20, bulky 24, fp16_ovfl 26",
    ),
    ("PGM_RSRC1", f"{_GFX9} {_GFX10} {_GFX11}", "dx10_clamp 21, ieee_mode 23"),
    ("PGM_RSRC1", f"{_GFX9} gfx12", "debug_mode 22, cdbg_user 25"),
    ("PGM_RSRC1", f"{_GFX10} {_GFX11} gfx12", "wgp_mode 29, mem_ordered 30, fwd_progress 31"),
    ("PGM_RSRC1", "gfx12", "wg_rr_en 21, disable_perf 23"),
    (
        "PGM_RSRC2",
        f"{_GFX9} {_GFX10} {_GFX11} gfx12",
        "scratch_en 0, user_sgpr 5:1, tgid_x_en 7, tgid_y_en 8, tgid_z_en 9, tg_size_en 10,"
        " tidig_comp_cnt 12:11, excp_en_msb 14:13, lds_size 23:15, excp_en 30:24",
    ),
    ("PGM_RSRC2", f"{_GFX9} {_GFX10} {_GFX11}", "trap_present 6"),
    ("PGM_RSRC2", _GFX9, "skip_usgpr0 31"),
    ("PGM_RSRC2", "gfx12", "dynamic_vgpr 6, wgp_takeover 31"),
    ("PGM_RSRC3", "gfx90a gfx942", "accum_offset 5:0, tg_split 16"),
    ("PGM_RSRC3", "gfx942", "trap_on_start 10, trap_on_end 11"),
    ("PGM_RSRC3", f"{_GFX10} {_GFX11} gfx12", "shared_vgpr_cnt 3:0"),
    ("PGM_RSRC3", _GFX11, "inst_pref_size 9:4, trap_on_start 10, trap_on_end 11, image_op 31"),
    ("PGM_RSRC3", "gfx12", "inst_pref_size 11:4, glg_en 13, image_op 31"),
    ("TMPRING_SIZE", f"{_GFX9} {_GFX10}", "waves 11:0, wavesize 24:12"),
    ("TMPRING_SIZE", _GFX11, "waves 11:0, wavesize 26:12"),
    ("TMPRING_SIZE", "gfx12", "waves 11:0, wavesize 29:12"),
    (
        "RESOURCE_LIMITS",
        f"{_GFX9} {_GFX10} {_GFX11} gfx12",
        "waves_per_sh 9:0, tg_per_cu 15:12, lock_threshold 21:16, simd_dest_cntl 22, force_simd_dist 23,"
        " cu_group_count 26:24",
    ),
    ("RESOURCE_LIMITS", _GFX9, "simd_disable 30:27"),
    *(
        (
            f"STATIC_THREAD_MGMT_SE{engine}",
            f"{_GFX9} {_GFX10} {_GFX11} gfx12",
            "sa0_cu_en 15:0, sa1_cu_en 31:16",
        )
        for engine in range(9)
    ),
    ("DISPATCH_INTERLEAVE", _GFX11, "interleave 9:0"),
    (
        "DISPATCH_INTERLEAVE",
        "gfx12",
        "interleave_1d 9:0, interleave_2d_x_size 19:16, interleave_2d_y_size 27:24",
    ),
    ("TG_CHUNK_SIZE", "gfx942", "tg_chunk_size 15:0"),
    ("THREAD_TRACE_ENABLE", f"{_GFX9} {_GFX10} {_GFX11} gfx12", "thread_trace_enable 0"),
    ("PIPELINESTAT_ENABLE", f"{_GFX9} {_GFX10} {_GFX11} gfx12", "pipelinestat_enable 0"),
    ("VMID", f"{_GFX9} {_GFX10} {_GFX11} gfx12", "data 3:0"),
)
"""Register, columns that have the fields, fields as `name high:low`. A register without rows is one value."""
