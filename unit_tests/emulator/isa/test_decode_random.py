"""Random words of every encoding: LLVM and we agree on validity, size, mnemonic, operands and modifiers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping

import pytest
from decode_oracle import CRASHED, LlvmDisassembler, agree, complains, excused

from pytest_amdgpu.emulator.isa.decode.decoder import decoder
from pytest_amdgpu.emulator.isa.decode.generation import GENERATIONS, SAME_ENCODINGS, Generation
from pytest_amdgpu.emulator.isa.decode.layouts import Layout
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction

PER_LAYOUT = 300
SEED = 20261122
FORM_CODES = (249, 250, 255, 233, 234)


def field_set(layout: Layout, word: int, name: str, value: int) -> int:
    low, width = layout.opcode if name == "opcode" else layout.fields[name]
    mask = (1 << width) - 1 << low
    return word & ~mask | value << low


def random_word(layout: Layout, generation: Generation, rows: Mapping[int, str], rng: random.Random) -> int:
    """An encoding of the layout, most often with an opcode that exists and with the rare fields sensible."""
    word = rng.getrandbits(8 * layout.size)
    if rng.random() < 0.6:
        # Dense random bits hit some bit that must be zero nearly always.
        word &= rng.getrandbits(8 * layout.size)
    match_mask = int("".join("0" if bit == "-" else "1" for bit in layout.match), 2) << 23
    word = word & ~match_mask | int(layout.match.replace("-", "0"), 2) << 23
    for name, value in layout.where.items():
        word = field_set(layout, word, name, value)
    line = ""
    if rows and rng.random() < 0.9:
        opcode = rng.choice(list(rows))
        line = rows[opcode]
        word = field_set(layout, word, "opcode", opcode)
    if "saddr" in layout.fields and rng.random() < 0.5:
        word = field_set(layout, word, "saddr", generation.saddr_off)
    if "src0" in layout.fields and rng.random() < 0.3:
        word = field_set(layout, word, "src0", rng.choice(FORM_CODES))
    if layout.name.startswith("VOP3"):
        # LLVM's choice between 16-bit variants depends on fields that the opcode does not use.
        for name in ("src0", "src1", "src2"):
            word = word if f" {name}" in line else field_set(layout, word, name, 0)
    if layout.name == "FLAT" and not generation.null:
        # Ignored by the hardware, printed by LLVM.
        word &= ~(1 << 12)
    return word


def random_trailer(rng: random.Random) -> int:
    """A literal, or something that has a chance of being a DPP or SDWA dword."""
    value = rng.getrandbits(32)
    return value if rng.random() < 0.5 else value & rng.getrandbits(32) & 0xFF77FFFF | 0x06000000


def cases() -> list[tuple[str, int, str]]:
    return [
        (target, wave_size, layout.name)
        for target, generation in GENERATIONS.items()
        for wave_size in generation.wave_sizes
        for layout in generation.layouts
        if not layout.named_only
    ]


@pytest.mark.parametrize(("target", "wave_size", "layout_name"), cases())
def test_random_words(
    target: str, wave_size: int, layout_name: str, require_tool: Callable[[str], str]
) -> None:
    require_tool("llvm-mc-22")
    generation = GENERATIONS[target]
    (layout,) = (layout for layout in generation.layouts if layout.name == layout_name)
    rows = generation.rows().get(layout_name, {})
    rng = random.Random(f"{SEED} {target} {wave_size} {layout_name}")
    codes = [
        random_word(layout, generation, rows, rng).to_bytes(layout.size, "little")
        + struct.pack("<II", random_trailer(rng), 0)
        for _ in range(PER_LAYOUT)
    ]
    chosen = decoder(target, wave_size)
    wrong = []
    agreed = 0
    with LlvmDisassembler(target, f"+wavefrontsize{wave_size}") as disassemble:
        answers = disassemble(codes)
    for code, (size, theirs) in zip(codes, answers, strict=True):
        if size == CRASHED:
            continue
        try:
            instruction = chosen.decode(code, 0)
        except IllegalInstruction as error:
            if size and not complains(theirs) and not excused(target, theirs, None):
                wrong.append(f"{code.hex()}: we reject ({error}), LLVM: {theirs}")
            continue
        ours = str(instruction)
        if size == instruction.size and agree(ours, theirs):
            agreed += 1
        elif not excused(target, theirs, ours):
            wrong.append(f"{code.hex()}: ours {ours} ({instruction.size}), LLVM {theirs} ({size})")
    assert not wrong, "\n".join(wrong[:20])
    assert agreed or (layout_name == "VOPD" and wave_size == 64), (
        "no word was an instruction: nothing was compared"
    )


@pytest.mark.parametrize("target", SAME_ENCODINGS)
def test_steppings_have_the_encodings_of_their_relative(
    target: str, require_tool: Callable[[str], str]
) -> None:
    require_tool("llvm-mc-22")
    relative = SAME_ENCODINGS[target]
    generation = GENERATIONS[relative]
    rng = random.Random(f"{SEED} {target}")
    codes = [
        random_word(layout, generation, generation.rows().get(layout.name, {}), rng).to_bytes(
            layout.size, "little"
        )
        + struct.pack("<II", random_trailer(rng), 0)
        for layout in generation.layouts
        for _ in range(PER_LAYOUT)
    ]
    answers = []
    for cpu in (target, relative):
        with LlvmDisassembler(cpu, f"+wavefrontsize{generation.wave_sizes[0]}") as disassemble:
            answers.append(list(disassemble(codes)))
    assert answers[0] == answers[1]
    assert sum(size > 0 for size, _ in answers[0]) > 500
