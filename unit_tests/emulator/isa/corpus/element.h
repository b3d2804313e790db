/* One source, two machines: ELEMENT(name, In, Out) turns the function `name_one(const In *, Out *)` into an
 * AMDGPU kernel that handles one element per work-item, and into a host function that loops over all of them.
 * Both have the signature (const In *in, Out *out, unsigned count); workgroups have 64 work-items. */
#ifndef ELEMENT_H
#define ELEMENT_H

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef _Float16 f16;
typedef float f32;
typedef double f64;

#define NOINLINE static __attribute__((noinline))

#ifdef __AMDGCN__
#define GLOBAL __attribute__((address_space(1)))
#define CONSTANT __attribute__((address_space(4)))
#define LDS static __attribute__((address_space(3))) __attribute__((loader_uninitialized))
#define KERNEL __attribute__((amdgpu_kernel)) __attribute__((amdgpu_flat_work_group_size(1, 1024))) void

#define GROUP 64
static unsigned work_item(void) { return __builtin_amdgcn_workgroup_id_x() * GROUP + __builtin_amdgcn_workitem_id_x(); }

#define ELEMENT(name, In, Out)                                               \
    KERNEL name(const GLOBAL In *in, GLOBAL Out *out, unsigned count) {      \
        unsigned i = work_item();                                            \
        if (i < count)                                                       \
            name##_one((const In *)(in + i), (Out *)(out + i));              \
    }
#else
#define ELEMENT(name, In, Out)                                               \
    void name(const In *in, Out *out, unsigned count) {                      \
        for (unsigned i = 0; i < count; i++)                                 \
            name##_one(in + i, out + i);                                     \
    }
#endif

#endif
