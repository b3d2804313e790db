"""Random C programs that mean the same on every machine: nothing undefined, no contraction, no NaN payloads.

A program is one function of an element: it reads eight words, computes with variables of all integer types
and of f32 and f64, branches and loops a bounded number of times, indexes a private array, and writes what is
left.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

INPUT_WORDS = 8
OUTPUT_BYTES = 16 * 8

_INTEGERS = {"u8": 8, "i8": 8, "u16": 16, "i16": 16, "u32": 32, "i32": 32, "u64": 64, "i64": 64}
_COMPARISONS = ("<", "<=", "==", "!=", ">", ">=")
_MAX_DEPTH = 3


@dataclass
class Program:
    """Builds the source of one program from a seed."""

    seed: int
    lines: list[str] = field(default_factory=list)
    indent: int = 1

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.variables = {f"{kind}_{i}": kind for kind in (*_INTEGERS, "f32", "f64") for i in range(2)}
        self.loops = 0

    def source(self) -> str:
        """The C source, with a kernel called `program`."""
        for i, (name, kind) in enumerate(self.variables.items()):
            word = f"in->w[{i % INPUT_WORDS}]"
            if kind == "f64":
                value = f"(f64)(i32){word} / 1024.0"
            elif kind == "f32":
                value = f"(f32)(i32){word} / 64.0f"
            elif kind in ("u64", "i64"):
                value = f"({kind})(((u64){word} << 32) | in->w[{(i + 3) % INPUT_WORDS}])"
            else:
                value = f"({kind})({word} >> {self.rng.randrange(8)})"
            self.line(f"{kind} {name} = {value};")
        self.line("u32 cells[16];")
        self.line("for (u32 k = 0; k < 16; k++) cells[k] = in->w[k & 7] * (k + 1);")
        self.block(14, 0)
        self.line("u64 *out = result->r;")
        for i, kind in enumerate((*_INTEGERS, "f32", "f64")):
            both = [f"{kind}_{n}" for n in range(2)]
            if kind in _INTEGERS:
                self.line(f"out[{i}] = (u64){both[0]} * 31 + (u64){both[1]};")
            else:
                bits, wide = ("u32", "u64") if kind == "f32" else ("u64", "u64")
                self.line(f"{{ {kind} t = {both[0]} + {both[1]};")
                self.line(f"  out[{i}] = t == t ? ({wide})__builtin_bit_cast_{bits}(t) : 1; }}")
        self.line("u64 sum = 0;")
        self.line("for (u32 k = 0; k < 16; k++) sum = sum * 131 + cells[k];")
        self.line("out[10] = sum;")
        self.line("for (u32 k = 11; k < 16; k++) out[k] = 0;")
        body = "\n".join(self.lines)
        return f"""#include "element.h"
