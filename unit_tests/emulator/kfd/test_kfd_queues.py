"""What queues are when they are made: ids, doorbells, contexts; and what their engines report."""

from __future__ import annotations

import ctypes
import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest
from kfd_client import GTT, PAGE, Client, StubEngine

from pytest_amdgpu.abi import kfd
from pytest_amdgpu.abi.kfd import (
    ContextSaveAreaHeader,
    EventData,
    EventType,
    KfdIoctl,
    QueueType,
    WaitEventsArgs,
)
from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.doorbells import Doorbells
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault
from pytest_amdgpu.emulator.refusal import KfdMisuse, Refusal


def slot(queue: Any) -> int:
    offset: int = queue.doorbell_offset & ((1 << 46) - 1)
    assert offset % 8 == 0
    return offset // 8


def test_queue_ids_are_the_lowest_free_ones(client: Client) -> None:
    ids = [client.create_queue().queue_id for _ in range(3)]
    assert ids == [0, 1, 2]
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=1)
    assert [client.create_queue().queue_id, client.create_queue().queue_id] == [1, 3]


def test_compute_doorbells_are_the_lowest_free_slots(client: Client) -> None:
    fields = client.queue_fields(QueueType.COMPUTE)
    queues = [client.call(KfdIoctl.CREATE_QUEUE, **fields) for _ in range(3)]
    assert [slot(queue) for queue in queues] == [0, 1, 2]
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=1)
    assert slot(client.call(KfdIoctl.CREATE_QUEUE, **fields)) == 1


@pytest.mark.parametrize(("name", "last"), [("rx7900xtx", 0x190), ("mi300x", 0x1E8)])
def test_compute_doorbells_leave_out_the_reserved_range_and_end_in_ebusy(
    make_client: Callable[..., Client], name: str, last: int
) -> None:
    client = make_client(name)
    doorbells = Doorbells(client.gpu, client.kernel._machine.arena.allocate(8192))
    owner: Any = object()
    reserved = set(range(0x100, last + 1)) | set(range(0x300, 0x200 + last + 1))
    expected = [number for number in range(1024) if number not in reserved]
    assert [doorbells.take_cp_slot(owner) for _ in expected] == expected
    with pytest.raises(Refusal) as caught:
        doorbells.take_cp_slot(owner)
    assert caught.value.errno == errno.EBUSY


@pytest.mark.parametrize(
    ("name", "queue_type", "engine", "places"),
    [
        ("rx7900xtx", QueueType.SDMA, 0, [(0, 0), (1, 0), (0, 1), (1, 1)]),
        ("mi300x", QueueType.SDMA_XGMI, 0, [(engine, 0) for engine in range(2, 16)] + [(2, 1)]),
        ("mi300x", QueueType.SDMA_BY_ENG_ID, 9, [(9, 0), (9, 1), (9, 2)]),
    ],
)
def test_sdma_queues_are_dealt_over_engines_with_fixed_doorbells(
    make_client: Callable[..., Client],
    engines: list[StubEngine],
    name: str,
    queue_type: QueueType,
    engine: int,
    places: list[tuple[int, int]],
) -> None:
    client = make_client(name)
    fields = client.queue_fields(queue_type) | {"sdma_engine_id": engine}
    queues = [client.call(KfdIoctl.CREATE_QUEUE, **fields) for _ in places]
    assert [slot(queue) for queue in queues] == [
        0x100 + 10 * engine + (number & 1) * 512 + (number >> 1) for engine, number in places
    ]
    assert [stub.context.sdma_engine for stub in engines] == [engine for engine, _ in places]
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queues[0].queue_id)
    again = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    assert slot(again) == slot(queues[0])


