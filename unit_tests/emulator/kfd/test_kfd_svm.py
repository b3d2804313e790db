"""SVM: attributes of ranges, memory that GPUs reach without a buffer, and every refusal."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable
from typing import Any

import pytest
from kfd_client import GTT, MAP_ANONYMOUS, MAP_PRIVATE, PAGE, PROT_NONE, PROT_RW, Client, StubEngine

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.kfd import (
    AllocFlag,
    KfdIoctl,
    QueueType,
    SmiEvent,
    SvmArgs,
    SvmAttributeType,
    SvmFlag,
    SvmLocation,
    SvmOp,
)
from pytest_amdgpu.emulator import host
from pytest_amdgpu.emulator.kfd.svm_calls import sized_args
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.kernel.protocol import KernelError

PREFERRED, PREFETCH, ACCESS, IN_PLACE, NO_ACCESS, SET, CLR, GRANULARITY = SvmAttributeType
UNDEFINED = SvmLocation.UNDEFINED
Attribute = tuple[int, int]


def argument(start: int, size: int, op: int, attributes: list[Attribute], nattr: int | None = None) -> Any:
    count = len(attributes)
    args = sized_args(ctypes.sizeof(SvmArgs) + 8 * count)(
        start_addr=start, size=size, op=op, nattr=count if nattr is None else nattr
    )
    for room, (kind, value) in zip(args.room, attributes, strict=True):
        room.type, room.value = kind, value
    return args


def call(client: Client, args: Any) -> int:
    request = ioctl.with_size(KfdIoctl.SVM, ctypes.sizeof(args))
    return client.kernel.ioctl(client.fd, request, args)


def set_attributes(client: Client, start: int, size: int, *attributes: Attribute) -> None:
    assert call(client, argument(start, size, SvmOp.SET_ATTR, list(attributes))) == 0


def get_attributes(client: Client, start: int, size: int, *attributes: Attribute) -> list[Attribute]:
    args = argument(start, size, SvmOp.GET_ATTR, list(attributes))
    assert call(client, args) == 0
    return [(room.type, room.value) for room in args.room]


def refused(client: Client, error: int, args: Any, *, changes: bool = False) -> None:
    """Expect a refusal, with the argument as it was and, unless `changes`, the state as it was."""
    before, given = client.state(), bytes(args)
    with pytest.raises(KernelError) as caught:
        call(client, args)
    assert bytes(args) == given
    assert (caught.value.errno, caught.value.call) == (error, "AMDKFD_IOC_SVM")
    if not changes:
        assert client.state() == before


def memory(client: Client, pages: int = 1, protection: int = PROT_RW) -> int:
    return client.kernel.mmap(0, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)


def smi(client: Client, *events: SmiEvent, gpu: int = 0) -> int:
    fd: int = client.call(KfdIoctl.SMI_EVENTS, gpuid=client.gpus[gpu].gpu_id).anon_fd
    mask = sum(1 << (event - 1) for event in events)
    client.kernel.write(fd, mask.to_bytes(8, "little"))
    return fd


def shared(client: Client, gpu: int = 0) -> list[tuple[int, int, bool, bool]]:
    space = client.process.devices[client.gpus[gpu].gpu_id].space
    return [(item.start, item.end, item.writable, item.executable) for item in space.mappings]


def test_gpu_with_access_reaches_the_clients_memory(client: Client) -> None:
    start = memory(client, 2)
    set_attributes(client, start, 2 * PAGE, (ACCESS, client.gpu_id), (SET, SvmFlag.GPU_EXEC))
    space = client.process.devices[client.gpu_id].space
    ctypes.memset(start + PAGE, 0x61, 1)
    assert space.read(start + PAGE, 1) == b"a"
    space.write(start, b"xyz")
    assert ctypes.string_at(start, 3) == b"xyz"
    assert shared(client) == [(start, start + 2 * PAGE, True, True)]


@pytest.mark.parametrize("kind", [ACCESS, IN_PLACE])
def test_only_gpus_with_access_reach_it(two_gpus: Client, kind: int) -> None:
    start = memory(two_gpus)
    set_attributes(two_gpus, start, PAGE, (kind, two_gpus.gpus[1].gpu_id))
    with pytest.raises(VmFault) as caught:
        two_gpus.process.devices[two_gpus.gpu_id].space.read(start, 1)
    assert caught.value.reason is Reason.NOT_PRESENT
    assert two_gpus.process.devices[two_gpus.gpus[1].gpu_id].space.read(start, 1) == b"\0"


def test_rights_are_those_of_flags_and_of_the_clients_mapping(client: Client) -> None:
    start = memory(client, 3)
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + PAGE), PAGE, 1)
    set_attributes(client, start, 3 * PAGE, (ACCESS, client.gpu_id))
    assert [item[2] for item in shared(client)] == [True, False, True]
    set_attributes(client, start, PAGE, (SET, SvmFlag.GPU_RO))
    space = client.process.devices[client.gpu_id].space
    with pytest.raises(VmFault) as caught:
        space.view(start, 1, Access.WRITE)
    assert caught.value.reason is Reason.READ_ONLY
    space.view(start + 2 * PAGE, 1, Access.WRITE)


def test_defaults_of_memory_that_was_never_registered(client: Client) -> None:
    start = memory(client)
    asked = [(PREFERRED, 0), (PREFETCH, 0), (ACCESS, client.gpu_id), (SET, 0), (CLR, 0), (GRANULARITY, 0)]
    flags = SvmFlag.HOST_ACCESS | SvmFlag.COHERENT
    assert get_attributes(client, start, PAGE, *asked) == [
        (PREFERRED, UNDEFINED),
        (PREFETCH, UNDEFINED),
        (NO_ACCESS, client.gpu_id),
        (SET, flags),
        (CLR, 0xFFFFFFFC),
        (GRANULARITY, 9),
    ]


def test_with_xnack_every_gpu_has_access_by_default(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x")
    client.call(KfdIoctl.SET_XNACK_MODE, xnack_enabled=1)
    start = memory(client)
    assert get_attributes(client, start, PAGE, (ACCESS, client.gpu_id)) == [(ACCESS, client.gpu_id)]
    set_attributes(client, start, PAGE, (GRANULARITY, 5))
    assert shared(client) == [(start, start + PAGE, True, False)]


def test_attributes_come_back(client: Client) -> None:
    start, gpu = memory(client), client.gpu_id
    set_attributes(client, start, PAGE, (PREFERRED, gpu), (IN_PLACE, gpu), (GRANULARITY, 12))
    set_attributes(client, start, PAGE, (SET, SvmFlag.GPU_EXEC), (CLR, SvmFlag.COHERENT))
    asked = [(PREFERRED, 0), (ACCESS, gpu), (SET, 0), (GRANULARITY, 0)]
    flags = SvmFlag.HOST_ACCESS | SvmFlag.GPU_EXEC
    expected = [(PREFERRED, gpu), (IN_PLACE, gpu), (SET, flags), (GRANULARITY, 12)]
    assert get_attributes(client, start, PAGE, *asked) == expected
    set_attributes(client, start, PAGE, (NO_ACCESS, gpu))
    assert get_attributes(client, start, PAGE, (ACCESS, gpu)) == [(NO_ACCESS, gpu)]


def test_ranges_are_split_and_answer_together(client: Client) -> None:
    start, gpu = memory(client, 4), client.gpu_id
    set_attributes(client, start, 4 * PAGE, (ACCESS, gpu), (PREFERRED, 0), (GRANULARITY, 9))
    set_attributes(client, start + PAGE, 2 * PAGE, (PREFERRED, gpu), (SET, SvmFlag.GPU_RO), (GRANULARITY, 3))
    assert [(item.start - start) // PAGE for item in client.process.svm._ranges] == [0, 1, 3]
    asked = [(PREFERRED, 0), (ACCESS, gpu), (SET, 0), (CLR, 0), (GRANULARITY, 0)]
    default = SvmFlag.HOST_ACCESS | SvmFlag.COHERENT
    assert get_attributes(client, start, 4 * PAGE, *asked) == [
        (PREFERRED, UNDEFINED),
        (ACCESS, gpu),
        (SET, default),
        (CLR, 0xFFFFFFF4),
        (GRANULARITY, 3),
    ]
    assert get_attributes(client, start + 3 * PAGE, PAGE, (PREFERRED, 0)) == [(PREFERRED, 0)]
    assert [item[2] for item in shared(client)] == [True, False, True]
    space = client.process.devices[client.gpu_id].space
    ctypes.memset(start, 9, 4 * PAGE)
    assert space.read(start, 4 * PAGE) == b"\x09" * 4 * PAGE


def test_unmapping_takes_it_from_the_gpu(client: Client) -> None:
    start = memory(client, 3)
    set_attributes(client, start, 3 * PAGE, (ACCESS, client.gpu_id))
    fd = smi(client, SmiEvent.UNMAP_FROM_GPU, SmiEvent.QUEUE_EVICTION)
    client.kernel.munmap(start + PAGE, PAGE)
    assert [item[:2] for item in shared(client)] == [
        (start, start + PAGE),
        (start + 2 * PAGE, start + 3 * PAGE),
    ]
    (record,) = client.kernel.read(fd, 4096).splitlines()
    number, _, pid, extent, node, trigger = record.decode().split()
    assert (number, pid, trigger) == ("b", f"-{os.getpid()}", "2")
    assert (extent, node) == (f"@{(start + PAGE) // PAGE:x}(1)", f"{client.gpu_id:x}")
    asked = (GRANULARITY, 0)
    assert get_attributes(client, start + 2 * PAGE, PAGE, asked) == [(GRANULARITY, 9)]


def test_unmapping_takes_it_also_from_a_gpu_that_lost_access(client: Client) -> None:
    start = memory(client)
    set_attributes(client, start, PAGE, (ACCESS, client.gpu_id))
    set_attributes(client, start, PAGE, (NO_ACCESS, client.gpu_id))
    assert [item[0] for item in shared(client)] == [start]
    client.kernel.munmap(start, PAGE)
    assert shared(client) == []


def test_memory_unmapped_behind_the_emulators_back_is_gone_when_it_is_mapped_anew(client: Client) -> None:
    start = memory(client)
    set_attributes(client, start, PAGE, (ACCESS, client.gpu_id))
    host.munmap(start, PAGE)
    client.kernel.mmap(start, PAGE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    assert (shared(client), client.process.svm._ranges) == ([], [])


def test_prefetch_migrates_with_an_eviction(client: Client, engines: list[StubEngine]) -> None:
    client.create_queue()
    start, gpu = memory(client), client.gpu_id
    events = (SmiEvent.MIGRATE_START, SmiEvent.MIGRATE_END, SmiEvent.QUEUE_EVICTION, SmiEvent.QUEUE_RESTORE)
    fd = smi(client, *events)
    set_attributes(client, start, PAGE, (ACCESS, gpu), (PREFETCH, gpu))
    lines = [line.split(" ") for line in client.kernel.read(fd, 4096).decode().splitlines()]
    assert [line[0] for line in lines] == ["9", "5", "6", "a"]
    assert lines[0][-1] == "0"
    extent = f"@{start // PAGE:x}(1)"
    assert lines[1][3:] == [extent, f"0->{gpu:x}", f"{gpu:x}:ffffffff", "0"]
    assert lines[2][3:] == [extent, f"0->{gpu:x}", "0", "0"]
    assert engines[0].calls == ["evict", "restore"]
    assert get_attributes(client, start, PAGE, (PREFETCH, 0)) == [(PREFETCH, gpu)]
    set_attributes(client, start, PAGE, (PREFETCH, gpu))
    assert engines[0].calls == ["evict", "restore"], "it is there already"
    set_attributes(client, start, PAGE, (PREFETCH, SvmLocation.SYSMEM))
    assert engines[0].calls == ["evict", "restore"] * 2


def test_prefetch_stays_in_system_memory_where_another_gpu_could_not_reach_it(two_gpus: Client) -> None:
    start = memory(two_gpus)
    fd = smi(two_gpus, SmiEvent.MIGRATE_START)
    ids = [gpu.gpu_id for gpu in two_gpus.gpus]
    set_attributes(two_gpus, start, PAGE, (ACCESS, ids[0]), (ACCESS, ids[1]), (PREFETCH, ids[0]))
    assert two_gpus.kernel.poll([(fd, 1)], 0) == []


def test_prefetch_stays_in_system_memory_where_that_is_the_gpus_own(
    make_client: Callable[..., Client],
) -> None:
    apu = make_client("strixhalo")
    start = memory(apu)
    fd = smi(apu, SmiEvent.MIGRATE_START)
    set_attributes(apu, start, PAGE, (ACCESS, apu.gpu_id), (PREFETCH, apu.gpu_id))
    assert apu.kernel.poll([(fd, 1)], 0) == []


@pytest.mark.parametrize(("start", "size"), [(0, PAGE), (PAGE, 0), (PAGE + 1, PAGE), (PAGE, 100)])
def test_address_or_size_0_or_unaligned_einval(client: Client, start: int, size: int) -> None:
    refused(client, errno.EINVAL, argument(start, size, SvmOp.SET_ATTR, []))


def test_set_unknown_attribute_einval(client: Client) -> None:
    refused(client, errno.EINVAL, argument(memory(client), PAGE, SvmOp.SET_ATTR, [(8, 0)]))


@pytest.mark.parametrize(
    ("kind", "value"),
    [(PREFERRED, 77), (PREFETCH, 77), (PREFETCH, UNDEFINED), (ACCESS, 0), (IN_PLACE, 77), (NO_ACCESS, 77)],
)
def test_set_unknown_gpu_einval(client: Client, kind: int, value: int) -> None:
    refused(client, errno.EINVAL, argument(memory(client), PAGE, SvmOp.SET_ATTR, [(kind, value)]))


def test_set_gpu_that_cannot_share_einval(client: Client) -> None:
    properties = {**client.gpu.properties, "capability": client.gpu.properties["capability"] & ~(1 << 27)}
    client.gpu.properties = properties
    refused(client, errno.EINVAL, argument(memory(client), PAGE, SvmOp.SET_ATTR, [(ACCESS, client.gpu_id)]))


@pytest.mark.parametrize("op", [SvmOp.SET_ATTR, SvmOp.GET_ATTR])
class TestAddresses:
    def test_not_mapped_by_the_client_efault(self, client: Client, op: SvmOp) -> None:
        start = memory(client, 2)
        client.kernel.munmap(start + PAGE, PAGE)
        refused(client, errno.EFAULT, argument(start, 2 * PAGE, op, []))

    def test_device_memory_efault(self, client: Client, op: SvmOp) -> None:
        address = client.map_doorbells()
        refused(client, errno.EFAULT, argument(address, PAGE, op, []))

    def test_address_of_a_mapped_buffer_eaddrinuse(self, client: Client, op: SvmOp) -> None:
        buffer = client.alloc(PAGE, GTT)
        client.map(buffer.handle)
        refused(client, errno.EADDRINUSE, argument(buffer.va_addr, PAGE, op, []))

    def test_secondary_process_eopnotsupp(self, make_client: Callable[..., Client], op: SvmOp) -> None:
        client = make_client("rx7900xtx", behaviour="newest", acquire=False)
        client.kernel.ioctl(client.fd, KfdIoctl.CREATE_PROCESS, ctypes.create_string_buffer(0))
        refused(client, errno.EOPNOTSUPP, argument(memory(client), PAGE, op, []))

    def test_more_attributes_than_the_request_holds(self, client: Client, op: SvmOp) -> None:
        args = argument(memory(client), PAGE, op, [(GRANULARITY, 1)], nattr=2)
        with pytest.warns(KfdMisuse, match="2 attributes, but the request's size has room for 1"):
            refused(client, errno.EINVAL, args)


@pytest.mark.parametrize("kind", [IN_PLACE, NO_ACCESS, 8])
def test_get_attribute_that_cannot_be_asked_for_einval(client: Client, kind: int) -> None:
    refused(client, errno.EINVAL, argument(memory(client), PAGE, SvmOp.GET_ATTR, [(kind, client.gpu_id)]))


def test_get_access_of_unknown_gpu_einval(client: Client) -> None:
    refused(client, errno.EINVAL, argument(memory(client), PAGE, SvmOp.GET_ATTR, [(ACCESS, 77)]))


def test_unknown_operation_succeeds_with_22(client: Client) -> None:
    with pytest.warns(KfdMisuse, match="unknown operation 2, which the kernel does not refuse"):
        assert call(client, argument(memory(client), PAGE, 2, [])) == 22


def test_set_before_acquire_vm_is_a_driver_bug(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx", acquire=False)
    with pytest.warns(KfdMisuse, match="the kernel follows a null pointer"):
        refused(client, errno.EINVAL, argument(memory(client), PAGE, SvmOp.SET_ATTR, []))


def test_access_of_a_gpu_without_vm_einval_and_registered(make_client: Callable[..., Client]) -> None:
    client = make_client("mi300x", "mi300x", acquire=False)
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpu_id)
    start = memory(client)
    attributes = [(ACCESS, client.gpus[1].gpu_id)]
    refused(client, errno.EINVAL, argument(start, PAGE, SvmOp.SET_ATTR, attributes), changes=True)
    assert len(client.process.svm._ranges) == 1


def test_memory_that_cannot_be_read_efault_and_registered(client: Client) -> None:
    start = memory(client, protection=PROT_NONE)
    set_attributes(client, start, PAGE, (GRANULARITY, 9))
    attributes = [(ACCESS, client.gpu_id)]
    refused(client, errno.EFAULT, argument(start, PAGE, SvmOp.SET_ATTR, attributes), changes=True)


def test_allocation_at_a_registered_address_eaddrinuse(client: Client) -> None:
    start = memory(client, 2)
    set_attributes(client, start, PAGE, (GRANULARITY, 9))
    fields = {"va_addr": start, "size": PAGE, "gpu_id": client.gpu_id, "flags": GTT}
    client.refused(errno.EADDRINUSE, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)
    fields |= {"va_addr": start + PAGE, "mmap_offset": start, "flags": AllocFlag.USERPTR}
    client.refused(errno.EADDRINUSE, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields | {"mmap_offset": 0, "flags": GTT})


def save_area(client: Client, flags: int, kind: int = ACCESS) -> dict[str, Any]:
    fields = client.queue_fields(QueueType.COMPUTE)
    size = client.gpu.queue_sizes.cwsr_mapping_size
    start = client.kernel.mmap(0, size + PAGE, PROT_RW, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    set_attributes(client, start, size + PAGE, (kind, client.gpu_id), (SET, flags))
    return fields | {"ctx_save_restore_address": start}


def test_context_save_area_in_shared_memory(client: Client, engines: list[StubEngine]) -> None:
    fields = save_area(client, SvmFlag.GPU_ALWAYS_MAPPED)
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    area = fields["ctx_save_restore_address"]
    set_attributes(client, area, PAGE, (SET, SvmFlag.GPU_EXEC))
    with pytest.warns(KfdMisuse, match="is unmapped while a queue needs it"):
        client.kernel.munmap(area, PAGE)
    assert engines[0].calls[-1] == "evict"
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    assert [item.queue_references for item in client.process.svm._ranges] == [0]


@pytest.mark.parametrize(("flags", "kind"), [(0, ACCESS), (SvmFlag.GPU_ALWAYS_MAPPED, NO_ACCESS)])
def test_context_save_area_in_unfit_shared_memory_einval(client: Client, flags: int, kind: int) -> None:
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **save_area(client, flags, kind))


def test_context_save_area_not_covered_einval(client: Client) -> None:
    fields = save_area(client, SvmFlag.GPU_ALWAYS_MAPPED)
    fields["ctx_save_restore_address"] += 2 * PAGE
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


@pytest.mark.parametrize("field", ["ring_base_address", "write_pointer_address", "eop_buffer_address"])
def test_other_parts_of_a_queue_must_be_buffers_einval(client: Client, field: str) -> None:
    start = memory(client)
    set_attributes(client, start, PAGE, (ACCESS, client.gpu_id), (SET, SvmFlag.GPU_ALWAYS_MAPPED))
    fields = client.queue_fields(QueueType.COMPUTE)
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields | {field: start})
