"""Generated programs give the same bits on the emulator and on the host. Oracle: the host's C compiler."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generated_program import sources
from kernel_launcher import Runner

from pytest_amdgpu.driver.compiler import compile_source

COUNT = 512
VARIANTS = [
    ("gfx942", "-O0"),
    ("gfx942", "-O2"),
    ("gfx1100", "-O0"),
    ("gfx1100", "-O2"),
    ("gfx1100", "wave64"),
]


def data() -> Any:
    generator = np.random.default_rng(1)
    words = generator.integers(0, 1 << 32, (COUNT, 4), dtype=np.uint32)
    small = generator.integers(0, 50, (COUNT, 4), dtype=np.uint32)
    return np.where(generator.random((COUNT, 4)) < 0.3, small, words)


def host_result(gcc: str, source: str, directory: Path) -> Any:
    """Compile for the host and run."""
    path = directory / "generated.c"
    path.write_text(source)
    library = directory / "generated.so"
    flags = ["-O1", "-fwrapv", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    subprocess.run([gcc, *flags, "-o", str(library), str(path), "-lm"], check=True, capture_output=True)
    given, out = data(), np.zeros(COUNT, np.uint32)
    function = ctypes.CDLL(str(library)).generated
    function(out.ctypes.data_as(ctypes.c_void_p), given.ctypes.data_as(ctypes.c_void_p), COUNT)
    return out


def gpu_result(source: str, target: str, level: str) -> Any:
    """Compile for a target and run on the emulator."""
    options = ["-fwrapv", "-ffp-contract=off"]
    options += ["-O2", "-mwavefrontsize64"] if level == "wave64" else [level]
    runner = Runner(target)
    code = runner.load(compile_source(source, target, options=tuple(options)))
    out = runner.array(np.zeros(COUNT, np.uint32))
    code.run("generated", [out, runner.array(data()), COUNT], COUNT, 256)
    return out.array


@pytest.mark.usefixtures("require_ziglang")
@pytest.mark.parametrize("seed", range(len(VARIANTS)))
def test_emulator_and_host_agree(seed: int, require_tool: Callable[[str], str], tmp_path: Path) -> None:
    kernel, function = sources(seed)
    expected = host_result(require_tool("gcc"), function, tmp_path)
    target, level = VARIANTS[seed]
    got = gpu_result(kernel, target, level)
    wrong = np.flatnonzero(got != expected)
    assert not len(wrong), f"{target} {level}: work-items {wrong[:5]} of {len(wrong)}\n{kernel}"
