"""Questions to LLVM about one opcode: which fields are operands, which bits matter, which forms exist.

A part of `make_opcode_tables.py`, which says how the answers become tables.
"""

from __future__ import annotations

import itertools
import re
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from llvm_disassembler import LlvmDisassembler

from pytest_amdgpu.emulator.isa.decode.generation import Generation
from pytest_amdgpu.emulator.isa.decode.layouts import Layout

LITERAL = 0x12345678

# A register number of its own for each operand field, so that the text says which field an operand came from.
# Multiples of 4, far enough apart for tuples of 32.
PROBES: dict[str, tuple[int, ...]] = {
    "vdst": (32,),
    "src0": (256 + 64, 24),
    "src1": (256 + 128, 48),
    "src2": (256 + 192, 72),
    "vsrc1": (96,),
    "sdst": (16,),
    "ssrc0": (32,),
    "ssrc1": (48,),
    "sbase": (32,),
    "sdata": (16,),
    "vaddr": (64,),
    "data0": (128,),
    "data1": (192,),
    "vdata": (128,),
    "srsrc": (2, 8),
    "soffset": (40,),
    "simm16": (0x1234,),
}
# What LLVM must accept for an operand to belong to a class: a VGPR, an SGPR, an inline constant, a literal.
CLASS_PROBES = {"v": 256 + 64, "s": 32, "i": 0x81, "L": 255}
# How a form is asked for: the code in src0, the dwords that may follow, what its text then holds, and which
# bits of the dword are not flipped: register, selectors, controls and masks, whose values the decoder checks
# itself.
FORM_PROBES = {
    "sdwa": (249, (0x00_06_06_40, 0x06_06_06_40), "src0_sel:", 0x87_87_1F_FF),
    "dpp": (250, (0xFF_00_E4_40,), "quad_perm:", 0xFF_01_FF_FF),
    "newbcast": (250, (0xFF_01_50_40,), "row_newbcast:", 0xFF_01_FF_FF),
    "dpp8": (233, (0x00_FA_C6_40,), "dpp8:", 0xFF_FF_FF_FF),
}
FORM_SUFFIX = re.compile(r"(_e32|_e64)?(_sdwa|_dpp8|_dpp)?$")


def put(layout: Layout, word: int, name: str, value: int) -> int:
    """`word` with one field replaced."""
    low, width = layout.fields[name]
    mask = (1 << width) - 1
    return word & ~(mask << low) | (value & mask) << low


def field_mask(layout: Layout, name: str) -> int:
    """The bits of one field."""
    low, width = layout.fields[name]
    return (1 << width) - 1 << low


class Prober:
    """Asks LLVM about encodings of one target."""

    def __init__(self, cpu: str, generation: Generation, wave_size: int) -> None:
        self._disassemble = LlvmDisassembler(cpu, f"+wavefrontsize{wave_size}")
        self.generation = generation

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *exception: object) -> None:
        self._disassemble.__exit__(*exception)

    def texts(self, layout: Layout, words: list[int], trailer: int = LITERAL) -> list[tuple[int, str]]:
        """Size and text for each encoding, (0, "") for one that LLVM rejects or accepts with a complaint."""
        codes = [word.to_bytes(layout.size, "little") + struct.pack("<IQ", trailer, 0) for word in words]
        return [
            (size, text) if size > 0 and "Invalid" not in text and "Warning" not in text else (0, "")
            for size, text in self._disassemble(codes)
        ]


def mnemonic(text: str) -> str:
    """The name without the suffix of its encoding."""
    return FORM_SUFFIX.sub("", text.split()[0])


@dataclass
class Probe:
    """What was learnt of one opcode: the encoding with all operands set, its text, the roles of fields."""

    layout: Layout
    opcode: int
    word: int
    size: int
    text: str
    operands: list[str]
    ignored: list[str]


def base_word(layout: Layout, opcode: int) -> int:
    """Match bits, opcode and selecting fields; everything else zero."""
    word = int(layout.match.replace("-", "0"), 2) << 23 | opcode << layout.opcode[0]
    for name, value in layout.where.items():
        word = put(layout, word, name, value)
    return word


def find_encodings(prober: Prober, layout: Layout, skip: set[int]) -> dict[int, tuple[int, int, str]]:
    """For each opcode that exists one valid encoding: word, size, text."""
    sources = [name for name in ("src0", "src1", "src2") if name in layout.fields]
    asked: list[tuple[int, int]] = []
    for opcode in range(1 << layout.opcode[1]):
        if opcode in skip:
            continue
        for values in itertools.product((0, 256), repeat=len(sources)):
            word = base_word(layout, opcode)
            for name, value in zip(sources, values, strict=True):
                word = put(layout, word, name, value)
            if "imm" in layout.fields:
                asked.append((opcode, put(layout, word, "imm", 1)))
            if "saddr" in layout.fields:
                asked.append((opcode, put(layout, word, "saddr", prober.generation.saddr_off)))
            if "soffset" in layout.fields and "imm" not in layout.fields:
                asked.append((opcode, put(layout, word, "soffset", prober.generation.saddr_off)))
            asked.append((opcode, word))
            if "gds" in layout.fields:
                asked.append((opcode, put(layout, word, "gds", 1)))
            if layout.name == "VOP3":
                # gfx10+ comparisons that write EXEC must have its number in vdst.
                asked.append((opcode, put(layout, word, "vdst", 126)))
    found: dict[int, tuple[int, int, str]] = {}
    answers = prober.texts(layout, [word for _, word in asked])
    for (opcode, word), (size, text) in zip(asked, answers, strict=True):
        if size and opcode not in found:
            found[opcode] = (word, size, text)
    return found


