/* Writes one value to each of `count` words. */
#include "gpu.h"

KERNEL void fill(global u32 *out, u32 value, u32 count) {
    u32 i = global_id();
    if (i < count) out[i] = value;
}
