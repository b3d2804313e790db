"""Loads, stores and atomics of global, flat, scratch, buffer and scalar memory (FLAT*, MUBUF, SMEM).

Named as on gfx9; `names.py` has gfx11's names. Addresses: CDNA3 ISA chapters 8 and 10, RDNA3 ISA 8 and 11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.decode.instruction import OperandKind
from pytest_amdgpu.emulator.isa.errors import NotExecutable
from pytest_amdgpu.emulator.isa.ir import F32, F64, I32, I64, Type, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table


@dataclass(frozen=True)
class Access:
    """The data: `count` elements of `width` bytes; `d16` names the half of a register, "low" or "high"."""

    count: int = 1
    width: int = 4
    signed: bool = False
    d16: str = ""


LOADS: dict[str, Access] = {
    "ubyte": Access(width=1),
    "sbyte": Access(width=1, signed=True),
    "ushort": Access(width=2),
    "sshort": Access(width=2, signed=True),
    "dword": Access(),
    "dwordx2": Access(2),
    "dwordx3": Access(3),
    "dwordx4": Access(4),
    "ubyte_d16": Access(width=1, d16="low"),
    "ubyte_d16_hi": Access(width=1, d16="high"),
    "sbyte_d16": Access(width=1, signed=True, d16="low"),
    "sbyte_d16_hi": Access(width=1, signed=True, d16="high"),
    "short_d16": Access(width=2, d16="low"),
    "short_d16_hi": Access(width=2, d16="high"),
}

STORES: dict[str, Access] = {
    "byte": Access(width=1),
    "short": Access(width=2),
    "dword": Access(),
    "dwordx2": Access(2),
    "dwordx3": Access(3),
    "dwordx4": Access(4),
    "byte_d16_hi": Access(width=1, d16="high"),
    "short_d16_hi": Access(width=2, d16="high"),
}

_INTEGER_ATOMICS = (
    "swap",
    "cmpswap",
    "add",
    "sub",
    "smin",
    "umin",
    "smax",
    "umax",
    "and",
    "or",
    "xor",
    "inc",
    "dec",
)

ATOMICS: dict[str, tuple[str, Type]] = {
    **{name: (name, I32) for name in _INTEGER_ATOMICS},
    **{f"{name}_x2": (name, I64) for name in _INTEGER_ATOMICS},
    "add_f32": ("fadd", F32),
    "min_f32": ("fmin", F32),
    "max_f32": ("fmax", F32),
    "add_f64": ("fadd", F64),
    "min_f64": ("fmin", F64),
    "max_f64": ("fmax", F64),
    "pk_add_f16": ("pk_add_f16", I32),
    "pk_add_bf16": ("pk_add_bf16", I32),
}
"""Atomics by their gfx9 name: the builder's operation and the type in memory."""

# ---- addresses --------------------------------------------------------------------------------------------

Address = Callable[[Builder, int], Value]
"""A function of the builder and the position of the scalar base among the sources."""


def flat_address(b: Builder, saddr: int) -> Value:
    """The 64-bit vector address plus the offset; the address decides between memory, LDS and scratch."""
    return b.add(b.src(0, I64), b.mod("offset"))


def global_address(b: Builder, saddr: int) -> Value:
    """The vector address, or the scalar base plus the 32-bit unsigned vector offset; plus the offset."""
    if b.inst.sources[saddr].kind in (OperandKind.OFF, OperandKind.NULL):
        base = b.src(0, I64)
    else:
        base = b.add(b.src(saddr, I64), b.zext(b.src(0, I32), I64))
    return b.add(base, b.mod("offset"))


def scratch_address(b: Builder, saddr: int) -> Value:
    """Vector offset plus scalar offset, either of which may be off, plus the offset; wraps at 32 bits."""
    return b.add(b.add(b.src(0, I32), b.src(saddr, I32)), b.mod("offset"))


_SPACES: dict[str, Address] = {
    "flat": flat_address,
    "global": global_address,
    "scratch": scratch_address,
}

# ---- forms ------------------------------------------------------------------------------------------------


def write_loaded(b: Builder, access: Access, values: list[Value]) -> None:
    """Write what a load yielded; half a register keeps its other half."""
    if not b.inst.destinations:
        raise NotExecutable("loads from memory to LDS")
    if access.d16:
        old, half = b.dst_old(I32), b.and_(values[0], 0xFFFF)
        if access.d16 == "high":
            half, kept = b.shl(half, 16), b.and_(old, 0xFFFF)
        else:
            kept = b.and_(old, 0xFFFF0000)
        b.dst_dword(0, b.or_(half, kept))
        return
    for i, value in enumerate(values):
        b.dst_dword(i, value)


def stored_values(b: Builder, access: Access, source: int) -> list[Value]:
    """What a store writes."""
    values = [b.src_dword(source, i) for i in range(access.count)]
    return [b.lshr(values[0], 16)] if access.d16 else values


def load(space: str, access: Access) -> Semantic:
    """Vector load."""
    address = _SPACES[space]

    def build(b: Builder) -> None:
        values = b.load(space, address(b, 1), access.count, width=access.width, signed=access.signed)
        write_loaded(b, access, values)

    return build


