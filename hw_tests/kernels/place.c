/* Each work-group stores the hardware registers that name its place: HW_ID (HW_ID1 from gfx10 on), and XCC_ID
 * where there is one, else 0. They stay a while, so that later ones find other places. */
#include "gpu.h"

/* s_getreg_b32: register 5:0, first bit 10:6, width less one 15:11. */
#define WHOLE(register) ((register) | 31 << 11)

#if defined(__GFX9__)
#define HW_ID 4
#else
#define HW_ID 23
#endif

KERNEL MAX_BLOCK(64) void place(global u32 *ids, u32 naps) {
    u32 hw_id = __builtin_amdgcn_s_getreg(WHOLE(HW_ID)), xcc_id = 0;
#if defined(__gfx942__) || defined(__gfx950__)
    xcc_id = __builtin_amdgcn_s_getreg(WHOLE(20));
#endif
    for (u32 nap = 0; nap < naps; nap++) __builtin_amdgcn_s_sleep(32);
    if (local_id() == 0) {
        ids[2 * group_id()] = hw_id;
        ids[2 * group_id() + 1] = xcc_id;
    }
}