def test_engine_gets_the_queue_as_it_was_described(client: Client, engines: list[StubEngine]) -> None:
    fields = client.queue_fields(QueueType.COMPUTE_AQL) | {"queue_priority": 11}
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    context = engines[0].context
    assert context.gpu is client.gpu
    assert context.memory is client.process.devices[client.gpu_id].space
    assert (context.queue_id, context.queue_type) == (queue.queue_id, QueueType.COMPUTE_AQL)
    assert (context.ring_address, context.ring_size) == (fields["ring_base_address"], PAGE)
    assert context.rptr_address == fields["read_pointer_address"]
    assert context.wptr_address == fields["write_pointer_address"]
    assert (context.eop_address, context.eop_size) == (fields["eop_buffer_address"], 4096)
    assert context.ctx_save_address == fields["ctx_save_restore_address"]
    assert (context.priority, context.active, context.xcc) == (11, True, 0)


def test_target_xcc_is_in_the_percentage(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client("mi300x")
    fields = client.queue_fields(QueueType.COMPUTE) | {"queue_percentage": 100 | 5 << 8}
    client.call(KfdIoctl.CREATE_QUEUE, **fields)
    assert engines[0].context.xcc == 5


def test_queue_of_0_percent_is_not_active(client: Client, engines: list[StubEngine]) -> None:
    client.call(KfdIoctl.CREATE_QUEUE, **client.queue_fields() | {"queue_percentage": 0})
    assert not engines[0].context.active


def test_update_changes_ring_and_releases_the_old_one(client: Client, engines: list[StubEngine]) -> None:
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    ring = client.buffer(2 * PAGE, GTT)
    client.call(
        KfdIoctl.UPDATE_QUEUE,
        queue_id=queue.queue_id,
        ring_base_address=ring.va_addr,
        ring_size=2 * PAGE,
        queue_percentage=100,
        queue_priority=3,
    )
    assert engines[0].calls == [("update", ring.va_addr, 2 * PAGE, 3, True)]
    space = client.process.devices[client.gpu_id].space
    old, new = space.find(fields["ring_base_address"]), space.find(ring.va_addr)
    assert old is not None
    assert new is not None
    assert (old.queue_references, new.queue_references) == (0, 1)
    client.unmap(old.bo.handle)


@pytest.mark.parametrize("inactive", [{"ring_base_address": 0}, {"queue_percentage": 0}])
def test_update_to_address_or_percentage_0_deactivates(
    client: Client, engines: list[StubEngine], inactive: dict[str, int]
) -> None:
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    active = {
        "queue_id": queue.queue_id,
        "ring_base_address": fields["ring_base_address"],
        "ring_size": PAGE,
        "queue_percentage": 100,
    }
    client.call(KfdIoctl.UPDATE_QUEUE, **active | inactive)
    client.call(KfdIoctl.UPDATE_QUEUE, **active)
    assert [call[4] for call in engines[0].calls] == [False, True]


def test_update_to_a_size_that_the_mapping_does_not_have_is_a_driver_bug(client: Client) -> None:
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    with pytest.warns(KfdMisuse, match="makes the ring 1024 bytes, its mapping has 4096"):
        client.call(
            KfdIoctl.UPDATE_QUEUE, queue_id=queue.queue_id, ring_base_address=fields["ring_base_address"]
        )


def test_destroy_stops_the_engine_and_gives_everything_back(
    client: Client, engines: list[StubEngine]
) -> None:
    fields, before = client.queue_fields(QueueType.COMPUTE), client.state()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    assert engines[0].calls == ["stop"]
    assert client.state() == before


def test_queue_whose_engine_does_not_stop_is_freed_anyway(client: Client, engines: list[StubEngine]) -> None:
    fields, before = client.queue_fields(), client.state()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    engines[0].stop_error = RuntimeError("stuck")
    with pytest.raises(RuntimeError, match="stuck"):
        client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    assert client.state() == before


def wait_for(client: Client, event: int) -> tuple[int, EventData]:
    data = EventData(event_id=event)
    args = client.call(KfdIoctl.WAIT_EVENTS, events_ptr=ctypes.addressof(data), num_events=1)
    return args.wait_result, data


@pytest.mark.parametrize(
    ("access", "reason", "not_present", "read_only"),
    [
        (Access.READ, Reason.NOT_PRESENT, 1, 0),
        # The write permission is missing, too: ring 40 in public logs, of which amdkfd takes both bits.
        (Access.WRITE, Reason.NOT_PRESENT, 1, 1),
        (Access.WRITE, Reason.READ_ONLY, 0, 1),
        (Access.EXECUTE, Reason.NO_EXECUTE, 0, 0),
    ],
)
def test_vm_fault_evicts_all_queues_there_and_signals_memory_events(
    two_gpus: Client,
    engines: list[StubEngine],
    access: Access,
    reason: Reason,
    not_present: int,
    read_only: int,
) -> None:
    client = two_gpus
    for gpu in (0, 0, 1):
        client.create_queue(gpu=gpu)
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.MEMORY, auto_reset=1).event_id
    engines[0].context.host.vm_fault(VmFault(0x1234_5678, access, reason))
    assert [engine.calls for engine in engines] == [["evict"], ["evict"], []]
    result, data = wait_for(client, event)
    failure = data.memory_exception_data.failure
    assert result == kfd.WaitResult.COMPLETE
    assert (data.memory_exception_data.va, data.memory_exception_data.gpu_id) == (
        0x1234_5000,
        client.gpu_id,
    )
    assert (failure.NotPresent, failure.ReadOnly, failure.NoExecute, failure.imprecise) == (
        not_present,
        read_only,
        0,
        0,
    )
    assert any("at address 0x0000000012345000 from" in line for line in client.kernel.log)