def store(space: str, access: Access) -> Semantic:
    """Vector store."""
    address = _SPACES[space]

    def build(b: Builder) -> None:
        b.store(space, address(b, 2), stored_values(b, access, 1), width=access.width)

    return build


def register_value(b: Builder, source: int, type_: Type, dword: int = 0) -> Value:
    """An operand of an atomic: the register, or pair, at `dword` of a source's tuple."""
    low = b.src_dword(source, dword)
    if type_.bits == 32:
        return b.bitcast(low, type_)
    return b.bitcast(b.combine64(low, b.src_dword(source, dword + 1)), type_)


def atomic(space: str, operation: str, type_: Type) -> Semantic:
    """Vector atomic; returns the old value if the encoding has a destination."""
    address = _SPACES[space]

    def build(b: Builder) -> None:
        value = register_value(b, 1, type_)
        compare = register_value(b, 1, type_, type_.bits // 32) if operation == "cmpswap" else None
        returns = b.num_destinations > 0
        old = b.atomic(space, operation, address(b, 2), value, compare=compare, ret=returns)
        if old is not None:
            b.dst(old, modifiers=False)

    return build


# ---- buffers ----------------------------------------------------------------------------------------------


def buffer_place(b: Builder, vaddr: int) -> Value | None:
    """The place that the sources from `vaddr` on name: vector address, descriptor, scalar offset."""
    if b.mod("tfe") or b.mod("lds"):
        b.illegal(f"{b.inst.name} with {'tfe' if b.mod('tfe') else 'lds'} is not emulated")
        return None
    indexed, offset = b.mod("idxen"), b.const(I32, b.mod("offset"))
    if b.mod("offen"):
        offset = b.add(b.src_dword(vaddr, indexed), offset)
    index = b.src_dword(vaddr, 0) if indexed else None
    descriptor = [b.src_dword(vaddr + 1, i) for i in range(4)]
    return b.buffer_place(descriptor, b.src(vaddr + 2, I32), offset, index)


def buffer_load(access: Access) -> Semantic:
    """Load from a buffer."""

    def build(b: Builder) -> None:
        if place := buffer_place(b, 0):
            values = b.load("buffer", place, access.count, width=access.width, signed=access.signed)
            write_loaded(b, access, values)

    return build


def buffer_store(access: Access) -> Semantic:
    """Store to a buffer."""

    def build(b: Builder) -> None:
        if place := buffer_place(b, 1):
            b.store("buffer", place, stored_values(b, access, 0), width=access.width)

    return build


def buffer_atomic(operation: str, type_: Type) -> Semantic:
    """Atomic on a buffer; returns the old value if the encoding has a destination."""

    def build(b: Builder) -> None:
        place = buffer_place(b, 1)
        if place is None:
            return
        value = register_value(b, 0, type_)
        compare = register_value(b, 0, type_, type_.bits // 32) if operation == "cmpswap" else None
        old = b.atomic("buffer", operation, place, value, compare=compare, ret=b.num_destinations > 0)
        if old is not None:
            b.dst(old, modifiers=False)

    return build


def scalar_load(count: int) -> Semantic:
    """Scalar load of `count` dwords."""

    def build(b: Builder) -> None:
        address = b.add(b.src(0, I64), b.zext(b.src(1, I32), I64))
        for i, value in enumerate(b.load_scalar(b.add(address, b.mod("offset")), count)):
            b.dst_dword(i, value)

    return build


def scalar_load_narrow(width: int, *, signed: bool) -> Semantic:
    """Scalar load of 1 or 2 bytes."""

    def build(b: Builder) -> None:
        address = b.add(b.src(0, I64), b.zext(b.src(1, I32), I64))
        (value,) = b.load_scalar(b.add(address, b.mod("offset")), width=width, signed=signed)
        b.dst(value)

    return build


TABLE: Table = {
    **{f"{space}_load_{name}": load(space, access) for space in _SPACES for name, access in LOADS.items()},
    **{f"{space}_store_{name}": store(space, access) for space in _SPACES for name, access in STORES.items()},
    **{
        f"{space}_atomic_{name}": atomic(space, operation, type_)
        for space in ("flat", "global")
        for name, (operation, type_) in ATOMICS.items()
    },
    **{f"buffer_load_{name}": buffer_load(access) for name, access in LOADS.items()},
    **{f"buffer_store_{name}": buffer_store(access) for name, access in STORES.items()},
    **{f"buffer_atomic_{name}": buffer_atomic(*row) for name, row in ATOMICS.items()},
    **{
        f"s_load_{name}": scalar_load(count)
        for name, count in (("dword", 1), ("dwordx2", 2), ("dwordx4", 4), ("dwordx8", 8), ("dwordx16", 16))
    },
    "s_load_b96": scalar_load(3),
    "s_load_u8": scalar_load_narrow(1, signed=False),
    "s_load_i8": scalar_load_narrow(1, signed=True),
    "s_load_u16": scalar_load_narrow(2, signed=False),
    "s_load_i16": scalar_load_narrow(2, signed=True),
}
