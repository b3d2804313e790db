"""Folding of operations whose result is known while a block is built."""

from __future__ import annotations

from collections.abc import Callable

from pytest_amdgpu.emulator.isa.ir import I1, I16, I32, I64, Graph, Type, Value


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


# On (bits of a, bits of b, width of a); the result is truncated to the type.
_BINARY: dict[str, Callable[[int, int, int], int]] = {
    "add": lambda a, b, n: a + b,
    "sub": lambda a, b, n: a - b,
    "mul": lambda a, b, n: a * b,
    "mulhi_u": lambda a, b, n: a * b >> n,
    "mulhi_s": lambda a, b, n: _signed(a, n) * _signed(b, n) >> n,
    "and": lambda a, b, n: a & b,
    "or": lambda a, b, n: a | b,
    "xor": lambda a, b, n: a ^ b,
    "shl": lambda a, b, n: a << b,
    "lshr": lambda a, b, n: a >> b,
    "ashr": lambda a, b, n: _signed(a, n) >> b,
    "umin": lambda a, b, n: min(a, b),
    "umax": lambda a, b, n: max(a, b),
    "smin": lambda a, b, n: min(_signed(a, n), _signed(b, n)),
    "smax": lambda a, b, n: max(_signed(a, n), _signed(b, n)),
    "eq": lambda a, b, n: a == b,
    "ne": lambda a, b, n: a != b,
    "ult": lambda a, b, n: a < b,
    "ule": lambda a, b, n: a <= b,
    "slt": lambda a, b, n: _signed(a, n) < _signed(b, n),
    "sle": lambda a, b, n: _signed(a, n) <= _signed(b, n),
    "combine64": lambda a, b, n: a | b << 32,
}

_UNARY: dict[str, Callable[[int, int], int]] = {
    "zext": lambda a, n: a,
    "sext": _signed,
    "trunc": lambda a, n: a,
    "bitcast": lambda a, n: a,
    "lo32": lambda a, n: a,
    "hi32": lambda a, n: a >> 32,
    "fneg": lambda a, n: a ^ 1 << (n - 1),
    "fabs": lambda a, n: a & ~(1 << (n - 1)),
    "ctpop": lambda a, n: a.bit_count(),
    "ctlz": lambda a, n: n - a.bit_length(),
    "cttz": lambda a, n: (a & -a).bit_length() - 1 if a else n,
}

# Right operands that leave the left one unchanged.
_NEUTRAL_ZERO = frozenset({"add", "sub", "or", "xor", "shl", "lshr", "ashr"})
_COMMUTATIVE = frozenset({"add", "mul", "and", "or", "xor", "eq", "ne", "umin", "umax", "smin", "smax"})


def fold(
    graph: Graph, op: str, type_: Type, args: tuple[Value, ...], attributes: tuple[object, ...]
) -> Value | None:
    """Return a simpler value equal to `op` on `args`, or None."""
    if len(args) == 1:
        return _fold_unary(graph, op, type_, args[0])
    if len(args) == 2:
        return _fold_binary(graph, op, type_, *args)
    if op == "select":
        condition, a, b = args
        if condition.is_const:
            return a if condition.bits else b
        if a is b:
            return a
    return None


def _fold_unary(graph: Graph, op: str, type_: Type, a: Value) -> Value | None:
    if a.is_const:
        function = _UNARY.get(op)
        return None if function is None else graph.const(type_, function(a.bits, a.type.bits))
    inner = a.args[0] if a.args else a
    match op, a.op:
        case "bitcast", "bitcast":
            return inner if inner.type is type_ else graph.value("bitcast", type_, inner)
        case "lo32", "combine64":
            return a.args[0]
        case "hi32", "combine64":
            return a.args[1]
        case "lo32", "zext" | "sext":
            return inner if inner.type is I32 else graph.value(a.op, I32, inner)
        case "hi32", "zext":
            return graph.const(I32, 0)
        case "trunc", "zext" | "sext":
            if inner.type is type_:
                return inner
            if inner.type.bits > type_.bits:
                return graph.value("trunc", type_, inner)
            return graph.value(a.op, type_, inner)
        case "trunc", "combine64" if type_ in (I1, I16, I32):
            return inner if type_ is I32 else graph.value("trunc", type_, inner)
        case "trunc", _ if type_ is I32 and a.type is I64:
            return graph.value("lo32", I32, a)
        case "zext", "zext":
            return graph.value("zext", type_, inner)
        case "fneg", "fneg":
            return inner
        case "fabs", "fneg" | "fabs":
            return graph.value("fabs", type_, inner)
    return None


def _fold_binary(graph: Graph, op: str, type_: Type, a: Value, b: Value) -> Value | None:
    if a.is_const and b.is_const:
        function = _BINARY.get(op)
        return None if function is None else graph.const(type_, int(function(a.bits, b.bits, a.type.bits)))
    if a.is_const and op in _COMMUTATIVE:
        return fold(graph, op, type_, (b, a), ()) or graph.value(op, type_, b, a)
    if b.is_const:
        if b.bits == 0 and op in _NEUTRAL_ZERO:
            return a
        if op == "and":
            return b if b.bits == 0 else a if b.bits == type_.mask else None
        if op == "or" and b.bits == type_.mask:
            return b
        if op == "mul" and b.bits in (0, 1):
            return a if b.bits else b
    if op == "combine64" and a.op == "lo32" and b.op == "hi32" and a.args[0] is b.args[0]:
        return a.args[0]
    if op == "combine64" and b.is_const and b.bits == 0:
        return graph.value("zext", I64, a)
    if a is b:
        if op in ("and", "or", "umin", "umax", "smin", "smax"):
            return a
        if op in ("sub", "xor"):
            return graph.const(type_, 0)
    return None
