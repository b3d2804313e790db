"""The same C source compiled for the GPU and for the host gives the same bits.

Oracle: gcc (clang through ziglang for what only clang has), with contraction off and no excess precision.
Integers and IEEE f16, f32 and f64 must agree bit for bit; NaNs are normalized in the source, because the
payload of a NaN that an operation makes is not fixed by IEEE 754.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from exact_floats import F16, F32, F64, Format
from isa_machine import CORPUS, TARGETS, Loaded, Machine, levels

from pytest_amdgpu.driver.compiler import compile_source, find_compiler

ELEMENTS = 128
Bytes = npt.NDArray[np.uint8]

INTEGER_EDGES = {
    1: (0, 1, 2, 0x7F, 0x80, 0x81, 0xFE, 0xFF),
    2: (0, 1, 2, 15, 16, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF),
    4: (0, 1, 2, 31, 32, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF),
    8: (
        0,
        1,
        2,
        63,
        64,
        0xFFFFFFFF,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        (1 << 64) - 2,
        (1 << 64) - 1,
    ),
}
FLOAT_EDGES = {
    # zero, one, the extreme denormals and normals, infinity, NaN, halves, and around the limits of integers
    2: (
        0x0000, 0x3C00, 0x3BFF, 0x0001, 0x03FF, 0x0400, 0x7BFF,
        0x7C00, 0x7E00, 0x3800, 0x3E00, 0x7800, 0x6400,
    ),
    4: (
        0x00000000, 0x3F800000, 0x3F7FFFFF, 0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000,
        0x7FC00000, 0x3F000000, 0x3FC00000, 0x4F000000, 0x4EFFFFFF, 0x4B000001, 0x01000000, 0x7E800000,
        0x00400000, 0x33800000,
    ),
    8: (
        0x0000000000000000, 0x3FF0000000000000, 0x3FEFFFFFFFFFFFFF, 0x0000000000000001, 0x000FFFFFFFFFFFFF,
        0x0010000000000000, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000, 0x7FF8000000000000, 0x3FE0000000000000,
        0x3FF8000000000000, 0x41E0000000000000, 0x41DFFFFFFFC00000, 0x4330000000000001, 0x0020000000000000,
        0x7FD0000000000000, 0x0008000000000000, 0x3E70000000000000,
    ),
}  # fmt: skip


def random_integers(rng: np.random.Generator, size: int, count: int) -> npt.NDArray[np.uint64]:
    """Edges, small numbers and random bits."""
    values = rng.integers(0, 1 << 64, count, dtype=np.uint64) >> np.uint64(64 - 8 * size)
    edges = np.array(INTEGER_EDGES[size], np.uint64)
    kind = rng.random(count)
    values = np.where(kind < 0.3, rng.choice(edges, count), values)
    return np.where((kind > 0.3) & (kind < 0.45), values % np.uint64(100), values)


def random_floats(rng: np.random.Generator, size: int, count: int) -> npt.NDArray[np.uint64]:
    """Edges of both signs, random bits, and numbers of moderate size."""
    bits = rng.integers(0, 1 << 64, count, dtype=np.uint64) >> np.uint64(64 - 8 * size)
    edges = np.array(FLOAT_EDGES[size], np.uint64) | (
        rng.integers(0, 2, len(FLOAT_EDGES[size]), dtype=np.uint64) << np.uint64(8 * size - 1)
    )
    moderate = (rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)).astype(f"f{size}")
    kind = rng.random(count)
    values = np.where(kind < 0.35, rng.choice(edges, count), bits)
    return np.where(kind > 0.65, moderate.view(f"u{size}").astype(np.uint64), values)


@dataclass(frozen=True)
class Kernel:
    """A kernel of the corpus; `fields` is the layout of its input: f and u with sizes, x for padding."""

    file: str
    name: str
    fields: str
    output: int
    clang: bool = False
    gap: tuple[int, ...] = ()
    """Bytes of an output element that are padding."""


KERNELS = (
    Kernel("integer", "int32", "u4 u4 u4 u4", 192),
    Kernel("integer", "int64", "u8 u8 u8", 320),
    Kernel("integer", "small", "u2 u2 u1 u1 u1 u1", 72),
    Kernel("integer", "bits", "u4 u4 u4 u4", 192),
    Kernel("real", "float32", "f4 f4 f4 u4", 240),
    Kernel("real", "float64", "f8 f8 f8 u8", 384),
    Kernel("real", "float16", "f2 f2 f2 u2", 88),
    Kernel("packed", "packed", "u2 u2 u2 u2 u2 u2 x4 f4 f4 f4 f4 f4 f4", 96, clang=True),
    Kernel("packed", "half_pairs", "f2 f2 f2 f2 f2 f2", 32, clang=True),
    Kernel("flow", "flow", "u4 u4 u4 u4", 64),
    Kernel("flow", "scratch", "u4 u4 u4 u4", 64),
    Kernel("flow", "structs", "u1 x1 u2 u4 u8 f4 x4 f8 u1 x1 u2 u4 u8 f4 x4 f8" + " u1" * 13 + " x3", 80,
           gap=(1, 20, 21, 22, 23, 33, 52, 53, 54, 55, 77, 78, 79)),
    Kernel("flow", "unaligned", "u1 u4 u2 u8 u1 u2 u4", 22),
    Kernel("flow", "calls", "u4 u4 u4 u4", 64),
)  # fmt: skip


def make_input(kernel: Kernel) -> Bytes:
    """Random elements of the kernel's layout."""
    rng = np.random.default_rng(sum(kernel.name.encode()))
    columns = []
    for field in kernel.fields.split():
        size = int(field[1])
        if field[0] == "x":
            columns.append(np.zeros((ELEMENTS, size), np.uint8))
            continue
        make = random_floats if field[0] == "f" else random_integers
        column = make(rng, size, ELEMENTS).astype(f"<u{size}")
        columns.append(column.reshape(-1, 1).view(np.uint8))
    return np.concatenate(columns, axis=1)


