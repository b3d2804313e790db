/* Integer arithmetic of every width. */
#include "element.h"

struct pair32 { u32 a, b, c, d; };
struct out32 { u32 r[48]; };

static void int32_one(const struct pair32 *in, struct out32 *out) {
    u32 a = in->a, b = in->b, c = in->c, d = in->d, n = 0;
    i32 sa = (i32)a, sb = (i32)b, sc = (i32)c;
    u32 *r = out->r;
    r[n++] = a + b;
    r[n++] = a - b;
    r[n++] = a * b;
    r[n++] = a * b + c;
    r[n++] = (u32)(((u64)a * b) >> 32);
    r[n++] = (u32)(((i64)sa * sb) >> 32);
    r[n++] = b ? a / b : 1;
    r[n++] = b ? a % b : 2;
    r[n++] = (sb && !(a == 0x80000000u && sb == -1)) ? (u32)(sa / sb) : 3;
    r[n++] = (sb && !(a == 0x80000000u && sb == -1)) ? (u32)(sa % sb) : 4;
    r[n++] = a << (b & 31);
    r[n++] = a >> (b & 31);
    r[n++] = (u32)(sa >> (b & 31));
    r[n++] = a & b;
    r[n++] = a | b;
    r[n++] = a ^ b;
    r[n++] = ~a;
    r[n++] = a & ~b;
    r[n++] = a | ~b;
    r[n++] = ~(a ^ b);
    r[n++] = a < b ? a : b;
    r[n++] = a > b ? a : b;
    r[n++] = (u32)(sa < sb ? sa : sb);
    r[n++] = (u32)(sa > sb ? sa : sb);
    r[n++] = a > b ? a - b : b - a;
    r[n++] = (u32)(sa < 0 ? 0u - a : a);
    r[n++] = (a & c) | (b & ~c);
    r[n++] = (a >> 5) & 0x1ff;
    r[n++] = (u32)((i32)(a << 7) >> 20);
    r[n++] = (a << 13) | (a >> 19);
    r[n++] = (a << (b & 31)) | (a >> (-b & 31));
    r[n++] = (a << 3) + b;
    r[n++] = (a + b) << 4;
    r[n++] = (a & b) | c;
    r[n++] = (a << 9) | b;
    r[n++] = a + b + c;
    r[n++] = (a ^ b) + c;
    r[n++] = a ^ b ^ c;
    r[n++] = a | b | c;
    r[n++] = (a & 0xffffff) * (b & 0xffffff);
    r[n++] = (a & 0xffffff) * (b & 0xffffff) + c;
    r[n++] = (u32)(((i32)(a << 8) >> 8) * ((i32)(b << 8) >> 8));
    r[n++] = __builtin_bswap32(a);
    r[n++] = ((a & 0xff) > 200) + ((b & 0xffff) == (c & 0xffff)) + (sc < sb);
    r[n++] = sa < 10 ? (sa > -10 ? a : (u32)-10) : 10;
    r[n++] = (a == b) + (a != c) * 2 + (a < d) * 4 + (sa <= sb) * 8 + (a >= c) * 16;
    r[n++] = (a / 7) ^ (b % 1000003) ^ (u32)(sa / 13) ^ (u32)(sb % -17);
    r[n++] = (u32)(sa / 8) + (u32)(sb % 64);
}
ELEMENT(int32, struct pair32, struct out32)

struct pair64 { u64 a, b, c; };
struct out64 { u64 r[40]; };

