/* Counts Collatz steps to 1: lanes and waves leave the loop at different times. */
#include "gpu.h"

KERNEL void collatz(global u32 *steps, const global u32 *start, u32 count) {
    u32 i = global_id();
    if (i >= count) return;
    u32 n = start[i], k = 0;
    while (n > 1) {
        n = n & 1 ? 3 * n + 1 : n / 2;
        k++;
    }
    steps[i] = k;
}
