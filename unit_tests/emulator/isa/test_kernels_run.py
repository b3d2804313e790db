"""The suite's kernels, compiled at every level, give on the emulator what numpy computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isa_machine import TARGETS, levels
from kernel_launcher import Loaded, Runner

from pytest_amdgpu.driver.compiler import compile_source
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.isa.program import Program
from pytest_amdgpu.emulator.memory import Access, VmFault
from pytest_amdgpu.families.registry import FAMILIES

KERNELS = Path(__file__).parents[3] / "hw_tests" / "kernels"
COUNT = 1000
U32 = np.uint32

pytestmark = pytest.mark.usefixtures("require_ziglang")
Case = Callable[[Runner, Callable[[str], Loaded]], None]


def words(count: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=U32)


def fill(runner: Runner, load: Callable[[str], Loaded]) -> None:
    out = runner.array(np.zeros(COUNT, U32))
    load("fill").run("fill", [out, 77, COUNT - 3], COUNT, 256)
    assert (out.array[:-3] == 77).all()
    assert (out.array[-3:] == 0).all()


def vector_add(runner: Runner, load: Callable[[str], Loaded]) -> None:
    a, b = runner.array(words(COUNT), writable=False), runner.array(words(COUNT, 2), writable=False)
    out = runner.array(np.zeros(COUNT, U32))
    load("vector_add").run("vector_add", [out, a, b, COUNT], 1024, 64)
    assert (out.array == a.array + b.array).all()


def saxpy(runner: Runner, load: Callable[[str], Loaded]) -> None:
    generator = np.random.default_rng(3)
    x32, y32 = generator.standard_normal((2, COUNT)).astype(np.float32)
    y = runner.array(y32)
    load("saxpy").run("saxpy_f32", [y, runner.array(x32), 1.5, COUNT], 1024, 256)
    assert (y.array == (1.5 * x32.astype(np.float64) + y32).astype(np.float32)).all()
    x64, y64 = generator.standard_normal((2, COUNT))
    y = runner.array(y64)
    # The product with 1.5 can need 54 bits: integers below 2**50 keep everything exact.
    x64, y.array[:] = np.rint(x64 * 2**40), np.rint(y64 * 2**40)
    expected = 1.5 * x64 + y.array
    load("saxpy").run("saxpy_f64", [y, runner.array(x64), 1.5, COUNT], 1024, 256)
    assert (y.array == expected).all()


def transpose(runner: Runner, load: Callable[[str], Loaded]) -> None:
    width, height = 100, 70
    matrix = words(width * height).reshape(height, width)
    out = runner.array(np.zeros((width, height), U32))
    load("transpose").run("transpose", [out, runner.array(matrix), width, height], (112, 80, 1), (16, 16, 1))
    assert (out.array == matrix.T).all()


def block_reduce(runner: Runner, load: Callable[[str], Loaded]) -> None:
    values = words(COUNT)
    sums = runner.array(np.zeros(4, U32))
    load("reduce").run("reduce", [sums, runner.array(values), COUNT], 1024, 256)
    padded = np.append(values, np.zeros(24, U32)).reshape(4, 256)
    assert (sums.array == padded.sum(axis=1, dtype=U32)).all()


def scratch(runner: Runner, load: Callable[[str], Loaded]) -> None:
    order = np.array([3, 1, 2, 0, 7, 5, 6, 4], U32)
    given = words(COUNT * 8).reshape(COUNT, 8)
    out = runner.array(np.zeros((COUNT, 8), U32))
    load("scratch").run("permute_private", [out, runner.array(given), runner.array(order), COUNT], 1024, 256)
    expected = np.zeros_like(given)
    expected[:, order] = given + np.arange(COUNT, dtype=U32)[:, None]
    assert (out.array == expected).all()


def collatz_steps(n: int) -> int:
    steps = 0
    while n > 1:
        n = 3 * n + 1 if n & 1 else n // 2
        steps += 1
    return steps


def collatz(runner: Runner, load: Callable[[str], Loaded]) -> None:
    start = np.random.default_rng(4).integers(1, 3000, COUNT, dtype=U32)
    steps = runner.array(np.zeros(COUNT, U32))
    load("collatz").run("collatz", [steps, runner.array(start), COUNT], 1024, 256)
    assert steps.array.tolist() == [collatz_steps(n) for n in start.tolist()]


def arithmetic(runner: Runner, load: Callable[[str], Loaded]) -> None:
    out = runner.array(np.zeros(COUNT, U32))
    load("arithmetic").run("mix", [out, 50, COUNT], 1024, 256)
    i = np.arange(COUNT, dtype=U32)
    a, b = i * U32(2654435761), i ^ U32(0x9E3779B9)
    for _ in range(50):
        a = a * U32(1664525) + U32(1013904223)
        b = (b ^ a) + (b << U32(5))
        a = a ^ (b >> U32(7))
    assert (out.array == a ^ b).all()


def atomics(runner: Runner, load: Callable[[str], Loaded]) -> None:
    code = load("atomics")
    values = words(COUNT)
    bins = runner.array(np.zeros(16, U32))
    code.run("histogram", [bins, runner.array(values), 16, COUNT], 1024, 256)
    assert (bins.array == np.bincount(values % 16, minlength=16)).all()
    out, counter = runner.array(np.zeros(COUNT, U32)), runner.array(np.zeros(1, U32))
    code.run("tickets", [out, counter, COUNT], 1024, 256)
    assert sorted(out.array.tolist()) == list(range(COUNT))
    assert counter.array[0] == COUNT
    wide = np.random.default_rng(5).integers(0, 1 << 64, COUNT, dtype=np.uint64)
    result = runner.array(np.zeros(1, np.uint64))
    code.run("maximum_u64", [result, runner.array(wide), COUNT], 1024, 256)
    assert result.array[0] == wide.max()
    slots, winners = runner.array(np.zeros(10, U32)), runner.array(np.zeros(COUNT, U32))
    code.run("compare_exchange", [slots, winners, 10, COUNT], 1024, 256)
    assert winners.array.sum() == 10
    assert (winners.array[slots.array - 1] == 1).all()
    assert ((slots.array - 1) % 10 == np.arange(10)).all()


def hidden(runner: Runner, load: Callable[[str], Loaded]) -> None:
    grid, block = (37, 11, 5), (16, 4, 2)
    out = runner.array(np.zeros((5, 11, 37, 16), U32))
    load("hidden").run("launch", [out], grid, block)
    z, y, x = np.meshgrid(*(np.arange(n) for n in reversed(grid)), indexing="ij")
    place = (x, y, z)
    for axis in range(3):
        assert (out.array[..., axis] == place[axis] // block[axis]).all()
        assert (out.array[..., 3 + axis] == place[axis] % block[axis]).all()
        # clang's builtin reads hidden_group_size, which is that of full workgroups.
        assert (out.array[..., 6 + axis] == block[axis]).all()
        assert (out.array[..., 9 + axis] == grid[axis]).all()
    assert (out.array[..., 14] == 3).all()
    assert (out.array[..., 15] == (37 % 16 | (11 % 4) << 16)).all()


def out_of_bounds(runner: Runner, load: Callable[[str], Loaded]) -> None:
    code = load("out_of_bounds")
    out = runner.array(words(4))
    code.run("read_at", [out, out.address + 12], 256, 64)
    assert out.array[0] == out.array[3]
    nowhere = 0x1234_5678_9000
    with pytest.raises(VmFault) as caught:
        code.run("read_at", [out, nowhere], 256, 64)
    assert (caught.value.address, caught.value.access) == (nowhere, Access.READ)
    with pytest.raises(VmFault) as caught:
        code.run("write_at", [nowhere, 1], 256, 64)
    assert (caught.value.address, caught.value.access) == (nowhere, Access.WRITE)


CASES: tuple[Case, ...] = (
    fill,
    vector_add,
    saxpy,
    transpose,
    block_reduce,
    scratch,
    collatz,
    arithmetic,
    atomics,
    hidden,
    out_of_bounds,
)


@pytest.fixture(scope="module")
def compiled() -> Callable[[str, str, str], bytes]:
    kept: dict[tuple[str, str, str], bytes] = {}

    def compile_(target: str, level: str, name: str) -> bytes:
        key = (target, level, name)
        if key not in kept:
            source = (KERNELS / f"{name}.c").read_text()
            kept[key] = compile_source(source, target, options=(level,), include=[KERNELS])
        return kept[key]

    return compile_


@pytest.mark.parametrize(
    ("target", "level", "case"),
    [
        pytest.param(target, level, case, id=f"{target}-{case.__name__}-{level}")
        for target in TARGETS
        for case in CASES
        for level in levels(target, case.__name__)
    ],
)
def test_kernel_gives_what_numpy_computes(
    target: str, level: str, case: Case, compiled: Callable[[str, str, str], bytes]
) -> None:
    runner = Runner(target)
    case(runner, lambda name: runner.load(compiled(target, level, name)))


STEPPINGS = [row.name for row in FAMILIES if row.name not in (*TARGETS, "gfx1250")]


@pytest.mark.parametrize("case", [block_reduce, scratch, atomics], ids=lambda case: case.__name__)
@pytest.mark.parametrize("target", STEPPINGS)
def test_every_other_known_target_runs_its_kernels_too(
    target: str, case: Case, compiled: Callable[[str, str, str], bytes]
) -> None:
    runner = Runner(target)
    case(runner, lambda name: runner.load(compiled(target, "-O2", name)))


def test_code_for_gfx1250_is_refused_as_not_emulated() -> None:
    runner = Runner("gfx1250")
    code = runner.array(np.array([0xBFB00000], U32))
    program = Program(runner.family, 32, runner.space)
    with pytest.raises(IllegalInstruction, match="software GPUs do not execute code for gfx1250: its encodi"):
        program.fetch(code.address, 0xF0)
