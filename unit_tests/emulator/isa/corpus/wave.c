/* Operations between the lanes of a wave and on LDS and memory shared by lanes; only for the GPU, the expected
 * values are computed by the test. One wave per workgroup; every kernel writes 64 words per lane. */
#include "element.h"

#define ROW 64

#if defined(__GFX10__) || defined(__GFX11__) || defined(__GFX12__)
#define WAVE 32
#else
#define WAVE 64
#endif

static u32 item(void) { return __builtin_amdgcn_workgroup_id_x() * WAVE + __builtin_amdgcn_workitem_id_x(); }

#ifdef __gfx1010__ /* the only target without dot products */
static u32 dot(u32 a, u32 b, u32 bits, bool is_signed, u32 sum) {
    for (u32 shift = 0; shift < 32; shift += bits) {
        u32 up = 32 - bits - shift, down = 32 - bits;
        sum += is_signed ? (u32)(((i32)(a << up) >> down) * ((i32)(b << up) >> down)) : (a << up >> down) * (b << up >> down);
    }
    return sum;
}
#endif

KERNEL lanes(const GLOBAL u32 *in, GLOBAL u32 *out, u32 count) {
    u32 i = item();
    if (i >= count)
        return;
    u32 a = in[i];
    GLOBAL u32 *r = out + i * ROW;
    u32 n = 0;
#if WAVE == 64
    u64 odd = __builtin_amdgcn_ballot_w64(a & 1);
#else
    u64 odd = __builtin_amdgcn_ballot_w32(a & 1);
#endif
    r[n++] = (u32)odd;
    r[n++] = (u32)(odd >> 32);
    r[n++] = __builtin_amdgcn_mbcnt_hi((u32)(odd >> 32), __builtin_amdgcn_mbcnt_lo((u32)odd, 0));
    r[n++] = __builtin_amdgcn_readfirstlane(a);
    r[n++] = __builtin_amdgcn_readlane(a, 7);
    r[n++] = (u32)__builtin_amdgcn_ds_bpermute((int)(((i * 5 + 3) % WAVE) * 4), (int)a);
    r[n++] = (u32)__builtin_amdgcn_ds_permute((int)(((i * 5 + 3) % WAVE) * 4), (int)a);
    r[n++] = (u32)__builtin_amdgcn_ds_swizzle((int)a, 0x041f); /* xor 1 */
    r[n++] = (u32)__builtin_amdgcn_ds_swizzle((int)a, 0x8000 | 0x1b); /* quad 3 2 1 0 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(0, (int)a, 0x1b, 0xf, 0xf, 1); /* quad_perm 3 2 1 0 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x111, 0xf, 0xf, 0); /* row_shr:1 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x101, 0xf, 0xf, 1); /* row_shl:1 bound_ctrl */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x121, 0xf, 0xf, 0); /* row_ror:1 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x140, 0xf, 0xf, 0); /* row_mirror */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x141, 0xf, 0xf, 0); /* row_half_mirror */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x112, 0xa, 0x5, 0); /* row_shr:2 masked */
    r[n++] = a + (u32)__builtin_amdgcn_mov_dpp((int)a, 0xb1, 0xf, 0xf, 1); /* quad_perm 1 0 3 2 */
    u32 first = __builtin_amdgcn_readfirstlane(a);
    r[n++] = (u32)__builtin_amdgcn_sbfe((int)first, 3, 9);
    r[n++] = __builtin_amdgcn_ubfe(a, 5, 7);
    r[n++] = __builtin_amdgcn_perm(a, i * 0x01020304u, 0x07020c01u);
    r[n++] = __builtin_amdgcn_alignbit(a, i, i & 31);
    r[n++] = __builtin_amdgcn_alignbyte(a, i, i & 3);
    r[n++] = __builtin_amdgcn_sad_u8(a, first, 11);
    r[n++] = __builtin_amdgcn_msad_u8(a, first, 12);
    r[n++] = __builtin_amdgcn_sad_u16(a, first, 13);
    r[n++] = __builtin_amdgcn_lerp(a, first, 0x01010101);
#ifdef __gfx1010__
    r[n++] = dot(a, first, 8, true, 5);
    r[n++] = dot(a, first, 4, true, 6);
    r[n++] = dot(a, first, 8, false, 5);
    r[n++] = dot(a, first, 4, false, 6);
