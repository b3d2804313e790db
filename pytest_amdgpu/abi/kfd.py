"""The ioctls of `/dev/kfd`: argument structures and request numbers.

Source: the kernel's `include/uapi/linux/kfd_ioctl.h` up to interface version 1.23, and for numbers
from 0x80 on the header of AMD's out-of-tree driver (amdgpu-dkms 6.12). A structure `kfd_ioctl_x_args`
is called `XArgs` here; members have the kernel's names. The payloads of DBG_TRAP are in `kfd_debug`.
unit_tests/abi compares every offset, size and number with the C compiler's.
"""

from __future__ import annotations

import ctypes
import enum

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.ioctl import READ, WRITE, IoctlSpec
from pytest_amdgpu.abi.kfd_debug import DbgTrapArgs
from pytest_amdgpu.abi.layout import members

IOCTL_TYPE = ord("K")

SIGNAL_EVENT_LIMIT = 4096
"""Slots of the events page; slot 0 is never handed out."""
FIRST_NONSIGNAL_EVENT_ID = 0x40000000
"""Ids of events without a slot start here (drivers/gpu/drm/amd/amdkfd/kfd_events.c)."""
EVENT_PAGE_SIZE = 8 * SIGNAL_EVENT_LIMIT
"""Bytes of the events page."""
DOORBELL_SLICE = 8192
"""Bytes of doorbells that one process has on one GPU: 1024 of 8 bytes (amdkfd/kfd_doorbell.c)."""
MMAP_TYPE_SHIFT = 62
"""Where an mmap offset on `/dev/kfd` carries a `MmapType` (amdkfd/kfd_priv.h)."""
MMAP_GPU_ID_SHIFT = 46
"""Where an mmap offset on `/dev/kfd` carries the GPU id, 16 bits (amdkfd/kfd_priv.h)."""
MAX_QUEUE_PERCENTAGE = 100
MAX_QUEUE_PRIORITY = 15
MIN_QUEUE_RING_SIZE = 1024
"""Bytes; the kernel raises smaller rings to this."""
INVALID_FD = 0xFFFFFFFF
WAIT_FOR_EVER = 0xFFFFFFFF
"""WAIT_EVENTS' timeout that never ends."""
SMI_EVENT_MSG_SIZE = 96
"""Bytes of the longest system management record."""
NUM_OF_SUPPORTED_GPUS = 7
"""GPUs that GET_PROCESS_APERTURES can describe."""


class QueueType(enum.IntEnum):
    """`KFD_IOC_QUEUE_TYPE_*`."""

    COMPUTE = 0
    SDMA = 1
    COMPUTE_AQL = 2
    SDMA_XGMI = 3
    SDMA_BY_ENG_ID = 4


class AllocFlag(enum.IntFlag):
    """`KFD_IOC_ALLOC_MEM_FLAGS_*`: one kind of memory, and modifiers."""

    VRAM = 1 << 0
    GTT = 1 << 1
    USERPTR = 1 << 2
    DOORBELL = 1 << 3
    MMIO_REMAP = 1 << 4
    CONTIGUOUS = 1 << 23
    EXT_COHERENT = 1 << 24
    UNCACHED = 1 << 25
    COHERENT = 1 << 26
    AQL_QUEUE_MEM = 1 << 27
    NO_SUBSTITUTE = 1 << 28
    PUBLIC = 1 << 29
    EXECUTABLE = 1 << 30
    WRITABLE = 1 << 31


class CachePolicy(enum.IntEnum):
    """`KFD_IOC_CACHE_POLICY_*`."""

    COHERENT = 0
    NONCOHERENT = 1


class EventType(enum.IntEnum):
    """`KFD_IOC_EVENT_*`."""

    SIGNAL = 0
    NODECHANGE = 1
    DEVICESTATECHANGE = 2
    HW_EXCEPTION = 3
    SYSTEM_EVENT = 4
    DEBUG_EVENT = 5
    PROFILE_EVENT = 6
    QUEUE_EVENT = 7
    MEMORY = 8


