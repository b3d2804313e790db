/* Holds values in vector and scalar registers and in LDS until the host sets a flag, then stores what became of
 * them. Each work-group counts itself in `started` once it holds them. */
#include "gpu.h"

local u32 shared[64];

KERNEL MAX_BLOCK(64) void hold(global u32 *started, const global u32 *flag, global u32 *out, u32 seed) {
    u32 lane = local_id(), i = global_id();
    u32 held[8];
    for (u32 k = 0; k < 8; k++) held[k] = (i + seed) * 2654435761u + k * seed;
    for (u32 k = 0; k < 8; k++) __asm__ volatile("" : "+v"(held[k]));
    u32 group = group_id() * 40503u + seed;
    shared[lane] = i ^ seed;
    barrier();
    if (lane == 0) __scoped_atomic_fetch_add(started, 1, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
    while (*(const volatile global u32 *)flag == 0) __builtin_amdgcn_s_sleep(8);
    u32 sum = group + shared[63 - lane];
    for (u32 k = 0; k < 8; k++) sum += held[k] >> k;
    out[i] = sum;
}
