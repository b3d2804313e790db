"""Every instruction that the compiler makes of the corpus and of the suite's kernels has semantics.

Oracle for what an instruction is called: LLVM's disassembler.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_amdgpu.driver.compiler import compile_source
from pytest_amdgpu.emulator.isa.semantics import SEMANTICS

HERE = Path(__file__).parent
KERNELS = HERE.parents[2] / "hw_tests" / "kernels"
SOURCES = sorted((HERE / "corpus").glob("*.c")) + sorted(KERNELS.glob("*.c"))
LEVELS = ("-O0", "-O1", "-O2", "-O3")
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
@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_compiled_kernels_need_no_other_instruction(
    target: str, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    objects = []
    for source in SOURCES:
        for level in LEVELS:
            path = tmp_path / f"{source.parent.name}_{source.stem}{level}.co"
            path.write_bytes(
                compile_source(source.read_text(), target, options=(level,), include=[source.parent])
            )
            objects.append(path)
    found = mnemonics(require_tool("llvm-objdump"), target, objects)
    assert "s_endpgm" in found
    assert len(found) > 300
    assert found - SEMANTICS.keys() == set()


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
