/* Approximate operations; only for the GPU, compared with the host's libm within a documented tolerance. */
#include "element.h"

struct one { f32 x; f64 y; f16 h; };
struct many { f32 r[10]; f64 d[4]; f16 h[8]; };

static void approximate_one(const struct one *in, struct many *out) {
    f32 x = in->x;
    out->r[0] = __builtin_amdgcn_exp2f(x);
    out->r[1] = __builtin_amdgcn_logf(x);
    out->r[2] = __builtin_amdgcn_rcpf(x);
    out->r[3] = __builtin_amdgcn_rsqf(x);
    out->r[4] = __builtin_amdgcn_sqrtf(x);
    out->r[5] = __builtin_amdgcn_sinf(x);
    out->r[6] = __builtin_amdgcn_cosf(x);
    out->r[7] = __builtin_amdgcn_fractf(x);
    out->r[8] = __builtin_amdgcn_frexp_mantf(x) + (f32)__builtin_amdgcn_frexp_expf(x);
    out->r[9] = __builtin_amdgcn_fmed3f(x, -1.0f, 2.0f);
    out->d[0] = __builtin_amdgcn_rcp(in->y);
    out->d[1] = __builtin_amdgcn_rsq(in->y);
    out->d[2] = __builtin_amdgcn_sqrt(in->y);
    out->d[3] = __builtin_amdgcn_frexp_mant(in->y) + __builtin_amdgcn_fract(in->y) + (f64)__builtin_amdgcn_frexp_exp(in->y);
    out->h[0] = __builtin_amdgcn_rcph(in->h);
    out->h[1] = __builtin_amdgcn_rsqh(in->h);
    out->h[2] = __builtin_amdgcn_sqrth(in->h);
    out->h[3] = __builtin_amdgcn_sinh(in->h);
    out->h[4] = __builtin_amdgcn_cosh(in->h);
    out->h[5] = __builtin_amdgcn_fracth(in->h);
    out->h[6] = __builtin_amdgcn_fmed3h(in->h, (f16)-1.0f, (f16)2.0f);
    out->h[7] = __builtin_amdgcn_frexp_manth(in->h) + (f16)__builtin_amdgcn_frexp_exph(in->h);
}
ELEMENT(approximate, struct one, struct many)

static void library_one(const struct one *in, struct many *out) {
    out->r[0] = __builtin_exp2f(in->x);
    out->r[1] = __builtin_log2f(in->x);
    out->r[2] = __builtin_expf(in->x);
    out->r[3] = __builtin_logf(in->x);
    out->r[4] = __builtin_sinf(in->x);
    out->r[5] = __builtin_cosf(in->x);
    out->r[6] = __builtin_log10f(in->x);
}
ELEMENT(library, struct one, struct many)
