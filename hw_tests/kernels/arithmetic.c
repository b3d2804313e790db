/* A compute-bound loop of a known number of integer operations (a linear congruential step and a mix). */
#include "gpu.h"

KERNEL void mix(global u32 *out, u32 rounds, u32 count) {
    u32 i = global_id();
    u32 a = i * 2654435761u, b = i ^ 0x9e3779b9u;
    for (u32 k = 0; k < rounds; k++) {
        a = a * 1664525u + 1013904223u;
        b = (b ^ a) + (b << 5);
        a ^= b >> 7;
    }
    if (i < count) out[i] = a ^ b;
}
