"""How each pure operation is written as a numpy expression.

Templates are format strings over the arguments: `{a}` as it is, `{sa}` as signed integer, `{ma}` as lane
mask. `LANES` serve values with lanes, where at least one argument is an array [waves, lanes]; arguments
without lanes are Python numbers, numpy floats, or arrays [waves, 1]. `UNIFORM` serve scalars all of whose
arguments are Python ints, `SCALAR` scalars that may be arrays too. Floats need no distinction: numpy's
scalars behave as its arrays do.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I1, I16, I32, I64, Type

DTYPE = {I1: "bool_", I16: "u2", I32: "u4", I64: "u8", F16: "f2", F32: "f4", F64: "f8"}
SIGNED_DTYPE = {I16: "i2", I32: "i4", I64: "i8"}

LANES: dict[str, str] = {
    "add": "{a} + {b}",
    "sub": "{a} - {b}",
    "mul": "{a} * {b}",
    "mulhi_u": "mulhi_u({a}, {b})",
    "mulhi_s": "mulhi_s({sa}, {sb})",
    "and": "{a} & {b}",
    "or": "{a} | {b}",
    "xor": "{a} ^ {b}",
    "shl": "{a} << {b}",
    "lshr": "{a} >> {b}",
    "ashr": "({sa} >> {sb}).view({t})",
    "eq": "{a} == {b}",
    "ne": "{a} != {b}",
    "ult": "{a} < {b}",
    "ule": "{a} <= {b}",
    "slt": "{sa} < {sb}",
    "sle": "{sa} <= {sb}",
    "umin": "np.minimum({a}, {b})",
    "umax": "np.maximum({a}, {b})",
    "smin": "np.minimum({sa}, {sb}).view({t})",
    "smax": "np.maximum({sa}, {sb}).view({t})",
    "zext": "{a}.astype({t})",
    "combine64": "combine64({a}, {b})",
    "lo32": "{a}.astype(u4)",
    "hi32": "({a} >> SHIFT32).astype(u4)",
    "bitcast": "{a}.view({t})",
    "ctpop": "np.bitwise_count({a}).astype(u4)",
    "ctlz": "clz({a})",
    "cttz": "ctz({a})",
    "bitreverse": "bitreverse({a})",
    "flush": "flush({a})",
    "fadd": "{a} + {b}",
    "fsub": "{a} - {b}",
    "fmul": "{a} * {b}",
    "fdiv": "{a} / {b}",
    "fsqrt": "np.sqrt({a})",
    "fneg": "np.negative({a})",
    "fabs": "np.abs({a})",
    "fmin": "fmin({a}, {b})",
    "fmax": "fmax({a}, {b})",
    "ffloor": "np.floor({a})",
    "fceil": "np.ceil({a})",
    "ftrunc": "np.trunc({a})",
    "frint": "np.rint({a})",
    "fract": "fract({a})",
    "feq": "{a} == {b}",
    "fne": "{a} != {b}",
    "flt": "{a} < {b}",
    "fle": "{a} <= {b}",
    "funord": "isnan2({a}, {b})",
    "fclass": "fclass({a}, {b})",
    "ldexp": "ldexp({a}, {b})",
    "frexp_exp": "frexp_exp({a})",
    "frexp_mant": "frexp_mant({a})",
    "exp2": "exp2({a})",
    "log2": "log2({a})",
    "rcp": "rcp({a})",
    "rsq": "rsq({a})",
    "sin": "sin({a})",
    "cos": "cos({a})",
    "fpext": "{a}.astype({t})",
    "fptrunc": "{a}.astype({t})",
    "fptrunc_rtz": "truncate({a}, {t})",
    "uitofp": "{a}.astype({t})",
    "sitofp": "{sa}.astype({t})",
}
FMA = {F16: "fma16({a}, {b}, {c})", F32: "fma32({a}, {b}, {c})", F64: "fma64({a}, {b}, {c})"}

UNIFORM: dict[str, str] = {
    "add": "{a} + {b} & {ones}",
    "sub": "{a} - {b} & {ones}",
    "mul": "{a} * {b} & {ones}",
    "mulhi_u": "{a} * {b} >> 32",
    "mulhi_s": "({sa} * {sb} >> 32) & {ones}",
    "and": "{a} & {b}",
    "or": "{a} | {b}",
    "xor": "{a} ^ {b}",
    "shl": "{a} << {b} & {ones}",
    "lshr": "{a} >> {b}",
    "ashr": "{sa} >> {b} & {ones}",
    "eq": "{a} == {b}",
    "ne": "{a} != {b}",
    "ult": "{a} < {b}",
    "ule": "{a} <= {b}",
    "slt": "({a} ^ {sign}) < ({b} ^ {sign})",
    "sle": "({a} ^ {sign}) <= ({b} ^ {sign})",
    "umin": "min({a}, {b})",
    "umax": "max({a}, {b})",
    "smin": "min({sa}, {sb}) & {ones}",
    "smax": "max({sa}, {sb}) & {ones}",
    "select": "{b} if {a} else {c}",
    "zext": "+{a}",
    "sext": "s_sext({a}, {from_bits}, {t})",
    "trunc": "{a} & {ones}",
    "combine64": "{a} | {b} << 32",
    "lo32": "{a} & 0xffffffff",
    "hi32": "{a} >> 32",
    "ctpop": "{a}.bit_count()",
    "ctlz": "{from_bits} - {a}.bit_length()",
    "cttz": "s_ctz({a}, {from_bits})",
}

SCALAR: dict[str, str] = {
    **UNIFORM,
    "mulhi_u": "s_mulhi_u({a}, {b})",
    "mulhi_s": "normal(mulhi_s(s_signed(np_scalar({a}, 32), 32), s_signed(np_scalar({b}, 32), 32)))",
    "ashr": "s_ashr({a}, {b}, {from_bits})",
    "umin": "normal(np.minimum(np_scalar({a}, {from_bits}), np_scalar({b}, {from_bits})))",
    "umax": "normal(np.maximum(np_scalar({a}, {from_bits}), np_scalar({b}, {from_bits})))",
    "smin": "normal(np.minimum(s_signed(np_scalar({a}, {from_bits}), {from_bits}), "
    "s_signed(np_scalar({b}, {from_bits}), {from_bits})).view({t}))",
    "smax": "normal(np.maximum(s_signed(np_scalar({a}, {from_bits}), {from_bits}), "
    "s_signed(np_scalar({b}, {from_bits}), {from_bits})).view({t}))",
    "select": "s_select({a}, {b}, {c}, {t})",
    "zext": "s_zext({a}, {t})",
    "trunc": "s_narrow({a}, {bits})",
    "combine64": "s_combine64({a}, {b})",
    "lo32": "s_narrow({a}, 32)",
    "hi32": "s_hi32({a})",
    "ctpop": "s_popcount({a})",
    "ctlz": "s_clz({a}, {from_bits})",
    "cttz": "s_ctz({a}, {from_bits})",
}

COMPARISONS = frozenset({"feq", "fne", "flt", "fle", "funord", "fclass"})


def lanes_template(op: str, type_: Type, from_type: Type) -> str:
    """Template of an operation on arrays; `from_type` is the type of the first argument."""
    if op == "fma":
        return FMA[type_]
    if op == "trunc":
        return "({a} & {one}) != 0" if type_ is I1 else "{a}.astype({t})"
    if op == "sext":
        return "{ma}.astype({t})" if from_type is I1 else "{sa}.astype({st}).view({t})"
    if op in ("fptosi", "fptoui"):
        return f"to_int({{a}}, {type_.bits}, {op == 'fptosi'})"
    template = LANES.get(op)
    if template is None:
        raise NotImplementedError(f"the numpy back end has no operation {op!r} giving {type_!r}")
    return template


def scalar_template(op: str, type_: Type, from_type: Type, uniform: bool) -> str | None:
    """Template of an integer operation on scalars, or None if the array template must serve."""
    if op != "select" and (from_type.is_float or type_.is_float):
        return None
    if op == "trunc" and type_ is I1:
        return "({a} & 1) != 0"
    if op == "xor" and type_ is I1:
        return "{a} ^ {b}"
    return (UNIFORM if uniform else SCALAR).get(op)
