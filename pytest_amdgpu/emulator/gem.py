"""GEM handles of an open render node, as far as clients of KFD use them: for what dma-bufs hold.

libdrm's amdgpu_bo_import turns a dma-buf into a handle, amdgpu_bo_cpu_map asks where to map it, and
amdgpu_bo_export makes a dma-buf of it. Errors are those of drm_prime.c, drm_gem.c and amdgpu_gem.c.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.dmabuf import DmabufFile, export, find_dmabuf
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.abi.drm import AmdgpuGemMmap, GemClose, PrimeHandle
    from pytest_amdgpu.emulator.drm import RenderFile
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.memory import BufferObject

_PRIME_FLAGS = os.O_CLOEXEC | os.O_RDWR
"""DRM_CLOEXEC and DRM_RDWR."""


class GemHandles:
    """Buffer objects by handle, the lowest free number first."""

    def __init__(self, gpu: SoftwareGpu) -> None:
        self._gpu = gpu
        self._files: dict[int, DmabufFile] = {}
        self._offsets: dict[int, int] = {}

    def __contains__(self, bo: BufferObject) -> bool:
        return any(file.bo is bo for file in self._files.values())

    def add(self, file: DmabufFile) -> int:
        """Return the handle of what a dma-buf holds; the same memory has one handle."""
        for handle, known in self._files.items():
            if known.identity == file.identity:
                return handle
        handle = next(number for number in range(1, len(self._files) + 2) if number not in self._files)
        self._files[handle] = file
        return handle

    def get(self, handle: int, missing_errno: int) -> BufferObject:
        """Return the buffer object of a handle."""
        if handle not in self._files:
            raise Refusal(missing_errno, f"there is no GEM handle {handle}")
        return self._files[handle].bo

    def offset(self, handle: int) -> int:
        """Return where the render node maps a buffer object; made at first use."""
        bo = self.get(handle, errno.ENOENT)
        if self._gpu.mmap_objects.get(bo.mmap_offset) is bo:
            return bo.mmap_offset
        if handle not in self._offsets:
            self._offsets[handle] = self._gpu.next_drm_offset(bo.size)
            self._gpu.mmap_objects[self._offsets[handle]] = bo
        return self._offsets[handle]

    def close(self, handle: int) -> None:
        """Give a handle up; EINVAL if there is none."""
        self.get(handle, errno.EINVAL)
        del self._files[handle]
        self._gpu.mmap_objects.pop(self._offsets.pop(handle, 0), None)

    def close_all(self) -> None:
        """Give all handles up."""
        for handle in list(self._files):
            self.close(handle)


def fd_to_handle(file: RenderFile, args: PrimeHandle) -> None:
    """Make a handle of a dma-buf. `flags` are not looked at."""
    args.handle = file.handles.add(find_dmabuf(file.machine, args.fd))


def handle_to_fd(file: RenderFile, args: PrimeHandle) -> None:
    """Make a dma-buf of a handle."""
    if args.flags & ~_PRIME_FLAGS:
        raise Refusal(errno.EINVAL, f"flags {args.flags:#x}: only DRM_CLOEXEC and DRM_RDWR are allowed")
    args.fd = export(file.machine, file.handles.get(args.handle, errno.ENOENT), args.flags)


def gem_mmap(file: RenderFile, args: AmdgpuGemMmap) -> None:
    """Tell the offset at which the render node maps a buffer object."""
    args.out.addr_ptr = file.handles.offset(getattr(args, "in").handle)


def gem_close(file: RenderFile, args: GemClose) -> None:
    """Give a handle up."""
    file.handles.close(args.handle)
