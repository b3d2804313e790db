/* Control flow, calls, structures in memory, private arrays, unaligned and narrow accesses. */
#include "element.h"

struct word4 { u32 a, b, c, d; };
struct words { u32 r[16]; };

static u32 collatz(u64 n) {
    u32 steps = 0;
    while (n > 1 && steps < 300) {
        n = (n & 1) ? 3 * n + 1 : n / 2;
        steps++;
    }
    return steps;
}

static u32 gcd(u32 a, u32 b) {
    while (b) {
        u32 t = a % b;
        a = b;
        b = t;
    }
    return a;
}

NOINLINE u32 mix(u32 a, u32 b, u32 rounds) {
    for (u32 i = 0; i < rounds; i++) {
        a = (a ^ (a >> 15)) * 0x85ebca6bu + b;
        b += 0x9e3779b9u;
        if (a & 0x10000)
            continue;
        a ^= b << 3;
    }
    return a;
}

NOINLINE u32 choose(u32 key, u32 a, u32 b) {
    switch (key % 11) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return mix(a, b, 3);
    case 3: return a * b;
    case 4: return a ^ b;
    case 5: return a << 3;
    case 6: return b >> 7;
    case 8: return ~a;
    case 9: return mix(b, a, key & 7);
    default: return 42;
    }
}

static void flow_one(const struct word4 *in, struct words *out) {
    u32 n = 0;
    for (int i = 0; i < 16; i++)
        out->r[i] = 0;
    out->r[n++] = collatz(in->a & 0xffff);
    out->r[n++] = gcd(in->b & 0xfffff, in->c & 0xfffff);
    out->r[n++] = choose(in->d, in->a, in->b);
    out->r[n++] = choose(in->a, in->c, in->d);
    u32 sum = 0;
    for (u32 i = 0; i < (in->a & 31); i++) {
        if ((in->b >> i) & 1) {
            sum += i * in->c;
            if (sum > 0xf0000000u)
                break;
        } else {
            for (u32 j = i; j < (in->d & 7); j++)
                sum ^= j << (i & 15);
        }
    }
    out->r[n++] = sum;
    u32 kind = (in->a > in->b) ? (in->c > in->d ? 1 : 2) : (in->b & 1 ? 3 : 4);
    out->r[n++] = kind;
    out->r[n++] = (in->a & 1) && (in->b & 2) && !(in->c & 4);
    out->r[n++] = (in->a & 1) || (in->b & 2) || (in->d & 4);
}
ELEMENT(flow, struct word4, struct words)

static void scratch_one(const struct word4 *in, struct words *out) {
    u32 table[32];
    u8 bytes[32];
    u16 halves[16];
    u64 wide[8];
    u32 seed = in->a;
    for (u32 i = 0; i < 32; i++) {
        seed = seed * 1664525u + 1013904223u;
        table[i] = seed;
        bytes[(i + (in->b & 3)) & 31] = (u8)(seed >> 8);
        halves[i & 15] = (u16)(seed >> 11);
        wide[i & 7] = ((u64)seed << 32) | i;
    }
    for (int i = 0; i < 16; i++)
        out->r[i] = 0;
    for (u32 i = 0; i < 8; i++) {
        u32 at = (in->c >> (i * 4)) & 31;
        out->r[0] += table[at];
        out->r[1] ^= bytes[at];
        out->r[2] += (u32)(i8)bytes[(at + 7) & 31];
        out->r[3] ^= halves[at & 15];
        out->r[4] += (u32)(i16)halves[(at + 3) & 15];
        out->r[5] ^= (u32)wide[at & 7] ^ (u32)(wide[at & 7] >> 32);
        table[(in->d >> (i * 3)) & 31] ^= out->r[0];
    }
    for (u32 i = 0; i < 32; i++)
        out->r[6] = out->r[6] * 31 + table[i];
    /* insertion sort in private memory */
    u32 sorted[12];
    for (u32 i = 0; i < 12; i++)
        sorted[i] = table[i];
    for (u32 i = 1; i < 12; i++) {
        u32 key = sorted[i];
        i32 j = (i32)i - 1;
        for (; j >= 0 && sorted[j] > key; j--)
            sorted[j + 1] = sorted[j];
        sorted[j + 1] = key;
    }
    out->r[7] = sorted[0];
    out->r[8] = sorted[5];
    out->r[9] = sorted[11];
}
ELEMENT(scratch, struct word4, struct words)

struct inner { u8 a; u16 b; u32 c; u64 d; f32 e; f64 f; };
struct outer { struct inner x[2]; u8 tail[13]; };

NOINLINE struct inner shuffle(struct inner v, u32 by) {
    struct inner r = {(u8)(v.b + by), (u16)(v.c ^ by), (u32)v.d + v.a, v.d * 3 + v.c, v.e + 1.0f, v.f * 0.5};
    return r;
}

static void structs_one(const struct outer *in, struct outer *out) {
    *out = *in;
    out->x[0] = shuffle(in->x[1], in->tail[0]);
    out->x[1] = shuffle(in->x[0], in->tail[1]);
    for (int i = 0; i < 13; i++)
        out->tail[i] = (u8)(in->tail[12 - i] + i);
}
ELEMENT(structs, struct outer, struct outer)

struct __attribute__((packed)) loose { u8 a; u32 b; u16 c; u64 d; i8 e; i16 f; u32 g; };

static void unaligned_one(const struct loose *in, struct loose *out) {
    out->a = (u8)(in->a + 1);
    out->b = in->b + 1;
    out->c = (u16)(in->c + in->a);
    out->d = in->d ^ in->b;
    out->e = (i8)(in->e - 1);
    out->f = (i16)(in->f + in->e);
    out->g = in->g * 5;
}
ELEMENT(unaligned, struct loose, struct loose)

typedef u32 (*operation)(u32, u32);
NOINLINE u32 op_add(u32 a, u32 b) { return a + b; }
NOINLINE u32 op_mul(u32 a, u32 b) { return a * b; }
NOINLINE u32 op_mix(u32 a, u32 b) { return mix(a, b, 2); }

NOINLINE u32 factorial(u32 n) { return n < 2 ? 1 : n * factorial(n - 1); }

static void calls_one(const struct word4 *in, struct words *out) {
    operation table[3] = {op_add, op_mul, op_mix};
    for (int i = 0; i < 16; i++)
        out->r[i] = 0;
    out->r[0] = table[in->a % 3](in->b, in->c);
    out->r[1] = table[in->b % 3](in->d, out->r[0]);
    out->r[2] = mix(in->a, in->b, in->c & 3);
}
ELEMENT(calls, struct word4, struct words)
