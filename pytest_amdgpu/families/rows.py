"""The rows of gfx targets.

Where a value is from is said where its field is declared (family.py, and the modules named there); a comment
here names the source of a value that has one of its own.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from pytest_amdgpu.families import (
    context_save,
    hardware_ids,
    kernel_rules,
    scratch_rules,
    shader_rules,
    wave_registers,
)
from pytest_amdgpu.families.family import Family

_COUNT_22_BITS = 1 << 22
_COUNT_30_BITS = 1 << 30
_WAVE64 = (64,)
_WAVE32 = (32, 64)
_RDNA_VGPRS = MappingProxyType({32: 8, 64: 4})

_GFX908 = Family(
    name="gfx908",
    gfx_version=(9, 0, 8),
    architecture="CDNA1",
    elf_mach=0x30,
    pm4="gfx9",
    sdma="4.2",
    registers="gfx908",
    sdma_copy_limit=_COUNT_22_BITS,
    sdma_fill_limit=_COUNT_22_BITS,
    wave_sizes=_WAVE64,
    vgpr_granule=MappingProxyType({64: 4}),
    units_in_pairs=False,
    shader=shader_rules.GFX908,
    wave_registers=wave_registers.GFX9,
    hardware_ids=hardware_ids.GFX9,
    scratch=scratch_rules.GFX9,
    context_save=context_save.GFX9,
    kernel=kernel_rules.GFX908,
    xnack=True,
    sramecc=True,
)
_GFX90A = replace(
    _GFX908,
    name="gfx90a",
    gfx_version=(9, 0, 10),
    architecture="CDNA2",
    elf_mach=0x3F,
    sdma="4.4.0",
    registers="gfx90a",
    sdma_copy_limit=_COUNT_30_BITS,
    # One file holds ordinary and accumulation registers since this generation.
    vgpr_granule=MappingProxyType({64: 8}),
    shader=shader_rules.GFX90A,
    kernel=kernel_rules.GFX90A,
    kernarg_preload=True,
)
_GFX942 = replace(
    _GFX90A,
    name="gfx942",
    gfx_version=(9, 4, 2),
    architecture="CDNA3",
    elf_mach=0x4C,
    pm4="gfx940",
    sdma="4.4",
    registers="gfx942",
    sdma_copy_limit=_COUNT_22_BITS,
    shader=shader_rules.GFX942,
    wave_registers=wave_registers.GFX942,
    hardware_ids=hardware_ids.GFX942,
    scratch=scratch_rules.GFX942,
    kernel=kernel_rules.GFX942,
)
_GFX950 = replace(
    _GFX942,
    name="gfx950",
    gfx_version=(9, 5, 0),
    architecture="CDNA4",
    elf_mach=0x4F,
    context_save=context_save.GFX950,
    lds_bytes=163840,
    lds_granule=1280,
)
_GFX1010 = Family(
    name="gfx1010",
    gfx_version=(10, 1, 0),
    architecture="RDNA1",
    elf_mach=0x33,
    pm4="gfx10",
    sdma="5.0",
    registers="gfx10.1",
    sdma_copy_limit=_COUNT_22_BITS,
    sdma_fill_limit=_COUNT_22_BITS,
    wave_sizes=_WAVE32,
    vgpr_granule=_RDNA_VGPRS,
    units_in_pairs=True,
    shader=shader_rules.GFX10,
    wave_registers=wave_registers.GFX10,
    hardware_ids=hardware_ids.GFX10,
    scratch=scratch_rules.GFX10,
    context_save=context_save.GFX10,
    kernel=kernel_rules.GFX10,
    xnack=True,
)
_GFX1030 = replace(
    _GFX1010,
    name="gfx1030",
    gfx_version=(10, 3, 0),
    architecture="RDNA2",
    elf_mach=0x36,
    sdma="5.2",
    registers="gfx10.3",
    sdma_copy_limit=_COUNT_30_BITS,
    wave_registers=wave_registers.GFX103,
    xnack=False,
)
_GFX1100 = replace(
    _GFX1030,
    name="gfx1100",
    gfx_version=(11, 0, 0),
    architecture="RDNA3",
    elf_mach=0x41,
    pm4="gfx11",
    sdma="6.0",
    registers="gfx11",
    sdma_fill_limit=_COUNT_30_BITS,
    shader=shader_rules.GFX11,
    scratch=scratch_rules.GFX11,
    context_save=context_save.GFX11_LARGE,
    kernel=kernel_rules.GFX11,
)
_GFX1102 = replace(
    _GFX1100, name="gfx1102", gfx_version=(11, 0, 2), elf_mach=0x47, context_save=context_save.GFX11
)
_GFX1150 = replace(
    _GFX1102,
    name="gfx1150",
    gfx_version=(11, 5, 0),
    architecture="RDNA3.5",
    elf_mach=0x43,
    sdma="6.1",
    registers="gfx11.5",
    kernel=kernel_rules.GFX115,
)
_GFX1200 = replace(
    _GFX1100,
    name="gfx1200",
    gfx_version=(12, 0, 0),
    architecture="RDNA4",
    elf_mach=0x48,
    pm4="gfx12",
    sdma="7.0",
    registers="gfx12",
    shader=shader_rules.GFX12,
    wave_registers=wave_registers.GFX12,
    kernel=kernel_rules.GFX115,
    assumed=frozenset({"hardware_ids"}),
)
# Its graphics block is 12.1, whose files in amdgpu are of their own (gfx_v12_1.c, sdma_v7_1.c, gmc_v12_1.c).
_GFX1250 = replace(
    _GFX1200,
    name="gfx1250",
    gfx_version=(12, 5, 0),
    architecture="CDNA5",
    elf_mach=0x49,
    wave_sizes=(32,),
    vgpr_granule=MappingProxyType({32: 16}),
    context_save=context_save.GFX1250,
    kernel=kernel_rules.GFX1250,
    xnack=True,
    sramecc=True,
    kernarg_preload=True,
    lds_bytes=327680,
    # LLVM since commit 5f38ae4a77d4
    lds_granule=2048,
    assumed=frozenset(
        {
            "pm4",
            "sdma",
            "registers",
            "units_in_pairs",
            "hardware_ids",
            "scratch",
            "shader.permute_within_halves",
            "shader.buffers",
            "kernel.max_queues",
            "kernel.xnack_per_process",
            "kernel.poison",
            "kernel.fault_log.sdma_client",
        }
    ),
)


def _stepping(row: Family, stepping: int, elf_mach: int) -> Family:
    """Return the row of a target that differs from another only in its stepping."""
    version = (*row.gfx_version[:2], stepping)
    return replace(row, name=f"{row.name[:-1]}{stepping:x}", gfx_version=version, elf_mach=elf_mach)


FAMILIES: tuple[Family, ...] = (
    _GFX908,
    _GFX90A,
    _GFX942,
    _GFX950,
    _GFX1010,
    _stepping(_GFX1010, 1, 0x34),
    _stepping(_GFX1010, 2, 0x35),
    _GFX1030,
    _stepping(_GFX1030, 1, 0x37),
    _stepping(_GFX1030, 2, 0x38),
    _stepping(_GFX1030, 3, 0x39),
    _stepping(_GFX1030, 4, 0x3E),
    _stepping(_GFX1030, 5, 0x3D),
    _stepping(_GFX1030, 6, 0x45),
    _GFX1100,
    _stepping(_GFX1100, 1, 0x46),
    _GFX1102,
    _stepping(_GFX1102, 3, 0x44),
    _GFX1150,
    replace(_stepping(_GFX1150, 1, 0x4A), context_save=context_save.GFX11_LARGE),
    _stepping(_GFX1150, 2, 0x55),
    _stepping(_GFX1150, 3, 0x58),
    _GFX1200,
    _stepping(_GFX1200, 1, 0x4E),
    _GFX1250,
)
