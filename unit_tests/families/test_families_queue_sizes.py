"""Queue sizes against numbers computed from kfd_queue.c by hand, and one measured in sysfs of an R9700."""

import pytest

from pytest_amdgpu.families.queue_sizes import QueueSizes, queue_sizes

# name, version, CUs of the node, SIMDs per CU, XCCs, shader arrays of the node, arrays per engine, LDS KiB,
# then control stack, save area of one XCC, debug area of one XCC, mapping of the buffer.
ROWS = [
    ("MI210", 90010, 104, 4, 1, 8, 1, 64, 36864, 63508480, 131072, 63639552),
    ("MI250X die", 90010, 110, 4, 1, 8, 1, 64, 36864, 67170304, 131072, 67301376),
    ("MI300X SPX", 90402, 304, 4, 8, 32, 1, 64, 12288, 23203840, 48640, 186019840),
    ("MI300X CPX", 90402, 38, 4, 1, 4, 1, 64, 12288, 23203840, 48640, 23252992),
    ("MI300A SPX", 90402, 228, 4, 6, 24, 1, 64, 12288, 23203840, 48640, 139517952),
    ("MI350X SPX", 90500, 256, 4, 8, 32, 1, 160, 12288, 22687744, 40960, 181829632),
    ("RX 6800", 100300, 60, 2, 1, 8, 2, 64, 24576, 20914176, 61440, 20975616),
    ("RX 6800 XT", 100300, 72, 2, 1, 8, 2, 64, 28672, 25096192, 73728, 25169920),
    ("RX 6900 XT", 100300, 80, 2, 1, 8, 2, 64, 28672, 27881472, 81920, 27963392),
    ("RX 6700 XT", 100301, 40, 2, 1, 4, 2, 64, 16384, 13942784, 40960, 13983744),
    ("RX 7900 XTX", 110000, 96, 2, 1, 12, 2, 64, 40960, 46047232, 98304, 46145536),
    ("RX 7900 XT", 110000, 84, 2, 1, 12, 2, 64, 32768, 40288256, 86016, 40374272),
    ("RX 7800 XT", 110001, 60, 2, 1, 6, 2, 64, 24576, 28778496, 61440, 28839936),
    ("RX 7600", 110002, 32, 2, 1, 4, 2, 64, 16384, 11157504, 32768, 11190272),
    ("Strix Halo", 110501, 40, 2, 1, 4, 2, 64, 16384, 19185664, 40960, 19226624),
    ("RX 9060 XT", 120000, 32, 2, 1, 4, 2, 64, 16384, 15351808, 32768, 15384576),
    ("RX 9070", 120001, 56, 2, 1, 8, 2, 64, 24576, 26861568, 57344, 26918912),
    # "drm/amdkfd: Update CWSR area calculations for GFX 12.1": a unit has 64 waves and takes
    # 0x80000 + 0x8000 + 320 KiB + 0x8000 bytes. That there are 64 units in one XCC is made up.
    ("gfx1250", 120500, 64, 4, 1, 4, 2, 320, 53248, 58773504, 131072, 58904576),
    # Measured: sysfs of a Radeon AI PRO R9700 prints cwsr_size 30699520 and ctl_stack_size 28672.
    ("R9700", 120001, 64, 2, 1, 8, 2, 64, 28672, 30699520, 65536, 30765056),
]


def properties(row):
    _, version, cus, simds, xccs, arrays, per_engine, lds, *_ = row
    return {
        "gfx_target_version": version,
        "simd_count": cus * simds,
        "simd_per_cu": simds,
        "num_xcc": xccs,
        "array_count": arrays,
        "simd_arrays_per_engine": per_engine,
        "lds_size_in_kb": lds,
    }


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_sizes_of_a_product(row):
    control_stack, cwsr, debug, mapping = row[8:]
    assert queue_sizes(properties(row)) == QueueSizes(4096, control_stack, cwsr, debug, mapping)


def test_numbers_that_the_kernel_prints_win():
    # What a kernel older than December 2025 wants of a Strix Halo, by the formula of that time.
    row = next(row for row in ROWS if row[0] == "Strix Halo")
    sizes = queue_sizes({**properties(row), "cwsr_size": 13942784, "ctl_stack_size": 16384})
    assert sizes == QueueSizes(4096, 16384, 13942784, 40960, 13983744)


@pytest.mark.parametrize("key", ["gfx_target_version", "simd_count", "simd_per_cu", "lds_size_in_kb"])
def test_missing_property_is_named(key):
    values = properties(ROWS[0])
    del values[key]
    with pytest.raises(ValueError, match=f"{key}, which is missing"):
        queue_sizes(values)
    with pytest.raises(ValueError, match=f"{key}, which is 0"):
        queue_sizes({**values, key: 0})
