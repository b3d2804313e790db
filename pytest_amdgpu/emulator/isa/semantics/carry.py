"""Sums and differences with carries, overflows and saturation, for scalar and vector instructions alike."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import Value


def add_carry(b: Builder, x: Value, y: Value, carry: Value | None = None) -> tuple[Value, Value]:
    """Sum and unsigned carry (I1) of x + y + carry."""
    total = b.add(x, y)
    out = b.ult(total, x)
    if carry is None:
        return total, out
    with_carry = b.add(total, b.zext(carry, x.type))
    return with_carry, b.or_(out, b.and_(carry, b.eq(with_carry, 0)))


def sub_borrow(b: Builder, x: Value, y: Value, borrow: Value | None = None) -> tuple[Value, Value]:
    """Difference and unsigned borrow (I1) of x - y - borrow."""
    difference = b.sub(x, y)
    out = b.ult(x, y)
    if borrow is None:
        return difference, out
    with_borrow = b.sub(difference, b.zext(borrow, x.type))
    return with_borrow, b.or_(out, b.and_(borrow, b.eq(difference, 0)))


def add_overflows(b: Builder, x: Value, y: Value, total: Value) -> Value:
    """Whether the signed sum `total` of x and y has overflowed."""
    return b.slt(b.and_(b.xor(x, total), b.xor(y, total)), 0)


def sub_overflows(b: Builder, x: Value, y: Value, difference: Value) -> Value:
    """Whether the signed difference x - y has overflowed."""
    return b.slt(b.and_(b.xor(x, y), b.xor(x, difference)), 0)


def add_saturating_u(b: Builder, x: Value, y: Value) -> Value:
    """Unsigned sum; the largest value instead of wrapping."""
    total, carry = add_carry(b, x, y)
    return b.select(carry, x.type.mask, total)


def sub_saturating_u(b: Builder, x: Value, y: Value) -> Value:
    """Unsigned difference; zero instead of wrapping."""
    difference, borrow = sub_borrow(b, x, y)
    return b.select(borrow, 0, difference)


def _limit(b: Builder, x: Value) -> Value:
    """The signed extreme on the side of x's sign."""
    return b.xor(b.ashr(x, x.type.bits - 1), x.type.mask >> 1)


def add_saturating_s(b: Builder, x: Value, y: Value) -> Value:
    """Signed sum; the extreme instead of wrapping."""
    total = b.add(x, y)
    return b.select(add_overflows(b, x, y, total), _limit(b, x), total)


def sub_saturating_s(b: Builder, x: Value, y: Value) -> Value:
    """Signed difference; the extreme instead of wrapping."""
    difference = b.sub(x, y)
    return b.select(sub_overflows(b, x, y, difference), _limit(b, x), difference)
