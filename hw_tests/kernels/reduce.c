/* Sums blocks of 256 words through LDS, with a barrier after each halving. One sum per work-group. */
#include "gpu.h"

#define BLOCK 256
local u32 partial[BLOCK];

KERNEL MAX_BLOCK(BLOCK) void reduce(global u32 *sums, const global u32 *in, u32 count) {
    u32 t = local_id(), i = group_id() * BLOCK + t;
    partial[t] = i < count ? in[i] : 0;
    barrier();
    for (u32 half = BLOCK / 2; half > 0; half /= 2) {
        if (t < half) partial[t] += partial[t + half];
        barrier();
    }
    if (t == 0) sums[group_id()] = partial[0];
}
