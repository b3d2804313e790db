"""Operand codes: what each value of a source or destination field means, as ready-made `Operand` objects.

The numbering of the 9-bit source field is from the "Scalar and vector operands" chapters of AMD's CDNA3 and
RDNA3 ISA documents: 0..105 SGPRs, 106/107 VCC, 108..123 TTMPs, M0 and NULL by generation, 126/127 EXEC,
128..208 integers, 235..239 apertures, 240..248 floats, 249/250/233/234 forms, 251..254 special, 255 literal,
256.. VGPRs.
"""

from __future__ import annotations

import struct
from functools import cache

from pytest_amdgpu.emulator.isa.decode.generation import Generation
from pytest_amdgpu.emulator.isa.decode.instruction import (
    SPECIAL_NAMES,
    SRC_LDS_DIRECT,
    TTMP0,
    VCC,
    Operand,
    OperandKind,
)

LITERAL_CODE = 255
SDWA_CODE = 249
DPP_CODE = 250
DPP8_CODES = (233, 234)
"""The second has `fi` (fetch from inactive lanes) set."""
FORM_CODES = frozenset((SDWA_CODE, DPP_CODE, *DPP8_CODES))

OFF = Operand(OperandKind.OFF)
LITERAL = Operand(OperandKind.LITERAL)
"""Stands for the literal in operand tables until its value is known."""

OperandTable = tuple[Operand | None, ...]

_INLINE_FLOATS = (0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 4.0, -4.0, 0.15915494)
_TTMP_END = TTMP0 + 16
_FIRST_EXEC = 126


def _inline_float(code: int, count: int) -> Operand:
    (bits,) = struct.unpack("<I", struct.pack("<f", _INLINE_FLOATS[code - 240]))
    return Operand(OperandKind.INLINE_FLOAT, code, count, bits)


def scalar_register(generation: Generation, code: int, count: int) -> Operand | None:
    """The scalar register (tuple) that begins at a code below 128, None if there is none."""
    if code == generation.null:
        return Operand(OperandKind.NULL, 0, count)
    if code == generation.m0:
        return Operand(OperandKind.M0) if count == 1 else None
    if code >= _FIRST_EXEC:
        high = code - _FIRST_EXEC
        return Operand(OperandKind.EXEC, high, count) if high + count <= 2 else None
    if TTMP0 <= code < _TTMP_END:
        base, end = TTMP0, _TTMP_END
    elif code in (VCC, VCC + 1):
        base, end = VCC, VCC + 2
    elif code < VCC:
        base, end = 0, VCC
    else:
        return None
    alignment = min(1 << (count - 1).bit_length(), 4)
    if (code - base) % alignment or code + count > end:
        return None
    return Operand(OperandKind.SGPR, code, count)


@cache
def scalar_destinations(generation: Generation, count: int) -> OperandTable:
    """By the 7-bit destination field."""
    return tuple(scalar_register(generation, code, count) for code in range(128))


@cache
def scalar_data(generation: Generation, count: int) -> OperandTable:
    """Data of scalar memory instructions by the 7-bit field: scalar registers but not M0 and EXEC."""
    return tuple(
        None if operand is None or operand.kind in (OperandKind.M0, OperandKind.EXEC) else operand
        for operand in scalar_destinations(generation, count)
    )


def vector_register(generation: Generation, index: int, count: int, kind: OperandKind) -> Operand | None:
    """The VGPR or AGPR (tuple) at `index`, None if it is misaligned or runs past the last one."""
    if index + count > 256 or (generation.aligned_vgprs and count > 1 and index % 2):
        return None
    return Operand(kind, index, count)


@cache
def vector_registers(
    generation: Generation, count: int, kind: OperandKind = OperandKind.VGPR
) -> OperandTable:
    """By an 8-bit register field."""
    return tuple(vector_register(generation, index, count, kind) for index in range(256))


def half_registers(short: bool) -> OperandTable:
    """16-bit registers by an 8-bit field; in `short` encodings bit 7 selects the high half (see `op_sel`)."""
    return tuple(
        Operand(OperandKind.VGPR, index & 0x7F if short else index, half=True) for index in range(256)
    )


def _constant(generation: Generation, code: int, count: int, classes: str) -> Operand | None:
    if code == LITERAL_CODE:
        return LITERAL if "L" in classes else None
    if "i" not in classes:
        return None
    if 128 <= code <= 192:
        return Operand(OperandKind.INLINE_INT, code, count, code - 128)
    if 193 <= code <= 208:
        return Operand(OperandKind.INLINE_INT, code, count, 192 - code)
    if 240 <= code <= 248:
        return _inline_float(code, count)
    # Special values are sources like scalar registers; accumulators and other VGPR-or-constant operands take
    # none.
    if code == SRC_LDS_DIRECT and (count > 1 or "v" not in classes):
        return None
    if code in SPECIAL_NAMES and "s" in classes:
        return Operand(OperandKind.SPECIAL, code, count)
    return None


@cache
def sources(generation: Generation, count: int, classes: str, half: bool, short: bool) -> OperandTable:
    """By the 9-bit source field; `classes` has v, s, i, L for VGPRs, scalars, inline constants, literal."""
    scalars = tuple(
        (scalar_register(generation, code, count) if "s" in classes else None)
        if code < 128
        else _constant(generation, code, count, classes)
        for code in range(256)
    )
    if "v" not in classes:
        return scalars + (None,) * 256
    return scalars + (half_registers(short) if half else vector_registers(generation, count))
