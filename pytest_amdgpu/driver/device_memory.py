"""Memory that a device hands out: of the GPU, of the system, and of the process."""

from __future__ import annotations

import mmap
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_amdgpu.driver.arguments import check_peers, whole_number
from pytest_amdgpu.driver.backend import PAGE, Location, MemoryRequest
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.errors import AllocationError
from pytest_amdgpu.kernel.protocol import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.svm import SvmRange

_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_ADDRESS_SPACE = 1 << 47
"""Bytes of a process's part of the address space of x86-64 with four levels of page tables
(Documentation/arch/x86/x86_64/mm.rst); with five levels, too, the kernel gives no more unless asked."""
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


def new_buffer(
    device: Device,
    location: Location,
    size: int,
    cpu_visible: bool,
    executable: bool,
    uncached: bool,
    peers: Sequence[Device],
) -> Buffer:
    """Do `Device.vram` and `Device.gtt`."""
    device.check_open()
    peers = check_peers(peers)
    size = checked_size(size, location)
    request = MemoryRequest(location, _pages(size), cpu_visible, executable, uncached)
    return _mapped(Buffer(device.backend, device.backend.allocate(request), size, device.tracker), peers)


def new_user_memory(device: Device, memory: npt.NDArray[Any] | int, peers: Sequence[Device]) -> Buffer:
    """Do `Device.userptr`."""
    device.check_open()
    peers = check_peers(peers)
    if isinstance(memory, np.ndarray):
        return _register(device, memory, peers)
    size = checked_size(memory, Location.USERPTR)
    rounded = _pages(size)
    with ExitStack() as undo:
        address = _reserve_anonymous(device, rounded)
        undo.callback(device.kernel.munmap, address, rounded)
        request = MemoryRequest(Location.USERPTR, rounded, host_address=address)
        allocation = device.backend.allocate(request)
        undo.callback(device.backend.free, allocation)
        for peer in peers:
            device.backend.map_to_peer(allocation, peer.backend)
        undo.pop_all()
    return Buffer(device.backend, allocation, size, device.tracker)


def new_shared_virtual_memory(
    device: Device, memory: npt.NDArray[Any] | int, peers: Sequence[Device]
) -> SvmRange:
    """Do `Device.svm`."""
    from pytest_amdgpu.driver.svm import pages_of, share

    device.check_open()
    peers = check_peers(peers)
    if isinstance(memory, np.ndarray):
        return share(device, *pages_of(memory), memory, peers)
    size = _pages(checked_size(memory, Location.SVM))
    with ExitStack() as undo:
        address = _reserve_anonymous(device, size)
        undo.callback(device.kernel.munmap, address, size)
        shared = share(device, address, size, None, peers)
        undo.pop_all()
    return shared


def _register(device: Device, array: npt.NDArray[Any], peers: Sequence[Device]) -> Buffer:
    if array.dtype.hasobject:
        raise AllocationError(f"an array of {array.dtype} holds Python's objects, which no GPU can use")
    if not array.flags.c_contiguous:
        raise AllocationError("only a contiguous array can be registered with a GPU")
    size = checked_size(array.nbytes, Location.USERPTR)
    address = array.ctypes.data
    first = address - address % PAGE
    request = MemoryRequest(
        Location.USERPTR, _pages(address + size - first), uncached=False, host_address=first
    )
    try:
        allocation = device.backend.allocate(request)
    except KernelError as error:
        raise AllocationError(
            f"cannot register the array of {size} bytes at {address:#x}; its pages may be registered"
            f" already, for a neighbour that shares one of them: {error}"
        ) from error
    buffer = Buffer(device.backend, allocation, size, device.tracker, offset=address - first, owner=array)
    return _mapped(buffer, peers)


def _mapped(buffer: Buffer, peers: Sequence[Device]) -> Buffer:
    """Give other GPUs access to new memory, or give that back."""
    try:
        for peer in peers:
            buffer.map_to(peer)
    except BaseException:
        buffer.free()
        raise
    return buffer


def checked_size(size: int, location: Location) -> int:
    """Return a size in bytes that can be asked for; raises `AllocationError` for others."""
    size = whole_number(size, "a size in bytes")
    if size <= 0:
        raise AllocationError(f"cannot allocate {size} bytes of {location.value}")
    if size > _ADDRESS_SPACE:
        raise AllocationError(
            f"cannot allocate {size} bytes of {location.value}: a process has addresses for less than"
            f" {_ADDRESS_SPACE} bytes"
        )
    return size


def _reserve_anonymous(device: Device, size: int) -> int:
    """Return the address of new memory of the process."""
    try:
        return device.kernel.mmap(0, size, _READ_WRITE, _ANONYMOUS, -1, 0)
    except KernelError as error:
        raise AllocationError(f"cannot allocate {size} bytes of the process's memory: {error}") from error


def _pages(size: int) -> int:
    """Round up to whole pages."""
    return -(-size // PAGE) * PAGE