def probe_operands(prober: Prober, layout: Layout, opcode: int, word: int, text: str) -> Probe:
    """Give each field that is an operand its own number."""
    used: dict[str, int] = {}
    ignored: list[str] = []
    for name, values in PROBES.items():
        if name not in layout.fields or (name == "simm16" and layout.name == "SOPP"):
            continue
        answers = prober.texts(layout, [put(layout, word, name, value) for value in values])
        for value, (size, changed) in zip(values, answers, strict=True):
            if size and mnemonic(changed) == mnemonic(text):
                if changed == text:
                    ignored.append(name)
                else:
                    used[name] = value
                break
    full = word
    for name, value in used.items():
        full = put(layout, full, name, value)
    ((size, full_text),) = prober.texts(layout, [full])
    if not size:
        raise RuntimeError(
            f"{layout.name} opcode {opcode:#x}: {text!r} has no valid combination of operands {used}"
        )
    return Probe(layout, opcode, full, size, full_text, list(used), ignored)


def source_class(prober: Prober, probe: Probe, name: str) -> str:
    """Which of VGPR, SGPR, inline constant and literal the operand may be."""
    answers = prober.texts(
        probe.layout, [put(probe.layout, probe.word, name, value) for value in CLASS_PROBES.values()]
    )
    return "".join(
        letter
        for letter, (size, text) in zip(CLASS_PROBES, answers, strict=True)
        if size and mnemonic(text) == mnemonic(probe.text)
    )


def forms_of(prober: Prober, probe: Probe) -> list[str]:
    """Which of SDWA, DPP and DPP8 the opcode has."""
    if "src0" not in probe.operands:
        return []
    forms: list[str] = []
    for form, (code, trailers, mark, settled) in FORM_PROBES.items():
        if form == "sdwa":
            # A comparison has its destination where others have clamp and omod; one source leaves src1's bits
            # over.
            settled |= 0xE000 if probe.layout.name == "VOPC" else 0
            settled &= ~0 if "vsrc1" in probe.operands else 0x00FF_FFFF
        word = put(probe.layout, probe.word, "src0", code)
        for trailer in trailers:
            ((size, text),) = prober.texts(probe.layout, [word], trailer)
            if size == probe.layout.size + 4 and mark in text and mnemonic(text) == mnemonic(probe.text):
                if form != "newbcast" or "+dpp" not in "".join(forms):
                    forms.append(f"+{form}{form_masks(prober, probe.layout, word, trailer, text, settled)}")
                break
    return forms


def form_masks(prober: Prober, layout: Layout, word: int, trailer: int, text: str, settled: int) -> str:
    """The bits of the extra dword that must be zero and those without meaning, as the row writes them."""
    zero = free = 0
    for bit in range(32):
        if settled >> bit & 1:
            continue
        ((size, changed),) = prober.texts(layout, [word], trailer ^ 1 << bit)
        if not size:
            zero |= 1 << bit
        elif changed == text:
            free |= 1 << bit
    return f":{zero:x}:{free:x}" if zero or free else ""


def loose_bits(prober: Prober, probe: Probe) -> tuple[int, int]:
    """Bits that must be as they are, and bits without meaning, outside operands, opcode and match."""
    layout = probe.layout
    fixed = int("".join("0" if c == "-" else "1" for c in layout.match), 2) << 23
    fixed |= (1 << layout.opcode[1]) - 1 << layout.opcode[0]
    for name in (*probe.operands, *probe.ignored, *layout.where):
        fixed |= field_mask(layout, name)
    if "saddr" in layout.fields and layout.name != "FLAT":
        fixed |= field_mask(layout, "saddr")
    if layout.name == "SMEM" and "sbase" in probe.operands:
        fixed |= field_mask(layout, "soffset") | field_mask(layout, "offset")
        fixed |= field_mask(layout, "imm") if "imm" in layout.fields else 0
    bits = [bit for bit in range(layout.size * 8) if not fixed >> bit & 1]
    fixed_value = free = 0
    for bit, (size, text) in zip(
        bits, prober.texts(layout, [probe.word ^ 1 << bit for bit in bits]), strict=True
    ):
        if not size or mnemonic(text) != mnemonic(probe.text):
            fixed_value |= 1 << bit
        elif text == probe.text:
            free |= 1 << bit
    return fixed_value, free
