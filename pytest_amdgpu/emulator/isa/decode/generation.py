"""What distinguishes the encodings of one generation from another's: layouts, opcode table, a few flags."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_amdgpu.emulator.isa.decode.layouts import Field, Layout
from pytest_amdgpu.emulator.isa.decode.layouts_gfx9 import GFX90A_LAYOUTS, GFX908_LAYOUTS, GFX940_LAYOUTS
from pytest_amdgpu.emulator.isa.decode.layouts_rdna import GFX10_LAYOUTS, GFX11_LAYOUTS, GFX12_LAYOUTS
from pytest_amdgpu.emulator.isa.decode.rows import Rows, table_rows


@dataclass(frozen=True, eq=False)
class Generation:
    """One row per generation. Operand codes are those of the 9-bit source field."""

    table: str
    """The module of `tables/` with the opcodes."""
    layouts: tuple[Layout, ...]
    wave_sizes: tuple[int, ...]
    """The first is the default."""
    m0: int
    null: int | None
    saddr_off: int
    """The code in SADDR that means no scalar address."""
    vop3_literal: bool
    """Whether a 64-bit encoding may have a literal."""
    aligned_vgprs: bool
    """Whether VGPR tuples must begin at an even register."""
    wait_counters: tuple[tuple[str, tuple[Field, ...]], ...]
    """Bit fields of the counters in s_waitcnt's immediate, least significant first."""

    dpp_controls: tuple[tuple[int, int], ...]
    """Ranges (first, last) of valid dpp_ctrl values above the quad permutations."""
    dpp_scalar_src1: bool = False
    """Whether VOP3 with DPP takes a scalar as second source."""
    no_scratch_address: int | None = None
    """The code in SADDR of a scratch instruction that has neither a scalar nor a vector address."""

    def rows(self) -> Rows:
        """The opcode table; it is imported when first needed."""
        return table_rows(self.table)

    def has_dpp_control(self, control: int) -> bool:
        """Whether dpp_ctrl may have this value."""
        return control < 0x100 or any(first <= control <= last for first, last in self.dpp_controls)


_ROW_SHIFTS = ((0x101, 0x10F), (0x111, 0x11F), (0x121, 0x12F))
_WAVE_SHIFTS = ((0x130, 0x130), (0x134, 0x134), (0x138, 0x138), (0x13C, 0x13C))

_GFX942 = Generation(
    table="gfx940",
    layouts=GFX940_LAYOUTS,
    wave_sizes=(64,),
    m0=124,
    null=None,
    saddr_off=0x7F,
    vop3_literal=False,
    aligned_vgprs=True,
    wait_counters=(("vmcnt", ((0, 4), (14, 2))), ("expcnt", ((4, 3),)), ("lgkmcnt", ((8, 4),))),
    # Mirrors and broadcasts, then row_newbcast.
    dpp_controls=(*_ROW_SHIFTS, *_WAVE_SHIFTS, (0x140, 0x143), (0x150, 0x15F)),
)
_GFX1100 = Generation(
    table="gfx11",
    layouts=GFX11_LAYOUTS,
    wave_sizes=(32, 64),
    m0=125,
    null=124,
    saddr_off=0x7C,
    vop3_literal=True,
    aligned_vgprs=False,
    wait_counters=(("vmcnt", ((10, 6),)), ("expcnt", ((0, 3),)), ("lgkmcnt", ((4, 6),))),
    # Mirrors, then row_share and row_xmask.
    dpp_controls=(*_ROW_SHIFTS, (0x140, 0x141), (0x150, 0x16F)),
)
_GFX1030 = replace(
    _GFX1100,
    table="gfx10",
    layouts=GFX10_LAYOUTS,
    m0=124,
    null=125,
    saddr_off=0x7D,
    no_scratch_address=0x7F,
    wait_counters=(("vmcnt", ((0, 4), (14, 2))), ("expcnt", ((4, 3),)), ("lgkmcnt", ((8, 6),))),
)
# A scratch instruction of RDNA1 always has an address.
_GFX1010 = replace(_GFX1030, table="gfx101", no_scratch_address=None)
GENERATIONS = {
    "gfx908": replace(
        _GFX942,
        table="gfx908",
        layouts=GFX908_LAYOUTS,
        aligned_vgprs=False,
        dpp_controls=(*_ROW_SHIFTS, *_WAVE_SHIFTS, (0x140, 0x143)),
    ),
    "gfx90a": replace(_GFX942, table="gfx90a", layouts=GFX90A_LAYOUTS),
    "gfx942": _GFX942,
    "gfx950": replace(_GFX942, table="gfx950", vop3_literal=True),
    "gfx1010": _GFX1010,
    "gfx1011": replace(_GFX1010, table="gfx1011"),
    "gfx1030": _GFX1030,
    "gfx1100": _GFX1100,
    "gfx1151": replace(_GFX1100, table="gfx115", dpp_scalar_src1=True),
    "gfx1200": replace(_GFX1100, table="gfx12", layouts=GFX12_LAYOUTS, dpp_scalar_src1=True),
}
SAME_ENCODINGS = {
    "gfx1012": "gfx1011",
    **{f"gfx103{stepping}": "gfx1030" for stepping in range(1, 7)},
    **{f"gfx110{stepping}": "gfx1100" for stepping in range(1, 4)},
    **{f"gfx115{stepping}": "gfx1151" for stepping in (0, 2, 3)},
    "gfx1201": "gfx1200",
}
"""Targets whose instructions are those of a row (LLVM's GCNProcessors.td gives them the same encodings)."""
