"""dma-bufs: buffer objects as descriptors, so that others can use the same memory, in other processes too.

A dma-buf's descriptor is one of the arena's file, opened anew, whose position is that of a record in the
file. The record says which range the buffer object is and what it was. So whoever has the descriptor, sent
over a socket or inherited, can map the same pages; as long as anybody has it or a copy, the arena keeps them.

Between processes only memory is shared: each has software GPUs of its own, with an own account of VRAM, and
atomics of engines in different processes are not atomic towards each other.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.arena import ARENA_NAME, map_shared
from pytest_amdgpu.emulator.files import File
from pytest_amdgpu.emulator.memory import PAGE_SIZE, BufferObject, Location
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.emulator.process import Machine

_RECORD = struct.Struct("<16s16sQQQI3?x")
"""Magic, location, offset, size, unique id of the GPU whose memory it is, its gpu_id; writable, uncached,
CPU visible. A checksum follows."""
_MAGIC = b"software dma-buf"
_CHECKSUM = struct.Struct("<I")


class DmabufFile(File):
    """A buffer object that was exported; it lives on when its handle is freed."""

    def __init__(self, bo: BufferObject, record: HostMemory | None = None) -> None:
        self.bo = bo
        self._record = record
        # DRM_RDWR is set where the buffer is writable (kfd_mem_export_dmabuf in amdgpu_amdkfd_gpuvm.c).
        self.writable = bo.writable

    @property
    def identity(self) -> tuple[int, int]:
        """What two dma-bufs of the same memory have in common, wherever they are from."""
        assert self.bo.memory is not None
        return os.fstat(self.bo.memory.fd).st_ino, self.bo.memory.offset

    def mmap(self, length: int, offset: int) -> tuple[HostMemory, object]:
        """Map the buffer object from its start on; raises Refusal."""
        if offset or length > self.bo.size:
            raise Refusal(errno.EINVAL, f"{length} bytes at {offset:#x}, the dma-buf has {self.bo.size} at 0")
        assert self.bo.memory is not None, "user memory is never exported"
        return self.bo.memory, self.bo


def export(machine: Machine, bo: BufferObject, flags: int) -> int:
    """Return a new descriptor of a buffer object, closed on exec if `flags` has O_CLOEXEC.

    Raises Refusal: EPERM for user memory (amdgpu_gem_prime_export), EMFILE.
    """
    if bo.memory is None:
        raise Refusal(errno.EPERM, "user memory cannot be exported")
    if bo.memory.fd != machine.arena.fd:
        # Memory of another process: the descriptor that it came by says all that there is to say.
        try:
            fd = os.dup(bo.memory.fd)
        except OSError as error:
            raise Refusal(error.errno or errno.EIO, f"no descriptor: {error}") from None
        return _install(machine, DmabufFile(bo), fd, flags)
    owner = next(gpu for gpu in machine.gpus if gpu.gpu_id == bo.home)
    content = _RECORD.pack(
        _MAGIC,
        bo.location.value.encode(),
        bo.memory.offset,
        bo.size,
        owner.unique_id,
        owner.gpu_id,
        bo.writable,
        bo.uncached,
        bo.cpu_visible,
    )
    content += _CHECKSUM.pack(zlib.crc32(content))
    try:
        record = machine.arena.allocate(PAGE_SIZE)
        record.view().data[: len(content)] = content
        fd = machine.arena.share([bo.memory, record])
    except OSError as error:
        raise Refusal(error.errno or errno.EIO, f"no descriptor: {error}") from None
    os.lseek(fd, record.offset, os.SEEK_SET)
    return _install(machine, DmabufFile(bo, record), fd, flags)


def find_exported(machine: Machine, fd: int) -> BufferObject:
    """Return what a dma-buf holds: EBADF if nothing is open, EINVAL if it is no memory of amdgpu's."""
    file = find_dmabuf(machine, fd)
    if file.bo.location not in (Location.VRAM, Location.GTT):
        raise Refusal(errno.EINVAL, f"the dma-buf holds {file.bo.location.value}, neither VRAM nor GTT")
    return file.bo


def find_dmabuf(machine: Machine, fd: int) -> DmabufFile:
    """Return a dma-buf: EBADF if nothing is open, EINVAL if it is something else."""
    file = machine.files.find(fd)
    if file is None:
        try:
            os.fstat(fd)
        except (OSError, OverflowError):
            raise Refusal(errno.EBADF, f"{fd} is not an open descriptor") from None
    if not isinstance(file, DmabufFile):
        raise Refusal(errno.EINVAL, f"descriptor {fd} is not a dma-buf of amdgpu")
    return file


def received(machine: Machine, fd: int) -> DmabufFile | None:
    """Return the dma-buf of another process (or a copy of an own one) behind a descriptor, if it is one.

    None also for memory of a GPU that this machine does not have.
    """
    try:
        if not os.readlink(f"/proc/self/fd/{fd}").startswith(f"/memfd:{ARENA_NAME}"):
            return None
        content = os.pread(fd, _RECORD.size + _CHECKSUM.size, os.lseek(fd, 0, os.SEEK_CUR))
        end = os.fstat(fd).st_size
    except (OSError, OverflowError):
        return None
    record, checksum = content[: _RECORD.size], content[_RECORD.size :]
    if len(checksum) != _CHECKSUM.size or _CHECKSUM.pack(zlib.crc32(record)) != checksum:
        return None
    magic, location, offset, size, unique_id, gpu_id, writable, uncached, visible = _RECORD.unpack(record)
    known = any((gpu.unique_id, gpu.gpu_id) == (unique_id, gpu_id) for gpu in machine.gpus)
    if magic != _MAGIC or offset + size > end or not known:
        return None
    try:
        memory = map_shared(fd, size, offset)
    except OSError as error:
        raise Refusal(errno.ENOMEM, f"the host refuses to map {size} bytes: {error}") from None
    return DmabufFile(
        BufferObject(
            memory.view(),
            Location(location.rstrip(b"\0").decode()),
            gpu_id=gpu_id,
            writable=writable,
            uncached=uncached,
            memory=memory,
            cpu_visible=visible,
        )
    )


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


def _install(machine: Machine, file: DmabufFile, fd: int, flags: int) -> int:
    os.set_inheritable(fd, not flags & os.O_CLOEXEC)
    machine.files.install(file, fd)
    return fd