#else
#if defined(__GFX9__) || defined(__GFX10__)
    r[n++] = (u32)__builtin_amdgcn_sdot4((int)a, (int)first, 5, 0);
    r[n++] = (u32)__builtin_amdgcn_sdot8((int)a, (int)first, 6, 0);
#else
    r[n++] = (u32)__builtin_amdgcn_sudot4(1, (int)a, 1, (int)first, 5, 0);
    r[n++] = (u32)__builtin_amdgcn_sudot8(1, (int)a, 1, (int)first, 6, 0);
#endif
    r[n++] = (u32)__builtin_amdgcn_udot4(a, first, 5, 0);
    r[n++] = (u32)__builtin_amdgcn_udot8(a, first, 6, 0);
#endif
    __builtin_amdgcn_s_sleep(1);
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_s_barrier();
    u32 loops = 0;
    while (loops < (a & 7)) /* lanes leave at different times: readfirstlane under a partial mask */
        loops += __builtin_amdgcn_readfirstlane(1 + (a & 1));
    r[n++] = loops;
#if WAVE == 32
    r[n++] = (u32)__builtin_amdgcn_permlane16(0, a, 0x76543210, 0xfedcba98, 0, 1);
    r[n++] = (u32)__builtin_amdgcn_permlanex16(0, a, 0x89abcdef, 0x01234567, 0, 1);
    r[n++] = (u32)__builtin_amdgcn_mov_dpp8(a, 0xfac688 /* reverse of eight */);
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x155, 0xf, 0xf, 0); /* row_share:5 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x163, 0xf, 0xf, 0); /* row_xmask:3 */
#else
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x130, 0xf, 0xf, 0); /* wave_shl:1 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x138, 0xf, 0xf, 0); /* wave_shr:1 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x134, 0xf, 0xf, 0); /* wave_rol:1 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x142, 0xf, 0xf, 0); /* row_bcast:15 */
    r[n++] = (u32)__builtin_amdgcn_update_dpp(77, (int)a, 0x143, 0xc, 0xf, 0); /* row_bcast:31 */
#endif
}

LDS u32 shared32[256];
LDS u64 shared64[64];
LDS f32 sharedf[64];
LDS u8 shared8[1024];

