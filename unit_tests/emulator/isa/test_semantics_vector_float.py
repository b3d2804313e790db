"""Floating-point vector instructions against exact arithmetic, and approximations within their tolerance.

Definitions: CDNA3 ISA 12.7 to 12.11, RDNA3 ISA 16.7 to 16.12. A result that is a NaN must be a NaN; its
payload is not compared. Operands have no signalling NaNs except where a class is tested.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from exact_floats import F16, F32, F64, Format
from instruction_bench import VECTOR_IN, Words, bench

M32 = 0xFFFFFFFF
Oracle = Callable[[int, int, int], int]
FORMATS = {"f16": F16, "f32": F32, "f64": F64}
targets = pytest.mark.parametrize("target", ["gfx942", "gfx1100"])

EDGES: dict[int, tuple[float, ...]] = {
    16: (0.0, 1.0, 0.5, 1.5, 2.5, 65504.0, 6.0e-8, 6.1e-5, 6.0976e-5, math.inf, math.nan, 32768.0, 0.33325),
    32: (0.0, 1.0, 0.5, 2.5, 3.4028234e38, 1.4e-45, 1.1754944e-38, 1.1754942e-38, math.inf, math.nan,
         2147483648.0, 4294967040.0, 8388607.5, 0.99999994),
    64: (0.0, 1.0, 0.5, 2.5, 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 2.225073858507201e-308,
         math.inf, math.nan, 2147483647.5, 4503599627370495.5, 0.9999999999999999),
}  # fmt: skip
CODES = {16: "<e", 32: "<f", 64: "<d"}


def bits_of(form: Format, value: float) -> int:
    return int.from_bytes(struct.pack(CODES[form.bits], value), "little")


def operand_bits(rng: np.random.Generator, form: Format, count: int) -> list[int]:
    """Edges, random bits without signalling NaNs, and numbers of similar size."""
    edges = [bits_of(form, value) for value in EDGES[form.bits]]
    result = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.4:
            x = edges[int(rng.integers(len(edges)))]
        elif kind < 0.7:
            x = int(rng.integers(1 << 63)) >> (63 - form.bits + 1)
        else:
            x = bits_of(form, float(np.float16(rng.standard_normal() * 4)))
        x ^= form.sign * int(rng.integers(2))
        if form.is_signalling(x):
            x |= form.nan
        result.append(x)
    return result


def float_inputs(seed: int, form: Format, rows: int = 256) -> Words:
    """Rows whose A, B, C and old destination hold floats; dwords beyond 32 bits hold random bits."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 32, (rows, VECTOR_IN), dtype=np.uint32)
    for column in (0, 2, 4, 8):
        values = np.array(operand_bits(rng, form, rows), np.uint64)
        if form.bits == 16:
            values |= (words[:, column].astype(np.uint64) >> np.uint64(16)) << np.uint64(16)
        words[:, column] = values & np.uint64(M32)
        if form.bits == 64:
            words[:, column + 1] = values >> np.uint64(32)
    return words


def value_at(line: list[int], column: int, form: Format) -> int:
    raw = line[column] | line[column + 1] << 32
    return raw & (1 << form.bits) - 1


def operands_text(form: Format, count: int) -> str:
    names = ("v2", "v4", "v6") if form.bits < 64 else ("v[2:3]", "v[4:5]", "v[6:7]")
    return ", ".join(names[:count])


def destination(form: Format) -> str:
    return "v8" if form.bits < 64 else "v[8:9]"


def halved(text: str) -> str:
    """16-bit registers as gfx11 writes them."""
    for register in ("v8", "v2", "v4", "v6"):
        text = text.replace(register, f"{register}.l")
    return text


def same(form: Format, got: int, expected: int) -> bool:
    return form.is_nan(got) if form.is_nan(expected) else got == expected


def arithmetic(form: Format, suffix: str) -> list[tuple[str, int, Oracle]]:
    """Name, number of sources, oracle."""
    rows: list[tuple[str, int, Oracle]] = [
        ("add", 2, lambda a, b, c: form.add(a, b)),
        ("mul", 2, lambda a, b, c: form.mul(a, b)),
        ("min", 2, lambda a, b, c: form.minimum(a, b)),
        ("max", 2, lambda a, b, c: form.maximum(a, b)),
        ("fma", 3, form.fma),
        ("floor", 1, lambda a, b, c: form.integral(a, "floor")),
        ("ceil", 1, lambda a, b, c: form.integral(a, "ceil")),
        ("trunc", 1, lambda a, b, c: form.integral(a, "trunc")),
        ("rndne", 1, lambda a, b, c: form.integral(a, "round")),
        ("fract", 1, lambda a, b, c: form.fract(a)),
        ("frexp_mant", 1, lambda a, b, c: form.frexp(a)[0]),
    ]
    if suffix != "f64":
        rows += [
            ("sub", 2, lambda a, b, c: form.sub(a, b)),
            ("subrev", 2, lambda a, b, c: form.sub(b, a)),
            ("min3", 3, lambda a, b, c: form.minimum(form.minimum(a, b), c)),
            ("max3", 3, lambda a, b, c: form.maximum(form.maximum(a, b), c)),
            ("med3", 3, form.median),
        ]
    return rows