@pytest.fixture(scope="session")
def host_library(
    require_tool: Callable[[str], str], require_ziglang: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, bool], ctypes.CDLL]:
    """A function that compiles a file of the corpus for the host, with gcc or with clang, and loads it."""
    directory = tmp_path_factory.mktemp("host")
    loaded: dict[tuple[str, bool], ctypes.CDLL] = {}

    def library(file: str, clang: bool) -> ctypes.CDLL:
        if (file, clang) not in loaded:
            path = directory / f"{file}_{'clang' if clang else 'gcc'}.so"
            if clang:
                command = [*find_compiler().clang, "-Xclang", "-ffloat16-excess-precision=none", "-std=c23"]
            else:
                command = [require_tool("gcc"), "-fexcess-precision=16", "-std=gnu2x"]
            options = ["-O1", "-ffp-contract=off", "-fPIC", "-shared", "-fno-strict-aliasing", "-w"]
            subprocess.run(
                [*command, *options, "-o", str(path), str(CORPUS / f"{file}.c"), "-lm"], check=True
            )
            loaded[file, clang] = ctypes.CDLL(str(path))
        return loaded[file, clang]

    return library


def check(machine: Machine, kernel: Kernel, options: tuple[str, ...], library: ctypes.CDLL) -> None:
    """Compile for the machine, run, and compare with the host."""
    data = make_input(kernel)
    expected = np.zeros((ELEMENTS, kernel.output), np.uint8)
    function = getattr(library, kernel.name)
    function(data.ctypes.data_as(ctypes.c_void_p), expected.ctypes.data_as(ctypes.c_void_p), ELEMENTS)
    checked = np.ones(kernel.output, np.bool_)
    checked[list(kernel.gap)] = False
    source = (CORPUS / f"{kernel.file}.c").read_text()
    options = (*options, "-ffp-contract=off")
    code = compile_source(source, machine.family.name, options=options, include=[CORPUS])
    given, result = machine.upload(data), machine.allocate(expected.size)
    Loaded(machine, code).launch(
        kernel.name, (given.address, result.address, ELEMENTS), groups=ELEMENTS // 64
    )
    got = result.data.reshape(ELEMENTS, kernel.output)
    different = np.argwhere((got != expected) & checked)
    assert not len(different), describe(" ".join(options), kernel, data, got, expected, different)


Library = Callable[[str, bool], ctypes.CDLL]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("target", TARGETS)
def test_gpu_and_host_agree(target: str, kernel: Kernel, host_library: Library) -> None:
    for level in levels(target, kernel.name):
        check(Machine(target), kernel, (level,), host_library(kernel.file, kernel.clang))


WIDE = [("gfx1100", kernel) for kernel in KERNELS] + [
    (target, kernel)
    for target in ("gfx1010", "gfx1030", "gfx1200")
    for kernel in KERNELS
    if kernel.name in ("flow", "scratch", "int64")
]


