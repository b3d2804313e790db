// Kernels that make clang emit a wide choice of instructions; they are compiled and decoded, never run.
#define GLOBAL __attribute__((address_space(1)))
#define LDS __attribute__((address_space(3)))
#define PRIVATE __attribute__((address_space(5)))
#define KERNEL __attribute__((amdgpu_kernel)) void
typedef unsigned int u32;
typedef unsigned long u64;
typedef _Float16 f16;
typedef f16 half2 __attribute__((ext_vector_type(2)));
typedef float float4 __attribute__((ext_vector_type(4)));
typedef short short2 __attribute__((ext_vector_type(2)));

#define ID (__builtin_amdgcn_workgroup_id_x() * 64 + __builtin_amdgcn_workitem_id_x())

static LDS float tile[256] __attribute__((loader_uninitialized));
static LDS u32 counters[64] __attribute__((loader_uninitialized));

KERNEL fill(GLOBAL u32 *out, u32 value) { out[ID] = value; }

KERNEL saxpy(GLOBAL float *y, const GLOBAL float *x, float a) { y[ID] = a * x[ID] + y[ID]; }

KERNEL daxpy(GLOBAL double *y, const GLOBAL double *x, double a) { y[ID] = a * x[ID] + y[ID]; }

KERNEL divide(GLOBAL float *y, const GLOBAL float *x, GLOBAL double *d) {
    y[ID] = x[ID] / y[ID];
    d[ID] = d[ID] / (d[ID + 1] + 1.0);
}

KERNEL integers(GLOBAL int *o, GLOBAL u32 *u, GLOBAL long *l, GLOBAL u64 *m) {
    u32 i = ID;
    o[i] = o[i + 1] / o[i + 2] + o[i + 3] % o[i + 4];
    u[i] = u[i + 1] / u[i + 2] + u[i + 3] % u[i + 4];
    l[i] = l[i + 1] / l[i + 2] * (l[i + 3] >> (u[i] & 63));
    m[i] = m[i + 1] % m[i + 2] + (m[i + 3] << (u[i] & 63)) * __builtin_popcountl(m[i + 5]);
}

KERNEL small(GLOBAL char *c, GLOBAL unsigned char *b, GLOBAL short *s, GLOBAL unsigned short *h) {
    u32 i = ID;
    c[i] = c[i + 1] * c[i + 2] + s[i];
    b[i] = b[i + 1] >> (b[i + 2] & 7);
    s[i] = s[i + 1] * s[i + 2] > s[i + 3] ? s[i + 4] : c[i];
    h[i] = (h[i + 1] << (h[i + 2] & 15)) | b[i];
}

KERNEL bits(GLOBAL u32 *u, GLOBAL u64 *l) {
    u32 i = ID, a = u[i], b = u[i + 1];
    u[i] = __builtin_popcount(a) + __builtin_clz(a | 1) * __builtin_ctz(b | 1) + __builtin_bitreverse32(b);
    u[i + 1] = (a << (b & 31)) | (a >> ((32 - b) & 31));
    u[i + 2] = (a & b) ^ (~a | 0x12345678u);
    u[i + 3] = __builtin_bswap32(a) + (a >> 8 & 0xff) + ((int)(b << 12) >> 20);
    l[i] = __builtin_clzl(l[i + 1] | 1) + __builtin_ctzl(l[i + 2] | 1) + __builtin_bitreverse64(l[i + 3]);
}

KERNEL halves(GLOBAL f16 *h, GLOBAL half2 *p, GLOBAL short2 *s, GLOBAL float *f) {
    u32 i = ID;
    h[i] = h[i + 1] * h[i + 2] + h[i + 3] / h[i + 4] - (f16)f[i];
    p[i] = p[i + 1] * p[i + 2] + p[i + 3];
    s[i] = s[i + 1] * s[i + 2] - s[i + 3];
    f[i] = (float)h[i + 7] * f[i + 1] + (float)(int)h[i + 9];
    h[i + 20] = h[i + 5] > h[i + 6] ? -h[i + 6] : __builtin_fabsf16(h[i + 5]);
}

