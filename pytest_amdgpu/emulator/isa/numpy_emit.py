"""Writes the values of a block as Python expressions over numpy, for one variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_amdgpu.emulator.isa import fma, numpy_ops
from pytest_amdgpu.emulator.isa.buffers import BufferPlace
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I1, I16, I32, I64, INT_OF, Value
from pytest_amdgpu.emulator.isa.numpy_lower import DTYPE, SIGNED_DTYPE, lanes_template, scalar_template
from pytest_amdgpu.emulator.isa.python_source import SourceWriter
from pytest_amdgpu.emulator.isa.registers import Register
from pytest_amdgpu.emulator.isa.translate import Block
from pytest_amdgpu.emulator.isa.waves import slot

Text = tuple[str, tuple[int, ...]]
"""An expression and the locals that it uses."""

_NUMPY: dict[Any, Any] = {
    F16: np.float16,
    F32: np.float32,
    F64: np.float64,
    I1: np.bool_,
    I16: np.uint16,
    I32: np.uint32,
    I64: np.uint64,
}
_SIGNED_NUMPY: dict[Any, Any] = {I16: np.int16, I32: np.int32, I64: np.int64}
_NAMESPACE: dict[str, Any] = {
    **{name: getattr(numpy_ops, name) for name in dir(numpy_ops) if not name.startswith("_")},
    **{name: getattr(fma, name) for name in ("fma16", "fma32", "fma64")},
    "BufferPlace": BufferPlace,
    "bool_": np.bool_,
    "SHIFT32": np.array(32, np.uint64),
}
"""What generated code can name; constants join it under names that say their value, so that all blocks share
it.
"""


@dataclass(frozen=True)
class Variant:
    """What is known about a group when a block runs on it."""

    full: bool
    """EXEC enables every lane of every living wave."""
    single: bool
    """The group is one wave, so that every scalar is a Python number."""
    uniform: bool
    """Every scalar that the block reads is a Python number."""


VARIANTS = tuple(
    Variant(full, single, uniform)
    for single, uniform in ((True, True), (False, True), (False, False))
    for full in (False, True)
)
"""All variants: of one wave, of several with uniform scalars, of several; each with EXEC partial and full."""


class ValueEmitter:
    """Writes values as locals, each when it is first needed."""

    def __init__(self, block: Block, variant: Variant) -> None:
        self.block = block
        self.variant = variant
        self.writer = SourceWriter(block.start, _NAMESPACE)
        self._kinds: dict[int, str] = {}

    # ---- kinds --------------------------------------------------------------------------------------------

    def kind(self, value: Value) -> str:
        """ "array" [waves, lanes], "int" (a Python number or numpy float), or "poly" (int or array [waves,
        1]).
        """
        if value.lanes:
            return "array"
        found = self._kinds.get(value.number)
        if found is None:
            found = self._kinds[value.number] = self._scalar_kind(value)
        return found

    def _scalar_kind(self, value: Value) -> str:
        if self.variant.single or value.is_const:
            return "int"
        if value.op in ("ballot", "readlane", "readfirstlane", "result"):
            return "poly"
        if value.op == "reg":
            return (
                "int"
                if self.variant.uniform or (value.attributes[0] == "exec" and self.variant.full)
                else "poly"
            )
        return "int" if all(self.kind(arg) == "int" for arg in value.args) else "poly"

    # ---- arguments ----------------------------------------------------------------------------------------

    def _constant(self, value: Value, *, array: bool, signed: bool = False) -> str:
        """A constant as text: for arrays a 0-d array, which numpy combines fastest and in the right type."""
        bits, type_ = value.bits, value.type
        if not array and not type_.is_float:
            return repr(bool(bits)) if type_ is I1 else repr(bits) if bits < 10 else hex(bits)
        if type_ is I1:
            return repr(bool(bits))
        name = f"k{'s' if signed else ''}_{type_!r}_{bits:x}{'' if array else '_n'}"
        if name not in _NAMESPACE:
            number: Any = np.array(bits, _NUMPY[INT_OF.get(type_, type_)])
            if type_.is_float:
                number = number.view(_NUMPY[type_])
            if signed:
                number = number.view(_SIGNED_NUMPY[type_])
            _NAMESPACE[name] = number if array else number[()]
        return name

    def argument(self, value: Value, *, array: bool) -> Text:
        """Text for a value as argument; `array` makes a constant one that combines with arrays."""
        if value.is_const:
            return self._constant(value, array=array), ()
        number = self.local(value)
        return f"{{%{number}}}", (number,)

    def _signed(self, value: Value, *, array: bool) -> Text:
        if value.is_const:
            if array:
                return self._constant(value, array=True, signed=True), ()
            bits = value.bits
            return repr(bits - (1 << value.type.bits) if bits >> (value.type.bits - 1) else bits), ()
        key = ("signed", value.number)
        if key not in self.writer.locals:
            inner = self.local(value)
            if value.lanes:
                text = f"{{%{inner}}}.view({SIGNED_DTYPE[value.type]})"
            else:
                text = f"s_signed({{%{inner}}}, {value.type.bits})"
            self.writer.define(key, text, (inner,))
        return f"{{%{self.writer.locals[key]}}}", (self.writer.locals[key],)

    def _mask(self, value: Value, bits: int) -> Text:
        """A truth value with lanes as a mask of `bits` bits per lane."""
        key = ("mask", value.number, bits)
        if key not in self.writer.locals:
            inner = self.local(value)
            self.writer.define(key, f"lane_mask({{%{inner}}}, i{bits // 8})", (inner,))
        return f"{{%{self.writer.locals[key]}}}", (self.writer.locals[key],)

    # ---- values -------------------------------------------------------------------------------------------

    def local(self, value: Value) -> int:
        """Return the number of the local that holds a value, after writing what computes it."""
        found = self.writer.locals.get(value.number)
        if found is not None:
            return found
        self._prepare(value)
        special = getattr(self, f"_emit_{value.op}", None)
        text, uses = special(value) if special is not None else self._expression(value)
        return self.writer.define(value.number, text, uses)

    def _prepare(self, value: Value) -> None:
        """Compute long chains of arguments first, without deep recursion."""
        stack = [value]
        while stack:
            top = stack[-1]
            missing = [
                arg
                for arg in top.args
                if not arg.is_const and arg.number not in self.writer.locals and not self._skips(top, arg)
            ]
            if not missing:
                stack.pop()
                if top is not value and top.number not in self.writer.locals:
                    self.local(top)
            else:
                stack.extend(missing)

    def _skips(self, value: Value, arg: Value) -> bool:
        """Whether an argument is not needed in this variant."""
        return value.op == "blend" and self.variant.full and arg is value.args[1]

    def _expression(self, value: Value) -> Text:
        args = value.args
        first = args[0].type if args else value.type
        array = value.lanes
        template = None
        if not array:
            template = scalar_template(
                value.op, value.type, first, all(self.kind(arg) == "int" for arg in args)
            )
        wrapped = template is None and not array
        if template is None:
            template = lanes_template(value.op, value.type, first)
        fields: dict[str, str] = {
            "t": DTYPE[value.type],
            "st": SIGNED_DTYPE.get(value.type, ""),
            "ones": hex(value.type.mask),
            "bits": str(value.type.bits),
            "from_bits": str(first.bits),
            "sign": hex(1 << (first.bits - 1)),
            "one": self._constant(self.block.graph.const(first, 1), array=array)
            if not first.is_float
            else "",
        }
        uses: tuple[int, ...] = ()
        for letter, arg in zip("abc", args, strict=False):
            for prefix in ("", "s", "m"):
                if f"{{{prefix}{letter}}}" not in template:
                    continue
                if prefix == "s":
                    text, used = self._signed(arg, array=array or wrapped)
                elif prefix == "m":
                    text, used = self._mask(arg, value.type.bits)
                else:
                    text, used = self.argument(arg, array=array)
                if wrapped and not arg.type.is_float and not (arg.is_const and prefix == "s"):
                    text = self._wrap(text, arg, prefix == "s")
                fields[prefix + letter] = text
                uses += used
        text = template.format(**fields)
        if wrapped and not value.type.is_float:
            text = f"normal({text})"
        return text, uses

    def _wrap(self, text: str, arg: Value, signed: bool) -> str:
        """An integer scalar as a numpy number, for the templates of arrays."""
        if signed:
            return f"np_typed({text}, {SIGNED_DTYPE[arg.type]})"
        return f"np_typed({text}, {DTYPE[arg.type]})"

    def _emit_bitcast(self, value: Value) -> Text:
        (arg,) = value.args
        if value.lanes or arg.type.is_float is value.type.is_float:
            return self._expression(value)
        text, uses = self.argument(arg, array=False)
        function = "s_float" if value.type.is_float else "s_bits"
        return f"{function}({text}, {DTYPE[value.type]})", uses

    def _emit_reg(self, value: Value) -> Text:
        register: Register = value.attributes
        if register[0] == "v":
            return f"v[{register[1]}]", ()
        if register[0] == "exec" and self.variant.full:
            return hex((1 << self.block.wave_size) - 1), ()
        return f"s[{slot(register)}]", ()

    def _emit_select(self, value: Value) -> Text:
        condition, a, b = value.args
        if not value.lanes:
            return self._expression(value)
        if value.type is I1:
            texts = [self.argument(arg, array=True) for arg in value.args]
            (c, cu), (x, xu), (y, yu) = texts
            if not condition.lanes:
                return f"s_select({c}, {x}, {y}, bool_)", cu + xu + yu
            return f"np.where({c}, {x}, {y})", cu + xu + yu
        if self.variant.single or not condition.lanes:
            (c, cu), (x, xu), (y, yu) = [self.argument(arg, array=True) for arg in value.args]
            x = x if a.lanes or a.is_const else f"np_typed({x}, {DTYPE[value.type]})"
            y = y if b.lanes or b.is_const else f"np_typed({y}, {DTYPE[value.type]})"
            if not condition.lanes:
                return f"s_select({c}, {x}, {y}, {DTYPE[value.type]})", cu + xu + yu
            return f"np.where({c}, {x}, {y})", cu + xu + yu
        # Blending is faster than np.where on large arrays, which branches.
        c, cu = self._mask(condition, value.type.bits)
        (x, xu), (y, yu) = self._bits(a), self._bits(b)
        text = f"select({c}.view({DTYPE[INT_OF.get(value.type, value.type)]}), {x}, {y})"
        return (f"{text}.view({DTYPE[value.type]})" if value.type.is_float else text), cu + xu + yu

    def _bits(self, value: Value) -> Text:
        """A value with its bits as an integer, for blending."""
        if not value.type.is_float:
            return self.argument(value, array=True)
        if value.is_const:
            return self._constant(self.block.graph.const(INT_OF[value.type], value.bits), array=True), ()
        number = self.local(self.block.graph.value("bitcast", INT_OF[value.type], value))
        return f"{{%{number}}}", (number,)

    def _emit_blend(self, value: Value) -> Text:
        new, old = value.args
        text, uses = self.argument(new, array=new.lanes or not self.variant.full)
        if self.variant.full:
            return (text if new.lanes else f"g.splat({text})"), uses
        old_text, old_uses = self.argument(old, array=True)
        return f"select(g.exec_mask, {text}, {old_text})", uses + old_uses

    def _emit_writelane(self, value: Value) -> Text:
        texts = [self.argument(arg, array=False) for arg in value.args]
        return f"write_lane({', '.join(text for text, _ in texts)})", sum((used for _, used in texts), ())

    def _emit_vgpr_at(self, value: Value) -> Text:
        text, uses = self.argument(value.args[0], array=False)
        return f"g.register_at({value.attributes[0]}, {text})", uses

    def _emit_lane_id(self, value: Value) -> Text:
        return "g.lane_id", ()

    def _emit_lane_table(self, value: Value) -> Text:
        name = "table_" + "_".join(map(str, value.attributes))
        _NAMESPACE[name] = np.array(value.attributes, np.intp)
        return name, ()

    def _emit_ballot(self, value: Value) -> Text:
        text, uses = self.argument(value.args[0], array=True)
        return f"g.ballot({text})", uses

    def _emit_lanes(self, value: Value) -> Text:
        text, uses = self.argument(value.args[0], array=False)
        return f"g.lanes({text})", uses

    def _emit_readlane(self, value: Value) -> Text:
        (text, uses), (lane, lane_uses) = (self.argument(arg, array=False) for arg in value.args)
        return f"read_lane({text}, {lane})", uses + lane_uses

    def _emit_readfirstlane(self, value: Value) -> Text:
        text, uses = self.argument(value.args[0], array=False)
        lane = "0" if self.variant.full else f"first_active(s[{slot(('exec', 0))}])"
        return f"read_lane({text}, {lane})", uses

    def _emit_permute_pull(self, value: Value) -> Text:
        (text, uses), (index, index_uses) = (self.argument(arg, array=False) for arg in value.args)
        if not value.args[0].lanes:
            return f"g.splat({text})", uses
        if not value.args[1].lanes:
            return f"g.splat(read_lane({text}, {index} & {self.block.wave_size - 1}))", uses + index_uses
        return f"pull({text}, {index})", uses + index_uses

    def _emit_permute_active(self, value: Value) -> Text:
        (index,) = value.args
        if self.variant.full:
            return "g.all_lanes", ()
        text, uses = self.argument(index, array=False)
        if not index.lanes:
            return f"g.splat(read_lane(g.exec_lanes, {text} & {self.block.wave_size - 1}))", uses
        return f"pull(g.exec_lanes, {text})", uses

    def _emit_permute_push(self, value: Value) -> Text:
        (text, uses), (index, index_uses) = (self.argument(arg, array=True) for arg in value.args)
        active = "None" if self.variant.full else "g.exec_lanes"
        return f"push({text}, {index}, {active}, g.shape)", uses + index_uses

    def _emit_buffer_place(self, value: Value) -> Text:
        texts = [self.argument(arg, array=False) for arg in value.args]
        return f"BufferPlace({', '.join(text for text, _ in texts)})", sum((used for _, used in texts), ())

    def _emit_pc(self, value: Value) -> Text:
        return f"g.code_base + {value.attributes[0]}", ()