@targets
@pytest.mark.parametrize("suffix", FORMATS)
def test_arithmetic_is_exactly_rounded(target: str, suffix: str, require_tool: Callable[[str], str]) -> None:
    form = FORMATS[suffix]
    rows = arithmetic(form, suffix)
    if target == "gfx1100" and suffix != "f64":
        rows += [
            ("minmax", 3, lambda a, b, c: form.maximum(form.minimum(a, b), c)),
            ("maxmin", 3, lambda a, b, c: form.minimum(form.maximum(a, b), c)),
        ]
    texts = {}
    for name, count, _ in rows:
        text = f"{destination(form)}, {operands_text(form, count)}"
        if target == "gfx1100" and suffix == "f16":
            text = halved(text)
        texts[name] = f"v_{name}_{suffix} {text}"
    programs = bench(require_tool, target, texts)
    words = float_inputs(21, form)
    wrong = []
    for name, _, oracle in rows:
        for line, got in zip(words.tolist(), programs.run(name, words).tolist(), strict=True):
            a, b, c = (value_at(line, column, form) for column in (0, 2, 4))
            seen = value_at(got, 0, form)
            if not same(form, seen, oracle(a, b, c)):
                wrong.append(
                    f"{texts[name]}: {a:#x} {b:#x} {c:#x} -> {seen:#x}, expected {oracle(a, b, c):#x}"
                )
                break
    assert wrong == []


@targets
def test_accumulating_forms_read_their_destination(target: str, require_tool: Callable[[str], str]) -> None:
    forms = {"v_fmac_f32 v8, v2, v4": F32}
    if target == "gfx942":
        forms |= {"v_fmac_f64 v[8:9], v[2:3], v[4:5]": F64}
    else:
        forms |= {"v_fmac_f16 v8.l, v2.l, v4.l": F16}
    programs = bench(require_tool, target, {f"i{n}": text for n, text in enumerate(forms)})
    for n, (text, form) in enumerate(forms.items()):
        words = float_inputs(22, form)
        for line, got in zip(words.tolist(), programs.run(f"i{n}", words).tolist(), strict=True):
            a, b, d = (value_at(line, column, form) for column in (0, 2, 8))
            assert same(form, value_at(got, 0, form), form.fma(a, b, d)), text


@targets
def test_constants_in_the_middle_and_at_the_end(target: str, require_tool: Callable[[str], str]) -> None:
    constant = bits_of(F32, 1.7)
    texts = {
        "mk": f"v_fmamk_f32 v8, v2, {constant:#x}, v4",
        "ak": f"v_fmaak_f32 v8, v2, v4, {constant:#x}",
    }
    programs = bench(require_tool, target, texts)
    words = float_inputs(23, F32)
    for label in texts:
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            a, b = line[0], line[2]
            expected = F32.fma(a, constant, b) if label == "mk" else F32.fma(a, b, constant)
            assert same(F32, got[0], expected), label


def test_unfused_and_legacy_half_precision_of_gfx9(require_tool: Callable[[str], str]) -> None:
    constant = bits_of(F16, 1.7)

    def twice_rounded(a: int, b: int, c: int) -> int:
        return F16.add(F16.mul(a, b), c)

    # Text, oracle of (A, B, C, old destination), whether the destination's high half is kept.
    rows: list[tuple[str, Callable[[int, int, int, int], int], bool]] = [
        ("v_mad_f16 v8, v2, v4, v6", lambda a, b, c, d: twice_rounded(a, b, c), True),
        ("v_mad_legacy_f16 v8, v2, v4, v6", lambda a, b, c, d: twice_rounded(a, b, c), False),
        ("v_mac_f16 v8, v2, v4", lambda a, b, c, d: twice_rounded(a, b, d), False),
        (f"v_madmk_f16 v8, v2, {constant:#x}, v4", lambda a, b, c, d: twice_rounded(a, constant, b), False),
        (f"v_madak_f16 v8, v2, v4, {constant:#x}", lambda a, b, c, d: twice_rounded(a, b, constant), False),
        ("v_fma_legacy_f16 v8, v2, v4, v6", lambda a, b, c, d: F16.fma(a, b, c), False),
    ]
    programs = bench(require_tool, "gfx942", {f"i{n}": row[0] for n, row in enumerate(rows)})
    words = float_inputs(38, F16)
    for n, (text, oracle, keeps) in enumerate(rows):
        for line, got in zip(words.tolist(), programs.run(f"i{n}", words).tolist(), strict=True):
            a, b, c, d = (value_at(line, column, F16) for column in (0, 2, 4, 8))
            assert same(F16, got[0] & 0xFFFF, oracle(a, b, c, d)), (text, hex(a), hex(b), hex(c), hex(d))
            assert got[0] >> 16 == (line[8] >> 16 if keeps else 0), text


def test_accumulating_and_constant_forms_of_gfx11(require_tool: Callable[[str], str]) -> None:
    constant = bits_of(F16, 1.7)
    texts = {
        "pk": "v_pk_fmac_f16 v8, v2, v4",
        "dx9": "v_fmac_dx9_zero_f32 v8, v2, v4",
        "mk": f"v_fmamk_f16 v8.l, v2.l, {constant:#x}, v4.l",
        "ak": f"v_fmaak_f16 v8.l, v2.l, v4.l, {constant:#x}",
    }
    programs = bench(require_tool, "gfx1100", texts)
    words = float_inputs(39, F16)
    for label in ("pk", "mk", "ak"):
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            a, b, d = (value_at(line, column, F16) for column in (0, 2, 8))
            expected = {"pk": F16.fma(a, b, d), "mk": F16.fma(a, constant, b), "ak": F16.fma(a, b, constant)}
            assert same(F16, got[0] & 0xFFFF, expected[label]), label
            if label == "pk":
                high = [line[column] >> 16 for column in (0, 2, 8)]
                assert same(F16, got[0] >> 16, F16.fma(*high))
            else:
                assert got[0] >> 16 == line[8] >> 16, label
    words = float_inputs(40, F32)
    for line, got in zip(words.tolist(), programs.run("dx9", words).tolist(), strict=True):
        a, b, d = line[0], line[2], line[8]
        zero = F32.is_zero(a) or F32.is_zero(b)
        assert same(F32, got[0], F32.add(d, 0) if zero else F32.fma(a, b, d))


