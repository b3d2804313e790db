"""Random C programs without undefined behaviour, whose control flow parts lanes and waves in every way.

A program is some phases: functions of a work-item's state, after each of which the work-items of a group
exchange words through shared memory. The same text compiles as a kernel and for the host.
"""

from __future__ import annotations

import random

HEADER = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;
typedef int s32; typedef long s64; typedef short s16; typedef signed char s8;
#pragma clang fp contract(off)
struct state { u32 a, b, c, d, t[4]; u64 w; float f; double g; };
#define GROUP 256
static inline void start(struct state *s, u32 i, u32 a, u32 b, u32 c, u32 d) {
    s->a = a; s->b = b; s->c = c; s->d = d;
    s->w = (u64)a << 32 | b; s->f = (float)(s32)c; s->g = (double)(s32)d;
    s->t[0] = a ^ d; s->t[1] = b + c; s->t[2] = 7; s->t[3] = i;
}
static inline u32 result(struct state *s) {
    u32 bits; __builtin_memcpy(&bits, &s->f, 4);
    u64 wide; __builtin_memcpy(&wide, &s->g, 8);
    if (s->f != s->f) bits = 0x7fc00000;
    if (s->g != s->g) wide = 1;
    return s->a + 3 * s->b + 5 * s->c + 7 * s->d + (u32)s->w + (u32)(s->w >> 32) * 11 + bits * 13
        + (u32)wide + (u32)(wide >> 32) * 17 + s->t[0] + 19 * s->t[1] + 23 * s->t[2] + 29 * s->t[3];
}
"""
KERNEL = """
#define GLOBAL __attribute__((address_space(1)))
static __attribute__((address_space(3), loader_uninitialized)) u32 shared[GROUP];
static inline void barrier(void) {{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}}
__attribute__((amdgpu_kernel, amdgpu_flat_work_group_size(1, GROUP)))
void generated(GLOBAL u32 *out, const GLOBAL u32 *in, u32 count) {{
    u32 lane = __builtin_amdgcn_workitem_id_x(), i = __builtin_amdgcn_workgroup_id_x() * GROUP + lane;
    struct state s;
    start(&s, i, in[4 * i], in[4 * i + 1], in[4 * i + 2], in[4 * i + 3]);
{phases}    out[i] = result(&s);
}}
"""
KERNEL_PHASE = """
    phase{number}(&s, i);
    shared[lane] = s.a; barrier(); s.b ^= shared[(lane + {step}) % GROUP]; barrier();
"""
HOST = """
static struct state states[1 << 16];
void generated(u32 *out, const u32 *in, u32 count) {{
    static u32 shared[1 << 16];
    for (u32 i = 0; i < count; i++, in += 4) start(&states[i], i, in[0], in[1], in[2], in[3]);
{phases}    for (u32 i = 0; i < count; i++) out[i] = result(&states[i]);
}}
"""
HOST_PHASE = """
    for (u32 i = 0; i < count; i++) {{ phase{number}(&states[i], i); shared[i] = states[i].a; }}
    for (u32 i = 0; i < count; i++) states[i].b ^= shared[i / GROUP * GROUP + (i + {step}) % GROUP];
"""
UNPACK = (
    "u32 a = s->a, b = s->b, c = s->c, d = s->d, *t = s->t; u64 w = s->w; float f = s->f; double g = s->g;"
)
PACK = "s->a = a; s->b = b; s->c = c; s->d = d; s->w = w; s->f = f; s->g = g;"
WORDS = ("a", "b", "c", "d")
BINARY = ("+", "-", "*", "&", "|", "^")
COMPARE = ("<", "<=", ">", ">=", "==", "!=")


class Generator:
    """Writes one program."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._loops = 0
        self._lines: list[str] = []

    def phase(self, number: int) -> str:
        """Return a function that changes a state."""
        self._lines = [f"static inline void phase{number}(struct state *s, u32 i) {{"]
        self._line(0, UNPACK)
        for _ in range(self._random.randint(2, 4)):
            self._statement(0, 3)
        self._line(0, PACK)
        return "\n".join([*self._lines, "}", ""])

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
    """Return the kernel and the host's function, for work-items in groups of 256."""
    generator = Generator(seed)
    count = 2 + seed % 2
    body = HEADER + "".join(generator.phase(number) for number in range(count))
    steps = [1 + 77 * (seed + number) % 255 for number in range(count)]
    kernel, host = (
        "".join(phase.format(number=number, step=steps[number]) for number in range(count))
        for phase in (KERNEL_PHASE, HOST_PHASE)
    )
    return body + KERNEL.format(phases=kernel), body + HOST.format(phases=host)