class WaitResult(enum.IntEnum):
    """`KFD_IOC_WAIT_RESULT_*`."""

    COMPLETE = 0
    TIMEOUT = 1
    FAIL = 2


class HwResetType(enum.IntEnum):
    """`KFD_HW_EXCEPTION_*_RESET`."""

    WHOLE_GPU_RESET = 0
    PER_ENGINE_RESET = 1


class HwExceptionCause(enum.IntEnum):
    """`KFD_HW_EXCEPTION_*`."""

    GPU_HANG = 0
    ECC = 1


class MemoryErrorType(enum.IntEnum):
    """`KFD_MEM_ERR_*`."""

    NO_RAS = 0
    SRAM_ECC = 1
    POISON_CONSUMED = 2
    GPU_HANG = 3


class MmapType(enum.IntEnum):
    """What an mmap offset on `/dev/kfd` names (amdkfd/kfd_priv.h)."""

    MMIO = 0
    RESERVED_MEM = 1
    EVENTS = 2
    DOORBELL = 3


class MmioRemap(enum.IntEnum):
    """`KFD_MMIO_REMAP_*`: byte offsets of the HDP flush registers in the remapped page."""

    HDP_MEM_FLUSH_CNTL = 0
    HDP_REG_FLUSH_CNTL = 4


class SmiEvent(enum.IntEnum):
    """`KFD_SMI_EVENT_*`: number in a record; bit number - 1 of the subscription mask."""

    NONE = 0
    VMFAULT = 1
    THERMAL_THROTTLE = 2
    GPU_PRE_RESET = 3
    GPU_POST_RESET = 4
    MIGRATE_START = 5
    MIGRATE_END = 6
    PAGE_FAULT_START = 7
    PAGE_FAULT_END = 8
    QUEUE_EVICTION = 9
    QUEUE_RESTORE = 10
    UNMAP_FROM_GPU = 11
    ALL_PROCESS = 64


class MigrateTrigger(enum.IntEnum):
    """`KFD_MIGRATE_TRIGGER_*`."""

    PREFETCH = 0
    PAGEFAULT_GPU = 1
    PAGEFAULT_CPU = 2
    TTM_EVICTION = 3


class QueueEvictionTrigger(enum.IntEnum):
    """`KFD_QUEUE_EVICTION_*`."""

    TRIGGER_SVM = 0
    TRIGGER_USERPTR = 1
    TRIGGER_TTM = 2
    TRIGGER_SUSPEND = 3
    CRIU_CHECKPOINT = 4
    CRIU_RESTORE = 5


class SvmUnmapTrigger(enum.IntEnum):
    """`KFD_SVM_UNMAP_TRIGGER_*`."""

    MMU_NOTIFY = 0
    MMU_NOTIFY_MIGRATE = 1
    UNMAP_FROM_CPU = 2


class SvmOp(enum.IntEnum):
    """`KFD_IOCTL_SVM_OP_*`."""

    SET_ATTR = 0
    GET_ATTR = 1


class SvmLocation(enum.IntEnum):
    """`KFD_IOCTL_SVM_LOCATION_*`; any other location is a GPU id."""

    SYSMEM = 0
    UNDEFINED = 0xFFFFFFFF


class SvmAttributeType(enum.IntEnum):
    """`KFD_IOCTL_SVM_ATTR_*`."""

    PREFERRED_LOC = 0
    PREFETCH_LOC = 1
    ACCESS = 2
    ACCESS_IN_PLACE = 3
    NO_ACCESS = 4
    SET_FLAGS = 5
    CLR_FLAGS = 6
    GRANULARITY = 7