@pytest.mark.parametrize(
    ("target", "kernel"), [pytest.param(*case, id=f"{case[0]}-{case[1].name}") for case in WIDE]
)
def test_wide_waves_of_rdna_agree_too(target: str, kernel: Kernel, host_library: Library) -> None:
    library = host_library(kernel.file, kernel.clang)
    check(Machine(target, 64), kernel, ("-O2", "-mwavefrontsize64"), library)


def exponents_of_trouble(form: Format) -> list[int]:
    """Biased exponents around the limits of denormals, of overflow and of the scaling steps of a division."""
    top = 2 * form.bias
    scale = {16: 4, 32: 64, 64: 128}[form.bits]
    near = {0, 1, 2, form.mantissa, form.mantissa + 1, scale, form.bias - scale, form.bias - form.mantissa}
    near |= {
        form.bias - 1,
        form.bias,
        form.bias + 1,
        top - scale,
        top - 2,
        top - 1,
        top,
        form.bias + 3 * scale // 2,
    }
    return sorted(exponent for exponent in near if 0 <= exponent <= top)


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("target", TARGETS)
def test_quotients_near_every_limit_are_correctly_rounded(target: str, bits: int) -> None:
    form = {16: F16, 32: F32, 64: F64}[bits]
    rng = np.random.default_rng(bits)
    mantissas = [
        0,
        1,
        (1 << form.mantissa) - 1,
        1 << form.mantissa - 1,
        *map(int, rng.integers(0, 1 << form.mantissa, 3)),
    ]
    values = [e << form.mantissa | m for e in exponents_of_trouble(form) for m in mantissas]
    values += [form.infinity, form.nan]
    pairs = [
        (int(a) ^ form.sign * int(rng.integers(2)), int(b)) for a in values for b in rng.choice(values, 16)
    ]
    pairs += [(0, 0)] * (-len(pairs) % 64)
    given = np.array(pairs, f"<u{bits // 8}")
    machine = Machine(target)
    source, result = machine.upload(given), machine.allocate(given.nbytes // 2)
    code = compile_source((CORPUS / "real.c").read_text(), target, options=("-O2",), include=[CORPUS])
    Loaded(machine, code).launch(
        f"divide{bits}", (source.address, result.address, len(pairs)), groups=len(pairs) // 64
    )
    got = result.data[: len(pairs) * bits // 8].view(f"<u{bits // 8}").tolist()
    wrong = [
        f"{a:#x} / {b:#x} = {quotient:#x}, not {form.div(a, b):#x}"
        for (a, b), quotient in zip(pairs, got, strict=True)
        if not (form.is_nan(quotient) if form.is_nan(form.div(a, b)) else quotient == form.div(a, b))
    ]
    assert wrong == []


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("target", TARGETS)
def test_square_roots_are_correctly_rounded(target: str, bits: int) -> None:
    form = {32: F32, 64: F64}[bits]
    rng = np.random.default_rng(bits)
    values = [
        e << form.mantissa | int(m)
        for e in exponents_of_trouble(form)
        for m in rng.integers(0, 1 << form.mantissa, 24)
    ]
    values += [form.infinity, form.nan, form.sign, form.sign | 1]
    values += [0] * (-len(values) % 64)
    given = np.array(values, f"<u{bits // 8}")
    machine = Machine(target)
    source, result = machine.upload(given), machine.allocate(given.nbytes)
    code = compile_source((CORPUS / "real.c").read_text(), target, options=("-O2",), include=[CORPUS])
    Loaded(machine, code).launch(
        f"root{bits}", (source.address, result.address, len(values)), groups=len(values) // 64
    )
    got = result.data[: given.nbytes].view(f"<u{bits // 8}").tolist()
    for value, root in zip(values, got, strict=True):
        expected = form.sqrt(value)
        assert form.is_nan(root) if form.is_nan(expected) else root == expected, hex(value)


def describe(level: str, kernel: Kernel, data: Bytes, got: Bytes, expected: Bytes, different: Bytes) -> str:
    """Where the results differ first, and with which input."""
    element = int(different[0][0])
    offsets = sorted({int(offset) & ~7 for at, offset in different if at == element})
    count = len({int(at) for at, _ in different})
    given = data[element].tobytes().hex(" ", 4)
    lines = [f"{kernel.name} {level}: {count} elements differ, the first is {element}: {given}"]
    for offset in offsets[:6]:
        lines.append(
            f"  bytes {offset}..{offset + 7}: {got[element, offset : offset + 8].tobytes().hex(' ', 4)},"
            f" host has {expected[element, offset : offset + 8].tobytes().hex(' ', 4)}"
        )
    return "\n".join(lines)
