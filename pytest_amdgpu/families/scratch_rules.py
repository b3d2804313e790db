"""How scratch, the private memory of waves, is described to the hardware, by generation."""

from __future__ import annotations

from typing import NamedTuple


class ScratchRules(NamedTuple):
    """Of COMPUTE_TMPRING_SIZE and of the buffer resource of scratch."""

    wave_granule: int
    """Bytes that a unit of WAVESIZE stands for (ROCr, amd_aql_queue.cpp: `mem_alignment_size`, 256 from
    gfx11 on)."""
    waves_per_engine: bool
    """Whether WAVES counts the waves of a shader engine rather than of the whole XCC (ROCr,
    FillComputeTmpRingSize and FillComputeTmpRingSize_Gfx11 of amd_aql_queue.cpp)."""
    resource_word3: int | None
    """Last dword of the buffer resource: elements of 4 bytes, swizzled over the lanes by thread id, in a raw
    format of 32 bits (ISA documents of Vega and RDNA2, "buffer resource descriptor"); None where flat
    scratch is architected and no kernel wants the resource."""
    lanes_by_dispatch: bool
    """Whether INDEX_STRIDE of that dword is the dispatch's, which the command processor fills in (ROCr,
    FillBufRsrcWord3_Gfx10 of amd_aql_queue.cpp leaves it out), rather than always 64 lanes."""


GFX9 = ScratchRules(
    wave_granule=1024, waves_per_engine=False, resource_word3=0x00EA4FAC, lanes_by_dispatch=False
)
GFX942 = GFX9._replace(resource_word3=None)
GFX10 = ScratchRules(
    wave_granule=1024, waves_per_engine=False, resource_word3=0x21814FAC, lanes_by_dispatch=True
)
GFX11 = ScratchRules(wave_granule=256, waves_per_engine=True, resource_word3=None, lanes_by_dispatch=True)
