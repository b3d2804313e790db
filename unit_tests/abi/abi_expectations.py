"""What the package claims about the kernel's interface, as C expressions and the values they should have."""

from __future__ import annotations

import ctypes
import enum
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from pytest_amdgpu.abi import drm, drm_info, kfd, kfd_debug

_C_STRUCTS = {
    kfd.ContextSaveWaveState: None,  # a structure without a name, checked as a member of the header
    kfd.PmcSettings: "kfd_ioctl_pmc_settings",
    kfd.SvmAttribute: "kfd_ioctl_svm_attribute",
    drm.DrmVersion: "drm_version",
}
_PADDING = re.compile(r"_?pad\d*|reserved\d*")

# Names of the kernel's constants: prefix of each enumeration.
_KFD_CONSTANTS: dict[type[enum.IntEnum] | type[enum.IntFlag], str] = {
    kfd.QueueType: "KFD_IOC_QUEUE_TYPE_",
    kfd.AllocFlag: "KFD_IOC_ALLOC_MEM_FLAGS_",
    kfd.CachePolicy: "KFD_IOC_CACHE_POLICY_",
    kfd.EventType: "KFD_IOC_EVENT_",
    kfd.WaitResult: "KFD_IOC_WAIT_RESULT_",
    kfd.HwResetType: "KFD_HW_EXCEPTION_",
    kfd.HwExceptionCause: "KFD_HW_EXCEPTION_",
    kfd.MemoryErrorType: "KFD_MEM_ERR_",
    kfd.MmioRemap: "KFD_MMIO_REMAP_",
    kfd.SmiEvent: "KFD_SMI_EVENT_",
    kfd.MigrateTrigger: "KFD_MIGRATE_TRIGGER_",
    kfd.QueueEvictionTrigger: "KFD_QUEUE_EVICTION_",
    kfd.SvmUnmapTrigger: "KFD_SVM_UNMAP_TRIGGER_",
    kfd.SvmOp: "KFD_IOCTL_SVM_OP_",
    kfd.SvmLocation: "KFD_IOCTL_SVM_LOCATION_",
    kfd.SvmAttributeType: "KFD_IOCTL_SVM_ATTR_",
    kfd.SvmFlag: "KFD_IOCTL_SVM_FLAG_",
    kfd.CriuOp: "KFD_CRIU_OP_",
    kfd.RuntimeEnableMode: "KFD_RUNTIME_ENABLE_MODE_",
    kfd.SpmOp: "KFD_IOCTL_SPM_OP_",
    kfd.PcSampleOp: "KFD_IOCTL_PCS_OP_",
    kfd.ProfilerOp: "KFD_IOC_PROFILER_",
    kfd_debug.DbgTrapOp: "KFD_IOC_DBG_TRAP_",
    kfd_debug.DbgTrapFlag: "KFD_DBG_TRAP_FLAG_",
    kfd_debug.ExceptionCode: "EC_",
}
_DRM_CONSTANTS: dict[type[enum.IntEnum] | type[enum.IntFlag], str] = {
    drm.GemDomain: "AMDGPU_GEM_DOMAIN_",
    drm.GemCreateFlag: "AMDGPU_GEM_CREATE_",
    drm.GemUserptrFlag: "AMDGPU_GEM_USERPTR_",
    drm.VaOp: "AMDGPU_VA_OP_",
    drm.VmFlag: "AMDGPU_VM_",
    drm.VmMtype: "AMDGPU_VM_MTYPE_",
    drm.HwIp: "AMDGPU_HW_IP_",
    drm.CtxOp: "AMDGPU_CTX_OP_",
    drm.CtxQuery2Flag: "AMDGPU_CTX_QUERY2_FLAGS_",
    drm.ChunkId: "AMDGPU_CHUNK_ID_",
    drm.UserqOp: "AMDGPU_USERQ_OP_",
    drm.SyncobjCreateFlag: "DRM_SYNCOBJ_CREATE_",
    drm.SyncobjWaitFlag: "DRM_SYNCOBJ_WAIT_FLAGS_",
    drm_info.InfoQuery: "AMDGPU_INFO_",
    drm_info.InfoFirmware: "AMDGPU_INFO_FW_",
    drm_info.InfoSensor: "AMDGPU_INFO_SENSOR_",
    drm_info.GpuFamily: "AMDGPU_FAMILY_",
    drm_info.VramType: "AMDGPU_VRAM_TYPE_",
}
_CONSTANT_NAMES = {
    "KFD_RUNTIME_ENABLE_MODE_ENABLE": "KFD_RUNTIME_ENABLE_MODE_ENABLE_MASK",
    "KFD_RUNTIME_ENABLE_MODE_TTMP_SAVE": "KFD_RUNTIME_ENABLE_MODE_TTMP_SAVE_MASK",
}
_PLAIN_CONSTANTS = {
    "KFD_SIGNAL_EVENT_LIMIT": kfd.SIGNAL_EVENT_LIMIT,
    "KFD_MAX_QUEUE_PERCENTAGE": kfd.MAX_QUEUE_PERCENTAGE,
    "KFD_MAX_QUEUE_PRIORITY": kfd.MAX_QUEUE_PRIORITY,
    "KFD_MIN_QUEUE_RING_SIZE": kfd.MIN_QUEUE_RING_SIZE,
    "KFD_INVALID_FD": kfd.INVALID_FD,
    "KFD_SMI_EVENT_MSG_SIZE": kfd.SMI_EVENT_MSG_SIZE,
    "NUM_OF_SUPPORTED_GPUS": kfd.NUM_OF_SUPPORTED_GPUS,
    "KFD_DBG_QUEUE_ERROR_MASK": kfd_debug.QUEUE_SNAPSHOT_ERROR,
    "KFD_DBG_QUEUE_INVALID_MASK": kfd_debug.QUEUE_SNAPSHOT_INVALID,
}


