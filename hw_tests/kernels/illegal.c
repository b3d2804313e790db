/* A word between two stores that is an instruction of no target. */
#include "gpu.h"

KERNEL void illegal(global u32 *out) {
    out[0] = 1;
    __asm__ volatile(".long 0xbfffffff" ::: "memory");
    out[1] = 1;
}
