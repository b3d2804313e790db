"""What differs between gfx targets, one row each.

Sources: target features, ELF machine numbers and granules from LLVM's AMDGPU usage manual; SDMA
versions from amdgpu's IP discovery (amdgpu_discovery.c); the limit of a copy from ROCr
(GpuAgent::CreateBlitSdma), that of a fill from the width of its field; units of scratch from ROCr
(AqlQueue's mem_alignment_size).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


class UnknownFamilyError(ValueError):
    """No row for a gfx target; the message lists the known ones."""


@dataclass(frozen=True, slots=True)
class Family:
    """One gfx target.

    Sizes are in bytes. `vgpr_granule` maps a wave size to the registers that one unit of the VGPR
    count in COMPUTE_PGM_RSRC1 stands for; `lds_granule` is the unit of the LDS size in RSRC2.
    `sdma_copy_limit` and `sdma_fill_limit` are the most that one copy or fill packet moves.
    """

    name: str
    gfx_version: tuple[int, int, int]
    architecture: str
    pm4: str
    sdma: str
    registers: str
    wave_sizes: tuple[int, ...]
    vgpr_granule: Mapping[int, int]
    sdma_copy_limit: int
    sdma_fill_limit: int
    elf_mach: int
    xnack: bool = False
    xnack_by_process: bool = False
    """Whether a process may have page faults retried (KFD_SUPPORT_XNACK_PER_PROCESS in kfd_priv.h)."""
    sramecc: bool = False
    architected_flat_scratch: bool = False
    packed_work_item_ids: bool = False
    kernarg_preload: bool = False
    lds_bytes: int = 65536
    lds_granule: int = 512
    scratch_wave_granule: int = 1024

    @property
    def wave_size(self) -> int:
        """The wave size that compilers use unless told otherwise."""
        return self.wave_sizes[0]

    @property
    def units_in_pairs(self) -> bool:
        """Whether two compute units form a workgroup processor (WGP): from gfx10 on."""
        return self.gfx_version[0] >= 10

    @property
    def gfx_target_version(self) -> int:
        """The number in sysfs: 90402 is gfx942."""
        major, minor, stepping = self.gfx_version
        return major * 10000 + minor * 100 + stepping

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it is one of, from general to special: gfx9, gfx94x, CDNA, CDNA3 for gfx942."""
        return (*generations(self.name), self.architecture.rstrip("0123456789."), self.architecture)

    def __str__(self) -> str:
        return self.name


_COUNT_22_BITS = 1 << 22
_COUNT_30_BITS = 1 << 30
_WAVE64 = (64,)
_WAVE32 = (32, 64)
_RDNA_VGPRS = MappingProxyType({32: 8, 64: 4})

_GFX908 = Family(
    name="gfx908",
    gfx_version=(9, 0, 8),
    architecture="CDNA1",
    pm4="gfx9",
    sdma="4.2",
    registers="gfx908",
    wave_sizes=_WAVE64,
    vgpr_granule=MappingProxyType({64: 4}),
    sdma_copy_limit=_COUNT_22_BITS,
    sdma_fill_limit=_COUNT_22_BITS,
    elf_mach=0x30,
    xnack=True,
    sramecc=True,
)
_GFX90A = replace(
    _GFX908,
    name="gfx90a",
    gfx_version=(9, 0, 10),
    architecture="CDNA2",
    sdma="4.4.0",
    registers="gfx90a",
    # One file holds ordinary and accumulation registers since this generation.
    vgpr_granule=MappingProxyType({64: 8}),
    sdma_copy_limit=_COUNT_30_BITS,
    elf_mach=0x3F,
    packed_work_item_ids=True,
    kernarg_preload=True,
    xnack_by_process=True,
)
_GFX942 = replace(
    _GFX90A,
    name="gfx942",
    gfx_version=(9, 4, 2),
    architecture="CDNA3",
    pm4="gfx940",
    sdma="4.4",
    registers="gfx942",
    sdma_copy_limit=_COUNT_22_BITS,
    elf_mach=0x4C,
    architected_flat_scratch=True,
)
_GFX950 = replace(
    _GFX942,
    name="gfx950",
    gfx_version=(9, 5, 0),
    architecture="CDNA4",
    elf_mach=0x4F,
    lds_bytes=163840,
    lds_granule=1280,
)
_GFX1010 = Family(
    name="gfx1010",
    gfx_version=(10, 1, 0),
    architecture="RDNA1",
    pm4="gfx10",
    sdma="5.0",
    registers="gfx10.1",
    wave_sizes=_WAVE32,
    vgpr_granule=_RDNA_VGPRS,
    sdma_copy_limit=_COUNT_22_BITS,
    sdma_fill_limit=_COUNT_22_BITS,
    elf_mach=0x33,
    xnack=True,
)
_GFX1030 = replace(
    _GFX1010,
    name="gfx1030",
    gfx_version=(10, 3, 0),
    architecture="RDNA2",
    sdma="5.2",
    registers="gfx10.3",
    sdma_copy_limit=_COUNT_30_BITS,
    elf_mach=0x36,
    xnack=False,
)
_GFX1100 = Family(
    name="gfx1100",
    gfx_version=(11, 0, 0),
    architecture="RDNA3",
    pm4="gfx11",
    sdma="6.0",
    registers="gfx11",
    wave_sizes=_WAVE32,
    vgpr_granule=_RDNA_VGPRS,
    sdma_copy_limit=_COUNT_30_BITS,
    sdma_fill_limit=_COUNT_30_BITS,
    elf_mach=0x41,
    architected_flat_scratch=True,
    packed_work_item_ids=True,
    scratch_wave_granule=256,
)
_GFX1150 = replace(
    _GFX1100,
    name="gfx1150",
    gfx_version=(11, 5, 0),
    architecture="RDNA3.5",
    sdma="6.1",
    registers="gfx11.5",
    elf_mach=0x43,
)
_GFX1200 = replace(
    _GFX1100,
    name="gfx1200",
    gfx_version=(12, 0, 0),
    architecture="RDNA4",
    pm4="gfx12",
    sdma="7.0",
    registers="gfx12",
    elf_mach=0x48,
)
# What is public of gfx1250: its features in LLVM (the unit of LDS since commit 5f38ae4a77d4), and that SDMA
# 7.1 copies and fills with packets like those of 7.0, at most 1 << 30 bytes each (amdgpu's sdma_v7_1.c). That
# its PM4 packets and registers are those of gfx12 is assumed.
_GFX1250 = replace(
    _GFX1200,
    name="gfx1250",
    gfx_version=(12, 5, 0),
    architecture="CDNA5",
    wave_sizes=(32,),
    vgpr_granule=MappingProxyType({32: 16}),
    elf_mach=0x49,
    xnack=True,
    sramecc=True,
    kernarg_preload=True,
    lds_bytes=327680,
    lds_granule=2048,
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
    _stepping(_GFX1100, 2, 0x47),
    _stepping(_GFX1100, 3, 0x44),
    _GFX1150,
    _stepping(_GFX1150, 1, 0x4A),
    _stepping(_GFX1150, 2, 0x55),
    _stepping(_GFX1150, 3, 0x58),
    _GFX1200,
    _stepping(_GFX1200, 1, 0x4E),
    _GFX1250,
)


