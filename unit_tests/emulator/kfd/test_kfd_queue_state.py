"""GET_QUEUE_WAVE_STATE, ALLOC_QUEUE_GWS and the debugger's refusal of SET_CU_MASK."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from types import MappingProxyType

import pytest
from kfd_client import Client, StubEngine

from pytest_amdgpu.abi.kfd import ContextSaveWaveState, KfdIoctl, QueueType
from pytest_amdgpu.abi.kfd_debug import DbgTrapEnableArgs, DbgTrapOp
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault
from pytest_amdgpu.emulator.refusal import KfdMisuse

UNMAPPED = 0x1234_5678_0000


def attach(client: Client) -> None:
    fd = os.eventfd(0)
    client.call(KfdIoctl.DBG_TRAP, pid=os.getpid(), op=DbgTrapOp.ENABLE, enable=DbgTrapEnableArgs(dbg_fd=fd))
    os.close(fd)


def preempted_queue(client: Client) -> int:
    fields = client.queue_fields(QueueType.COMPUTE)
    queue_id: int = client.call(KfdIoctl.CREATE_QUEUE, **fields).queue_id
    client.call(KfdIoctl.UPDATE_QUEUE, queue_id=queue_id, ring_size=4096, queue_percentage=100)
    return queue_id


def test_wave_state_of_a_queue_without_saved_waves(client: Client) -> None:
    queue_id = preempted_queue(client)
    area = client.process.queues[queue_id].context.ctx_save_address
    args = client.call(
        KfdIoctl.GET_QUEUE_WAVE_STATE,
        queue_id=queue_id,
        ctl_stack_address=area,
        ctl_stack_used_size=7,
        save_area_used_size=7,
    )
    assert (args.ctl_stack_used_size, args.save_area_used_size) == (0, 0)
    state = ContextSaveWaveState.from_address(area)
    assert (state.control_stack_offset, state.control_stack_size) == (0xA000, 0)
    assert (state.wave_state_offset, state.wave_state_size) == (0xA000, 0)


def test_wave_state_is_written_to_the_area_of_each_xcc(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client("mi300x")
    queue_id = preempted_queue(client)
    context = client.process.queues[queue_id].context
    client.call(KfdIoctl.GET_QUEUE_WAVE_STATE, queue_id=queue_id, ctl_stack_address=context.ctx_save_address)
    for xcc in range(8):
        state = ContextSaveWaveState.from_address(context.ctx_save_address + xcc * 23203840)
        assert state.control_stack_offset == 12288


def test_wave_state_after_a_page_fault_needs_no_update(client: Client, engines: list[StubEngine]) -> None:
    # The eviction has preempted the queue: is_active is false.
    queue = client.create_queue(QueueType.COMPUTE)
    engines[0].context.host.vm_fault(VmFault(0x1000, Access.READ, Reason.NOT_PRESENT))
    area = client.process.queues[queue.queue_id].context.ctx_save_address
    client.call(KfdIoctl.GET_QUEUE_WAVE_STATE, queue_id=queue.queue_id, ctl_stack_address=area)


def test_wave_state_queue_unknown_efault(client: Client) -> None:
    client.refused(errno.EFAULT, KfdIoctl.GET_QUEUE_WAVE_STATE, queue_id=5)


def test_wave_state_not_a_compute_queue_einval(client: Client) -> None:
    queue = client.create_queue(QueueType.SDMA)
    client.call(KfdIoctl.UPDATE_QUEUE, queue_id=queue.queue_id)
    client.refused(errno.EINVAL, KfdIoctl.GET_QUEUE_WAVE_STATE, queue_id=queue.queue_id)


def test_wave_state_of_an_active_queue_einval(client: Client) -> None:
    queue = client.create_queue(QueueType.COMPUTE)
    client.refused(errno.EINVAL, KfdIoctl.GET_QUEUE_WAVE_STATE, queue_id=queue.queue_id)


@pytest.mark.parametrize("address", [0, UNMAPPED])
def test_wave_state_bad_pointer_efault(client: Client, address: int) -> None:
    queue_id = preempted_queue(client)
    args = client.refused(
        errno.EFAULT,
        KfdIoctl.GET_QUEUE_WAVE_STATE,
        queue_id=queue_id,
        ctl_stack_address=address,
        save_area_used_size=9,
    )
    assert args.save_area_used_size == 9


def gws(client: Client, queue_id: int, count: int) -> int:
    args = client.call(KfdIoctl.ALLOC_QUEUE_GWS, queue_id=queue_id, num_gws=count, first_gws=7)
    first: int = args.first_gws
    return first


def test_gws_belongs_to_one_queue_until_it_is_given_back(client: Client) -> None:
    first, second = (client.create_queue(QueueType.COMPUTE).queue_id for _ in range(2))
    assert gws(client, first, 64) == 0
    for queue in (first, second):
        client.refused(errno.EBUSY, KfdIoctl.ALLOC_QUEUE_GWS, queue_id=queue, num_gws=1)
    assert gws(client, first, 0) == 0
    gws(client, second, 1)


def test_gws_refused_says_where_it_would_begin(client: Client) -> None:
    first, second = (client.create_queue(QueueType.COMPUTE).queue_id for _ in range(2))
    fields = {"queue_id": second, "first_gws": 7, "out": {"first_gws": 0}}
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_QUEUE_GWS, **fields)
    gws(client, first, 1)
    client.refused(errno.EBUSY, KfdIoctl.ALLOC_QUEUE_GWS, num_gws=1, **fields)


@pytest.mark.parametrize("model", ["mi300x", "mi350x", "rx7900xtx", "r9700"])
def test_gws_given_back_by_a_queue_that_has_none_is_taken_from_the_one_that_has_it(
    model: str, make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client(model)
    first, second = (client.create_queue(QueueType.COMPUTE).queue_id for _ in range(2))
    gws(client, first, 1)
    with pytest.warns(
        KfdMisuse, match=rf"queue {second} gives back the global wave sync of .*, which queue {first} has"
    ):
        gws(client, second, 0)
    gws(client, second, 1)


@pytest.mark.parametrize("model", ["mi100", "mi210", "rx6900xt"])
def test_gws_given_back_by_a_queue_that_has_none_einval_where_it_is_a_buffer(
    model: str, make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client(model)
    first, second = (client.create_queue(QueueType.COMPUTE).queue_id for _ in range(2))
    gws(client, first, 1)
    with pytest.warns(KfdMisuse, match=f"which queue {first} has"):
        client.refused(errno.EINVAL, KfdIoctl.ALLOC_QUEUE_GWS, queue_id=second)


def test_gws_comes_back_with_its_queue(client: Client) -> None:
    first, second = (client.create_queue(QueueType.COMPUTE).queue_id for _ in range(2))
    gws(client, first, 1)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=first)
    gws(client, second, 1)


def test_gws_of_each_gpu_is_its_own(two_gpus: Client) -> None:
    for gpu in (0, 1):
        gws(two_gpus, two_gpus.create_queue(QueueType.COMPUTE, gpu=gpu).queue_id, 1)


def test_gws_queue_unknown_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_QUEUE_GWS, queue_id=3, num_gws=1)


def test_gws_on_a_gpu_without_it_enodev(client: Client) -> None:
    client.gpu.properties = MappingProxyType({**client.gpu.properties, "num_gws": 0})
    queue = client.create_queue(QueueType.COMPUTE)
    client.refused(errno.ENODEV, KfdIoctl.ALLOC_QUEUE_GWS, queue_id=queue.queue_id, num_gws=1)


def test_gws_given_back_though_none_is_held_einval(client: Client) -> None:
    queue = client.create_queue(QueueType.COMPUTE)
    client.refused(errno.EINVAL, KfdIoctl.ALLOC_QUEUE_GWS, queue_id=queue.queue_id)


def test_gws_with_a_debugger_ebusy(client: Client) -> None:
    queue = client.create_queue(QueueType.COMPUTE)
    attach(client)
    client.refused(errno.EBUSY, KfdIoctl.ALLOC_QUEUE_GWS, queue_id=queue.queue_id, num_gws=1)


def test_gws_with_a_debugger_where_it_needs_no_units(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client("mi300x")
    queue = client.create_queue(QueueType.COMPUTE)
    attach(client)
    gws(client, queue.queue_id, 1)


def test_cu_mask_with_an_active_debugger_ebusy(client: Client) -> None:
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=1)
    queue = client.create_queue(QueueType.COMPUTE)
    attach(client)
    mask = client.ids(0xF)
    fields = {"queue_id": queue.queue_id, "num_cu_mask": 32, "cu_mask_ptr": ctypes.addressof(mask)}
    client.refused(errno.EBUSY, KfdIoctl.SET_CU_MASK, **fields)
    client.call(KfdIoctl.DBG_TRAP, pid=os.getpid(), op=DbgTrapOp.DISABLE)
    client.call(KfdIoctl.SET_CU_MASK, **fields)
