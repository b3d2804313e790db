"""Ioctls about the interface, the process and its GPUs as such: version, clocks, apertures, modes."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    NUM_OF_SUPPORTED_GPUS,
    AcquireVmArgs,
    CachePolicy,
    CriuArgs,
    GetClockCountersArgs,
    GetProcessAperturesArgs,
    GetProcessAperturesNewArgs,
    GetTileConfigArgs,
    GetVersionArgs,
    KfdIoctl,
    ProcessDeviceApertures,
    RuntimeEnableArgs,
    RuntimeEnableMode,
    SetMemoryPolicyArgs,
    SetScratchBackingVaArgs,
    SetTrapHandlerArgs,
    SetXnackModeArgs,
)
from pytest_amdgpu.abi.kfd_debug import ExceptionCode, RuntimeInfo, RuntimeState
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.drm import RenderFile
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Handler, Process, ProcessDevice

LDS_BASE = 1 << 48
SCRATCH_BASE = 2 << 48
GPUVM_BASE = 0x10000
GPUVM_LIMIT = 0x7FFF_FFFF_FFFF
_TILE_MODES, _MACRO_TILE_MODES = 32, 16


def get_version(process: Process, args: GetVersionArgs) -> None:
    """Tell the version of the interface."""
    args.major_version, args.minor_version = process.machine.behaviour.abi_version


def get_clock_counters(process: Process, args: GetClockCountersArgs) -> None:
    """Read all clocks; an unknown GPU's counter reads 0. GPU and CPU are read at once, or almost."""
    device = process.devices.get(args.gpu_id)
    args.cpu_clock_counter = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    args.gpu_clock_counter = device.gpu.clock(args.cpu_clock_counter) if device else 0
    args.system_clock_counter = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    args.system_clock_freq = 1_000_000_000


def apertures(device: ProcessDevice) -> ProcessDeviceApertures:
    """Return the address ranges of a GPU."""
    return ProcessDeviceApertures(
        lds_base=LDS_BASE,
        lds_limit=LDS_BASE | 0xFFFFFFFF,
        scratch_base=SCRATCH_BASE,
        scratch_limit=SCRATCH_BASE | 0xFFFFFFFF,
        gpuvm_base=GPUVM_BASE,
        gpuvm_limit=GPUVM_LIMIT,
        gpu_id=device.gpu.gpu_id,
    )


def get_process_apertures(process: Process, args: GetProcessAperturesArgs) -> None:
    """Tell the apertures of the first 7 GPUs."""
    devices = list(process.devices.values())[:NUM_OF_SUPPORTED_GPUS]
    for index, device in enumerate(devices):
        args.process_apertures[index] = apertures(device)
    args.num_of_nodes = len(devices)


def get_process_apertures_new(process: Process, args: GetProcessAperturesNewArgs) -> None:
    """Tell the apertures of as many GPUs as there is room for, or only how many GPUs there are."""
    if args.num_of_nodes == 0:
        args.num_of_nodes = len(process.devices)
        return
    devices = list(process.devices.values())[: args.num_of_nodes]
    args.num_of_nodes = len(devices)
    table = b"".join(bytes(apertures(device)) for device in devices)
    client.write(args.kfd_process_device_apertures_ptr, table)


def acquire_vm(process: Process, args: AcquireVmArgs) -> None:
    """Bind a GPU to a render node's address space."""
    file = process.machine.files.find(args.drm_fd)
    if file is None:
        raise Refusal(errno.EINVAL, f"{args.drm_fd} is not an open descriptor")
    device = process.device(args.gpu_id)
    if device.render_file is not None:
        if device.render_file is file:
            return
        raise Refusal(
            errno.EBUSY,
            "this process acquired the GPU's VM through another open render node; the kernel keeps that one "
            "until the process exits, also when its descriptor is closed",
        )
    if not isinstance(file, RenderFile):
        raise Refusal(errno.EINVAL, f"descriptor {args.drm_fd} is not a render node")
    if file.acquired:
        raise Refusal(errno.EINVAL, f"the VM of descriptor {args.drm_fd} is a compute VM already")
    if file.gpu is not device.gpu:
        process.machine.misuse(
            f"ACQUIRE_VM binds gpu_id {args.gpu_id} to {file.gpu!r}, which is another GPU's render node"
        )
        raise Refusal(errno.EINVAL, f"descriptor {args.drm_fd} belongs to {file.gpu!r}")
    file.acquired = True
    device.render_file = file


def set_memory_policy(process: Process, args: SetMemoryPolicyArgs) -> None:
    """Accept cache policies, which have no effect since gfx9."""
    for policy in (args.default_policy, args.alternate_policy):
        if policy not in tuple(CachePolicy):
            raise Refusal(errno.EINVAL, f"{policy} is no cache policy")
    process.bound_device(args.gpu_id, errno.ESRCH)


