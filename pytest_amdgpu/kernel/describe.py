"""Turns what crosses the kernel boundary into text: names of requests, decoded arguments, flags.

Nothing here follows a pointer: an argument that the kernel refused with EFAULT must still be describable.
"""

from __future__ import annotations

import ctypes
import enum
import mmap
import os
from collections.abc import Iterator
from typing import Any

from pytest_amdgpu.abi import drm, drm_info, ioctl, kfd, kfd_debug
from pytest_amdgpu.kernel.protocol import Argument

_ENUMS: dict[tuple[type, str], type[enum.IntEnum] | type[enum.IntFlag]] = {
    (kfd.CreateQueueArgs, "queue_type"): kfd.QueueType,
    (kfd.SetMemoryPolicyArgs, "default_policy"): kfd.CachePolicy,
    (kfd.SetMemoryPolicyArgs, "alternate_policy"): kfd.CachePolicy,
    (kfd.CreateEventArgs, "event_type"): kfd.EventType,
    (kfd.WaitEventsArgs, "wait_result"): kfd.WaitResult,
    (kfd.AllocMemoryOfGpuArgs, "flags"): kfd.AllocFlag,
    (kfd.GetDmabufInfoArgs, "flags"): kfd.AllocFlag,
    (kfd.SvmArgs, "op"): kfd.SvmOp,
    (kfd.SvmAttribute, "type"): kfd.SvmAttributeType,
    (kfd.CriuArgs, "op"): kfd.CriuOp,
    (kfd.RuntimeEnableArgs, "mode_mask"): kfd.RuntimeEnableMode,
    (kfd.SpmArgs, "op"): kfd.SpmOp,
    (kfd.PcSampleArgs, "op"): kfd.PcSampleOp,
    (kfd.ProfilerArgs, "op"): kfd.ProfilerOp,
    (kfd_debug.DbgTrapArgs, "op"): kfd_debug.DbgTrapOp,
    (kfd_debug.DbgTrapSetFlagsArgs, "flags"): kfd_debug.DbgTrapFlag,
    (kfd_debug.DbgTrapQueryExceptionInfoArgs, "exception_code"): kfd_debug.ExceptionCode,
    (drm.AmdgpuGemCreateIn, "domains"): drm.GemDomain,
    (drm.AmdgpuGemCreateIn, "domain_flags"): drm.GemCreateFlag,
    (drm.AmdgpuGemVa, "operation"): drm.VaOp,
    (drm.AmdgpuGemVa, "flags"): drm.VmFlag,
    (drm.AmdgpuGemUserptr, "flags"): drm.GemUserptrFlag,
    (drm.AmdgpuCtxIn, "op"): drm.CtxOp,
    (drm.AmdgpuWaitCsIn, "ip_type"): drm.HwIp,
    (drm.AmdgpuInfo, "query"): drm_info.InfoQuery,
    (drm.AmdgpuUserqIn, "op"): drm.UserqOp,
    (drm.AmdgpuUserqIn, "ip_type"): drm.HwIp,
    (drm.SyncobjCreate, "flags"): drm.SyncobjCreateFlag,
    (drm.SyncobjWait, "flags"): drm.SyncobjWaitFlag,
    (drm.SyncobjTimelineWait, "flags"): drm.SyncobjWaitFlag,
}

_DBG_TRAP_PAYLOADS = {
    kfd_debug.DbgTrapOp.ENABLE: "enable",
    kfd_debug.DbgTrapOp.SEND_RUNTIME_EVENT: "send_runtime_event",
    kfd_debug.DbgTrapOp.SET_EXCEPTIONS_ENABLED: "set_exceptions_enabled",
    kfd_debug.DbgTrapOp.SET_WAVE_LAUNCH_OVERRIDE: "launch_override",
    kfd_debug.DbgTrapOp.SET_WAVE_LAUNCH_MODE: "launch_mode",
    kfd_debug.DbgTrapOp.SUSPEND_QUEUES: "suspend_queues",
    kfd_debug.DbgTrapOp.RESUME_QUEUES: "resume_queues",
    kfd_debug.DbgTrapOp.SET_NODE_ADDRESS_WATCH: "set_node_address_watch",
    kfd_debug.DbgTrapOp.CLEAR_NODE_ADDRESS_WATCH: "clear_node_address_watch",
    kfd_debug.DbgTrapOp.SET_FLAGS: "set_flags",
    kfd_debug.DbgTrapOp.QUERY_DEBUG_EVENT: "query_debug_event",
    kfd_debug.DbgTrapOp.QUERY_EXCEPTION_INFO: "query_exception_info",
    kfd_debug.DbgTrapOp.GET_QUEUE_SNAPSHOT: "queue_snapshot",
    kfd_debug.DbgTrapOp.GET_DEVICE_SNAPSHOT: "device_snapshot",
}

