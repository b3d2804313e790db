"""How memory of a GPU is allocated and mapped through amdkfd.

A buffer object has the same address on the CPU and on every GPU: the address range is reserved first
as inaccessible anonymous memory, the buffer object is allocated with that address, mapped over the
reservation through the render node where the CPU may see it, and mapped on the GPUs.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from pytest_amdgpu.abi.kfd import (
    AllocFlag,
    AllocMemoryOfGpuArgs,
    ExportDmabufArgs,
    FreeMemoryOfGpuArgs,
    GetDmabufInfoArgs,
    ImportDmabufArgs,
    KfdIoctl,
    MapMemoryToGpuArgs,
    UnmapMemoryFromGpuArgs,
)
from pytest_amdgpu.driver.backend import Allocation, Location, MemoryRequest
from pytest_amdgpu.driver.errors import AllocationError, PeerAccessError, SharingError, SmallBarError
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

PROT_NONE = 0
MAP_FIXED = 0x10
MAP_NORESERVE = 0x4000
"""Flags of Linux's mmap(2) that Python's mmap module does not name in every version."""

_HUGE_PAGE = 2 << 20
"""Large buffers start on this boundary, so that the GPU's page tables can use large fragments."""

_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_RESERVE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE


class KfdCaller(Protocol):
    """Something that does ioctls on `/dev/kfd`."""

    fd: int

    @property
    def kernel(self) -> Kernel:
        """The kernel it speaks to."""

    def ioctl(self, request: KfdIoctl, argument: ctypes.Structure) -> int:
        """Do an ioctl."""


