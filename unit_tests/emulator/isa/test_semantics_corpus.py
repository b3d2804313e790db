"""Every instruction that the compiler makes of the corpus and of the suite's kernels has semantics.

Oracle for what an instruction is called: LLVM's disassembler.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from isa_machine import TARGETS, levels

from pytest_amdgpu.driver.compiler import compile_source
from pytest_amdgpu.emulator.isa.decode.generation import GENERATIONS
from pytest_amdgpu.emulator.isa.decode.rows import Rows
from pytest_amdgpu.emulator.isa.semantics import SEMANTICS

HERE = Path(__file__).parent
KERNELS = HERE.parents[2] / "hw_tests" / "kernels"
SOURCES = sorted((HERE / "corpus").glob("*.c")) + sorted(KERNELS.glob("*.c"))
# Its subject is a word that is no instruction.
SOURCES.remove(KERNELS / "illegal.c")
SUFFIX = re.compile(r"(_e32|_e64)?(_sdwa|_dpp8|_dpp)?$")


def mnemonics(objdump: str, target: str, objects: list[Path]) -> set[str]:
    """The mnemonics in code objects, without suffixes of encodings; both halves of a dual instruction."""
    command = [objdump, "-d", f"--mcpu={target}", "--triple=amdgcn-amd-amdhsa", *map(str, objects)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: set[str] = set()
    for line in listing.splitlines():
        if line.startswith("\t"):
            for part in line.partition("//")[0].split("::"):
                found.add(SUFFIX.sub("", part.split()[0]))
    return found


@pytest.mark.usefixtures("require_ziglang")
@pytest.mark.parametrize("target", TARGETS)
def test_compiled_kernels_need_no_other_instruction(
    target: str, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    objects = []
    for source in SOURCES:
        for level in ("-O0", *levels(target, source.stem)):
            path = tmp_path / f"{source.parent.name}_{source.stem}{level}.co"
            path.write_bytes(
                compile_source(source.read_text(), target, options=(level,), include=[source.parent])
            )
            objects.append(path)
    found = mnemonics(require_tool("llvm-objdump"), target, objects)
    assert "s_endpgm" in found
    assert len(found) > 300
    assert found - SEMANTICS.keys() == set()


NOT_IMPLEMENTED = {
    "graphics": "exp(ort)? image_.* (lds|ds)_(direct|param)_load v_interp_.* ds_bvh_.* "
    "s_endpgm_ordered_ps_done",
    "typed buffers, buffers for scalars": "t?buffer_(load|store)_.*format_.* s_buffer_.* s_atc_probe.*",
    "matrices": "v_s?mfmac?_.* v_wmma_.*",
    "8-bit floats": "v_cvt_(f32|pk_f32|pk|sr)_(fp8|bf8)(_f32)?",
    "synchronization of all waves": "ds_gws_.* ds_ordered_count ds_(add|sub)_gs_reg_rtn ds_append ds_consume",
    "gfx9 scalar stores": "s_(atomic|store|scratch)_.* s_dcache_discard.*",
    "gfx9 stack of branches": "s_cbranch_(g_fork|i_fork|join) s_setvskip",
    "LDS operations on two addresses": r"ds_\w+_src2_\w+",
    "RDNA1's number of a wave": "s_get_waveid_in_workgroup",
    "trap handlers": "s_rfe_.* s_setkill s_sendmsghalt",
    "scalar registers chosen at run time": "s_movrel.* v_swaprel_b32 s_subvector_loop_.*",
    "memory to LDS": "(global|scratch)_load_lds_.*",
    "addresses from lane numbers": "global_(load|store)_(dword_)?addtid(_b32)?",
    "rare atomics": "ds_(mskor|wrap|condxchg32)_.* ds_cmpst(ore)?_(rtn_)?f(32|64) "
    "(flat|global|buffer)_atomic_(cmpswap_f32|fcmpswap(_x2)?) (global|buffer)_atomic_csub(_u32)?",
    "rare arithmetic": "v_trig_preop_f64 v_(exp|log)_legacy_f32 v_screen_partition_4se_b32 "
    "v_dual_dot2acc_f32_bf16",
    "gfx950's small floats": "v_cvt_scalef32_.* v_cvt_f32_bf16 v_cvt_pk_(bf16|f16)_f32 v_cvt_sr_b?f16_f32 "
    "v_dot2c_f32_bf16 v_prng_b32",
    "gfx950's transposing loads and exchanges": "ds_read_b(64|96)_tr_.* v_permlane(16|32)_swap_b32",
    "gfx950's extremes and packed shifts": "v_pk_(maximum|minimum)3_f16 v_ashr_pk_[iu]8_i32",
    "gfx12's other barriers": "s_barrier_(init|join|leave|signal_isfirst) s_get_barrier_state s_alloc_vgpr",
    "gfx12's loads of blocks and matrices": "(global|scratch)_(load|store)_block global_load_tr_b(64|128)",
    "gfx12's atomics": "(buffer|flat|global)_atomic_(cond_sub|sub_clamp)_u32 global_atomic_ordered_add_b64 "
    "ds_(cond_sub|sub_clamp)_(rtn_)?u32",
    "gfx12's lanes": "ds_bpermute_fi_b32 v_permlanex?16_var_b32",
    "no instruction": "v_illegal",
}
"""What the decoder knows and the table does not: patterns of whole mnemonics. It may only become shorter."""

PATTERNS = [pattern for patterns in NOT_IMPLEMENTED.values() for pattern in patterns.split()]


def decoded_names(rows: Rows) -> set[str]:
    return {row.split()[1] for by_opcode in rows.values() for row in by_opcode.values()}


def all_names() -> set[str]:
    return set().union(*(decoded_names(row.rows()) for row in GENERATIONS.values()))


@pytest.mark.parametrize("rows", [row.rows() for row in GENERATIONS.values()], ids=list(GENERATIONS))
def test_what_is_not_implemented_is_listed(rows: Rows) -> None:
    missing = decoded_names(rows) - SEMANTICS.keys()
    unlisted = {name for name in missing if not re.fullmatch("|".join(PATTERNS), name)}
    assert unlisted == set()


def test_the_list_of_what_is_not_implemented_is_no_longer_than_needed() -> None:
    missing = all_names() - SEMANTICS.keys()
    unneeded = [pattern for pattern in PATTERNS if not any(re.fullmatch(pattern, name) for name in missing)]
    assert unneeded == []


def test_every_row_is_an_instruction_of_some_generation() -> None:
    known = all_names()
    meanings = {id(SEMANTICS[name]) for name in known & SEMANTICS.keys()}
    assert {name for name, meaning in SEMANTICS.items() if id(meaning) not in meanings} == set()


def test_other_generations_names_mean_the_same() -> None:
    for new, old in {
        "v_add_nc_u32": "v_add_u32",
        "ds_load_b32": "ds_read_b32",
        "ds_load_2addr_stride64_b64": "ds_read2st64_b64",
        "global_load_b32": "global_load_dword",
        "global_load_d16_hi_u8": "global_load_ubyte_d16_hi",
        "flat_atomic_max_i64": "flat_atomic_smax_x2",
        "s_load_b512": "s_load_dwordx16",
        "s_and_not1_saveexec_b32": "s_andn2_saveexec_b32",
        "v_dual_add_nc_u32": "v_add_u32",
        "v_dual_mov_b32": "v_mov_b32",
    }.items():
        assert SEMANTICS[new] is SEMANTICS[old]


def test_generations_differ_in_the_operand_order_of_the_lds_compare_and_store() -> None:
    assert SEMANTICS["ds_cmpst_b32"] is not SEMANTICS["ds_cmpstore_b32"]