def test_a_fault_while_queues_give_way_for_a_change_of_memory_stays(
    client: Client, engines: list[StubEngine]
) -> None:
    client.create_queue()
    client.create_queue()
    device = client.process.devices[client.gpu_id]
    client.process.preempt(device.evict)
    assert device.evicted
    for engine in engines:
        # Taken off for the change and for good, and not back since.
        assert engine.calls == ["evict", "evict", "restore", "evict"]


def test_queue_made_after_a_vm_fault_does_not_run(client: Client, engines: list[StubEngine]) -> None:
    client.create_queue()
    engines[0].context.host.vm_fault(VmFault(0x1000, Access.READ, Reason.NOT_PRESENT))
    client.create_queue()
    assert engines[1].calls == ["evict"]
    assert any("queue 1 is created evicted" in line for line in client.kernel.log)


def test_process_that_starts_over_after_a_vm_fault_runs(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    client = make_client()
    client.create_queue()
    engines[0].context.host.vm_fault(VmFault(0x1000, Access.READ, Reason.NOT_PRESENT))
    client.kernel.shutdown()
    client.fd, client.renders = (
        client.kernel.open("/dev/kfd", 2),
        [client.kernel.open("/dev/dri/renderD128", 2)],
    )
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpu_id)
    client.create_queue()
    assert engines[1].calls == []


@pytest.mark.parametrize("report", ["not_emulated", "bad_packet"])
def test_queue_that_hangs_is_reset_alone(client: Client, engines: list[StubEngine], report: str) -> None:
    client.create_queue()
    client.create_queue()
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.HW_EXCEPTION, auto_reset=1).event_id
    code = (ExceptionCode.QUEUE_PACKET_UNSUPPORTED,) if report == "bad_packet" else ()
    getattr(engines[0].context.host, report)("the text that names it", *code)
    result, data = wait_for(client, event)
    hardware = data.hw_exception_data
    assert result == kfd.WaitResult.COMPLETE
    # kfd_signal_reset_event tells of queues as of the whole GPU.
    assert (hardware.reset_type, hardware.reset_cause, hardware.memory_lost) == (0, 0, 1)
    assert hardware.gpu_id == client.gpu_id
    assert engines[1].calls == []
    assert any("the text that names it" in line and "queue 0" in line for line in client.kernel.log)


