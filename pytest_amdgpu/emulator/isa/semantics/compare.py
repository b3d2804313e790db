"""Vector comparisons (VOPC): a lane mask, or with `cmpx` the new EXEC."""

from __future__ import annotations

from collections.abc import Callable

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.decode.instruction import OperandKind
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I1, I16, I32, I64, Type, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Binary, Semantic, Table, inverted

Condition = Callable[[Builder], Value]


def _bits(b: Builder, condition: Condition) -> Value:
    """The lanes that EXEC enables and where the condition holds; zero too where DPP has switched a lane off.

    A comparison writes its whole mask (RDNA3 ISA 7.7).
    """
    holds = condition(b)
    return b.ballot(holds if b.write_mask is None else b.and_(holds, b.write_mask))


def mask(condition: Condition) -> Semantic:
    """v_cmp: the mask goes to the destination."""

    def build(b: Builder) -> None:
        b.dst_mask_bits(_bits(b, condition))

    return build


def mask_exec(condition: Condition) -> Semantic:
    """v_cmpx: the mask becomes EXEC; on gfx9 it is written to the destination as well."""

    def build(b: Builder) -> None:
        bits = _bits(b, condition)
        if b.num_destinations and b.inst.destinations[0].kind is not OperandKind.EXEC:
            b.dst_mask_bits(bits)
        b.set_exec(bits)

    return build


def sources(type_: Type, operation: Binary, *, signed: bool = False) -> Condition:
    """The comparison of the two sources; `signed` says how a literal becomes 64 bits wide."""

    def condition(b: Builder) -> Value:
        return operation(b, *(b.src(i, type_, signed_literal=signed) for i in range(2)))

    return condition


def constant(value: int) -> Condition:
    """Always or never."""
    return lambda b: b.const(I1, value)


def in_class(type_: Type) -> Condition:
    """Whether source 0 is of one of the classes in source 1, see `Builder.fclass`."""
    return lambda b: b.fclass(b.src(0, type_), b.src(1, I32))


def ordered_unequal(b: Builder, x: Value, y: Value) -> Value:
    """Less or greater."""
    return b.not_(b.or_(b.feq(x, y), b.funord(x, y)))


FLOAT_COMPARISONS: dict[str, Binary] = {
    "lt": Builder.flt,
    "eq": Builder.feq,
    "le": Builder.fle,
    "gt": Builder.fgt,
    "lg": ordered_unequal,
    "ge": Builder.fge,
    "o": inverted(Builder.funord),
    "u": Builder.funord,
    "nge": inverted(Builder.fge),
    "nlg": inverted(ordered_unequal),
    "ngt": inverted(Builder.fgt),
    "nle": inverted(Builder.fle),
    "neq": Builder.fne,
    "nlt": inverted(Builder.flt),
}
_SIGNED: dict[str, Binary] = {
    "lt": Builder.slt,
    "eq": Builder.eq,
    "le": Builder.sle,
    "gt": Builder.sgt,
    "ne": Builder.ne,
    "ge": Builder.sge,
}
_UNSIGNED: dict[str, Binary] = {
    "lt": Builder.ult,
    "eq": Builder.eq,
    "le": Builder.ule,
    "gt": Builder.ugt,
    "ne": Builder.ne,
    "ge": Builder.uge,
}


def _conditions() -> dict[str, Condition]:
    conditions: dict[str, Condition] = {}
    for suffix, type_ in (("f16", F16), ("f32", F32), ("f64", F64)):
        for name, operation in FLOAT_COMPARISONS.items():
            conditions[f"{name}_{suffix}"] = sources(type_, operation)
        conditions[f"class_{suffix}"] = in_class(type_)
        conditions[f"f_{suffix}"] = constant(0)
        conditions[f"t_{suffix}"] = conditions[f"tru_{suffix}"] = constant(1)
    for bits, type_ in ((16, I16), (32, I32), (64, I64)):
        for sign, operations in (("i", _SIGNED), ("u", _UNSIGNED)):
            for name, operation in operations.items():
                conditions[f"{name}_{sign}{bits}"] = sources(type_, operation, signed=sign == "i")
            conditions[f"f_{sign}{bits}"] = constant(0)
            conditions[f"t_{sign}{bits}"] = constant(1)
    return conditions


TABLE: Table = {
    **{f"v_cmp_{name}": mask(condition) for name, condition in _conditions().items()},
    **{f"v_cmpx_{name}": mask_exec(condition) for name, condition in _conditions().items()},
}
