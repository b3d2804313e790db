"""EXPORT_DMABUF, IMPORT_DMABUF and GET_DMABUF_INFO: what is shared, and every refusal."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable

import pytest
from kfd_client import GTT, MAP_SHARED, PAGE, PROT_RW, WRITABLE_VRAM, Client, StubEngine

from pytest_amdgpu.abi.kfd import DOORBELL_SLICE, AllocFlag, GetDmabufInfoArgs, KfdIoctl
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.kernel.protocol import KernelError

UNKNOWN_FD = 99_999


def export(client: Client, handle: int, flags: int = os.O_CLOEXEC | os.O_RDWR) -> int:
    fd: int = client.call(KfdIoctl.EXPORT_DMABUF, handle=handle, flags=flags).dmabuf_fd
    return fd


def import_fields(client: Client, fd: int, *, gpu: int = 0, size: int = PAGE) -> dict[str, int]:
    return {"va_addr": client.reserve(size), "gpu_id": client.gpus[gpu].gpu_id, "dmabuf_fd": fd}


def doorbell_object(client: Client) -> int:
    handle: int = client.alloc(DOORBELL_SLICE, AllocFlag.DOORBELL | AllocFlag.WRITABLE).handle
    return handle


def test_imported_memory_is_the_same(client: Client) -> None:
    source = client.buffer(2 * PAGE)
    args = client.call(
        KfdIoctl.IMPORT_DMABUF, **import_fields(client, export(client, source.handle), size=2 * PAGE)
    )
    assert args.handle != source.handle
    client.map(args.handle)
    space = client.process.devices[client.gpu_id].space
    ctypes.memset(source.va_addr + PAGE, 0x5A, 1)
    assert space.read(args.va_addr + PAGE, 1) == b"\x5a"
    space.write(args.va_addr, b"\x77")
    assert ctypes.string_at(source.va_addr, 1) == b"\x77"


def test_memory_lives_as_long_as_anybody_has_it(client: Client) -> None:
    source = client.buffer(PAGE, GTT)
    ctypes.memset(source.va_addr, 0x42, PAGE)
    fd = export(client, source.handle)
    client.unmap(source.handle)
    client.kernel.munmap(source.va_addr, PAGE)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=source.handle)
    args = client.call(KfdIoctl.IMPORT_DMABUF, **import_fields(client, fd))
    client.kernel.close(fd)
    client.map(args.handle)
    assert client.process.devices[client.gpu_id].space.read(args.va_addr, 2) == b"BB"
    client.unmap(args.handle)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)
    assert client.kernel._machine.arena.resident() == 0


@pytest.mark.parametrize("flags", [WRITABLE_VRAM, GTT])
def test_import_is_charged_to_nobody(client: Client, flags: int) -> None:
    source = client.buffer(PAGE, flags)
    before = (client.gpu.vram_used, client.kernel._machine.system_memory_used)
    fields = import_fields(client, export(client, source.handle))
    handle = client.call(KfdIoctl.IMPORT_DMABUF, **fields).handle
    assert (client.gpu.vram_used, client.kernel._machine.system_memory_used) == before
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)
    assert (client.gpu.vram_used, client.kernel._machine.system_memory_used) == before


def test_import_on_another_gpu_maps_there(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x", "mi300x")
    source = client.buffer(PAGE)
    ctypes.memset(source.va_addr, 0x21, 1)
    args = client.call(KfdIoctl.IMPORT_DMABUF, **import_fields(client, export(client, source.handle), gpu=1))
    assert args.handle >> 32 == client.gpus[1].gpu_id
    client.map(args.handle, 1)
    assert client.process.devices[client.gpus[1].gpu_id].space.read(args.va_addr, 1) == b"!"


def test_write_pointer_in_memory_imported_from_another_gpu_einval(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client("rx7900xtx", "rx7900xtx")
    source = client.buffer(PAGE, gpu=1)
    args = client.call(KfdIoctl.IMPORT_DMABUF, **import_fields(client, export(client, source.handle)))
    client.map(args.handle)
    fields = client.queue_fields() | {"write_pointer_address": args.va_addr}
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


@pytest.mark.parametrize("flags", [0, os.O_CLOEXEC, os.O_CLOEXEC | os.O_RDWR])
def test_export_flags_choose_inheritance(client: Client, flags: int) -> None:
    fd = export(client, client.buffer().handle, flags)
    assert os.get_inheritable(fd) == (not flags & os.O_CLOEXEC)


def test_export_unknown_gpu_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.EXPORT_DMABUF, handle=1)


def test_export_unknown_handle_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.EXPORT_DMABUF, handle=client.gpu_id << 32 | 77)


def test_export_user_memory_eperm(client: Client) -> None:
    address = client.kernel.mmap(0, PAGE, PROT_RW, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    handle = client.call(
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=address,
        size=PAGE,
        gpu_id=client.gpu_id,
        flags=AllocFlag.USERPTR | AllocFlag.WRITABLE,
        mmap_offset=address,
    ).handle
    client.refused(errno.EPERM, KfdIoctl.EXPORT_DMABUF, handle=handle)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)
    client.kernel.munmap(address, PAGE)


def test_export_descriptor_table_full_emfile(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = client.buffer().handle

    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("os.open", refuse)
    assert client.refused(errno.EMFILE, KfdIoctl.EXPORT_DMABUF, handle=handle).dmabuf_fd == 0


def test_import_unknown_gpu_einval(client: Client) -> None:
    fields = import_fields(client, export(client, client.buffer().handle)) | {"gpu_id": 0}
    client.refused(errno.EINVAL, KfdIoctl.IMPORT_DMABUF, **fields)


def test_import_vm_not_acquired_enodev(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x", "mi300x", acquire=False)
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpu_id)
    fd = export(client, client.buffer().handle)
    client.refused(errno.ENODEV, KfdIoctl.IMPORT_DMABUF, **import_fields(client, fd, gpu=1))


@pytest.mark.parametrize("request_number", [KfdIoctl.IMPORT_DMABUF, KfdIoctl.GET_DMABUF_INFO])
class TestDescriptor:
    def refused(self, client: Client, request: KfdIoctl, error: int, fd: int) -> None:
        fields = {"dmabuf_fd": fd}
        if request is KfdIoctl.IMPORT_DMABUF:
            fields = import_fields(client, fd)
        args = client.refused(error, request, **fields)
        if request is KfdIoctl.IMPORT_DMABUF:
            assert args.handle == 0
        else:
            assert (args.size, args.gpu_id, args.flags) == (0, 0, 0)

    @pytest.mark.parametrize("fd", [UNKNOWN_FD, 0xFFFFFFFF])
    def test_not_open_ebadf(self, client: Client, request_number: KfdIoctl, fd: int) -> None:
        self.refused(client, request_number, errno.EBADF, fd)

    def test_closed_ebadf(self, client: Client, request_number: KfdIoctl) -> None:
        fd = export(client, client.buffer().handle)
        client.kernel.close(fd)
        self.refused(client, request_number, errno.EBADF, fd)

    @pytest.mark.parametrize("which", ["kfd", "render", "file"])
    def test_not_a_dma_buf_einval(self, client: Client, request_number: KfdIoctl, which: str) -> None:
        with open(os.devnull, "rb") as file:
            fd = {"kfd": client.fd, "render": client.renders[0], "file": file.fileno()}[which]
            self.refused(client, request_number, errno.EINVAL, fd)

    def test_neither_vram_nor_gtt_einval(self, client: Client, request_number: KfdIoctl) -> None:
        fd = export(client, doorbell_object(client))
        self.refused(client, request_number, errno.EINVAL, fd)


def info(client: Client, fd: int, **fields: int) -> tuple[int, int, int]:
    args = client.call(KfdIoctl.GET_DMABUF_INFO, dmabuf_fd=fd, **fields)
    return args.size, args.gpu_id, args.flags


def test_info_of_vram(two_gpus: Client) -> None:
    public = export(two_gpus, two_gpus.alloc(PAGE + 1, WRITABLE_VRAM, gpu=1).handle)
    hidden = export(two_gpus, two_gpus.alloc(PAGE, AllocFlag.VRAM | AllocFlag.WRITABLE, gpu=1).handle)
    gpu_id = two_gpus.gpus[1].gpu_id
    assert info(two_gpus, public) == (2 * PAGE, gpu_id, AllocFlag.VRAM | AllocFlag.PUBLIC)
    assert info(two_gpus, hidden) == (PAGE, gpu_id, AllocFlag.VRAM)


def test_info_of_gtt_names_the_first_gpu(two_gpus: Client) -> None:
    fd = export(two_gpus, two_gpus.alloc(PAGE, GTT, gpu=1).handle)
    assert info(two_gpus, fd) == (PAGE, two_gpus.gpus[0].gpu_id, AllocFlag.GTT)


def test_info_has_no_metadata(client: Client) -> None:
    fd = export(client, client.buffer().handle)
    room = (ctypes.c_uint8 * 16)(*[7] * 16)
    fields = {"dmabuf_fd": fd, "metadata_ptr": ctypes.addressof(room), "metadata_size": 16}
    assert client.call(KfdIoctl.GET_DMABUF_INFO, **fields).metadata_size == 0
    assert list(room) == [7] * 16
    assert client.call(KfdIoctl.GET_DMABUF_INFO, **fields | {"metadata_ptr": 0}).metadata_size == 16


def test_info_on_a_machine_without_gpus_einval() -> None:
    kernel = EmulatedKernel([])
    fd = kernel.open("/dev/kfd", os.O_RDWR)
    with pytest.raises(KernelError, match="there is no GPU") as caught:
        kernel.ioctl(fd, KfdIoctl.GET_DMABUF_INFO, GetDmabufInfoArgs())
    assert caught.value.errno == errno.EINVAL
    kernel.shutdown()


def test_info_with_more_room_than_the_kernel_allocates_enomem(client: Client) -> None:
    fd = export(client, client.buffer().handle)
    fields = {"dmabuf_fd": fd, "metadata_ptr": 1, "metadata_size": (4 << 20) + 1}
    client.refused(errno.ENOMEM, KfdIoctl.GET_DMABUF_INFO, **fields)


def mmap_errno(
    client: Client, length: int, fd: int, offset: int = 0, protection: int = PROT_RW
) -> int | None:
    with pytest.raises(KernelError) as caught:
        client.kernel.mmap(0, length, protection, MAP_SHARED, fd, offset)
    return caught.value.errno


def test_dma_buf_can_be_mapped(client: Client) -> None:
    source = client.buffer(2 * PAGE)
    fd = export(client, source.handle)
    address = client.kernel.mmap(0, PAGE, PROT_RW, MAP_SHARED, fd, 0)
    ctypes.memset(address, 0x33, 1)
    assert ctypes.string_at(source.va_addr, 1) == b"3"
    client.kernel.munmap(address, PAGE)
    assert mmap_errno(client, 3 * PAGE, fd) == errno.EINVAL
    assert mmap_errno(client, PAGE, fd, PAGE) == errno.EINVAL


def test_dma_buf_of_read_only_memory_cannot_be_mapped_for_writing_eacces(client: Client) -> None:
    fd = export(client, client.alloc(PAGE, AllocFlag.VRAM | AllocFlag.PUBLIC).handle)
    assert mmap_errno(client, PAGE, fd) == errno.EACCES
    client.kernel.munmap(client.kernel.mmap(0, PAGE, 1, MAP_SHARED, fd, 0), PAGE)
