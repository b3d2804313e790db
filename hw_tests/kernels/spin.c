/* One wave that runs until the host stores to `go`, and says when it began and when it ended. */
#include "gpu.h"

KERNEL void spin(volatile global u32 *go, volatile global u32 *out) {
    out[0] = 1;
    while (*go == 0) {
    }
    out[1] = 1;
}
