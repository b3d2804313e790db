"""A gfx target: all that code asks of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.families.shader_rules import FlatScratch, ShaderRules

if TYPE_CHECKING:
    from pytest_amdgpu.families.context_save import ContextSave
    from pytest_amdgpu.families.hardware_ids import IdField
    from pytest_amdgpu.families.kernel_rules import KernelRules
    from pytest_amdgpu.families.scratch_rules import ScratchRules

_TARGET = re.compile(r"gfx(\d+)([0-9a-f])([0-9a-f])")


def generations(target: str) -> tuple[str, ...]:
    """Return the generations of a target, known or not: gfx9 and gfx94x for gfx942; none for other names."""
    match = _TARGET.fullmatch(target)
    return (f"gfx{match[1]}", f"gfx{match[1]}{match[2]}x") if match else ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Family:
    """One gfx target. Sizes are in bytes.

    Code asks for what it needs to know, never for the version, which says nothing by itself.
    """

    name: str
    gfx_version: tuple[int, int, int]
    """Major version, minor version and stepping, as in the name (AMDGPUUsage, "Processors")."""
    architecture: str
    """AMD's name of the architecture (AMDGPUUsage, "Processors")."""
    elf_mach: int
    """EF_AMDGPU_MACH of a code object's ELF header (LLVM, BinaryFormat/ELF.h)."""
    pm4: str
    """The generation of PM4 packets, see packets/pm4.py (files gfx_v*.c by
    amdgpu_discovery_set_gc_ip_blocks of amdgpu_discovery.c)."""
    sdma: str
    """The version of SDMA packets, see packets/sdma.py (amdgpu_discovery_set_sdma_ip_blocks of
    amdgpu_discovery.c)."""
    registers: str
    """The column of COMPUTE_* registers, see packets/register_tables.py."""
    sdma_copy_limit: int
    """The most that one copy packet moves (the width of the packet's count; ROCr,
    GpuAgent::CreateBlitSdma)."""
    sdma_fill_limit: int
    """The most that one fill packet writes (the width of the packet's count)."""
    wave_sizes: tuple[int, ...]
    """Lanes of waves; first those that compilers use unless told otherwise (AMDGPUUsage,
    "wavefrontsize64")."""
    vgpr_granule: Mapping[int, int]
    """By wave size, the registers that a unit of the VGPR count in COMPUTE_PGM_RSRC1 stands for (AMDGPUUsage,
    GRANULATED_WORKITEM_VGPR_COUNT)."""
    units_in_pairs: bool
    """Whether two compute units form a workgroup processor, WGP (AMDGPUUsage, "cumode")."""
    shader: ShaderRules
    wave_registers: Mapping[int, str]
    """Names of hardware registers by number, see wave_registers.py."""
    hardware_ids: Mapping[str, IdField]
    """Fields of those that say where a wave runs, see hardware_ids.py."""
    scratch: ScratchRules
    context_save: ContextSave
    kernel: KernelRules
    xnack: bool = False
    """Whether code is built for retried page faults or without (AMDGPUUsage, "Target Features")."""
    sramecc: bool = False
    """Whether code is built for memory with error correction or without (AMDGPUUsage, "Target Features")."""
    kernarg_preload: bool = False
    """Whether user SGPRs can be loaded with arguments (AMDGPUUsage, "Preloaded Kernel Arguments")."""
    lds_bytes: int = 65536
    """LDS of a workgroup (LLVM, FeatureAddressableLocalMemorySize*)."""
    lds_granule: int = 512
    """The unit of the LDS size in COMPUTE_PGM_RSRC2 (AMDGPUUsage, GRANULATED_LDS_SIZE)."""
    assumed: frozenset[str] = frozenset()
    """Fields, as paths such as `kernel.poison`, whose values no public source says: they are a relative's."""

    def __repr__(self) -> str:
        return f"<Family {self.name}>"

    @property
    def wave_size(self) -> int:
        """The wave size that compilers use unless told otherwise."""
        return self.wave_sizes[0]

    @property
    def packets_assumed(self) -> bool:
        """Whether it is not public what its queues take, so that the packets of a relative stand for them."""
        return not self.assumed.isdisjoint({"pm4", "sdma", "registers"})

    @property
    def architected_flat_scratch(self) -> bool:
        """Whether hardware gives waves their private memory by itself."""
        return self.shader.flat_scratch is FlatScratch.ARCHITECTED

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
