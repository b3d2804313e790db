"""What waves find different from one generation to the next, beyond the encoding of instructions.

LLVM stands for the AMDGPU back end of LLVM 22 and its usage manual (AMDGPUUsage).
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class FlatScratch(Enum):
    """Where FLAT_SCRATCH is, the address of a wave's private memory (AMDGPUUsage, "Flat Scratch")."""

    SCALAR_REGISTERS = "scalar registers behind the last that a program can name otherwise"
    HARDWARE_REGISTERS = "hardware registers, which the prologue of a kernel writes with s_setreg"
    ARCHITECTED = "set up by the hardware"


class Accumulation(Enum):
    """What accumulation registers (AGPRs) are (AMDGPUUsage, GRANULATED_WORKITEM_VGPR_COUNT and
    ACCUM_OFFSET)."""

    NONE = "there are none"
    OWN_FILE = "as many as vector registers, in a file of their own"
    SHARED_FILE = "vector registers from COMPUTE_PGM_RSRC3.ACCUM_OFFSET on"


class BufferRules(NamedTuple):
    """How a buffer resource descriptor is read."""

    element_by_size: bool
    """Whether SWIZZLE_ENABLE is two bits that choose the size of an element, rather than one that turns
    elements of four bytes on (ISA documents of RDNA3 and RDNA2, "buffer resource descriptor")."""
    bounds_by_field: bool
    """Whether OOB_SELECT chooses how bounds are checked, rather than stride and swizzling (ISA documents of
    RDNA2 and Vega, "range checking")."""
    stride_with_format: bool
    """Whether ADD_TID_ENABLE makes the data format the upper bits of the stride (ISA documents of Vega and
    CDNA3, "buffer resource descriptor")."""


class ShaderRules(NamedTuple):
    """What waves of a generation find."""

    flat_scratch: FlatScratch
    workgroup_ids_in_trap_registers: bool
    """Whether a workgroup's ids are in TTMP9 and TTMP7 rather than behind the user SGPRs (LLVM,
    FeatureArchitectedSGPRs)."""
    packed_work_item_ids: bool
    """Whether a work-item's ids are 10 bits each of one register (AMDGPUUsage, "packed work-item IDs")."""
    clamp_and_ieee_in_mode: bool
    """Whether MODE has the bits DX10_CLAMP and IEEE (LLVM, FeatureDX10ClampAndIEEEMode)."""
    message_mask: int
    """The bits of s_sendmsg's operand that name the message (LLVM, SIDefines.h: ID_MASK_PreGFX11_ and
    ID_MASK_GFX11Plus_)."""
    half_results_keep_high: bool
    """Whether a 16-bit result leaves the upper half of its register as it was rather than zero (LLVM,
    `zeroesHigh16BitsOfDest` of GCNSubtarget)."""
    permute_within_halves: bool
    """Whether ds_permute and ds_bpermute of 64 lanes stay within 32 of them (ISA document of RDNA2,
    DS_PERMUTE_B32)."""
    accumulation: Accumulation
    buffers: BufferRules


_GFX9_BUFFERS = BufferRules(element_by_size=False, bounds_by_field=False, stride_with_format=True)
_GFX10_BUFFERS = BufferRules(element_by_size=False, bounds_by_field=True, stride_with_format=False)
_GFX11_BUFFERS = _GFX10_BUFFERS._replace(element_by_size=True)

GFX908 = ShaderRules(
    flat_scratch=FlatScratch.SCALAR_REGISTERS,
    workgroup_ids_in_trap_registers=False,
    packed_work_item_ids=False,
    clamp_and_ieee_in_mode=True,
    message_mask=0xF,
    half_results_keep_high=False,
    permute_within_halves=False,
    accumulation=Accumulation.OWN_FILE,
    buffers=_GFX9_BUFFERS,
)
GFX90A = GFX908._replace(packed_work_item_ids=True, accumulation=Accumulation.SHARED_FILE)
GFX942 = GFX90A._replace(flat_scratch=FlatScratch.ARCHITECTED)
GFX10 = ShaderRules(
    flat_scratch=FlatScratch.HARDWARE_REGISTERS,
    workgroup_ids_in_trap_registers=False,
    packed_work_item_ids=False,
    clamp_and_ieee_in_mode=True,
    message_mask=0xF,
    half_results_keep_high=True,
    permute_within_halves=True,
    accumulation=Accumulation.NONE,
    buffers=_GFX10_BUFFERS,
)
GFX11 = GFX10._replace(
    flat_scratch=FlatScratch.ARCHITECTED,
    packed_work_item_ids=True,
    message_mask=0xFF,
    buffers=_GFX11_BUFFERS,
)
GFX12 = GFX11._replace(workgroup_ids_in_trap_registers=True, clamp_and_ieee_in_mode=False)