static void int64_one(const struct pair64 *in, struct out64 *out) {
    u64 a = in->a, b = in->b, c = in->c;
    i64 sa = (i64)a, sb = (i64)b, sc = (i64)c;
    u32 n = 0;
    u64 *r = out->r;
    r[n++] = a + b;
    r[n++] = a - b;
    r[n++] = a * b;
    r[n++] = a * b + c;
    r[n++] = (u64)(((unsigned __int128)a * b) >> 64);
    r[n++] = (u64)(((__int128)sa * sb) >> 64);
    r[n++] = b ? a / b : 1;
    r[n++] = b ? a % b : 2;
    r[n++] = (sb && !(a == 1ull << 63 && sb == -1)) ? (u64)(sa / sb) : 3;
    r[n++] = (sb && !(a == 1ull << 63 && sb == -1)) ? (u64)(sa % sb) : 4;
    r[n++] = a << (b & 63);
    r[n++] = a >> (b & 63);
    r[n++] = (u64)(sa >> (b & 63));
    r[n++] = a & b;
    r[n++] = a | b;
    r[n++] = a ^ b;
    r[n++] = ~a;
    r[n++] = a < b ? a : b;
    r[n++] = a > b ? a : b;
    r[n++] = (u64)(sa < sb ? sa : sb);
    r[n++] = (u64)(sa > sb ? sa : sb);
    r[n++] = (u64)(sa < 0 ? 0 - a : a);
    r[n++] = (a == b) + (a != c) * 2 + (a < c) * 4 + (sa <= sb) * 8 + (a >= c) * 16 + (sc > sb) * 32;
    r[n++] = (u64)(u32)a * (u32)b;
    r[n++] = (u64)(u32)a * (u32)b + c;
    r[n++] = (u64)((i64)(i32)a * (i32)b) + c;
    r[n++] = (u64)__builtin_popcountll(a);
    r[n++] = a ? (u64)__builtin_clzll(a) : 64;
    r[n++] = a ? (u64)__builtin_ctzll(a) : 64;
    /* Not __builtin_bswap64: clang 22 -O0 for gfx1100 copies only the low half of each register for it. */
    r[n++] = (u64)__builtin_bswap32((u32)a) << 32 | __builtin_bswap32((u32)(a >> 32));
    r[n++] = (a << 17) | (a >> 47);
    r[n++] = a / 10;
    r[n++] = a % 1000000007ull;
    r[n++] = (u64)(sa / 1000);
    r[n++] = (a >> 13) & 0xfffff;
    r[n++] = (a << 5) + b;
    r[n++] = (u64)((i64)(a << 9) >> 30);
    r[n++] = (u64)(i64)(i32)a + (u64)(i64)(i16)b + (u64)(i64)(i8)c;
    r[n++] = (a & c) | (b & ~c);
    r[n++] = a ^ b ^ c;
}
ELEMENT(int64, struct pair64, struct out64)

struct small { u16 a, b; u8 c, d; i8 e, f; };
struct outs { u16 h[24]; u8 b[24]; };

static void small_one(const struct small *in, struct outs *out) {
    u16 a = in->a, b = in->b;
    i16 sa = (i16)a, sb = (i16)b;
    u8 c = in->c, d = in->d;
    i8 e = in->e, f = in->f;
    u32 n = 0;
    u16 *h = out->h;
    h[n++] = (u16)(a + b);
    h[n++] = (u16)(a - b);
    h[n++] = (u16)(a * b);
    h[n++] = (u16)(a * b + c);
    h[n++] = (u16)(a << (b & 15));
    h[n++] = (u16)(a >> (b & 15));
    h[n++] = (u16)(sa >> (b & 15));
    h[n++] = a < b ? a : b;
    h[n++] = a > b ? a : b;
    h[n++] = (u16)(sa < sb ? sa : sb);
    h[n++] = (u16)(sa > sb ? sa : sb);
    h[n++] = b ? a / b : 5;
    h[n++] = b ? (u16)(sa % sb) : 6;
    h[n++] = (u16)(sa < 0 ? -sa : sa);
    h[n++] = (u16)((a == b) + 2 * (a < b) + 4 * (sa < sb) + 8 * (a >= c) + 16 * (sb != e));
    h[n++] = (u16)(a & b);
    h[n++] = (u16)(a | b);
    h[n++] = (u16)(a ^ ~b);
    h[n++] = (u16)__builtin_bswap16(a);
    h[n++] = (u16)((a << 3) | (a >> 13));
    h[n++] = (u16)(c * d);
    h[n++] = (u16)(e * f);
    h[n++] = (u16)(a >> 8);
    h[n++] = (u16)(((i16)(a << 4)) >> 9);
    n = 0;
    u8 *r = out->b;
    r[n++] = (u8)(c + d);
    r[n++] = (u8)(c - d);
    r[n++] = (u8)(c * d);
    r[n++] = d ? (u8)(c / d) : 1;
    r[n++] = f ? (u8)(e % f) : 2;
    r[n++] = (u8)(c << (d & 7));
    r[n++] = (u8)(c >> (d & 7));
    r[n++] = (u8)(e >> (d & 7));
    r[n++] = c < d ? c : d;
    r[n++] = (u8)(e > f ? e : f);
    r[n++] = (u8)(e < f ? e : f);
    r[n++] = (u8)((c + d + 1) >> 1);
    r[n++] = (u8)~c;
    r[n++] = (u8)(c & d);
    r[n++] = (u8)(c ^ d);
    r[n++] = (u8)(c > d ? c - d : d - c);
    r[n++] = (u8)((c << 3) | (c >> 5));
    r[n++] = (u8)(a >> 4);
    r[n++] = (u8)(b >> 8);
    r[n++] = (u8)(e < 0);
    r[n++] = (u8)(e == f);
    r[n++] = (u8)(c >= d);
    r[n++] = (u8)-c;
    r[n++] = (u8)!c;
}
ELEMENT(small, struct small, struct outs)