_PROFILER_PAYLOADS = {
    kfd.ProfilerOp.PMC: "pmc",
    kfd.ProfilerOp.PC_SAMPLE: "pc_sample",
    kfd.ProfilerOp.VERSION: "version",
}

_INFO_PAYLOADS = {
    drm_info.InfoQuery.HW_IP_INFO: "query_hw_ip",
    drm_info.InfoQuery.HW_IP_COUNT: "query_hw_ip",
    drm_info.InfoQuery.READ_MMR_REG: "read_mmr_reg",
    drm_info.InfoQuery.FW_VERSION: "query_fw",
    drm_info.InfoQuery.VBIOS: "vbios_info",
    drm_info.InfoQuery.SENSOR: "sensor_info",
}


def ioctl_spec(request: int) -> ioctl.IoctlSpec | None:
    """Return what is known about a request, or None."""
    parts = ioctl.decode(request)
    if parts.type == kfd.IOCTL_TYPE:
        return kfd.KFD_IOCTLS.get(parts.nr)
    if parts.type == drm.IOCTL_TYPE:
        return drm.DRM_IOCTLS.get(parts.nr)
    return None


def describe(request: int, argument: Argument, *, result: bool = False) -> tuple[str, str]:
    """Return the name of an ioctl's request and its argument as `member=value` text.

    `result` chooses the outgoing half of arguments that the kernel overlays with its answer.
    """
    name, fields = describe_fields(request, argument, result=result)
    return name, ", ".join(f"{member}={value}" for member, value in fields)


def describe_fields(
    request: int, argument: Argument, *, result: bool = False
) -> tuple[str, list[tuple[str, str]]]:
    """Return the name of an ioctl's request and its argument as pairs of member and value."""
    spec = ioctl_spec(request)
    if spec is None or spec.struct is None:
        name = spec.name if spec else f"ioctl {request:#010x}"
        data = bytes(argument)
        return name, [("argument", data.hex(" ", 4))] if data else []
    value = argument if isinstance(argument, spec.struct) else _reinterpret(spec.struct, argument)
    if isinstance(value, ctypes.Union):
        value = getattr(value, "out" if result else "in")
    return spec.name, list(_fields(value))


def describe_open(path: str, flags: int) -> str:
    """Return the arguments of open(2) as text."""
    access = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR"}[flags & os.O_ACCMODE]
    others = {"O_CLOEXEC": os.O_CLOEXEC, "O_NONBLOCK": os.O_NONBLOCK}
    return f"{path!r}, {_join_flags(flags & ~os.O_ACCMODE, others, access)}"


