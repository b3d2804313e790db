"""SDWA, DPP and DPP8: vector instructions with their first source and selectors in an extra dword."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.decode import addresses, operands
from pytest_amdgpu.emulator.isa.decode.generation import Generation
from pytest_amdgpu.emulator.isa.decode.instruction import Instruction, Operand, OperandKind
from pytest_amdgpu.emulator.isa.decode.table import SHORT_VECTOR, Row, Slot
from pytest_amdgpu.emulator.isa.decode.words import add_high_halves, read_words
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction


def decode(
    generation: Generation,
    row: Row,
    code: bytes | memoryview,
    offset: int,
    word: int,
    form: int,
    modifiers: dict[str, int],
) -> Instruction:
    """Decode the form that code `form` in src0 announces; raises IllegalInstruction."""
    words = read_words(code, offset, row.layout.size // 4 + 1)
    extra = words[-1]
    kind = {operands.SDWA_CODE: "sdwa", operands.DPP_CODE: "dpp"}.get(form, "dpp8")
    masks = row.forms.get("newbcast" if kind == "dpp" and "newbcast" in row.forms else kind)
    if masks is None:
        raise IllegalInstruction(offset, words, f"{row.name} has no {kind} form")
    zero, free = masks
    if extra & zero:
        raise IllegalInstruction(
            offset, words, f"{row.name}: bits {extra & zero:#x} of the {kind} dword must be zero"
        )
    extra &= ~free
    overrides: dict[str, Operand | None] = {"src0": _src0(row, extra & 0xFF)}
    if kind == "sdwa":
        overrides |= _sdwa(generation, row, word, extra, modifiers)
        for name, largest in (("dst_sel", 6), ("dst_unused", 2), ("src0_sel", 6), ("src1_sel", 6)):
            if modifiers.get(name, 0) > largest:
                raise IllegalInstruction(offset, words, f"{row.name}: {name} cannot be {modifiers[name]}")
    elif kind == "dpp":
        _dpp_modifiers(row, extra, modifiers)
        control = modifiers["dpp_ctrl"]
        if not generation.has_dpp_control(control) or (
            "newbcast" in row.forms and not 0x150 <= control < 0x160
        ):
            raise IllegalInstruction(offset, words, f"{row.name}: dpp_ctrl cannot be {control:#x}")
    else:
        modifiers["dpp8"] = extra >> 8
        if form == operands.DPP8_CODES[1]:
            modifiers["fi"] = 1
    destinations = _resolve(row, row.destinations, word, overrides, words, offset)
    sources = _resolve(row, row.sources, word, overrides, words, offset)
    if problem := addresses.finish(row, word, destinations, sources, modifiers, generation):
        raise IllegalInstruction(offset, words, f"{row.name}: {problem}")
    name = row.layout.name
    needs_vector = name == "VOP3P" or (name not in SHORT_VECTOR and not generation.dpp_scalar_src1)
    if needs_vector and any(o.kind is not OperandKind.VGPR for o in sources[1:2]):
        raise IllegalInstruction(offset, words, f"{row.name}: src1 must be a VGPR in this form")
    if row.high_halves:
        # The register number of src0 has moved to the extra dword.
        src0_low = row.layout.fields["src0"][0]
        add_high_halves(row, word & ~(0x1FF << src0_low) | (0x100 | extra & 0xFF) << src0_low, modifiers)
    return Instruction(
        offset,
        4 * len(words),
        f"{row.layout.name}_{kind.upper()}",
        row.name,
        tuple(destinations),
        tuple(sources),
        words,
        modifiers,
    )


def _resolve(
    row: Row,
    slots: tuple[Slot, ...],
    word: int,
    overrides: dict[str, Operand | None],
    words: tuple[int, ...],
    offset: int,
) -> list[Operand]:
    found = []
    for slot in slots:
        value = word >> slot.low & slot.mask
        operand = overrides[slot.field] if slot.field in overrides else slot.table[value]
        if operand is None or operand is operands.LITERAL:
            raise IllegalInstruction(
                offset, words, f"{row.name}: {slot.field} cannot be {value:#x} in this form"
            )
        found.append(operand)
    return found


def _src0(row: Row, register: int) -> Operand | None:
    """The VGPR in the low byte of the extra dword, as src0's own table has it."""
    (slot,) = (slot for slot in row.sources if slot.field == "src0")
    return slot.table[256 + register]


def _dpp_modifiers(row: Row, extra: int, modifiers: dict[str, int]) -> None:
    modifiers["dpp_ctrl"] = extra >> 8 & 0x1FF
    modifiers["row_mask"] = extra >> 28
    modifiers["bank_mask"] = extra >> 24 & 0xF
    if extra >> 18 & 1:
        modifiers["fi"] = 1
    if extra >> 19 & 1:
        modifiers["bound_ctrl"] = 1
    if row.layout.name in SHORT_VECTOR:
        # The 64-bit encoding has its own modifiers in their usual place.
        neg = (extra >> 20 & 1) | (extra >> 22 & 1) << 1
        abs_ = (extra >> 21 & 1) | (extra >> 23 & 1) << 1
        if neg:
            modifiers["neg"] = neg
        if abs_:
            modifiers["abs"] = abs_


def _sdwa(
    generation: Generation, row: Row, word: int, extra: int, modifiers: dict[str, int]
) -> dict[str, Operand | None]:
    """Modifiers of the SDWA dword, and the operands it changes."""
    is_compare = row.layout.name == "VOPC"
    if not is_compare:
        modifiers["dst_sel"] = extra >> 8 & 7
        modifiers["dst_unused"] = extra >> 11 & 3
        if omod := extra >> 14 & 3:
            modifiers["omod"] = omod
        if extra >> 13 & 1:
            modifiers["clamp"] = 1
    modifiers["src0_sel"] = extra >> 16 & 7
    two = any(slot.field == "vsrc1" for slot in row.sources)
    if two:
        modifiers["src1_sel"] = extra >> 24 & 7
    for name, bit in (("sext", 19), ("neg", 20), ("abs", 21)):
        if mask := (extra >> bit & 1) | ((extra >> bit + 8 & 1) << 1 if two else 0):
            modifiers[name] = mask
    scalars = operands.sources(generation, 1, "si", False, False)
    register = extra & 0xFF
    overrides: dict[str, Operand | None] = {
        "src0": scalars[register] if extra >> 23 & 1 else _src0(row, register)
    }
    if two and extra >> 31:
        low, _ = row.layout.fields["vsrc1"]
        overrides["vsrc1"] = scalars[word >> low & 0xFF]
    if is_compare and extra >> 15 & 1:
        result = row.destinations[0]
        # On gfx10 a comparison that writes EXEC has no other destination.
        writable = operands.scalar_destinations(generation, result.count) if result.field == "vcc" else ()
        overrides[result.field] = writable[extra >> 8 & 0x7F] if writable else None
    return overrides
