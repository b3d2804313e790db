"""Every pure operation gives the same on constants, uniform scalars, scalars that differ by wave, and lanes.

Oracle for integers: Python ints. For floats: Python's own arithmetic, rounded by `struct`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_launcher import Runner, bare_chunk

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I1, I16, I32, I64, INT_OF, Type, Value
from pytest_amdgpu.emulator.isa.numpy_backend import compile_block
from pytest_amdgpu.emulator.isa.numpy_emit import Variant
from pytest_amdgpu.emulator.isa.translate import Block
from pytest_amdgpu.emulator.isa.waves import Group

WAVES, LANES = 5, 32
Build = Callable[[Builder, Value, Value], Value]


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def saturated(value: float, low: int, high: int) -> int:
    if math.isnan(value):
        return 0
    return low if value < low else high if value > high else int(value)


def reverse(value: int, bits: int) -> int:
    return int(format(value, f"0{bits}b")[::-1], 2)


INTEGER: dict[str, tuple[Build, Callable[[int, int, int], int]]] = {
    "add": (Builder.add, lambda a, b, n: a + b),
    "sub": (Builder.sub, lambda a, b, n: a - b),
    "mul": (Builder.mul, lambda a, b, n: a * b),
    "and": (Builder.and_, lambda a, b, n: a & b),
    "or": (Builder.or_, lambda a, b, n: a | b),
    "xor": (Builder.xor, lambda a, b, n: a ^ b),
    "not": (lambda b, x, y: b.not_(x), lambda a, b, n: ~a),
    "neg": (lambda b, x, y: b.neg(x), lambda a, b, n: -a),
    "shl": (Builder.shl, lambda a, b, n: a << b % n),
    "lshr": (Builder.lshr, lambda a, b, n: a >> b % n),
    "ashr": (Builder.ashr, lambda a, b, n: signed(a, n) >> b % n),
    "eq": (Builder.eq, lambda a, b, n: a == b),
    "ne": (Builder.ne, lambda a, b, n: a != b),
    "ult": (Builder.ult, lambda a, b, n: a < b),
    "uge": (Builder.uge, lambda a, b, n: a >= b),
    "ule": (Builder.ule, lambda a, b, n: a <= b),
    "slt": (Builder.slt, lambda a, b, n: signed(a, n) < signed(b, n)),
    "sge": (Builder.sge, lambda a, b, n: signed(a, n) >= signed(b, n)),
    "sgt": (Builder.sgt, lambda a, b, n: signed(a, n) > signed(b, n)),
    "umin": (Builder.umin, lambda a, b, n: min(a, b)),
    "umax": (Builder.umax, lambda a, b, n: max(a, b)),
    "smin": (Builder.smin, lambda a, b, n: min(signed(a, n), signed(b, n))),
    "smax": (Builder.smax, lambda a, b, n: max(signed(a, n), signed(b, n))),
    "select": (
        lambda b, x, y: b.select(b.ult(x, y), x, b.not_(y)),
        lambda a, b, n: a if a < b else ~b,
    ),
    "select_bit": (
        lambda b, x, y: b.zext(b.select(b.ult(x, y), b.trunc(x, I1), b.eq(x, y)), x.type),
        lambda a, b, n: a & 1 if a < b else a == b,
    ),
    "ctpop": (lambda b, x, y: b.ctpop(x), lambda a, b, n: a.bit_count()),
    "ctlz": (lambda b, x, y: b.ctlz(x), lambda a, b, n: n - a.bit_length()),
    "cttz": (lambda b, x, y: b.cttz(x), lambda a, b, n: (a & -a).bit_length() - 1 if a else n),
    "trunc1": (lambda b, x, y: b.trunc(x, I1), lambda a, b, n: a & 1),
    "sext1": (lambda b, x, y: b.sext(b.ult(x, y), x.type), lambda a, b, n: -(a < b)),
}
WIDE: dict[str, tuple[Build, Callable[[int, int, int], int]]] = {
    "mulhi_u": (Builder.mulhi_u, lambda a, b, n: a * b >> 32),
    "mulhi_s": (Builder.mulhi_s, lambda a, b, n: signed(a, 32) * signed(b, 32) >> 32),
    "zext": (lambda b, x, y: b.zext(x, I64), lambda a, b, n: a),
    "sext": (lambda b, x, y: b.sext(x, I64), lambda a, b, n: signed(a, 32)),
    "combine64": (Builder.combine64, lambda a, b, n: a | b << 32),
    "combine32": (
        lambda b, x, y: b.combine32(b.lo16(x), b.hi16(y)),
        lambda a, b, n: a & 0xFFFF | b >> 16 << 16,
    ),
    "bitreverse": (lambda b, x, y: b.bitreverse(x), lambda a, b, n: reverse(a, 32)),
    "sext16": (lambda b, x, y: b.sext(b.lo16(x), I32), lambda a, b, n: signed(a & 0xFFFF, 16)),
    "uitofp": (lambda b, x, y: b.uitofp(x, F64), lambda a, b, n: bits_of(F64, float(a))),
    "sitofp": (lambda b, x, y: b.sitofp(x, F64), lambda a, b, n: bits_of(F64, float(signed(a, 32)))),
}
FROM_64: dict[str, tuple[Build, Callable[[int, int, int], int]]] = {
    "lo32": (lambda b, x, y: b.lo32(x), lambda a, b, n: a),
    "hi32": (lambda b, x, y: b.hi32(x), lambda a, b, n: a >> 32),
    "trunc": (lambda b, x, y: b.trunc(x, I32), lambda a, b, n: a),
    "trunc16": (lambda b, x, y: b.trunc(x, I16), lambda a, b, n: a),
    "bitreverse": (lambda b, x, y: b.bitreverse(x), lambda a, b, n: reverse(a, 64)),
}

_FORMATS = {F16: "<e", F32: "<f", F64: "<d"}
_INT_FORMATS = {16: "<H", 32: "<I", 64: "<Q"}


def bits_of(type_: Type, value: float) -> int:
    try:
        packed = struct.pack(_FORMATS[type_], value)
    except OverflowError:
        packed = struct.pack(_FORMATS[type_], math.copysign(math.inf, value))
    return int(struct.unpack(_INT_FORMATS[type_.bits], packed)[0])


def number(type_: Type, bits: int) -> float:
    return float(struct.unpack(_FORMATS[type_], struct.pack(_INT_FORMATS[type_.bits], bits))[0])


def divide(a: float, b: float) -> float:
    if b == 0 or math.isnan(a) or math.isnan(b):
        invalid = a == 0 or math.isnan(a) or math.isnan(b)
        return math.nan if invalid else math.copysign(1, a) * math.copysign(math.inf, b)
    return a / b


def least(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return b if math.isnan(a) else a
    return min(a, b, key=lambda x: (x, math.copysign(1, x)))


def greatest(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return b if math.isnan(a) else a
    return max(a, b, key=lambda x: (x, math.copysign(1, x)))


def rounded(function: Callable[[float], float]) -> Callable[[float, float], float]:
    return lambda a, b: math.copysign(function(a), a) if math.isfinite(a) else a


# On f32, whose sums, products and quotients a double holds well enough to be rounded once more.
FLOAT: dict[str, tuple[Build, Callable[[float, float], float]]] = {
    "fadd": (Builder.fadd, lambda a, b: a + b),
    "fsub": (Builder.fsub, lambda a, b: a - b),
    "fmul": (Builder.fmul, lambda a, b: a * b),
    "fdiv": (Builder.fdiv, divide),
    "fneg": (lambda b, x, y: b.fneg(x), lambda a, b: -a),
    "fabs": (lambda b, x, y: b.fabs(x), lambda a, b: abs(a)),
    "fmin": (Builder.fmin, least),
    "fmax": (Builder.fmax, greatest),
    "fsqrt": (lambda b, x, y: b.fsqrt(x), lambda a, b: math.sqrt(a) if a >= 0 else math.nan),
    "ffloor": (lambda b, x, y: b.ffloor(x), rounded(math.floor)),
    "fceil": (lambda b, x, y: b.fceil(x), rounded(math.ceil)),
    "ftrunc": (lambda b, x, y: b.ftrunc(x), rounded(math.trunc)),
    "frint": (lambda b, x, y: b.frint(x), rounded(round)),
    "select": (lambda b, x, y: b.select(b.flt(x, y), x, y), lambda a, b: a if a < b else b),
}
FLOAT_TO_INT: dict[str, tuple[Build, Callable[[float, float], int]]] = {
    "feq": (Builder.feq, lambda a, b: a == b),
    "fne": (Builder.fne, lambda a, b: a != b),
    "flt": (Builder.flt, lambda a, b: a < b),
    "fge": (Builder.fge, lambda a, b: a >= b),
    "funord": (Builder.funord, lambda a, b: math.isnan(a) or math.isnan(b)),
    "fptosi": (lambda b, x, y: b.fptosi(x, I32), lambda a, b: saturated(a, -(1 << 31), (1 << 31) - 1)),
    "fptoui": (lambda b, x, y: b.fptoui(x, I32), lambda a, b: saturated(a, 0, (1 << 32) - 1)),
    "fptosi64": (lambda b, x, y: b.fptosi(x, I64), lambda a, b: saturated(a, -(1 << 63), (1 << 63) - 1)),
    "fptoui64": (lambda b, x, y: b.fptoui(x, I64), lambda a, b: saturated(a, 0, (1 << 64) - 1)),
    "fptosi16": (lambda b, x, y: b.fptosi(x, I16), lambda a, b: saturated(a, -(1 << 15), (1 << 15) - 1)),
    "frexp_exp": (
        lambda b, x, y: b.frexp_exp(x),
        lambda a, b: math.frexp(a)[1] if math.isfinite(a) else 0,
    ),
}


def as_words(b: Builder, value: Value) -> list[Value]:
    """A result of any type as I32 values."""
    if value.type.is_float:
        value = b.bitcast(value, INT_OF[value.type])
    if value.type is I64:
        return [b.lo32(value), b.hi32(value)]
    return [b.zext(value, I32)]


def run_form(form: str, build: Build, type_: Type, a: Any, c: Any) -> list[int]:
    """Evaluate on arrays of bits [waves, lanes] ("lanes") or on column 0 (scalar forms); return bits."""
    runner = Runner("gfx1100")
    group: Group = bare_chunk(runner, WAVES if form in ("lanes", "poly", "masked") else 1)
    b = Builder(runner.family, LANES)
    lanes = form in ("lanes", "masked")
    words = 2 if type_.bits == 64 else 1
    int_type = INT_OF.get(type_, type_)

    def read(first: int) -> Value:
        get = b.vgpr if lanes else b.sgpr
        if words == 2:
            value = b.combine64(get(first), get(first + 1))
        else:
            value = b.trunc(get(first), int_type) if int_type is I16 else get(first)
        return b.bitcast(value, type_)

    for first, data in ((0, a), (2, c)):
        for word in range(words):
            part = (data >> np.uint64(32 * word)).astype(np.uint32)
            if lanes:
                group.v[first + word] = part
            elif form == "poly":
                group.s[first + word] = np.ascontiguousarray(part[:, :1])
            else:
                group.s[first + word] = int(part[0, 0])
    if form == "const":
        x, y = (b.const_bits(type_, int(data[0, 0])) for data in (a, c))
    else:
        x, y = read(0), read(2)
    results = as_words(b, build(b, x, y))
    for position, word in enumerate(results):
        (b.set_vgpr if lanes else b.set_sgpr)(10 + position, word)
        b.commit()
    block = Block(b.graph, LANES, b"", (), dict(b.current), "fall", 0)
    full = form != "masked"
    if form == "masked":
        group.v[10] = group.v[11] = np.zeros((WAVES, LANES), np.uint32)
        group.set_exec(0x0F0F0F0F)
    variant = Variant(full, single=form in ("const", "uniform"), uniform=form in ("const", "uniform"))
    with np.errstate(all="ignore"):
        compile_block(block, variant).function(group, group.v, group.s)
    if lanes:
        parts = [group.v[10 + i] for i in range(len(results))]
        assert all(part.dtype == np.uint32 and part.shape == (WAVES, LANES) for part in parts)
    else:
        parts = [group.s[10 + i] for i in range(len(results))]
        for part in parts:
            assert type(part) is int or (part.dtype == np.uint32 and part.shape == (WAVES, 1)), part
        parts = [np.full((WAVES, 1), part, np.uint32) if type(part) is int else part for part in parts]
    whole = sum((part.astype(np.uint64) << np.uint64(32 * i) for i, part in enumerate(parts)), np.uint64(0))
    bits: list[int] = whole.reshape(-1).tolist()
    return bits


def check(build: Build, type_: Type, oracle: Callable[[int, int], int], data: Any) -> None:
    a, c = data
    expected = np.array(
        [[oracle(int(x), int(y)) & 0xFFFFFFFFFFFFFFFF for x, y in zip(*row, strict=True)] for row in
         zip(a, c, strict=True)],
        np.uint64,
    )  # fmt: skip
    assert run_form("lanes", build, type_, a, c) == expected.reshape(-1).tolist()
    enabled = np.array([0x0F0F0F0F >> lane & 1 for lane in range(LANES)], np.uint64)
    assert run_form("masked", build, type_, a, c) == (expected * enabled).reshape(-1).tolist()
    assert run_form("poly", build, type_, a, c) == expected[:, 0].tolist()
    for row in range(WAVES):
        one, other = a[row : row + 1], c[row : row + 1]
        for form in ("uniform", "const"):
            assert run_form(form, build, type_, one, other)[0] == expected[row, 0], form


def integers(bits: int) -> Any:
    generator = np.random.default_rng(bits)
    values = generator.integers(0, 1 << bits, (2, WAVES, LANES), dtype=np.uint64)
    edges = np.array([0, 1, 2, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1, 31, 5], np.uint64)
    values[:, :, :8] = generator.choice(edges, (2, WAVES, 8))
    values[1, :, 8] = values[0, :, 8]
    return values


@pytest.mark.parametrize("type_", [I16, I32, I64], ids=repr)
@pytest.mark.parametrize("name", INTEGER)
def test_integer_operation(name: str, type_: Type) -> None:
    build, oracle = INTEGER[name]
    bits = type_.bits
    out = 32 if name.startswith("ct") else bits
    check(build, type_, lambda a, b: int(oracle(a, b, bits)) & (1 << out) - 1, integers(bits))


@pytest.mark.parametrize("name", WIDE)
def test_operation_on_32_bits(name: str) -> None:
    build, oracle = WIDE[name]
    out = 32 if name in ("mulhi_u", "mulhi_s", "combine32", "bitreverse", "sext16") else 64
    check(build, I32, lambda a, b: oracle(a, b, 32) & (1 << out) - 1, integers(32))


@pytest.mark.parametrize("name", FROM_64)
def test_operation_on_64_bits(name: str) -> None:
    build, oracle = FROM_64[name]
    out = {"trunc16": 16, "bitreverse": 64}.get(name, 32)
    check(build, I64, lambda a, b: oracle(a, b, 64) & (1 << out) - 1, integers(64))


def floats() -> Any:
    generator = np.random.default_rng(9)
    values = generator.integers(0, 1 << 32, (2, WAVES, LANES), dtype=np.uint64)
    edges = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, math.inf, -math.inf, 1e-45, 2.0**31, -(2.0**31), 3e38]
    edges += [2.0**63, 2.0**64, -(2.0**63), 2.0**63 + 2.0**41, 2.0**63 - 2.0**39, 2.0**40 + 2.0**17, 40000.0]
    values[:, :, :12] = generator.choice([bits_of(F32, x) for x in edges], (2, WAVES, 12))
    values[:, :, 12:20] = generator.uniform(-9, 9, (2, WAVES, 8)).astype(np.float32).view(np.uint32)
    return values


def canonical(bits: int) -> int:
    """All NaNs alike: which one an operation gives is not said here."""
    return 0x7FC00000 if bits & 0x7FFFFFFF > 0x7F800000 else bits


@pytest.mark.parametrize("name", FLOAT)
def test_float_operation(name: str) -> None:
    build, oracle = FLOAT[name]

    def with_canonical_nan(b: Builder, x: Value, y: Value) -> Value:
        result = build(b, x, y)
        return b.select(b.isnan(result), b.const_bits(F32, 0x7FC00000), result)

    def bits(a: int, b: int) -> int:
        return canonical(bits_of(F32, oracle(number(F32, a), number(F32, b))))

    check(with_canonical_nan, F32, bits, floats())


@pytest.mark.parametrize("name", FLOAT_TO_INT)
def test_float_to_integer_operation(name: str) -> None:
    build, oracle = FLOAT_TO_INT[name]
    out = {"fptosi64": 64, "fptoui64": 64, "fptosi16": 16}.get(name, 32)
    check(build, F32, lambda a, b: int(oracle(number(F32, a), number(F32, b))) & (1 << out) - 1, floats())
