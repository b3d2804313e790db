"""The debugger's part of `/dev/kfd`: DBG_TRAP with its payload per operation, snapshots, exceptions.

Source: the kernel's `include/uapi/linux/kfd_ioctl.h`, interface version 1.13 and later. The payload
`kfd_ioctl_dbg_trap_x_args` is called `DbgTrapXArgs`.
"""

from __future__ import annotations

import ctypes
import enum

from pytest_amdgpu.abi.layout import members


class DbgTrapOp(enum.IntEnum):
    """`KFD_IOC_DBG_TRAP_*`."""

    ENABLE = 0
    DISABLE = 1
    SEND_RUNTIME_EVENT = 2
    SET_EXCEPTIONS_ENABLED = 3
    SET_WAVE_LAUNCH_OVERRIDE = 4
    SET_WAVE_LAUNCH_MODE = 5
    SUSPEND_QUEUES = 6
    RESUME_QUEUES = 7
    SET_NODE_ADDRESS_WATCH = 8
    CLEAR_NODE_ADDRESS_WATCH = 9
    SET_FLAGS = 10
    QUERY_DEBUG_EVENT = 11
    QUERY_EXCEPTION_INFO = 12
    GET_QUEUE_SNAPSHOT = 13
    GET_DEVICE_SNAPSHOT = 14


class DbgTrapFlag(enum.IntFlag):
    """`KFD_DBG_TRAP_FLAG_*`; out-of-range LDS addresses since 1.21."""

    SINGLE_MEM_OP = 1
    SINGLE_ALU_OP = 2
    LDS_OUT_OF_ADDR_RANGE = 4


class ExceptionCode(enum.IntEnum):
    """`enum kfd_dbg_trap_exception_code`; an exception mask has bit code - 1."""

    NONE = 0
    QUEUE_WAVE_ABORT = 1
    QUEUE_WAVE_TRAP = 2
    QUEUE_WAVE_MATH_ERROR = 3
    QUEUE_WAVE_ILLEGAL_INSTRUCTION = 4
    QUEUE_WAVE_MEMORY_VIOLATION = 5
    QUEUE_WAVE_APERTURE_VIOLATION = 6
    QUEUE_PACKET_DISPATCH_DIM_INVALID = 16
    QUEUE_PACKET_DISPATCH_GROUP_SEGMENT_SIZE_INVALID = 17
    QUEUE_PACKET_DISPATCH_CODE_INVALID = 18
    QUEUE_PACKET_RESERVED = 19
    QUEUE_PACKET_UNSUPPORTED = 20
    QUEUE_PACKET_DISPATCH_WORK_GROUP_SIZE_INVALID = 21
    QUEUE_PACKET_DISPATCH_REGISTER_INVALID = 22
    QUEUE_PACKET_VENDOR_UNSUPPORTED = 23
    QUEUE_PREEMPTION_ERROR = 30
    QUEUE_NEW = 31
    DEVICE_QUEUE_DELETE = 32
    DEVICE_MEMORY_VIOLATION = 33
    DEVICE_RAS_ERROR = 34
    DEVICE_FATAL_HALT = 35
    DEVICE_NEW = 36
    PROCESS_RUNTIME = 48
    PROCESS_DEVICE_REMOVE = 49


QUEUE_SNAPSHOT_ERROR = 1 << 30
"""`KFD_DBG_QUEUE_ERROR_MASK`: set in the id of a queue that could not be suspended."""
QUEUE_SNAPSHOT_INVALID = 1 << 31
"""`KFD_DBG_QUEUE_INVALID_MASK`: set in the id of a queue that does not exist."""


class RuntimeState(enum.IntEnum):
    """`enum kfd_dbg_runtime_state`."""

    DISABLED = 0
    ENABLED = 1
    ENABLED_BUSY = 2
    ENABLED_ERROR = 3


class RuntimeInfo(ctypes.Structure):
    """What the debugged process told with RUNTIME_ENABLE."""

    _fields_ = members("u64 r_debug", "u32 runtime_state ttmp_setup")


class QueueSnapshotEntry(ctypes.Structure):
    """One queue of a process as the kernel knows it."""

    _fields_ = members(
        "u64 exception_status ring_base_address write_pointer_address read_pointer_address",
        "u64 ctx_save_restore_address",
        "u32 queue_id gpu_id ring_size queue_type ctx_save_restore_area_size reserved",
    )


