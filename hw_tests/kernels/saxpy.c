/* y = a * x + y, fused, in single and in double precision. */
#include "gpu.h"

KERNEL void saxpy_f32(global float *y, const global float *x, float a, u32 count) {
    u32 i = global_id();
    if (i < count) y[i] = __builtin_fmaf(a, x[i], y[i]);
}

KERNEL void saxpy_f64(global double *y, const global double *x, double a, u32 count) {
    u32 i = global_id();
    if (i < count) y[i] = __builtin_fma(a, x[i], y[i]);
}
