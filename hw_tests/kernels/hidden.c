/* Writes what the kernel sees of its launch: hidden arguments and identifiers, 16 words per work-item. */
#include "gpu.h"

KERNEL void launch(global u32 *out) {
    u32 size_x = __builtin_amdgcn_workgroup_size_x(), size_y = __builtin_amdgcn_workgroup_size_y(),
        size_z = __builtin_amdgcn_workgroup_size_z();
    u32 tx = __builtin_amdgcn_workitem_id_x(), ty = __builtin_amdgcn_workitem_id_y(),
        tz = __builtin_amdgcn_workitem_id_z();
    u32 gx = __builtin_amdgcn_workgroup_id_x(), gy = __builtin_amdgcn_workgroup_id_y(),
        gz = __builtin_amdgcn_workgroup_id_z();
    u32 grid_x = __builtin_amdgcn_grid_size_x(), grid_y = __builtin_amdgcn_grid_size_y(),
        grid_z = __builtin_amdgcn_grid_size_z();
    const __attribute__((address_space(4))) u16 *hidden = __builtin_amdgcn_implicitarg_ptr();
    const __attribute__((address_space(4))) u32 *counts =
        (const __attribute__((address_space(4))) u32 *)__builtin_amdgcn_implicitarg_ptr();
    u32 full_x = counts[0] * hidden[6], full_y = counts[1] * hidden[7];
    u32 x = gx * hidden[6] + tx, y = gy * hidden[7] + ty, z = gz * hidden[8] + tz;
    u32 i = (z * grid_y + y) * grid_x + x;
    global u32 *line = out + i * 16;
    line[0] = gx, line[1] = gy, line[2] = gz;
    line[3] = tx, line[4] = ty, line[5] = tz;
    line[6] = size_x, line[7] = size_y, line[8] = size_z;
    line[9] = grid_x, line[10] = grid_y, line[11] = grid_z;
    line[12] = full_x, line[13] = full_y;
    line[14] = hidden[32]; /* hidden_grid_dims, at byte 64 */
    line[15] = hidden[9] | (u32)hidden[10] << 16; /* hidden_remainder_x, _y, at bytes 18 and 20 */
}