class DbgDeviceInfoEntry(ctypes.Structure):
    """One GPU as a debugger needs it."""

    _fields_ = members(
        "u64 exception_status lds_base lds_limit scratch_base scratch_limit gpuvm_base gpuvm_limit",
        "u32 gpu_id location_id vendor_id device_id revision_id subsystem_vendor_id subsystem_device_id",
        "u32 fw_version gfx_target_version simd_count max_waves_per_simd array_count",
        "u32 simd_arrays_per_engine num_xcc capability debug_prop",
    )


class DbgTrapEnableArgs(ctypes.Structure):
    """Attach; `rinfo_ptr` points to a `RuntimeInfo`."""

    _fields_ = members("u64 exception_mask rinfo_ptr", "u32 rinfo_size dbg_fd")


class DbgTrapSendRuntimeEventArgs(ctypes.Structure):
    """Hand an exception to the debugged process."""

    _fields_ = members("u64 exception_mask", "u32 gpu_id queue_id")


class DbgTrapSetExceptionsEnabledArgs(ctypes.Structure):
    """Choose the exceptions that the debugger wants."""

    _fields_ = members("u64 exception_mask")


class DbgTrapSetWaveLaunchOverrideArgs(ctypes.Structure):
    """Change the trap mask that waves start with."""

    _fields_ = members("u32 override_mode enable_mask support_request_mask pad")


class DbgTrapSetWaveLaunchModeArgs(ctypes.Structure):
    """Start waves normally, halted, or in the debugger."""

    _fields_ = members("u32 launch_mode pad")


class DbgTrapSuspendQueuesArgs(ctypes.Structure):
    """Preempt queues; `grace_period` in units of 100 GPU clocks."""

    _fields_ = members("u64 exception_mask queue_array_ptr", "u32 num_queues grace_period")


class DbgTrapResumeQueuesArgs(ctypes.Structure):
    """Let suspended queues run."""

    _fields_ = members("u64 queue_array_ptr", "u32 num_queues pad")


class DbgTrapSetNodeAddressWatchArgs(ctypes.Structure):
    """Set a watch point."""

    _fields_ = members("u64 address", "u32 mode mask gpu_id id")


class DbgTrapClearNodeAddressWatchArgs(ctypes.Structure):
    """Clear a watch point."""

    _fields_ = members("u32 gpu_id id")


class DbgTrapSetFlagsArgs(ctypes.Structure):
    """Set `DbgTrapFlag`s; the old ones come back."""

    _fields_ = members("u32 flags pad")


class DbgTrapQueryDebugEventArgs(ctypes.Structure):
    """Fetch a raised exception."""

    _fields_ = members("u64 exception_mask", "u32 gpu_id queue_id")


class DbgTrapQueryExceptionInfoArgs(ctypes.Structure):
    """Fetch the data of an exception."""

    _fields_ = members("u64 info_ptr", "u32 info_size source_id exception_code clear_exception")


class DbgTrapQueueSnapshotArgs(ctypes.Structure):
    """Describe all queues as `QueueSnapshotEntry`s."""

    _fields_ = members("u64 exception_mask snapshot_buf_ptr", "u32 num_queues entry_size")


class DbgTrapDeviceSnapshotArgs(ctypes.Structure):
    """Describe all GPUs as `DbgDeviceInfoEntry`s."""

    _fields_ = members("u64 exception_mask snapshot_buf_ptr", "u32 num_devices entry_size")


class _DbgTrapUnion(ctypes.Union):
    _fields_ = members(
        ("enable", DbgTrapEnableArgs),
        ("send_runtime_event", DbgTrapSendRuntimeEventArgs),
        ("set_exceptions_enabled", DbgTrapSetExceptionsEnabledArgs),
        ("launch_override", DbgTrapSetWaveLaunchOverrideArgs),
        ("launch_mode", DbgTrapSetWaveLaunchModeArgs),
        ("suspend_queues", DbgTrapSuspendQueuesArgs),
        ("resume_queues", DbgTrapResumeQueuesArgs),
        ("set_node_address_watch", DbgTrapSetNodeAddressWatchArgs),
        ("clear_node_address_watch", DbgTrapClearNodeAddressWatchArgs),
        ("set_flags", DbgTrapSetFlagsArgs),
        ("query_debug_event", DbgTrapQueryDebugEventArgs),
        ("query_exception_info", DbgTrapQueryExceptionInfoArgs),
        ("queue_snapshot", DbgTrapQueueSnapshotArgs),
        ("device_snapshot", DbgTrapDeviceSnapshotArgs),
    )


class DbgTrapArgs(ctypes.Structure):
    """A debugger's request about process `pid`; `op` says which member of the union counts."""

    _anonymous_ = ("payload",)
    _fields_ = members("u32 pid op", ("payload", _DbgTrapUnion))
