"""SDWA: parts of a dword as source or destination (CDNA3 ISA 6.5.1); selections are 0-3 byte, 4-5 word, 6
dword."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.isa.ir import I32, Value

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.sources import SourceOperands

DWORD = 6
_UNUSED_PAD, _UNUSED_SEXT, _UNUSED_PRESERVE = range(3)


def _field(selection: int) -> tuple[int, int]:
    """Shift and width in bits of a selection."""
    if selection < 4:
        return 8 * selection, 8
    if selection < DWORD:
        return 16 * (selection - 4), 16
    if selection == DWORD:
        return 0, 32
    raise ValueError(f"SDWA selection {selection} is reserved")


def sdwa_select(b: SourceOperands, word: Value, selection: int, signed: bool) -> Value:
    """Return the selected part of an I32, extended to I32."""
    shift, width = _field(selection)
    if width == 32:
        return word
    if signed:
        return b.ashr(b.shl(word, 32 - shift - width), 32 - width)
    return b.and_(b.lshr(word, shift), (1 << width) - 1)


def sdwa_insert(b: SourceOperands, word: Value, old: Value) -> Value:
    """Return the dword to write when `word` (I32) goes to the part that dst_sel names."""
    shift, width = _field(b.mod("dst_sel", DWORD))
    if width == 32:
        return word
    mask = (1 << width) - 1
    part = b.shl(b.and_(word, mask), shift)
    unused = b.mod("dst_unused")
    if unused == _UNUSED_PRESERVE:
        return b.or_(part, b.and_(old, b.const(I32, ~(mask << shift))))
    if unused == _UNUSED_SEXT:
        return b.ashr(b.shl(part, 32 - shift - width), 32 - shift - width)
    return part
