"""A render node: identity queries, and the offsets at which a client maps its buffers."""

from __future__ import annotations

import ctypes
import errno
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.drm import DRM_IOCTLS, AmdgpuInfo, DrmIoctl, DrmVersion
from pytest_amdgpu.emulator import client, gem
from pytest_amdgpu.emulator.files import File
from pytest_amdgpu.emulator.memory import Location
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.memory import BufferObject
    from pytest_amdgpu.emulator.process import Machine
    from pytest_amdgpu.kernel.protocol import Argument

DRIVER_VERSION = (3, 58, 0)
"""amdgpu's interface of Linux 6.12."""


class RenderFile(File):
    """An open render node. `acquired` once ACQUIRE_VM has made its VM a compute VM."""

    machine: Machine
    gpu: SoftwareGpu

    def __init__(self, machine: Machine, gpu: SoftwareGpu) -> None:
        self.machine = machine
        self.gpu = gpu
        self.acquired = False
        self.handles = gem.GemHandles(gpu)

    def release(self) -> None:
        """Give up the handles."""
        self.handles.close_all()

    def ioctl(self, request: int, argument: Argument) -> None:
        """Do an ioctl of the render node; raises Refusal.

        As in the DRM core, an ioctl is copied in and out as far as both the request and the kernel say.
        """
        nr, size = request & 0xFF, request >> 16 & 0x3FFF
        spec, handler = DRM_IOCTLS.get(nr), _handlers().get(nr)
        if spec is None or spec.struct is None or request >> 8 & 0xFF != ord("d"):
            raise Refusal(errno.EINVAL, f"a render node knows no ioctl {request:#x}")
        if handler is None:
            self.machine.log(
                f"amdgpu {self.gpu.pci_address}: {spec.name} is not emulated, refused as unknown"
            )
            raise Refusal(errno.EINVAL, f"{spec.name} is not emulated")
        if ctypes.sizeof(argument) < size:
            raise ValueError(
                f"{spec.name}: the request says {size} bytes, the argument has {ctypes.sizeof(argument)}"
            )
        if self.gpu.injected is not None:
            self.gpu.injected.at_call(self.machine, spec.name)
        direction = ioctl.decode(request).direction & ioctl.decode(spec.request).direction
        args = spec.struct()
        common = min(size, ctypes.sizeof(args))
        if direction & ioctl.WRITE:
            ctypes.memmove(ctypes.byref(args), ctypes.byref(argument), common)
        try:
            handler(self, args)
        finally:
            if direction & ioctl.READ:
                ctypes.memmove(ctypes.byref(argument), ctypes.byref(args), common)

    def mmap(self, length: int, offset: int) -> tuple[HostMemory, BufferObject]:
        """Return the memory of the buffer object at an offset; `length` in whole pages. Raises Refusal."""
        bo = self.gpu.mmap_objects.get(offset)
        if bo is None:
            raise Refusal(errno.EINVAL, f"no buffer object of {self.gpu!r} has mmap offset {offset:#x}")
        if not self.acquired and bo not in self.handles:
            raise Refusal(
                errno.EACCES, "the buffer object belongs to the VM of another render node descriptor"
            )
        if length > bo.size:
            raise Refusal(errno.EINVAL, f"the buffer object has {bo.size} bytes, not {length}")
        if bo.memory is None or bo.location is Location.DOORBELL:
            raise Refusal(errno.EPERM, f"{bo.location.value} memory cannot be mapped through the render node")
        return bo.memory, bo


def _version(file: RenderFile, args: DrmVersion) -> None:
    args.version_major, args.version_minor, args.version_patchlevel = DRIVER_VERSION
    for name, text in (("name", b"amdgpu"), ("date", b"0"), ("desc", b"AMD GPU")):
        room, address = getattr(args, f"{name}_len"), getattr(args, name)
        setattr(args, f"{name}_len", len(text))
        if room and address:
            client.write(address, text[:room])


def _info(file: RenderFile, args: AmdgpuInfo) -> None:
    from pytest_amdgpu.emulator.drm_info import answer

    if not args.return_size or not args.return_pointer:
        raise Refusal(errno.EINVAL, f"no room: {args.return_size} bytes at {args.return_pointer:#x}")
    client.write(args.return_pointer, answer(file, args)[: args.return_size])


@functools.cache
def _handlers() -> dict[int, Callable[[RenderFile, Any], None]]:
    table: dict[DrmIoctl, Callable[[RenderFile, Any], None]] = {
        DrmIoctl.VERSION: _version,
        DrmIoctl.GEM_CLOSE: gem.gem_close,
        DrmIoctl.PRIME_HANDLE_TO_FD: gem.handle_to_fd,
        DrmIoctl.PRIME_FD_TO_HANDLE: gem.fd_to_handle,
        DrmIoctl.AMDGPU_GEM_MMAP: gem.gem_mmap,
        DrmIoctl.AMDGPU_INFO: _info,
    }
    return {request & 0xFF: handler for request, handler in table.items()}