class SvmFlag(enum.IntFlag):
    """`KFD_IOCTL_SVM_FLAG_*`."""

    HOST_ACCESS = 0x01
    COHERENT = 0x02
    HIVE_LOCAL = 0x04
    GPU_RO = 0x08
    GPU_EXEC = 0x10
    GPU_READ_MOSTLY = 0x20
    GPU_ALWAYS_MAPPED = 0x40
    EXT_COHERENT = 0x80


class CriuOp(enum.IntEnum):
    """`KFD_CRIU_OP_*`."""

    PROCESS_INFO = 0
    CHECKPOINT = 1
    UNPAUSE = 2
    RESTORE = 3
    RESUME = 4


class RuntimeEnableMode(enum.IntFlag):
    """`KFD_RUNTIME_ENABLE_MODE_*_MASK`."""

    ENABLE = 1
    TTMP_SAVE = 2


class SpmOp(enum.IntEnum):
    """`KFD_IOCTL_SPM_OP_*` (out-of-tree driver)."""

    ACQUIRE = 0
    RELEASE = 1
    SET_DEST_BUF = 2


class PcSampleOp(enum.IntEnum):
    """`KFD_IOCTL_PCS_OP_*`."""

    QUERY_CAPABILITIES = 0
    CREATE = 1
    DESTROY = 2
    START = 3
    STOP = 4


class ProfilerOp(enum.IntEnum):
    """`KFD_IOC_PROFILER_*`."""

    PMC = 0
    PC_SAMPLE = 1
    VERSION = 2
    PTL_CONTROL = 3


class GetVersionArgs(ctypes.Structure):
    """The interface version of amdkfd."""

    _fields_ = members("u32 major_version minor_version")


class CreateQueueArgs(ctypes.Structure):
    """A user-mode queue; `sdma_engine_id` since 1.17, `pad` is the metadata ring's size since 1.22."""

    _fields_ = members(
        "u64 ring_base_address write_pointer_address read_pointer_address doorbell_offset",
        "u32 ring_size gpu_id queue_type queue_percentage queue_priority queue_id",
        "u64 eop_buffer_address eop_buffer_size ctx_save_restore_address",
        "u32 ctx_save_restore_size ctl_stack_size sdma_engine_id pad",
    )


class DestroyQueueArgs(ctypes.Structure):
    """Ends a queue."""

    _fields_ = members("u32 queue_id pad")


class SetMemoryPolicyArgs(ctypes.Structure):
    """Cache policy of a process; `pad` is `misc_process_flag` since 1.18."""

    _fields_ = members(
        "u64 alternate_aperture_base alternate_aperture_size",
        "u32 gpu_id default_policy alternate_policy pad",
    )


class GetClockCountersArgs(ctypes.Structure):
    """Clocks read at one time: GPU counter in its own ticks, the others in ns."""

    _fields_ = members(
        "u64 gpu_clock_counter cpu_clock_counter system_clock_counter system_clock_freq", "u32 gpu_id pad"
    )


class ProcessDeviceApertures(ctypes.Structure):
    """Address ranges of one GPU (limits are inclusive)."""

    _fields_ = members(
        "u64 lds_base lds_limit scratch_base scratch_limit gpuvm_base gpuvm_limit", "u32 gpu_id pad"
    )


class GetProcessAperturesArgs(ctypes.Structure):
    """Apertures of at most 7 GPUs (superseded by GET_PROCESS_APERTURES_NEW)."""

    _fields_ = members(("process_apertures", ProcessDeviceApertures * 7), "u32 num_of_nodes pad")


class UpdateQueueArgs(ctypes.Structure):
    """Changes a queue; ring address 0 deactivates it."""

    _fields_ = members("u64 ring_base_address", "u32 queue_id ring_size queue_percentage queue_priority")


class CreateEventArgs(ctypes.Structure):
    """An event; `event_page_offset` in: handle of the events page, out: mmap offset."""

    _fields_ = members(
        "u64 event_page_offset",
        "u32 event_trigger_data event_type auto_reset node_id event_id event_slot_index",
    )


class DestroyEventArgs(ctypes.Structure):
    """Ends an event."""

    _fields_ = members("u32 event_id pad")


