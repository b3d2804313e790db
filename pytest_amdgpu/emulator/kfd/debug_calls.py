"""DBG_TRAP: what a process learns of its own queues, GPUs and exceptions.

Order of the checks: kfd_ioctl_set_debug_trap in kfd_chardev.c and the functions of kfd_debug.c. A process
debugs itself here; to debug another one is refused as without ptrace. The operations that steer waves
(launch mode and override, suspending, watch points, flags) are refused as unknown once the kernel's own
checks have passed, because waves of software GPUs cannot be steered.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.abi.kfd import HsaMemoryExceptionData, KfdIoctl, QueueType
from pytest_amdgpu.abi.kfd_debug import (
    DbgDeviceInfoEntry,
    DbgTrapArgs,
    DbgTrapOp,
    DbgTrapQueryExceptionInfoArgs,
    ExceptionCode,
    QueueSnapshotEntry,
)
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.debug import bit, is_device_code, is_process_code, is_queue_code
from pytest_amdgpu.emulator.kfd.device_calls import apertures
from pytest_amdgpu.emulator.kfd.reports import signal_page_fault, tell_runtime
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.process import Handler, Process, ProcessDevice

_AFTER_RUNTIME = range(DbgTrapOp.SET_WAVE_LAUNCH_OVERRIDE, DbgTrapOp.SET_FLAGS + 1)
"""Operations that need the runtime to be enabled."""
_WATCHES = (DbgTrapOp.SET_NODE_ADDRESS_WATCH, DbgTrapOp.CLEAR_NODE_ADDRESS_WATCH)
_DEVICE_PROPERTIES = (
    "location_id",
    "vendor_id",
    "device_id",
    "fw_version",
    "gfx_target_version",
    "simd_count",
    "max_waves_per_simd",
    "array_count",
    "simd_arrays_per_engine",
    "capability",
    "debug_prop",
)
_DEVICE_RANGES = ("lds_base", "lds_limit", "scratch_base", "scratch_limit", "gpuvm_base", "gpuvm_limit")
_TYPES_FOR_USER = {QueueType.SDMA_BY_ENG_ID: QueueType.SDMA}
"""What a snapshot calls the types that the kernel does not keep (set_queue_type_for_user)."""


def dbg_trap(process: Process, args: DbgTrapArgs) -> None:
    """Do an operation on the calling process."""
    process.require_primary("debugging")
    if not _exists(args.pid):
        raise Refusal(errno.ESRCH, f"there is no process {args.pid}")
    if args.pid != process.pid:
        raise Refusal(errno.ESRCH, f"process {args.pid} does not use a software GPU of this process")
    if args.op != DbgTrapOp.ENABLE and not process.debug.enabled:
        raise Refusal(errno.EINVAL, f"operation {args.op} while no debugger is attached")
    if args.op in _AFTER_RUNTIME and not process.runtime_enabled:
        raise Refusal(errno.EPERM, f"operation {args.op} before RUNTIME_ENABLE")
    if args.op in _WATCHES:
        setting = args.op == DbgTrapOp.SET_NODE_ADDRESS_WATCH
        gpu_id = (args.set_node_address_watch if setting else args.clear_node_address_watch).gpu_id
        if gpu_id not in process.devices:
            raise Refusal(errno.ENODEV, f"watch point on unknown gpu_id {gpu_id}")
    operation = _OPERATIONS.get(args.op)
    if operation is None:
        raise Refusal(errno.EINVAL, f"operation {args.op} is unknown or not emulated")
    operation(process, args)


def _exists(pid: int) -> bool:
    return pid != 0 and os.path.exists(f"/proc/{pid}")


def _enable(process: Process, args: DbgTrapArgs) -> None:
    if process.debug.enabled:
        raise Refusal(errno.EALREADY, "a debugger is attached already")
    for device in process.devices.values():
        if device.gws_queue is not None and device.gpu.debugger_needs_all_units:
            raise Refusal(errno.EBUSY, f"queue {device.gws_queue.id} has the global wave sync")
    room = args.enable.rinfo_size
    try:
        process.debug.enable(ctypes.c_int32(args.enable.dbg_fd).value, 0)
    except OSError as error:
        raise Refusal(errno.EBADF, f"descriptor {args.enable.dbg_fd}: {error}") from None
    # The kernel stays attached when it cannot tell the runtime's state, but without the mask.
    info = bytes(process.runtime_info)
    args.enable.rinfo_size = len(info)
    client.write(args.enable.rinfo_ptr, info[:room])
    process.debug.subscribed = args.enable.exception_mask


def _disable(process: Process, args: DbgTrapArgs) -> None:
    process.debug.disable()


def _set_exceptions_enabled(process: Process, args: DbgTrapArgs) -> None:
    process.debug.subscribe(args.set_exceptions_enabled.exception_mask)


def _send_runtime_event(process: Process, args: DbgTrapArgs) -> None:
    """Hand exceptions that the debugger took to the runtime."""
    event = args.send_runtime_event
    mask = event.exception_mask
    fault = bit(ExceptionCode.DEVICE_MEMORY_VIOLATION)
    if mask & fault:
        device = process.devices.get(event.gpu_id)
        if device is None:
            raise Refusal(errno.ENODEV, f"there is no gpu_id {event.gpu_id}")
        if device.memory_violation is None:
            raise Refusal(errno.ENODATA, f"no page fault is known on gpu_id {event.gpu_id}")
        signal_page_fault(device, device.memory_violation)
    mask &= ~(fault | bit(ExceptionCode.PROCESS_RUNTIME))
    if mask:
        queue = process.queues.get(event.queue_id)
        if queue is None:
            raise Refusal(errno.EINVAL, f"there is no queue {event.queue_id}")
        tell_runtime(queue, mask)


def _query_debug_event(process: Process, args: DbgTrapArgs) -> None:
    """Fetch what is raised on the first queue, else GPU, else on the process, that has what was asked for."""
    event, wanted = args.query_debug_event, process.debug.subscribed
    clear = ~event.exception_mask
    event.exception_mask = event.queue_id = event.gpu_id = 0
    for queue in process.queues.values():
        if queue.exceptions & wanted:
            event.exception_mask, event.queue_id = queue.exceptions, queue.id
            event.gpu_id = queue.device.gpu.gpu_id
            queue.exceptions &= clear
            return
    for device in process.devices.values():
        if device.exceptions & wanted:
            event.exception_mask, event.gpu_id = device.exceptions, device.gpu.gpu_id
            device.exceptions &= clear
            return
    if not process.debug.exceptions & wanted:
        raise Refusal(errno.EAGAIN, "no exception that the debugger wants is raised")
    event.exception_mask = process.debug.exceptions
    process.debug.exceptions &= clear


def _query_exception_info(process: Process, args: DbgTrapArgs) -> None:
    """Fetch the data of an exception: a page fault's, or the state of the runtime."""
    query = args.query_exception_info
    if not query.info_ptr:
        raise Refusal(errno.EINVAL, "no room for the data")
    code = query.exception_code
    holder: Queue | ProcessDevice | Any
    if is_queue_code(code):
        holder = process.queues.get(query.source_id)
    elif is_device_code(code):
        holder = process.devices.get(query.source_id)
    elif is_process_code(code):
        holder = process.debug
    else:
        raise Refusal(errno.EINVAL, f"there is no exception {code}")
    if holder is None:
        raise Refusal(errno.EINVAL, f"there is no source {query.source_id} of exception {code}")
    raised = bit(ExceptionCode(code))
    if not holder.exceptions & raised:
        raise Refusal(errno.ENODATA, f"{ExceptionCode(code).name} is not raised there")
    query.info_size = _copy_info(process, query, code)
    if query.clear_exception:
        holder.exceptions &= ~raised


