"""Loads, stores and atomics of every width and space against bytes and integers in Python.

Each lane works on its own row of 64 bytes. v15 is the byte offset of the lane's row (in LDS 32 bytes per lane
of the workgroup), v[16:17] the flat address of the row in global memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from exact_floats import F16, F32, F64, Format
from instruction_bench import VECTOR_IN, Words, bench

M32 = 0xFFFFFFFF
targets = pytest.mark.parametrize("target", ["gfx942", "gfx1100"])

PREPARE_GLOBAL = """
  v_lshlrev_b32 v15, 6, v0
  v_mov_b32 v16, s0
  v_mov_b32 v17, s1
  v_add_co_u32 v16, {vcc}, v16, v15
  {addc} v17, {vcc}, 0, v17, {vcc}
"""
PREPARE_LDS = """
  v_and_b32 v15, 63, v0
  v_lshlrev_b32 v15, 5, v15
"""
WAIT = "\n  s_waitcnt vmcnt(0) lgkmcnt(0)\n"


def prepared(target: str, space: str, text: str) -> str:
    """The instructions with what they need before them, and the wait for their results after each."""
    text = text.replace("\n", WAIT) + WAIT
    if target == "gfx1100":
        text += "  s_waitcnt_vscnt null, 0x0\n"
    addc = "v_addc_co_u32" if target == "gfx942" else "v_add_co_ci_u32"
    return (PREPARE_LDS if space == "lds" else PREPARE_GLOBAL.replace("{addc}", addc)) + text


def inputs(seed: int) -> Words:
    return np.random.default_rng(seed).integers(0, 1 << 32, (128, VECTOR_IN), dtype=np.uint32)


def row_bytes(line: Sequence[int]) -> bytes:
    return np.array(line, np.uint32).tobytes()


def signed(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


Loads = dict[str, Callable[[bytes, int], list[int]]]
"""Suffix: the destination's dwords from the bytes at the address and the old destination."""


def whole(size: int, is_signed: bool = False) -> Callable[[bytes, int], list[int]]:
    return lambda data, old: [int.from_bytes(data[:size], "little", signed=is_signed) & M32]


def half(size: int, is_signed: bool, high: bool) -> Callable[[bytes, int], list[int]]:
    def f(data: bytes, old: int) -> list[int]:
        value = int.from_bytes(data[:size], "little", signed=is_signed) & 0xFFFF
        return [value << 16 | old & 0xFFFF if high else value | old & 0xFFFF0000]

    return f


def dwords(count: int) -> Callable[[bytes, int], list[int]]:
    return lambda data, old: [int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(count)]


LOADS: Loads = {
    "ubyte": whole(1),
    "sbyte": whole(1, True),
    "ushort": whole(2),
    "sshort": whole(2, True),
    "dword": dwords(1),
    "dwordx2": dwords(2),
    "dwordx3": dwords(3),
    "dwordx4": dwords(4),
    "ubyte_d16": half(1, False, False),
    "ubyte_d16_hi": half(1, False, True),
    "sbyte_d16": half(1, True, False),
    "sbyte_d16_hi": half(1, True, True),
    "short_d16": half(2, False, False),
    "short_d16_hi": half(2, False, True),
}
LDS_LOADS: Loads = {
    "u8": whole(1),
    "i8": whole(1, True),
    "u16": whole(2),
    "i16": whole(2, True),
    "b32": dwords(1),
    "b64": dwords(2),
    "b96": dwords(3),
    "b128": dwords(4),
    "u8_d16": half(1, False, False),
    "u8_d16_hi": half(1, False, True),
    "i8_d16": half(1, True, False),
    "i8_d16_hi": half(1, True, True),
    "u16_d16": half(2, False, False),
    "u16_d16_hi": half(2, False, True),
}
# Suffix: bytes stored, and from which byte of the data on.
STORES = {
    "byte": (1, 0),
    "short": (2, 0),
    "dword": (4, 0),
    "dwordx2": (8, 0),
    "dwordx3": (12, 0),
    "dwordx4": (16, 0),
    "byte_d16_hi": (1, 2),
    "short_d16_hi": (2, 2),
}
LDS_STORES = {
    "b8": (1, 0),
    "b16": (2, 0),
    "b32": (4, 0),
    "b64": (8, 0),
    "b96": (12, 0),
    "b128": (16, 0),
    "b8_d16_hi": (1, 2),
    "b16_d16_hi": (2, 2),
}


