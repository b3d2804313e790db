"""Every refusal of the ioctls about memory, in the kernel's order; the names say the rule."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import mmap
from collections.abc import Callable
from typing import Any

import pytest
from kfd_client import GTT, MAP_ANONYMOUS, MAP_PRIVATE, PAGE, WRITABLE_VRAM, Client

from pytest_amdgpu.abi.kfd import AllocFlag, KfdIoctl
from pytest_amdgpu.emulator.gpu import SoftwareGpu
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.families.models import model

UNMAPPED = 0x1234_5678_0000
KERNEL_AREA = (1 << 48) - (4 << 20) - (8 << 10)


def alloc_fields(client: Client, **override: Any) -> dict[str, Any]:
    fields = {"va_addr": 0x7000_0000, "size": PAGE, "gpu_id": client.gpu_id, "flags": int(WRITABLE_VRAM)}
    return fields | override


def unacquired(make_client: Callable[..., Client]) -> Client:
    return make_client("rx7900xtx", acquire=False)


@pytest.mark.parametrize("fd", [-1, 9999])
def test_acquire_vm_bad_fd_einval(make_client: Callable[..., Client], fd: int) -> None:
    client = unacquired(make_client)
    client.refused(errno.EINVAL, KfdIoctl.ACQUIRE_VM, drm_fd=fd & 0xFFFFFFFF, gpu_id=client.gpu_id)


def test_acquire_vm_gpu_unknown_einval(make_client: Callable[..., Client]) -> None:
    client = unacquired(make_client)
    client.refused(errno.EINVAL, KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=0)


def test_acquire_vm_not_an_amdgpu_file_einval(make_client: Callable[..., Client]) -> None:
    client = unacquired(make_client)
    client.refused(errno.EINVAL, KfdIoctl.ACQUIRE_VM, drm_fd=client.fd, gpu_id=client.gpu_id)


def test_acquire_vm_of_another_gpus_node(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x", "rx7900xtx", acquire=False)
    with pytest.warns(KfdMisuse, match="another GPU's render node"):
        client.refused(errno.EINVAL, KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[1], gpu_id=client.gpu_id)


def test_acquire_vm_bad_fd_einval_also_when_bound(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.ACQUIRE_VM, drm_fd=9999, gpu_id=client.gpu_id)


def test_acquire_vm_file_that_another_gpu_has_einval(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x", "rx7900xtx", acquire=False)
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpus[0].gpu_id)
    client.refused(errno.EINVAL, KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpus[1].gpu_id)


def test_acquire_vm_again_with_the_same_file_is_fine(client: Client) -> None:
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpu_id)


@pytest.mark.parametrize("close_first", [False, True])
def test_acquire_vm_again_with_another_file_ebusy(client: Client, close_first: bool) -> None:
    if close_first:
        client.kernel.close(client.renders[0])
    other = client.kernel.open("/dev/dri/renderD128", 2)
    client.refused(errno.EBUSY, KfdIoctl.ACQUIRE_VM, drm_fd=other, gpu_id=client.gpu_id)


def test_alloc_size_zero_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, size=0))


def test_alloc_gpu_unknown_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, gpu_id=0))


def test_alloc_public_vram_with_small_bar_einval(client: Client) -> None:
    client.gpu.large_bar = False
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client))
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.VRAM))
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.GTT | AllocFlag.PUBLIC))


def test_alloc_vm_not_acquired_enodev(make_client: Callable[..., Client]) -> None:
    client = unacquired(make_client)
    client.refused(errno.ENODEV, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client))


def test_alloc_userptr_unaligned_einval(client: Client) -> None:
    fields = alloc_fields(client, flags=AllocFlag.USERPTR, mmap_offset=client.reserve(PAGE) + 64)
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)


def test_alloc_doorbell_of_another_size_einval(client: Client) -> None:
    for size in (4096, 8191, 16384):
        fields = alloc_fields(client, flags=AllocFlag.DOORBELL, size=size)
        client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.DOORBELL, size=8192))


@pytest.mark.parametrize(
    ("flags", "size"), [(AllocFlag.DOORBELL, 8192), (AllocFlag.MMIO_REMAP, 4096), (GTT, PAGE)]
)
def test_alloc_no_memory_enomem(
    client: Client, flags: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(size: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    fields = alloc_fields(client, flags=flags, size=size)
    monkeypatch.setattr(client.kernel._machine.arena, "allocate", refuse)
    client.refused(errno.ENOMEM, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)


def test_alloc_mmio_remap_of_another_size_einval(client: Client) -> None:
    for size in (4095, 8192):
        fields = alloc_fields(client, flags=AllocFlag.MMIO_REMAP, size=size)
        client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)
    args = client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.MMIO_REMAP))
    assert args.mmap_offset == client.gpu_id << 46


@pytest.mark.parametrize("flags", [0, AllocFlag.WRITABLE | AllocFlag.PUBLIC, AllocFlag.USERPTR])
def test_alloc_no_kind_of_memory_einval(client: Client, flags: int) -> None:
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=flags))


def test_alloc_more_vram_than_there_is_enomem(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx", host_memory=1 << 50)
    free = client.gpu.vram_free
    assert free == 25753026560 - (8 << 20)
    client.refused(errno.ENOMEM, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, size=free + 1))
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, size=free))
    client.refused(errno.ENOMEM, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client))


def test_alloc_beyond_the_system_memory_limit_enomem(client: Client) -> None:
    machine = client.kernel._machine
    machine.system_memory = machine.system_memory_used + PAGE
    client.refused(
        errno.ENOMEM, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, size=2 * PAGE, flags=AllocFlag.GTT)
    )
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.GTT))
    client.refused(errno.ENOMEM, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.GTT))


def test_alloc_beyond_the_hosts_memory_enomem(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx", host_memory=4 * PAGE)
    buffer = client.buffer(4 * PAGE)
    ctypes.memset(buffer.va_addr, 1, 2 * PAGE)
    client.refused(errno.ENOMEM, KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, size=3 * PAGE))
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, size=2 * PAGE))
    assert any("the host lets buffers have 8192 more bytes" in line for line in client.kernel.log)


def test_alloc_userptr_not_mapped_efault(client: Client) -> None:
    fields = alloc_fields(client, flags=AllocFlag.USERPTR, mmap_offset=UNMAPPED)
    client.refused(errno.EFAULT, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)


def test_alloc_userptr_partly_mapped_efault(client: Client) -> None:
    address = client.kernel.mmap(0, 3 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    client.kernel.munmap(address + PAGE, PAGE)
    fields = alloc_fields(client, flags=AllocFlag.USERPTR, mmap_offset=address, size=3 * PAGE)
    client.refused(errno.EFAULT, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)


def test_alloc_userptr_read_only_efault(client: Client) -> None:
    address = client.kernel.mmap(0, PAGE, mmap.PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    fields = alloc_fields(client, flags=AllocFlag.USERPTR, mmap_offset=address)
    client.refused(errno.EFAULT, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)


def test_alloc_several_kinds_is_a_driver_bug_and_vram_wins(client: Client) -> None:
    with pytest.warns(KfdMisuse, match="several kinds of memory"):
        client.call(
            KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.GTT | AllocFlag.VRAM)
        )
    assert client.gpu.vram_used == PAGE


def test_alloc_aql_queue_memory_is_a_driver_bug(client: Client) -> None:
    """Since gfx9 no packet processor reads beyond the end of a ring, and the kernel halves the memory."""
    with pytest.warns(KfdMisuse, match="AQL_QUEUE_MEM"):
        client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=GTT | AllocFlag.AQL_QUEUE_MEM))


def test_alloc_userptr_of_a_buffer_einval_or_efault(make_client: Callable[..., Client]) -> None:
    """Device memory is no user memory: older kernels look for doorbells there, newer ones find no pages."""
    for behaviour, expected in (("6.12", errno.EINVAL), ("newest", errno.EFAULT)):
        client = make_client(behaviour=behaviour)
        fields = alloc_fields(client, flags=AllocFlag.USERPTR, mmap_offset=client.buffer().va_addr)
        client.refused(expected, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)


def test_alloc_userptr_of_a_buffer_as_large_as_doorbells_is_a_driver_bug(client: Client) -> None:
    address = client.buffer(8192).va_addr
    fields = alloc_fields(client, flags=AllocFlag.USERPTR, mmap_offset=address, size=8192)
    with pytest.warns(KfdMisuse, match="user pointer to device memory that is no doorbells"):
        client.refused(errno.EINVAL, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)


def test_alloc_unknown_flags_are_a_driver_bug(client: Client) -> None:
    with pytest.warns(KfdMisuse, match="unknown flags 0x400"):
        client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **alloc_fields(client, flags=AllocFlag.VRAM | 1 << 10))


def test_free_events_page_eperm(client: Client) -> None:
    page = client.event_page()
    client.refused(errno.EPERM, KfdIoctl.FREE_MEMORY_OF_GPU, handle=page.handle)


@pytest.mark.parametrize("handle", [0, 1, 0xFFFF_0000_0001])
def test_free_gpu_part_unknown_einval(client: Client, handle: int) -> None:
    client.refused(errno.EINVAL, KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)


def test_free_number_unknown_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.FREE_MEMORY_OF_GPU, handle=client.gpu_id << 32 | 99)


def test_free_still_mapped_ebusy(client: Client) -> None:
    buffer = client.buffer()
    client.refused(errno.EBUSY, KfdIoctl.FREE_MEMORY_OF_GPU, handle=buffer.handle)


def test_free_twice_einval(client: Client) -> None:
    handle = client.alloc().handle
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)
    client.refused(errno.EINVAL, KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)


MAP, UNMAP = KfdIoctl.MAP_MEMORY_TO_GPU, KfdIoctl.UNMAP_MEMORY_FROM_GPU
BOTH = pytest.mark.parametrize("request_number", [MAP, UNMAP], ids=["map", "unmap"])


@BOTH
def test_no_devices_einval(client: Client, request_number: KfdIoctl) -> None:
    client.refused(errno.EINVAL, request_number, handle=client.alloc().handle, n_devices=0)


@BOTH
def test_n_success_above_n_devices_einval(client: Client, request_number: KfdIoctl) -> None:
    client.refused(errno.EINVAL, request_number, handle=client.alloc().handle, n_devices=1, n_success=2)


@BOTH
def test_more_devices_than_the_kernel_makes_room_for_enomem(client: Client, request_number: KfdIoctl) -> None:
    handle = client.alloc().handle
    client.refused(errno.ENOMEM, request_number, handle=handle, n_devices=0xFFFFFFFF)


@BOTH
def test_device_array_efault(client: Client, request_number: KfdIoctl) -> None:
    handle = client.alloc().handle
    client.refused(errno.EFAULT, request_number, handle=handle, n_devices=1, device_ids_array_ptr=UNMAPPED)


@BOTH
def test_handle_of_unknown_gpu_einval(client: Client, request_number: KfdIoctl) -> None:
    ids = client.ids(client.gpu_id)
    pointer = ctypes.addressof(ids)
    client.refused(errno.EINVAL, request_number, handle=1, n_devices=1, device_ids_array_ptr=pointer)


@BOTH
def test_handle_number_unknown_enomem(client: Client, request_number: KfdIoctl) -> None:
    ids, handle = client.ids(client.gpu_id), client.gpu_id << 32 | 99
    pointer = ctypes.addressof(ids)
    client.refused(errno.ENOMEM, request_number, handle=handle, n_devices=1, device_ids_array_ptr=pointer)


@BOTH
def test_listed_gpu_unknown_einval_keeps_the_earlier_ones(client: Client, request_number: KfdIoctl) -> None:
    buffer = client.alloc()
    if request_number == UNMAP:
        client.map(buffer.handle)
    ids = client.ids(client.gpu_id, 0)
    client.refused(
        errno.EINVAL,
        request_number,
        changes=True,
        out={"n_success": 1},
        handle=buffer.handle,
        n_devices=2,
        device_ids_array_ptr=ctypes.addressof(ids),
    )
    assert len(client.process.devices[client.gpu_id].space.mappings) == (request_number == MAP)


def test_map_own_gpu_not_bound_enodev(make_client: Callable[..., Client]) -> None:
    client = unacquired(make_client)
    ids = client.ids(client.gpu_id)
    client.refused(
        errno.ENODEV,
        MAP,
        handle=client.gpu_id << 32 | 1,
        n_devices=1,
        device_ids_array_ptr=ctypes.addressof(ids),
    )


def test_map_listed_gpu_not_bound_enodev(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x", "rx7900xtx", acquire=False)
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpu_id)
    ids, handle = client.ids(client.gpus[1].gpu_id), client.alloc().handle
    pointer = ctypes.addressof(ids)
    client.refused(errno.ENODEV, MAP, handle=handle, n_devices=1, device_ids_array_ptr=pointer)


@pytest.mark.parametrize(
    "va",
    [
        pytest.param(0, id="zero"),
        pytest.param(0x7000_0001, id="unaligned"),
        pytest.param(0x7000_0800, id="half a page"),
        pytest.param(1 << 48, id="beyond 48 bits"),
        pytest.param((1 << 48) - PAGE, id="wraps"),
        pytest.param((1 << 64) - PAGE, id="wraps 64 bits"),
        pytest.param(KERNEL_AREA, id="kernel's own"),
        pytest.param(KERNEL_AREA - PAGE, id="reaches into the kernel's own"),
    ],
)
def test_map_address_einval(client: Client, va: int) -> None:
    args = client.alloc(2 * PAGE, va=va)
    ids = client.ids(client.gpu_id)
    pointer = ctypes.addressof(ids)
    client.refused(errno.EINVAL, MAP, handle=args.handle, n_devices=1, device_ids_array_ptr=pointer)


@pytest.mark.parametrize("offset", [-PAGE, 0, PAGE])
def test_map_overlap_einval(client: Client, offset: int) -> None:
    first = client.buffer(2 * PAGE)
    second = client.alloc(2 * PAGE, va=first.va_addr + offset)
    ids = client.ids(client.gpu_id)
    pointer = ctypes.addressof(ids)
    client.refused(errno.EINVAL, MAP, handle=second.handle, n_devices=1, device_ids_array_ptr=pointer)


def test_map_same_address_on_another_gpu_is_fine(two_gpus: Client) -> None:
    first = two_gpus.alloc(gpu=0)
    second = two_gpus.alloc(va=first.va_addr, gpu=1)
    two_gpus.map(first.handle, 0)
    two_gpus.map(second.handle, 1)


@pytest.mark.parametrize(
    "flags", [AllocFlag.VRAM, AllocFlag.DOORBELL, AllocFlag.MMIO_REMAP], ids=lambda flag: flag.name
)
def test_map_unreachable_peer_einval(two_gpus: Client, flags: AllocFlag) -> None:
    size = 8192 if flags is AllocFlag.DOORBELL else PAGE
    args = two_gpus.alloc(size, flags, gpu=0)
    two_gpus.gpus[0].large_bar = False
    ids = two_gpus.ids(two_gpus.gpus[1].gpu_id)
    pointer = ctypes.addressof(ids)
    two_gpus.refused(errno.EINVAL, MAP, handle=args.handle, n_devices=1, device_ids_array_ptr=pointer)
    two_gpus.gpus[0].large_bar = True
    two_gpus.map(args.handle, 1)


def test_map_peer_in_the_same_hive_needs_no_large_bar(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x", "mi300x")
    assert client.gpus[0].properties["hive_id"] == client.gpus[1].properties["hive_id"] != 0
    args = client.alloc(PAGE, AllocFlag.VRAM, gpu=0)
    client.gpus[0].large_bar = False
    client.map(args.handle, 0, 1)


@pytest.mark.parametrize("flags", [AllocFlag.DOORBELL, AllocFlag.MMIO_REMAP], ids=lambda flag: flag.name)
def test_map_doorbells_and_registers_of_the_hive_need_a_large_bar_einval(
    make_client: Callable[..., Client], flags: AllocFlag
) -> None:
    client = make_client("mi300x", "mi300x")
    args = client.alloc(8192 if flags is AllocFlag.DOORBELL else PAGE, flags, gpu=0)
    client.gpus[0].large_bar = False
    ids = client.ids(client.gpus[1].gpu_id)
    pointer = ctypes.addressof(ids)
    client.refused(errno.EINVAL, MAP, handle=args.handle, n_devices=1, device_ids_array_ptr=pointer)
    client.gpus[0].large_bar = True
    client.map(args.handle, 1)


def test_map_on_an_apu_needs_no_large_bar(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx", "strixhalo")
    args = client.alloc(PAGE, AllocFlag.VRAM, gpu=0)
    client.gpus[0].large_bar = False
    client.map(args.handle, 1)


def test_map_across_hives_needs_a_large_bar_einval(make_client: Callable[..., Client]) -> None:
    client = make_client(*["mi210"] * 6)
    args = client.alloc(PAGE, AllocFlag.VRAM, gpu=0)
    client.gpus[0].large_bar = False
    client.map(args.handle, 3)
    ids = client.ids(client.gpus[4].gpu_id)
    pointer = ctypes.addressof(ids)
    client.refused(errno.EINVAL, MAP, handle=args.handle, n_devices=1, device_ids_array_ptr=pointer)


def test_map_twice_is_success(client: Client) -> None:
    buffer = client.buffer()
    assert client.map(buffer.handle).n_success == 1
    assert len(client.process.devices[client.gpu_id].space.mappings) == 1


@pytest.mark.parametrize("va", [0x1000, 0x7FFF_FFFF_F000, 0x8000_0000_0000])
def test_map_outside_the_aperture_is_a_driver_bug(client: Client, va: int) -> None:
    args = client.alloc(2 * PAGE, va=va)
    with pytest.warns(KfdMisuse, match="outside the GPUVM aperture"):
        client.map(args.handle)


def test_unmap_not_mapped_einval(client: Client) -> None:
    ids, handle = client.ids(client.gpu_id), client.alloc().handle
    pointer = ctypes.addressof(ids)
    client.refused(errno.EINVAL, UNMAP, handle=handle, n_devices=1, device_ids_array_ptr=pointer)


def test_unmap_twice_einval(client: Client) -> None:
    ids, handle = client.ids(client.gpu_id), client.buffer().handle
    client.unmap(handle)
    pointer = ctypes.addressof(ids)
    client.refused(errno.EINVAL, UNMAP, handle=handle, n_devices=1, device_ids_array_ptr=pointer)


def test_available_memory_gpu_unknown_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.AVAILABLE_MEMORY, gpu_id=0)


def test_model_without_large_bar_gives_no_public_vram(make_client: Callable[..., Client]) -> None:
    full = model("rx7900xtx")
    bank = dict(full.mem_banks[0]) | {"heap_type": 2}
    small = dataclasses.replace(full, mem_banks=(bank,))
    from pytest_amdgpu.emulator.gpu import make_gpus

    gpu: SoftwareGpu = make_gpus([small])[0]
    assert not gpu.large_bar


def test_gtt_of_another_gpu_can_always_be_mapped(two_gpus: Client) -> None:
    args = two_gpus.alloc(PAGE, GTT, gpu=0)
    two_gpus.gpus[0].large_bar = False
    assert two_gpus.map(args.handle, 0, 1).n_success == 2