def _copy_info(process: Process, query: DbgTrapQueryExceptionInfoArgs, code: int) -> int:
    info = b""
    if code == ExceptionCode.DEVICE_MEMORY_VIOLATION:
        device = process.devices[query.source_id]
        data = device.memory_violation or HsaMemoryExceptionData()
        info = bytes(data)
        if query.clear_exception:
            device.memory_violation = None
    elif code == ExceptionCode.PROCESS_RUNTIME:
        info = bytes(process.runtime_info)
    client.write(query.info_ptr, info[: query.info_size])
    return len(info)


def _queue_snapshot(process: Process, args: DbgTrapArgs) -> None:
    """Describe as many queues as there is room for, and count them all; clears the exceptions it shows."""
    snapshot = args.queue_snapshot
    room, stride = snapshot.num_queues, snapshot.entry_size
    snapshot.num_queues = 0
    if not stride:
        raise Refusal(errno.EINVAL, "entries of 0 bytes")
    size = snapshot.entry_size = min(stride, ctypes.sizeof(QueueSnapshotEntry))
    for queue in list(process.queues.values()):
        if snapshot.num_queues < room:
            address = snapshot.snapshot_buf_ptr + snapshot.num_queues * stride
            entry = bytes(_queue_entry(queue))[:size]
            queue.exceptions &= ~snapshot.exception_mask
            client.write(address, entry)
        snapshot.num_queues += 1


