/* Waits until a number arrives, and passes on the one that follows it. */
#include "gpu.h"

KERNEL void pass_on(const global u32 *from, global u32 *to) {
    u32 number;
    while ((number = *(const volatile global u32 *)from) == 0) __builtin_amdgcn_s_sleep(8);
    __scoped_atomic_store_n(to, number + 1, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
}