_TARGET = re.compile(r"gfx(\d+)([0-9a-f])([0-9a-f])")


def generations(target: str) -> tuple[str, ...]:
    """Return the generations of a target, known or not: gfx9 and gfx94x for gfx942; none for other names."""
    match = _TARGET.fullmatch(target)
    return (f"gfx{match[1]}", f"gfx{match[1]}{match[2]}x") if match else ()


@functools.cache
def _by_name() -> dict[str, Family]:
    return {row.name: row for row in FAMILIES}


def family(name: str) -> Family:
    """Return the row of a target such as `gfx942`; raises `UnknownFamilyError`."""
    try:
        return _by_name()[name]
    except KeyError:
        raise UnknownFamilyError(f"unknown gfx target {name!r}; known: {', '.join(_by_name())}") from None


def family_by_version(gfx_target_version: int) -> Family:
    """Return the row for sysfs' `gfx_target_version`; raises `UnknownFamilyError`, which names a relative."""
    for row in FAMILIES:
        if row.gfx_target_version == gfx_target_version:
            return row
    relative = _relative(gfx_target_version)
    raise UnknownFamilyError(
        f"unknown gfx target {target_name(gfx_target_version)!r} (gfx_target_version {gfx_target_version});"
        f" known: {', '.join(f'{row.gfx_target_version} ({row.name})' for row in FAMILIES)};"
        f" {f'its nearest relative is {relative.name}' if relative else 'none of them is a near relative'}"
    )


def target_name(gfx_target_version: int) -> str:
    """Return the name that sysfs' number stands for: minor version and stepping are hexadecimal digits."""
    major, minor, stepping = (
        gfx_target_version // 10000,
        gfx_target_version // 100 % 100,
        gfx_target_version % 100,
    )
    return f"gfx{major}{minor:x}{stepping:x}"


_TARGET = re.compile(r"gfx(9|1[0-9])([0-9a-f])([0-9a-f])")


def is_target(name: str) -> bool:
    """Whether a name has the form of a gfx target's, known or not."""
    return _TARGET.fullmatch(name) is not None


def target_version(name: str) -> int:
    """Return sysfs' number of a target's name; raises `UnknownFamilyError` for what is no such name."""
    match = _TARGET.fullmatch(name)
    if match is None:
        raise UnknownFamilyError(f"{name!r} is not a gfx target; known: {', '.join(_by_name())}")
    return int(match[1]) * 10000 + int(match[2], 16) * 100 + int(match[3], 16)


_NO_RELATIVES = (9, 0)
"""The targets gfx90x are architectures of their own, Vega and CDNA, whose instructions differ: LLVM's generic
target gfx9-generic has no gfx908 and no gfx90a in it (AMDGPUUsage)."""


def nearest_family(gfx_target_version: int) -> Family:
    """Return the row of a target, or of the known one with the nearest stepping of the same major and minor.

    Of two that are as near it is the lower. Raises `UnknownFamilyError` where there is no such relative.
    """
    return _relative(gfx_target_version) or family_by_version(gfx_target_version)


def _relative(gfx_target_version: int) -> Family | None:
    generation, stepping = divmod(gfx_target_version, 100)
    relatives = [
        row
        for row in FAMILIES
        if row.gfx_target_version == gfx_target_version
        or (row.gfx_target_version // 100 == generation and row.gfx_version[:2] != _NO_RELATIVES)
    ]
    return min(relatives, key=lambda row: abs(row.gfx_version[2] - stepping), default=None)


def family_by_elf_mach(elf_mach: int) -> Family:
    """Return the row for EF_AMDGPU_MACH of a code object's ELF header; raises `UnknownFamilyError`."""
    for row in FAMILIES:
        if row.elf_mach == elf_mach:
            return row
    raise UnknownFamilyError(
        f"unknown EF_AMDGPU_MACH {elf_mach:#x};"
        f" known: {', '.join(f'{row.elf_mach:#x} ({row.name})' for row in FAMILIES)}"
    )