class SetEventArgs(ctypes.Structure):
    """Signals an event from the host."""

    _fields_ = members("u32 event_id pad")


class ResetEventArgs(ctypes.Structure):
    """Clears an event."""

    _fields_ = members("u32 event_id pad")


class WaitEventsArgs(ctypes.Structure):
    """Waits for an array of `EventData`; `timeout` in ms, 0xffffffff for ever."""

    _fields_ = members("u64 events_ptr", "u32 num_events wait_for_all timeout wait_result")


class MemoryExceptionFailure(ctypes.Structure):
    """Why a memory access failed: each member is 0 or 1."""

    _fields_ = members("u32 NotPresent ReadOnly NoExecute imprecise")


class HsaMemoryExceptionData(ctypes.Structure):
    """A memory exception: its cause, page address, and GPU."""

    _fields_ = members(("failure", MemoryExceptionFailure), "u64 va", "u32 gpu_id ErrorType")


class HsaHwExceptionData(ctypes.Structure):
    """A reset of a GPU and what led to it."""

    _fields_ = members("u32 reset_type reset_cause memory_lost gpu_id")


class HsaSignalEventData(ctypes.Structure):
    """How often a signal event was signalled when its waiter last looked (1.14)."""

    _fields_ = members("u64 last_event_age")


class _EventDataUnion(ctypes.Union):
    _fields_ = members(
        ("memory_exception_data", HsaMemoryExceptionData),
        ("hw_exception_data", HsaHwExceptionData),
        ("signal_event_data", HsaSignalEventData),
    )


class EventData(ctypes.Structure):
    """One element of WAIT_EVENTS' array: the event to wait for, and what it carried."""

    _anonymous_ = ("payload",)
    _fields_ = members(("payload", _EventDataUnion), "u64 kfd_event_data_ext", "u32 event_id pad")


class DbgRegisterArgs(ctypes.Structure):
    """Removed debugger interface: always refused."""

    _fields_ = members("u32 gpu_id pad")


class DbgUnregisterArgs(ctypes.Structure):
    """Removed debugger interface: always refused."""

    _fields_ = members("u32 gpu_id pad")


class DbgAddressWatchArgs(ctypes.Structure):
    """Removed debugger interface: always refused."""

    _fields_ = members("u64 content_ptr", "u32 gpu_id buf_size_in_bytes")


class DbgWaveControlArgs(ctypes.Structure):
    """Removed debugger interface: always refused."""

    _fields_ = members("u64 content_ptr", "u32 gpu_id buf_size_in_bytes")


class SetScratchBackingVaArgs(ctypes.Structure):
    """Where the scratch memory of a GPU lies."""

    _fields_ = members("u64 va_addr", "u32 gpu_id pad")


class GetTileConfigArgs(ctypes.Structure):
    """Image tiling of a GPU."""

    _fields_ = members(
        "u64 tile_config_ptr macro_tile_config_ptr",
        "u32 num_tile_configs num_macro_tile_configs gpu_id gb_addr_config num_banks num_ranks",
    )


class SetTrapHandlerArgs(ctypes.Structure):
    """A second-level trap handler: its code and its data."""

    _fields_ = members("u64 tba_addr tma_addr", "u32 gpu_id pad")


class GetProcessAperturesNewArgs(ctypes.Structure):
    """Apertures of all GPUs: an array of `ProcessDeviceApertures` and its length."""

    _fields_ = members("u64 kfd_process_device_apertures_ptr", "u32 num_of_nodes pad")


class AcquireVmArgs(ctypes.Structure):
    """Binds a GPU to the address space of a render node's descriptor."""

    _fields_ = members("u32 drm_fd gpu_id")


class AllocMemoryOfGpuArgs(ctypes.Structure):
    """A buffer object; `mmap_offset` in: address of user memory, out: offset to mmap at."""

    _fields_ = members("u64 va_addr size handle mmap_offset", "u32 gpu_id flags")


