/* c = a + b on 32-bit integers. */
#include "gpu.h"

KERNEL void vector_add(global u32 *c, const global u32 *a, const global u32 *b, u32 count) {
    u32 i = global_id();
    if (i < count) c[i] = a[i] + b[i];
}