def test_illegal_instruction_is_only_logged(client: Client, engines: list[StubEngine]) -> None:
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=1)
    queue = client.create_queue(QueueType.COMPUTE)
    events = [
        client.call(KfdIoctl.CREATE_EVENT, event_type=kind, auto_reset=1).event_id
        for kind in (EventType.HW_EXCEPTION, EventType.MEMORY)
    ]
    engines[0].context.host.illegal_instruction("the text that names it")
    assert [wait_for(client, event)[0] for event in events] == [kfd.WaitResult.TIMEOUT] * 2
    assert any("sq_intr: error" in line and "the text that names it" in line for line in client.kernel.log)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)


@pytest.mark.parametrize("code", [code for code in ExceptionCode if 16 <= code <= 23])
def test_bad_packet_goes_to_the_runtime_with_its_code(
    client: Client, engines: list[StubEngine], code: ExceptionCode
) -> None:
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=1)
    hardware = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.HW_EXCEPTION, auto_reset=1).event_id
    event, _ = signal_event(client)
    payload = ctypes.c_uint64(1)
    fields = client.queue_fields(QueueType.COMPUTE)
    header = ContextSaveAreaHeader.from_address(fields["ctx_save_restore_address"])
    header.err_payload_addr, header.err_event_id = ctypes.addressof(payload), event
    client.call(KfdIoctl.CREATE_QUEUE, **fields)
    engines[0].context.host.bad_packet("opcode 0xff", code)
    assert payload.value == 1 | 1 << (code - 1)
    assert wait_for(client, event)[0] == kfd.WaitResult.COMPLETE
    assert wait_for(client, hardware)[0] == kfd.WaitResult.TIMEOUT


@pytest.mark.parametrize("broken", ["no runtime", "no event", "unknown event", "bad payload", "sdma"])
def test_bad_packet_that_nobody_can_be_told_of_resets_the_queue(
    client: Client, engines: list[StubEngine], broken: str
) -> None:
    if broken != "no runtime":
        client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=1)
    hardware = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.HW_EXCEPTION, auto_reset=1).event_id
    event, _ = signal_event(client)
    payload = ctypes.c_uint64(0)
    fields = client.queue_fields(QueueType.SDMA if broken == "sdma" else QueueType.COMPUTE)
    if broken != "sdma":
        header = ContextSaveAreaHeader.from_address(fields["ctx_save_restore_address"])
        header.err_payload_addr = 0x1234_5678_0000 if broken == "bad payload" else ctypes.addressof(payload)
        header.err_event_id = {"no event": 0, "unknown event": 99}.get(broken, event)
    client.call(KfdIoctl.CREATE_QUEUE, **fields)
    engines[0].context.host.bad_packet("opcode 0xff", ExceptionCode.QUEUE_PACKET_UNSUPPORTED)
    assert wait_for(client, hardware)[0] == kfd.WaitResult.COMPLETE


def signal_event(client: Client) -> tuple[int, Any]:
    page = client.event_page()
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL, auto_reset=1).event_id
    return event, (ctypes.c_uint64 * 4096).from_address(page.va_addr)


def test_interrupt_wakes_a_wait(client: Client, engines: list[StubEngine]) -> None:
    client.create_queue()
    event, slots = signal_event(client)
    slots[event] = 1
    timer = threading.Timer(0.01, engines[0].context.host.interrupt, (event, "sdma"))
    timer.start()
    data = EventData(event_id=event)
    args = WaitEventsArgs(ctypes.addressof(data), 1, 0, 60_000)
    client.kernel.ioctl(client.fd, KfdIoctl.WAIT_EVENTS, args)
    timer.join()
    assert args.wait_result == kfd.WaitResult.COMPLETE