def test_legacy_products_of_gfx1010_are_rounded_before_the_sum(require_tool: Callable[[str], str]) -> None:
    texts = {"mad": "v_mad_legacy_f32 v8, v2, v4, v6", "mac": "v_mac_legacy_f32 v8, v2, v4"}
    programs = bench(require_tool, "gfx1010", texts)
    words = float_inputs(42, F32)
    for label, addend in (("mad", 4), ("mac", 8)):
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            a, b, c = line[0], line[2], line[addend]
            product = 0 if F32.is_zero(a) or F32.is_zero(b) else F32.mul(a, b)
            assert same(F32, got[0], F32.add(product, c)), (label, hex(a), hex(b), hex(c))


def test_lighting_product(require_tool: Callable[[str], str]) -> None:
    programs = bench(require_tool, "gfx1100", {"lit": "v_mullit_f32 v8, v2, v4, v6"})
    words = float_inputs(41, F32)
    words[::6, 2] = 0xFF7FFFFF
    lowest = 0xFF7FFFFF
    for line, got in zip(words.tolist(), programs.run("lit", words).tolist(), strict=True):
        a, b, c = line[0], line[2], line[4]
        dark = F32.is_nan(b) or not F32.less(lowest, b) or F32.is_nan(c) or not F32.less(0, c)
        lit = 0 if F32.is_zero(a) or F32.is_zero(b) else F32.mul(a, b)
        assert same(F32, got[0], lowest if dark else lit), (hex(a), hex(b), hex(c))


@targets
@pytest.mark.parametrize("suffix", FORMATS)
def test_exponents(target: str, suffix: str, require_tool: Callable[[str], str]) -> None:
    form = FORMATS[suffix]
    exponent_type = "i16" if suffix == "f16" else "i32"
    ldexp = f"v_ldexp_{suffix} {destination(form)}, {operands_text(form, 1)}, v4"
    frexp = f"v_frexp_exp_{exponent_type}_{suffix} v8, {operands_text(form, 1)}"
    if target == "gfx1100" and suffix == "f16":
        ldexp, frexp = halved(ldexp), halved(frexp)
    programs = bench(require_tool, target, {"ldexp": ldexp, "frexp": frexp})
    words = float_inputs(24, form)
    rng = np.random.default_rng(24)
    words[:, 2] = rng.integers(-2300, 2300, len(words)).astype(np.uint32)
    words[::9, 2] = 0x7FFFFFFF
    words[1::9, 2] = 0x80000000
    words[2::5, 2] = rng.integers(-30, 30, len(words[2::5])).astype(np.uint32)
    scaled, exponents = programs.run("ldexp", words), programs.run("frexp", words)
    width = 16 if suffix == "f16" else 32
    for line, got, exponent in zip(words.tolist(), scaled.tolist(), exponents.tolist(), strict=True):
        a = value_at(line, 0, form)
        n = line[2] & (1 << width) - 1
        n -= n >> (width - 1) << width
        assert same(form, value_at(got, 0, form), form.ldexp(a, n)), (hex(a), n)
        assert exponent[0] & (1 << width) - 1 == form.frexp(a)[1] & (1 << width) - 1, hex(a)


PREDICATES: dict[str, Callable[[Format, int, int], bool]] = {
    "f": lambda form, a, b: False,
    "lt": lambda form, a, b: form.less(a, b),
    "eq": lambda form, a, b: form.equal(a, b),
    "le": lambda form, a, b: form.less(a, b) or form.equal(a, b),
    "gt": lambda form, a, b: form.less(b, a),
    "lg": lambda form, a, b: form.less(a, b) or form.less(b, a),
    "ge": lambda form, a, b: form.less(b, a) or form.equal(a, b),
    "o": lambda form, a, b: not form.is_nan(a) and not form.is_nan(b),
}
NEGATIONS = {
    "u": "o",
    "nge": "ge",
    "nlg": "lg",
    "ngt": "gt",
    "nle": "le",
    "neq": "eq",
    "nlt": "lt",
    "tru": "f",
}


@targets
@pytest.mark.parametrize("suffix", FORMATS)
def test_comparisons(target: str, suffix: str, require_tool: Callable[[str], str]) -> None:
    form = FORMATS[suffix]
    sources = operands_text(form, 2)
    if target == "gfx1100" and suffix == "f16":
        sources = halved(sources)
    names = [*PREDICATES, *("t" if name == "tru" and target == "gfx1100" else name for name in NEGATIONS)]
    texts = {name: f"v_cmp_{name}_{suffix} {{vcc}}, {sources}" for name in names}
    texts |= {
        f"x_{name}": f"v_cmpx_{name}_{suffix} {'{vcc}, ' * (target == 'gfx942')}{sources}" for name in names
    }
    texts["mask"] = f"v_cmp_class_{suffix} {{o}}, {sources.partition(',')[0]}, v6"
    if target == "gfx1100" and suffix == "f16":
        texts["mask"] += ".l"
    execute = "{vcc}, " if target == "gfx942" else ""
    texts["xmask"] = texts["mask"].replace("v_cmp_", "v_cmpx_").replace("{o}, ", execute)
    programs = bench(require_tool, target, texts)
    words = float_inputs(25, form)
    # Signalling NaNs are classes of their own.
    words[::16, 0 if form.bits < 64 else 1] = form.infinity >> max(form.bits - 32, 0) | 1
    for name in names:
        plain, execute = programs.run(name, words), programs.run(f"x_{name}", words)
        negated = NEGATIONS.get("tru" if name == "t" else name)
        predicate = PREDICATES[negated or name]
        for line, got, changed in zip(words.tolist(), plain.tolist(), execute.tolist(), strict=True):
            a, b = value_at(line, 0, form), value_at(line, 2, form)
            expected = predicate(form, a, b) is not (negated is not None)
            assert got[4] == expected, f"v_cmp_{name}_{suffix}: {a:#x} {b:#x}"
            assert got[6] == 1, f"v_cmp_{name}_{suffix} changed EXEC"
            assert changed[6] == expected, f"v_cmpx_{name}_{suffix}: {a:#x} {b:#x}"
            assert changed[4] == (expected if target == "gfx942" else line[12] & 1)
    for line, got in zip(words.tolist(), programs.run("mask", words).tolist(), strict=True):
        a = value_at(line, 0, form)
        assert got[5] == bool(line[4] & form.classes(a)), (hex(a), hex(line[4]))
    for line, got in zip(words.tolist(), programs.run("xmask", words).tolist(), strict=True):
        assert got[6] == bool(line[4] & form.classes(value_at(line, 0, form)))


