"""dma-bufs: buffer objects as descriptors, so that others can use the same memory.

The memory of software GPUs belongs to one process, so a dma-buf reaches whoever has the descriptor in this
process and nobody else.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.files import File
from pytest_amdgpu.emulator.memory import PAGE_SIZE, BufferObject, Location
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.emulator.files import FileTable


class DmabufFile(File):
    """A buffer object that was exported; it lives on when its handle is freed."""

    def __init__(self, bo: BufferObject) -> None:
        self.bo = bo
        # DRM_RDWR is set where the buffer is writable (kfd_mem_export_dmabuf in amdgpu_amdkfd_gpuvm.c).
        self.writable = bo.writable

    def mmap(self, length: int, offset: int) -> tuple[HostMemory, object]:
        """Map the buffer object from its start on; raises Refusal."""
        if offset or length > self.bo.size:
            raise Refusal(errno.EINVAL, f"{length} bytes at {offset:#x}, the dma-buf has {self.bo.size} at 0")
        assert self.bo.memory is not None, "user memory is never exported"
        return self.bo.memory, self.bo


def exported(bo: BufferObject) -> DmabufFile:
    """Return a dma-buf of a buffer object; EPERM for user memory (amdgpu_gem_prime_export)."""
    if bo.location is Location.USERPTR:
        raise Refusal(errno.EPERM, "user memory cannot be exported")
    return DmabufFile(bo)


def find_exported(files: FileTable, fd: int) -> BufferObject:
    """Return what a dma-buf holds: EBADF if nothing is open, EINVAL if it is no memory of amdgpu's."""
    file = files.find(fd)
    if file is None:
        try:
            os.fstat(fd)
        except (OSError, OverflowError):
            raise Refusal(errno.EBADF, f"{fd} is not an open descriptor") from None
    if not isinstance(file, DmabufFile):
        raise Refusal(errno.EINVAL, f"descriptor {fd} is not a dma-buf of amdgpu")
    if file.bo.location not in (Location.VRAM, Location.GTT):
        raise Refusal(errno.EINVAL, f"the dma-buf holds {file.bo.location.value}, neither VRAM nor GTT")
    return file.bo


def imported(bo: BufferObject, gpu_id: int, va: int) -> BufferObject:
    """Return a buffer object on `gpu_id` that is the same memory as `bo`, to be mapped at `va`.

    It is charged to nobody, and whether it can be written or executed is not what the exporter chose:
    import_obj_create sets the flags VRAM or GTT, WRITABLE and EXECUTABLE.
    """
    assert bo.size % PAGE_SIZE == 0
    return BufferObject(
        bo.data,
        bo.location,
        gpu_id=gpu_id,
        va=va,
        uncached=bo.uncached,
        memory=bo.memory,
        cpu_visible=bo.cpu_visible,
        home_gpu_id=bo.home,
        imported=True,
    )
