"""One name per instruction: what other generations call the instructions of the table.

The table has gfx9's names where the generations differ. gfx10 renamed carries and 16-bit sums, gfx11 memory
operations, gfx12 extremes (names as in the CDNA3, RDNA3 and RDNA4 ISA documents, chapters 12 and 16).
"""

from __future__ import annotations

from collections.abc import Iterator

_LOADS = {
    "u8": "ubyte",
    "i8": "sbyte",
    "u16": "ushort",
    "i16": "sshort",
    "b32": "dword",
    "b64": "dwordx2",
    "b96": "dwordx3",
    "b128": "dwordx4",
    "d16_u8": "ubyte_d16",
    "d16_hi_u8": "ubyte_d16_hi",
    "d16_i8": "sbyte_d16",
    "d16_hi_i8": "sbyte_d16_hi",
    "d16_b16": "short_d16",
    "d16_hi_b16": "short_d16_hi",
}
_STORES = {
    "b8": "byte",
    "b16": "short",
    "b32": "dword",
    "b64": "dwordx2",
    "b96": "dwordx3",
    "b128": "dwordx4",
    "d16_hi_b8": "byte_d16_hi",
    "d16_hi_b16": "short_d16_hi",
}
_ATOMICS = {
    "swap_b": "swap",
    "cmpswap_b": "cmpswap",
    "add_u": "add",
    "sub_u": "sub",
    "min_i": "smin",
    "min_u": "umin",
    "max_i": "smax",
    "max_u": "umax",
    "and_b": "and",
    "or_b": "or",
    "xor_b": "xor",
    "inc_u": "inc",
    "dec_u": "dec",
}
_SCALAR = {
    "s_and_not1_b{}": "s_andn2_b{}",
    "s_or_not1_b{}": "s_orn2_b{}",
    "s_and_not1_saveexec_b{}": "s_andn2_saveexec_b{}",
    "s_or_not1_saveexec_b{}": "s_orn2_saveexec_b{}",
    "s_and_not0_saveexec_b{}": "s_andn1_saveexec_b{}",
    "s_or_not0_saveexec_b{}": "s_orn1_saveexec_b{}",
    "s_and_not1_wrexec_b{}": "s_andn2_wrexec_b{}",
    "s_and_not0_wrexec_b{}": "s_andn1_wrexec_b{}",
    "s_ctz_i32_b{}": "s_ff1_i32_b{}",
    "s_clz_i32_u{}": "s_flbit_i32_b{}",
}
_SINGLE = {
    "s_cls_i32": "s_flbit_i32",
    "s_cls_i32_i64": "s_flbit_i32_i64",
    "v_add_nc_u32": "v_add_u32",
    "v_sub_nc_u32": "v_sub_u32",
    "v_subrev_nc_u32": "v_subrev_u32",
    "v_add_nc_i32": "v_add_i32",
    "v_sub_nc_i32": "v_sub_i32",
    "v_add_nc_u16": "v_add_u16",
    "v_sub_nc_u16": "v_sub_u16",
    "v_add_nc_i16": "v_add_i16",
    "v_sub_nc_i16": "v_sub_i16",
    "v_add_co_ci_u32": "v_addc_co_u32",
    "v_sub_co_ci_u32": "v_subb_co_u32",
    "v_subrev_co_ci_u32": "v_subbrev_co_u32",
    "v_clz_i32_u32": "v_ffbh_u32",
    "v_cls_i32": "v_ffbh_i32",
    "v_ctz_i32_b32": "v_ffbl_b32",
    "v_cvt_nearest_i32_f32": "v_cvt_rpi_i32_f32",
    "v_cvt_floor_i32_f32": "v_cvt_flr_i32_f32",
    "v_cvt_pk_norm_i16_f16": "v_cvt_pknorm_i16_f16",
    "v_cvt_pk_norm_u16_f16": "v_cvt_pknorm_u16_f16",
    "v_cvt_pk_norm_i16_f32": "v_cvt_pknorm_i16_f32",
    "v_cvt_pk_norm_u16_f32": "v_cvt_pknorm_u16_f32",
    "v_cvt_pk_rtz_f16_f32": "v_cvt_pkrtz_f16_f32",
    "v_dot2acc_f32_f16": "v_dot2c_f32_f16",
    "v_fma_legacy_f32": "v_fma_dx9_zero_f32",
    "v_fmac_legacy_f32": "v_fmac_dx9_zero_f32",
    "s_inst_prefetch": "s_set_inst_prefetch_distance",
    # gfx12
    "s_add_co_u32": "s_add_u32",
    "s_sub_co_u32": "s_sub_u32",
    "s_add_co_i32": "s_add_i32",
    "s_sub_co_i32": "s_sub_i32",
    "s_addk_co_i32": "s_addk_i32",
    "s_add_co_ci_u32": "s_addc_u32",
    "s_sub_co_ci_u32": "s_subb_u32",
    "v_mad_co_u64_u32": "v_mad_u64_u32",
    "v_mad_co_i64_i32": "v_mad_i64_i32",
    "s_sleep_var": "s_sleep",
    "ds_storexchg_rtn_b32": "ds_wrxchg_rtn_b32",
    "ds_storexchg_rtn_b64": "ds_wrxchg_rtn_b64",
    "ds_load_addtid_b32": "ds_read_addtid_b32",
    "ds_store_addtid_b32": "ds_write_addtid_b32",
}
_DUAL = (
    "add_f32",
    "sub_f32",
    "subrev_f32",
    "mul_f32",
    "mul_dx9_zero_f32",
    "fmac_f32",
    "fmaak_f32",
    "fmamk_f32",
    "max_f32",
    "min_f32",
    "mov_b32",
    "cndmask_b32",
    "add_nc_u32",
    "lshlrev_b32",
    "and_b32",
    "dot2acc_f32_f16",
)