@targets
def test_conversions_between_floats_and_integers(target: str, require_tool: Callable[[str], str]) -> None:
    gfx11 = target == "gfx1100"
    low = ".l" if gfx11 else ""

    def from_int(form: Format, bits: int, is_signed: bool) -> Callable[[int], int]:
        def f(x: int) -> int:
            x &= (1 << bits) - 1
            return form.round(Fraction(x - (x >> (bits - 1) << bits) if is_signed else x))

        return f

    def to_int(form: Format, bits: int, is_signed: bool) -> Callable[[int], int]:
        lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
        return lambda x: form.to_integer(x, lowest, highest) & (1 << bits) - 1

    def nearest(x: int) -> int:
        half_up = F32.integral(F32.add(x, bits_of(F32, 0.5)), "floor")
        return F32.to_integer(half_up, -(1 << 31), (1 << 31) - 1) & M32

    def floor(x: int) -> int:
        return F32.to_integer(F32.integral(x, "floor"), -(1 << 31), (1 << 31) - 1) & M32

    # text, format of the source (None: integer), bits and float format of the result (None: integer), oracle
    rows: list[tuple[str, Format | None, int, Format | None, Callable[[int], int]]] = [
        ("v_cvt_f32_i32 v8, v2", None, 32, F32, from_int(F32, 32, True)),
        ("v_cvt_f32_u32 v8, v2", None, 32, F32, from_int(F32, 32, False)),
        ("v_cvt_f64_i32 v[8:9], v2", None, 64, F64, from_int(F64, 32, True)),
        ("v_cvt_f64_u32 v[8:9], v2", None, 64, F64, from_int(F64, 32, False)),
        (f"v_cvt_f16_i16 v8{low}, v2{low}", None, 16, F16, from_int(F16, 16, True)),
        (f"v_cvt_f16_u16 v8{low}, v2{low}", None, 16, F16, from_int(F16, 16, False)),
        ("v_cvt_i32_f32 v8, v2", F32, 32, None, to_int(F32, 32, True)),
        ("v_cvt_u32_f32 v8, v2", F32, 32, None, to_int(F32, 32, False)),
        ("v_cvt_i32_f64 v8, v[2:3]", F64, 32, None, to_int(F64, 32, True)),
        ("v_cvt_u32_f64 v8, v[2:3]", F64, 32, None, to_int(F64, 32, False)),
        (f"v_cvt_i16_f16 v8{low}, v2{low}", F16, 16, None, to_int(F16, 16, True)),
        (f"v_cvt_u16_f16 v8{low}, v2{low}", F16, 16, None, to_int(F16, 16, False)),
        (f"v_cvt_f16_f32 v8{low}, v2", F32, 16, F16, lambda x: F32.convert(x, F16)),
        (f"v_cvt_f32_f16 v8, v2{low}", F16, 32, F32, lambda x: F16.convert(x, F32)),
        ("v_cvt_f32_f64 v8, v[2:3]", F64, 32, F32, lambda x: F64.convert(x, F32)),
        ("v_cvt_f64_f32 v[8:9], v2", F32, 64, F64, lambda x: F32.convert(x, F64)),
        (f"v_cvt_{'nearest' if gfx11 else 'rpi'}_i32_f32 v8, v2", F32, 32, None, nearest),
        (f"v_cvt_{'floor' if gfx11 else 'flr'}_i32_f32 v8, v2", F32, 32, None, floor),
        (
            "v_cvt_off_f32_i4 v8, v2",
            None,
            32,
            F32,
            lambda x: F32.round(Fraction((x & 15) - (x >> 3 & 1) * 16, 16)),
        ),
        *[
            (
                f"v_cvt_f32_ubyte{i} v8, v2",
                None,
                32,
                F32,
                lambda x, i=i: F32.round(Fraction(x >> 8 * i & 255)),
            )
            for i in range(4)
        ],
    ]
    if gfx11:
        rows += [
            ("v_cvt_i32_i16 v8, v2.l", None, 32, None, lambda x: (x & 0x7FFF) - (x & 0x8000) & M32),
            ("v_cvt_u32_u16 v8, v2.l", None, 32, None, lambda x: x & 0xFFFF),
        ]
    programs = bench(require_tool, target, {f"i{n}": row[0] for n, row in enumerate(rows)})
    wrong = []
    for n, (text, source, bits, result, oracle) in enumerate(rows):
        words = float_inputs(26, source or F32)
        if source is None:
            words[::3, 0] = (
                np.random.default_rng(1).integers(0, 1 << 16, len(words[::3]), dtype=np.uint32) << 16
            )
        for line, got in zip(words.tolist(), programs.run(f"i{n}", words).tolist(), strict=True):
            x = value_at(line, 0, source) if source else line[0]
            seen, expected = (got[0] | got[1] << 32) & (1 << bits) - 1, oracle(x)
            if not (same(result, seen, expected) if result else seen == expected):
                wrong.append(f"{text}: {x:#x} -> {seen:#x}, expected {expected:#x}")
                break
    assert wrong == []