def describe_mmap(address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> str:
    """Return the arguments of mmap(2) as text; an offset that names a part of `/dev/kfd` is decoded."""
    protections = {"PROT_READ": mmap.PROT_READ, "PROT_WRITE": mmap.PROT_WRITE, "PROT_EXEC": mmap.PROT_EXEC}
    kinds = {
        "MAP_SHARED": mmap.MAP_SHARED,
        "MAP_PRIVATE": mmap.MAP_PRIVATE,
        "MAP_FIXED": 0x10,
        "MAP_ANONYMOUS": mmap.MAP_ANONYMOUS,
        "MAP_NORESERVE": 0x4000,
        "MAP_FIXED_NOREPLACE": 0x100000,
    }
    return (
        f"address={address:#x}, length={length:#x}, protection={_join_flags(protection, protections, '')}, "
        f"flags={_join_flags(flags, kinds, '')}, fd={fd}, offset={_mmap_offset(offset)}"
    )


def _mmap_offset(offset: int) -> str:
    kind, gpu_id = offset >> kfd.MMAP_TYPE_SHIFT & 3, offset >> kfd.MMAP_GPU_ID_SHIFT & 0xFFFF
    if not kind:
        return f"{offset:#x}"
    return f"{kfd.MmapType(kind).name} of gpu {gpu_id:#x} + {offset & (1 << kfd.MMAP_GPU_ID_SHIFT) - 1:#x}"


def _reinterpret(struct: type[Any], argument: Argument) -> Any:
    """Read other bytes (an older, shorter or raw argument) as `struct`, zero-extended as the kernel does."""
    data = bytes(argument)
    return struct.from_buffer_copy(data[: ctypes.sizeof(struct)].ljust(ctypes.sizeof(struct), b"\0"))


def _fields(struct: ctypes.Structure | ctypes.Union) -> Iterator[tuple[str, str]]:
    for name, _type, *_bits in struct._fields_:
        value = getattr(struct, name)
        if isinstance(value, ctypes.Union):
            yield from _union_fields(struct, value)
        elif isinstance(value, ctypes.Structure):
            yield name, _nested(value)
        elif isinstance(value, ctypes.Array):
            if len(value):
                yield name, "[" + ", ".join(map(_element, value)) + "]"
        elif name not in ("pad", "_pad") or value:
            yield name, _scalar(type(struct), name, value)


def _union_fields(struct: ctypes.Structure | ctypes.Union, union: ctypes.Union) -> Iterator[tuple[str, str]]:
    member: str | None = None
    if isinstance(struct, kfd_debug.DbgTrapArgs):
        member = _DBG_TRAP_PAYLOADS.get(struct.op)
    elif isinstance(struct, kfd.ProfilerArgs):
        member = _PROFILER_PAYLOADS.get(struct.op)
    elif isinstance(struct, drm.AmdgpuInfo):
        member = _INFO_PAYLOADS.get(struct.query)
    elif isinstance(struct, kfd.EventData):
        # An event's id says whether it has a slot, which only signal and debug events have.
        signal = struct.event_id < kfd.FIRST_NONSIGNAL_EVENT_ID
        member = "signal_event_data" if signal else "memory_exception_data"
    if member is None:
        if any(bytes(union)):
            yield "payload", bytes(union).hex(" ", 4)
        return
    value = getattr(union, member)
    if isinstance(value, ctypes.Structure):
        yield from _fields(value)
    else:
        yield member, str(value)


def _nested(value: ctypes.Structure) -> str:
    return "{" + ", ".join(f"{name}={text}" for name, text in _fields(value)) + "}"


def _element(value: object) -> str:
    return _nested(value) if isinstance(value, ctypes.Structure) else str(value)


def _scalar(struct: type, name: str, value: int) -> str:
    if struct is drm.AmdgpuGemVa and name == "flags":
        mtype = value & drm.VM_MTYPE_MASK
        rest = _enum_text(drm.VmFlag, value & ~drm.VM_MTYPE_MASK)
        return f"{rest}|MTYPE_{_enum_text(drm.VmMtype, mtype)}" if mtype else rest
    kind = _ENUMS.get((struct, name))
    if kind is not None:
        return _enum_text(kind, value)
    return str(value) if -1 <= value < 0x10000 and name not in ("gpu_id", "gpuid") else f"{value:#x}"


def _enum_text(kind: type[enum.IntEnum] | type[enum.IntFlag], value: int) -> str:
    if issubclass(kind, enum.IntFlag):
        return _join_flags(value, {str(member.name): member.value for member in kind}, "")
    try:
        return str(kind(value).name)
    except ValueError:
        return str(value)


def _join_flags(value: int, names: dict[str, int], first: str) -> str:
    """Return flags joined by `|`; bits without a name are shown as a number, never left out."""
    known = [name for name, bit in names.items() if value & bit == bit]
    for name in known:
        value &= ~names[name]
    parts = ([first] if first else []) + known + ([f"{value:#x}"] if value else [])
    return "|".join(parts) or "0"
