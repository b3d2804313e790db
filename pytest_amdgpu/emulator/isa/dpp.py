"""DPP: source 0 of a vector instruction taken from another lane (RDNA3 ISA 7.7, CDNA3 ISA 6.5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.isa.ir import I1, I32, I64, Value

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.sources import SourceOperands


def dpp_index(control: int, lane: int, wave_size: int) -> int:
    """Return the lane that `lane` reads under a dpp_ctrl value, or -1 if there is none.

    Raises ValueError for a control that is reserved.
    """
    row, column = lane & ~15, lane & 15
    low = control & 15
    if control <= 0xFF:
        return lane & ~3 | control >> 2 * (lane & 3) & 3
    if 0x101 <= control <= 0x10F:
        return lane + low if column + low < 16 else -1
    if 0x111 <= control <= 0x11F:
        return lane - low if column >= low else -1
    if 0x121 <= control <= 0x12F:
        return row | (column - low) % 16
    if 0x150 <= control <= 0x15F:
        return row | low
    if 0x160 <= control <= 0x16F:
        return row | column ^ low
    match control:
        case 0x130:
            return lane + 1 if lane + 1 < wave_size else -1
        case 0x134:
            return (lane + 1) % wave_size
        case 0x138:
            return lane - 1
        case 0x13C:
            return (lane - 1) % wave_size
        case 0x140:
            return row | 15 - column
        case 0x141:
            return lane ^ 7
        case 0x142:
            return row - 1
        case 0x143:
            return 31 if lane >= 32 else -1
    raise ValueError(f"dpp_ctrl {control:#x} is reserved")


def dpp_source(b: SourceOperands, word: Value) -> Value:
    """Return `word` (a register) as the lanes of the instruction see it, and restrict the lanes it writes."""
    lanes = range(b.wave_size)
    if "dpp8" in b.inst.modifiers:
        selectors = b.mod("dpp8")
        index = tuple(lane & ~7 | selectors >> 3 * (lane & 7) & 7 for lane in lanes)
        row_mask = bank_mask = 15
        bound_ctrl = True
    else:
        index = tuple(dpp_index(b.mod("dpp_ctrl"), lane, b.wave_size) for lane in lanes)
        row_mask, bank_mask = b.mod("row_mask", 15), b.mod("bank_mask", 15)
        bound_ctrl = bool(b.mod("bound_ctrl"))
    inside = sum(1 << lane for lane in lanes if index[lane] >= 0)
    written = sum(
        1 << lane for lane in lanes if row_mask >> (lane >> 4) & 1 and bank_mask >> (lane >> 2 & 3) & 1
    )
    pulled = tuple(max(source, 0) for source in index)
    table = b.graph.value("lane_table", I32, attributes=pulled, lanes=True)
    valid = b.lanes(b.const(I64, inside))
    if not b.mod("fi"):
        valid = b.and_(valid, b.permute_active(table))
    value = b.graph.value("permute_pull", I32, word, table, lanes=True) if word.lanes else word
    mask = b.lanes(b.const(I64, written))
    if not bound_ctrl:
        # A lane without a source is not written at all.
        mask = b.and_(mask, valid)
    b.write_mask = None if mask.is_const and mask.bits else mask
    zero = b.const(I32, 0)
    return b.select(valid, value, zero) if valid.type is I1 else value