def _number_extremes() -> Iterator[tuple[str, str]]:
    """gfx12 says in the name of the extremes of before that they prefer a number to a NaN."""
    for end in ("min", "max"):
        for suffix in ("f16", "f32", "f64"):
            yield f"v_{end}_num_{suffix}", f"v_{end}_{suffix}"
        for suffix in ("f16", "f32"):
            yield f"s_{end}_num_{suffix}", f"s_{end}_{suffix}"
            yield f"v_{end}3_num_{suffix}", f"v_{end}3_{suffix}"
        yield f"v_pk_{end}_num_f16", f"v_pk_{end}_f16"
        yield f"v_dual_{end}_num_f32", f"v_{end}_f32"
        for suffix in ("f32", "f64"):
            yield f"ds_{end}_num_{suffix}", f"ds_{end}_{suffix}"
            yield f"ds_{end}_num_rtn_{suffix}", f"ds_{end}_rtn_{suffix}"
        for space in ("flat", "global", "buffer"):
            yield f"{space}_atomic_{end}_num_f32", f"{space}_atomic_{end}_f32"
    for suffix in ("f16", "f32"):
        for name in ("med3", "minmax", "maxmin"):
            yield f"v_{name}_num_{suffix}", f"v_{name}_{suffix}"
        for name in ("exp", "log", "rcp", "rsq", "sqrt"):
            # With scalar operands.
            yield f"v_s_{name}_{suffix}", f"v_{name}_{suffix}"


def _memory() -> Iterator[tuple[str, str]]:
    for space in ("flat", "global", "scratch", "buffer"):
        for new, old in _LOADS.items():
            yield f"{space}_load_{new}", f"{space}_load_{old}"
        for new, old in _STORES.items():
            yield f"{space}_store_{new}", f"{space}_store_{old}"
    for space in ("flat", "global", "buffer"):
        for new, old in _ATOMICS.items():
            yield f"{space}_atomic_{new}32", f"{space}_atomic_{old}"
            yield f"{space}_atomic_{new}64", f"{space}_atomic_{old}_x2"
        for end in ("min", "max"):
            # gfx10's names of the float atomics.
            yield f"{space}_atomic_f{end}", f"{space}_atomic_{end}_f32"
            yield f"{space}_atomic_f{end}_x2", f"{space}_atomic_{end}_f64"
    for bits, old in ((32, ""), (64, "x2"), (128, "x4"), (256, "x8"), (512, "x16")):
        yield f"s_load_b{bits}", f"s_load_dword{old}"


def _lds() -> Iterator[tuple[str, str]]:
    for name in ("b32", "b64", "b96", "b128", "u8", "i8", "u16", "i16"):
        yield f"ds_load_{name}", f"ds_read_{name}"
    for name in ("u8", "i8", "u16"):
        for half in ("d16", "d16_hi"):
            yield f"ds_load_{name}_{half}", f"ds_read_{name}_{half}"
    for name in ("b8", "b16", "b32", "b64", "b96", "b128", "b8_d16_hi", "b16_d16_hi"):
        yield f"ds_store_{name}", f"ds_write_{name}"
    for new, old in (("", ""), ("_stride64", "st64")):
        for bits in (32, 64):
            yield f"ds_load_2addr{new}_b{bits}", f"ds_read2{old}_b{bits}"
            yield f"ds_store_2addr{new}_b{bits}", f"ds_write2{old}_b{bits}"
            yield f"ds_storexchg_2addr{new}_rtn_b{bits}", f"ds_wrxchg2{old}_rtn_b{bits}"


def aliases() -> dict[str, str]:
    """Other names of instructions: from each to the name in the table."""
    names = dict(_SINGLE)
    for new, old in _SCALAR.items():
        for bits in (32, 64):
            names[new.format(bits)] = old.format(bits)
    names.update(_memory())
    names.update(_lds())
    names.update(_number_extremes())
    for name in _DUAL:
        single = f"v_{name}"
        names[f"v_dual_{name}"] = names.get(single, single)
    return names