class KfdMemory:
    """Allocates memory of one GPU."""

    def __init__(self, process: KfdCaller, node: GpuNode, render_fd: int) -> None:
        self._process = process
        self._kernel = process.kernel
        self._node = node
        self._gpu_id = node.gpu_id
        self._render_fd = render_fd

    def allocate(self, request: MemoryRequest) -> Allocation:
        """Allocate memory and map it on this GPU.

        Whatever step fails, the earlier ones are undone: a caller never gets an address that the CPU or
        the GPU cannot use. Raises `AllocationError`, and `SmallBarError` where the CPU cannot see VRAM.
        """
        with ExitStack() as undo:
            if request.location is Location.USERPTR:
                address = request.host_address
            elif request.address:
                address = request.address
            else:
                address = self.reserve(request.size)
                undo.callback(self._kernel.munmap, address, request.size)
            arguments = self._allocate_object(request, address)
            undo.callback(self._free_object, arguments.handle)
            if request.cpu_visible and request.location is not Location.USERPTR:
                self._kernel.mmap(
                    address,
                    request.size,
                    _READ_WRITE,
                    mmap.MAP_SHARED | MAP_FIXED,
                    self._render_fd,
                    arguments.mmap_offset,
                )
            allocation = Allocation(request, address, arguments.handle)
            self.map_to(allocation, [self._gpu_id])
            undo.pop_all()
        return allocation

    def map_to(self, allocation: Allocation, gpu_ids: Sequence[int]) -> None:
        """Map memory on more GPUs. If one of them fails, none of those named has it afterwards."""
        wanted = [gpu_id for gpu_id in gpu_ids if gpu_id not in allocation.mapped_gpus]
        if not wanted:
            return
        devices = (ctypes.c_uint32 * len(wanted))(*wanted)
        arguments = MapMemoryToGpuArgs(
            handle=allocation.handle,
            device_ids_array_ptr=ctypes.addressof(devices),
            n_devices=len(wanted),
        )
        try:
            self._process.ioctl(KfdIoctl.MAP_MEMORY_TO_GPU, arguments)
            if arguments.n_success != len(wanted):
                raise AllocationError(
                    f"MAP_MEMORY_TO_GPU mapped {allocation.address:#x} on {arguments.n_success} of"
                    f" {len(wanted)} GPUs and reported no error"
                )
        except BaseException:
            if arguments.n_success:
                self._unmap(allocation.handle, wanted[: arguments.n_success])
            raise
        allocation.mapped_gpus.extend(wanted)

    def export(self, allocation: Allocation) -> int:
        """Make a dma-buf of memory, closed on exec; raises `SharingError`."""
        arguments = ExportDmabufArgs(handle=allocation.handle, flags=os.O_CLOEXEC | os.O_RDWR)
        try:
            self._process.ioctl(KfdIoctl.EXPORT_DMABUF, arguments)
        except KernelError as error:
            raise SharingError(f"cannot export {_describe(allocation.request)}: {error}") from error
        return int(arguments.dmabuf_fd)

    def adopt(self, fd: int) -> Allocation:
        """Import a dma-buf and map it on this GPU, and for the CPU where it can see it.

        IMPORT_DMABUF gives no offset for the render node, so the CPU maps the dma-buf itself. Raises
        `SharingError`.
        """
        info = GetDmabufInfoArgs(dmabuf_fd=fd)
        try:
            self._process.ioctl(KfdIoctl.GET_DMABUF_INFO, info)
        except KernelError as error:
            raise SharingError(f"descriptor {fd} is not one of GPU memory: {error}") from error
        location = Location.VRAM if info.flags & AllocFlag.VRAM else Location.GTT
        visible = location is Location.GTT or bool(info.flags & AllocFlag.PUBLIC)
        request = MemoryRequest(location, int(info.size), cpu_visible=visible, executable=True)
        with ExitStack() as undo:
            address = self.reserve(request.size)
            undo.callback(self._kernel.munmap, address, request.size)
            arguments = ImportDmabufArgs(va_addr=address, gpu_id=self._gpu_id, dmabuf_fd=fd)
            self._process.ioctl(KfdIoctl.IMPORT_DMABUF, arguments)
            undo.callback(self._free_object, arguments.handle)
            if visible:
                shared_fixed = mmap.MAP_SHARED | MAP_FIXED
                self._kernel.mmap(address, request.size, _READ_WRITE, shared_fixed, fd, 0)
            allocation = Allocation(request, address, arguments.handle)
            try:
                self.map_to(allocation, [self._gpu_id])
            except KernelError as error:
                if error.errno != errno.EINVAL or info.gpu_id == self._gpu_id:
                    raise
                raise PeerAccessError(
                    f"GPU {self._gpu_id:#x} cannot reach the exported {_describe(request)} of GPU"
                    f" {int(info.gpu_id):#x}: they are in no common hive and not PCIe peers ({error})"
                ) from error
            undo.pop_all()
        return allocation

    def free(self, allocation: Allocation) -> None:
        """Unmap memory from all GPUs and free the buffer object; the CPU's mapping stays."""
        if allocation.mapped_gpus:
            self._unmap(allocation.handle, allocation.mapped_gpus)
            allocation.mapped_gpus.clear()
        self._free_object(allocation.handle)

    def unmap_cpu(self, address: int, size: int) -> None:
        """Give back an address range."""
        self._kernel.munmap(address, size)

    def reserve(self, size: int) -> int:
        """Reserve an address range of the CPU that no other mapping can take; raises `AllocationError`."""
        alignment = _HUGE_PAGE if size >= _HUGE_PAGE else mmap.PAGESIZE
        spare = alignment - mmap.PAGESIZE
        try:
            start = self._kernel.mmap(0, size + spare, PROT_NONE, _RESERVE, -1, 0)
        except KernelError as error:
            raise AllocationError(f"no address range for {size:#x} bytes: {error}") from error
        address = -(-start // alignment) * alignment
        try:
            if address > start:
                self._kernel.munmap(start, address - start)
            behind = start + size + spare - (address + size)
            if behind:
                self._kernel.munmap(address + size, behind)
        except BaseException:
            self._kernel.munmap(start, size + spare)
            raise
        return address

    def _allocate_object(self, request: MemoryRequest, address: int) -> AllocMemoryOfGpuArgs:
        arguments = AllocMemoryOfGpuArgs(
            va_addr=address,
            size=request.size,
            mmap_offset=request.host_address,
            gpu_id=self._gpu_id,
            flags=alloc_flags(request),
        )
        try:
            self._process.ioctl(KfdIoctl.ALLOC_MEMORY_OF_GPU, arguments)
        except KernelError as error:
            visible_vram = request.location is Location.VRAM and request.cpu_visible
            if visible_vram and error.errno == errno.EINVAL and not self._node.large_bar:
                raise SmallBarError(self._node.description) from error
            raise AllocationError(f"cannot allocate {_describe(request)}: {error}") from error
        return arguments

    def _unmap(self, handle: int, gpu_ids: Sequence[int]) -> None:
        devices = (ctypes.c_uint32 * len(gpu_ids))(*gpu_ids)
        arguments = UnmapMemoryFromGpuArgs(
            handle=handle, device_ids_array_ptr=ctypes.addressof(devices), n_devices=len(gpu_ids)
        )
        self._process.ioctl(KfdIoctl.UNMAP_MEMORY_FROM_GPU, arguments)

    def _free_object(self, handle: int) -> None:
        self._process.ioctl(KfdIoctl.FREE_MEMORY_OF_GPU, FreeMemoryOfGpuArgs(handle=handle))


def alloc_flags(request: MemoryRequest) -> AllocFlag:
    """Choose the flags of ALLOC_MEMORY_OF_GPU, as libhsakmt's fmm.c does for the same uses."""
    flags = AllocFlag[request.location.name] | AllocFlag.NO_SUBSTITUTE
    if request.writable:
        flags |= AllocFlag.WRITABLE
    if request.executable:
        flags |= AllocFlag.EXECUTABLE
    if request.uncached:
        flags |= AllocFlag.COHERENT | AllocFlag.UNCACHED
    elif request.location is not Location.VRAM:
        flags |= AllocFlag.COHERENT
    if request.location is Location.VRAM and request.cpu_visible:
        flags |= AllocFlag.PUBLIC
    return flags


def _describe(request: MemoryRequest) -> str:
    return f"{request.size:#x} bytes of {request.location.value}"
