"""Random C programs without undefined behaviour, whose control flow parts lanes and waves in every way.

The text is the body of a function of `i` (the work-item) and `in` (four words per work-item) that assigns
`out[i]`; it compiles for the host and as a kernel.
"""

from __future__ import annotations

import random

HEADER = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;
typedef int s32; typedef long s64; typedef short s16; typedef signed char s8;
#pragma clang fp contract(off)
"""
KERNEL_HEAD = """
#define GLOBAL __attribute__((address_space(1)))
__attribute__((amdgpu_kernel, amdgpu_flat_work_group_size(1, 256)))
void generated(GLOBAL u32 *out, const GLOBAL u32 *in, u32 count) {
    u32 i = __builtin_amdgcn_workgroup_id_x() * 256 + __builtin_amdgcn_workitem_id_x();
    if (i < count) {
"""
HOST_HEAD = """
void generated(u32 *out, const u32 *in, u32 count) {
    for (u32 i = 0; i < count; i++) {
"""
TAIL = "    }\n}\n"
WORDS = ("a", "b", "c", "d")
BINARY = ("+", "-", "*", "&", "|", "^")
COMPARE = ("<", "<=", ">", ">=", "==", "!=")


class Generator:
    """Writes one program."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._loops = 0
        self._lines: list[str] = []

    def text(self) -> str:
        """Return the body."""
        self._line(1, "u32 a = in[4 * i], b = in[4 * i + 1], c = in[4 * i + 2], d = in[4 * i + 3];")
        self._line(1, "u64 w = (u64)a << 32 | b; float f = (float)(s32)c; double g = (double)(s32)d;")
        self._line(1, "u32 t[4] = {a ^ d, b + c, 7, i};")
        for _ in range(self._random.randint(6, 10)):
            self._statement(1, 3)
        self._line(1, "u32 bits; __builtin_memcpy(&bits, &f, 4); u64 wide; __builtin_memcpy(&wide, &g, 8);")
        self._line(1, "if (f != f) bits = 0x7fc00000; if (g != g) wide = 1;")
        self._line(1, "out[i] = a + 3 * b + 5 * c + 7 * d + (u32)w + (u32)(w >> 32) * 11 + bits * 13")
        self._line(2, "+ (u32)wide + (u32)(wide >> 32) * 17 + t[0] + 19 * t[1] + 23 * t[2] + 29 * t[3];")
        return "\n".join(self._lines) + "\n"

    def _line(self, depth: int, text: str) -> None:
        self._lines.append("    " * (depth + 1) + text)

    # ---- expressions --------------------------------------------------------------------------------------

    def _word(self, depth: int = 2) -> str:
        """An expression of 32 bits."""
        pick = self._random.choice
        if depth == 0:
            return pick(
                (*WORDS, "i", "(u32)w", str(self._random.choice((1, 2, 3, 64, 255, 0x9E3779B9))) + "u")
            )
        x, y = self._word(depth - 1), self._word(depth - 1)
        kind = self._random.randrange(14)
        if kind < 5:
            return f"({x} {pick(BINARY)} {y})"
        return (
            f"({x} << ({y} & 31))",
            f"({x} >> ({y} & 31))",
            f"(u32)((s32){x} >> ({y} & 31))",
            f"({x} {pick('/%')} ({y} | 1))",
            f"(u32)((s32){x} {pick('/%')} (s32)(({y} & 0x7fff) | 1))",
            f"({self._condition(depth - 1)} ? {x} : {y})",
            f"(u32)({pick(('s8', 'u8', 's16', 'u16'))}){x}",
            f"t[{x} & 3]",
            f"(u32)({pick(('__builtin_popcount', '__builtin_bswap32'))}({x}))",
        )[kind - 5]

    def _condition(self, depth: int = 1) -> str:
        """A truth value that differs by lane, by wave, or not at all."""
        pick = self._random.choice
        kind = self._random.randrange(8)
        if kind == 0:
            return f"((i >> {self._random.randint(5, 7)}) & 1)"
        if kind == 1:
            return f"({pick(WORDS)} & {1 << self._random.randrange(5)})"
        if kind == 2:
            return f"(f {pick(('<', '>', '<=', '>='))} {self._random.randint(-3, 3)}.5f)"
        if kind == 3:
            return f"(g {pick(('<', '>'))} (double)f)"
        if kind == 4:
            return f"((s32){self._word(depth)} {pick(COMPARE)} (s32){self._word(depth)})"
        if kind == 5:
            return f"(w {pick(COMPARE)} (u64){self._word(depth)} * 3)"
        return f"({self._word(depth)} {pick(COMPARE)} {self._word(depth)})"

    # ---- statements ---------------------------------------------------------------------------------------

    def _assignment(self, depth: int) -> None:
        pick = self._random.choice
        x = self._word()
        self._line(
            depth,
            pick(
                (
                    *(f"{pick(WORDS)} = {x};",) * 5,
                    f"t[{self._word(1)} & 3] {pick(('=', '+=', '^='))} {x};",
                    f"w = w {pick(BINARY)} (u64){x};",
                    f"w = w {pick(('<<', '>>'))} ({x} & 63);",
                    f"w = (u64)((s64)w >> ({x} & 63)) + {x};",
                    f"w = w * (((u64){x} << 17) | 1);",
                    f"f = f {pick('+-*')} (float)(s32){x};",
                    f"f = (f + 1.0f) / (float)({x} & 0xffff | 1);",
                    "f = __builtin_sqrtf(f * f + 1.0f);",
                    f"g = g {pick('+-*')} (double){x};",
                    f"g = (g + 3.0) / (double)({x} | 1);",
                    f"f = {x} & 1 ? (float)g : f;",
                    "if (f > -1000000.0f && f < 1000000.0f) a += (u32)(s32)f;",
                )
            ),
        )

    def _statement(self, depth: int, budget: int) -> None:
        kind = self._random.random()
        if kind < 0.5 or budget == 0:
            self._assignment(depth)
        elif kind < 0.75:
            self._line(depth, f"if ({self._condition()}) {{")
            self._block(depth + 1, budget - 1)
            if self._random.random() < 0.6:
                self._line(depth, "} else {")
                self._block(depth + 1, budget - 1)
            self._line(depth, "}")
        elif kind < 0.92:
            self._loop(depth, budget)
        else:
            self._line(depth, f"switch ({self._word(1)} & 7) {{")
            for case in self._random.sample(range(8), 4):
                self._line(depth, f"case {case}:")
                self._assignment(depth + 1)
                if self._random.random() < 0.7:
                    self._line(depth + 1, "break;")
            self._line(depth, f"default: {self._random.choice(WORDS)} += 5;")
            self._line(depth, "}")

    def _loop(self, depth: int, budget: int) -> None:
        self._loops += 1
        k = f"k{self._loops}"
        limit = self._random.choice(("5", f"({self._word(1)} & 7)", "((i >> 6) & 3)", "(i & 15)"))
        self._line(depth, f"for (u32 {k} = 0, n{k} = {limit}; {k} < n{k}; {k}++) {{")
        self._block(depth + 1, budget - 1)
        if self._random.random() < 0.5:
            self._line(depth + 1, f"if ({self._condition()}) {self._random.choice(('break', 'continue'))};")
            self._assignment(depth + 1)
        self._line(depth + 1, f"{self._random.choice(WORDS)} += {k};")
        self._line(depth, "}")

    def _block(self, depth: int, budget: int) -> None:
        for _ in range(self._random.randint(1, 3)):
            self._statement(depth, budget)


def sources(seed: int) -> tuple[str, str]:
    """Return the kernel and the host's function."""
    body = Generator(seed).text()
    return HEADER + KERNEL_HEAD + body + TAIL, HEADER + HOST_HEAD + body + TAIL