@targets
def test_conversions_to_packed_numbers(target: str, require_tool: Callable[[str], str]) -> None:
    gfx11 = target == "gfx1100"

    def normalized(form: Format, is_signed: bool) -> Callable[[int], int]:
        scale, lowest = (32767, -1) if is_signed else (65535, 0)

        def f(x: int) -> int:
            if form.is_nan(x):
                return 0
            value = Fraction(1 - 2 * form.negative(x)) if form.is_inf(x) else form.number(x)
            return round(max(Fraction(lowest), min(Fraction(1), value)) * scale) & 0xFFFF

        return f

    norm = "pk_norm" if gfx11 else "pknorm"
    low = ".l" if gfx11 else ""
    rtz = "pk_rtz" if gfx11 else "pkrtz"
    rows: list[tuple[str, Format, Callable[[int], int]]] = [
        (f"v_cvt_{norm}_i16_f32 v8, v2, v4", F32, normalized(F32, True)),
        (f"v_cvt_{norm}_u16_f32 v8, v2, v4", F32, normalized(F32, False)),
        (f"v_cvt_{norm}_i16_f16 v8, v2{low}, v4{low}", F16, normalized(F16, True)),
        (f"v_cvt_{norm}_u16_f16 v8, v2{low}, v4{low}", F16, normalized(F16, False)),
        (f"v_cvt_{rtz}_f16_f32 v8, v2, v4", F32, lambda x: F32.convert(x, F16, truncate=True)),
    ]
    if gfx11:
        rows += [
            ("v_cvt_pk_i16_f32 v8, v2, v4", F32, lambda x: F32.to_integer(x, -32768, 32767) & 0xFFFF),
            ("v_cvt_pk_u16_f32 v8, v2, v4", F32, lambda x: F32.to_integer(x, 0, 65535)),
        ]
    texts = {f"i{n}": row[0] for n, row in enumerate(rows)}
    texts["byte"] = "v_cvt_pk_u8_f32 v8, v2, v4, v6"
    if not gfx11:
        texts["own_byte"] = "v_cvt_pkaccum_u8_f32 v8, v2, v4"
    for name, form in (("i", True), ("u", False)):
        texts[f"norm_{name}"] = f"v_cvt_norm_{name}16_f16 v8{low}, v2{low}"
        assert form in (True, False)
    programs = bench(require_tool, target, texts)
    for n, (text, form, oracle) in enumerate(rows):
        words = float_inputs(27, form)
        for line, got in zip(words.tolist(), programs.run(f"i{n}", words).tolist(), strict=True):
            for column, half in ((0, got[0] & 0xFFFF), (2, got[0] >> 16)):
                x = value_at(line, column, form)
                expected = oracle(x)
                agree = same(F16, half, expected) if "rtz" in text else half == expected
                assert agree, f"{text}: {x:#x} -> {half:#x}, expected {expected:#x}"
    words = float_inputs(28, F32)
    for line, got in zip(words.tolist(), programs.run("byte", words).tolist(), strict=True):
        shift = 8 * (line[2] & 3)
        expected = line[4] & ~(0xFF << shift) & M32 | F32.to_integer(line[0], 0, 255) << shift
        assert got[0] == expected, hex(line[0])
    if not gfx11:
        for line, got in zip(words.tolist(), programs.run("own_byte", words).tolist(), strict=True):
            shift = 8 * (line[2] & 3)
            assert got[0] == line[8] & ~(0xFF << shift) & M32 | F32.to_integer(line[0], 0, 255) << shift
    words = float_inputs(29, F16)
    for name, is_signed in (("i", True), ("u", False)):
        oracle = normalized(F16, is_signed)
        for line, got in zip(words.tolist(), programs.run(f"norm_{name}", words).tolist(), strict=True):
            assert got[0] & 0xFFFF == oracle(line[0] & 0xFFFF)


@targets
def test_zero_wins_in_direct3d_products(target: str, require_tool: Callable[[str], str]) -> None:
    multiply = "v_mul_dx9_zero_f32" if target == "gfx1100" else "v_mul_legacy_f32"
    texts = {"mul": f"{multiply} v8, v2, v4"}
    if target == "gfx1100":
        texts["fma"] = "v_fma_dx9_zero_f32 v8, v2, v4, v6"
    programs = bench(require_tool, target, texts)
    words = float_inputs(30, F32)
    words[::5, 0] = 0x80000000
    for label in texts:
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            a, b, c = line[0], line[2], line[4]
            zero = F32.is_zero(a) or F32.is_zero(b)
            if label == "mul":
                expected = 0 if zero else F32.mul(a, b)
            else:
                expected = F32.add(c, 0) if zero else F32.fma(a, b, c)
            assert same(F32, got[0], expected), (label, hex(a), hex(b), hex(c))


