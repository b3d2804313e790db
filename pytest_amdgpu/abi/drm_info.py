"""What AMDGPU_INFO can be asked, and the structures of its answers (`include/uapi/drm/amdgpu_drm.h`)."""

from __future__ import annotations

import ctypes
import enum

from pytest_amdgpu.abi.layout import members


class InfoQuery(enum.IntEnum):
    """`AMDGPU_INFO_*`."""

    ACCEL_WORKING = 0x00
    HW_IP_INFO = 0x02
    HW_IP_COUNT = 0x03
    TIMESTAMP = 0x05
    FW_VERSION = 0x0E
    NUM_BYTES_MOVED = 0x0F
    VRAM_USAGE = 0x10
    GTT_USAGE = 0x11
    GDS_CONFIG = 0x13
    VRAM_GTT = 0x14
    READ_MMR_REG = 0x15
    DEV_INFO = 0x16
    VIS_VRAM_USAGE = 0x17
    NUM_EVICTIONS = 0x18
    MEMORY = 0x19
    VBIOS = 0x1B
    SENSOR = 0x1D
    VRAM_LOST_COUNTER = 0x1F
    RAS_ENABLED_FEATURES = 0x20
    GPUVM_FAULT = 0x23
    UQ_FW_AREAS = 0x24


class InfoFirmware(enum.IntEnum):
    """`AMDGPU_INFO_FW_*`: which firmware FW_VERSION is asked about."""

    GFX_ME = 0x04
    GFX_PFP = 0x05
    GFX_RLC = 0x07
    GFX_MEC = 0x08
    SMC = 0x0A
    SDMA = 0x0B
    SOS = 0x0C
    MES_KIQ = 0x19
    MES = 0x1A


class InfoSensor(enum.IntEnum):
    """`AMDGPU_INFO_SENSOR_*`."""

    GFX_SCLK = 0x1
    GFX_MCLK = 0x2
    GPU_TEMP = 0x3
    GPU_LOAD = 0x4
    GPU_AVG_POWER = 0x5
    VDDNB = 0x6
    VDDGFX = 0x7


class GpuFamily(enum.IntEnum):
    """`AMDGPU_FAMILY_*`: generations as the kernel groups them."""

    AI = 141
    RV = 142
    NV = 143
    VGH = 144
    GC_11_0_0 = 145
    YC = 146
    GC_11_0_1 = 148
    GC_10_3_6 = 149
    GC_11_5_0 = 150
    GC_10_3_7 = 151
    GC_12_0_0 = 152


class VramType(enum.IntEnum):
    """`AMDGPU_VRAM_TYPE_*`."""

    UNKNOWN = 0
    GDDR5 = 5
    HBM = 6
    DDR4 = 8
    GDDR6 = 9
    DDR5 = 10
    LPDDR4 = 11
    LPDDR5 = 12


class AmdgpuInfoDevice(ctypes.Structure):
    """DEV_INFO: clocks in kHz, caches in KiB as the kernel names them; bitmaps by shader engine and array."""

    _fields_ = members(
        "u32 device_id chip_rev external_rev pci_rev family num_shader_engines",
        "u32 num_shader_arrays_per_engine gpu_counter_freq",
        "u64 max_engine_clock max_memory_clock",
        "u32 cu_active_number cu_ao_mask",
        ("cu_bitmap", ctypes.c_uint32 * 4 * 4),
        "u32 enabled_rb_pipes_mask num_rb_pipes num_hw_gfx_contexts pcie_gen",
        "u64 ids_flags virtual_address_offset virtual_address_max",
        "u32 virtual_address_alignment pte_fragment_size gart_page_size ce_ram_size",
        "u32 vram_type vram_bit_width vce_harvest_config gc_double_offchip_lds_buf",
        "u64 prim_buf_gpu_addr pos_buf_gpu_addr cntl_sb_buf_gpu_addr param_buf_gpu_addr",
        "u32 prim_buf_size pos_buf_size cntl_sb_buf_size param_buf_size",
        "u32 wave_front_size num_shader_visible_vgprs num_cu_per_sh num_tcc_blocks",
        "u32 gs_vgt_table_depth gs_prim_buffer_depth max_gs_waves_per_vgt pcie_num_lanes",
        ("cu_ao_bitmap", ctypes.c_uint32 * 4 * 4),
        "u64 high_va_offset high_va_max",
        "u32 pa_sc_tile_steering_override",
        "u64 tcc_disabled_mask min_engine_clock min_memory_clock",
        "u32 tcp_cache_size num_sqc_per_wgp sqc_data_cache_size sqc_inst_cache_size",
        "u32 gl1c_cache_size gl2c_cache_size",
        "u64 mall_size",
        "u32 enabled_rb_pipes_mask_hi shadow_size shadow_alignment csa_size csa_alignment",
        "u32 userq_ip_mask pad",
    )


class AmdgpuInfoHwIp(ctypes.Structure):
    """HW_IP_INFO: `ip_discovery_version` is major << 16 | minor << 8 | revision."""

    _fields_ = members(
        "u32 hw_ip_version_major hw_ip_version_minor",
        "u64 capabilities_flags",
        "u32 ib_start_alignment ib_size_alignment available_rings ip_discovery_version",
        "u32 userq_num_slots",
    )


class AmdgpuInfoVramGtt(ctypes.Structure):
    """VRAM_GTT: sizes in bytes."""

    _fields_ = members("u64 vram_size vram_cpu_accessible_size gtt_size")


class AmdgpuHeapInfo(ctypes.Structure):
    """One kind of memory, in bytes."""

    _fields_ = members("u64 total_heap_size usable_heap_size heap_usage max_allocation")


class AmdgpuMemoryInfo(ctypes.Structure):
    """MEMORY: all kinds of memory."""

    _fields_ = members(
        ("vram", AmdgpuHeapInfo), ("cpu_accessible_vram", AmdgpuHeapInfo), ("gtt", AmdgpuHeapInfo)
    )


class AmdgpuInfoFirmware(ctypes.Structure):
    """FW_VERSION."""

    _fields_ = members("u32 ver feature")


class AmdgpuInfoGpuvmFault(ctypes.Structure):
    """GPUVM_FAULT: the last page fault; `vmhub` has the hub's type in bits 0 to 7, its index above."""

    _fields_ = members("u64 addr", "u32 status vmhub")


class AmdgpuInfoUqMetadataGfx(ctypes.Structure):
    """Sizes and alignments of the areas that a graphics user queue needs, in bytes."""

    _fields_ = members("u32 shadow_size shadow_alignment csa_size csa_alignment")
