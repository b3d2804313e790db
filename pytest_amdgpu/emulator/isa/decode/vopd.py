"""VOPD of gfx11: two vector operations in one encoding."""

from __future__ import annotations

import struct
from dataclasses import replace

from pytest_amdgpu.emulator.isa.decode import operands
from pytest_amdgpu.emulator.isa.decode.generation import Generation
from pytest_amdgpu.emulator.isa.decode.instruction import VCC, Instruction, Operand, OperandKind
from pytest_amdgpu.emulator.isa.decode.layouts import Layout
from pytest_amdgpu.emulator.isa.decode.rows import Rows
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction


class VopdTable:
    """Decodes VOPD; each half becomes an Instruction of encoding VOPDX or VOPDY."""

    def __init__(self, generation: Generation, rows: Rows, wave_size: int) -> None:
        (self._layout,) = (layout for layout in generation.layouts if layout.name == "VOPD")
        self._top = int(self._layout.match[:6], 2)
        self._lines = {
            half: {op: line.split()[1:] for op, line in rows[half].items()} for half in ("VOPDX", "VOPDY")
        }
        self._sources = operands.sources(generation, 1, "vsiL", False, False)
        self._vectors = operands.vector_registers(generation, 1)
        self._vcc = operands.scalar_register(generation, VCC, 1)
        self._wave_size = wave_size

    def matches(self, top: int) -> bool:
        """Whether the first nine bits are those of VOPD."""
        return top >> 3 == self._top

    def decode(self, code: bytes | memoryview, offset: int) -> Instruction:
        """The instruction at `offset`; raises IllegalInstruction."""
        available = min(3, (len(code) - offset) // 4)
        words = struct.unpack_from(f"<{available}I", code, offset)
        if available < 2:
            raise IllegalInstruction(offset, words, "the code ends within this instruction")
        if self._wave_size != 32:
            raise IllegalInstruction(
                offset, words[:2], f"VOPD in a wave of {self._wave_size} lanes, it needs 32"
            )
        word = words[0] | words[1] << 32
        x_opcode = _bits(self._layout, "opx", word)
        y_opcode = _bits(self._layout, "opy", word)
        x = self._half("VOPDX", x_opcode, word, words, offset)
        y = self._half("VOPDY", y_opcode, word, words, offset)
        size = 8
        if any(operand.kind is OperandKind.LITERAL for half in (x, y) for operand in half.sources):
            if available < 3:
                raise IllegalInstruction(offset, words, "the code ends within this instruction")
            size = 12
        words = words[: size // 4]
        x, y = (self._complete(half, size, words) for half in (x, y))
        return Instruction(
            offset,
            size,
            "VOPD",
            f"{x.name} :: {y.name}",
            x.destinations + y.destinations,
            x.sources + y.sources,
            words,
            {},
            (x, y),
        )

    def _half(self, half: str, opcode: int, word: int, words: tuple[int, ...], offset: int) -> Instruction:
        tokens = self._lines[half].get(opcode)
        if tokens is None:
            raise IllegalInstruction(offset, words[:2], f"no {half} opcode {opcode:#x}")
        letter = half[-1].lower()
        destination = _bits(self._layout, f"vdst{letter}", word)
        if letter == "y":
            # The lowest bit is not encoded: the two destinations are in different banks.
            destination = destination << 1 | ~_bits(self._layout, "vdstx", word) & 1
        values: dict[str, Operand | None] = {
            "src0": self._sources[_bits(self._layout, f"src{letter}0", word)],
            "vsrc1": self._vectors[_bits(self._layout, f"vsrc{letter}1", word)],
            "literal": operands.LITERAL,
            "vcc": self._vcc,
        }
        sources = []
        for token in tokens[2:]:
            operand = values[token]
            if operand is None:
                raise IllegalInstruction(offset, words[:2], f"{tokens[0]}: bad {token}")
            sources.append(operand)
        if "vsrc1" not in tokens and _bits(self._layout, f"vsrc{letter}1", word):
            raise IllegalInstruction(offset, words[:2], f"{tokens[0]}: vsrc1 must be zero")
        target = self._vectors[destination]
        assert target is not None
        return Instruction(offset, 8, half, tokens[0], (target,), tuple(sources), words)

    @staticmethod
    def _complete(half: Instruction, size: int, words: tuple[int, ...]) -> Instruction:
        sources = tuple(
            replace(operand, value=words[-1]) if operand.kind is OperandKind.LITERAL else operand
            for operand in half.sources
        )
        return replace(half, size=size, words=words, sources=sources)


def _bits(layout: Layout, name: str, word: int) -> int:
    low, width = layout.opcode if name == "opx" else layout.fields[name]
    return word >> low & (1 << width) - 1
