"""Bit fields and searches that scalar and vector instructions share."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import Type, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Binary, lowest_bits


def extract_unsigned(b: Builder, x: Value, offset: Value, width: Value) -> Value:
    """`width` bits of x from bit `offset` on; a width of zero gives zero, one past the type all bits."""
    return b.and_(b.lshr(x, offset), lowest_bits(b, width, x.type))


def extract_signed(b: Builder, x: Value, offset: Value, width: Value) -> Value:
    """The same, sign-extended from the field's highest bit."""
    shifted = b.ashr(x, offset)
    unused = b.sub(x.type.bits, width)
    field = b.ashr(b.shl(shifted, unused), unused)
    result = b.select(b.eq(width, 0), 0, field)
    return b.select(b.uge(width, x.type.bits), shifted, result)


def bit_field_mask(type_: Type) -> Binary:
    """As many ones as the first operand says, shifted left by the second; both wrap at the width."""

    def apply(b: Builder, width: Value, offset: Value) -> Value:
        one = b.const(type_, 1)
        return b.shl(b.sub(b.shl(one, width), 1), offset)

    return apply


def find_low_one(b: Builder, x: Value) -> Value:
    """Number of the lowest bit that is set, as I32; -1 if there is none."""
    return b.select(b.eq(x, 0), -1, b.cttz(x))


def leading_zeros(b: Builder, x: Value) -> Value:
    """Number of zeros above the highest one, as I32; -1 if x is zero."""
    return b.select(b.eq(x, 0), -1, b.ctlz(x))


def leading_sign_bits(b: Builder, x: Value) -> Value:
    """Number of bits at the top that equal the sign, as I32; -1 if all bits do."""
    return leading_zeros(b, b.xor(x, b.ashr(x, x.type.bits - 1)))
