/* What every kernel needs: the address spaces, the launch identifiers, and a barrier. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef int s32;
typedef long s64;

#define KERNEL __attribute__((amdgpu_kernel))
#define global __attribute__((address_space(1)))
#define local static __attribute__((address_space(3), loader_uninitialized))

/* The largest work-group a kernel accepts; clang sizes registers and the descriptor by it. */
#define MAX_BLOCK(n) __attribute__((amdgpu_flat_work_group_size(1, n)))

static inline u32 local_id(void) { return __builtin_amdgcn_workitem_id_x(); }
static inline u32 group_id(void) { return __builtin_amdgcn_workgroup_id_x(); }
static inline u32 group_size(void) { return __builtin_amdgcn_workgroup_size_x(); }
static inline u32 global_id(void) { return group_id() * group_size() + local_id(); }

static inline void barrier(void) {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
