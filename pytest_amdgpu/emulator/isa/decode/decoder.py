"""The decoder: code bytes to `Instruction`, by layouts and opcode table of one generation and wave size."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache
from typing import Protocol

from pytest_amdgpu.emulator.isa.decode import addresses, forms, operands, vopd
from pytest_amdgpu.emulator.isa.decode.generation import GENERATIONS, SAME_ENCODINGS, Generation
from pytest_amdgpu.emulator.isa.decode.instruction import Instruction, Operand, OperandKind
from pytest_amdgpu.emulator.isa.decode.layouts import Layout
from pytest_amdgpu.emulator.isa.decode.rows import Rows
from pytest_amdgpu.emulator.isa.decode.table import Row, Slot, parse_row
from pytest_amdgpu.emulator.isa.decode.words import add_high_halves, read_words
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction


class NamedFamily(Protocol):
    """What the decoder needs to know of a family."""

    @property
    def name(self) -> str:
        """The gfx target, for example "gfx942"."""


def has_decoder(target: str) -> bool:
    """Whether there is a decoder for a gfx target."""
    return SAME_ENCODINGS.get(target, target) in GENERATIONS


def decoder(family: NamedFamily | str, wave_size: int | None = None) -> Decoder:
    """The decoder of a gfx target, by default for its usual wave size; the same object each time.

    Raises ValueError for a target without a decoder or a wave size that the target does not have.
    """
    return _decoder(family if isinstance(family, str) else family.name, wave_size)


@cache
def _decoder(target: str, wave_size: int | None) -> Decoder:
    if not has_decoder(target):
        known = ", ".join([*GENERATIONS, *SAME_ENCODINGS])
        raise ValueError(f"no instruction decoder for {target!r}; there are {known}")
    generation = GENERATIONS[SAME_ENCODINGS.get(target, target)]
    chosen = generation.wave_sizes[0] if wave_size is None else wave_size
    if chosen not in generation.wave_sizes:
        raise ValueError(f"{target} has no waves of {chosen} lanes, only {generation.wave_sizes}")
    return Decoder(target, generation, chosen)


class _Opcodes:
    """The rows of the layouts that share one opcode field."""

    def __init__(self, layouts: list[Layout], rows: Rows) -> None:
        layout = layouts[0]
        self.size = layout.size
        self.low, width = layout.opcode
        self.mask = (1 << width) - 1
        self.where = [(*layout.fields[name], value) for name, value in layout.where.items()]
        self.name = layout.name
        self.lines = {
            opcode: (layout, line) for layout in layouts for opcode, line in rows[layout.name].items()
        }
        self.parsed: dict[int, Row] = {}

    def selected(self, word: int) -> bool:
        """Whether the fields that tell layouts with the same match apart have this layout's values."""
        return all(word >> low & (1 << width) - 1 == value for low, width, value in self.where)


