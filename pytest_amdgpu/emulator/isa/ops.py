"""The pure operations of the intermediate representation, as methods that semantics call.

Conventions: operations that combine values take one type for all of them and raise TypeError otherwise. A
Python number stands for a constant of the other operand's type. Arithmetic on integers wraps. Values are
bits: signedness is in the operation's name. Comparisons give I1. Every lane-wise operation may leave anything
in lanes that EXEC disables, because such lanes are never stored; operations that look at other lanes say what
they read there. Flushing of denormals by the MODE register is done here, in floating-point arithmetic; bit
operations, `select`, `fneg` and `fabs` never flush.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.fold import fold
from pytest_amdgpu.emulator.isa.ir import (
    F32,
    I1,
    I16,
    I32,
    I64,
    Graph,
    Type,
    Value,
    float_bits,
)

Number = int | float
Operand = Value | Number


class PureOps:
    """Operations without effects on a graph's values."""

    graph: Graph
    flush_f32: bool = False
    """MODE asks to flush f32 denormals, as inputs and as results."""
    flush_f16_f64: bool = False
    """The same for f16 and f64."""

    # ---- plumbing -----------------------------------------------------------------------------------------

    def _lanewise(self, op: str, type_: Type, *args: Value, attributes: tuple[object, ...] = ()) -> Value:
        """Build an operation that looks at its own lane only, so needs no merge with disabled lanes."""
        stripped = tuple(arg.args[0] if arg.op == "blend" else arg for arg in args)
        folded = fold(self.graph, op, type_, stripped, attributes)
        if folded is not None:
            return folded
        return self.graph.value(op, type_, *stripped, attributes=attributes)

    def _pair(self, a: Operand, b: Operand) -> tuple[Value, Value]:
        """Turn a Python number into a constant of the other's type and check that the types agree."""
        if not isinstance(a, Value):
            if not isinstance(b, Value):
                raise TypeError(f"one of {a!r} and {b!r} must be a value")
            a = self.const(b.type, a)
        elif not isinstance(b, Value):
            b = self.const(a.type, b)
        if a.type is not b.type:
            raise TypeError(f"operands differ in type: {a!r} and {b!r}")
        return a, b

    def _int2(self, op: str, a: Operand, b: Operand) -> Value:
        x, y = self._pair(a, b)
        if x.type.is_float:
            raise TypeError(f"{op} of {x!r}: not an integer")
        return self._lanewise(op, x.type, x, y)

    def _compare(self, op: str, a: Operand, b: Operand) -> Value:
        x, y = self._pair(a, b)
        if x.type.is_float:
            raise TypeError(f"{op} of {x!r}: not an integer")
        return self._lanewise(op, I1, x, y)

    def _flushes(self, type_: Type) -> bool:
        return self.flush_f32 if type_ is F32 else self.flush_f16_f64

    def flush(self, value: Value) -> Value:
        """Replace denormals by zero of the same sign if MODE says so for the type."""
        return self._lanewise("flush", value.type, value) if self._flushes(value.type) else value

    def _float(self, op: str, *args: Operand, type_: Type | None = None) -> Value:
        first = next(arg for arg in args if isinstance(arg, Value))
        if not first.type.is_float:
            raise TypeError(f"{op} of {first!r}: not a float")
        values = tuple(arg if isinstance(arg, Value) else self.const(first.type, arg) for arg in args)
        for value in values:
            if value.type is not first.type:
                raise TypeError(f"operands differ in type: {first!r} and {value!r}")
        result = self._lanewise(op, type_ or first.type, *(self.flush(value) for value in values))
        return self.flush(result) if result.type.is_float else result

    # ---- constants and conversions of representation ------------------------------------------------------

    def const(self, type_: Type, value: Number) -> Value:
        """A constant: an int (taken modulo the width) for integer types, a Python float for float types."""
        if type_.is_float:
            return self.graph.const(type_, float_bits(type_, float(value)))
        if not isinstance(value, int):
            raise TypeError(f"{value!r} is not an integer constant")
        return self.graph.const(type_, value)

    def const_bits(self, type_: Type, bits: int) -> Value:
        """A constant of any type by its bits."""
        return self.graph.const(type_, bits)

    def bitcast(self, value: Value, type_: Type) -> Value:
        """The same bits as another type of the same width."""
        if value.type is type_:
            return value
        if value.type.bits != type_.bits:
            raise TypeError(f"cannot cast {value!r} to {type_!r}: widths differ")
        return self._lanewise("bitcast", type_, value)

    def zext(self, value: Value, type_: Type) -> Value:
        """Zero-extend an integer (I1 too) to a wider type; the same type is returned as it is."""
        return value if value.type is type_ else self._resize("zext", value, type_, wider=True)

    def sext(self, value: Value, type_: Type) -> Value:
        """Sign-extend an integer (true is -1) to a wider type; the same type is returned as it is."""
        return value if value.type is type_ else self._resize("sext", value, type_, wider=True)

    def trunc(self, value: Value, type_: Type) -> Value:
        """Keep the low bits (to I1: bit 0) of an integer; the same type is returned as it is."""
        return value if value.type is type_ else self._resize("trunc", value, type_, wider=False)

    def _resize(self, op: str, value: Value, type_: Type, *, wider: bool) -> Value:
        if value.type.is_float or type_.is_float or (type_.bits > value.type.bits) is not wider:
            raise TypeError(f"cannot {op} {value!r} to {type_!r}")
        return self._lanewise(op, type_, value)

    def combine64(self, low: Value, high: Value) -> Value:
        """I64 from two I32 halves."""
        if low.type is not I32 or high.type is not I32:
            raise TypeError(f"halves must be i32: {low!r}, {high!r}")
        return self._lanewise("combine64", I64, low, high)

    def lo32(self, value: Value) -> Value:
        """Low half of a 64-bit value (I64 or F64) as I32."""
        return self._lanewise("lo32", I32, self.bitcast(value, I64))

    def hi32(self, value: Value) -> Value:
        """High half of a 64-bit value (I64 or F64) as I32."""
        return self._lanewise("hi32", I32, self.bitcast(value, I64))

    def lo16(self, value: Value) -> Value:
        """Low half of an I32 as I16."""
        return self.trunc(value, I16)

    def hi16(self, value: Value) -> Value:
        """High half of an I32 as I16."""
        return self.trunc(self.lshr(value, 16), I16)

    def combine32(self, low: Value, high: Value) -> Value:
        """I32 from two 16-bit halves (I16 or F16)."""
        low, high = (self.zext(self.bitcast(half, I16), I32) for half in (low, high))
        return self.or_(low, self.shl(high, 16))

    # ---- integers -----------------------------------------------------------------------------------------

    def add(self, a: Operand, b: Operand) -> Value:
        """Sum, wrapping."""
        return self._int2("add", a, b)

    def sub(self, a: Operand, b: Operand) -> Value:
        """Difference, wrapping."""
        return self._int2("sub", a, b)

    def mul(self, a: Operand, b: Operand) -> Value:
        """Low half of the product (the same type)."""
        return self._int2("mul", a, b)

    def mulhi_u(self, a: Operand, b: Operand) -> Value:
        """High half of the unsigned product; I32 only."""
        return self._int2("mulhi_u", a, b)

    def mulhi_s(self, a: Operand, b: Operand) -> Value:
        """High half of the signed product; I32 only."""
        return self._int2("mulhi_s", a, b)

    def neg(self, a: Value) -> Value:
        """Two's complement."""
        return self._int2("sub", self.const(a.type, 0), a)

    def and_(self, a: Operand, b: Operand) -> Value:
        """Bitwise and (I1 too)."""
        return self._int2("and", a, b)

    def or_(self, a: Operand, b: Operand) -> Value:
        """Bitwise or (I1 too)."""
        return self._int2("or", a, b)

    def xor(self, a: Operand, b: Operand) -> Value:
        """Bitwise exclusive or (I1 too)."""
        return self._int2("xor", a, b)

    def not_(self, a: Value) -> Value:
        """Bitwise complement (I1 too)."""
        return self._int2("xor", a, self.const(a.type, a.type.mask))

    def shl(self, a: Value, count: Value | int) -> Value:
        """Shift left; the count (any integer type) is taken modulo the width of `a`."""
        return self._shift("shl", a, count)

    def lshr(self, a: Value, count: Value | int) -> Value:
        """Shift right, zeros enter; the count is taken modulo the width of `a`."""
        return self._shift("lshr", a, count)

    def ashr(self, a: Value, count: Value | int) -> Value:
        """Shift right, the sign enters; the count is taken modulo the width of `a`."""
        return self._shift("ashr", a, count)

    def _shift(self, op: str, a: Value, count: Value | int) -> Value:
        if isinstance(count, int):
            count = self.const(a.type, count)
        elif count.type.bits < a.type.bits:
            count = self.zext(count, a.type)
        elif count.type.bits > a.type.bits:
            count = self.trunc(count, a.type)
        return self._lanewise(op, a.type, a, self.and_(count, a.type.bits - 1))

    def eq(self, a: Operand, b: Operand) -> Value:
        """Equal."""
        return self._compare("eq", a, b)

    def ne(self, a: Operand, b: Operand) -> Value:
        """Not equal."""
        return self._compare("ne", a, b)

    def ult(self, a: Operand, b: Operand) -> Value:
        """Unsigned less than."""
        return self._compare("ult", a, b)

    def ule(self, a: Operand, b: Operand) -> Value:
        """Unsigned less or equal."""
        return self._compare("ule", a, b)

    def ugt(self, a: Operand, b: Operand) -> Value:
        """Unsigned greater than."""
        return self._compare("ult", b, a)

    def uge(self, a: Operand, b: Operand) -> Value:
        """Unsigned greater or equal."""
        return self._compare("ule", b, a)

    def slt(self, a: Operand, b: Operand) -> Value:
        """Signed less than."""
        return self._compare("slt", a, b)

    def sle(self, a: Operand, b: Operand) -> Value:
        """Signed less or equal."""
        return self._compare("sle", a, b)

    def sgt(self, a: Operand, b: Operand) -> Value:
        """Signed greater than."""
        return self._compare("slt", b, a)

    def sge(self, a: Operand, b: Operand) -> Value:
        """Signed greater or equal."""
        return self._compare("sle", b, a)

    def select(self, condition: Value, a: Operand, b: Operand) -> Value:
        """`a` where the I1 `condition` holds, else `b`; any type."""
        if condition.type is not I1:
            raise TypeError(f"condition {condition!r} is not i1")
        x, y = self._pair(a, b)
        return self._lanewise("select", x.type, condition, x, y)

    def umin(self, a: Operand, b: Operand) -> Value:
        """Unsigned minimum."""
        return self._int2("umin", a, b)

    def umax(self, a: Operand, b: Operand) -> Value:
        """Unsigned maximum."""
        return self._int2("umax", a, b)

    def smin(self, a: Operand, b: Operand) -> Value:
        """Signed minimum."""
        return self._int2("smin", a, b)

    def smax(self, a: Operand, b: Operand) -> Value:
        """Signed maximum."""
        return self._int2("smax", a, b)

    def ctpop(self, a: Value) -> Value:
        """Number of one bits, as I32 whatever the argument's type."""
        return self._lanewise("ctpop", I32, a)

    def ctlz(self, a: Value) -> Value:
        """Number of leading zeros as I32; the full width for zero."""
        return self._lanewise("ctlz", I32, a)

    def cttz(self, a: Value) -> Value:
        """Number of trailing zeros as I32; the full width for zero."""
        return self._lanewise("cttz", I32, a)

    def bitreverse(self, a: Value) -> Value:
        """The bits in reverse order (I32, I64)."""
        return self._lanewise("bitreverse", a.type, a)

    # ---- floats: correctly rounded (to nearest even) ------------------------------------------------------

    def fadd(self, a: Operand, b: Operand) -> Value:
        """Sum."""
        return self._float("fadd", a, b)

    def fsub(self, a: Operand, b: Operand) -> Value:
        """Difference."""
        return self._float("fsub", a, b)

    def fmul(self, a: Operand, b: Operand) -> Value:
        """Product."""
        return self._float("fmul", a, b)

    def fdiv(self, a: Operand, b: Operand) -> Value:
        """Quotient."""
        return self._float("fdiv", a, b)

    def fma(self, a: Operand, b: Operand, c: Operand) -> Value:
        """a * b + c with a single rounding."""
        return self._float("fma", a, b, c)

    def fsqrt(self, a: Value) -> Value:
        """Square root."""
        return self._float("fsqrt", a)

    def fneg(self, a: Value) -> Value:
        """Flip the sign bit, of a NaN too."""
        return self._lanewise("fneg", a.type, a)

    def fabs(self, a: Value) -> Value:
        """Clear the sign bit, of a NaN too."""
        return self._lanewise("fabs", a.type, a)

    def fmin(self, a: Operand, b: Operand) -> Value:
        """IEEE minNum: a NaN loses against a number; -0 is less than +0."""
        return self._float("fmin", a, b)

    def fmax(self, a: Operand, b: Operand) -> Value:
        """IEEE maxNum: a NaN loses against a number; -0 is less than +0."""
        return self._float("fmax", a, b)

    def ffloor(self, a: Value) -> Value:
        """Round down to an integral value."""
        return self._float("ffloor", a)

    def fceil(self, a: Value) -> Value:
        """Round up to an integral value."""
        return self._float("fceil", a)

    def ftrunc(self, a: Value) -> Value:
        """Round towards zero to an integral value."""
        return self._float("ftrunc", a)

    def frint(self, a: Value) -> Value:
        """Round to the nearest integral value, ties to even."""
        return self._float("frint", a)

    def fract(self, a: Value) -> Value:
        """a - floor(a), at most the largest number below 1; NaN for an infinity."""
        return self._float("fract", a)

    def feq(self, a: Operand, b: Operand) -> Value:
        """Ordered and equal."""
        return self._float("feq", a, b, type_=I1)

    def fne(self, a: Operand, b: Operand) -> Value:
        """Unordered or not equal (the complement of `feq`)."""
        return self._float("fne", a, b, type_=I1)

    def flt(self, a: Operand, b: Operand) -> Value:
        """Ordered and less."""
        return self._float("flt", a, b, type_=I1)

    def fle(self, a: Operand, b: Operand) -> Value:
        """Ordered and less or equal."""
        return self._float("fle", a, b, type_=I1)

    def fgt(self, a: Operand, b: Operand) -> Value:
        """Ordered and greater."""
        return self._float("flt", b, a, type_=I1)

    def fge(self, a: Operand, b: Operand) -> Value:
        """Ordered and greater or equal."""
        return self._float("fle", b, a, type_=I1)

    def funord(self, a: Operand, b: Operand) -> Value:
        """Either is NaN."""
        return self._float("funord", a, b, type_=I1)

    def isnan(self, a: Value) -> Value:
        """A NaN."""
        return self._lanewise("funord", I1, a, a)

    def fclass(self, a: Value, mask: Value) -> Value:
        """Whether the class of `a` is in `mask` (I32): bit 0 signalling NaN, 1 quiet NaN, 2 -inf, 3 -normal,
        4 -denormal, 5 -0, 6 +0, 7 +denormal, 8 +normal, 9 +inf (v_cmp_class; RDNA3 ISA section 16.9)."""
        if mask.type is not I32:
            raise TypeError(f"class mask {mask!r} is not i32")
        return self._lanewise("fclass", I1, a, mask)

    def ldexp(self, a: Value, exponent: Value) -> Value:
        """a * 2**exponent with one rounding; the exponent is a signed I32."""
        if exponent.type is not I32:
            raise TypeError(f"exponent {exponent!r} is not i32")
        return self.flush(self._lanewise("ldexp", a.type, self.flush(a), exponent))

    def frexp_exp(self, a: Value) -> Value:
        """The exponent e of a = m * 2**e, 0.5 <= |m| < 1, as I32; 0 for zero, infinity and NaN."""
        return self._lanewise("frexp_exp", I32, self.flush(a))

    def frexp_mant(self, a: Value) -> Value:
        """The significand m of a = m * 2**e; zero, infinity and NaN give themselves."""
        return self._float("frexp_mant", a)

    # ---- floats: within 1 ulp (f32; f16 is exact by way of f32, f64 rcp/rsq near double precision) --------

    def exp2(self, a: Value) -> Value:
        """2**a."""
        return self._float("exp2", a)

    def log2(self, a: Value) -> Value:
        """Base-2 logarithm."""
        return self._float("log2", a)

    def rcp(self, a: Value) -> Value:
        """1 / a."""
        return self._float("rcp", a)

    def rsq(self, a: Value) -> Value:
        """1 / sqrt(a)."""
        return self._float("rsq", a)

    def sin(self, a: Value) -> Value:
        """Sine of `a` revolutions (2 pi a)."""
        return self._float("sin", a)

    def cos(self, a: Value) -> Value:
        """Cosine of `a` revolutions (2 pi a)."""
        return self._float("cos", a)

    # ---- conversions of number ----------------------------------------------------------------------------

    def fptosi(self, a: Value, type_: Type) -> Value:
        """To a signed integer (I16, I32, I64), towards zero, saturating; NaN gives 0."""
        return self._lanewise("fptosi", type_, self.flush(a))

    def fptoui(self, a: Value, type_: Type) -> Value:
        """To an unsigned integer (I16, I32, I64), towards zero, saturating; NaN gives 0."""
        return self._lanewise("fptoui", type_, self.flush(a))

    def sitofp(self, a: Value, type_: Type) -> Value:
        """From a signed integer, to nearest even."""
        return self._lanewise("sitofp", type_, a)

    def uitofp(self, a: Value, type_: Type) -> Value:
        """From an unsigned integer, to nearest even."""
        return self._lanewise("uitofp", type_, a)

    def fpext(self, a: Value, type_: Type) -> Value:
        """To a wider float, exact (a NaN becomes quiet); the same type is returned as it is."""
        return a if a.type is type_ else self.flush(self._lanewise("fpext", type_, self.flush(a)))

    def fptrunc(self, a: Value, type_: Type) -> Value:
        """To a narrower float, to nearest even; the same type is returned as it is."""
        return a if a.type is type_ else self.flush(self._lanewise("fptrunc", type_, self.flush(a)))

    def fptrunc_rtz(self, a: Value, type_: Type) -> Value:
        """To a narrower float, towards zero (v_cvt_pkrtz_f16_f32)."""
        return self.flush(self._lanewise("fptrunc_rtz", type_, self.flush(a)))

    def clamp01(self, a: Value) -> Value:
        """Clamp a float to [0, 1]; NaN gives 0 (DX10_CLAMP, which all compilers set)."""
        one, zero = self.const(a.type, 1.0), self.const(a.type, 0.0)
        limited = self.select(self.flt(a, one), a, one)
        return self.select(self.fgt(limited, zero), self.select(self.isnan(a), zero, limited), zero)
