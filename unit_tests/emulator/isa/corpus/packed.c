/* Vectors of two, which compilers turn into packed instructions. Only clang compiles this. */
#include "element.h"

static f16 quiet16(f16 x) { return x == x ? x : (f16)__builtin_nanf(""); }
static f32 quiet32(f32 x) { return x == x ? x : __builtin_nanf(""); }

typedef f16 half2 __attribute__((ext_vector_type(2)));
typedef i16 short2 __attribute__((ext_vector_type(2)));
typedef u16 ushort2 __attribute__((ext_vector_type(2)));
typedef f32 float2 __attribute__((ext_vector_type(2)));

struct packed_in { ushort2 a, b, c; float2 x, y, z; };
struct packed_out { ushort2 r[16]; float2 f[4]; };

static void packed_one(const struct packed_in *in, struct packed_out *out) {
    ushort2 a = in->a, b = in->b, c = in->c;
    short2 sa = __builtin_bit_cast(short2, a), sb = __builtin_bit_cast(short2, b);
    u32 n = 0;
    out->r[n++] = a + b;
    out->r[n++] = a - b;
    out->r[n++] = a * b;
    out->r[n++] = a * b + c;
    out->r[n++] = a << (b & (u16)15);
    out->r[n++] = a >> (b & (u16)15);
    out->r[n++] = __builtin_bit_cast(ushort2, (short2)(sa >> (sb & (i16)15)));
    out->r[n++] = a & b;
    out->r[n++] = a ^ ~c;
    out->r[n++] = __builtin_elementwise_min(a, b);
    out->r[n++] = __builtin_elementwise_max(a, b);
    out->r[n++] = __builtin_bit_cast(ushort2, __builtin_elementwise_min(sa, sb));
    out->r[n++] = __builtin_bit_cast(ushort2, __builtin_elementwise_max(sa, sb));
    out->r[n++] = a.yx + b;
    out->r[n++] = a - b.yx;
    out->r[n++] = a * b.xx;
    out->f[0] = in->x + in->y;
    out->f[1] = in->x * in->y;
    out->f[2] = in->x - in->y;
    out->f[3] = in->x * in->y + in->z;
    for (int i = 0; i < 4; i++) {
        out->f[i].x = quiet32(out->f[i].x);
        out->f[i].y = quiet32(out->f[i].y);
    }
}
ELEMENT(packed, struct packed_in, struct packed_out)

struct half_in { half2 a, b, c; };
struct half_out { half2 r[8]; };

static void half_pairs_one(const struct half_in *in, struct half_out *out) {
    u32 n = 0;
    out->r[n++] = in->a + in->b;
    out->r[n++] = in->a - in->b;
    out->r[n++] = in->a * in->b;
    out->r[n++] = in->a * in->b + in->c;
    out->r[n++] = -in->a + in->b;
    out->r[n++] = in->a.yx * in->b;
    out->r[n++] = in->a + in->b.xx;
    out->r[n++] = in->a / in->b;
    for (u32 i = 0; i < n; i++) {
        out->r[i].x = quiet16(out->r[i].x);
        out->r[i].y = quiet16(out->r[i].y);
    }
}
ELEMENT(half_pairs, struct half_in, struct half_out)