struct words {{ u32 w[{INPUT_WORDS}]; }};
struct results {{ u64 r[16]; }};
static u32 __builtin_bit_cast_u32(f32 x) {{ union {{ f32 f; u32 u; }} c = {{ .f = x }}; return c.u; }}
static u64 __builtin_bit_cast_u64(f64 x) {{ union {{ f64 f; u64 u; }} c = {{ .f = x }}; return c.u; }}
static void program_one(const struct words *in, struct results *result) {{
{body}
}}
ELEMENT(program, struct words, struct results)
""".replace("__builtin_bit_cast_", "bits_")

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def pick(self, *kinds: str) -> str:
        return self.rng.choice([name for name, kind in self.variables.items() if kind in kinds])

    # ---- statements ---------------------------------------------------------------------------------------

    def block(self, count: int, depth: int) -> None:
        for _ in range(count):
            kind = self.rng.random()
            if kind < 0.12 and depth < _MAX_DEPTH:
                self.conditional(depth)
            elif kind < 0.22 and depth < 2:
                self.loop(depth)
            elif kind < 0.34:
                operator = self.rng.choice(("=", "+=", "^="))
                self.line(f"cells[{self.integer(1)} & 15] {operator} (u32){self.integer(2)};")
            elif kind < 0.46:
                name = self.pick("u32", "i32", "u16", "u64")
                self.line(f"{name} ^= ({self.variables[name]})cells[(u32){self.integer(1)} & 15];")
            elif kind < 0.7:
                name = self.pick(*_INTEGERS)
                self.line(f"{name} = ({self.variables[name]})({self.integer(3)});")
            else:
                name = self.pick("f32", "f64")
                self.line(f"{name} = {self.real(self.variables[name], 3)};")

    def conditional(self, depth: int) -> None:
        self.line(f"if ({self.condition()}) {{")
        self.nested(self.rng.randrange(1, 4), depth)
        if self.rng.random() < 0.5:
            self.line("} else {")
            self.nested(self.rng.randrange(1, 4), depth)
        self.line("}")

    def loop(self, depth: int) -> None:
        self.loops += 1
        name = f"k{self.loops}"
        self.line(f"for (u32 {name} = 0; {name} < ((u32){self.integer(1)} & 7); {name}++) {{")
        self.nested(self.rng.randrange(1, 4), depth)
        if self.rng.random() < 0.4:
            self.line(f"    if ({self.condition()}) {self.rng.choice(('break', 'continue'))};")
        self.line("}")

    def nested(self, count: int, depth: int) -> None:
        self.indent += 1
        self.block(count, depth + 1)
        self.indent -= 1

    # ---- expressions --------------------------------------------------------------------------------------

    def condition(self) -> str:
        operator = self.rng.choice(_COMPARISONS)
        if self.rng.random() < 0.3:
            kind = self.rng.choice(("f32", "f64"))
            return f"{self.real(kind, 1)} {operator} {self.real(kind, 1)}"
        kind = self.rng.choice(tuple(_INTEGERS))
        return f"({kind})({self.integer(1)}) {operator} ({kind})({self.integer(1)})"

    def integer(self, depth: int) -> str:
        """An integer expression in unsigned arithmetic of 32 or 64 bits, where nothing is undefined."""
        if depth == 0 or self.rng.random() < 0.15:
            if self.rng.random() < 0.25:
                return str(self.rng.choice((0, 1, 3, 255, 65535, 0x7FFFFFFF))) + "u"
            return self.pick(*_INTEGERS)
        kind = self.rng.choice(("u32", "u32", "u64"))
        bits = _INTEGERS[kind]
        a, b = (f"({kind})({self.integer(depth - 1)})" for _ in range(2))
        signed = f"i{bits}"
        form = self.rng.randrange(14)
        if form < 6:
            return f"({a} {'+-*&|^'[form]} {b})"
        return {
            6: f"({a} << ({b} & {bits - 1}))",
            7: f"({a} >> ({b} & {bits - 1}))",
            8: f"({kind})(({signed})({a}) >> ({b} & {bits - 1}))",
            # A divisor known to be small makes clang 22 -O0 divide sign-extended bytes in 24 bits.
            9: f"({a} / (({b} >> {self.rng.randrange(16)}) | 1))",
            10: f"({kind})(({signed})({a} >> 2) % (({signed})({b} & 0xfff) + 1))",
            11: f"(({self.condition()}) ? {a} : {b})",
            12: f"({kind})(({signed})({a}) < ({signed})({b}) ? {a} : {b})",
            13: f"({kind})__builtin_popcount{'ll' if bits == 64 else ''}({a})",
        }[form]

    def real(self, kind: str, depth: int) -> str:
        """An expression of f32 or f64."""
        suffix = "f" if kind == "f32" else ""
        if depth == 0 or self.rng.random() < 0.15:
            if self.rng.random() < 0.3:
                return self.rng.choice(("0.5", "3.25", "-1.75", "1.0e-3", "65536.0")) + suffix
            return self.pick(kind)
        a, b = (self.real(kind, depth - 1) for _ in range(2))
        form = self.rng.randrange(10)
        if form < 4:
            return f"({a} {'+-*/'[form]} {b})"
        return {
            4: f"__builtin_fma{suffix}({a}, {b}, {self.real(kind, depth - 1)})",
            5: f"__builtin_sqrt{suffix}(__builtin_fabs{suffix}({a}))",
            6: f"(({self.condition()}) ? {a} : {b})",
            7: f"__builtin_floor{suffix}({a})",
            8: f"({kind})(i32)({self.integer(depth - 1)})",
            9: f"({kind})({'f64' if kind == 'f32' else 'f32'})({a})",
        }[form]
