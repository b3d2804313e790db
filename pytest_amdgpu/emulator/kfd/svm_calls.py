"""The ioctl of shared virtual memory: attributes of ranges are set and asked for.

Order of the checks: kfd_ioctl_svm in kfd_chardev.c, svm_range_set_attr and svm_range_get_attr in kfd_svm.c.
"""

from __future__ import annotations

import ctypes
import errno
import functools
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.abi.kfd import (
    KfdIoctl,
    SvmArgs,
    SvmAttribute,
    SvmAttributeType,
    SvmLocation,
    SvmOp,
)
from pytest_amdgpu.emulator.memory import PAGE_SIZE
from pytest_amdgpu.emulator.refusal import Refusal
from pytest_amdgpu.emulator.svm import DEFAULT_FLAGS, DEFAULT_GRANULARITY, SvmRange

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Handler, Process

_ACCESS = (SvmAttributeType.ACCESS, SvmAttributeType.ACCESS_IN_PLACE, SvmAttributeType.NO_ACCESS)
_ALL_BITS = 0xFFFFFFFF


@functools.cache
def sized_args(size: int) -> type[SvmArgs]:
    """Return the argument for a request of `size` bytes, with the attributes that it has room for."""
    count = max(size - ctypes.sizeof(SvmArgs), 0) // ctypes.sizeof(SvmAttribute)
    return type("SizedSvmArgs", (SvmArgs,), {"_fields_": (("room", SvmAttribute * count),)})


def svm(process: Process, args: Any) -> int | None:
    """Set or get attributes. An unknown operation is no error: the kernel returns 22 instead of -22."""
    process.require_primary("shared virtual memory")
    if args.start_addr % PAGE_SIZE or args.size % PAGE_SIZE:
        raise Refusal(errno.EINVAL, f"{args.start_addr:#x} and {args.size} bytes are not whole pages")
    if not args.start_addr or not args.size:
        raise Refusal(errno.EINVAL, "address or size is 0")
    if args.nattr > len(args.room):
        # amdkfd does not look, and reads attributes from behind what it copied in.
        text = f"SVM with {args.nattr} attributes, but the request's size has room for {len(args.room)}"
        process.machine.misuse(text)
        raise Refusal(errno.EINVAL, text)
    attributes = list(args.room[: args.nattr])
    if args.op == SvmOp.SET_ATTR:
        _set(process, args.start_addr, args.start_addr + args.size, attributes)
    elif args.op == SvmOp.GET_ATTR:
        _get(process, args.start_addr, args.start_addr + args.size, attributes)
    else:
        process.machine.misuse(f"SVM with unknown operation {args.op}, which the kernel does not refuse")
        return errno.EINVAL
    return None


def _set(process: Process, start: int, end: int, attributes: list[SvmAttribute]) -> None:
    for attribute in attributes:
        _check(process, attribute)
    if not any(device.bound for device in process.devices.values()):
        process.machine.misuse("SVM before any ACQUIRE_VM: the kernel follows a null pointer")
        raise Refusal(errno.EINVAL, "ACQUIRE_VM was done on no GPU")
    regions = process.svm.require_valid(start, end)
    ranges = process.svm.take(start, end)
    for item in ranges:
        for attribute in attributes:
            _apply(item, attribute)
    prefetched = any(attribute.type == SvmAttributeType.PREFETCH_LOC for attribute in attributes)
    for item in ranges:
        if prefetched:
            process.svm.migrate(item)
        process.svm.map(item, regions)


def _check(process: Process, attribute: SvmAttribute) -> None:
    kind, value = attribute.type, attribute.value
    if kind not in tuple(SvmAttributeType):
        raise Refusal(errno.EINVAL, f"there is no attribute {kind}")
    locations = {
        SvmAttributeType.PREFERRED_LOC: (SvmLocation.SYSMEM, SvmLocation.UNDEFINED),
        SvmAttributeType.PREFETCH_LOC: (SvmLocation.SYSMEM,),
    }
    names_gpu = kind in _ACCESS or (kind in locations and value not in locations[SvmAttributeType(kind)])
    if names_gpu and not process.svm.capable(value):
        raise Refusal(errno.EINVAL, f"gpu_id {value} cannot share virtual memory")


def _apply(item: SvmRange, attribute: SvmAttribute) -> None:
    kind, value = SvmAttributeType(attribute.type), attribute.value
    if kind is SvmAttributeType.PREFERRED_LOC:
        item.preferred = value
    elif kind is SvmAttributeType.PREFETCH_LOC:
        item.prefetch = value
    elif kind is SvmAttributeType.SET_FLAGS:
        item.flags |= value
    elif kind is SvmAttributeType.CLR_FLAGS:
        item.flags &= ~value
    elif kind is SvmAttributeType.GRANULARITY:
        item.granularity = value & 0x3F
    else:
        item.access.discard(value)
        item.in_place.discard(value)
        if kind is SvmAttributeType.ACCESS:
            item.access.add(value)
        elif kind is SvmAttributeType.ACCESS_IN_PLACE:
            item.in_place.add(value)


def _get(process: Process, start: int, end: int, attributes: list[SvmAttribute]) -> None:
    process.svm.require_valid(start, end)
    for attribute in attributes:
        if attribute.type not in tuple(SvmAttributeType) or attribute.type in _ACCESS[1:]:
            raise Refusal(errno.EINVAL, f"attribute {attribute.type} cannot be asked for")
    ranges = process.svm.overlapping(start, end)
    for attribute in attributes:
        _answer(process, ranges, attribute)


def _answer(process: Process, ranges: list[SvmRange], attribute: SvmAttribute) -> None:
    """Say what all ranges have in common; without any, what a new one would have."""
    kind = SvmAttributeType(attribute.type)
    if kind is SvmAttributeType.PREFERRED_LOC:
        attribute.value = _common({item.preferred for item in ranges})
    elif kind is SvmAttributeType.PREFETCH_LOC:
        attribute.value = _common({item.prefetch for item in ranges})
    elif kind is SvmAttributeType.SET_FLAGS:
        attribute.value = functools.reduce(int.__and__, (item.flags for item in ranges), _ALL_BITS)
        if not ranges:
            attribute.value = DEFAULT_FLAGS
    elif kind is SvmAttributeType.CLR_FLAGS:
        flags = functools.reduce(int.__or__, (item.flags for item in ranges), 0)
        attribute.value = ~(flags if ranges else DEFAULT_FLAGS) & _ALL_BITS
    elif kind is SvmAttributeType.GRANULARITY:
        attribute.value = min((item.granularity for item in ranges), default=DEFAULT_GRANULARITY)
    else:
        gpu_id = attribute.value
        supported = process.svm.capable(gpu_id)
        if not ranges:
            accessible, in_place = process.xnack_enabled and supported, False
        else:
            accessible = supported and all(gpu_id in item.access for item in ranges)
            in_place = supported and all(gpu_id in item.in_place for item in ranges)
        attribute.type = (
            SvmAttributeType.ACCESS
            if accessible
            else SvmAttributeType.ACCESS_IN_PLACE
            if in_place
            else SvmAttributeType.NO_ACCESS
        )


def _common(values: set[int]) -> int:
    return values.pop() if len(values) == 1 else SvmLocation.UNDEFINED


HANDLERS: dict[KfdIoctl, Handler] = {KfdIoctl.SVM: svm}