@targets
def test_packed_and_mixed_arithmetic(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        "add": "v_pk_add_f16 v8, v2, v4",
        "mul": "v_pk_mul_f16 v8, v2, v4",
        "min": "v_pk_min_f16 v8, v2, v4",
        "max": "v_pk_max_f16 v8, v2, v4",
        "fma": "v_pk_fma_f16 v8, v2, v4, v6",
        "neg": "v_pk_add_f16 v8, v2, v4 neg_lo:[0,1] neg_hi:[1,0]",
        "swap": "v_pk_add_f16 v8, v2, v4 op_sel:[1,0] op_sel_hi:[0,1]",
        "one": "v_pk_add_f16 v8, v2, 1.0",
        "mix": "v_fma_mix_f32 v8, v2, v4, v6 op_sel:[1,0,0] op_sel_hi:[1,0,1]",
        "mixlo": "v_fma_mixlo_f16 v8, v2, v4, v6 op_sel_hi:[1,1,1]",
        "mixhi": "v_fma_mixhi_f16 v8, -v2, |v4|, v6 op_sel_hi:[1,1,1]",
    }
    programs = bench(require_tool, target, texts)
    words = float_inputs(31, F16)
    rng = np.random.default_rng(31)
    for column in (0, 2, 4):
        words[:, column] &= 0xFFFF
        words[:, column] |= np.array(operand_bits(rng, F16, len(words)), np.uint32) << 16
    one = bits_of(F16, 1.0)
    oracles: dict[str, Callable[[int, int, int, int], int]] = {
        "add": lambda a, b, c, i: F16.add(a, b),
        "mul": lambda a, b, c, i: F16.mul(a, b),
        "min": lambda a, b, c, i: F16.minimum(a, b),
        "max": lambda a, b, c, i: F16.maximum(a, b),
        "fma": lambda a, b, c, i: F16.fma(a, b, c),
        "neg": lambda a, b, c, i: F16.sub(b, a) if i else F16.sub(a, b),
        # An inline constant is in the low half only; both results use op_sel_hi = 1 of the constant: zero.
        "one": lambda a, b, c, i: F16.add(a, 0) if i else F16.add(a, one),
    }
    for label, oracle in oracles.items():
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            for i in (0, 1):
                a, b, c = (line[column] >> 16 * i & 0xFFFF for column in (0, 2, 4))
                assert same(F16, got[0] >> 16 * i & 0xFFFF, oracle(a, b, c, i)), (
                    texts[label],
                    hex(a),
                    hex(b),
                )
    for line, got in zip(words.tolist(), programs.run("swap", words).tolist(), strict=True):
        a, b = line[0], line[2]
        assert same(F16, got[0] & 0xFFFF, F16.add(a >> 16, b & 0xFFFF))
        assert same(F16, got[0] >> 16, F16.add(a & 0xFFFF, b >> 16))
    # Mixed: source 1 is an F32 in "mix".
    floats = words.copy()
    floats[:, 2] = np.array(operand_bits(rng, F32, len(words)), np.uint32)
    for line, got in zip(floats.tolist(), programs.run("mix", floats).tolist(), strict=True):
        a, c = F16.convert(line[0] >> 16, F32), F16.convert(line[4] & 0xFFFF, F32)
        assert same(F32, got[0], F32.fma(a, line[2], c))
    for label in ("mixlo", "mixhi"):
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            a, b, c = (F16.convert(line[column] & 0xFFFF, F32) for column in (0, 2, 4))
            if label == "mixhi":
                a, b = a ^ F32.sign, b & (F32.sign - 1)
            half = F32.convert(F32.fma(a, b, c), F16)
            seen, kept = (
                (got[0] >> 16, got[0] & 0xFFFF) if label == "mixhi" else (got[0] & 0xFFFF, got[0] >> 16)
            )
            assert same(F16, seen, half), (label, hex(a), hex(b), hex(c))
            assert kept == (line[8] & 0xFFFF if label == "mixhi" else line[8] >> 16)


def test_packed_single_precision(require_tool: Callable[[str], str]) -> None:
    texts = {
        "add": "v_pk_add_f32 v[8:9], v[2:3], v[4:5]",
        "mul": "v_pk_mul_f32 v[8:9], v[2:3], v[4:5]",
        "fma": "v_pk_fma_f32 v[8:9], v[2:3], v[4:5], v[6:7]",
        "low": "v_pk_add_f32 v[8:9], v[2:3], v[4:5] op_sel_hi:[1,0]",
        "sub": "v_pk_add_f32 v[8:9], v[2:3], v[4:5] neg_lo:[0,1] neg_hi:[0,1]",
    }
    programs = bench(require_tool, "gfx942", texts)
    words = float_inputs(32, F32)
    rng = np.random.default_rng(32)
    for column in (1, 3, 5):
        words[:, column] = np.array(operand_bits(rng, F32, len(words)), np.uint32)
    oracles: dict[str, Callable[[list[int], int], int]] = {
        "add": lambda line, i: F32.add(line[i], line[2 + i]),
        "mul": lambda line, i: F32.mul(line[i], line[2 + i]),
        "fma": lambda line, i: F32.fma(line[i], line[2 + i], line[4 + i]),
        "low": lambda line, i: F32.add(line[i], line[2]),
        "sub": lambda line, i: F32.sub(line[i], line[2 + i]),
    }
    for label, oracle in oracles.items():
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            for i in (0, 1):
                assert same(F32, got[i], oracle(line, i)), (label, i, line)


