"""The forms that most instructions have, so that a table of semantics is a list of rows.

A row maps a mnemonic to a function that builds the instruction's meaning with a `Builder`. `binary(F32,
Builder.fadd)` is such a function: it reads sources 0 and 1 as F32, adds them and writes destination 0.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import Type, Value

Semantic = Callable[[Builder], None]
Table = dict[str, Semantic]
Unary = Callable[[Builder, Value], Value]
Binary = Callable[[Builder, Value, Value], Value]
Ternary = Callable[[Builder, Value, Value, Value], Value]


def unary(type_: Type, operation: Unary) -> Semantic:
    """One source, one destination of the result's type."""

    def build(b: Builder) -> None:
        b.dst(operation(b, b.src(0, type_)))

    return build


def binary(type_: Type, operation: Binary, second: Type | None = None) -> Semantic:
    """Two sources (the other of type `second`), one destination of the result's type."""
    second = second or type_

    def build(b: Builder) -> None:
        b.dst(operation(b, b.src(0, type_), b.src(1, second)))

    return build


def ternary(
    type_: Type, operation: Ternary, second: Type | None = None, third: Type | None = None
) -> Semantic:
    """Three sources, one destination of the result's type."""
    second = second or type_
    third = third or type_

    def build(b: Builder) -> None:
        b.dst(operation(b, b.src(0, type_), b.src(1, second), b.src(2, third)))

    return build


def swapped(operation: Binary) -> Binary:
    """The operation with its arguments exchanged: the `rev` forms."""

    def apply(b: Builder, x: Value, y: Value) -> Value:
        return operation(b, y, x)

    return apply


def inverted(operation: Binary) -> Binary:
    """The complement of a bitwise operation or of a comparison."""

    def apply(b: Builder, x: Value, y: Value) -> Value:
        return b.not_(operation(b, x, y))

    return apply


def nested(operation: Binary) -> Ternary:
    """`operation` applied to the first two arguments and then to the third: `min3`, `or3`, `add3`."""

    def apply(b: Builder, x: Value, y: Value, z: Value) -> Value:
        return operation(b, operation(b, x, y), z)

    return apply


def chained(first: Binary, then: Binary) -> Ternary:
    """`then(first(x, y), z)`: `lshl_add`, `and_or`, `minmax`."""

    def apply(b: Builder, x: Value, y: Value, z: Value) -> Value:
        return then(b, first(b, x, y), z)

    return apply


def nothing(b: Builder) -> None:
    """An instruction without effect on values: waits, hints, cache maintenance."""


def lowest_bits(b: Builder, width: Value, type_: Type) -> Value:
    """A mask of the lowest `width` bits; a width of the type's size or more gives all ones."""
    wide = b.const(type_, 1)
    mask = b.sub(b.shl(wide, width), 1)
    return b.select(b.uge(width, type_.bits), b.const(type_, type_.mask), mask)


def byte(b: Builder, value: Value, number: int) -> Value:
    """Byte `number` of an I32, zero-extended."""
    return b.and_(b.lshr(value, 8 * number), 0xFF)
