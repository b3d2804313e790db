"""The rows of targets against what LLVM's assembler does for each of them."""

import re
import subprocess

import pytest
from elftools.elf.elffile import ELFFile

from pytest_amdgpu.families.registry import (
    FAMILIES,
    UnknownFamilyError,
    family,
    family_by_elf_mach,
    family_by_version,
    nearest_family,
    target_name,
    target_version,
)
from pytest_amdgpu.packets.pm4 import PM4_GENERATIONS
from pytest_amdgpu.packets.register_tables import COLUMNS
from pytest_amdgpu.packets.registers import compute_registers
from pytest_amdgpu.packets.sdma import SDMA_VERSIONS, sdma_packets

VGPR_COUNTS = (1, 9, 24, 57)
# Bits of e_flags in code object version 4 and up (AMDGPUUsage, EF_AMDGPU_FEATURE_*_V4).
XNACK_BITS, SRAMECC_BITS = 0x300, 0xC00
# A directive that only some targets have, and the attribute of the row that says so.
PROBES = {
    "architected_flat_scratch": ".amdhsa_enable_private_segment 1",
    "kernarg_preload": ".amdhsa_user_sgpr_kernarg_preload_length 1",
}


def kernel(row, name, vgprs, wave, *directives):
    lines = [f".amdhsa_next_free_vgpr {vgprs}", ".amdhsa_next_free_sgpr 8", *directives]
    if row.gfx_version[0] >= 10:
        lines.append(f".amdhsa_wavefront_size32 {int(wave == 32)}")
    if row.name in ("gfx90a", "gfx942", "gfx950"):
        lines.append(f".amdhsa_accum_offset {-(-vgprs // 4) * 4}")
    return "\n".join([f".amdhsa_kernel {name}", *lines, ".end_amdhsa_kernel"])


