"""Every instruction that clang emits for a corpus of C kernels is decoded as LLVM's disassembler has it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from decode_oracle import LlvmDisassembler, agree
from elftools.elf.elffile import ELFFile

from pytest_amdgpu.emulator.isa.decode.decoder import decoder

CORPUS = Path(__file__).with_name("decode_corpus.c")
LONGEST = 20
"""Bytes given to LLVM for one instruction, which is at most 12 long."""

TARGETS = {
    "gfx908": (64, ()),
    "gfx90a": (64, ()),
    "gfx942": (64, ()),
    "gfx950": (64, ()),
    "gfx1010": (32, ()),
    "gfx1030": (32, ()),
    "gfx1100": (32, ()),
    "gfx1151": (32, ()),
    "gfx1200": (32, ()),
    "gfx1100-wave64": (64, ("-mwavefrontsize64",)),
}
"""Wave size and compiler options."""


def compiled_code(target: str, level: str, flags: tuple[str, ...], output: Path) -> bytes:
    """The .text section of the corpus, compiled with ziglang's clang."""
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "clang",
        "-x",
        "c",
        "-std=c23",
        "-nogpulib",
        "-c",
        level,
        *flags,
    ]
    command += ["--target=amdgcn-amd-amdhsa", f"-mcpu={target}", "-o", str(output), str(CORPUS)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    data: bytes = ELFFile(io.BytesIO(output.read_bytes())).get_section_by_name(".text").data()
    return data


def cases() -> list[tuple[str, str]]:
    """All levels for a target of each kind, the two extremes for the others."""
    thorough = ("gfx942", "gfx1100")
    levels = {name: ("-O0", "-O1", "-O2", "-O3") if name in thorough else ("-O0", "-O3") for name in TARGETS}
    return [(name, level) for name in TARGETS for level in levels[name]]


@pytest.mark.parametrize(("name", "level"), cases())
def test_compiled_code_decodes_as_llvm_says(
    name: str, level: str, tmp_path: Path, require_tool: Callable[[str], str], require_ziglang: None
) -> None:
    require_tool("llvm-mc-22")
    wave_size, flags = TARGETS[name]
    target = name.partition("-")[0]
    code = compiled_code(target, level, flags, tmp_path / "corpus.o")
    chosen = decoder(target, wave_size)
    instructions = []
    offset = 0
    while offset < len(code):
        instructions.append(chosen.decode(code, offset))
        offset += instructions[-1].size
    with LlvmDisassembler(target, f"+wavefrontsize{wave_size}") as disassemble:
        answers = disassemble(code[i.offset : i.offset + LONGEST].ljust(LONGEST, b"\0") for i in instructions)
    wrong = [
        f"{instruction.offset:#x}: ours {instruction} ({instruction.size}), LLVM {text} ({size})"
        for instruction, (size, text) in zip(instructions, answers, strict=True)
        if instruction.size != size or not agree(str(instruction), text)
    ]
    assert not wrong, "\n".join(wrong[:20])
    # The corpus is worth its time only as long as it reaches every kind of encoding.
    kinds = Counter(instruction.encoding for instruction in instructions)
    expected = {"SOP1", "SOP2", "SOPC", "SOPP", "SMEM", "VOP1", "VOP2", "VOP3", "VOP3_SDST", "VOP1_DPP"}
    expected |= {"VOP3P", "DS", "FLAT", "FLAT_GLOBAL"}
    # The older generations reach scratch through a buffer descriptor.
    expected |= {"MUBUF"} if target in ("gfx908", "gfx90a", "gfx1010", "gfx1030") else {"FLAT_SCRATCH"}
    if level != "-O0":
        expected |= {"VOPC", "SOPK"} | ({"VOPD"} if int(target[3:-2]) >= 11 and wave_size == 32 else set())
    assert expected <= kinds.keys(), expected - kinds.keys()
