"""Ioctls about sharing memory as dma-bufs: export, import, and what a dma-buf holds."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    AllocFlag,
    ExportDmabufArgs,
    GetDmabufInfoArgs,
    ImportDmabufArgs,
    KfdIoctl,
)
from pytest_amdgpu.emulator.dmabuf import export, find_exported, imported
from pytest_amdgpu.emulator.memory import Location
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Handler, Process

_LARGEST_KMALLOC = 4 << 20
"""Bytes that kzalloc gives out at most on x86-64 (KMALLOC_MAX_SIZE)."""


def export_dmabuf(process: Process, args: ExportDmabufArgs) -> None:
    """Make a dma-buf of a buffer object."""
    args.dmabuf_fd = export(process.machine, process.object(args.handle, errno.EINVAL), args.flags)


def import_dmabuf(process: Process, args: ImportDmabufArgs) -> None:
    """Make a buffer object of a dma-buf; its address is recorded for MAP and not looked at."""
    device = process.device(args.gpu_id)
    device = process.bound_device(args.gpu_id, errno.ENODEV)
    bo = imported(find_exported(process.machine, args.dmabuf_fd), args.gpu_id, args.va_addr)
    device.add_object(bo)
    args.handle = bo.handle


def get_dmabuf_info(process: Process, args: GetDmabufInfoArgs) -> None:
    """Tell size, place and GPU of a dma-buf. Nothing that KFD allocates has metadata.

    Of memory that belongs to no partition, which GTT is, the kernel tells the first GPU (`args->gpu_id =
    dev->id` in kfd_ioctl_get_dmabuf_info since Linux 6.9).
    """
    if not process.devices:
        raise Refusal(errno.EINVAL, "there is no GPU")
    if args.metadata_ptr and args.metadata_size > _LARGEST_KMALLOC:
        raise Refusal(errno.ENOMEM, f"the kernel cannot allocate {args.metadata_size} bytes for metadata")
    bo = find_exported(process.machine, args.dmabuf_fd)
    if args.metadata_ptr:
        args.metadata_size = 0
    args.size = bo.size
    if bo.location is Location.VRAM:
        args.flags = AllocFlag.VRAM | (AllocFlag.PUBLIC if bo.cpu_visible else 0)
        args.gpu_id = bo.home
    else:
        args.flags = AllocFlag.GTT
        args.gpu_id = next(iter(process.devices))


HANDLERS: dict[KfdIoctl, Handler] = {
    KfdIoctl.EXPORT_DMABUF: export_dmabuf,
    KfdIoctl.IMPORT_DMABUF: import_dmabuf,
    KfdIoctl.GET_DMABUF_INFO: get_dmabuf_info,
}