def assemble(tool, row, source, output):
    command = [tool, "-triple=amdgcn-amd-amdhsa", f"-mcpu={row.name}", "-filetype=obj", "-o", str(output)]
    text = f".text\n s_endpgm\n.rodata\n.p2align 6\n{source}\n"
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def llvm_mc(require_tool):
    return require_tool("llvm-mc")


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_object_file_of_the_target(row, llvm_mc, tmp_path):
    kernels = [
        kernel(row, f"k_{wave}_{count}", count, wave) for wave in row.wave_sizes for count in VGPR_COUNTS
    ]
    done = assemble(llvm_mc, row, "\n".join(kernels), tmp_path / "out.o")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.o").open("rb") as stream:
        elf = ELFFile(stream)
        flags = elf["e_flags"]
        assert flags & 0xFF == row.elf_mach
        assert bool(flags & XNACK_BITS) == row.xnack
        assert bool(flags & SRAMECC_BITS) == row.sramecc
        data = elf.get_section_by_name(".rodata").data()
        registers = compute_registers(row.registers)
        checked = 0
        for symbol in elf.get_section_by_name(".symtab").iter_symbols():
            match = re.fullmatch(r"k_(\d+)_(\d+)\.kd", symbol.name)
            if match:
                wave, count = map(int, match.groups())
                offset = symbol["st_value"] + 48
                rsrc1 = registers.decode(
                    "COMPUTE_PGM_RSRC1", int.from_bytes(data[offset : offset + 4], "little")
                )
                assert rsrc1["vgprs"] == -(-count // row.vgpr_granule[wave]) - 1
                checked += 1
        assert checked == len(kernels)


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_features_of_the_target(row, llvm_mc, tmp_path):
    source = "\n".join(
        kernel(row, f"k{index}", 1, row.wave_size, directive)
        for index, directive in enumerate(PROBES.values())
    )
    errors = assemble(llvm_mc, row, source, tmp_path / "out.o").stderr
    for attribute, directive in PROBES.items():
        refused = directive in errors
        assert getattr(row, attribute) == (not refused), errors


def test_every_row_names_tables_that_exist():
    for row in FAMILIES:
        assert row.pm4 in PM4_GENERATIONS
        assert row.sdma in SDMA_VERSIONS
        assert row.registers in COLUMNS
        assert set(row.vgpr_granule) == set(row.wave_sizes)
        major, minor, stepping = row.gfx_version
        assert row.name == f"gfx{major}{minor}{stepping:x}"
        assert family(row.name) is row
        assert family_by_version(major * 10000 + minor * 100 + stepping) is row
        assert family_by_elf_mach(row.elf_mach) is row
        counts = {
            layout: sdma_packets(row.sdma).layouts[layout].field("count").width
            for layout in ("COPY_LINEAR", "CONSTANT_FILL")
        }
        assert row.sdma_copy_limit == 1 << counts["COPY_LINEAR"]
        assert row.sdma_fill_limit == 1 << counts["CONSTANT_FILL"]


def test_the_two_generations_of_first_light():
    cdna, rdna = family("gfx942"), family("gfx1100")
    assert (cdna.gfx_target_version, rdna.gfx_target_version) == (90402, 110000)
    assert (cdna.wave_size, rdna.wave_size) == (64, 32)
    # ROCr, GpuAgent::CreateBlitSdma: counts of 0x3fffff and 0x3fffffff mean one byte more.
    assert (cdna.sdma_copy_limit, rdna.sdma_copy_limit) == (4 << 20, 1 << 30)
    assert (cdna.scratch.wave_granule, rdna.scratch.wave_granule) == (1024, 256)


def test_lds_of_gfx950_is_larger():
    # AMDGPUUsage: 160 KiB, in RSRC2 in units of 320 dwords instead of 128.
    assert (family("gfx950").lds_bytes, family("gfx950").lds_granule) == (160 * 1024, 1280)
    assert (family("gfx942").lds_bytes, family("gfx942").lds_granule) == (64 * 1024, 512)
    # AMDGPUUsage since commit 5f38ae4a77d4: units of 512 dwords.
    assert (family("gfx1250").lds_bytes, family("gfx1250").lds_granule) == (320 * 1024, 2048)
    for row in FAMILIES:
        assert row.lds_bytes // row.lds_granule < 1 << 9


def test_unknown_target_is_refused_with_the_known_ones():
    with pytest.raises(
        UnknownFamilyError, match=r"unknown gfx target 'gfx906'; known: gfx908, gfx90a, gfx942"
    ):
        family("gfx906")
    with pytest.raises(
        UnknownFamilyError, match=r"'gfx906' \(gfx_target_version 90006\); known: 90008 \(gfx908\)"
    ):
        family_by_version(90006)
    with pytest.raises(UnknownFamilyError, match=r"EF_AMDGPU_MACH 0x2f; known: 0x30 \(gfx908\)"):
        family_by_elf_mach(0x2F)


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_names_and_numbers_of_targets(row):
    assert target_name(row.gfx_target_version) == row.name
    assert target_version(row.name) == row.gfx_target_version
    assert nearest_family(row.gfx_target_version) is row


def test_numbers_of_targets_as_sysfs_prints_them():
    # kfd_device_init of amdkfd's kfd_device.c: 90008 is gfx908, 90010 gfx90a, 90402 gfx942, 110501 gfx1151.
    numbers = {"gfx908": 90008, "gfx90a": 90010, "gfx942": 90402, "gfx1036": 100306, "gfx1151": 110501}
    assert {name: target_version(name) for name in numbers} == numbers


@pytest.mark.parametrize(
    "name", ["", "gfx", "gfx9", "gfx90", "gfx90g", "gfx0942", "GFX942", "gfx942 ", "942"]
)
def test_what_is_no_name_of_a_target(name):
    with pytest.raises(UnknownFamilyError, match=f"'{name}' is not a gfx target; known: gfx908, gfx90a"):
        target_version(name)


@pytest.mark.parametrize(
    ("unknown", "relative"),
    [
        (110004, "gfx1103"),
        (120002, "gfx1201"),
        (110507, "gfx1153"),
        (90400, "gfx942"),
        (90501, "gfx950"),
        (100103, "gfx1012"),
        (120501, "gfx1250"),
    ],
)
def test_an_unknown_stepping_has_a_relative_of_its_generation(unknown, relative):
    assert nearest_family(unknown).name == relative
    with pytest.raises(UnknownFamilyError, match=f"; its nearest relative is {relative}$"):
        family_by_version(unknown)


# gfx906 and gfx90c are Vega; gfx1300 and gfx1240 are of no generation that is known.
@pytest.mark.parametrize("unknown", [90006, 90012, 130000, 120400, 0])
def test_a_target_of_another_generation_has_no_relative(unknown):
    with pytest.raises(UnknownFamilyError, match=r"; none of them is a near relative$"):
        nearest_family(unknown)
