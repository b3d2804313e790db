/* Tickets of a counter that several devices count up: an atomic add with return, of system scope. */
#include "gpu.h"

KERNEL void shared_tickets(global u32 *out, global u32 *counter, u32 count) {
    u32 i = global_id();
    if (i < count) out[i] = __scoped_atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED, __MEMORY_SCOPE_SYSTEM);
}
