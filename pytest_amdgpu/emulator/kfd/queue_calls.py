"""Ioctls about queues. The order of the checks is amdkfd's (kfd_chardev.c, kfd_queue.c, 6.12 era)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    MAX_QUEUE_PERCENTAGE,
    MAX_QUEUE_PRIORITY,
    MIN_QUEUE_RING_SIZE,
    MMAP_GPU_ID_SHIFT,
    MMAP_TYPE_SHIFT,
    CreateQueueArgs,
    DestroyQueueArgs,
    KfdIoctl,
    MmapType,
    QueueType,
    UpdateQueueArgs,
)
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.engine.context import QueueContext
from pytest_amdgpu.emulator.gpu import MAX_QUEUES_PER_DEVICE
from pytest_amdgpu.emulator.kfd.queue import COMPUTE_TYPES, Queue, find_queue
from pytest_amdgpu.emulator.kfd.reports import QueueReports
from pytest_amdgpu.emulator.memory import PAGE_SIZE, Location, Mapping
from pytest_amdgpu.emulator.process import MAX_QUEUE_IDS
from pytest_amdgpu.emulator.refusal import ENOTSUPP, Refusal
from pytest_amdgpu.emulator.reset import require_scheduler, require_update

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Handler, Process, ProcessDevice

_RING_MASK, _POINTER_MASK = ~0xFF, ~7
"""Bits of the addresses that reach the hardware: its registers take the ring's in units of 256 bytes
(CP_HQD_PQ_BASE, SDMA*_RB_BASE). That those of the pointers lose the lowest three bits is assumed."""


def _check_common(args: CreateQueueArgs | UpdateQueueArgs) -> None:
    """Make the checks that creating and updating share, and raise a small ring size to the least one."""
    if args.queue_percentage & 0xFF > MAX_QUEUE_PERCENTAGE:
        raise Refusal(errno.EINVAL, f"queue percentage {args.queue_percentage & 0xFF} is above 100")
    if args.queue_priority > MAX_QUEUE_PRIORITY:
        raise Refusal(errno.EINVAL, f"queue priority {args.queue_priority} is above {MAX_QUEUE_PRIORITY}")
    _check_pointer("ring", args.ring_base_address)
    if args.ring_size & (args.ring_size - 1) and args.ring_size:
        raise Refusal(errno.EINVAL, f"ring size {args.ring_size} is not a power of two")
    args.ring_size = max(args.ring_size, MIN_QUEUE_RING_SIZE)


def _check_pointer(what: str, address: int) -> None:
    if not client.in_user_space(address):
        raise Refusal(errno.EFAULT, f"{what} address {address:#x} is outside user space")


def create_queue(process: Process, args: CreateQueueArgs) -> None:
    """Make a queue and start its engine."""
    _check_common(args)
    metadata_size = _metadata_ring_size(process, args)
    _check_pointer("read pointer", args.read_pointer_address)
    _check_pointer("write pointer", args.write_pointer_address)
    _check_pointer("EOP", args.eop_buffer_address)
    _check_pointer("context save", args.ctx_save_restore_address)
    if args.queue_type not in tuple(QueueType):
        raise Refusal(ENOTSUPP, f"queue type {args.queue_type}")
    queue_type = QueueType(args.queue_type)
    device = process.device(args.gpu_id)
    device = process.bound_device(args.gpu_id, errno.ESRCH)
    engines = sum(device.gpu.sdma_engines)
    if queue_type is QueueType.SDMA_BY_ENG_ID and args.sdma_engine_id >= engines:
        raise Refusal(errno.EINVAL, f"SDMA engine {args.sdma_engine_id}, {device.gpu!r} has {engines}")
    try:
        doorbells = device.doorbells
    except OSError as error:
        raise Refusal(errno.ENOMEM, f"no doorbells: {error}") from None
    ring_size = args.ring_size + (metadata_size if queue_type is QueueType.COMPUTE_AQL else 0)
    held = _find_mappings(device, args, queue_type, ring_size)
    shared: tuple[int, int] | None = None
    if queue_type in COMPUTE_TYPES:
        area = _save_area(device, args)
        if isinstance(area, Mapping):
            held["context save area"] = area
        else:
            shared = area
    _check_limits(device, held["write pointer"])
    _warn(device, args, queue_type)
    require_scheduler(device)
    context = QueueContext(
        gpu=device.gpu,
        memory=device.space,
        host=QueueReports(device, _free_id(process), sdma=queue_type not in COMPUTE_TYPES),
        queue_id=_free_id(process),
        queue_type=queue_type,
        ring_address=args.ring_base_address & _RING_MASK,
        ring_size=args.ring_size,
        rptr_address=args.read_pointer_address & _POINTER_MASK,
        wptr_address=args.write_pointer_address & _POINTER_MASK,
        priority=args.queue_priority,
        active=args.queue_percentage & 0xFF > 0,
        xcc=args.queue_percentage >> 8 & 0xFF,
        injected=device.gpu.injected,
    )
    if queue_type in COMPUTE_TYPES:
        context.eop_address, context.eop_size = args.eop_buffer_address, args.eop_buffer_size
        context.ctx_save_address = args.ctx_save_restore_address
        context.ctx_save_size = args.ctx_save_restore_size
        context.ctl_stack_size = args.ctl_stack_size
    queue = Queue(device, context)
    queue.shared_save_area = shared
    if queue_type in COMPUTE_TYPES:
        queue.doorbell_slot = doorbells.take_cp_slot(queue)
    else:
        queue.sdma_place = device.gpu.take_sdma_queue(queue_type, args.sdma_engine_id)
        queue.doorbell_slot = doorbells.take_sdma_slot(queue, *queue.sdma_place)
        context.sdma_engine = queue.sdma_place[0]
    queue.start(held)
    args.queue_id = queue.id
    args.doorbell_offset = (
        MmapType.DOORBELL << MMAP_TYPE_SHIFT | args.gpu_id << MMAP_GPU_ID_SHIFT | queue.doorbell_slot * 8
    )


def _metadata_ring_size(process: Process, args: CreateQueueArgs) -> int:
    """Return the size of the ring of metadata that lies behind the ring, where the kernel knows of it."""
    size = int(args.pad)
    if not process.machine.behaviour.metadata_ring:
        return 0
    if size & (size - 1):
        raise Refusal(errno.EINVAL, f"metadata ring size {size} is not a power of two")
    return size


def _find_mappings(
    device: ProcessDevice, args: CreateQueueArgs, queue_type: QueueType, ring_size: int
) -> dict[str, Mapping]:
    """Return the GPU mappings that the queue will hold, which must be of exactly the right sizes."""
    held = {
        "write pointer": _mapping_at(device, "write pointer", args.write_pointer_address, PAGE_SIZE),
        "read pointer": _mapping_at(device, "read pointer", args.read_pointer_address, PAGE_SIZE),
        "ring": _ring_mapping(device, args.ring_base_address, ring_size),
    }
    if queue_type not in COMPUTE_TYPES:
        return held
    sizes, behaviour = device.gpu.queue_sizes, device.process.machine.behaviour
    if args.eop_buffer_address:
        if args.eop_buffer_size != sizes.eop_size:
            raise Refusal(errno.EINVAL, f"EOP buffer of {args.eop_buffer_size} bytes, not {sizes.eop_size}")
        held["EOP buffer"] = _mapping_at(device, "EOP buffer", args.eop_buffer_address, sizes.eop_size)
    if args.ctl_stack_size != sizes.ctl_stack_size:
        raise Refusal(
            errno.EINVAL, f"control stack of {args.ctl_stack_size} bytes, not {sizes.ctl_stack_size}"
        )
    larger = args.ctx_save_restore_size > sizes.cwsr_size
    if args.ctx_save_restore_size < sizes.cwsr_size or (larger and not behaviour.save_area_may_be_larger):
        raise Refusal(
            errno.EINVAL, f"context save area of {args.ctx_save_restore_size} bytes, not {sizes.cwsr_size}"
        )
    return held


def _save_area(device: ProcessDevice, args: CreateQueueArgs) -> Mapping | tuple[int, int]:
    """Return the context save area: a buffer of exactly the right size, else start and end of SVM."""
    bytes_per_xcc = args.ctx_save_restore_size + device.gpu.queue_sizes.debug_size
    size = -(-bytes_per_xcc * device.gpu.num_xcc // PAGE_SIZE) * PAGE_SIZE
    address = args.ctx_save_restore_address
    try:
        return _mapping_at(device, "context save area", address, size)
    except Refusal:
        if not device.process.svm.overlapping(address, address + size):
            raise
        device.process.svm.require_always_mapped(device.gpu.gpu_id, address, address + size)
        return address, address + size


def _ring_mapping(device: ProcessDevice, address: int, size: int) -> Mapping:
    # Older kernels count pages, so they cannot check the size of a ring that is smaller than one.
    if device.process.machine.behaviour.metadata_ring:
        size = -(-size // PAGE_SIZE) * PAGE_SIZE
    return _mapping_at(device, "ring", address, size if size >= PAGE_SIZE else None)


def _mapping_at(device: ProcessDevice, what: str, address: int, size: int | None) -> Mapping:
    mapping = device.space.find(address)
    if mapping is None or mapping.bo.location is Location.SVM:
        raise Refusal(errno.EINVAL, f"{what}: no buffer is mapped at {address:#x} on {device.gpu!r}")
    if mapping.start != address & -PAGE_SIZE or size not in (None, mapping.bo.size):
        raise Refusal(
            errno.EINVAL,
            f"{what}: needs a mapping of its own of {size} bytes at {address:#x}, not {mapping!r}",
        )
    return mapping


def _check_limits(device: ProcessDevice, wptr: Mapping) -> None:
    gpu = device.gpu
    if len(device.queues) >= gpu.max_queues_per_process:
        raise Refusal(errno.ENOSPC, f"the process has {len(device.queues)} queues on {gpu!r}")
    _free_id(device.process)
    if gpu.uses_mes and wptr.bo.home != gpu.gpu_id:
        raise Refusal(errno.EINVAL, f"write pointer in memory of gpu_id {wptr.bo.home}, not of {gpu!r}")
    if gpu.queue_count >= MAX_QUEUES_PER_DEVICE:
        raise Refusal(errno.EPERM, f"{gpu!r} has {gpu.queue_count} queues")


def _free_id(process: Process) -> int:
    number = next((number for number in range(MAX_QUEUE_IDS) if number not in process.queues), None)
    if number is None:
        raise Refusal(errno.ENOMEM, f"the process has {MAX_QUEUE_IDS} queues")
    return number


def _warn(device: ProcessDevice, args: CreateQueueArgs, queue_type: QueueType) -> None:
    """Report what amdkfd accepts and the hardware suffers from."""
    bugs = []
    if args.ring_base_address % PAGE_SIZE:
        bugs.append(f"ring address {args.ring_base_address:#x} is not page aligned")
    if args.ring_size < PAGE_SIZE:
        bugs.append(
            f"ring of {args.ring_size} bytes, less than a page: the kernel does not check its mapping"
        )
    if queue_type in COMPUTE_TYPES and not args.eop_buffer_address:
        bugs.append("compute queue without an EOP buffer")
    xcc = args.queue_percentage >> 8 & 0xFF
    if xcc >= device.gpu.num_xcc:
        bugs.append(f"target XCC {xcc}, the GPU has {device.gpu.num_xcc}")
    for name, address in (("read", args.read_pointer_address), ("write", args.write_pointer_address)):
        if address & ~_POINTER_MASK:
            bugs.append(f"{name} pointer address {address:#x} is not a multiple of 8, which it is taken for")
    for name, mapping in (
        ("read pointer", device.space.find(args.read_pointer_address)),
        ("context save area", device.space.find(args.ctx_save_restore_address)),
        ("EOP buffer", device.space.find(args.eop_buffer_address)),
    ):
        if mapping is not None and not mapping.writable:
            bugs.append(f"the {name} is not mapped writable")
    for bug in bugs:
        device.process.machine.misuse(f"CREATE_QUEUE: {bug}")


def destroy_queue(process: Process, args: DestroyQueueArgs) -> None:
    """Stop a queue and free it, also where its scheduler hangs (pqm_destroy_queue goes on after ETIME)."""
    queue = find_queue(process, args.queue_id, errno.EINVAL)
    try:
        require_scheduler(queue.device)
    finally:
        queue.destroy()


def update_queue(process: Process, args: UpdateQueueArgs) -> None:
    """Give a queue another ring, percentage or priority; ring address or percentage 0 deactivates it."""
    _check_common(args)
    queue = find_queue(process, args.queue_id, errno.EFAULT)
    address = args.ring_base_address
    if address and address != queue.ring_address:
        try:
            ring = _ring_mapping(queue.device, address, args.ring_size)
        except Refusal as refusal:
            raise Refusal(errno.EFAULT, refusal.why) from None
        queue.hold("ring", ring)
    elif address and args.ring_size != queue.ring_size:
        process.machine.misuse(
            f"UPDATE_QUEUE makes the ring {args.ring_size} bytes, its mapping has {queue.ring_size}"
        )
    queue.ring_address, queue.ring_size = address, args.ring_size
    require_update(queue)
    queue.enabled = bool(address and args.queue_percentage & 0xFF)
    queue.engine.update(
        address & _RING_MASK,
        args.ring_size,
        priority=args.queue_priority,
        active=queue.enabled,
    )


HANDLERS: dict[KfdIoctl, Handler] = {
    KfdIoctl.CREATE_QUEUE: create_queue,
    KfdIoctl.DESTROY_QUEUE: destroy_queue,
    KfdIoctl.UPDATE_QUEUE: update_queue,
}
