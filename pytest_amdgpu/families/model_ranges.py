"""What the values of a model file may be: the widths of the kernel's fields, and what can be emulated.

A key that is not named here has 32 bits.
"""

from __future__ import annotations

from types import MappingProxyType

Range = tuple[int, int]
"""The least and the greatest value."""

NUMBER: Range = (0, (1 << 32) - 1)
_WIDE: Range = (0, (1 << 64) - 1)

MAX_SDMA_QUEUES = 128
"""KFD_MAX_SDMA_QUEUES of kfd_priv.h: the bits that amdkfd has for the queues of all engines of a GPU."""

# Properties that are divided by, or that kfd_topology.h has as 64 bits.
PROPERTIES = MappingProxyType(
    {
        "simd_per_cu": (1, 16),
        "num_cp_queues": (1, 1024),
        "max_waves_per_simd": (1, 64),
        "max_slots_scratch_cu": (1, 1024),
        "local_mem_size": _WIDE,
        "capability": _WIDE,
        "debug_prop": _WIDE,
    }
)

# HSA_MEM_HEAP_TYPE_FB_PUBLIC and _PRIVATE of kfd_crat.h. A smaller bank is full of page tables.
MEM_BANKS = MappingProxyType({"heap_type": (1, 2), "size_in_bytes": (64 << 20, 1 << 47)})

# The registers of PCI configuration space: vendor, device 16 bits, revision 8, class 24.
PCI = MappingProxyType(
    {
        **dict.fromkeys(("vendor", "device", "subsystem_vendor", "subsystem_device"), (0, 0xFFFF)),
        "revision": (0, 0xFF),
        "class": (0, 0xFFFFFF),
    }
)

# Fields of drm_amdgpu_info_device with 64 bits (amdgpu_drm.h), and the clock that time is counted with.
DRM = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("min_engine_clock", "max_engine_clock", "min_memory_clock", "max_memory_clock"),
                *("ids_flags", "mall_size"),
                *("virtual_address_offset", "virtual_address_max", "high_va_offset", "high_va_max"),
            ),
            _WIDE,
        ),
        "gpu_counter_freq": (1, NUMBER[1]),
    }
)

IP_VERSION = 0xFF
"""The greatest part of a version in the table of IP discovery, which has bytes."""