def _queue_entry(queue: Queue) -> QueueSnapshotEntry:
    context = queue.context
    return QueueSnapshotEntry(
        exception_status=queue.exceptions,
        ring_base_address=queue.ring_address,
        write_pointer_address=context.wptr_address,
        read_pointer_address=context.rptr_address,
        ctx_save_restore_address=context.ctx_save_address,
        queue_id=queue.id,
        gpu_id=queue.device.gpu.gpu_id,
        ring_size=queue.ring_size,
        queue_type=_TYPES_FOR_USER.get(context.queue_type, context.queue_type),
        ctx_save_restore_area_size=context.ctx_save_size,
    )


def _device_snapshot(process: Process, args: DbgTrapArgs) -> None:
    """Describe as many GPUs as there is room for, and count them all; clears the exceptions it shows."""
    snapshot = args.device_snapshot
    if not snapshot.snapshot_buf_ptr:
        raise Refusal(errno.EINVAL, "no room for the snapshot")
    devices = list(process.devices.values())
    shown, stride = devices[: snapshot.num_devices], snapshot.entry_size
    snapshot.num_devices = len(devices)
    size = snapshot.entry_size = min(stride, ctypes.sizeof(DbgDeviceInfoEntry))
    for index, device in enumerate(shown):
        entry = bytes(_device_entry(device))[:size]
        device.exceptions &= ~snapshot.exception_mask
        client.write(snapshot.snapshot_buf_ptr + index * stride, entry)


def _device_entry(device: ProcessDevice) -> DbgDeviceInfoEntry:
    gpu = device.gpu
    pci, extent = gpu.model.pci, apertures(device)
    return DbgDeviceInfoEntry(
        exception_status=device.exceptions,
        gpu_id=gpu.gpu_id,
        revision_id=pci["revision"],
        subsystem_vendor_id=pci["subsystem_vendor"],
        subsystem_device_id=pci["subsystem_device"],
        num_xcc=gpu.num_xcc,
        **{name: gpu.properties[name] for name in _DEVICE_PROPERTIES},
        **{name: getattr(extent, name) for name in _DEVICE_RANGES},
    )


_OPERATIONS: dict[int, Handler] = {
    DbgTrapOp.ENABLE: _enable,
    DbgTrapOp.DISABLE: _disable,
    DbgTrapOp.SEND_RUNTIME_EVENT: _send_runtime_event,
    DbgTrapOp.SET_EXCEPTIONS_ENABLED: _set_exceptions_enabled,
    DbgTrapOp.QUERY_DEBUG_EVENT: _query_debug_event,
    DbgTrapOp.QUERY_EXCEPTION_INFO: _query_exception_info,
    DbgTrapOp.GET_QUEUE_SNAPSHOT: _queue_snapshot,
    DbgTrapOp.GET_DEVICE_SNAPSHOT: _device_snapshot,
}
HANDLERS: dict[KfdIoctl, Handler] = {KfdIoctl.DBG_TRAP: dbg_trap}