def tuple_of(base: int, size: int) -> str:
    count = max(size // 4, 1)
    return f"v{base}" if count == 1 else f"v[{base}:{base + count - 1}]"


@targets
@pytest.mark.parametrize("form", ["vector", "scalar", "flat", "lds", "scratch"])
def test_loads_of_every_width(target: str, form: str, require_tool: Callable[[str], str]) -> None:
    loads = LDS_LOADS if form == "lds" else LOADS
    texts = {}
    for name, oracle in loads.items():
        register = tuple_of(8, 4 * len(oracle(bytes(16), 0)))
        # Row bytes 4 on, by way of offsets of both signs.
        texts[name] = {
            "vector": f"global_load_{name} {register}, v[16:17], off offset:4",
            "scalar": f"v_add_u32 v15, 16, v15\nglobal_load_{name} {register}, v15, s[0:1] offset:-12",
            "flat": f"flat_load_{name} {register}, v[16:17] offset:4",
            "lds": f"ds_write_b64 v15, v[2:3]\nds_write_b64 v15, v[4:5] offset:8\n"
            f"ds_write_b64 v15, v[6:7] offset:16\nds_read_{name} {register}, v15 offset:4",
            "scratch": f"v_mov_b32 v18, 16\nscratch_store_dwordx4 off, v[2:5], off\n"
            f"scratch_store_dwordx2 v18, v[6:7], off\nscratch_load_{name} {register}, v18, off offset:-12",
        }[form]
        if target == "gfx1100":
            texts[name] = texts[name].replace("v_add_u32", "v_add_nc_u32")
        if form == "lds" and name in ("b64", "b96", "b128"):
            # These must be aligned to their size in LDS.
            texts[name] = texts[name].rpartition(":")[0] + ":0"
    space = "lds" if form == "lds" else "global"
    programs = bench(require_tool, target, {n: prepared(target, space, t) for n, t in texts.items()})
    words = inputs(51)
    for name, oracle in loads.items():
        result = programs.run(name, words, lds_bytes=4096 * (form == "lds"), scratch_lane_bytes=64)
        start = 0 if texts[name].endswith(":0") else 4
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            expected = oracle(row_bytes(line)[start:], line[8])
            assert got[: len(expected)] == expected, name
            assert got[len(expected) : 4] == line[8 + len(expected) : 12], f"{name} writes too many registers"


@targets
@pytest.mark.parametrize("form", ["vector", "scalar", "flat", "lds", "scratch"])
def test_stores_of_every_width(target: str, form: str, require_tool: Callable[[str], str]) -> None:
    stores = LDS_STORES if form == "lds" else STORES
    texts = {}
    for name, (size, _) in stores.items():
        register = tuple_of(4, size)
        texts[name] = {
            "vector": f"global_store_{name} v[16:17], {register}, off offset:32\n"
            "global_load_dwordx4 v[8:11], v[16:17], off offset:32",
            "scalar": f"global_store_{name} v15, {register}, s[0:1] offset:32\n"
            "global_load_dwordx4 v[8:11], v15, s[0:1] offset:32",
            "flat": f"flat_store_{name} v[16:17], {register} offset:32\n"
            "flat_load_dwordx4 v[8:11], v[16:17] offset:32",
            "lds": f"ds_write_b128 v15, v[8:11]\nds_write_{name} v15, {register}\nds_read_b128 v[8:11], v15",
            "scratch": f"scratch_store_dwordx4 off, v[8:11], off\nscratch_store_{name} off, {register}, off\n"
            "scratch_load_dwordx4 v[8:11], off, off",
        }[form]
    space = "lds" if form == "lds" else "global"
    programs = bench(require_tool, target, {n: prepared(target, space, t) for n, t in texts.items()})
    words = inputs(52)
    for name, (size, first) in stores.items():
        result = programs.run(name, words, lds_bytes=4096 * (form == "lds"), scratch_lane_bytes=64)
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            data = row_bytes(line[2:6])
            expected = data[first : first + size] + row_bytes(line[8:12])[size:]
            assert row_bytes(got[:4]) == expected, name


INTEGER_ATOMICS: dict[str, tuple[str, Callable[[int, int, int], int]]] = {
    # gfx9's name in memory: name in LDS (with its type letter), new value from (old, data, bits)
    "swap": ("wrxchg b", lambda old, new, bits: new),
    "add": ("add u", lambda old, new, bits: old + new),
    "sub": ("sub u", lambda old, new, bits: old - new),
    "smin": ("min i", lambda old, new, bits: min(signed(old, bits), signed(new, bits))),
    "umin": ("min u", lambda old, new, bits: min(old, new)),
    "smax": ("max i", lambda old, new, bits: max(signed(old, bits), signed(new, bits))),
    "umax": ("max u", lambda old, new, bits: max(old, new)),
    "and": ("and b", lambda old, new, bits: old & new),
    "or": ("or b", lambda old, new, bits: old | new),
    "xor": ("xor b", lambda old, new, bits: old ^ new),
    "inc": ("inc u", lambda old, new, bits: 0 if old >= new else old + 1),
    "dec": ("dec u", lambda old, new, bits: new if old == 0 or old > new else old - 1),
}


@targets
@pytest.mark.parametrize("form", ["global", "flat", "lds"])
@pytest.mark.parametrize("bits", [32, 64])
def test_integer_atomics(target: str, form: str, bits: int, require_tool: Callable[[str], str]) -> None:
    glc = "sc0" if target == "gfx942" else "glc"
    data, old, after = (tuple_of(base, bits // 8) for base in (4, 8, 10))
    suffix = "_x2" if bits == 64 else ""
    load = "dwordx2" if bits == 64 else "dword"
    rows = dict(INTEGER_ATOMICS)
    if form == "lds":
        rows["rsub"] = ("rsub u", lambda old, new, bits: new - old)
    texts: dict[str, str] = {}
    for name, (lds_name, _) in rows.items():
        verb, letter = lds_name.split()
        lds = (
            f"ds_write_b{bits} v15, {old}\nds_{verb}_rtn_{letter}{bits} {old}, v15, {data}\n"
            f"ds_read_b{bits} {after}, v15"
        )
        texts[name] = {
            "global": f"global_atomic_{name}{suffix} {old}, v[16:17], {data}, off offset:32 {glc}\n"
            f"global_load_{load} {after}, v15, s[0:1] offset:32",
            "flat": f"flat_atomic_{name}{suffix} {old}, v[16:17], {data} offset:32 {glc}\n"
            f"flat_load_{load} {after}, v[16:17] offset:32",
            "lds": lds,
        }[form]
        if form == "global":
            texts[f"{name} quiet"] = (
                f"global_atomic_{name}{suffix} v15, {data}, s[0:1] offset:32\n"
                f"global_load_{load} {after}, v15, s[0:1] offset:32"
            )
    labels = {name: name.replace(" ", "_") for name in texts}
    programs = bench(require_tool, target, {labels[n]: prepared(target, form, t) for n, t in texts.items()})
    words = inputs(53)
    words[::4, 2:4] = words[::4, 8:10]
    words[1::4, 8:10] = 0
    for name in texts:
        operation = rows[name.partition(" ")[0]][1]
        result = programs.run(labels[name], words, lds_bytes=4096)
        for line, got in zip(words.tolist(), result.tolist(), strict=True):
            before, new = ((line[i] | line[i + 1] << 32) & (1 << bits) - 1 for i in (8, 2))
            expected = operation(before, new, bits) & (1 << bits) - 1
            seen = (got[2] | got[3] << 32) & (1 << bits) - 1
            assert seen == expected, (name, hex(before), hex(new))
            assert (got[0] | got[1] << 32) & (1 << bits) - 1 == before, f"{name} returns something else"


@targets
@pytest.mark.parametrize("bits", [32, 64])
def test_compare_and_swap_everywhere(target: str, bits: int, require_tool: Callable[[str], str]) -> None:
    glc = "sc0" if target == "gfx942" else "glc"
    one = bits // 8
    # New value v[2..], compare value after it in the same tuple; old memory is the row's bytes 32 on (v8).
    pair = tuple_of(2, 2 * one)
    new, compare = tuple_of(2, one), tuple_of(2 + bits // 32, one)
    old, after = tuple_of(8, one), tuple_of(10, one)
    suffix, load = ("_x2", "dwordx2") if bits == 64 else ("", "dword")
    lds = f"ds_cmpst_rtn_b{bits} {old}, v15, {compare}, {new}"
    if target == "gfx1100":
        lds = f"ds_cmpstore_rtn_b{bits} {old}, v15, {new}, {compare}"
    texts = {
        "global": f"global_atomic_cmpswap{suffix} {old}, v[16:17], {pair}, off offset:32 {glc}\n"
        f"global_load_{load} {after}, v15, s[0:1] offset:32",
        "flat": f"flat_atomic_cmpswap{suffix} {old}, v[16:17], {pair} offset:32 {glc}\n"
        f"global_load_{load} {after}, v15, s[0:1] offset:32",
        "lds": f"ds_write_b{bits} v15, {old}\n{lds}\nds_read_b{bits} {after}, v15",
    }
    quiet = lds.replace("_rtn", "").replace(f" {old},", "", 1)
    texts["lds quiet"] = f"ds_write_b{bits} v15, {old}\n{quiet}\nds_read_b{bits} {after}, v15"
    texts = {name.replace(" ", "_"): text for name, text in texts.items()}
    sources = {n: prepared(target, n.partition("_")[0], t) for n, t in texts.items()}
    programs = bench(require_tool, target, sources)
    words = inputs(54)
    count = bits // 32
    words[::2, count : 2 * count] = words[::2, 8 : 8 + count]
    for name in texts:
        for line, got in zip(words.tolist(), programs.run(name, words, lds_bytes=4096).tolist(), strict=True):
            matches = line[count : 2 * count] == line[8 : 8 + count]
            assert got[:count] == line[8 : 8 + count], name
            assert got[2 : 2 + count] == (line[:count] if matches else line[8 : 8 + count]), name


@targets
def test_floating_atomics(target: str, require_tool: Callable[[str], str]) -> None:
    gfx9 = target == "gfx942"
    glc = "sc0" if gfx9 else "glc"
    texts: dict[str, tuple[str, Format, str]] = {
        "global_add": (f"global_atomic_add_f32 v8, v[16:17], v4, off offset:32 {glc}", F32, "add"),
        "flat_add": (f"flat_atomic_add_f32 v8, v[16:17], v4 offset:32 {glc}", F32, "add"),
        "lds_add": ("ds_add_rtn_f32 v8, v15, v4", F32, "add"),
        "lds_min": ("ds_min_rtn_f32 v8, v15, v4", F32, "minimum"),
        "lds_max": ("ds_max_rtn_f32 v8, v15, v4", F32, "maximum"),
        "lds_min64": ("ds_min_rtn_f64 v[8:9], v15, v[4:5]", F64, "minimum"),
        "lds_max64": ("ds_max_rtn_f64 v[8:9], v15, v[4:5]", F64, "maximum"),
    }
    if gfx9:
        texts |= {
            "global_add64": (
                f"global_atomic_add_f64 v[8:9], v[16:17], v[4:5], off offset:32 {glc}",
                F64,
                "add",
            ),
            "global_min64": (
                f"global_atomic_min_f64 v[8:9], v[16:17], v[4:5], off offset:32 {glc}",
                F64,
                "minimum",
            ),
            "global_max64": (
                f"global_atomic_max_f64 v[8:9], v[16:17], v[4:5], off offset:32 {glc}",
                F64,
                "maximum",
            ),
            "lds_add64": ("ds_add_rtn_f64 v[8:9], v15, v[4:5]", F64, "add"),
            "flat_add64": (f"flat_atomic_add_f64 v[8:9], v[16:17], v[4:5] offset:32 {glc}", F64, "add"),
            "flat_min64": (f"flat_atomic_min_f64 v[8:9], v[16:17], v[4:5] offset:32 {glc}", F64, "minimum"),
            "flat_max64": (f"flat_atomic_max_f64 v[8:9], v[16:17], v[4:5] offset:32 {glc}", F64, "maximum"),
        }
    else:
        texts |= {
            "global_min": (f"global_atomic_min_f32 v8, v[16:17], v4, off offset:32 {glc}", F32, "minimum"),
            "global_max": (f"global_atomic_max_f32 v8, v[16:17], v4, off offset:32 {glc}", F32, "maximum"),
            "flat_min": (f"flat_atomic_min_f32 v8, v[16:17], v4 offset:32 {glc}", F32, "minimum"),
            "flat_max": (f"flat_atomic_max_f32 v8, v[16:17], v4 offset:32 {glc}", F32, "maximum"),
        }
    sources = {}
    for label, (text, form, _) in texts.items():
        size = form.bits
        after, old = tuple_of(10, size // 8), tuple_of(8, size // 8)
        if label.startswith("lds"):
            text = f"ds_write_b{size} v15, {old}\n{text}\nds_read_b{size} {after}, v15"
        else:
            text += f"\nglobal_load_dword{'x2' if size == 64 else ''} {after}, v15, s[0:1] offset:32"
        sources[label] = prepared(target, label.partition("_")[0], text)
    programs = bench(require_tool, target, sources)
    rng = np.random.default_rng(55)
    for label, (_, form, operation) in texts.items():
        dtype = np.float32 if form is F32 else np.float64
        words = inputs(55)
        for column in (2, 8):
            values = (rng.standard_normal(len(words)) * 100).astype(dtype)
            words[:, column : column + form.bits // 32] = values.view(np.uint32).reshape(len(words), -1)
        for line, got in zip(
            words.tolist(), programs.run(label, words, lds_bytes=4096).tolist(), strict=True
        ):
            mask = (1 << form.bits) - 1
            before, data = ((line[i] | line[i + 1] << 32) & mask for i in (8, 2))
            assert (got[0] | got[1] << 32) & mask == before, label
            expected = getattr(form, operation)(before, data)
            assert (got[2] | got[3] << 32) & mask == expected, (label, hex(before), hex(data))


def test_packed_floating_atomics(require_tool: Callable[[str], str]) -> None:
    texts = {
        "global_f16": "global_atomic_pk_add_f16 v8, v[16:17], v4, off offset:32 sc0",
        "global_bf16": "global_atomic_pk_add_bf16 v8, v[16:17], v4, off offset:32 sc0",
        "flat_f16": "flat_atomic_pk_add_f16 v8, v[16:17], v4 offset:32 sc0",
        "flat_bf16": "flat_atomic_pk_add_bf16 v8, v[16:17], v4 offset:32 sc0",
        "lds_f16": "ds_pk_add_rtn_f16 v8, v15, v4",
        "lds_bf16": "ds_pk_add_rtn_bf16 v8, v15, v4",
    }
    sources = {}
    for label, text in texts.items():
        if label.startswith("lds"):
            text = f"ds_write_b32 v15, v8\n{text}\nds_read_b32 v10, v15"
        else:
            text += "\nglobal_load_dword v10, v15, s[0:1] offset:32"
        sources[label] = prepared("gfx942", label.partition("_")[0], text)
    programs = bench(require_tool, "gfx942", sources)
    rng = np.random.default_rng(56)
    for label in texts:
        form = F16 if "_f16" in label else Format(16, 7)
        words = inputs(56)
        for column in (2, 8):
            halves = rng.integers(-100, 100, (len(words), 2)).astype(np.float32)
            bits = (
                halves.astype(np.float16).view(np.uint16)
                if form is F16
                else (halves.view(np.uint32) >> 16).astype(np.uint16)
            )
            words[:, column] = np.ascontiguousarray(bits).view(np.uint32)[:, 0]
        for line, got in zip(
            words.tolist(), programs.run(label, words, lds_bytes=4096).tolist(), strict=True
        ):
            assert got[0] == line[8], label
            for shift in (0, 16):
                a, b = line[8] >> shift & 0xFFFF, line[2] >> shift & 0xFFFF
                assert got[2] >> shift & 0xFFFF == form.add(a, b), label


@targets
def test_pairs_in_lds(target: str, require_tool: Callable[[str], str]) -> None:
    fill = "ds_write_b64 v15, v[2:3]\nds_write_b64 v15, v[4:5] offset:8\nds_write_b64 v15, v[6:7] offset:16\n"
    texts = {
        "read32": fill + "ds_read2_b32 v[8:9], v15 offset0:1 offset1:3",
        "read64": fill + "ds_read2_b64 v[8:11], v15 offset0:2 offset1:0",
        "write32": fill + "ds_write2_b32 v15, v8, v9 offset0:3 offset1:0\nds_read_b128 v[8:11], v15",
        "write64": fill
        + "ds_write2_b64 v15, v[8:9], v[10:11] offset0:1 offset1:0\nds_read_b128 v[8:11], v15",
        "exchange": fill + "ds_wrxchg2_rtn_b32 v[8:9], v15, v8, v9 offset0:2 offset1:5\n"
        "ds_read_b64 v[10:11], v15 offset:8",
        "exchange64": fill + "ds_wrxchg2_rtn_b64 v[8:11], v15, v[10:11], v[8:9] offset0:1 offset1:2",
        # 64 elements apart: the other half of the 4096 bytes belongs to nobody else.
        "stride": "v_lshrrev_b32 v15, 3, v15\nds_write2st64_b32 v15, v2, v4 offset0:0 offset1:1\n"
        "ds_read2st64_b32 v[8:9], v15 offset0:1 offset1:0",
        "stride64": "v_lshrrev_b32 v15, 2, v15\nds_write2st64_b64 v15, v[2:3], v[4:5] offset0:0 offset1:1\n"
        "ds_read2st64_b64 v[8:11], v15 offset0:1 offset1:0",
        "exchange_stride64": "v_lshrrev_b32 v15, 2, v15\n"
        "ds_write2st64_b64 v15, v[2:3], v[4:5] offset0:0 offset1:1\n"
        "ds_wrxchg2st64_rtn_b64 v[8:11], v15, v[6:7], v[6:7] offset0:1 offset1:0",
        "exchange_stride": "v_lshrrev_b32 v15, 3, v15\nds_write2st64_b32 v15, v2, v4 offset0:0 offset1:1\n"
        "ds_wrxchg2st64_rtn_b32 v[8:9], v15, v6, v7 offset0:1 offset1:0",
    }
    programs = bench(require_tool, target, {n: prepared(target, "lds", t) for n, t in texts.items()})
    words = inputs(57)
    expected: dict[str, Callable[[list[int]], list[int]]] = {
        "read32": lambda x: [x[1], x[3], x[10], x[11]],
        "read64": lambda x: [x[4], x[5], x[0], x[1]],
        "write32": lambda x: [x[9], x[1], x[2], x[8]],
        "write64": lambda x: [x[10], x[11], x[8], x[9]],
        "exchange": lambda x: [x[2], x[5], x[8], x[3]],
        "exchange64": lambda x: [x[2], x[3], x[4], x[5]],
        "stride": lambda x: [x[2], x[0], x[10], x[11]],
        "stride64": lambda x: [x[2], x[3], x[0], x[1]],
        "exchange_stride": lambda x: [x[2], x[0], x[10], x[11]],
        "exchange_stride64": lambda x: [x[2], x[3], x[0], x[1]],
    }
    for name, oracle in expected.items():
        for line, got in zip(words.tolist(), programs.run(name, words, lds_bytes=4096).tolist(), strict=True):
            assert got[:4] == oracle(line), name


@targets
def test_lane_addressed_lds(target: str, require_tool: Callable[[str], str]) -> None:
    text = "s_movk_i32 m0, 0x100\nds_write_addtid_b32 v2 offset:16\nds_read_addtid_b32 v8 offset:16"
    text += "\nv_and_b32 v15, 31, v0\nv_lshlrev_b32 v15, 2, v15\nds_read_b32 v9, v15 offset:272"
    programs = bench(require_tool, target, {"addtid": prepared(target, "lds", text)})
    words = inputs(58)[:64]
    result = programs.run("addtid", words, lds_bytes=4096)
    if target == "gfx942":
        assert result[:, 0].tolist() == words[:, 0].tolist()
        assert result[:, 1].tolist() == words[:32, 0].tolist() * 2
    else:
        # Two waves, which write the same addresses one after the other.
        assert set(result[:32, 0].tolist()) <= set(words[:, 0].tolist())


def swizzle_source(pattern: int, lane: int) -> int:
    """The lane that ds_swizzle reads (CDNA3 ISA 12.12)."""
    within, group = lane & 31, lane & 32
    if pattern >= 0xE000:
        mask = pattern & 31
        reversed_ = int(f"{within:05b}"[::-1], 2) >> mask.bit_count()
        return group | reversed_ | within & mask
    if pattern >= 0xC000:
        mask, rotate = pattern & 31, pattern >> 5 & 31
        moved = within - rotate if pattern & 0x400 else within + rotate
        return group | within & mask | moved & ~mask & 31
    if pattern >= 0x8000:
        return lane & ~3 | pattern >> 2 * (lane & 3) & 3
    return group | (within & pattern & 31 | pattern >> 5 & 31) ^ (pattern >> 10 & 31)


@targets
def test_swizzles_and_permutations(target: str, require_tool: Callable[[str], str]) -> None:
    patterns = (
        0x041F,
        0x7C1F,
        0x0010,
        0x0018,
        0x401F,
        0x801B,
        0x80B1,
        0xC020,
        0xC461,
        0xC0A3,
        0xE000,
        0xE010,
        0xE01F,
    )
    texts = {f"p{pattern:x}": f"ds_swizzle_b32 v8, v2 offset:{pattern:#x}" for pattern in patterns}
    texts |= {"pull": "ds_bpermute_b32 v8, v2, v4 offset:8", "push": "ds_permute_b32 v8, v2, v4 offset:4"}
    programs = bench(require_tool, target, {n: prepared(target, "lds", t) for n, t in texts.items()})
    words = inputs(59)
    size = 32 if target == "gfx1100" else 64
    for pattern in patterns:
        got = programs.run(f"p{pattern:x}", words)[:, 0].reshape(-1, size)
        for wave, values in zip(got, words[:, 0].reshape(-1, size), strict=True):
            expected = [values[swizzle_source(pattern, lane)] for lane in range(size)]
            assert wave.tolist() == expected, hex(pattern)
    addresses, data = words[:, 0].reshape(-1, size).tolist(), words[:, 2].reshape(-1, size).tolist()
    pulled = programs.run("pull", words)[:, 0].reshape(-1, size).tolist()
    pushed = programs.run("push", words)[:, 0].reshape(-1, size).tolist()
    for wave, (address, values) in enumerate(zip(addresses, data, strict=True)):
        assert pulled[wave] == [values[(at + 8 & M32) // 4 % size] for at in address]
        sent = [0] * size
        for lane, at in enumerate(address):
            sent[(at + 4 & M32) // 4 % size] = values[lane]
        assert pushed[wave] == sent


@targets
def test_disabled_lanes_neither_send_nor_receive(target: str, require_tool: Callable[[str], str]) -> None:
    both = "{exec}"
    texts = {
        "pull": f"s_mov_b{{bits}} {both}, {{m}}\nds_bpermute_b32 v8, v2, v4",
        "swizzle": f"s_mov_b{{bits}} {both}, {{m}}\nds_swizzle_b32 v8, v4 offset:0x041f",
        "push": f"s_mov_b{{bits}} {both}, {{m}}\nds_permute_b32 v8, v2, v4",
        "first": f"s_mov_b{{bits}} {both}, {{m}}\nv_readfirstlane_b32 s6, v4\nv_mov_b32 v8, s6",
        "any": f"s_mov_b{{bits}} {both}, {{m}}\nv_readlane_b32 s6, v4, 5\nv_mov_b32 v8, s6",
        "store": f"s_mov_b{{bits}} {both}, {{m}}\nglobal_store_dword v15, v4, s[0:1] offset:32\n"
        f"s_mov_b{{bits}} {both}, -1\nglobal_load_dword v8, v15, s[0:1] offset:32",
    }
    programs = bench(require_tool, target, {n: prepared(target, "global", t) for n, t in texts.items()})
    words = inputs(60)
    size = 32 if target == "gfx1100" else 64
    words[0, 12] &= ~np.uint32(2)
    results = {name: programs.run(name, words)[:, 0].reshape(-1, size).tolist() for name in texts}
    for wave, rows in enumerate(words.reshape(-1, size, VECTOR_IN).tolist()):
        active = [bool(row[12] & 2) for row in rows]
        first = active.index(True)
        for lane, row in enumerate(rows):
            old = row[8]
            source, neighbour = row[0] // 4 % size, lane ^ 1
            senders = [i for i, other in enumerate(rows) if active[i] and other[0] // 4 % size == lane]
            expected = {
                "pull": rows[source][2] if active[source] else 0,
                "swizzle": rows[neighbour][2] if active[neighbour] else 0,
                "push": rows[senders[-1]][2] if senders else 0,
                "first": rows[first][2],
                "any": rows[5][2],
            }
            for name, value in expected.items():
                assert results[name][wave][lane] == (value if active[lane] else old), (name, wave, lane)
            assert results["store"][wave][lane] == (row[2] if active[lane] else old)


@targets
def test_scalar_loads(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        "dword": "s_load_dword s24, s[0:1], 0x4",
        "pair": "s_load_dwordx2 s[24:25], s[0:1], 0x8",
        "register": "s_mov_b32 s6, 12\ns_load_dword s24, s[0:1], s6",
        "both": "s_mov_b32 s6, 12\ns_load_dword s24, s[0:1], s6 offset:0x10",
        "negative": "s_add_u32 s0, s0, 32\ns_addc_u32 s1, s1, 0\ns_load_dword s24, s[0:1], -0x1c",
        "four": "s_load_dwordx4 s[16:19], s[0:1], 0x10\ns_waitcnt lgkmcnt(0)\ns_mov_b64 s[24:25], s[18:19]",
        "eight": "s_load_dwordx8 s[32:39], s[0:1], 0x0\ns_waitcnt lgkmcnt(0)\ns_mov_b64 s[24:25], s[38:39]",
        "sixteen": "s_load_dwordx16 s[32:47], s[0:1], 0x0\ns_waitcnt lgkmcnt(0)\n"
        "s_mov_b64 s[24:25], s[46:47]",
    }
    sources = {name: f"{text}\ns_waitcnt lgkmcnt(0)" for name, text in texts.items()}
    programs = bench(require_tool, target, sources, scalar=True)
    words = inputs(61)[:8]
    columns = {
        "dword": [1],
        "pair": [2, 3],
        "register": [3],
        "both": [7],
        "negative": [1],
        "four": [6, 7],
        "eight": [6, 7],
        "sixteen": [14, 15],
    }
    for name, indices in columns.items():
        got = programs.run(name, words)
        assert (got[:, : len(indices)] == words[:, indices]).all(), name


@targets
def test_lanes_are_written_one_by_one(target: str, require_tool: Callable[[str], str]) -> None:
    texts = {
        "constant": "s_mov_b32 s6, 0x1234567\nv_writelane_b32 v8, s6, 3",
        "register": "s_mov_b32 m0, 67\ns_mov_b32 s6, 0x7654321\nv_writelane_b32 v8, s6, m0",
        "disabled": "s_mov_b{bits} {exec}, 1\nv_writelane_b32 v8, 17, 9",
    }
    programs = bench(require_tool, target, texts)
    words = inputs(62)
    size = 32 if target == "gfx1100" else 64
    # The lane number is taken modulo the wave size.
    for name, (lane, value) in {
        "constant": (3, 0x1234567),
        "register": (3, 0x7654321),
        "disabled": (9, 17),
    }.items():
        expected = words[:, 8].copy()
        expected[lane::size] = value
        assert programs.run(name, words)[:, 0].tolist() == expected.tolist(), name


def test_wide_waves_of_gfx11(require_tool: Callable[[str], str]) -> None:
    texts = {
        "swap": "v_permlane64_b32 v8, v2",
        "partial": "s_mov_b64 exec, {m}\nv_permlane64_b32 v8, v2",
        "pull": "ds_bpermute_b32 v8, v2, v4",
        "mask": "v_cmp_lt_u32 {o}, v2, v4",
        "carry": "v_add_co_u32 v8, {o}, v2, v4",
    }
    sources = {name: f"{text}\ns_waitcnt lgkmcnt(0)" for name, text in texts.items()}
    programs = bench(require_tool, "gfx1100", sources, wave_size=64)
    words = inputs(63)
    a, b = words[:, 0].reshape(-1, 64), words[:, 2].reshape(-1, 64)
    swapped = np.concatenate([a[:, 32:], a[:, :32]], axis=1)
    assert (programs.run("swap", words)[:, 0].reshape(-1, 64) == swapped).all()
    enabled = (words[:, 12] & 2 != 0).reshape(-1, 64)
    expected = np.where(enabled, swapped, words[:, 8].reshape(-1, 64))
    assert (programs.run("partial", words)[:, 0].reshape(-1, 64) == expected).all()
    # Addresses stay within the half of the wave (RDNA3 ISA 12.5.2).
    lane = np.arange(64)
    source = (a // 4) % 32 + (lane & 32)
    assert (programs.run("pull", words)[:, 0].reshape(-1, 64) == np.take_along_axis(b, source, 1)).all()
    assert (programs.run("mask", words)[:, 5].reshape(-1, 64) == (a < b)).all()
    carried = a.astype(np.uint64) + b > M32
    assert (programs.run("carry", words)[:, 5].reshape(-1, 64) == carried).all()
