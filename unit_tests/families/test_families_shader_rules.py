"""What the rows say of waves against what LLVM's assembler accepts and its code generator makes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping

import pytest

from pytest_amdgpu.families.registry import FAMILIES, Family, family
from pytest_amdgpu.families.shader_rules import Accumulation, FlatScratch

CODE = """
declare i32 @llvm.amdgcn.workgroup.id.x()
declare i32 @llvm.amdgcn.workitem.id.y()
define amdgpu_kernel void @ids(ptr addrspace(1) %p) {
  %group = call i32 @llvm.amdgcn.workgroup.id.x()
  %item = call i32 @llvm.amdgcn.workitem.id.y()
  %place = getelementptr i32, ptr addrspace(1) %p, i32 %group
  store i32 %item, ptr addrspace(1) %place
  ret void
}
define amdgpu_kernel void @private(i32 %i) {
  %array = alloca [64 x i32], addrspace(5)
  %element = getelementptr [64 x i32], ptr addrspace(5) %array, i32 0, i32 %i
  %flat = addrspacecast ptr addrspace(5) %element to ptr
  store volatile i32 8, ptr %flat
  ret void
}
"""
PROBES = {
    "message 15": "s_sendmsg sendmsg(15)",
    "message 16": "s_sendmsg sendmsg(16)",
    "message 127": "s_sendmsg sendmsg(127)",
    "accumulation": "v_accvgpr_read_b32 v0, a0",
    "accum offset": ".amdhsa_accum_offset 4",
    "clamp": ".amdhsa_dx10_clamp 1",
    "pairs": ".amdhsa_workgroup_processor_mode 1",
}
"""What some targets have: instructions, and directives of a kernel descriptor."""


def accepted(row: Family, tool: str) -> dict[str, bool]:
    """Which of the probes the assembler takes for a target, by the lines that it complains of."""
    lines, place = [".text"], {}
    for name, text in PROBES.items():
        if text.startswith("."):
            lines += [f".amdhsa_kernel k{len(lines)}", ".amdhsa_next_free_vgpr 1", ".amdhsa_next_free_sgpr 8"]
        lines.append(text)
        place[name] = len(lines)
        if text.startswith("."):
            lines.append(".end_amdhsa_kernel")
    command = [tool, "-triple=amdgcn-amd-amdhsa", f"-mcpu={row.name}"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    bad = {int(line) for line in re.findall(r"<stdin>:(\d+):\d+: error", done.stderr)}
    return {name: line not in bad for name, line in place.items()}


@pytest.fixture(scope="module")
def generated(require_tool: Callable[[str], str]) -> Mapping[str, str]:
    """Assembly by target."""
    tool = require_tool("llc")
    result = {}
    for row in FAMILIES:
        command = [tool, "-mtriple=amdgcn-amd-amdhsa", f"-mcpu={row.name}", "-O2", "-o", "-"]
        result[row.name] = subprocess.run(
            command, input=CODE, capture_output=True, text=True, check=True
        ).stdout
    return result


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_where_flat_scratch_is(row: Family, generated: Mapping[str, str]) -> None:
    text = generated[row.name]
    written = {
        FlatScratch.SCALAR_REGISTERS: bool(re.search(r"s_add_u32 flat_scratch_lo,", text)),
        FlatScratch.HARDWARE_REGISTERS: bool(re.search(r"s_setreg_b32 hwreg\(HW_REG_FLAT_SCR_LO\)", text)),
    }
    found = [kind for kind, there in written.items() if there] or [FlatScratch.ARCHITECTED]
    assert found == [row.shader.flat_scratch]
    wants_resource = ".amdhsa_user_sgpr_private_segment_buffer 1" in text
    assert wants_resource == (row.scratch.resource_word3 is not None)


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_where_ids_are(row: Family, generated: Mapping[str, str]) -> None:
    text = generated[row.name]
    assert ("ttmp9" in text) == row.shader.workgroup_ids_in_trap_registers
    assert ("v_bfe_u32 v0, v0, 10, 10" in text) == row.shader.packed_work_item_ids


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_what_the_assembler_accepts(row: Family, require_tool: Callable[[str], str]) -> None:
    rules = row.shader
    found = accepted(row, require_tool("llvm-mc"))
    expected = {
        "message 15": True,
        "message 16": not 16 & ~rules.message_mask,
        "message 127": not 127 & ~rules.message_mask,
        "accumulation": rules.accumulation is not Accumulation.NONE,
        "accum offset": rules.accumulation is Accumulation.SHARED_FILE,
        "clamp": rules.clamp_and_ieee_in_mode,
        # LLVM knows no pairs of gfx1250.
        "pairs": row.units_in_pairs and "units_in_pairs" not in row.assumed,
    }
    assert found == expected


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_names_of_hardware_registers_are_llvms(row: Family, require_tool: Callable[[str], str]) -> None:
    source = "".join(f"s_getreg_b32 s0, hwreg({number}, 0, 32)\n" for number in range(64))
    command = [require_tool("llvm-mc"), "-triple=amdgcn-amd-amdhsa", f"-mcpu={row.name}"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    names = re.findall(r"hwreg\((?:HW_REG_)?(?:WAVE_)?(\w+)", text)
    assert len(names) == 64
    assert {number: names[number] for number in row.wave_registers} == dict(row.wave_registers)


def test_agpr_files_of_cdna() -> None:
    # AMDGPUUsage: gfx908 has 256 of each in files of their own, gfx90a 512 in one.
    kinds = {row.name: row.shader.accumulation for row in FAMILIES[:5]}
    assert kinds == {
        "gfx908": Accumulation.OWN_FILE,
        "gfx90a": Accumulation.SHARED_FILE,
        "gfx942": Accumulation.SHARED_FILE,
        "gfx950": Accumulation.SHARED_FILE,
        "gfx1010": Accumulation.NONE,
    }


def test_fields_of_buffer_resources() -> None:
    # ISA documents, "buffer resource descriptor": CDNA3 and Vega have bits 31 of dword 1 (SWIZZLE_ENABLE) and
    # 18:15 of dword 3 (DATA_FORMAT, which extends the stride with ADD_TID); RDNA2 has OOB_SELECT in 29:28 of
    # dword 3; RDNA3 has SWIZZLE_ENABLE in 31:30 of dword 1.
    rules = {
        name: (row.element_by_size, row.bounds_by_field, row.stride_with_format)
        for name in ("gfx908", "gfx942", "gfx1010", "gfx1030", "gfx1100", "gfx1201")
        for row in [family(name).shader.buffers]
    }
    assert rules == {
        "gfx908": (False, False, True),
        "gfx942": (False, False, True),
        "gfx1010": (False, True, False),
        "gfx1030": (False, True, False),
        "gfx1100": (True, True, False),
        "gfx1201": (True, True, False),
    }
