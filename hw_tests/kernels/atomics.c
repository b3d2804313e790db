/* A histogram by atomic add without return, tickets by atomic add with return, and a 64-bit maximum. */
#include "gpu.h"

KERNEL void histogram(global u32 *bins, const global u32 *in, u32 bin_count, u32 count) {
    u32 i = global_id();
    if (i < count) __scoped_atomic_fetch_add(&bins[in[i] % bin_count], 1u, __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
}

KERNEL void tickets(global u32 *out, global u32 *counter, u32 count) {
    u32 i = global_id();
    if (i < count) out[i] = __scoped_atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
}

KERNEL void maximum_u64(global u64 *result, const global u64 *in, u32 count) {
    u32 i = global_id();
    if (i < count) __scoped_atomic_fetch_max(result, in[i], __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE);
}

KERNEL void compare_exchange(global u32 *slots, global u32 *winners, u32 slot_count, u32 count) {
    u32 i = global_id();
    if (i >= count) return;
    u32 expected = 0;
    if (__scoped_atomic_compare_exchange_n(&slots[i % slot_count], &expected, i + 1, 0, __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED, __MEMORY_SCOPE_DEVICE))
        winners[i] = 1;
}
