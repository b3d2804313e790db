"""Loads, stores and atomics of LDS (DS), named as on gfx9. CDNA3 ISA 12.12, RDNA3 ISA 16.15."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import F32, F64, I32, I64, Type, Value
from pytest_amdgpu.emulator.isa.semantics.memory import Access, register_value, stored_values, write_loaded
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table, nothing

LOADS: dict[str, Access] = {
    "b32": Access(),
    "b64": Access(2),
    "b96": Access(3),
    "b128": Access(4),
    "u8": Access(width=1),
    "i8": Access(width=1, signed=True),
    "u16": Access(width=2),
    "i16": Access(width=2, signed=True),
    "u8_d16": Access(width=1, d16="low"),
    "u8_d16_hi": Access(width=1, d16="high"),
    "i8_d16": Access(width=1, signed=True, d16="low"),
    "i8_d16_hi": Access(width=1, signed=True, d16="high"),
    "u16_d16": Access(width=2, d16="low"),
    "u16_d16_hi": Access(width=2, d16="high"),
}

STORES: dict[str, Access] = {
    "b8": Access(width=1),
    "b16": Access(width=2),
    "b32": Access(),
    "b64": Access(2),
    "b96": Access(3),
    "b128": Access(4),
    "b8_d16_hi": Access(width=1, d16="high"),
    "b16_d16_hi": Access(width=2, d16="high"),
}

ATOMICS: dict[str, tuple[str, Type]] = {
    f"{name}_{kind}{type_.bits}": (operation, type_)
    for name, kind, operation in (
        ("add", "u", "add"),
        ("sub", "u", "sub"),
        ("rsub", "u", "rsub"),
        ("inc", "u", "inc"),
        ("dec", "u", "dec"),
        ("min", "i", "smin"),
        ("max", "i", "smax"),
        ("min", "u", "umin"),
        ("max", "u", "umax"),
        ("and", "b", "and"),
        ("or", "b", "or"),
        ("xor", "b", "xor"),
    )
    for type_ in (I32, I64)
} | {
    "add_f32": ("fadd", F32),
    "min_f32": ("fmin", F32),
    "max_f32": ("fmax", F32),
    "add_f64": ("fadd", F64),
    "min_f64": ("fmin", F64),
    "max_f64": ("fmax", F64),
    "pk_add_f16": ("pk_add_f16", I32),
    "pk_add_bf16": ("pk_add_bf16", I32),
}


def _global(b: Builder) -> bool:
    """Whether the instruction asks for GDS, which no compute program of these generations has."""
    if b.mod("gds"):
        b.illegal("global data share (gds) is not emulated")
    return bool(b.mod("gds"))


def address(b: Builder) -> Value:
    """The vector address plus the 16-bit offset."""
    return b.add(b.src(0, I32), b.mod("offset"))


def pair_addresses(b: Builder, stride: int) -> tuple[Value, Value]:
    """The two addresses of a read2 or write2; offsets count elements of `stride` bytes."""
    base = b.src(0, I32)
    return b.add(base, b.mod("offset0") * stride), b.add(base, b.mod("offset1") * stride)


def own_address(b: Builder) -> Value:
    """M0 plus the offset plus four bytes per lane: the addtid forms."""
    base = b.add(b.and_(b.m0(), 0xFFFF), b.mod("offset"))
    return b.add(base, b.shl(b.lane_id(), 2))


def load(access: Access) -> Semantic:
    """Load per lane."""

    def build(b: Builder) -> None:
        if not _global(b):
            values = b.load_lds(address(b), access.count, width=access.width, signed=access.signed)
            write_loaded(b, access, values)

    return build


def load_pair(dwords: int, stride: int) -> Semantic:
    """Two elements of `dwords` dwords each."""

    def build(b: Builder) -> None:
        if not _global(b):
            values = [value for at in pair_addresses(b, stride) for value in b.load_lds(at, dwords)]
            for i, value in enumerate(values):
                b.dst_dword(i, value)

    return build


def load_own(b: Builder) -> None:
    """A dword at an address made of the lane's number."""
    b.dst_dword(0, b.load_lds(own_address(b))[0])