def set_scratch_backing_va(process: Process, args: SetScratchBackingVaArgs) -> None:
    """Accept the address of scratch memory, which only a GPU without a hardware scheduler uses."""
    process.bound_device(args.gpu_id, errno.ENODEV)


def set_trap_handler(process: Process, args: SetTrapHandlerArgs) -> None:
    """Accept a trap handler. Software GPUs do not run it: an exception of a wave halts the queue."""
    device = process.bound_device(args.gpu_id, errno.ESRCH)
    process.machine.log(
        f"amdgpu {device.gpu.pci_address}: trap handler at {args.tba_addr:#x} will not be run"
    )


def get_tile_config(process: Process, args: GetTileConfigArgs) -> None:
    """Tell the image tiling: all zero, because since gfx9 the tables are unused."""
    process.device(args.gpu_id)
    args.gb_addr_config = args.num_banks = args.num_ranks = 0
    args.num_tile_configs = min(args.num_tile_configs, _TILE_MODES)
    client.write(args.tile_config_ptr, bytes(4 * args.num_tile_configs))
    args.num_macro_tile_configs = min(args.num_macro_tile_configs, _MACRO_TILE_MODES)
    client.write(args.macro_tile_config_ptr, bytes(4 * args.num_macro_tile_configs))


def runtime_enable(process: Process, args: RuntimeEnableArgs) -> None:
    """Note that a runtime is there, which must be before its first queue."""
    if not args.mode_mask & RuntimeEnableMode.ENABLE:
        process.runtime_info = RuntimeInfo()
        return
    if process.runtime_enabled:
        raise Refusal(errno.EBUSY, "the runtime is enabled already")
    if process.queues:
        raise Refusal(errno.EEXIST, f"the process has {len(process.queues)} queues already")
    process.runtime_info = RuntimeInfo(
        args.r_debug, RuntimeState.ENABLED, bool(args.mode_mask & RuntimeEnableMode.TTMP_SAVE)
    )
    if process.debug.raise_on_process(ExceptionCode.PROCESS_RUNTIME):
        process.machine.misuse(
            "RUNTIME_ENABLE with a debugger attached: the kernel waits here for the debugger's answer"
        )


def set_xnack_mode(process: Process, args: SetXnackModeArgs) -> None:
    """Choose or ask whether page faults are retried."""
    if args.xnack_enabled < 0:
        args.xnack_enabled = process.xnack_enabled
        return
    if process.queues:
        raise Refusal(errno.EBUSY, f"the process has {len(process.queues)} queues")
    if args.xnack_enabled == process.xnack_enabled:
        return
    refusing = [
        device.gpu for device in process.devices.values() if not device.gpu.family.kernel.xnack_per_process
    ]
    if args.xnack_enabled and refusing:
        raise Refusal(errno.EPERM, f"{refusing[0]!r} cannot retry page faults")
    process.xnack_enabled = bool(args.xnack_enabled)


def refuse_debugger(process: Process, args: ctypes.Structure) -> None:
    """Refuse the debugger interface of old kernels."""
    raise Refusal(errno.EPERM, "the old debugger interface was removed")


def refuse_checkpoint(process: Process, args: CriuArgs) -> None:
    """Refuse checkpoint and restore: without the capability as amdkfd does, with it as not emulated."""
    if os.geteuid():
        raise Refusal(errno.EACCES, "needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN")
    raise Refusal(errno.EINVAL, "checkpoint and restore are not emulated")


HANDLERS: dict[KfdIoctl, Handler] = {
    KfdIoctl.GET_VERSION: get_version,
    KfdIoctl.GET_CLOCK_COUNTERS: get_clock_counters,
    KfdIoctl.GET_PROCESS_APERTURES: get_process_apertures,
    KfdIoctl.GET_PROCESS_APERTURES_NEW: get_process_apertures_new,
    KfdIoctl.ACQUIRE_VM: acquire_vm,
    KfdIoctl.SET_MEMORY_POLICY: set_memory_policy,
    KfdIoctl.SET_SCRATCH_BACKING_VA: set_scratch_backing_va,
    KfdIoctl.SET_TRAP_HANDLER: set_trap_handler,
    KfdIoctl.GET_TILE_CONFIG: get_tile_config,
    KfdIoctl.RUNTIME_ENABLE: runtime_enable,
    KfdIoctl.SET_XNACK_MODE: set_xnack_mode,
    KfdIoctl.CRIU_OP: refuse_checkpoint,
    KfdIoctl.DBG_REGISTER_DEPRECATED: refuse_debugger,
    KfdIoctl.DBG_UNREGISTER_DEPRECATED: refuse_debugger,
    KfdIoctl.DBG_ADDRESS_WATCH_DEPRECATED: refuse_debugger,
    KfdIoctl.DBG_WAVE_CONTROL_DEPRECATED: refuse_debugger,
}
