"""The hardware registers that s_getreg and s_setreg name by number, by generation.

Numbers and names are LLVM's (AMDGPUAsmUtils.cpp, the table of Hwreg), without HW_REG_ and WAVE_. Only those
are here that software GPUs give an answer for.
"""

from __future__ import annotations

from types import MappingProxyType

GFX9 = MappingProxyType({1: "MODE", 2: "STATUS", 3: "TRAPSTS", 4: "HW_ID", 7: "IB_STS", 15: "SH_MEM_BASES"})
GFX942 = MappingProxyType({**GFX9, 20: "XCC_ID"})
GFX10 = MappingProxyType(
    {
        1: "MODE",
        2: "STATUS",
        3: "TRAPSTS",
        7: "IB_STS",
        15: "SH_MEM_BASES",
        20: "FLAT_SCR_LO",
        21: "FLAT_SCR_HI",
        23: "HW_ID1",
        24: "HW_ID2",
    }
)
GFX103 = MappingProxyType({**GFX10, 29: "SHADER_CYCLES"})
GFX12 = MappingProxyType(
    {
        1: "MODE",
        2: "STATUS",
        7: "IB_STS",
        20: "SCRATCH_BASE_LO",
        21: "SCRATCH_BASE_HI",
        23: "HW_ID1",
        24: "HW_ID2",
        29: "SHADER_CYCLES_LO",
        30: "SHADER_CYCLES_HI",
    }
)