def store(access: Access) -> Semantic:
    """Store per lane."""

    def build(b: Builder) -> None:
        if not _global(b):
            b.store_lds(address(b), stored_values(b, access, 1), width=access.width)

    return build


def store_pair(dwords: int, stride: int) -> Semantic:
    """Two elements of `dwords` dwords each."""

    def build(b: Builder) -> None:
        if not _global(b):
            for source, at in enumerate(pair_addresses(b, stride), start=1):
                b.store_lds(at, [b.src_dword(source, i) for i in range(dwords)])

    return build


def store_own(b: Builder) -> None:
    """A dword at an address made of the lane's number."""
    b.store_lds(own_address(b), [b.src_dword(0, 0)])


def atomic(operation: str, type_: Type) -> Semantic:
    """Read-modify-write; returns the old value if there is a destination."""

    def build(b: Builder) -> None:
        if _global(b):
            return
        old = b.atomic("lds", operation, address(b), register_value(b, 1, type_), ret=b.num_destinations > 0)
        if old is not None:
            b.dst(old, modifiers=False)

    return build


def compare_store(type_: Type, *, compare: int, value: int) -> Semantic:
    """Compare and swap; the generations differ in which data operand is which."""

    def build(b: Builder) -> None:
        if _global(b):
            return
        old = b.atomic(
            "lds",
            "cmpswap",
            address(b),
            register_value(b, value, type_),
            compare=register_value(b, compare, type_),
            ret=b.num_destinations > 0,
        )
        if old is not None:
            b.dst(old, modifiers=False)

    return build


def exchange_pair(type_: Type, stride: int) -> Semantic:
    """Two exchanges; the old values go to consecutive registers."""

    def build(b: Builder) -> None:
        if _global(b):
            return
        dwords = type_.bits // 32
        for i, at in enumerate(pair_addresses(b, stride)):
            old = b.atomic("lds", "swap", at, register_value(b, i + 1, type_))
            assert old is not None
            parts = [b.lo32(old), b.hi32(old)] if dwords == 2 else [old]
            for j, part in enumerate(parts):
                b.dst_dword(i * dwords + j, part)

    return build


def _pairs() -> Table:
    table: Table = {}
    for bits, dwords, type_ in ((32, 1, I32), (64, 2, I64)):
        size = 4 * dwords
        for suffix, stride in (("", size), ("st64", 64 * size)):
            table[f"ds_read2{suffix}_b{bits}"] = load_pair(dwords, stride)
            table[f"ds_write2{suffix}_b{bits}"] = store_pair(dwords, stride)
            table[f"ds_wrxchg2{suffix}_rtn_b{bits}"] = exchange_pair(type_, stride)
        for form in ("", "_rtn"):
            table[f"ds_cmpst{form}_b{bits}"] = compare_store(type_, compare=1, value=2)
            table[f"ds_cmpstore{form}_b{bits}"] = compare_store(type_, compare=2, value=1)
        table[f"ds_wrxchg_rtn_b{bits}"] = atomic("swap", type_)
    return table


def _atomics() -> Table:
    table: Table = {}
    for name, (operation, type_) in ATOMICS.items():
        verb, kind = name.rsplit("_", 1)
        table[f"ds_{verb}_{kind}"] = table[f"ds_{verb}_rtn_{kind}"] = atomic(operation, type_)
    return table


TABLE: Table = {
    **{f"ds_read_{name}": load(access) for name, access in LOADS.items()},
    **{f"ds_write_{name}": store(access) for name, access in STORES.items()},
    **_pairs(),
    **_atomics(),
    "ds_read_addtid_b32": load_own,
    "ds_write_addtid_b32": store_own,
    "ds_nop": nothing,
}
