"""What the ioctls about memory do when they succeed."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest
from kfd_client import GTT, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PAGE, WRITABLE_VRAM, Client, StubEngine

from pytest_amdgpu.abi.kfd import AllocFlag, KfdIoctl, QueueType
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.memory import AddressSpace
from pytest_amdgpu.emulator.refusal import KfdMisuse


def space(client: Client, gpu: int = 0) -> AddressSpace:
    return client.process.devices[client.gpus[gpu].gpu_id].space


def test_handles_are_gpu_id_and_lowest_free_number(client: Client) -> None:
    handles = [client.alloc().handle for _ in range(3)]
    assert handles == [client.gpu_id << 32 | number for number in (1, 2, 3)]
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=handles[1])
    assert client.alloc().handle == handles[1]


def test_size_is_rounded_up_to_pages(client: Client) -> None:
    args = client.alloc(PAGE + 1)
    client.map(args.handle)
    assert space(client).mappings[0].end == args.va_addr + 2 * PAGE
    assert client.gpu.vram_used == 2 * PAGE


def test_cpu_and_gpu_see_the_same_memory(client: Client) -> None:
    for flags in (WRITABLE_VRAM, GTT):
        args = client.buffer(PAGE, flags)
        ctypes.memmove(args.va_addr, b"from the CPU", 12)
        assert space(client).read(args.va_addr, 12) == b"from the CPU"
        space(client).write(args.va_addr, b"from the GPU")
        assert ctypes.string_at(args.va_addr, 12) == b"from the GPU"


def test_new_memory_is_zero_also_where_freed_memory_was(client: Client) -> None:
    first = client.buffer()
    ctypes.memset(first.va_addr, 0xFF, PAGE)
    client.unmap(first.handle)
    client.kernel.munmap(first.va_addr, PAGE)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=first.handle)
    assert ctypes.string_at(client.buffer().va_addr, PAGE) == bytes(PAGE)


def test_memory_stays_while_the_client_has_it_mapped(client: Client) -> None:
    args = client.buffer()
    ctypes.memset(args.va_addr, 7, PAGE)
    client.unmap(args.handle)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)
    assert ctypes.string_at(args.va_addr, 4) == b"\7\7\7\7"
    resident = client.kernel._machine.arena.resident()
    client.kernel.munmap(args.va_addr, PAGE)
    assert client.kernel._machine.arena.resident() == resident - PAGE


def test_memory_is_not_touched_by_allocating_and_mapping(client: Client) -> None:
    client.buffer(1 << 30)
    assert client.kernel._machine.arena.resident() == 0


@pytest.mark.parametrize(
    ("flags", "rights"),
    [
        (AllocFlag.VRAM, (False, False)),
        (AllocFlag.VRAM | AllocFlag.WRITABLE, (True, False)),
        (AllocFlag.VRAM | AllocFlag.EXECUTABLE, (False, True)),
    ],
)
def test_flags_become_rights_of_the_mapping(
    client: Client, flags: AllocFlag, rights: tuple[bool, bool]
) -> None:
    client.map(client.alloc(PAGE, flags).handle)
    mapping = space(client).mappings[0]
    assert (mapping.writable, mapping.executable) == rights


@pytest.mark.parametrize("flag", [AllocFlag.UNCACHED, AllocFlag.COHERENT, AllocFlag.EXT_COHERENT])
def test_coherent_memory_is_reached_past_the_caches(client: Client, flag: AllocFlag) -> None:
    for handle in (client.alloc(PAGE, WRITABLE_VRAM).handle, client.alloc(PAGE, WRITABLE_VRAM | flag).handle):
        client.map(handle)
    assert sorted(mapping.uncached for mapping in space(client).mappings) == [False, True]


def test_userptr_is_the_clients_own_memory(client: Client) -> None:
    address = client.kernel.mmap(0, 2 * PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    args = client.call(
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=address,
        size=2 * PAGE,
        gpu_id=client.gpu_id,
        flags=AllocFlag.USERPTR | AllocFlag.WRITABLE,
        mmap_offset=address,
    )
    client.map(args.handle)
    space(client).write(address + PAGE, b"written")
    assert ctypes.string_at(address + PAGE, 7) == b"written"


@pytest.mark.parametrize(
    "unmap",
    [
        lambda kernel, address: kernel.munmap(address, PAGE),
        lambda kernel, address: kernel.mmap(address, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
    ],
    ids=["munmap", "mmap over it"],
)
def test_userptr_that_the_cpu_unmaps_is_a_driver_bug_and_stops_the_queues(
    client: Client, engines: list[StubEngine], unmap: Callable[[EmulatedKernel, int], object]
) -> None:
    client.create_queue()
    address = client.kernel.mmap(0, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    args = client.call(
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=address,
        size=PAGE,
        gpu_id=client.gpu_id,
        flags=AllocFlag.USERPTR,
        mmap_offset=address,
    )
    client.map(args.handle)
    with pytest.warns(KfdMisuse, match="is unmapped by the CPU but still mapped as"):
        unmap(client.kernel, address)
    assert engines[0].calls == ["evict"]


def test_userptr_of_doorbells_is_a_doorbell_object(client: Client) -> None:
    doorbells = client.map_doorbells()
    args = client.call(
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=0x7000_0000,
        size=8192,
        gpu_id=client.gpu_id,
        flags=AllocFlag.USERPTR | AllocFlag.WRITABLE,
        mmap_offset=doorbells,
    )
    client.map(args.handle)
    space(client).write_u64(0x7000_0008, 77)
    assert ctypes.c_uint64.from_address(doorbells + 8).value == 77


@pytest.mark.parametrize(
    "held", ["ring_base_address", "write_pointer_address", "eop_buffer_address", "ctx_save_restore_address"]
)
def test_unmap_and_free_of_what_a_queue_holds_ebusy(client: Client, held: str) -> None:
    fields = client.queue_fields(QueueType.COMPUTE_AQL)
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    mapping = space(client).find(fields[held])
    assert mapping is not None
    ids = client.ids(client.gpu_id)
    pointer = ctypes.addressof(ids)
    handle = mapping.bo.handle
    client.refused(
        errno.EBUSY,
        KfdIoctl.UNMAP_MEMORY_FROM_GPU,
        handle=handle,
        n_devices=1,
        device_ids_array_ptr=pointer,
    )
    client.refused(errno.EBUSY, KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    client.unmap(handle)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)


def test_partial_map_is_continued_with_n_success(two_gpus: Client) -> None:
    args = two_gpus.alloc(PAGE, GTT)
    blocker = two_gpus.alloc(PAGE, GTT, va=args.va_addr, gpu=1)
    two_gpus.map(blocker.handle, 1)
    ids = two_gpus.ids(*(gpu.gpu_id for gpu in two_gpus.gpus))
    fields = {"handle": args.handle, "device_ids_array_ptr": ctypes.addressof(ids), "n_devices": 2}
    two_gpus.refused(errno.EINVAL, KfdIoctl.MAP_MEMORY_TO_GPU, changes=True, out={"n_success": 1}, **fields)
    two_gpus.unmap(blocker.handle, 1)
    done = two_gpus.call(KfdIoctl.MAP_MEMORY_TO_GPU, **fields, n_success=1)
    assert done.n_success == 2


def test_available_memory_is_whole_2_mib_and_falls(client: Client) -> None:
    machine = client.kernel._machine
    machine.host_memory = 1 << 50
    assert (
        client.call(KfdIoctl.AVAILABLE_MEMORY, gpu_id=client.gpu_id).available
        == (25753026560 - (8 << 20)) >> 21 << 21
    )
    client.alloc(64 << 20)
    after = client.call(KfdIoctl.AVAILABLE_MEMORY, gpu_id=client.gpu_id).available
    assert after == (25753026560 - (72 << 20)) >> 21 << 21
    # What is allocated counts against the host's memory, touched or not.
    machine.host_memory = (64 + 5) << 20
    assert client.call(KfdIoctl.AVAILABLE_MEMORY, gpu_id=client.gpu_id).available == 4 << 20


def test_two_gpus_share_one_lock_for_atomics(two_gpus: Client) -> None:
    assert space(two_gpus, 0).atomic_lock is space(two_gpus, 1).atomic_lock
    assert space(two_gpus, 0).changed is space(two_gpus, 1).changed