def structures(module: ModuleType) -> list[type[Any]]:
    """Return the public structures and unions that a module defines."""
    return [
        value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and isinstance(value, type)
        and issubclass(value, (ctypes.Structure, ctypes.Union))
        and value.__module__ == module.__name__
    ]


def c_type(struct: type[Any]) -> str | None:
    """Return the C name of a structure or union, by the rule of naming that the modules state."""
    if struct in _C_STRUCTS:
        name = _C_STRUCTS[struct]
        return f"struct {name}" if name else None
    snake = re.sub(r"(?<!^)(?=[A-Z])|(?<=[a-z])(?=\d{2})", "_", struct.__name__).lower()
    if struct.__module__ in (kfd.__name__, kfd_debug.__name__):
        return f"struct kfd_ioctl_{snake}" if snake.endswith("args") else f"struct kfd_{snake}"
    keyword = "union" if issubclass(struct, ctypes.Union) else "struct"
    return f"{keyword} drm_{snake.replace('_gfx_11', '_gfx11')}"


def layout_expectations(modules: list[ModuleType]) -> dict[str, int]:
    """Return `sizeof` and `offsetof` expressions of all structures, and the sizes of their members."""
    expected: dict[str, int] = {}
    for module in modules:
        for struct in structures(module):
            name = c_type(struct)
            if name is None:
                continue
            expected[f"sizeof({name})"] = ctypes.sizeof(struct)
            for member, offset, size in _members(struct, "", 0):
                expected[f"offsetof({name}, {member})"] = offset
                if size:
                    expected[f"sizeof((({name} *)0)->{member})"] = size
    return expected


def _members(struct: type[Any], prefix: str, base: int) -> Iterator[tuple[str, int, int]]:
    anonymous = getattr(struct, "_anonymous_", ())
    for name, member_type, *_bits in struct._fields_:
        descriptor = getattr(struct, name)
        if name in anonymous:
            yield from _members(member_type, prefix, base + descriptor.offset)
        elif not _PADDING.fullmatch(name):
            yield prefix + name, base + descriptor.offset, ctypes.sizeof(member_type)
            if member_type is kfd.ContextSaveWaveState:
                yield from _members(member_type, f"{prefix}{name}.", base + descriptor.offset)


def kfd_numbers() -> dict[str, int]:
    """Return the constants and request numbers of `/dev/kfd`."""
    requests = {spec.name: spec.request for spec in kfd.KFD_IOCTLS.values()}
    # One name stands for two numbers, the driver's and mainline's; a header has one of them.
    requests.pop("AMDKFD_IOC_PROFILER_DKMS")
    return {**_constants(_KFD_CONSTANTS), **_unsigned(_PLAIN_CONSTANTS), **requests}


def drm_numbers() -> dict[str, int]:
    """Return the constants and request numbers of a render node."""
    requests = {spec.name: spec.request for spec in drm.DRM_IOCTLS.values()}
    return {**_constants(_DRM_CONSTANTS), "DRM_COMMAND_BASE": drm.COMMAND_BASE, **requests}


def struct_of_request() -> dict[str, str]:
    """Return the C structure whose size each request number contains."""
    specs = [*kfd.KFD_IOCTLS.values(), *drm.DRM_IOCTLS.values()]
    return {spec.name: c_type(spec.struct) or "" for spec in specs if spec.struct}


def _constants(table: dict[type[enum.IntEnum] | type[enum.IntFlag], str]) -> dict[str, int]:
    return _unsigned(
        {
            _CONSTANT_NAMES.get(prefix + name, prefix + name): int(member.value)
            for kind, prefix in table.items()
            for name, member in kind.__members__.items()
        }
    )


def _unsigned(constants: dict[str, int]) -> dict[str, int]:
    """Cast what has bit 31 set, which is a negative int in C."""
    return {f"(unsigned)({name})" if value >> 31 else name: value for name, value in constants.items()}