KERNEL lds(const GLOBAL u32 *in, GLOBAL u32 *out, u32 count) {
    u32 i = __builtin_amdgcn_workitem_id_x(), at = item();
    u32 a = in[at];
    GLOBAL u32 *r = out + at * ROW;
    u32 n = 0;
    for (u32 j = 0; j < 4; j++)
        shared32[i * 4 + j] = a + j;
    shared64[i] = ((u64)a << 32) | i;
    sharedf[i] = (f32)(a & 0xffff);
    for (u32 j = 0; j < 16; j++)
        shared8[j * WAVE + i] = (u8)(a >> j);
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
    u32 other = (i * 7 + 1) % WAVE;
    r[n++] = shared32[other * 4] ^ shared32[other * 4 + 1] ^ shared32[other * 4 + 3];
    r[n++] = (u32)shared64[other] ^ (u32)(shared64[other] >> 32);
    r[n++] = (u32)sharedf[other];
    r[n++] = shared8[other * 3] + ((u32)(i8)shared8[other * 5 + 1] << 8);
    r[n++] = *(__attribute__((address_space(3))) u16 *)(shared8 + other * 2)
        + (u32)(i32) * (__attribute__((address_space(3))) i16 *)(shared8 + other * 2 + 64);
    __builtin_amdgcn_s_barrier();
    u32 key = i & 7;
    if (i < 8)
        for (u32 j = 0; j < 16; j++)
            shared32[j * 8 + i] = j >= 2 && j < 4 ? 0 : j == 3 || j == 5 ? 0xffffffffu : 0;
    __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "workgroup");
    __builtin_amdgcn_s_barrier();
    __scoped_atomic_fetch_add(&shared32[key], a, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    __scoped_atomic_fetch_sub(&shared32[8 + key], a, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    __scoped_atomic_fetch_max(&shared32[16 + key], a, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    __scoped_atomic_fetch_xor(&shared32[24 + key], a, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    __scoped_atomic_fetch_or(&shared32[32 + key], a, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    __scoped_atomic_fetch_and(&shared32[40 + key], a | 0xff0000ffu, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    u32 ticket = __scoped_atomic_fetch_add(&shared32[48], 1u, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    u32 expected = 0;
    __scoped_atomic_compare_exchange_n(&shared32[56 + key], &expected, a | 1, 0, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, "workgroup");
    __builtin_amdgcn_s_barrier();
    for (u32 j = 0; j < 6; j++)
        r[n++] = shared32[j * 8 + key];
    r[n++] = ticket;
    r[n++] = shared32[48];
    r[n++] = shared32[56 + key];
}

KERNEL memory_atomics(GLOBAL u32 *words, GLOBAL u64 *longs, GLOBAL f32 *floats, GLOBAL f64 *doubles, GLOBAL u32 *tickets) {
    u32 i = item(), key = i & 7;
    u32 a = i * 2654435761u + 12345u;
    u64 b = (u64)a * 0x123456789ull;
#define EACH(op, base, type, value, p) __scoped_atomic_fetch_##op(&p[base * 8 + key], (type)(value), __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM)
    EACH(add, 0, u32, a, words);
    EACH(sub, 1, u32, a, words);
    EACH(min, 2, u32, a, words);
    EACH(max, 3, u32, a, words);
    EACH(and, 4, u32, a | 0xff, words);
    EACH(or, 5, u32, a & 0xff, words);
    EACH(xor, 6, u32, a, words);
    __scoped_atomic_fetch_min((GLOBAL i32 *)&words[56 + key], (i32)a, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
    __scoped_atomic_fetch_max((GLOBAL i32 *)&words[64 + key], (i32)a, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
    EACH(add, 0, u64, b, longs);
    EACH(sub, 1, u64, b, longs);
    EACH(min, 2, u64, b, longs);
    EACH(max, 3, u64, b, longs);
    EACH(and, 4, u64, b | 0xff, longs);
    EACH(or, 5, u64, b & 0xff, longs);
    EACH(xor, 6, u64, b, longs);
    __scoped_atomic_fetch_min((GLOBAL i64 *)&longs[56 + key], (i64)b, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
    __scoped_atomic_fetch_max((GLOBAL i64 *)&longs[64 + key], (i64)b, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
    __scoped_atomic_fetch_add(&floats[key], (f32)(i & 15), __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
    __scoped_atomic_fetch_add(&doubles[key], (f64)(i & 15), __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
    tickets[i * 4] = __scoped_atomic_fetch_add(&words[80], 1u, __ATOMIC_ACQ_REL, __MEMORY_SCOPE_DEVICE);
    tickets[i * 4 + 1] = (u32)__scoped_atomic_fetch_add(&longs[80], 1ull, __ATOMIC_SEQ_CST, __MEMORY_SCOPE_SYSTEM);
    tickets[i * 4 + 2] = __scoped_atomic_exchange_n(&words[88 + key], i + 1, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
    u32 expected = words[96 + key];
    while (!__scoped_atomic_compare_exchange_n(&words[96 + key], &expected, expected * 3 + 1, 0, __ATOMIC_RELAXED,
                                               __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM))
        ;
    u64 long_expected = longs[96 + key];
    while (!__scoped_atomic_compare_exchange_n(&longs[96 + key], &long_expected, long_expected + i, 0, __ATOMIC_RELAXED,
                                               __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM))
        ;
    tickets[i * 4 + 3] = expected;
}

KERNEL flat(GLOBAL u32 *in, GLOBAL u32 *out, u32 count) {
    u32 i = item();
    u32 a = in[i];
    u32 private_words[4] = {a, a + 1, a + 2, a + 3};
    shared32[__builtin_amdgcn_workitem_id_x()] = a ^ 0x5555;
    u32 *pointer = a % 3 == 0 ? (u32 *)&in[i] : a % 3 == 1 ? (u32 *)&shared32[__builtin_amdgcn_workitem_id_x()] : &private_words[a & 3];
    *pointer += 5;
    __builtin_amdgcn_s_barrier();
    out[i * 2] = *pointer;
    out[i * 2 + 1] = private_words[(a >> 4) & 3];
    if (a % 3 != 2)
        __scoped_atomic_fetch_add(pointer, 2u, __ATOMIC_RELAXED, __MEMORY_SCOPE_WRKGRP);
    out[i * 2] += *pointer;
}