class FreeMemoryOfGpuArgs(ctypes.Structure):
    """Frees a buffer object."""

    _fields_ = members("u64 handle")


class MapMemoryToGpuArgs(ctypes.Structure):
    """Maps a buffer object on the GPUs of an array of u32 ids; `n_success` in and out."""

    _fields_ = members("u64 handle device_ids_array_ptr", "u32 n_devices n_success")


class UnmapMemoryFromGpuArgs(ctypes.Structure):
    """Unmaps a buffer object from the GPUs of an array of u32 ids; `n_success` in and out."""

    _fields_ = members("u64 handle device_ids_array_ptr", "u32 n_devices n_success")


class SetCuMaskArgs(ctypes.Structure):
    """Restricts a queue to compute units; `num_cu_mask` in bits."""

    _fields_ = members("u32 queue_id num_cu_mask", "u64 cu_mask_ptr")


class GetQueueWaveStateArgs(ctypes.Structure):
    """Copies a deactivated queue's control stack and tells how much state was saved."""

    _fields_ = members("u64 ctl_stack_address", "u32 ctl_stack_used_size save_area_used_size queue_id pad")


class GetDmabufInfoArgs(ctypes.Structure):
    """What a dma-buf that amdgpu exported holds."""

    _fields_ = members("u64 size metadata_ptr", "u32 metadata_size gpu_id flags dmabuf_fd")


class ImportDmabufArgs(ctypes.Structure):
    """Makes a buffer object of a dma-buf."""

    _fields_ = members("u64 va_addr handle", "u32 gpu_id dmabuf_fd")


class AllocQueueGwsArgs(ctypes.Structure):
    """Global wave sync for a queue."""

    _fields_ = members("u32 queue_id num_gws first_gws pad")


class SmiEventsArgs(ctypes.Structure):
    """A descriptor from which system management events can be read."""

    _fields_ = members("u32 gpuid anon_fd")


class SvmAttribute(ctypes.Structure):
    """One attribute of a range of shared virtual memory (`kfd_ioctl_svm_attribute`)."""

    _fields_ = members("u32 type value")


class SvmArgs(ctypes.Structure):
    """Sets or reads attributes of a range; `nattr` `SvmAttribute`s follow and count in the request's size."""

    _fields_ = members("u64 start_addr size", "u32 op nattr", ("attrs", SvmAttribute * 0))


class SetXnackModeArgs(ctypes.Structure):
    """Retry of page faults: 1 on, 0 off, negative asks."""

    _fields_ = members("s32 xnack_enabled")


class CriuArgs(ctypes.Structure):
    """Checkpoint and restore of a process."""

    _fields_ = members(
        "u64 devices bos priv_data priv_data_size", "u32 num_devices num_bos num_objects pid op"
    )


class CriuDeviceBucket(ctypes.Structure):
    """One GPU of a checkpoint."""

    _fields_ = members("u32 user_gpu_id actual_gpu_id drm_fd pad")


class CriuBoBucket(ctypes.Structure):
    """One buffer object of a checkpoint."""

    _fields_ = members("u64 addr size offset restored_offset", "u32 gpu_id alloc_flags dmabuf_fd pad")


class GetAvailableMemoryArgs(ctypes.Structure):
    """VRAM that could be allocated now, in bytes."""

    _fields_ = members("u64 available", "u32 gpu_id pad")


class ExportDmabufArgs(ctypes.Structure):
    """A dma-buf of a buffer object; `flags` as for open(2)."""

    _fields_ = members("u64 handle", "u32 flags dmabuf_fd")


class RuntimeEnableArgs(ctypes.Structure):
    """Tells the kernel that a runtime is ready to take exceptions."""

    _fields_ = members("u64 r_debug", "u32 mode_mask capabilities_mask")