@pytest.mark.parametrize(
    ("event_id", "message"),
    [(None, "nothing was written to the event's slot"), (5000, "no slot of the events page")],
)
def test_interrupt_that_finds_no_event_is_a_driver_bug_seen_at_the_next_call(
    client: Client, engines: list[StubEngine], event_id: int | None, message: str
) -> None:
    client.create_queue()
    event, _ = signal_event(client)
    engines[0].context.host.interrupt(event_id or event, "eop")
    with pytest.warns(KfdMisuse, match=message):
        client.call(KfdIoctl.GET_VERSION)
    assert wait_for(client, event)[0] == kfd.WaitResult.TIMEOUT


def test_two_queues_that_signal_one_event_at_once_are_no_bug(
    client: Client, engines: list[StubEngine]
) -> None:
    """Both write the slot, then both interrupt: the first interrupt empties the slot for both."""
    client.create_queue()
    client.create_queue()
    event, slots = signal_event(client)
    slots[event] = 1
    for engine in engines:
        engine.context.host.interrupt(event, "eop")
    client.call(KfdIoctl.GET_VERSION)
    assert wait_for(client, event)[0] == kfd.WaitResult.COMPLETE
    engines[1].context.host.interrupt(event, "eop")
    with pytest.warns(KfdMisuse, match="nothing was written to the event's slot"):
        client.call(KfdIoctl.GET_VERSION)


def test_interrupt_with_a_wrong_id_finds_written_slots_but_is_a_driver_bug(
    client: Client, engines: list[StubEngine]
) -> None:
    client.create_queue()
    event, slots = signal_event(client)
    slots[event] = 0
    engines[0].context.host.interrupt(event + 7, "eop")
    with pytest.warns(KfdMisuse, match="by their slots only"):
        client.call(KfdIoctl.GET_VERSION)
    assert wait_for(client, event)[0] == kfd.WaitResult.COMPLETE


def test_end_of_pipe_interrupt_with_id_0_is_only_logged(client: Client, engines: list[StubEngine]) -> None:
    client.create_queue()
    event, slots = signal_event(client)
    slots[event] = 0
    engines[0].context.host.interrupt(0, "eop")
    assert wait_for(client, event)[0] == kfd.WaitResult.TIMEOUT
    assert any("context id 0 is not delivered" in line for line in client.kernel.log)


def test_engines_reports_are_logged_with_gpu_and_queue(client: Client, engines: list[StubEngine]) -> None:
    client.create_queue()
    engines[0].context.host.log("hello")
    engines[0].context.host.misuse("not nice")
    assert client.kernel.log[-1] == "amdgpu 0000:03:00.0: queue 0: hello"
    with pytest.warns(KfdMisuse, match="0000:03:00.0 queue 0: not nice"):
        client.call(KfdIoctl.GET_VERSION)


@pytest.mark.parametrize("name", ["read", "write"])
def test_pointer_of_a_queue_that_is_not_aligned_is_misuse(
    name: str, client: Client, engines: list[StubEngine]
) -> None:
    fields = client.queue_fields()
    good = fields[f"{name}_pointer_address"]
    fields[f"{name}_pointer_address"] += 5
    with pytest.warns(KfdMisuse, match=f"{name} pointer address {good + 5:#x} is not a multiple of 8"):
        client.call(KfdIoctl.CREATE_QUEUE, **fields)
    context = engines[0].context
    assert {"read": context.rptr_address, "write": context.wptr_address}[name] == good


def test_ring_address_reaches_the_engine_in_units_of_256_bytes(
    client: Client, engines: list[StubEngine]
) -> None:
    fields = client.queue_fields()
    good = fields["ring_base_address"]
    fields["ring_base_address"] = good + 0x101
    with pytest.warns(KfdMisuse, match="is not page aligned"):
        queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    assert engines[0].context.ring_address == good + 0x100
    client.call(
        KfdIoctl.UPDATE_QUEUE,
        queue_id=queue.queue_id,
        ring_base_address=good + 3,
        ring_size=PAGE,
        queue_percentage=100,
        queue_priority=7,
    )
    assert engines[0].calls[-1] == ("update", good, PAGE, 7, True)
