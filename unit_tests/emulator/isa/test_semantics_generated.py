"""Random C programs give the same bits on the GPU as on the host (gcc), at a random optimization level."""

from __future__ import annotations

import ctypes
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from isa_machine import CORPUS, TARGETS, Loaded, Machine
from random_programs import INPUT_WORDS, OUTPUT_BYTES, Program

from pytest_amdgpu.driver.compiler import compile_source

ELEMENTS = 128
SEEDS = range(10)
OPTIONS = ("-O1", "-std=gnu2x", "-ffp-contract=off", "-fwrapv", "-fPIC", "-shared", "-w", f"-I{CORPUS}")
EDGES = np.array([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0x10000], np.uint32)


@pytest.mark.usefixtures("require_ziglang")
@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs_agree_with_the_host(
    seed: int, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    source = Program(seed).source()
    path, library = tmp_path / "program.c", tmp_path / "program.so"
    path.write_text(source)
    subprocess.run([require_tool("gcc"), *OPTIONS, "-o", str(library), str(path), "-lm"], check=True)
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 32, (ELEMENTS, INPUT_WORDS), dtype=np.uint32)
    at_edge = rng.random(words.shape) < 0.2
    words[at_edge] = rng.choice(EDGES, int(at_edge.sum()))
    small = rng.random(words.shape) < 0.2
    words[small] %= 200
    expected = np.zeros((ELEMENTS, OUTPUT_BYTES // 8), np.uint64)
    pointers = (words.ctypes.data_as(ctypes.c_void_p), expected.ctypes.data_as(ctypes.c_void_p))
    ctypes.CDLL(str(library)).program(*pointers, ELEMENTS)
    assert len(np.unique(expected[:, 10])) > 1
    level = random.Random(seed).choice(("-O0", "-O1", "-O2", "-O3"))
    others = [target for target in TARGETS if target not in ("gfx942", "gfx1100")]
    for target in ("gfx942", "gfx1100", others[seed % len(others)]):
        code = compile_source(
            source, target, options=(level, "-ffp-contract=off", "-fwrapv"), include=[CORPUS]
        )
        machine = Machine(target)
        given, result = machine.upload(words), machine.allocate(ELEMENTS * OUTPUT_BYTES)
        Loaded(machine, code).launch(
            "program", (given.address, result.address, ELEMENTS), groups=ELEMENTS // 64
        )
        got = result.data.view(np.uint64).reshape(expected.shape)
        different = np.argwhere(got != expected)
        assert not len(different), (
            f"seed {seed}, {target} {level}: element {different[0][0]}, result {different[0][1]} is "
            f"{int(got[tuple(different[0])]):#x}, the host has {int(expected[tuple(different[0])]):#x}"
        )