class ContextSaveWaveState(ctypes.Structure):
    """Where the control stack and the saved waves lie, in bytes from the header."""

    _fields_ = members("u32 control_stack_offset control_stack_size wave_state_offset wave_state_size")


class ContextSaveAreaHeader(ctypes.Structure):
    """The first bytes of each XCC's part of a queue's context save area."""

    _fields_ = members(
        ("wave_state", ContextSaveWaveState),
        "u32 debug_offset debug_size",
        "u64 err_payload_addr",
        "u32 err_event_id reserved1",
    )


class IpcImportHandleArgs(ctypes.Structure):
    """Opens memory that another process exported (out-of-tree driver)."""

    _fields_ = members(
        "u64 handle va_addr mmap_offset", ("share_handle", ctypes.c_uint32 * 4), "u32 gpu_id flags"
    )


class IpcExportHandleArgs(ctypes.Structure):
    """Exports memory to other processes (out-of-tree driver)."""

    _fields_ = members("u64 handle", ("share_handle", ctypes.c_uint32 * 4), "u32 gpu_id flags")


class DbgTrapDeprecatedArgs(ctypes.Structure):
    """The older debugger interface of the out-of-tree driver: always refused."""

    _fields_ = members("u64 exception_mask ptr", "u32 pid op data1 data2 data3 data4")


class CrossMemoryCopyDeprecatedArgs(ctypes.Structure):
    """Copy between processes (out-of-tree driver): always refused."""

    _fields_ = members(
        "u32 pid flags",
        "u64 src_mem_range_array src_mem_array_size dst_mem_range_array dst_mem_array_size bytes_copied",
    )


class SpmArgs(ctypes.Structure):
    """Streaming performance monitor (out-of-tree driver)."""

    _fields_ = members("u64 dest_buf", "u32 buf_size op timeout gpu_id bytes_copied has_data_loss")


class PcSampleInfo(ctypes.Structure):
    """One way in which a GPU can sample program counters."""

    _fields_ = members("u64 interval interval_min interval_max flags", "u32 method type")


class PcSampleArgs(ctypes.Structure):
    """Sampling of program counters; `sample_info_ptr` points to `PcSampleInfo`s."""

    _fields_ = members("u64 sample_info_ptr", "u32 num_sample_info op gpu_id trace_id flags version")


class PmcSettings(ctypes.Structure):
    """Exclusive use of the performance counters of a GPU."""

    _fields_ = members("u32 gpu_id lock perfcount_enable")


class _ProfilerUnion(ctypes.Union):
    _fields_ = members(("pc_sample", PcSampleArgs), ("pmc", PmcSettings), "u32 version")


class ProfilerArgs(ctypes.Structure):
    """Performance counters and sampling (mainline since 1.23, and the out-of-tree driver)."""

    _anonymous_ = ("payload",)
    _fields_ = members("u32 op", ("payload", _ProfilerUnion))


def _table(*rows: tuple[int, str, int, type[ctypes.Structure] | None]) -> dict[int, IoctlSpec]:
    return {
        nr: IoctlSpec(
            f"AMDKFD_IOC_{name}",
            ioctl.encode(direction, ctypes.sizeof(struct) if struct else 0, IOCTL_TYPE, nr),
            struct,
        )
        for nr, name, direction, struct in rows
    }


_R, _W, _WR, _NONE = READ, WRITE, READ | WRITE, 0

