"""Operands of memory and matrix operations whose form depends on other fields of the encoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_amdgpu.emulator.isa.decode import operands
from pytest_amdgpu.emulator.isa.decode.generation import Generation
from pytest_amdgpu.emulator.isa.decode.instruction import Operand, OperandKind
from pytest_amdgpu.emulator.isa.decode.table import Row, Slot

_MATRIX_DWORDS = {2: 6, 3: 6, 4: 4}
"""Dwords of a matrix operand of gfx950 whose elements have 6 and 4 bits, by format; all others have 8."""


def _bits(row: Row, name: str, word: int) -> int:
    low, width = row.layout.fields[name]
    return word >> low & (1 << width) - 1


def _global(generation: Generation, row: Row, slot: Slot, word: int) -> Operand | None:
    """A 64-bit vector address, or a 32-bit vector offset to a scalar address."""
    scalar = _bits(row, "saddr", word)
    if slot.field == "saddr":
        if scalar == generation.saddr_off:
            return operands.OFF
        base = operands.scalar_destinations(generation, 2)[scalar]
        return None if base is not None and base.kind is OperandKind.EXEC else base
    count = 2 if scalar == generation.saddr_off else 1
    return operands.vector_registers(generation, count)[_bits(row, "vaddr", word)]


def _scratch(generation: Generation, row: Row, slot: Slot, word: int) -> Operand | None:
    """Vector and scalar offset, each of them optional."""
    if slot.field == "saddr":
        scalar = _bits(row, "saddr", word)
        if scalar in (generation.saddr_off, generation.no_scratch_address):
            return operands.OFF
        offset = operands.scalar_destinations(generation, 1)[scalar]
        return None if offset == Operand(OperandKind.EXEC, 1) else offset
    if "sve" in row.layout.fields:
        used = _bits(row, "sve", word)
    else:
        # The older generations have one or the other.
        used = _bits(row, "saddr", word) == generation.saddr_off
    if not used:
        return operands.OFF
    return operands.vector_registers(generation, 1)[_bits(row, "vaddr", word)]


def _buffer(generation: Generation, row: Row, slot: Slot, word: int) -> Operand | None:
    """VADDR holds index, offset, both or nothing; SOFFSET is a scalar source."""
    if slot.field == "soffset":
        letters = "siL" if generation.vop3_literal else "si"
        return operands.sources(generation, 1, letters, False, False)[_bits(row, "soffset", word)]
    count = _bits(row, "offen", word) + _bits(row, "idxen", word)
    if not count:
        return operands.OFF
    return operands.vector_registers(generation, count)[_bits(row, "vaddr", word)]


def _scalar(generation: Generation, row: Row, slot: Slot, word: int) -> Operand | None:
    """SOFFSET; on gfx9 it is enabled by a bit, and without `imm` it sits in the offset field."""
    fields = row.layout.fields
    if "imm" not in fields:
        code = _bits(row, "soffset", word)
        return operands.OFF if code == generation.null else operands.scalar_destinations(generation, 1)[code]
    if _bits(row, "soffset_en", word):
        return operands.scalar_destinations(generation, 1)[_bits(row, "soffset", word)]
    if _bits(row, "imm", word):
        return operands.OFF
    return operands.scalar_destinations(generation, 1)[_bits(row, "offset", word) & 0x7F]


_BY_LAYOUT: dict[str, Callable[[Generation, Row, Slot, int], Operand | None]] = {
    "FLAT_GLOBAL": _global,
    "FLAT_SCRATCH": _scratch,
    "MUBUF": _buffer,
    "MTBUF": _buffer,
    "SMEM": _scalar,
}


def operand(generation: Generation, row: Row, slot: Slot, word: int) -> Operand | None:
    """An address operand of a memory instruction, None if the encoding is invalid."""
    return _BY_LAYOUT[row.layout.name](generation, row, slot, word)


def returns(modifiers: dict[str, int]) -> bool:
    """Whether an atomic operation returns the value before."""
    return bool(modifiers.get("glc", 0) | modifiers.get("sc0", 0) | modifiers.get("th", 0) & 1)


def finish(
    row: Row,
    word: int,
    destinations: list[Operand],
    sources: list[Operand],
    modifiers: dict[str, int],
    generation: Generation,
) -> str:
    """What remains after the fields were read: signs of offsets, AGPR bits, returned data.

    The answer says what is invalid, empty if nothing is.
    """
    name = row.layout.name
    if row.name == "s_waitcnt":
        _wait_counters(generation, word, modifiers)
    if name.startswith("FLAT") or name == "SMEM":
        _sign_offset(row, word, modifiers)
    if name in ("MUBUF", "MTBUF", "SMEM") and "_atomic_" in row.name and returns(modifiers):
        destinations.append(_returned(row, sources[0]))
    if modifiers.get("lds"):
        if modifiers.get("tfe") or ("acc" in row.layout.fields and _bits(row, "acc", word)):
            return "a load into LDS has no data register"
    elif modifiers.get("tfe"):
        # The texel-fail status follows the data.
        for list_, slots in ((destinations, row.destinations), (sources, row.sources)):
            for position, slot in enumerate(slots):
                if slot.field == "vdata":
                    list_[position] = replace(list_[position], count=list_[position].count + 1)
    if row.name.startswith("v_bitop3_"):
        # The truth table is in the places of modifiers that a bitwise operation does not have.
        modifiers["bitop3"] = (
            modifiers.pop("omod", 0) << 6 | modifiers.pop("abs", 0) << 3 | modifiers.pop("neg", 0)
        )
    if name == "VOP3P":
        _packed_modifiers(row, modifiers)
    if name == "VOP3P_MAI":
        if row.name.startswith("v_accvgpr"):
            return ""
        if row.name.endswith("_f8f6f4"):
            for position, form in enumerate(("cbsz", "blgp")):
                count = _MATRIX_DWORDS.get(modifiers.get(form, 0), 8)
                sources[position] = replace(sources[position], count=count)
        accumulators = _bits(row, "acc", word)
        sums = "acc_cd" in row.layout.fields and bool(_bits(row, "acc_cd", word))
        to_accumulators(destinations, 0, sums)
        # The index of a sparse operation is no accumulator.
        for position in range(2 if row.name.startswith("v_smfmac") else 3):
            to_accumulators(sources, position, bool(accumulators >> position & 1) if position < 2 else sums)
    elif "acc" in row.layout.fields and _bits(row, "acc", word):
        for list_, slots in ((destinations, row.destinations), (sources, row.sources)):
            data = [slot.field in ("vdst", "vdata", "data0", "data1") for slot in slots]
            for position in range(len(list_)):
                to_accumulators(list_, position, position >= len(data) or data[position])
    return ""


def _packed_modifiers(row: Row, modifiers: dict[str, int]) -> None:
    """Join the halves of op_sel_hi; neg_lo and neg_hi of mixed-precision operations are `neg` and `abs`."""
    high = modifiers.pop("op_sel_hi2", 0) << 2
    if any(name == "op_sel_hi" for name, _, _ in row.modifiers):
        modifiers["op_sel_hi"] = modifiers.get("op_sel_hi", 0) | high
    if "_mix" in row.name:
        for packed, plain in (("neg_lo", "neg"), ("neg_hi", "abs")):
            if packed in modifiers:
                modifiers[plain] = modifiers.pop(packed)


def to_accumulators(list_: list[Operand], position: int, really: bool) -> None:
    """Make a VGPR operand an AGPR."""
    if really and list_[position].kind is OperandKind.VGPR:
        list_[position] = replace(list_[position], kind=OperandKind.AGPR)


def _returned(row: Row, data: Operand) -> Operand:
    """The register that gets the old value; a compare-and-swap's data tuple is twice as wide."""
    return replace(data, count=data.count // 2) if "cmpswap" in row.name else data


def _sign_offset(row: Row, word: int, modifiers: dict[str, int]) -> None:
    offset = modifiers.get("offset", 0)
    name = row.layout.name
    if name == "SMEM":
        if "imm" in row.layout.fields and not _bits(row, "imm", word):
            modifiers.pop("offset", None)
            return
    elif name == "FLAT" and row.layout.size == 8:
        # Generic addresses have an unsigned offset, one bit shorter where the field is shared.
        return
    width = row.layout.fields["offset"][1]
    if offset >> width - 1 & 1:
        modifiers["offset"] = offset - (1 << width)


def _wait_counters(generation: Generation, word: int, modifiers: dict[str, int]) -> None:
    """Counters below their maximum; a counter at its maximum is not waited for."""
    for name, fields in generation.wait_counters:
        value = shift = 0
        for low, width in fields:
            value |= (word >> low & (1 << width) - 1) << shift
            shift += width
        if value != (1 << shift) - 1:
            modifiers[name] = value
