"""Ioctls about a queue that exists: which compute units it may use, its saved waves, global wave sync.

Order of the checks: kfd_chardev.c, kfd_process_queue_manager.c and kfd_device_queue_manager.c of amdkfd.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    AllocQueueGwsArgs,
    ContextSaveWaveState,
    GetQueueWaveStateArgs,
    KfdIoctl,
    QueueType,
    SetCuMaskArgs,
)
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.kfd.cu_mask import engine_masks
from pytest_amdgpu.emulator.kfd.queue import COMPUTE_TYPES, find_queue
from pytest_amdgpu.emulator.refusal import Refusal
from pytest_amdgpu.emulator.reset import require_update

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.compute_units import EngineMasks
    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.process import Handler, Process

_MAX_CU_MASK_BITS = 1024


def set_cu_mask(process: Process, args: SetCuMaskArgs) -> None:
    """Restrict a queue to compute units. A mask that names none is accepted, and the queue's waves hang."""
    if not args.num_cu_mask or args.num_cu_mask % 32:
        raise Refusal(errno.EINVAL, f"{args.num_cu_mask} bits are not a multiple of 32")
    words = min(args.num_cu_mask, _MAX_CU_MASK_BITS) // 32
    mask = struct.unpack(f"{words}I", client.read(args.cu_mask_ptr, 4 * words))
    queue = find_queue(process, args.queue_id, errno.EFAULT)
    if process.debug.activated and queue.device.gpu.debugger_needs_all_units:
        raise Refusal(errno.EBUSY, "the debugger has taken the choice of compute units over")
    if queue.device.gpu.family.units_in_pairs:
        for word in mask:
            if (word ^ word >> 1) & 0x55555555:
                raise Refusal(errno.EINVAL, f"mask {word:#010x} splits a pair of compute units (WGP)")
    require_update(queue)
    queue.cu_mask = mask
    masks = engine_masks(queue.device.gpu.model, mask)
    queue.engine.set_engine_masks(masks)
    _warn_of_idle_xccs(queue, masks)


def _warn_of_idle_xccs(queue: Queue, masks: EngineMasks) -> None:
    """Report what amdkfd accepts although waves will hang."""
    context = queue.context
    if context.queue_type not in COMPUTE_TYPES:
        return
    xccs = range(len(masks)) if context.queue_type is QueueType.COMPUTE_AQL else (context.xcc % len(masks),)
    idle = [str(xcc) for xcc in xccs if not any(masks[xcc])]
    if idle:
        queue.device.process.machine.misuse(
            f"SET_CU_MASK leaves queue {queue.id} no compute unit of XCC {', '.join(idle)}:"
            " waves there will hang"
        )


def get_queue_wave_state(process: Process, args: GetQueueWaveStateArgs) -> None:
    """Tell how much of a preempted queue's waves was saved, and write that to the start of each XCC's area.

    The sizes that are returned are those of the first XCC (get_wave_state_v9_4_3). Where the kernel has the
    control stack, it copies it; elsewhere it is in the area already.
    """
    queue = find_queue(process, args.queue_id, errno.EFAULT)
    context = queue.context
    if context.queue_type not in COMPUTE_TYPES:
        raise Refusal(errno.EINVAL, f"queue {queue.id} is of type {context.queue_type.name}, not compute")
    if queue.active:
        raise Refusal(errno.EINVAL, f"queue {queue.id} is active: deactivate it with UPDATE_QUEUE first")
    top = context.ctl_stack_size
    saved = queue.engine.saved_waves()
    for xcc, waves in enumerate(saved):
        area = args.ctl_stack_address + xcc * context.ctx_save_size
        header = ContextSaveWaveState(
            control_stack_offset=top - waves.control_stack,
            control_stack_size=waves.control_stack,
            wave_state_offset=top + waves.wave_state,
            wave_state_size=waves.wave_state,
        )
        client.write(area, bytes(header))
        if not queue.device.gpu.family.context_save.control_stack_in_area:
            client.write(area + top - waves.control_stack, bytes(waves.control_stack))
    args.ctl_stack_used_size = saved[0].control_stack
    args.save_area_used_size = saved[0].wave_state


def alloc_queue_gws(process: Process, args: AllocQueueGwsArgs) -> None:
    """Give the global wave sync of a GPU to one queue of the process, or take it back.

    Whose it is, pqm_set_gws asks only when it is given, and counts for the process when it is taken back.
    So a queue that has none takes it from the one that has it, where it is no more than that count; where
    it is a buffer object, the kernel follows a null pointer (amdgpu_amdkfd_remove_gws_from_process).
    """
    queue = find_queue(process, args.queue_id, errno.EINVAL)
    device = queue.device
    if not device.gpu.properties["num_gws"]:
        raise Refusal(errno.ENODEV, f"{device.gpu!r} has no global wave sync")
    if process.debug.enabled and device.gpu.debugger_needs_all_units:
        raise Refusal(errno.EBUSY, f"{device.gpu!r} cannot have both a debugger and global wave sync")
    args.first_gws = 0
    holder = device.gws_queue
    if holder is None:
        if not args.num_gws:
            raise Refusal(errno.EINVAL, f"no queue has the global wave sync of {device.gpu!r}")
    elif args.num_gws:
        raise Refusal(errno.EBUSY, f"queue {holder.id} has the global wave sync of {device.gpu!r}")
    elif holder is not queue:
        text = (
            f"queue {queue.id} gives back the global wave sync of {device.gpu!r}, which queue {holder.id} has"
        )
        process.machine.misuse(f"ALLOC_QUEUE_GWS: {text}")
        if device.gpu.gws_is_a_buffer:
            raise Refusal(errno.EINVAL, f"{text}: the kernel follows a null pointer")
    device.gws_queue = queue if args.num_gws else None


HANDLERS: dict[KfdIoctl, Handler] = {
    KfdIoctl.SET_CU_MASK: set_cu_mask,
    KfdIoctl.GET_QUEUE_WAVE_STATE: get_queue_wave_state,
    KfdIoctl.ALLOC_QUEUE_GWS: alloc_queue_gws,
}
