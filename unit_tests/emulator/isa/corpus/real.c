/* IEEE arithmetic in three widths, conversions and classes. Compiled with -ffp-contract=off, so that only
 * __builtin_fma contracts. NaN results are normalized: their payload is not part of the agreement. */
#include "element.h"

struct three32 { f32 a, b, c; i32 i; };
struct real32 { f32 r[40]; u32 u[20]; };

static f32 quiet32(f32 x) { return x == x ? x : __builtin_nanf(""); }

static void float32_one(const struct three32 *in, struct real32 *out) {
    f32 a = in->a, b = in->b, c = in->c, *r = out->r;
    u32 n = 0, m = 0, *u = out->u;
    r[n++] = a + b;
    r[n++] = a - b;
    r[n++] = a * b;
    r[n++] = a / b;
    r[n++] = 1.0f / a;
    r[n++] = __builtin_sqrtf(__builtin_fabsf(a));
    r[n++] = __builtin_fmaf(a, b, c);
    r[n++] = __builtin_fmaf(-a, b, -c);
    r[n++] = a * b + c;
    r[n++] = -a;
    r[n++] = __builtin_fabsf(a);
    r[n++] = __builtin_copysignf(a, b);
    r[n++] = __builtin_floorf(a);
    r[n++] = __builtin_ceilf(a);
    r[n++] = __builtin_truncf(a);
    r[n++] = __builtin_rintf(a);
    r[n++] = __builtin_roundf(a);
    r[n++] = a < b ? a : b;
    r[n++] = a > b ? a : b;
    r[n++] = (a != a || b != b) ? 0 : __builtin_fminf(a + 0.0f, b + 0.0f) + 0.0f;
    r[n++] = (a != a || b != b) ? 0 : __builtin_fmaxf(a + 0.0f, b + 0.0f) + 0.0f;
    r[n++] = a < 0 ? 0 : (a > 1 ? 1 : a);
    r[n++] = __builtin_ldexpf(a, in->i % 300);
    r[n++] = a * 2.0f;
    r[n++] = a * 0.5f + 4.0f;
    r[n++] = (a + b) * -4.0f;
    r[n++] = a - __builtin_floorf(a);
    r[n++] = (f32)in->i;
    r[n++] = (f32)(u32)in->i;
    r[n++] = (f32)(u8)in->i;
    r[n++] = (f32)(u8)(in->i >> 8);
    r[n++] = (f32)(u8)(in->i >> 16);
    r[n++] = (f32)(u8)(in->i >> 24);
    r[n++] = (f32)(i16)in->i;
    r[n++] = (f32)((i64)in->i * 0x123456789ll);
    r[n++] = (f32)((u64)(u32)in->i * 0x12345678ull);
    r[n++] = (f32)(f64)a;
    r[n++] = (f32)(f16)a;
    r[n++] = a * 3.0f - b * 5.0f;
    r[n++] = (a == b) ? c : -c;
    for (u32 i = 0; i < n; i++)
        r[i] = quiet32(r[i]);
    f32 safe = (a < 2.0e9f && a > -2.0e9f) ? a : 0;
    u[m++] = (u32)(i32)safe;
    u[m++] = (u32)(safe < 0 ? 0 : safe);
    u[m++] = (u32)(i16)(i32)(safe / 100000.0f);
    u[m++] = (u32)((u64)(i64)(safe * 1000.0f) >> 16);
    u[m++] = (u32)((u64)(safe < 0 ? 0 : safe * 4e9f) >> 24);
    u[m++] = (a < b) + (a <= b) * 2 + (a == b) * 4 + (a >= b) * 8 + (a > b) * 16 + (a != b) * 32;
    u[m++] = !(a < b) + !(a <= b) * 2 + !(a > b) * 4 + !(a >= b) * 8;
    u[m++] = __builtin_isunordered(a, b) + __builtin_isgreater(a, b) * 2 + __builtin_islessgreater(a, b) * 4;
    u[m++] = (u32)__builtin_isnan(a) + (u32)(__builtin_isinf(a) != 0) * 2 + (u32)(__builtin_isfinite(a) != 0) * 4;
    u[m++] = (u32)(__builtin_isnormal(a) != 0) + (u32)(__builtin_signbit(a) != 0) * 2;
    union { f32 f; u32 u; } bits = {.f = a};
    u[m++] = a == a ? bits.u >> 23 : 0;
    u[m++] = a < b && b < c ? 7 : a < c || b == c ? 8 : 9;
    u[m++] = (u32)__builtin_lrintf(safe);
    while (m < 20)
        u[m++] = 0;
}
ELEMENT(float32, struct three32, struct real32)

struct three64 { f64 a, b, c; i64 i; };
struct real64 { f64 r[32]; u64 u[16]; };

static f64 quiet64(f64 x) { return x == x ? x : __builtin_nan(""); }