KFD_IOCTLS: dict[int, IoctlSpec] = _table(
    (0x01, "GET_VERSION", _R, GetVersionArgs),
    (0x02, "CREATE_QUEUE", _WR, CreateQueueArgs),
    (0x03, "DESTROY_QUEUE", _WR, DestroyQueueArgs),
    (0x04, "SET_MEMORY_POLICY", _W, SetMemoryPolicyArgs),
    (0x05, "GET_CLOCK_COUNTERS", _WR, GetClockCountersArgs),
    (0x06, "GET_PROCESS_APERTURES", _R, GetProcessAperturesArgs),
    (0x07, "UPDATE_QUEUE", _W, UpdateQueueArgs),
    (0x08, "CREATE_EVENT", _WR, CreateEventArgs),
    (0x09, "DESTROY_EVENT", _W, DestroyEventArgs),
    (0x0A, "SET_EVENT", _W, SetEventArgs),
    (0x0B, "RESET_EVENT", _W, ResetEventArgs),
    (0x0C, "WAIT_EVENTS", _WR, WaitEventsArgs),
    (0x0D, "DBG_REGISTER_DEPRECATED", _W, DbgRegisterArgs),
    (0x0E, "DBG_UNREGISTER_DEPRECATED", _W, DbgUnregisterArgs),
    (0x0F, "DBG_ADDRESS_WATCH_DEPRECATED", _W, DbgAddressWatchArgs),
    (0x10, "DBG_WAVE_CONTROL_DEPRECATED", _W, DbgWaveControlArgs),
    (0x11, "SET_SCRATCH_BACKING_VA", _WR, SetScratchBackingVaArgs),
    (0x12, "GET_TILE_CONFIG", _WR, GetTileConfigArgs),
    (0x13, "SET_TRAP_HANDLER", _W, SetTrapHandlerArgs),
    (0x14, "GET_PROCESS_APERTURES_NEW", _WR, GetProcessAperturesNewArgs),
    (0x15, "ACQUIRE_VM", _W, AcquireVmArgs),
    (0x16, "ALLOC_MEMORY_OF_GPU", _WR, AllocMemoryOfGpuArgs),
    (0x17, "FREE_MEMORY_OF_GPU", _W, FreeMemoryOfGpuArgs),
    (0x18, "MAP_MEMORY_TO_GPU", _WR, MapMemoryToGpuArgs),
    (0x19, "UNMAP_MEMORY_FROM_GPU", _WR, UnmapMemoryFromGpuArgs),
    (0x1A, "SET_CU_MASK", _W, SetCuMaskArgs),
    (0x1B, "GET_QUEUE_WAVE_STATE", _WR, GetQueueWaveStateArgs),
    (0x1C, "GET_DMABUF_INFO", _WR, GetDmabufInfoArgs),
    (0x1D, "IMPORT_DMABUF", _WR, ImportDmabufArgs),
    (0x1E, "ALLOC_QUEUE_GWS", _WR, AllocQueueGwsArgs),
    (0x1F, "SMI_EVENTS", _WR, SmiEventsArgs),
    (0x20, "SVM", _WR, SvmArgs),
    (0x21, "SET_XNACK_MODE", _WR, SetXnackModeArgs),
    (0x22, "CRIU_OP", _WR, CriuArgs),
    (0x23, "AVAILABLE_MEMORY", _WR, GetAvailableMemoryArgs),
    (0x24, "EXPORT_DMABUF", _WR, ExportDmabufArgs),
    (0x25, "RUNTIME_ENABLE", _WR, RuntimeEnableArgs),
    (0x26, "DBG_TRAP", _WR, DbgTrapArgs),
    (0x27, "CREATE_PROCESS", _NONE, None),
    (0x28, "PROFILER", _WR, ProfilerArgs),
    (0x80, "IPC_IMPORT_HANDLE", _WR, IpcImportHandleArgs),
    (0x81, "IPC_EXPORT_HANDLE", _WR, IpcExportHandleArgs),
    (0x82, "DBG_TRAP_DEPRECATED", _WR, DbgTrapDeprecatedArgs),
    (0x83, "CROSS_MEMORY_COPY_DEPRECATED", _WR, CrossMemoryCopyDeprecatedArgs),
    (0x84, "RLC_SPM", _WR, SpmArgs),
    (0x85, "PC_SAMPLE", _WR, PcSampleArgs),
    (0x86, "PROFILER_DKMS", _WR, ProfilerArgs),
)
"""Every ioctl by the low byte of its request, which is all that the kernel dispatches on."""


