"""Poison, and a scheduler that hangs: what the process is told and what it loses.

Expected values are those that kfd_signal_poison_consumed_event and kfd_signal_reset_event (kfd_events.c) fill
in, by the numbers of the uapi header: cause 0 hang and 1 ECC; error type 1 SRAM ECC and 2 poison consumed.
"""

from __future__ import annotations

import ctypes
import errno
import signal
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kfd_client import GTT, PAGE, Client, StubEngine

from pytest_amdgpu.abi.kfd import EventData, EventType, KfdIoctl, QueueType, SmiEvent, WaitResult
from pytest_amdgpu.emulator.memory import PoisonConsumed
from pytest_amdgpu.kernel.protocol import KernelError
from pytest_amdgpu.packets.sdma import sdma_packets

POISON_GPUS = ("mi210", "mi300x", "mi350x")


@pytest.fixture
def sigbus() -> Iterator[Callable[..., bool]]:
    """Hold SIGBUS back, and return a function that takes a pending one and says whether there was one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGBUS})

    def take(seconds: float = 0) -> bool:
        return signal.sigtimedwait({signal.SIGBUS}, seconds) is not None

    yield take
    while take():
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def mi210(make_client: Callable[..., Client], engines: list[StubEngine]) -> Client:
    return make_client("mi210")


def create(client: Client, kind: EventType) -> int:
    return int(client.call(KfdIoctl.CREATE_EVENT, event_type=kind, auto_reset=0).event_id)


def told(client: Client, memory: int, hardware: int) -> tuple[Any, Any]:
    """Error type, imprecise, address and GPU of MEMORY, then the data of HW_EXCEPTION."""
    events = client.process.events._events
    data, exception = events[memory].memory, events[hardware].hardware
    return (
        data and (data.ErrorType, data.failure.imprecise, data.va, data.gpu_id),
        exception and (exception.reset_type, exception.reset_cause, exception.memory_lost, exception.gpu_id),
    )


def wait(client: Client, event: int) -> Any:
    data = EventData(event_id=event)
    result = client.call(
        KfdIoctl.WAIT_EVENTS, events_ptr=ctypes.addressof(data), num_events=1, timeout=10_000
    )
    assert result.wait_result == WaitResult.COMPLETE
    return data


def any_call(client: Client) -> None:
    client.call(KfdIoctl.GET_VERSION)


@pytest.mark.parametrize("name", POISON_GPUS)
@pytest.mark.parametrize(("queue_type", "number"), [(QueueType.SDMA, 8), (QueueType.COMPUTE_AQL, 10)])
def test_poison_is_told_at_once_and_the_reset_follows(
    make_client: Callable[..., Client],
    engines: list[StubEngine],
    sigbus: Callable[[], bool],
    name: str,
    queue_type: QueueType,
    number: int,
) -> None:
    client = make_client(name)
    memory, hardware = create(client, EventType.MEMORY), create(client, EventType.HW_EXCEPTION)
    vram = client.buffer()
    client.process.devices[client.gpu_id].space.write(vram.va_addr, b"\7")
    smi = client.call(KfdIoctl.SMI_EVENTS, gpuid=client.gpu_id).anon_fd
    client.kernel.write(smi, (1 << (SmiEvent.GPU_PRE_RESET - 1)).to_bytes(8, "little"))
    client.create_queue(queue_type)
    client.kernel.poison(0, vram.va_addr, 64)
    engines[0].context.host.poison_consumed(vram.va_addr)
    gpu_id = client.gpu_id
    assert told(client, memory, hardware) == ((2, 1, 0, gpu_id), (0, 1, 1, gpu_id))
    assert sigbus()
    assert engines[0].calls == [], "the reset comes later"
    assert any(f"poison is consumed by client {number}" in line for line in client.kernel.log)
    assert client.kernel.read(smi, 100) == b"3 1 RAS error\n"
    assert told(client, memory, hardware) == ((1, 1, 0, gpu_id), (0, 1, 1, gpu_id))
    assert engines[0].calls == ["evict"]
    assert client.gpu.vram_losses == 0
    space = client.process.devices[gpu_id].space
    assert space.read(vram.va_addr, 1) == b"\7", "kept, and no poison any more"


def test_a_process_is_told_of_poison_once(
    mi210: Client, engines: list[StubEngine], sigbus: Callable[[], bool]
) -> None:
    mi210.create_queue()
    for _ in range(2):
        engines[0].context.host.poison_consumed(0)
    assert sigbus()
    assert not sigbus()
    assert len(mi210.kernel._machine.due) == 1


def test_only_reads_of_poison_consume_it(mi210: Client) -> None:
    vram = mi210.buffer()
    space = mi210.process.devices[mi210.gpu_id].space
    mi210.kernel.poison(0, vram.va_addr + 128, 64)
    space.write(vram.va_addr, bytes(PAGE))
    assert space.read(vram.va_addr, 128) == bytes(128)
    assert space.read(vram.va_addr + 192, 64) == bytes(64)
    for read in (
        lambda: space.read(vram.va_addr + 127, 2),
        lambda: space.read_u32(vram.va_addr + 128),
        lambda: space.read_u64(vram.va_addr + 184),
    ):
        with pytest.raises(PoisonConsumed, match="memory is poisoned"):
            read()
    with pytest.raises(PoisonConsumed) as caught:
        space.read(vram.va_addr, PAGE)
    assert caught.value.address == vram.va_addr + 128


def test_poison_is_where_the_memory_is_mapped(mi210: Client) -> None:
    vram = mi210.buffer()
    space = mi210.process.devices[mi210.gpu_id].space
    mi210.kernel.poison(0, vram.va_addr, 1)
    assert space.poisoned == ((vram.va_addr, vram.va_addr + 1),)
    mi210.unmap(vram.handle)
    assert space.poisoned == ()
    mi210.map(vram.handle)
    assert space.poisoned == ((vram.va_addr, vram.va_addr + 1),)


@pytest.mark.parametrize("name", ["mi100", "rx6900xt", "rx7900xtx", "r9700"])
def test_other_gpus_know_no_poison(
    make_client: Callable[..., Client], engines: list[StubEngine], name: str
) -> None:
    client = make_client(name)
    with pytest.raises(ValueError, match="knows no poison; gfx90a, gfx942, gfx950 do"):
        client.kernel.poison(0, client.buffer().va_addr, 64)


def test_only_vram_can_be_poisoned(mi210: Client) -> None:
    system, vram = mi210.buffer(flags=GTT), mi210.buffer()
    with pytest.raises(ValueError, match="is not VRAM of"):
        mi210.kernel.poison(0, system.va_addr, 64)
    with pytest.raises(ValueError, match=r"no process has 4097 bytes mapped at"):
        mi210.kernel.poison(0, vram.va_addr, PAGE + 1)
    with pytest.raises(ValueError, match="cannot poison 0 bytes"):
        mi210.kernel.poison(0, vram.va_addr, 0)


@pytest.mark.parametrize("name", POISON_GPUS)
def test_a_copy_from_poison(
    make_client: Callable[..., Client], sigbus: Callable[..., bool], name: str
) -> None:
    """On an engine: the copy stops."""
    client = make_client(name)
    source, target = client.buffer(), client.buffer(flags=GTT)
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    doorbell = client.map_doorbells() + queue.doorbell_offset % 8192
    event = create(client, EventType.MEMORY)
    packets = sdma_packets(client.gpu.family.sdma)
    space = client.process.devices[client.gpu_id].space
    client.kernel.poison(0, source.va_addr + 100, 4)
    words = [
        *packets.copy_linear(source.va_addr, target.va_addr, 63),
        *packets.copy_linear(source.va_addr, target.va_addr, 255),
    ]
    code = struct.pack(f"<{len(words)}I", *words)
    space.write(fields["ring_base_address"], code)
    space.write_u64(fields["write_pointer_address"], len(code))
    client.kernel.store_doorbell(doorbell, len(code))
    data = wait(client, event).memory_exception_data
    assert (data.ErrorType, data.va) == (2, 0)
    # The engine's thread signals the event before it sends the signal.
    assert sigbus(10)
    assert any(f"read of {source.va_addr + 100:#x}: memory is poisoned" in line for line in client.kernel.log)


@pytest.mark.parametrize(("name", "source"), [("mi300x", b"HWS hang"), ("rx7900xtx", b"MES hang")])
@pytest.mark.parametrize("call", ["create", "destroy", "update", "mask"])
def test_a_scheduler_that_hangs_leads_to_a_reset(
    make_client: Callable[..., Client], engines: list[StubEngine], name: str, source: bytes, call: str
) -> None:
    client = make_client(name)
    hardware = create(client, EventType.HW_EXCEPTION)
    queue = client.create_queue()
    fields = client.queue_fields()
    smi = client.call(KfdIoctl.SMI_EVENTS, gpuid=client.gpu_id).anon_fd
    client.kernel.write(smi, (1 << (SmiEvent.GPU_PRE_RESET - 1)).to_bytes(8, "little"))
    client.kernel.hang_scheduler(0)
    mask = ctypes.c_uint32(0xFFFFFFFF)
    request, arguments = {
        "create": (KfdIoctl.CREATE_QUEUE, fields),
        "destroy": (KfdIoctl.DESTROY_QUEUE, {"queue_id": queue.queue_id}),
        "update": (KfdIoctl.UPDATE_QUEUE, {"queue_id": queue.queue_id}),
        "mask": (
            KfdIoctl.SET_CU_MASK,
            {"queue_id": queue.queue_id, "num_cu_mask": 32, "cu_mask_ptr": ctypes.addressof(mask)},
        ),
    }[call]
    with pytest.raises(KernelError) as caught:
        client.call(request, **arguments)
    assert caught.value.errno == errno.ETIME
    assert len(client.process.queues) == (call != "destroy"), "a destroyed queue is gone all the same"
    assert client.process.events._events[hardware].hardware is None
    assert client.kernel.read(smi, 100) == b"3 1 " + source + b"\n"
    data = client.process.events._events[hardware].hardware
    assert data is not None
    assert (data.reset_cause, data.memory_lost) == (0, 1)
    assert client.gpu.vram_losses == 1
    assert not client.gpu.scheduler_hangs


def test_mes_is_not_asked_to_change_a_queue_that_is_off(client: Client) -> None:
    client.create_queue()
    off = client.call(KfdIoctl.CREATE_QUEUE, **client.queue_fields() | {"queue_percentage": 0})
    client.kernel.hang_scheduler(0)
    client.call(KfdIoctl.UPDATE_QUEUE, queue_id=off.queue_id)
    assert client.gpu.scheduler_hangs


def test_a_scheduler_that_hangs_is_not_noticed_without_queues(client: Client) -> None:
    client.kernel.hang_scheduler(0)
    client.create_queue()
    any_call(client)
    assert client.gpu.vram_losses == 0