static void float64_one(const struct three64 *in, struct real64 *out) {
    f64 a = in->a, b = in->b, c = in->c, *r = out->r;
    u64 *u = out->u;
    u32 n = 0, m = 0;
    r[n++] = a + b;
    r[n++] = a - b;
    r[n++] = a * b;
    r[n++] = a / b;
    r[n++] = 1.0 / a;
    r[n++] = __builtin_sqrt(__builtin_fabs(a));
    r[n++] = __builtin_fma(a, b, c);
    r[n++] = __builtin_fma(a, -b, c);
    r[n++] = a * b + c;
    r[n++] = -a;
    r[n++] = __builtin_fabs(a);
    r[n++] = __builtin_copysign(a, b);
    r[n++] = __builtin_floor(a);
    r[n++] = __builtin_ceil(a);
    r[n++] = __builtin_trunc(a);
    r[n++] = __builtin_rint(a);
    r[n++] = __builtin_round(a);
    r[n++] = a < b ? a : b;
    r[n++] = a > b ? a : b;
    r[n++] = (a != a || b != b) ? 0 : __builtin_fmin(a + 0.0, b + 0.0) + 0.0;
    r[n++] = (a != a || b != b) ? 0 : __builtin_fmax(a + 0.0, b + 0.0) + 0.0;
    r[n++] = __builtin_ldexp(a, (i32)(in->i % 2000));
    r[n++] = a * 2.0 - 0.5;
    r[n++] = (f64)in->i;
    r[n++] = (f64)(u64)in->i;
    r[n++] = (f64)(i32)in->i;
    r[n++] = (f64)(u32)in->i;
    r[n++] = (f64)(f32)a;
    r[n++] = (f64)(f16)(f32)a;
    r[n++] = a - __builtin_floor(a);
    r[n++] = a < 0 ? 0 : (a > 1 ? 1 : a);
    r[n++] = (a == b) ? c : -c;
    for (u32 i = 0; i < n; i++)
        r[i] = quiet64(r[i]);
    f64 safe = (a < 4.0e18 && a > -4.0e18) ? a : 0;
    f64 safe32 = (a < 2.0e9 && a > -2.0e9) ? a : 0;
    u[m++] = (u64)(i64)safe;
    u[m++] = (u64)(safe < 0 ? 0 : safe);
    u[m++] = (u64)(i32)safe32;
    u[m++] = (u32)(safe32 < 0 ? 0 : safe32);
    u[m++] = (u64)((a < b) + (a <= b) * 2 + (a == b) * 4 + (a >= b) * 8 + (a > b) * 16 + (a != b) * 32);
    u[m++] = (u64)(!(a < b) + !(a <= b) * 2 + !(a > b) * 4 + !(a >= b) * 8);
    u[m++] = (u64)(__builtin_isnan(a) + (__builtin_isinf(a) != 0) * 2 + (__builtin_isfinite(a) != 0) * 4);
    u[m++] = (u64)((__builtin_isnormal(a) != 0) + (__builtin_signbit(a) != 0) * 2);
    u[m++] = (u64)(a < b && b < c ? 7 : a < c || b == c ? 8 : 9);
    while (m < 16)
        u[m++] = 0;
}
ELEMENT(float64, struct three64, struct real64)

struct three16 { f16 a, b, c; i16 i; };
struct real16 { f16 r[32]; u16 u[12]; };

static f16 quiet16(f16 x) { return x == x ? x : (f16)__builtin_nanf(""); }

static void float16_one(const struct three16 *in, struct real16 *out) {
    f16 a = in->a, b = in->b, c = in->c, *r = out->r;
    u16 *u = out->u;
    u32 n = 0, m = 0;
    r[n++] = a + b;
    r[n++] = a - b;
    r[n++] = a * b;
    r[n++] = a / b;
    r[n++] = a * b + c;
    r[n++] = -a;
    r[n++] = a < 0 ? -a : a;
    r[n++] = a < b ? a : b;
    r[n++] = a > b ? a : b;
    r[n++] = a * (f16)2.0f + (f16)0.5f;
    r[n++] = (f16)in->i;
    r[n++] = (f16)(u16)in->i;
    r[n++] = (f16)(i32)(in->i * 3);
    r[n++] = (f16)(f32)a;
    /* + 0: clang 22 makes v_fma_mixlo_f16 with an addend of +0 of the product alone, which loses a -0. */
    r[n++] = (f16)((f32)a * (f32)b + 0.0f);
    r[n++] = (f16)((f32)a + 1.0e-3f);
    r[n++] = (a == b) ? c : -c;
    r[n++] = (a + b) * (b - c);
    r[n++] = a < (f16)0 ? (f16)0 : (a > (f16)1 ? (f16)1 : a);
    while (n < 32)
        r[n++] = 0;
    for (u32 i = 0; i < n; i++)
        r[i] = quiet16(r[i]);
    f16 safe = (a < (f16)30000 && a > (f16)-30000) ? a : (f16)0;
    u[m++] = (u16)(i16)safe;
    u[m++] = (u16)(safe < 0 ? (f16)0 : safe);
    u[m++] = (u16)((a < b) + (a <= b) * 2 + (a == b) * 4 + (a >= b) * 8 + (a > b) * 16 + (a != b) * 32);
    u[m++] = (u16)(!(a < b) + !(a <= b) * 2 + !(a > b) * 4 + !(a >= b) * 8);
    while (m < 12)
        u[m++] = 0;
}
ELEMENT(float16, struct three16, struct real16)

/* Quotients alone, for many pairs of operands. */
struct pair_f32 { f32 a, b; };
struct pair_f64 { f64 a, b; };
struct pair_f16 { f16 a, b; };

static void divide32_one(const struct pair_f32 *in, f32 *out) { *out = quiet32(in->a / in->b); }
ELEMENT(divide32, struct pair_f32, f32)

static void divide64_one(const struct pair_f64 *in, f64 *out) { *out = quiet64(in->a / in->b); }
ELEMENT(divide64, struct pair_f64, f64)

static void divide16_one(const struct pair_f16 *in, f16 *out) { *out = quiet16(in->a / in->b); }
ELEMENT(divide16, struct pair_f16, f16)

static void root32_one(const f32 *in, f32 *out) { *out = quiet32(__builtin_sqrtf(*in)); }
ELEMENT(root32, f32, f32)

static void root64_one(const f64 *in, f64 *out) { *out = quiet64(__builtin_sqrt(*in)); }
ELEMENT(root64, f64, f64)
