"""Vector registers chosen at run time: v_movrel of RDNA, and the mode of gfx9 in which M0 indexes operands.

RDNA3 ISA section 16.8 (V_MOVRELD_B32 and so on), CDNA3 ISA section 5.4 (S_SET_GPR_IDX_ON).
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import I32, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table

_INDEX = 0xFF
_MASK = 0xF000


def move_relative(*, source: bool, destination: bool, two: bool = False) -> Semantic:
    """v_movrels, v_movreld, v_movrelsd: M0 is added to the register number; with `two`, M0[25:16] for the
    target.
    """

    def build(b: Builder) -> None:
        m0 = b.m0()
        first = b.and_(m0, 0x3FF) if two else m0
        value = b.vgpr_at(b.src_vgpr_index(0), first) if source else b.src(0, I32)
        if destination:
            offset = b.and_(b.lshr(m0, 16), 0x3FF) if two else m0
            b.set_vgpr_at(b.dst_vgpr_index(), offset, value)
        else:
            b.dst(value)

    return build


def _set_index(b: Builder, index: Value, mask: int) -> None:
    kept = b.and_(b.m0(), 0xFFFFFFFF & ~(_INDEX | _MASK))
    b.set_m0(b.or_(b.or_(kept, b.and_(index, _INDEX)), mask << 12))


def index_on(b: Builder) -> None:
    """s_set_gpr_idx_on: M0 takes index and operands, and the mode begins."""
    mask = b.imm(1) & 15
    _set_index(b, b.src(0, I32), mask)
    b.gpr_index_mode(mask)


def index_mode(b: Builder) -> None:
    """s_set_gpr_idx_mode: other operands are indexed."""
    mask = b.imm() & 15
    b.set_m0(b.or_(b.and_(b.m0(), 0xFFFFFFFF & ~_MASK), mask << 12))
    b.gpr_index_mode(mask)


def index_value(b: Builder) -> None:
    """s_set_gpr_idx_idx: another index."""
    b.set_m0(b.or_(b.and_(b.m0(), 0xFFFFFFFF & ~_INDEX), b.and_(b.src(0, I32), _INDEX)))


def index_off(b: Builder) -> None:
    """s_set_gpr_idx_off: the mode ends."""
    b.gpr_index_mode(None)


TABLE: Table = {
    "v_movrels_b32": move_relative(source=True, destination=False),
    "v_movreld_b32": move_relative(source=False, destination=True),
    "v_movrelsd_b32": move_relative(source=True, destination=True),
    "v_movrelsd_2_b32": move_relative(source=True, destination=True, two=True),
    "s_set_gpr_idx_on": index_on,
    "s_set_gpr_idx_mode": index_mode,
    "s_set_gpr_idx_idx": index_value,
    "s_set_gpr_idx_off": index_off,
}