class KfdIoctl(enum.IntEnum):
    """Request numbers of the newest argument structures, by the kernel's names without `AMDKFD_IOC_`."""

    GET_VERSION = KFD_IOCTLS[0x01].request
    CREATE_QUEUE = KFD_IOCTLS[0x02].request
    DESTROY_QUEUE = KFD_IOCTLS[0x03].request
    SET_MEMORY_POLICY = KFD_IOCTLS[0x04].request
    GET_CLOCK_COUNTERS = KFD_IOCTLS[0x05].request
    GET_PROCESS_APERTURES = KFD_IOCTLS[0x06].request
    UPDATE_QUEUE = KFD_IOCTLS[0x07].request
    CREATE_EVENT = KFD_IOCTLS[0x08].request
    DESTROY_EVENT = KFD_IOCTLS[0x09].request
    SET_EVENT = KFD_IOCTLS[0x0A].request
    RESET_EVENT = KFD_IOCTLS[0x0B].request
    WAIT_EVENTS = KFD_IOCTLS[0x0C].request
    DBG_REGISTER_DEPRECATED = KFD_IOCTLS[0x0D].request
    DBG_UNREGISTER_DEPRECATED = KFD_IOCTLS[0x0E].request
    DBG_ADDRESS_WATCH_DEPRECATED = KFD_IOCTLS[0x0F].request
    DBG_WAVE_CONTROL_DEPRECATED = KFD_IOCTLS[0x10].request
    SET_SCRATCH_BACKING_VA = KFD_IOCTLS[0x11].request
    GET_TILE_CONFIG = KFD_IOCTLS[0x12].request
    SET_TRAP_HANDLER = KFD_IOCTLS[0x13].request
    GET_PROCESS_APERTURES_NEW = KFD_IOCTLS[0x14].request
    ACQUIRE_VM = KFD_IOCTLS[0x15].request
    ALLOC_MEMORY_OF_GPU = KFD_IOCTLS[0x16].request
    FREE_MEMORY_OF_GPU = KFD_IOCTLS[0x17].request
    MAP_MEMORY_TO_GPU = KFD_IOCTLS[0x18].request
    UNMAP_MEMORY_FROM_GPU = KFD_IOCTLS[0x19].request
    SET_CU_MASK = KFD_IOCTLS[0x1A].request
    GET_QUEUE_WAVE_STATE = KFD_IOCTLS[0x1B].request
    GET_DMABUF_INFO = KFD_IOCTLS[0x1C].request
    IMPORT_DMABUF = KFD_IOCTLS[0x1D].request
    ALLOC_QUEUE_GWS = KFD_IOCTLS[0x1E].request
    SMI_EVENTS = KFD_IOCTLS[0x1F].request
    SVM = KFD_IOCTLS[0x20].request
    SET_XNACK_MODE = KFD_IOCTLS[0x21].request
    CRIU_OP = KFD_IOCTLS[0x22].request
    AVAILABLE_MEMORY = KFD_IOCTLS[0x23].request
    EXPORT_DMABUF = KFD_IOCTLS[0x24].request
    RUNTIME_ENABLE = KFD_IOCTLS[0x25].request
    DBG_TRAP = KFD_IOCTLS[0x26].request
    CREATE_PROCESS = KFD_IOCTLS[0x27].request
    PROFILER = KFD_IOCTLS[0x28].request
    IPC_IMPORT_HANDLE = KFD_IOCTLS[0x80].request
    IPC_EXPORT_HANDLE = KFD_IOCTLS[0x81].request
    DBG_TRAP_DEPRECATED = KFD_IOCTLS[0x82].request
    CROSS_MEMORY_COPY_DEPRECATED = KFD_IOCTLS[0x83].request
    RLC_SPM = KFD_IOCTLS[0x84].request
    PC_SAMPLE = KFD_IOCTLS[0x85].request
    PROFILER_DKMS = KFD_IOCTLS[0x86].request
