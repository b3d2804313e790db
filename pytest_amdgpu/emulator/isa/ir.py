"""Typed SSA values that instruction semantics build and that back ends turn into code.

A `Value` is either one value per wave (`lanes` false) or one per lane (`lanes` true). Where both meet, the
per-wave value is broadcast. Values are interned in their `Graph`: building the same pure operation twice
gives the same object, which is common-subexpression elimination, and operations on constants are folded.
Memory accesses, barriers and the like are effects: the graph keeps them in program order.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from typing import Any


class Type(enum.Enum):
    """What a value is; `bits` is its width."""

    I1 = ("i1", 1, False)
    I16 = ("i16", 16, False)
    I32 = ("i32", 32, False)
    I64 = ("i64", 64, False)
    F16 = ("f16", 16, True)
    F32 = ("f32", 32, True)
    F64 = ("f64", 64, True)

    def __init__(self, text: str, bits: int, is_float: bool) -> None:
        self.text = text
        self.bits = bits
        self.is_float = is_float
        self.mask = (1 << bits) - 1

    # Types are keys of every value that is built; Enum's own hash is a call of a Python function.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return self.text


I1, I16, I32, I64 = Type.I1, Type.I16, Type.I32, Type.I64
F16, F32, F64 = Type.F16, Type.F32, Type.F64

INT_OF = {F16: I16, F32: I32, F64: I64}
"""The integer type of the same width."""
FLOAT_OF = {I16: F16, I32: F32, I64: F64}
_FLOAT_FORMAT = {F16: "e", F32: "f", F64: "d"}
_INT_FORMAT = {16: "H", 32: "I", 64: "Q"}


def float_bits(type_: Type, value: float) -> int:
    """Return the bits of a Python float in a float type, rounded to nearest even."""
    form = _FLOAT_FORMAT[type_]
    return int(struct.unpack("<" + _INT_FORMAT[type_.bits], struct.pack("<" + form, value))[0])


def bits_float(type_: Type, bits: int) -> float:
    """Return the number that the bits of a float type stand for."""
    return float(
        struct.unpack("<" + _FLOAT_FORMAT[type_], struct.pack("<" + _INT_FORMAT[type_.bits], bits))[0]
    )


class Value:
    """One SSA value. `attributes` are hashable constants of the operation; a constant's is its bits."""

    __slots__ = ("args", "attributes", "lanes", "number", "op", "type")

    def __init__(
        self,
        number: int,
        op: str,
        type_: Type,
        lanes: bool,
        args: tuple[Value, ...],
        attributes: tuple[Any, ...],
    ) -> None:
        self.number = number
        self.op = op
        self.type = type_
        self.lanes = lanes
        self.args = args
        self.attributes = attributes

    @property
    def is_const(self) -> bool:
        """Whether the value is known now."""
        return self.op == "const"

    @property
    def bits(self) -> int:
        """The bits of a constant."""
        if self.op != "const":
            raise TypeError(f"{self!r} is not a constant")
        return int(self.attributes[0])

    def __repr__(self) -> str:
        args = ", ".join([f"%{arg.number}" for arg in self.args] + [repr(a) for a in self.attributes])
        return f"%{self.number} = {self.op} {self.type!r}{' lanes' if self.lanes else ''} ({args})"


@dataclass(eq=False)
class Effect:
    """Something with a place in program order: a memory access, or a change of state outside registers.

    `results` are the values it yields (op "result", attribute = position); `offset` is the offset in the code
    of the instruction that causes it.
    """

    kind: str
    args: tuple[Value | None, ...]
    attributes: dict[str, Any]
    offset: int
    results: list[Value] = field(default_factory=list)


class Graph:
    """The values and effects of one basic block."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self._interned: dict[tuple[Any, ...], Value] = {}
        self._count = 0

    def value(
        self,
        op: str,
        type_: Type,
        *args: Value,
        attributes: tuple[Any, ...] = (),
        lanes: bool | None = None,
    ) -> Value:
        """Return the pure operation `op` on `args`; `lanes` defaults to whether any argument has lanes."""
        if lanes is None:
            lanes = False
            for arg in args:
                if arg.lanes:
                    lanes = True
                    break
        key = (op, type_, lanes, args, attributes)
        found = self._interned.get(key)
        if found is None:
            found = self._interned[key] = Value(self._count, op, type_, lanes, args, attributes)
            self._count += 1
        return found

    def values(self) -> list[Value]:
        """All pure values, in order of creation."""
        return list(self._interned.values())

    def const(self, type_: Type, bits: int) -> Value:
        """Return a constant by its bits."""
        return self.value("const", type_, attributes=(bits & type_.mask,), lanes=False)

    def effect(self, kind: str, *args: Value | None, offset: int, **attributes: Any) -> Effect:
        """Append an effect to the block."""
        effect = Effect(kind, args, attributes, offset)
        self.effects.append(effect)
        return effect

    def result(self, effect: Effect, type_: Type, lanes: bool) -> Value:
        """Return a new value that `effect` yields."""
        value = Value(self._count, "result", type_, lanes, (), (len(effect.results),))
        self._count += 1
        effect.results.append(value)
        return value
