"""Turns the values and effects of a basic block into Python source over numpy.

The source is a function `block(g, v, s)` on a group of waves (`waves.Group`), its vector registers and its
scalars. It comes in variants: with EXEC full or partial, and with scalars that are known to be uniform or
not. It returns what the terminator needs (branch condition or jump address), or None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np

from pytest_amdgpu.emulator.isa import fma, numpy_ops
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I1, I32, I64, INT_OF, Effect, Type, Value
from pytest_amdgpu.emulator.isa.numpy_lower import DTYPE, SIGNED_DTYPE, lanes_template, scalar_template
from pytest_amdgpu.emulator.isa.registers import Register
from pytest_amdgpu.emulator.isa.translate import Block
from pytest_amdgpu.emulator.isa.waves import slot

BlockFunction = Callable[[Any, list[Any], list[Any]], Any]

_NUMPY = {F16: np.float16, F32: np.float32, F64: np.float64, I1: np.bool_, I32: np.uint32, I64: np.uint64}
_NUMPY[Type.I16] = np.uint16
_NAMES = {
    **{name: getattr(numpy_ops, name) for name in dir(numpy_ops) if not name.startswith("_")},
    **{name: getattr(fma, name) for name in ("fma16", "fma32", "fma64")},
    "bool_": np.bool_,
    "SHIFT32": np.array(32, np.uint64),
}


@dataclass(frozen=True)
class Variant:
    """What is known about a group when a block runs on it."""

    full: bool
    """EXEC enables every lane of every living wave."""
    single: bool
    """The group is one wave, so that every scalar is a Python number."""
    uniform: bool
    """Every scalar that the block reads is a Python number."""


@dataclass
class Compiled:
    """A block function, and which instruction each of its lines comes from."""

    function: BlockFunction
    source: str
    line_offsets: list[int]
    """By line number less 1, the offset in the code of the instruction."""
    code: CodeType


@dataclass
class _Statement:
    text: str
    target: int
    """Number of the value it defines, -1 for none."""
    uses: tuple[int, ...]
    offset: int


class _Names:
    """Names of Python locals, reused when their value is dead so that numpy can give its memory back."""

    def __init__(self) -> None:
        self._free: list[str] = []
        self._count = 0

    def take(self) -> str:
        if self._free:
            return self._free.pop()
        self._count += 1
        return f"x{self._count}"

    def give(self, name: str) -> None:
        self._free.append(name)


class Emitter:
    """Writes one variant of one block."""

    def __init__(self, block: Block, variant: Variant) -> None:
        self.block = block
        self.variant = variant
        self.namespace: dict[str, Any] = dict(_NAMES)
        self._statements: list[_Statement] = []
        self._locals: dict[Any, int] = {}
        self._kinds: dict[int, str] = {}
        self._offset = block.start

    # ---- statements ---------------------------------------------------------------------------------------

    def _define(self, key: Any, text: str, uses: tuple[int, ...]) -> int:
        """Append `local = text`; `{%n}` in the text stands for local n."""
        number = len(self._locals)
        self._locals[key] = number
        self._statements.append(_Statement(text, number, uses, self._offset))
        return number

    def _do(self, text: str, uses: tuple[int, ...]) -> None:
        self._statements.append(_Statement(text, -1, uses, self._offset))

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
        if name not in self.namespace:
            number: Any = np.array(bits, _NUMPY[INT_OF.get(type_, type_)])
            if type_.is_float:
                number = number.view(_NUMPY[type_])
            if signed:
                number = number.view(SIGNED_NUMPY[type_])
            self.namespace[name] = number if array else number[()]
        return name

    def _argument(self, value: Value, *, array: bool) -> tuple[str, tuple[int, ...]]:
        if value.is_const:
            return self._constant(value, array=array), ()
        number = self.local(value)
        return f"{{%{number}}}", (number,)

    def _signed(self, value: Value, *, array: bool) -> tuple[str, tuple[int, ...]]:
        if value.is_const:
            if array:
                return self._constant(value, array=True, signed=True), ()
            bits = value.bits
            return repr(bits - (1 << value.type.bits) if bits >> (value.type.bits - 1) else bits), ()
        key = ("signed", value.number)
        if key not in self._locals:
            inner = self.local(value)
            if value.lanes:
                text = f"{{%{inner}}}.view({SIGNED_DTYPE[value.type]})"
            else:
                text = f"s_signed({{%{inner}}}, {value.type.bits})"
            self._define(key, text, (inner,))
        return f"{{%{self._locals[key]}}}", (self._locals[key],)

    def _mask(self, value: Value, bits: int) -> tuple[str, tuple[int, ...]]:
        """A truth value with lanes as a mask of `bits` bits per lane."""
        key = ("mask", value.number, bits)
        if key not in self._locals:
            inner = self.local(value)
            self._define(key, f"lane_mask({{%{inner}}}, i{bits // 8})", (inner,))
        return f"{{%{self._locals[key]}}}", (self._locals[key],)

    # ---- values -------------------------------------------------------------------------------------------

    def local(self, value: Value) -> int:
        """Return the number of the local that holds a value, after writing what computes it."""
        found = self._locals.get(value.number)
        if found is not None:
            return found
        self._prepare(value)
        special = getattr(self, f"_emit_{value.op}", None)
        text, uses = special(value) if special is not None else self._expression(value)
        return self._define(value.number, text, uses)

    def _prepare(self, value: Value) -> None:
        """Compute long chains of arguments first, without deep recursion."""
        stack = [value]
        while stack:
            top = stack[-1]
            missing = [
                arg
                for arg in top.args
                if not arg.is_const and arg.number not in self._locals and not self._skips(top, arg)
            ]
            if not missing:
                stack.pop()
                if top is not value and top.number not in self._locals:
                    self.local(top)
            else:
                stack.extend(missing)

    def _skips(self, value: Value, arg: Value) -> bool:
        """Whether an argument is not needed in this variant."""
        return value.op == "blend" and self.variant.full and arg is value.args[1]

    def _expression(self, value: Value) -> tuple[str, tuple[int, ...]]:
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
                    text, used = self._argument(arg, array=array)
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

    def _emit_bitcast(self, value: Value) -> tuple[str, tuple[int, ...]]:
        (arg,) = value.args
        if value.lanes or arg.type.is_float is value.type.is_float:
            return self._expression(value)
        text, uses = self._argument(arg, array=False)
        function = "s_float" if value.type.is_float else "s_bits"
        return f"{function}({text}, {DTYPE[value.type]})", uses

    def _emit_reg(self, value: Value) -> tuple[str, tuple[int, ...]]:
        register: Register = value.attributes
        if register[0] == "v":
            return f"v[{register[1]}]", ()
        if register[0] == "exec" and self.variant.full:
            return hex((1 << self.block.wave_size) - 1), ()
        return f"s[{slot(register)}]", ()

    def _emit_select(self, value: Value) -> tuple[str, tuple[int, ...]]:
        condition, a, b = value.args
        if not value.lanes:
            return self._expression(value)
        if value.type is I1:
            texts = [self._argument(arg, array=True) for arg in value.args]
            (c, cu), (x, xu), (y, yu) = texts
            if not condition.lanes:
                return f"s_select({c}, {x}, {y}, bool_)", cu + xu + yu
            return f"np.where({c}, {x}, {y})", cu + xu + yu
        if self.variant.single or not condition.lanes:
            (c, cu), (x, xu), (y, yu) = [self._argument(arg, array=True) for arg in value.args]
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

    def _bits(self, value: Value) -> tuple[str, tuple[int, ...]]:
        """A value with its bits as an integer, for blending."""
        if not value.type.is_float:
            return self._argument(value, array=True)
        if value.is_const:
            return self._constant(self.block.graph.const(INT_OF[value.type], value.bits), array=True), ()
        number = self.local(self.block.graph.value("bitcast", INT_OF[value.type], value))
        return f"{{%{number}}}", (number,)

    def _emit_blend(self, value: Value) -> tuple[str, tuple[int, ...]]:
        new, old = value.args
        text, uses = self._argument(new, array=new.lanes or not self.variant.full)
        if self.variant.full:
            return (text if new.lanes else f"g.splat({text})"), uses
        old_text, old_uses = self._argument(old, array=True)
        return f"select(g.exec_mask, {text}, {old_text})", uses + old_uses

    def _emit_writelane(self, value: Value) -> tuple[str, tuple[int, ...]]:
        texts = [self._argument(arg, array=False) for arg in value.args]
        return f"write_lane({', '.join(text for text, _ in texts)})", sum((used for _, used in texts), ())

    def _emit_vgpr_at(self, value: Value) -> tuple[str, tuple[int, ...]]:
        text, uses = self._argument(value.args[0], array=False)
        return f"g.register_at({value.attributes[0]}, {text})", uses

    def _emit_lane_id(self, value: Value) -> tuple[str, tuple[int, ...]]:
        return "g.lane_id", ()

    def _emit_lane_table(self, value: Value) -> tuple[str, tuple[int, ...]]:
        name = f"table_{value.number}"
        self.namespace[name] = np.array(value.attributes, np.intp)
        return name, ()

    def _emit_ballot(self, value: Value) -> tuple[str, tuple[int, ...]]:
        text, uses = self._argument(value.args[0], array=True)
        return f"g.ballot({text})", uses

    def _emit_lanes(self, value: Value) -> tuple[str, tuple[int, ...]]:
        text, uses = self._argument(value.args[0], array=False)
        return f"g.lanes({text})", uses

    def _emit_readlane(self, value: Value) -> tuple[str, tuple[int, ...]]:
        (text, uses), (lane, lane_uses) = (self._argument(arg, array=False) for arg in value.args)
        return f"read_lane({text}, {lane})", uses + lane_uses

    def _emit_readfirstlane(self, value: Value) -> tuple[str, tuple[int, ...]]:
        text, uses = self._argument(value.args[0], array=False)
        lane = "0" if self.variant.full else f"first_active(s[{slot(('exec', 0))}])"
        return f"read_lane({text}, {lane})", uses

    def _emit_permute_pull(self, value: Value) -> tuple[str, tuple[int, ...]]:
        (text, uses), (index, index_uses) = (self._argument(arg, array=False) for arg in value.args)
        if not value.args[0].lanes:
            return f"g.splat({text})", uses
        if not value.args[1].lanes:
            return f"g.splat(read_lane({text}, {index} & {self.block.wave_size - 1}))", uses + index_uses
        return f"pull({text}, {index})", uses + index_uses

    def _emit_permute_active(self, value: Value) -> tuple[str, tuple[int, ...]]:
        (index,) = value.args
        if self.variant.full:
            return "g.all_lanes", ()
        text, uses = self._argument(index, array=False)
        if not index.lanes:
            return f"g.splat(read_lane(g.exec_lanes, {text} & {self.block.wave_size - 1}))", uses
        return f"pull(g.exec_lanes, {text})", uses

    def _emit_permute_push(self, value: Value) -> tuple[str, tuple[int, ...]]:
        (text, uses), (index, index_uses) = (self._argument(arg, array=True) for arg in value.args)
        active = "None" if self.variant.full else "g.exec_lanes"
        return f"push({text}, {index}, {active}, g.shape)", uses + index_uses

    def _emit_pc(self, value: Value) -> tuple[str, tuple[int, ...]]:
        return f"g.code_base + {value.attributes[0]}", ()

    # ---- effects ------------------------------------------------------------------------------------------

    def _emit_effect(self, effect: Effect) -> None:
        texts: list[str] = []
        uses: tuple[int, ...] = ()
        for position, arg in enumerate(effect.args):
            if arg is None:
                texts.append("None")
                continue
            # After address and predicate, memory instructions have data.
            lane_data = position > 1 and effect.kind in ("store", "atomic")
            text, used = self._argument(arg, array=arg.lanes or lane_data)
            texts.append(text)
            uses += used
        facts = effect.attributes
        self._offset = effect.offset
        match effect.kind:
            case "load":
                facts_text = f"{facts['count']}, {facts['width']}, {facts['signed']}"
                call = f"g.memory.load_{facts['space']}(g, {', '.join(texts)}, {facts_text})"
            case "store":
                address, where, *data = texts
                values = f"({', '.join(data)},), {facts['width']}"
                call = f"g.memory.store_{facts['space']}(g, {address}, {where}, {values})"
            case "atomic":
                facts_text = f"{DTYPE[facts['type']]}, {facts['ret']}"
                call = (
                    f"g.memory.atomic_{facts['space']}(g, {facts['op']!r}, {', '.join(texts)}, {facts_text})"
                )
            case "load_scalar":
                facts_text = f"{facts['count']}, {facts['width']}, {facts['signed']}"
                call = f"g.memory.load_scalar(g, {texts[0]}, {facts_text})"
            case "getreg":
                call = f"g.getreg({facts['simm16']})"
            case "setreg":
                call = f"g.setreg({facts['simm16']}, {texts[0]})"
            case "clock":
                call = f"g.clock({facts['clock']!r})"
            case "gpr_index_mode":
                call = f"g.gpr_index_mode({facts['mask']})"
            case "set_vgpr_at":
                call = f"g.set_register_at({facts['index']}, {', '.join(texts)})"
            case "message":
                call = f"g.message({facts['simm16']}, {texts[0]})"
            case _:
                raise NotImplementedError(f"effect {effect.kind!r}")
        if not effect.results:
            self._do(call, uses)
        elif effect.kind in ("load", "load_scalar"):
            results = self._define(effect, call, uses)
            for position, result in enumerate(effect.results):
                self._define(result.number, f"{{%{results}}}[{position}]", (results,))
        else:
            self._define(effect.results[0].number, call, uses)

    # ---- the whole ----------------------------------------------------------------------------------------

    def compile(self) -> Compiled:
        """Write and compile the function."""
        block = self.block
        for effect in block.graph.effects:
            self._emit_effect(effect)
        self._offset = block.last_offset if block.instructions else 0
        returned: tuple[str, tuple[int, ...]] | None = None
        if block.operand is not None:
            returned = self._argument(block.operand, array=False)
        # Compute everything before the first register changes: reads are not repeated.
        writes: list[tuple[str, str, tuple[int, ...]]] = []
        for register, value in block.writes.items():
            text, uses = self._argument(value, array=False)
            if register[0] == "exec":
                writes.append(("g.set_exec({})", text, uses))
            elif register[0] == "v":
                writes.append((f"v[{register[1]}] = {{}}", text, uses))
            else:
                if register[0] == "scc" and self.kind(value) == "int":
                    text = f"bool({text})" if not value.is_const else text
                writes.append((f"s[{slot(register)}] = {{}}", text, uses))
        for pattern, text, uses in writes:
            self._do(pattern.replace("{}", text), uses)
        if returned is not None:
            self._do(f"return {returned[0]}", returned[1])
        return self._finish()

    def _finish(self) -> Compiled:
        last_use: dict[int, int] = {}
        for position, statement in enumerate(self._statements):
            for used in statement.uses:
                last_use[used] = position
        names = _Names()
        assigned: dict[int, str] = {}
        fresh: set[int] = set()
        lines = ["def block(g, v, s):"]
        offsets = [self.block.start]
        for position, statement in enumerate(self._statements):
            if statement.target >= 0 and statement.target not in last_use and not self._is_call(statement):
                continue
            text = statement.text
            if text.startswith("write_lane({%"):
                old = statement.uses[0]
                if old in fresh and last_use[old] == position:
                    # Nobody else sees the array that an earlier write_lane has made.
                    text = text.replace("write_lane(", "overwrite_lane(", 1)
                fresh.add(statement.target)
            for used in set(statement.uses):
                text = text.replace(f"{{%{used}}}", assigned[used])
            for used in set(statement.uses):
                if last_use[used] == position:
                    names.give(assigned[used])
            if statement.target >= 0:
                assigned[statement.target] = name = names.take()
                text = f"{name} = {text}"
                if statement.target not in last_use:
                    names.give(name)
            lines.append("    " + text)
            offsets.append(statement.offset)
        if len(lines) == 1:
            lines.append("    pass")
            offsets.append(self.block.start)
        source = "\n".join(lines) + "\n"
        code = compile(source, f"<block at {self.block.start:#x}>", "exec")
        exec(code, self.namespace)
        function = self.namespace["block"]
        return Compiled(function, source, offsets, function.__code__)

    @staticmethod
    def _is_call(statement: _Statement) -> bool:
        return statement.text.startswith("g.memory.") or statement.text.startswith("g.setreg")


SIGNED_NUMPY = {Type.I16: np.int16, I32: np.int32, I64: np.int64}


def compile_block(block: Block, variant: Variant) -> Compiled:
    """Return the code of one variant of a block."""
    return Emitter(block, variant).compile()
