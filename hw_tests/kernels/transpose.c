/* Transposes a matrix of 32-bit words by tiles of 16 x 16 that pass through LDS; edges may be partial. */
#include "gpu.h"

#define TILE 16
local u32 tile[TILE][TILE + 1];

KERNEL MAX_BLOCK(TILE * TILE) void transpose(global u32 *out, const global u32 *in, u32 width, u32 height) {
    u32 tx = __builtin_amdgcn_workitem_id_x(), ty = __builtin_amdgcn_workitem_id_y();
    u32 gx = __builtin_amdgcn_workgroup_id_x(), gy = __builtin_amdgcn_workgroup_id_y();
    u32 x = gx * TILE + tx, y = gy * TILE + ty;
    if (x < width && y < height) tile[ty][tx] = in[y * width + x];
    barrier();
    x = gy * TILE + tx;
    y = gx * TILE + ty;
    if (x < height && y < width) out[y * height + x] = tile[tx][ty];
}
