"""Every refusal of the ioctls about queues, in the kernel's order; the names say the rule."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from typing import Any

import pytest
from kfd_client import GTT, PAGE, Client, StubEngine

from pytest_amdgpu.abi.kfd import AllocFlag, KfdIoctl, QueueType
from pytest_amdgpu.emulator.refusal import ENOTSUPP, KfdMisuse

OUTSIDE_USER_SPACE = 0x7FFF_FFFF_F000
UNMAPPED = 0x1234_5678_0000

FIELD_REFUSALS: list[tuple[str, int, dict[str, Any]]] = [
    ("percentage_above_100", errno.EINVAL, {"queue_percentage": 101}),
    ("priority_above_15", errno.EINVAL, {"queue_priority": 16}),
    ("ring_address_outside_user_space", errno.EFAULT, {"ring_base_address": OUTSIDE_USER_SPACE}),
    ("ring_size_not_a_power_of_two", errno.EINVAL, {"ring_size": 4097}),
    ("read_pointer_outside_user_space", errno.EFAULT, {"read_pointer_address": OUTSIDE_USER_SPACE}),
    ("write_pointer_outside_user_space", errno.EFAULT, {"write_pointer_address": OUTSIDE_USER_SPACE}),
    ("eop_outside_user_space", errno.EFAULT, {"eop_buffer_address": OUTSIDE_USER_SPACE}),
    ("ctx_outside_user_space", errno.EFAULT, {"ctx_save_restore_address": OUTSIDE_USER_SPACE}),
    ("queue_type_unknown", ENOTSUPP, {"queue_type": 5}),
    ("gpu_unknown", errno.EINVAL, {"gpu_id": 0}),
    ("write_pointer_not_mapped", errno.EINVAL, {"write_pointer_address": UNMAPPED}),
    ("write_pointer_zero", errno.EINVAL, {"write_pointer_address": 0}),
    ("read_pointer_not_mapped", errno.EINVAL, {"read_pointer_address": UNMAPPED}),
    ("read_pointer_zero", errno.EINVAL, {"read_pointer_address": 0}),
    ("ring_not_mapped", errno.EINVAL, {"ring_base_address": UNMAPPED}),
    ("ring_address_zero", errno.EINVAL, {"ring_base_address": 0}),
    ("ring_larger_than_its_mapping", errno.EINVAL, {"ring_size": 8192}),
    ("ring_smaller_than_its_mapping", errno.EINVAL, {"ring_size": PAGE}),
]
COMPUTE_REFUSALS: list[tuple[str, int, dict[str, Any]]] = [
    ("eop_size_wrong", errno.EINVAL, {"eop_buffer_size": 8192}),
    ("eop_not_mapped", errno.EINVAL, {"eop_buffer_address": UNMAPPED}),
    ("ctl_stack_size_too_small", errno.EINVAL, {"ctl_stack_size": 0x9000}),
    ("ctl_stack_size_too_large", errno.EINVAL, {"ctl_stack_size": 0xB000}),
    ("ctx_size_too_small", errno.EINVAL, {"ctx_save_restore_size": 46047231}),
    ("ctx_size_too_large", errno.EINVAL, {"ctx_save_restore_size": 46047233}),
    ("ctx_not_mapped", errno.EINVAL, {"ctx_save_restore_address": UNMAPPED}),
    ("ctx_zero", errno.EINVAL, {"ctx_save_restore_address": 0}),
]


@pytest.mark.parametrize(
    ("error", "override"),
    [pytest.param(error, override, id=name) for name, error, override in FIELD_REFUSALS],
)
def test_create_queue(
    client: Client, engines: list[StubEngine], error: int, override: dict[str, Any]
) -> None:
    fields = client.queue_fields()
    if override == {"ring_size": PAGE}:
        fields["ring_base_address"] = client.buffer(2 * PAGE, GTT).va_addr
    client.refused(error, KfdIoctl.CREATE_QUEUE, **fields | override)
    assert not engines


@pytest.mark.parametrize(
    ("error", "override"),
    [pytest.param(error, override, id=name) for name, error, override in COMPUTE_REFUSALS],
)
def test_create_compute_queue(client: Client, error: int, override: dict[str, Any]) -> None:
    client.refused(error, KfdIoctl.CREATE_QUEUE, **client.queue_fields(QueueType.COMPUTE) | override)


def test_create_compute_queue_eop_in_a_larger_buffer_einval(client: Client) -> None:
    fields = client.queue_fields(QueueType.COMPUTE)
    fields["eop_buffer_address"] = client.buffer(2 * PAGE).va_addr
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


@pytest.mark.parametrize("pages", [-1, 1])
def test_create_compute_queue_ctx_mapping_of_another_size_einval(client: Client, pages: int) -> None:
    fields, size = client.queue_fields(QueueType.COMPUTE), client.gpu.queue_sizes.cwsr_mapping_size
    fields["ctx_save_restore_address"] = client.buffer(size + pages * PAGE, GTT).va_addr
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("percentage_above_100", "ring_address_outside_user_space", errno.EINVAL),
        ("ring_address_outside_user_space", "ring_size_not_a_power_of_two", errno.EFAULT),
        ("ring_size_not_a_power_of_two", "read_pointer_outside_user_space", errno.EINVAL),
        ("ctx_outside_user_space", "queue_type_unknown", errno.EFAULT),
        ("queue_type_unknown", "gpu_unknown", ENOTSUPP),
    ],
)
def test_create_queue_checks_in_order(client: Client, first: str, second: str, expected: int) -> None:
    table = {name: override for name, _, override in FIELD_REFUSALS}
    client.refused(expected, KfdIoctl.CREATE_QUEUE, **client.queue_fields() | table[first] | table[second])


def test_create_queue_vm_not_acquired_esrch(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx", acquire=False)
    fields = {"gpu_id": client.gpu_id, "queue_type": QueueType.SDMA, "ring_size": PAGE}
    client.refused(errno.ESRCH, KfdIoctl.CREATE_QUEUE, **fields)


@pytest.mark.parametrize("engine", [2, 0xFFFFFFFF])
def test_create_queue_sdma_engine_unknown(client: Client, engine: int) -> None:
    fields = client.queue_fields(QueueType.SDMA_BY_ENG_ID)
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields, sdma_engine_id=engine)


@pytest.mark.parametrize("what", ["write_pointer_address", "read_pointer_address"])
def test_create_queue_pointer_inside_a_larger_buffer(client: Client, what: str) -> None:
    two_pages = client.buffer(2 * PAGE, GTT).va_addr
    for address in (two_pages, two_pages + PAGE):
        client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **client.queue_fields() | {what: address})


def test_create_queue_ring_in_the_middle_of_a_mapping(client: Client) -> None:
    address = client.buffer(2 * PAGE, GTT).va_addr + PAGE
    fields = client.queue_fields() | {"ring_base_address": address}
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


def test_create_queue_memory_mapped_on_another_gpu_only(two_gpus: Client) -> None:
    fields = two_gpus.queue_fields(gpu=1) | {"gpu_id": two_gpus.gpus[0].gpu_id}
    two_gpus.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


def test_create_queue_mes_write_pointer_of_another_gpu(two_gpus: Client) -> None:
    fields = two_gpus.queue_fields(gpu=1)
    pointer = two_gpus.alloc(PAGE, GTT, gpu=0)
    two_gpus.map(pointer.handle, 1)
    two_gpus.refused(
        errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields | {"write_pointer_address": pointer.va_addr}
    )


def test_create_queue_hws_write_pointer_of_another_gpu_is_fine(two_gpus: Client) -> None:
    fields = two_gpus.queue_fields(gpu=0)
    pointer = two_gpus.alloc(PAGE, GTT, gpu=1)
    two_gpus.map(pointer.handle, 0)
    two_gpus.call(KfdIoctl.CREATE_QUEUE, **fields | {"write_pointer_address": pointer.va_addr})


@pytest.mark.parametrize(("name", "limit"), [("rx7900xtx", 127), ("mi300x", 255)])
def test_create_queue_limit_per_gpu_enospc(
    make_client: Callable[..., Client], engines: list[StubEngine], name: str, limit: int
) -> None:
    client = make_client(name)
    fields = client.queue_fields(QueueType.COMPUTE)
    for _ in range(limit):
        client.call(KfdIoctl.CREATE_QUEUE, **fields)
    client.refused(errno.ENOSPC, KfdIoctl.CREATE_QUEUE, **fields)


def test_create_queue_no_free_queue_id_enomem(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_amdgpu.emulator.kfd.queue_calls.MAX_QUEUE_IDS", 2)
    fields = client.queue_fields()
    client.call(KfdIoctl.CREATE_QUEUE, **fields)
    client.call(KfdIoctl.CREATE_QUEUE, **fields)
    client.refused(errno.ENOMEM, KfdIoctl.CREATE_QUEUE, **fields)


def test_create_queue_device_total_eperm(client: Client) -> None:
    fields = client.queue_fields()
    client.gpu.queue_count = 4096
    client.refused(errno.EPERM, KfdIoctl.CREATE_QUEUE, **fields)
    client.gpu.queue_count = 0


@pytest.mark.parametrize(
    ("name", "queue_type", "count"),
    [
        ("rx7900xtx", QueueType.SDMA, 12),
        ("rx7900xtx", QueueType.SDMA_XGMI, 0),
        ("rx7900xtx", QueueType.SDMA_BY_ENG_ID, 6),
        ("mi300x", QueueType.SDMA, 16),
        ("mi300x", QueueType.SDMA_XGMI, 112),
        ("mi300x", QueueType.SDMA_BY_ENG_ID, 8),
    ],
)
def test_create_queue_no_free_sdma_queue_enomem(
    make_client: Callable[..., Client],
    engines: list[StubEngine],
    name: str,
    queue_type: QueueType,
    count: int,
) -> None:
    client = make_client(name)
    fields = client.queue_fields(queue_type)
    for _ in range(count):
        client.call(KfdIoctl.CREATE_QUEUE, **fields)
    client.refused(errno.ENOMEM, KfdIoctl.CREATE_QUEUE, **fields)


def test_create_queue_no_doorbells_enomem(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = client.queue_fields()

    def refuse(size: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(client.kernel._machine.arena, "allocate", refuse)
    client.refused(errno.ENOMEM, KfdIoctl.CREATE_QUEUE, **fields)


def test_create_queue_engine_that_does_not_start_gives_everything_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields, before = client.queue_fields(), client.state()

    def fail(context: object) -> None:
        raise RuntimeError("cannot start")

    monkeypatch.setattr("pytest_amdgpu.emulator.kfd.queue.create_queue", fail)
    with pytest.raises(RuntimeError, match="cannot start"):
        client.call(KfdIoctl.CREATE_QUEUE, **fields)
    assert client.state() == before


@pytest.mark.parametrize("pointer_address", ["read_pointer_address", "write_pointer_address"])
def test_pointers_may_share_a_page_and_lie_anywhere_in_it(client: Client, pointer_address: str) -> None:
    fields = client.queue_fields()
    client.call(KfdIoctl.CREATE_QUEUE, **fields | {pointer_address: fields[pointer_address] + 1024})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        pytest.param({"ring_size": 2048}, "ring of 2048 bytes", id="small_ring"),
        pytest.param({"ring_size": 0}, "ring of 1024 bytes", id="ring_of_0"),
        pytest.param({"queue_percentage": 100 | 1 << 8}, "target XCC 1, the GPU has 1", id="xcc"),
        pytest.param(
            {"queue_type": QueueType.COMPUTE, "eop_buffer_address": 0}, "without an EOP buffer", id="no_eop"
        ),
    ],
)
def test_create_queue_accepts_but_warns(client: Client, override: dict[str, Any], message: str) -> None:
    fields = client.queue_fields(override.get("queue_type", QueueType.SDMA)) | override
    with pytest.warns(KfdMisuse, match=message):
        client.call(KfdIoctl.CREATE_QUEUE, **fields)


def test_create_queue_read_pointer_not_writable_warns(client: Client) -> None:
    pointer = client.buffer(PAGE, AllocFlag.GTT)
    fields = client.queue_fields() | {"read_pointer_address": pointer.va_addr}
    with pytest.warns(KfdMisuse, match="the read pointer is not mapped writable"):
        client.call(KfdIoctl.CREATE_QUEUE, **fields)


def test_destroy_queue_unknown_einval(client: Client) -> None:
    queue = client.create_queue()
    client.refused(errno.EINVAL, KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id + 1)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    client.refused(errno.EINVAL, KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)


@pytest.mark.parametrize(
    ("error", "override"),
    [
        pytest.param(errno.EINVAL, {"queue_percentage": 101}, id="percentage_above_100"),
        pytest.param(errno.EINVAL, {"queue_priority": 16}, id="priority_above_15"),
        pytest.param(errno.EFAULT, {"ring_base_address": OUTSIDE_USER_SPACE}, id="ring_outside_user_space"),
        pytest.param(errno.EINVAL, {"ring_size": 4097}, id="ring_size_not_a_power_of_two"),
        pytest.param(errno.EFAULT, {"queue_id": 1}, id="queue_unknown"),
        pytest.param(errno.EFAULT, {"ring_base_address": UNMAPPED}, id="new_ring_not_mapped"),
        pytest.param(errno.EFAULT, {"ring_size": 8192, "ring_base_address": -1}, id="new_ring_not_exact"),
    ],
)
def test_update_queue(
    client: Client, engines: list[StubEngine], error: int, override: dict[str, Any]
) -> None:
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    if override.get("ring_base_address") == -1:
        override = override | {"ring_base_address": client.buffer(PAGE, GTT).va_addr}
    valid = {"queue_id": queue.queue_id, "ring_base_address": fields["ring_base_address"], "ring_size": PAGE}
    client.refused(error, KfdIoctl.UPDATE_QUEUE, **valid | override)
    assert engines[0].calls == []


@pytest.mark.parametrize("bits", [0, 31, 33])
def test_set_cu_mask_count_einval(client: Client, bits: int) -> None:
    queue = client.create_queue(QueueType.COMPUTE)
    client.refused(errno.EINVAL, KfdIoctl.SET_CU_MASK, queue_id=queue.queue_id, num_cu_mask=bits)


def test_set_cu_mask_bad_pointer_efault(client: Client) -> None:
    queue = client.create_queue(QueueType.COMPUTE)
    client.refused(
        errno.EFAULT, KfdIoctl.SET_CU_MASK, queue_id=queue.queue_id, num_cu_mask=32, cu_mask_ptr=UNMAPPED
    )


def test_set_cu_mask_queue_unknown_efault(client: Client) -> None:
    mask = client.ids(0)
    client.refused(
        errno.EFAULT, KfdIoctl.SET_CU_MASK, queue_id=9, num_cu_mask=32, cu_mask_ptr=ctypes.addressof(mask)
    )


@pytest.mark.parametrize(("name", "refused"), [("rx7900xtx", True), ("mi300x", False)])
def test_set_cu_mask_splits_a_pair_einval(
    make_client: Callable[..., Client], engines: list[StubEngine], name: str, refused: bool
) -> None:
    client = make_client(name)
    mask = client.ids(0x5)
    fields = {
        "queue_id": client.create_queue(QueueType.COMPUTE).queue_id,
        "num_cu_mask": 32,
        "cu_mask_ptr": ctypes.addressof(mask),
    }
    if refused:
        client.refused(errno.EINVAL, KfdIoctl.SET_CU_MASK, **fields)
    else:
        client.call(KfdIoctl.SET_CU_MASK, **fields)


def test_set_cu_mask_beyond_1024_bits_is_cut(client: Client) -> None:
    queue = client.create_queue(QueueType.COMPUTE)
    mask = client.ids(*[3] * 32)
    client.call(
        KfdIoctl.SET_CU_MASK,
        queue_id=queue.queue_id,
        num_cu_mask=32 * 64,
        cu_mask_ptr=ctypes.addressof(mask),
    )
    assert client.process.queues[0].cu_mask == (3,) * 32
