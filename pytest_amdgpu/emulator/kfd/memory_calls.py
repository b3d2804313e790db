"""Ioctls about memory: allocate, free, map, unmap, and how much there is."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    DOORBELL_SLICE,
    MMAP_GPU_ID_SHIFT,
    MMAP_TYPE_SHIFT,
    AllocFlag,
    AllocMemoryOfGpuArgs,
    FreeMemoryOfGpuArgs,
    GetAvailableMemoryArgs,
    KfdIoctl,
    MapMemoryToGpuArgs,
    MmapType,
    UnmapMemoryFromGpuArgs,
)
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.arena import borrow
from pytest_amdgpu.emulator.doorbells import Doorbells
from pytest_amdgpu.emulator.kfd.device_calls import GPUVM_BASE, GPUVM_LIMIT
from pytest_amdgpu.emulator.links import is_pcie_peer
from pytest_amdgpu.emulator.memory import ADDRESS_LIMIT, PAGE_SIZE, BufferObject, Location
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.memory import Bytes
    from pytest_amdgpu.emulator.process import Handler, Process, ProcessDevice

KERNEL_RESERVE = (2 << 20) + (2 << 20) + (8 << 10)
"""What the kernel itself maps at the top of each address space: CSA, SEQ64, trap handler."""
_MAX_LISTED_DEVICES = 1 << 16
_KINDS = AllocFlag.VRAM | AllocFlag.GTT | AllocFlag.USERPTR | AllocFlag.DOORBELL | AllocFlag.MMIO_REMAP
_COHERENT = AllocFlag.UNCACHED | AllocFlag.COHERENT | AllocFlag.EXT_COHERENT
"""Memory that shaders reach past the caches (MTYPE UC or CC; svm_range_get_pte_flags and gmc_v*_0.c)."""

_KNOWN_FLAGS = sum(AllocFlag)


def alloc_memory(process: Process, args: AllocMemoryOfGpuArgs) -> None:
    """Make a buffer object. Its address is recorded and not looked at; MAP judges it."""
    flags, size, user_address = args.flags, args.size, args.mmap_offset
    if not size:
        raise Refusal(errno.EINVAL, "size is 0")
    if flags & AllocFlag.USERPTR:
        process.require_primary("user memory")
    process.svm.require_unregistered(args.va_addr, args.va_addr + size)
    if flags & AllocFlag.USERPTR:
        process.svm.require_unregistered(user_address, user_address + size)
    device = process.device(args.gpu_id)
    if flags & AllocFlag.PUBLIC and flags & AllocFlag.VRAM and not device.gpu.large_bar:
        raise Refusal(errno.EINVAL, f"public VRAM, but the BAR of {device.gpu!r} does not show all of it")
    device = process.bound_device(args.gpu_id, errno.ENODEV)
    if flags & AllocFlag.USERPTR:
        shown = process.machine.maps.find(user_address)
        if shown is not None:
            flags = _device_memory_flags(process, flags, shown.owner, size)
        elif user_address % PAGE_SIZE:
            raise Refusal(errno.EINVAL, f"user pointer {user_address:#x} is not page aligned")
    if flags & AllocFlag.DOORBELL and size != DOORBELL_SLICE:
        raise Refusal(errno.EINVAL, f"doorbells are {DOORBELL_SLICE} bytes, not {size}")
    if flags & AllocFlag.MMIO_REMAP and not flags & AllocFlag.DOORBELL and size != PAGE_SIZE:
        raise Refusal(errno.EINVAL, f"the MMIO remap page is {PAGE_SIZE} bytes, not {size}")
    location = _location(flags)
    if location is None or (location is Location.USERPTR and not user_address):
        raise Refusal(errno.EINVAL, f"flags {flags:#x} with user address {user_address:#x} name no memory")
    pages_size = -(-size // PAGE_SIZE) * PAGE_SIZE
    charge = pages_size if location is Location.VRAM else 0
    if charge and device.gpu.prefers_gtt:
        location = Location.GTT
    _require_room(device, location, pages_size, charge)
    if (flags & _KINDS).bit_count() > 1:
        process.machine.misuse(
            f"ALLOC_MEMORY_OF_GPU with several kinds of memory: {AllocFlag(flags & _KINDS)!r}"
        )
    if flags & AllocFlag.AQL_QUEUE_MEM:
        process.machine.misuse(
            "ALLOC_MEMORY_OF_GPU with AQL_QUEUE_MEM: it maps half the memory twice, for gfx8 and older"
        )
    if flags & ~_KNOWN_FLAGS:
        process.machine.misuse(f"ALLOC_MEMORY_OF_GPU with unknown flags {flags & ~_KNOWN_FLAGS:#x}")
    data, memory = _back(device, location, pages_size, user_address)
    bo = BufferObject(
        data,
        location,
        gpu_id=args.gpu_id,
        va=args.va_addr,
        writable=bool(flags & AllocFlag.WRITABLE),
        executable=bool(flags & AllocFlag.EXECUTABLE),
        uncached=bool(flags & _COHERENT),
        memory=memory,
        cpu_visible=location is not Location.VRAM or bool(flags & AllocFlag.PUBLIC),
        vram_charge=charge,
    )
    device.add_object(bo)
    if charge:
        device.gpu.charge(charge)
    if location in (Location.GTT, Location.USERPTR):
        process.machine.system_memory_used += pages_size
    if location is Location.GTT:
        process.machine.gtt_used += pages_size
    if location is Location.USERPTR:
        process.machine.user_pointers.add(bo)
    if location is Location.MMIO:
        bo.mmap_offset = MmapType.MMIO << MMAP_TYPE_SHIFT | args.gpu_id << MMAP_GPU_ID_SHIFT
    else:
        bo.mmap_offset = device.gpu.next_drm_offset(pages_size)
        device.gpu.mmap_objects[bo.mmap_offset] = bo
    args.handle, args.mmap_offset = bo.handle, bo.mmap_offset


def _device_memory_flags(process: Process, flags: int, owner: object, size: int) -> int:
    """Return the flags for a user pointer to device memory, which amdgpu-dkms takes for doorbells.

    kfd_ioctl_alloc_memory_of_gpu of amdgpu-dkms treats every VM_IO mapping as doorbells, which then have one
    size. Mainline hands it to hmm_range_fault, whose hmm_vma_walk_test refuses VM_IO with EFAULT.
    """
    if not process.machine.behaviour.user_pointers_to_doorbells:
        raise Refusal(errno.EFAULT, "the user pointer leads to device memory")
    if not isinstance(owner, Doorbells):
        text = f"user pointer to device memory that is no doorbells ({size} bytes)"
        if size == DOORBELL_SLICE:
            process.machine.misuse(f"ALLOC_MEMORY_OF_GPU with a {text}")
        raise Refusal(errno.EINVAL, text)
    return flags & ~AllocFlag.USERPTR | AllocFlag.DOORBELL


def _location(flags: int) -> Location | None:
    """Return the kind of memory; of several, the first one counts."""
    kinds = (
        (AllocFlag.VRAM, Location.VRAM),
        (AllocFlag.GTT, Location.GTT),
        (AllocFlag.USERPTR, Location.USERPTR),
        (AllocFlag.DOORBELL, Location.DOORBELL),
        (AllocFlag.MMIO_REMAP, Location.MMIO),
    )
    return next((location for flag, location in kinds if flags & flag), None)


def _require_room(device: ProcessDevice, location: Location, size: int, charge: int) -> None:
    """Refuse what is beyond one of the limits of amdgpu_amdkfd_reserve_mem_limit, or of the host."""
    machine = device.process.machine
    if charge > device.gpu.vram_free:
        raise Refusal(errno.ENOMEM, f"{size} bytes of VRAM, {device.gpu.vram_free} are free")
    if location in (Location.GTT, Location.USERPTR):
        room = machine.system_memory - machine.system_memory_used
        if size > room:
            raise Refusal(errno.ENOMEM, f"{size} bytes of system memory, the kernel's limit leaves {room}")
    if location is Location.GTT and size > machine.host_memory - machine.gtt_used:
        room = machine.host_memory - machine.gtt_used
        raise Refusal(errno.ENOMEM, f"{size} bytes of GTT, the limit of TTM leaves {room}")
    if location in (Location.VRAM, Location.GTT):
        room = machine.host_memory_free()
        if size > room:
            machine.log(f"amdgpu {device.gpu.pci_address}: the host lets buffers have {room} more bytes")
            raise Refusal(
                errno.ENOMEM, f"{size} bytes, but the host of the software GPU has only {room} for it"
            )


def _back(
    device: ProcessDevice, location: Location, size: int, user_address: int
) -> tuple[Bytes, HostMemory | None]:
    if location is Location.USERPTR:
        client.require_mapped(user_address, size)
        return borrow(user_address, size), None
    try:
        memory = (
            device.doorbells.memory
            if location is Location.DOORBELL
            else device.mmio_page
            if location is Location.MMIO
            else device.process.machine.arena.allocate(size)
        )
    except OSError as error:
        raise Refusal(errno.ENOMEM, f"the host refuses {size} bytes: {error}") from None
    return memory.view(), memory


def free_memory(process: Process, args: FreeMemoryOfGpuArgs) -> None:
    """Free a buffer object; memory that the client has mapped stays until it is unmapped."""
    if args.handle and args.handle == process.event_page_handle:
        raise Refusal(errno.EPERM, "this is the events page")
    bo = process.object(args.handle, errno.EINVAL)
    if bo.mappings:
        raise Refusal(errno.EBUSY, f"mapped on gpu_id {', '.join(map(str, bo.mappings))}")
    process.devices[bo.gpu_id].remove_object(bo)


def _listed_devices(args: MapMemoryToGpuArgs | UnmapMemoryFromGpuArgs) -> tuple[int, ...]:
    if not args.n_devices or args.n_success > args.n_devices:
        raise Refusal(errno.EINVAL, f"n_devices {args.n_devices}, n_success {args.n_success}")
    if args.n_devices > _MAX_LISTED_DEVICES:
        raise Refusal(errno.ENOMEM, f"{args.n_devices} devices")
    return struct.unpack(f"{args.n_devices}I", client.read(args.device_ids_array_ptr, 4 * args.n_devices))


def map_memory(process: Process, args: MapMemoryToGpuArgs) -> None:
    """Map a buffer object on GPUs; those before the first that fails stay mapped, as `n_success` tells."""
    gpu_ids = _listed_devices(args)
    process.bound_device(args.handle >> 32, errno.ENODEV)
    bo = process.object(args.handle, errno.ENOMEM)
    for gpu_id in gpu_ids[args.n_success :]:
        _map_on(process.bound_device(gpu_id, errno.ENODEV), bo)
        args.n_success += 1


def _map_on(device: ProcessDevice, bo: BufferObject) -> None:
    gpu_id, machine = device.gpu.gpu_id, device.process.machine
    if gpu_id in bo.mappings:
        return
    if not bo.va:
        raise Refusal(errno.EINVAL, f"buffer object {bo.handle:#x} was allocated with address 0")
    _require_reach(device.gpu, bo, device.process.devices[bo.home].gpu)
    end = bo.va + bo.size
    if bo.va % PAGE_SIZE or end > ADDRESS_LIMIT:
        raise Refusal(errno.EINVAL, f"{bo.va:#x} to {end:#x}: not whole pages below 2^48")
    if end > ADDRESS_LIMIT - KERNEL_RESERVE:
        raise Refusal(errno.EINVAL, f"{bo.va:#x} to {end:#x} overlaps what the kernel maps at the top")
    other = device.space.overlaps(bo.va, end)
    if other is not None:
        raise Refusal(errno.EINVAL, f"{bo.va:#x} to {end:#x} overlaps {other!r}")
    if bo.va < GPUVM_BASE or end - 1 > GPUVM_LIMIT:
        machine.misuse(f"MAP_MEMORY_TO_GPU at {bo.va:#x} to {end:#x}, outside the GPUVM aperture")
    bo.mappings[gpu_id] = device.space.map(bo.va, bo)


def _require_reach(gpu: SoftwareGpu, bo: BufferObject, owner: SoftwareGpu) -> None:
    """Refuse what a GPU cannot reach of another one, as kfd_mem_attach in amdgpu_amdkfd_gpuvm.c.

    VRAM is reached through a hive or across PCIe, doorbells and registers only across PCIe. An APU reaches
    all of it.
    """
    if gpu is owner or gpu.is_apu or bo.location not in (Location.VRAM, Location.DOORBELL, Location.MMIO):
        return
    hive = owner.properties["hive_id"]
    in_hive = bo.location is Location.VRAM and hive and hive == gpu.properties["hive_id"]
    if not (in_hive or is_pcie_peer(owner.model, large_bar=owner.large_bar)):
        raise Refusal(errno.EINVAL, f"{gpu!r} cannot reach {bo.location.value} of {owner!r}")


def unmap_memory(process: Process, args: UnmapMemoryFromGpuArgs) -> None:
    """Unmap a buffer object from GPUs; a queue keeps the mappings that it was created with."""
    gpu_ids = _listed_devices(args)
    bo = process.object(args.handle, errno.ENOMEM)
    for gpu_id in gpu_ids[args.n_success :]:
        device = process.device(gpu_id)
        mapping = bo.mappings.get(gpu_id)
        if mapping is None:
            raise Refusal(errno.EINVAL, f"buffer object {bo.handle:#x} is not mapped on gpu_id {gpu_id}")
        if mapping.queue_references:
            raise Refusal(errno.EBUSY, f"{mapping!r} on gpu_id {gpu_id} belongs to a queue")
        device.space.unmap(mapping)
        del bo.mappings[gpu_id]
        args.n_success += 1


def available_memory(process: Process, args: GetAvailableMemoryArgs) -> None:
    """Tell how much VRAM could be allocated; never more than the host could ever back.

    Where VRAM is system memory, the limits of that count, too (amdgpu_amdkfd_get_available_memory). What is
    allocated counts whether or not its pages were touched, and which pages are does not: so a client
    sees its own allocations here, and nothing else, as on hardware.
    """
    gpu, machine = process.device(args.gpu_id).gpu, process.machine
    free = [gpu.vram_available, machine.host_memory - gpu.vram_used]
    if gpu.prefers_gtt:
        free += [machine.system_memory - machine.system_memory_used, machine.host_memory - machine.gtt_used]
    args.available = max(min(free), 0) // gpu.vram_granule * gpu.vram_granule


HANDLERS: dict[KfdIoctl, Handler] = {
    KfdIoctl.ALLOC_MEMORY_OF_GPU: alloc_memory,
    KfdIoctl.FREE_MEMORY_OF_GPU: free_memory,
    KfdIoctl.MAP_MEMORY_TO_GPU: map_memory,
    KfdIoctl.UNMAP_MEMORY_FROM_GPU: unmap_memory,
    KfdIoctl.AVAILABLE_MEMORY: available_memory,
}