@targets
def test_source_and_output_modifiers(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        "negabs": "v_add_f32 v8, -v2, |v4|",
        "both": "v_mul_f32 v8, -|v2|, v4",
        "clamp": "v_add_f32 v8, v2, v4 clamp",
        "move": "v_cndmask_b32 v8, -v2, -v2, {m}",
    }
    programs = bench(require_tool, target, texts)
    words = float_inputs(33, F32)
    one = bits_of(F32, 1.0)

    def clamped(x: int) -> int:
        if F32.is_nan(x) or F32.negative(x):
            return 0
        return min(x, one)

    oracles: dict[str, Callable[[int, int], int]] = {
        "negabs": lambda a, b: F32.add(a ^ F32.sign, F32.magnitude(b)),
        "both": lambda a, b: F32.mul(F32.magnitude(a) | F32.sign, b),
        "clamp": lambda a, b: clamped(F32.add(a, b)),
        "move": lambda a, b: a ^ F32.sign,
    }
    for label, oracle in oracles.items():
        for line, got in zip(words.tolist(), programs.run(label, words).tolist(), strict=True):
            assert same(F32, got[0], oracle(line[0], line[2])), (label, hex(line[0]), hex(line[2]))


@targets
def test_cube_map_coordinates(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {name: f"v_cube{name}_f32 v8, v2, v4, v6" for name in ("id", "sc", "tc", "ma")}
    programs = bench(require_tool, target, texts)
    rng = np.random.default_rng(34)
    words = float_inputs(34, F32)
    for column in (0, 2, 4):
        words[:, column] = rng.standard_normal(len(words)).astype(np.float32).view(np.uint32)
    x, y, z = (words[:, column].view(np.float32) for column in (0, 2, 4))
    major_z = (abs(z) >= abs(x)) & (abs(z) >= abs(y))
    major_y = ~major_z & (abs(y) >= abs(x))
    expected = {
        "id": np.where(major_z, 4 + (z < 0), np.where(major_y, 2 + (y < 0), 0 + (x < 0))),
        "sc": np.where(major_z, np.where(z < 0, -x, x), np.where(major_y, x, np.where(x < 0, z, -z))),
        "tc": np.where(major_y, np.where(y < 0, -z, z), -y),
        "ma": 2 * np.where(major_z, z, np.where(major_y, y, x)),
    }
    for name, values in expected.items():
        assert (programs.run(name, words)[:, 0].view(np.float32) == values.astype(np.float32)).all(), name


@targets
def test_floating_dot_products_of_small_integers_are_exact(
    target: str, require_tool: Callable[[str], str]
) -> None:
    accumulate = "v_dot2acc_f32_f16" if target == "gfx1100" else "v_dot2c_f32_f16"
    texts = {"dot2": "v_dot2_f32_f16 v8, v2, v4, v6", "acc": f"{accumulate} v8, v2, v4"}
    if target == "gfx1100":
        texts |= {
            "bf16": "v_dot2_f32_bf16 v8, v2, v4, v6",
            "f16": "v_dot2_f16_f16 v8.l, v2, v4, v6.l",
            "bf16_bf16": "v_dot2_bf16_bf16 v8.l, v2, v4, v6.l",
        }
    programs = bench(require_tool, target, texts)
    rng = np.random.default_rng(35)
    numbers = rng.integers(-15, 16, (256, 6)).astype(np.float32)
    total = numbers[:, 0] * numbers[:, 2] + numbers[:, 1] * numbers[:, 3] + numbers[:, 4]

    def words(half: Callable[[np.ndarray], np.ndarray], addend: str) -> Words:
        result = np.zeros((256, VECTOR_IN), np.uint32)
        for column, (low, high) in ((0, (0, 1)), (2, (2, 3))):
            result[:, column] = half(numbers[:, low]) | half(numbers[:, high]) << np.uint32(16)
        third = numbers[:, 4]
        result[:, 4] = third.view(np.uint32) if addend == "f32" else half(third)
        result[:, 8] = third.view(np.uint32)
        return result

    def f16(x: np.ndarray) -> np.ndarray:
        return x.astype(np.float16).view(np.uint16).astype(np.uint32)

    def bf16(x: np.ndarray) -> np.ndarray:
        return x.view(np.uint32) >> np.uint32(16)

    for label in texts:
        half = bf16 if label.startswith("bf16") else f16
        wide = label in ("dot2", "acc", "bf16")
        got = programs.run(label, words(half, "f32" if wide else "half"))[:, 0]
        if wide:
            assert (got.view(np.float32) == total).all(), label
        else:
            exact = half(total) if label == "f16" else half(total) + (total.view(np.uint32) >> 15 & 1)
            close = abs((got & 0xFFFF).astype(np.int64) - exact.astype(np.int64)) <= (label != "f16")
            assert close.all(), label


TOLERANCE_ULP = {"exp": 1, "log": 1, "rcp": 1, "rcp_iflag": 1, "rsq": 1, "sqrt": 1}
"""The accuracy that the manuals state for f32 (CDNA3 ISA 12.8, RDNA3 ISA 16.8)."""


@targets
def test_approximations_are_as_accurate_as_stated(target: str, require_tool: Callable[[str], str]) -> None:
    names = ("exp", "log", "rcp", "rsq", "sqrt", "sin", "cos", "rcp_iflag")
    programs = bench(require_tool, target, {name: f"v_{name}_f32 v8, v2" for name in names})
    rng = np.random.default_rng(36)
    words = float_inputs(36, F32)
    values = (rng.standard_normal(len(words)) * 10.0 ** rng.integers(-3, 2, len(words))).astype(np.float32)
    words[:, 0] = values.view(np.uint32)
    x = values.astype(np.float64)
    with np.errstate(all="ignore"):
        exact = {
            "exp": np.exp2(x),
            "log": np.log2(x),
            "rcp": 1 / x,
            "rcp_iflag": 1 / x,
            "rsq": 1 / np.sqrt(x),
            "sqrt": np.sqrt(x),
        }
    for name, expected in exact.items():
        got = programs.run(name, words)[:, 0].view(np.float32).astype(np.float64)
        ulp = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
        allowed = TOLERANCE_ULP[name] * ulp
        good = (np.isnan(got) & np.isnan(expected)) | (np.abs(got - expected) <= allowed)
        assert good.all(), (name, x[~good][:3], got[~good][:3], expected[~good][:3])
    for name, function in (("sin", np.sin), ("cos", np.cos)):
        got = programs.run(name, words)[:, 0].view(np.float32).astype(np.float64)
        assert np.abs(got - function(2 * np.pi * (x % 1))).max() < 2.0**-20, name


SPECIAL_RESULTS = {
    # From the functional examples of CDNA3 ISA 12.8 (V_EXP_F32 and following); None is a NaN.
    "exp": {0xFF800000: 0, 0x80000000: 0x3F800000, 0x7F800000: 0x7F800000},
    "log": {0xFF800000: None, 0xBF800000: None, 0x80000000: 0xFF800000, 0: 0xFF800000, 0x3F800000: 0,
            0x7F800000: 0x7F800000},
    "rcp": {0xFF800000: 0x80000000, 0xC0000000: 0xBF000000, 0x80000000: 0xFF800000, 0: 0x7F800000,
            0x7F800000: 0},
    "rsq": {0xFF800000: None, 0x80000000: 0xFF800000, 0: 0x7F800000, 0x40800000: 0x3F000000, 0x7F800000: 0},
    "sqrt": {0xFF800000: None, 0x80000000: 0x80000000, 0: 0, 0x40800000: 0x40000000, 0x7F800000: 0x7F800000},
    "sin": {0xFF800000: None, 0x80000000: 0x80000000, 0x3E800000: 0x3F800000, 0x7F800000: None},
    "cos": {0xFF800000: None, 0x80000000: 0x3F800000, 0x3E800000: 0, 0x7F800000: None},
}  # fmt: skip


@targets
def test_special_values_of_approximations(target: str, require_tool: Callable[[str], str]) -> None:
    programs = bench(require_tool, target, {name: f"v_{name}_f32 v8, v2" for name in SPECIAL_RESULTS})
    for name, results in SPECIAL_RESULTS.items():
        words = np.zeros((64, VECTOR_IN), np.uint32)
        words[: len(results), 0] = list(results)
        got = programs.run(name, words)[:, 0].tolist()
        for (given, expected), seen in zip(results.items(), got, strict=False):
            agree = F32.is_nan(seen) if expected is None else seen == expected
            assert agree, f"v_{name}_f32({given:#010x}) gives {seen:#010x}"


@targets
def test_approximations_flush_denormals(target: str, require_tool: Callable[[str], str]) -> None:
    programs = bench(
        require_tool, target, {name: f"v_{name}_f32 v8, v2" for name in ("rcp", "sqrt", "log", "exp")}
    )
    words = np.zeros((64, VECTOR_IN), np.uint32)
    words[:3, 0] = (0x00000001, 0x807FFFFF, bits_of(F32, 2.0**127))
    assert programs.run("rcp", words)[:3, 0].tolist() == [0x7F800000, 0xFF800000, 0]
    assert programs.run("sqrt", words)[:2, 0].tolist() == [0, 0x80000000]
    assert programs.run("log", words)[:2, 0].tolist() == [0xFF800000, 0xFF800000]
    words[0, 0] = bits_of(F32, -130.0)
    assert programs.run("exp", words)[0, 0] == 0


@targets
@pytest.mark.parametrize("suffix", ["f16", "f64"])
def test_approximations_of_other_widths(target: str, suffix: str, require_tool: Callable[[str], str]) -> None:
    form = FORMATS[suffix]
    names = ("rcp", "rsq", "sqrt") + (("exp", "log", "sin", "cos") if suffix == "f16" else ())
    texts = {name: f"v_{name}_{suffix} {destination(form)}, {operands_text(form, 1)}" for name in names}
    if target == "gfx1100" and suffix == "f16":
        texts = {name: halved(text) for name, text in texts.items()}
    programs = bench(require_tool, target, texts)
    dtype = np.float16 if suffix == "f16" else np.float64
    rng = np.random.default_rng(37)
    values = np.abs(rng.standard_normal(256) * 3 + 0.01).astype(dtype)
    words = np.zeros((256, VECTOR_IN), np.uint32)
    words[:, : form.bits // 32 or 1] = (
        values.view(np.uint16).astype(np.uint32).reshape(-1, 1)
        if suffix == "f16"
        else values.view(np.uint32).reshape(-1, 2)
    )
    x = values.astype(np.float64)
    exact = {
        "rcp": 1 / x,
        "rsq": 1 / np.sqrt(x),
        "sqrt": np.sqrt(x),
        "exp": np.exp2(x),
        "log": np.log2(x),
        "sin": np.sin(2 * np.pi * x),
        "cos": np.cos(2 * np.pi * x),
    }
    for name in names:
        out = programs.run(name, words)
        if suffix == "f16":
            got = (out[:, 0] & 0xFFFF).astype(np.uint16).view(np.float16).astype(np.float64)
            allowed = np.maximum(
                np.spacing(np.abs(exact[name]).astype(np.float16)).astype(np.float64), 2.0**-14
            )
        else:
            # The double-precision approximations have 2**29 ULP on hardware; here they are better than 1 ULP.
            got = np.ascontiguousarray(out[:, :2]).view(np.float64).reshape(-1)
            allowed = np.spacing(np.abs(exact[name]))
        assert (np.abs(got - exact[name]) <= allowed).all(), name
