r"""Rows of the opcode tables, parsed when an opcode is first met.

A row is one line of text:

    120 v_add_co_ci_u32 =vdst =sdst:m src0 src1 src2:m!s +dpp zero=f800000000000000
     |   |               |     |  |                |  |   |    bits that must be zero
     |   |               |     |  |                |  |   +--- forms beside the plain one
     |   |               |     |  |                |  +------- what the operand may be, where not the usual
     |   |               |     |  +----------------+---------- width in dwords; m: wave mask, h: half a VGPR
     |   |               +-----+------------------------------ operands in LLVM's order, `=`: destination
     |   +---------------------------------------------------- mnemonic without suffix of the encoding
     +-------------------------------------------------------- opcode, hexadecimal

A width `8x4` is 8 dwords in waves of 32 lanes and 4 in waves of 64.
Classes: `!v` VGPR only, `!s` scalar register only, `!si` scalar or constant, `!vi` VGPR or inline constant,
`!a` AGPR, `!ai` AGPR or inline constant; of simm16 `!i` signed, `!u` unsigned, `!b` branch distance; `!m` an
immediate in a register field. `?` after a destination: written only if glc, sc0 or th asks for the value
before an atomic operation.
`zero=`, `ones=`: bits that must be so, `free=`: bits without meaning, all over the whole encoding.
Forms: `sdwa`, `dpp`, `dpp8`, `newbcast` (DPP with row_newbcast only); two masks over their extra dword may
follow, bits that must be zero and bits without meaning.
`vcc` and `exec` are implied operands, `literal` is the dword after the instruction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_amdgpu.emulator.isa.decode import operands
from pytest_amdgpu.emulator.isa.decode.generation import Generation
from pytest_amdgpu.emulator.isa.decode.instruction import VCC, OperandKind
from pytest_amdgpu.emulator.isa.decode.layouts import Layout

SHORT_VECTOR = frozenset(("VOP1", "VOP2", "VOPC"))
_LONG_WITHOUT_LITERAL = frozenset(("VOP3", "VOP3_SDST", "VOP3P", "VOP3P_MAI"))
_NEVER_LITERAL = frozenset(("VOP3P_MAI",))
_STRUCTURE = frozenset(("seg", "sve", "acc", "acc_cd", "imm", "soffset_en", "opy"))
"""Fields that shape the operands and are no modifiers themselves."""
_OPERAND_FIELDS = frozenset(
    ("sdst", "sdata", "ssrc0", "ssrc1", "sbase", "srsrc", "soffset", "saddr", "src0", "src1", "src2", "vsrc1")
) | frozenset(("vdst", "vdata", "vaddr", "data0", "data1"))
_TOKEN = re.compile(r"(=?)(\w+)(?::(\w+))?(?:!(\w+))?(\??)$")


@dataclass(frozen=True, slots=True)
class Slot:
    """One operand of a row: a field, and the operand that each of its values stands for."""

    field: str
    low: int
    mask: int
    table: operands.OperandTable
    """Indexed by the field's value (one entry for an implied operand); empty for the other kinds."""
    count: int
    kind: str
    """`table`, or `literal`, `simm16`, `immediate`, `address`: how the decoder gets the operand."""
    classes: str
    optional: bool
    half: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One opcode in one layout, ready for decoding with one wave size."""

    layout: Layout
    name: str
    destinations: tuple[Slot, ...]
    sources: tuple[Slot, ...]
    forms: dict[str, tuple[int, int]]
    """Forms beside the plain one; the bits of their dword that must be zero, and those without meaning."""
    zero: int
    ones: int
    """Bits that must be zero, and bits that must be one."""
    modifiers: tuple[tuple[str, int, int], ...]
    """(name, lowest bit, mask) without meaningless bits."""
    src0_low: int | None
    """Lowest bit of src0 where that is an operand: there a form announces itself."""
    high_halves: bool
    """Whether register numbers of this row carry the high-half bit in bit 7."""


def parse_row(line: str, layout: Layout, generation: Generation, wave_size: int) -> Row:
    """Parse one row of `layout`."""
    _, name, *tokens = line.split()
    destinations: list[Slot] = []
    sources: list[Slot] = []
    forms = {}
    zero = ones = free = 0
    for token in tokens:
        if token.startswith("+"):
            form, *masks = token[1:].split(":")
            forms[form] = (int(masks[0], 16), int(masks[1], 16)) if masks else (0, 0)
        elif token.startswith("zero="):
            zero = int(token[5:], 16)
        elif token.startswith("ones="):
            ones = int(token[5:], 16)
        elif token.startswith("free="):
            free = int(token[5:], 16)
        else:
            slot = _slot(token, layout, generation, wave_size)
            (destinations if token.startswith("=") else sources).append(slot)
    modifiers = tuple(
        (field, low, (1 << width) - 1 & ~(free >> low))
        for field, (low, width) in layout.fields.items()
        if field not in _STRUCTURE | _OPERAND_FIELDS
    )
    if layout.name == "DS":
        modifiers = _ds_offsets(name, modifiers)
    return Row(
        layout=layout,
        name=name,
        destinations=tuple(destinations),
        sources=tuple(sources),
        forms=forms,
        zero=zero,
        ones=ones,
        modifiers=tuple(item for item in modifiers if item[2]),
        src0_low=next((slot.low for slot in sources if slot.field == "src0"), None),
        high_halves=layout.name in SHORT_VECTOR and any(s.half for s in (*destinations, *sources)),
    )


def _ds_offsets(name: str, modifiers: tuple[tuple[str, int, int], ...]) -> tuple[tuple[str, int, int], ...]:
    """DS instructions with two addresses have two offsets of 8 bits, all others one of 16."""
    two = re.match(r"ds_(read2|write2|wrxchg2|load_2addr|store_2addr|storexchg_2addr)", name)
    dropped = ("offset",) if two else ("offset0", "offset1")
    return tuple(item for item in modifiers if item[0] not in dropped)


def _slot(token: str, layout: Layout, generation: Generation, wave_size: int) -> Slot:
    match = _TOKEN.match(token)
    if not match:
        raise ValueError(f"opcode table, layout {layout.name}: token {token!r}")
    _, field, width, classes, optional = match.groups()
    classes = classes or ""
    half = width == "h"
    count = _width(width, wave_size)
    kind = "table"
    table: operands.OperandTable = ()
    low, bits = layout.fields.get(field, (0, 0))
    if field in ("vcc", "exec"):
        count = wave_size // 32
        register = VCC if field == "vcc" else 126
        table = (operands.scalar_register(generation, register, count),)
    elif field == "literal":
        kind = "literal"
    elif field == "simm16":
        kind = "simm16"
    elif classes == "m":
        kind = "immediate"
    elif field in ("vaddr", "saddr", "soffset") and layout.name in (
        "FLAT_GLOBAL",
        "FLAT_SCRATCH",
        "MUBUF",
        "MTBUF",
        "SMEM",
    ):
        kind = "address"
    else:
        table = _table(field, count, classes, half, layout, generation)
    return Slot(field, low, (1 << bits) - 1, table, count, kind, classes, optional == "?", half)


def _width(text: str | None, wave_size: int) -> int:
    if text is None or text == "h":
        return 1
    if text == "m":
        return wave_size // 32
    narrow, _, wide = text.partition("x")
    return int(wide or narrow) if wave_size == 64 else int(narrow)


def _table(
    field: str, count: int, classes: str, half: bool, layout: Layout, generation: Generation
) -> operands.OperandTable:
    short = layout.name in SHORT_VECTOR
    if field == "sdata":
        return operands.scalar_data(generation, count)
    if field == "sdst":
        return operands.scalar_destinations(generation, count)
    if field == "vdst" and classes == "s":
        # The field has eight bits, scalar registers have seven.
        return operands.scalar_destinations(generation, count) + (None,) * 128
    if field == "sbase":
        return operands.scalar_destinations(generation, count)[::2]
    if field == "srsrc":
        whole = operands.scalar_destinations(generation, count)
        return whole[::4] if layout.fields["srsrc"][1] == 5 else whole
    if field.startswith("src") and classes.startswith("a"):
        constants = operands.sources(generation, count, classes, False, False)[:256]
        return constants + operands.vector_registers(generation, count, OperandKind.AGPR)
    if field.startswith(("src", "ssrc")):
        letters = classes or ("si" if field.startswith("ssrc") else "vsi")
        takes_literal = layout.name not in _NEVER_LITERAL and (
            generation.vop3_literal or layout.name not in _LONG_WITHOUT_LITERAL
        )
        if takes_literal and "s" in letters and "i" in letters:
            letters += "L"
        table = operands.sources(generation, count, letters, half, short)
        return table[:256] if field.startswith("ssrc") else table
    if half:
        return operands.half_registers(short)
    return operands.vector_registers(
        generation, count, OperandKind.AGPR if classes == "a" else OperandKind.VGPR
    )
