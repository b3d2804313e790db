"""What can be mapped, of what size, and through which descriptor."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

import pytest
from kfd_client import (
    GTT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
    PAGE,
    PROT_NONE,
    PROT_RW,
    Client,
    StubEngine,
    refusal_in_child,
)

from pytest_amdgpu.abi.kfd import EVENT_PAGE_SIZE, AllocFlag, EventType, KfdIoctl, MmapType
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.kernel.protocol import KernelError


def offset_of(client: Client, kind: MmapType, low: int = 0) -> int:
    return kind << 62 | client.gpu_id << 46 | low


def errno_of_mmap(
    client: Client, length: int, offset: int, *, fd: int | None = None, flags: int = MAP_SHARED
) -> int:
    """Expect a refusal that changes nothing and return its errno."""
    before = client.state(), client.client_maps()
    with pytest.raises(KernelError) as caught:
        client.kernel.mmap(0, length, PROT_RW, flags, client.fd if fd is None else fd, offset)
    assert (client.state(), client.client_maps()) == before
    assert caught.value.call == "mmap"
    assert caught.value.errno is not None
    return caught.value.errno


KINDS = [(MmapType.DOORBELL, 8192), (MmapType.MMIO, 4096), (MmapType.RESERVED_MEM, 8192)]


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_kfd_size_einval(client: Client, kind: MmapType, size: int) -> None:
    for wrong in (size - PAGE, size + PAGE):
        if wrong:
            assert errno_of_mmap(client, wrong, offset_of(client, kind)) == errno.EINVAL
    address = client.kernel.mmap(0, size, PROT_RW, MAP_SHARED, client.fd, offset_of(client, kind))
    ctypes.memset(address, 1, size)


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_kfd_gpu_unknown_enodev(client: Client, kind: MmapType, size: int) -> None:
    assert errno_of_mmap(client, size, kind << 62) == errno.ENODEV


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_kfd_no_memory_enomem(
    client: Client, kind: MmapType, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(size: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(client.kernel._machine.arena, "allocate", refuse)
    assert errno_of_mmap(client, size, offset_of(client, kind)) == errno.ENOMEM


def test_events_without_a_page_einval(client: Client) -> None:
    assert errno_of_mmap(client, EVENT_PAGE_SIZE, offset_of(client, MmapType.EVENTS)) == errno.EINVAL


def test_events_larger_than_the_page_einval(client: Client) -> None:
    client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL)
    assert errno_of_mmap(client, EVENT_PAGE_SIZE + PAGE, 2 << 62) == errno.EINVAL


def test_events_mapped_size_sets_the_slot_limit(client: Client) -> None:
    client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL)
    address = client.kernel.mmap(0, 2 * PAGE, PROT_RW, MAP_SHARED, client.fd, 2 << 62)
    assert client.process.events.slot_limit == 1024
    assert ctypes.string_at(address, 2 * PAGE) == b"\xff" * 2 * PAGE


@pytest.mark.parametrize("low", [1, 8, 2048])
def test_offset_not_page_aligned_einval(client: Client, low: int) -> None:
    assert errno_of_mmap(client, 8192, offset_of(client, MmapType.DOORBELL, low)) == errno.EINVAL


def test_low_bits_of_the_offset_are_ignored(client: Client) -> None:
    first, second = (
        client.kernel.mmap(0, 8192, PROT_RW, MAP_SHARED, client.fd, offset_of(client, MmapType.DOORBELL, low))
        for low in (0, PAGE)
    )
    ctypes.c_uint64.from_address(first).value = 99
    assert ctypes.c_uint64.from_address(second).value == 99


def test_negative_offset_as_c_passes_it(client: Client) -> None:
    offset = offset_of(client, MmapType.DOORBELL) - (1 << 64)
    client.kernel.mmap(0, 8192, PROT_RW, MAP_SHARED, client.fd, offset)


def test_length_zero_einval(client: Client) -> None:
    assert errno_of_mmap(client, 0, offset_of(client, MmapType.DOORBELL)) == errno.EINVAL


def test_descriptor_not_open_ebadf(client: Client) -> None:
    assert errno_of_mmap(client, PAGE, 0, fd=9999) == errno.EBADF


def test_private_writable_mapping_of_a_device_einval(client: Client) -> None:
    args = client.alloc()
    assert (
        errno_of_mmap(client, PAGE, args.mmap_offset, fd=client.renders[0], flags=MAP_PRIVATE) == errno.EINVAL
    )
    client.kernel.mmap(0, PAGE, PROT_NONE, MAP_PRIVATE, client.renders[0], args.mmap_offset)


def test_render_node_unknown_offset_einval(client: Client) -> None:
    args = client.alloc(2 * PAGE)
    for offset in (0, args.mmap_offset + PAGE, args.mmap_offset + 2 * PAGE):
        assert errno_of_mmap(client, PAGE, offset, fd=client.renders[0]) == errno.EINVAL


def test_render_node_longer_than_the_object_einval(client: Client) -> None:
    args = client.alloc(PAGE)
    assert errno_of_mmap(client, 2 * PAGE, args.mmap_offset, fd=client.renders[0]) == errno.EINVAL


def test_render_node_part_of_an_object(client: Client) -> None:
    args = client.alloc(2 * PAGE)
    client.kernel.mmap(0, PAGE, PROT_RW, MAP_SHARED, client.renders[0], args.mmap_offset)


def test_render_node_not_the_acquired_one_eacces(client: Client) -> None:
    other = client.kernel.open("/dev/dri/renderD128", os.O_RDWR)
    assert errno_of_mmap(client, PAGE, client.alloc().mmap_offset, fd=other) == errno.EACCES


def test_render_node_of_another_gpu_einval(two_gpus: Client) -> None:
    assert errno_of_mmap(two_gpus, PAGE, two_gpus.alloc().mmap_offset, fd=two_gpus.renders[1]) == errno.EINVAL


def test_freed_object_einval(client: Client) -> None:
    args = client.alloc()
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)
    assert errno_of_mmap(client, PAGE, args.mmap_offset, fd=client.renders[0]) == errno.EINVAL


def test_userptr_eperm(client: Client) -> None:
    address = client.kernel.mmap(0, PAGE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    args = client.call(
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=address,
        size=PAGE,
        gpu_id=client.gpu_id,
        flags=AllocFlag.USERPTR,
        mmap_offset=address,
    )
    assert errno_of_mmap(client, PAGE, args.mmap_offset, fd=client.renders[0]) == errno.EPERM


def test_cpu_access_to_vram_that_is_not_public_is_a_driver_bug(client: Client) -> None:
    args = client.alloc(PAGE, AllocFlag.VRAM)
    with pytest.warns(KfdMisuse, match="was not allocated PUBLIC"):
        client.cpu_map(args)


def test_anonymous_memory_and_host_errors(client: Client) -> None:
    address = client.kernel.mmap(0, PAGE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    ctypes.memset(address, 3, PAGE)
    client.kernel.munmap(address, PAGE)
    with pytest.raises(KernelError) as caught:
        client.kernel.munmap(address + 1, PAGE)
    assert (caught.value.errno, caught.value.call) == (errno.EINVAL, "munmap")
    assert errno_of_mmap(client, 0, 0, fd=-1, flags=MAP_PRIVATE | MAP_ANONYMOUS) == errno.EINVAL


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_ebadf(client: Client) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            client.map_doorbells()
        except KernelError as error:
            status = 0 if error.errno == errno.EBADF else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_store_to_a_doorbell_in_a_forked_child_efault(client: Client, engines: list[StubEngine]) -> None:
    address = client.map_doorbells() + client.create_queue().doorbell_offset % (1 << 13)
    pid, answer = refusal_in_child(lambda: client.kernel.store_doorbell(address, 64))
    assert answer == (
        f"EFAULT software kernel: doorbells of process {os.getpid()} are not mapped in its forked child {pid}"
    )
    client.kernel.store_doorbell(address, 64)
    assert engines[0].calls == [("ring", 64)]


def test_store_rings_the_queue_of_the_doorbell_and_writes_memory(
    client: Client, engines: list[StubEngine]
) -> None:
    queues = [client.create_queue() for _ in range(2)]
    base = client.map_doorbells()
    for index, queue in enumerate(queues):
        address = base + queue.doorbell_offset % (1 << 13)
        client.kernel.store_doorbell(address, 64 + index)
        assert ctypes.c_uint64.from_address(address).value == 64 + index
    assert [engine.calls for engine in engines] == [[("ring", 64)], [("ring", 65)]]


def test_store_through_a_second_mapping(client: Client, engines: list[StubEngine]) -> None:
    queue = client.create_queue()
    first, second = client.map_doorbells(), client.map_doorbells()
    client.kernel.store_doorbell(first + queue.doorbell_offset % (1 << 13), 1)
    client.kernel.munmap(first, 8192)
    client.kernel.store_doorbell(second + queue.doorbell_offset % (1 << 13), 2)
    assert engines[0].calls == [("ring", 1), ("ring", 2)]


def test_store_where_no_doorbell_is_mapped_efault(client: Client) -> None:
    base = client.map_doorbells()
    for address in (client.buffer(PAGE, GTT).va_addr, base + 8192, base - 8):
        with pytest.raises(KernelError) as caught:
            client.kernel.store_doorbell(address, 1)
        assert (caught.value.errno, caught.value.call) == (errno.EFAULT, "store_doorbell")


def test_store_after_munmap_or_mmap_over_efault(client: Client) -> None:
    queue = client.create_queue()
    first, second = client.map_doorbells(), client.map_doorbells()
    low = queue.doorbell_offset % (1 << 13)
    client.kernel.store_doorbell(first + low, 1)
    client.kernel.store_doorbell(second + low, 1)
    client.kernel.munmap(first, 8192)
    client.kernel.mmap(second, 8192, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
    for base in (first, second):
        with pytest.raises(KernelError) as caught:
            client.kernel.store_doorbell(base + low, 2)
        assert caught.value.errno == errno.EFAULT


def test_store_to_a_doorbell_that_no_queue_has_is_a_driver_bug(
    client: Client, engines: list[StubEngine]
) -> None:
    queue = client.create_queue()
    base = client.map_doorbells()
    with pytest.warns(KfdMisuse, match="which no queue has"):
        client.kernel.store_doorbell(base, 1)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    with pytest.warns(KfdMisuse, match="which no queue has"):
        client.kernel.store_doorbell(base + queue.doorbell_offset % (1 << 13), 1)
    assert engines[0].calls == ["stop"]


def test_store_to_an_unaligned_doorbell_is_a_driver_bug(client: Client, engines: list[StubEngine]) -> None:
    queue = client.create_queue()
    base = client.map_doorbells()
    with pytest.warns(KfdMisuse, match="unaligned doorbell"):
        client.kernel.store_doorbell(base + queue.doorbell_offset % (1 << 13) + 4, 1)
    assert engines[0].calls == []


def test_doorbells_differ_between_gpus(two_gpus: Client, engines: list[StubEngine]) -> None:
    queues = [two_gpus.create_queue(gpu=gpu) for gpu in (0, 1)]
    for gpu, queue in enumerate(queues):
        assert queue.doorbell_offset >> 46 == 3 << 16 | two_gpus.gpus[gpu].gpu_id
        address = two_gpus.map_doorbells(gpu) + queue.doorbell_offset % (1 << 13)
        two_gpus.kernel.store_doorbell(address, gpu)
    assert [engine.calls for engine in engines] == [[("ring", 0)], [("ring", 1)]]


def test_mappings_of_a_closed_descriptor_stay(make_client: Callable[..., Client]) -> None:
    client = make_client()
    base = client.map_doorbells()
    client.kernel.close(client.fd)
    with pytest.warns(KfdMisuse):
        client.kernel.store_doorbell(base, 1)