class Decoder:
    """Decodes for one target and wave size; thread-safe (races only parse a row twice)."""

    def __init__(self, target: str, generation: Generation, wave_size: int) -> None:
        self.target = target
        self.generation = generation
        self.wave_size = wave_size
        rows = generation.rows()
        self._by_top_bits: list[list[_Opcodes]] = [[] for _ in range(512)]
        done = set()
        for layout in generation.layouts:
            if layout.group in done or layout.name not in rows:
                continue
            if layout.group:
                done.add(layout.group)
            members = [
                other
                for other in generation.layouts
                if other is layout or (other.group and other.group == layout.group)
            ]
            opcodes = _Opcodes(members, rows)
            for top in _tops(layout.match):
                # A layout with a longer match comes first in the generation's list and wins.
                if not self._by_top_bits[top] or opcodes.where:
                    self._by_top_bits[top].append(opcodes)
        self._vopd = vopd.VopdTable(generation, rows, wave_size) if "VOPDX" in rows else None

    def decode(self, code: bytes | memoryview, offset: int) -> Instruction:
        """The instruction at byte `offset` of `code`. Raises IllegalInstruction naming words and offset."""
        try:
            (first,) = struct.unpack_from("<I", code, offset)
        except struct.error:
            raise IllegalInstruction(offset, (), "the code ends here") from None
        top = first >> 23
        if self._vopd is not None and self._vopd.matches(top):
            return self._vopd.decode(code, offset)
        for opcodes in self._by_top_bits[top]:
            if not opcodes.selected(first):
                continue
            words: tuple[int, ...] = (first,)
            word = first
            if opcodes.size > 4:
                words = read_words(code, offset, opcodes.size // 4)
                word = int.from_bytes(code[offset : offset + opcodes.size], "little")
            opcode = first >> opcodes.low & opcodes.mask
            row = opcodes.parsed.get(opcode)
            if row is None:
                if opcode not in opcodes.lines:
                    raise IllegalInstruction(
                        offset, words, f"{self.target} has no {opcodes.name} opcode {opcode:#x}"
                    )
                layout, line = opcodes.lines[opcode]
                if layout.named_only:
                    raise IllegalInstruction(
                        offset, words, f"{line.split()[1]}: {layout.name} is for graphics"
                    )
                row = opcodes.parsed[opcode] = parse_row(line, layout, self.generation, self.wave_size)
            return self._decode_row(row, code, offset, word, words)
        raise IllegalInstruction(offset, (first,), f"{self.target} has no encoding with these leading bits")

    def _decode_row(
        self, row: Row, code: bytes | memoryview, offset: int, word: int, words: tuple[int, ...]
    ) -> Instruction:
        if wrong := word & row.zero | ~word & row.ones:
            raise IllegalInstruction(offset, words, f"{row.name}: bits {wrong:#x} have a fixed value")
        modifiers = {name: value for name, low, mask in row.modifiers if (value := word >> low & mask)}
        layout = row.layout
        if row.src0_low is not None and (form := word >> row.src0_low & 0x1FF) in operands.FORM_CODES:
            return forms.decode(self.generation, row, code, offset, word, form, modifiers)
        literal = False
        destinations = []
        for slot in row.destinations:
            if slot.optional and not addresses.returns(modifiers):
                continue
            if "lds" in modifiers:
                # The data go to LDS, and what is in the register field does not matter.
                continue
            destinations.append(self._operand(row, slot, word, words, offset, modifiers))
        sources = []
        for slot in row.sources:
            operand = self._operand(row, slot, word, words, offset, modifiers)
            literal |= operand.kind is OperandKind.LITERAL
            sources.append(operand)
        if literal:
            words = read_words(code, offset, len(words) + 1)
            sources = [
                replace(operand, count=slot.count, value=words[-1], half=slot.half)
                if operand.kind is OperandKind.LITERAL
                else operand
                for slot, operand in zip(row.sources, sources, strict=True)
            ]
        if row.high_halves:
            add_high_halves(row, word, modifiers)
        if problem := addresses.finish(row, word, destinations, sources, modifiers, self.generation):
            raise IllegalInstruction(offset, words, f"{row.name}: {problem}")
        return Instruction(
            offset,
            4 * len(words),
            layout.name,
            row.name,
            tuple(destinations),
            tuple(sources),
            words,
            modifiers,
        )

    def _operand(
        self, row: Row, slot: Slot, word: int, words: tuple[int, ...], offset: int, modifiers: dict[str, int]
    ) -> Operand:
        value = word >> slot.low & slot.mask
        operand: Operand | None
        if slot.kind == "table":
            operand = slot.table[value]
        elif slot.kind == "literal":
            operand = operands.LITERAL
        elif slot.kind == "simm16":
            signed = slot.classes != "u" and value & 0x8000
            operand = Operand(OperandKind.IMM, value=value - 0x10000 if signed else value)
        elif slot.kind == "immediate":
            operand = Operand(OperandKind.IMM, value=value)
        else:
            operand = addresses.operand(self.generation, row, slot, word)
        if operand is None:
            raise IllegalInstruction(offset, words, f"{row.name}: {slot.field} cannot be {value:#x}")
        return operand


def _tops(match: str) -> list[int]:
    """All values of the first nine bits that fit a match pattern."""
    values = [0]
    for character in match:
        values = [
            value << 1 | int(bit) for value in values for bit in ("01" if character == "-" else character)
        ]
    return values
