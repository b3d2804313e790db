"""Reading dwords of the code, and register halves: what the plain and the extended forms have in common."""

from __future__ import annotations

import struct

from pytest_amdgpu.emulator.isa.decode.table import Row
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction


def read_words(code: bytes | memoryview, offset: int, count: int) -> tuple[int, ...]:
    """`count` dwords; raises IllegalInstruction with those that there are if the code ends before."""
    available = min(count, (len(code) - offset) // 4)
    words = struct.unpack_from(f"<{available}I", code, offset)
    if available < count:
        raise IllegalInstruction(offset, words, "the code ends within this instruction")
    return words


def add_high_halves(row: Row, word: int, modifiers: dict[str, int]) -> None:
    """Turn bit 7 of 16-bit register numbers of the short encodings into `op_sel`."""
    op_sel = 0
    for slots, first_bit in ((row.sources, 1), (row.destinations, 8)):
        for position, slot in enumerate(slots):
            value = word >> slot.low & slot.mask
            is_vector = slot.field != "src0" or value >= 256
            if slot.half and is_vector and value & 0x80:
                op_sel |= first_bit << position
    if op_sel:
        modifiers["op_sel"] = op_sel
