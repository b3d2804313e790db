/* Permutes eight words per work-item through a private array that is indexed at run time (scratch memory). */
#include "gpu.h"

#define WORDS 8

KERNEL void permute_private(global u32 *out, const global u32 *in, const global u32 *order, u32 count) {
    u32 i = global_id();
    if (i >= count) return;
    volatile u32 words[WORDS];
    for (u32 k = 0; k < WORDS; k++) words[order[k] & (WORDS - 1)] = in[i * WORDS + k] + i;
    for (u32 k = 0; k < WORDS; k++) out[i * WORDS + k] = words[k];
}