KERNEL convert(GLOBAL float *f, GLOBAL double *d, GLOBAL int *n, GLOBAL long *l, GLOBAL unsigned char *b) {
    u32 i = ID;
    f[i] = (float)n[i] + (float)(u32)n[i + 1] + (float)l[i] + (float)d[i] + (float)b[i];
    d[i] = (double)f[i + 1] + (double)n[i] + (double)(u32)n[i + 2] + (double)l[i + 2] + (double)(u64)l[i];
    n[i] = (int)f[i + 2] + (int)(u32)f[i + 3] + (int)d[i + 2] + (int)(u32)d[i + 3];
    l[i] = (long)f[i + 4] + (long)d[i + 4] + (long)(u64)d[i + 5];
}

KERNEL floats(GLOBAL float *f, GLOBAL double *d) {
    u32 i = ID;
    f[i] = __builtin_sqrtf(f[i + 1]) + __builtin_floorf(f[i + 2]) * __builtin_ceilf(f[i + 3]);
    f[i + 1] = __builtin_fminf(f[i], __builtin_fmaxf(f[i + 3], 0.5f)) - __builtin_truncf(f[i + 5]);
    f[i + 2] = __builtin_rintf(f[i]) * __builtin_ldexpf(f[i + 1], 3) + __builtin_copysignf(f[i], f[i + 9]);
    f[i + 3] = __builtin_fmaf(f[i], 2.5f, -f[i + 2]) * -__builtin_fabsf(f[i + 7]);
    f[i + 4] = __builtin_exp2f(f[i]) + __builtin_log2f(f[i + 1]);
    d[i] = __builtin_sqrt(d[i + 1]) + __builtin_floor(d[i + 2]) * __builtin_ceil(d[i + 3]);
    d[i + 1] = __builtin_fmin(d[i], __builtin_fmax(d[i + 3], 0.5)) - __builtin_rint(d[i + 5]) + 1.7e300;
    d[i + 2] = __builtin_fma(d[i], 3.25, -d[i + 2]) * __builtin_ldexp(d[i + 9], 5);
}

KERNEL compare(GLOBAL float *f, GLOBAL double *d, GLOBAL int *n, GLOBAL u64 *u) {
    u32 i = ID;
    if (f[i] < f[i + 1] || f[i] != f[i]) n[i] = 1;
    if (d[i] >= d[i + 1] && !(d[i + 2] > d[i])) n[i + 1] = 2;
    n[i + 2] = (n[i] > n[i + 3]) + (u[i] <= u[i + 1]) + ((long)u[i] < 7) + (n[i] == 0x7fff1234);
    n[i + 3] = __builtin_isinf(f[i + 3]) | __builtin_isnan(d[i + 3]) | __builtin_isnormal(f[i + 5]);
}

KERNEL reduce(GLOBAL float *out, const GLOBAL float *in) {
    u32 lane = __builtin_amdgcn_workitem_id_x();
    tile[lane] = in[ID];
    for (u32 step = 128; step; step >>= 1) {
        __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "workgroup");
        __builtin_amdgcn_s_barrier();
        if (lane < step) tile[lane] += tile[lane + step];
    }
    if (!lane) out[__builtin_amdgcn_workgroup_id_x()] = tile[0];
}