static void bits_one(const struct pair32 *in, struct out32 *out) {
    u32 a = in->a, b = in->b, n = 0;
    u32 *r = out->r;
    for (int i = 0; i < 48; i++)
        r[i] = 0;
    r[n++] = (u32)__builtin_popcount(a);
    r[n++] = (u32)(__builtin_popcount(a) + (int)b);
    r[n++] = a ? (u32)__builtin_clz(a) : 32;
    r[n++] = a ? (u32)__builtin_ctz(a) : 32;
    r[n++] = (u32)__builtin_ffs((i32)a);
    r[n++] = (u32)__builtin_parity(a);
    u32 v = a;
    v = ((v >> 1) & 0x55555555u) | ((v & 0x55555555u) << 1);
    v = ((v >> 2) & 0x33333333u) | ((v & 0x33333333u) << 2);
    v = ((v >> 4) & 0x0f0f0f0fu) | ((v & 0x0f0f0f0fu) << 4);
    v = ((v >> 8) & 0x00ff00ffu) | ((v & 0x00ff00ffu) << 8);
    r[n++] = (v >> 16) | (v << 16);
    r[n++] = (u32)__builtin_clrsb((i32)a);
    u32 sum, carry, borrow, diff;
    carry = (u32)__builtin_add_overflow(a, b, &sum);
    borrow = (u32)__builtin_sub_overflow(a, b, &diff);
    r[n++] = carry ? 0xffffffffu : sum;
    r[n++] = borrow ? 0 : diff;
    i32 ssum, sprod;
    r[n++] = __builtin_add_overflow((i32)a, (i32)b, &ssum) ? 0x7fffffffu : (u32)ssum;
    r[n++] = __builtin_sub_overflow((i32)a, (i32)b, &ssum) ? 0x80000000u : (u32)ssum;
    r[n++] = __builtin_mul_overflow((i32)a, (i32)b, &sprod) ? 1u : (u32)sprod;
    u32 uprod;
    r[n++] = __builtin_mul_overflow(a, b, &uprod) ? 2u : uprod;
    u32 width = in->c & 31, offset = in->d & 31;
    r[n++] = (a >> offset) & ((1u << width) - 1);
    r[n++] = ((1u << width) - 1) << offset;
    r[n++] = (a & 0xff) | ((b & 0xff) << 8) | ((a >> 16) << 16);
    r[n++] = (a >> 24) | (b << 8);
    r[n++] = (u32)((((u64)a << 32) | b) >> (in->c & 31));
}
ELEMENT(bits, struct pair32, struct out32)