KERNEL atomics(GLOBAL u32 *a, GLOBAL u64 *b, GLOBAL float *f, int *generic) {
    u32 i = ID & 3;
    a[i + 8] = __atomic_fetch_add(a + i, 3, __ATOMIC_RELAXED);
    __atomic_fetch_or(a + i + 1, i, __ATOMIC_RELEASE);
    b[i + 8] = __atomic_fetch_xor(b + i, 5, __ATOMIC_SEQ_CST);
    u64 expected = 7;
    b[i + 9] = __atomic_compare_exchange_n(b + i, &expected, 9, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    a[i + 10] = __atomic_exchange_n(a + i, 11, __ATOMIC_ACQUIRE);
    __scoped_atomic_fetch_max(a + i, 12, __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
    __atomic_fetch_add(generic, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add((LDS u32 *)counters + i, 2, __ATOMIC_RELAXED);
    a[i + 11] = __atomic_fetch_sub((LDS u32 *)counters + i, 1, __ATOMIC_ACQ_REL);
}

KERNEL scratch(GLOBAL u32 *out, u32 n) {
    u32 words[64];
    unsigned char bytes[40];
    volatile PRIVATE u32 *local = (volatile PRIVATE u32 *)words;
    volatile PRIVATE unsigned char *small = (volatile PRIVATE unsigned char *)bytes;
    for (u32 i = 0; i < 64; i++) local[i] = i * n;
    out[ID] = local[n & 63] + local[(out[ID] * 7) & 63];
    small[n & 31] = n;
    out[ID + 1] = small[(n + 3) & 31];
    volatile u32 generic[4096]; // too large to become registers or LDS
    generic[n & 4095] = n;
    out[ID + 2] = generic[out[ID + 3] & 4095];
}

KERNEL collatz(GLOBAL u32 *out) {
    u32 n = ID + 1, steps = 0;
    while (n != 1) {
        n = n & 1 ? 3 * n + 1 : n >> 1;
        steps++;
    }
    out[ID] = steps;
}

__attribute__((noinline)) static u32 square(u32 x) { return x * x + 1; }
__attribute__((noinline)) static double twice(double x, GLOBAL double *p) { return *p = x * 2; }

KERNEL calls(GLOBAL u32 *out, GLOBAL double *d, u32 x) {
    u32 (*chosen)(u32) = square;
    __asm__ volatile("" : "+v"(chosen));
    out[ID] = square(x) + square(out[ID]);
    d[ID] = twice(d[ID + 1], d);
}

KERNEL switches(GLOBAL u32 *out, u32 x) {
    u32 v = out[ID];
    switch (v & 15) {
    case 0: v = x; break;
    case 1: v ^= 77; break;
    case 2: v *= 3; break;
    case 3: v = v << 7 | x; break;
    case 4: v = v / 7; break;
    case 5: v -= 1000000; break;
    case 9: v = ~v; break;
    }
    out[ID] = v;
    switch (x) {
    case 0: out[0] = 1; break;
    case 1: out[1] = 17; break;
    case 2: out[2] = x; break;
    case 3: out[3] = 0xdeadbeef; break;
    default: out[4] = 1; break;
    }
}

KERNEL wide(GLOBAL float4 *v, const GLOBAL float4 *w, float4 c, GLOBAL u64 *l) {
    v[ID] = v[ID] * w[ID] + c;
    l[0] = l[1] + l[2] * l[3] - (l[4] > l[5] ? l[6] : l[7]);
}

KERNEL lanes(GLOBAL u32 *out, GLOBAL int *n) {
    u32 i = ID, v = out[i];
    out[i] = __builtin_amdgcn_readfirstlane(v) + __builtin_amdgcn_mbcnt_lo(~0u, 0);
    out[i + 1] = __builtin_amdgcn_ds_bpermute((i ^ 3) << 2, v) + __builtin_amdgcn_readlane(v, 5);
    out[i + 2] = __builtin_amdgcn_update_dpp(0, v, 0x111, 0xf, 0xf, 1) + __builtin_amdgcn_mov_dpp(v, 0xb1, 0xf, 0xf, 1);
    out[i + 3] = __builtin_amdgcn_ds_swizzle(v, 0x401f) + __builtin_amdgcn_ubfe(v, 3, 7) + __builtin_amdgcn_sbfe(v, 3, 7);
    out[i + 4] = __builtin_amdgcn_perm(v, out[i + 9], 0x05010400) + __builtin_amdgcn_alignbit(v, v, 3);
    n[0] = __builtin_amdgcn_workgroup_id_y() + __builtin_amdgcn_workitem_id_z();
}
