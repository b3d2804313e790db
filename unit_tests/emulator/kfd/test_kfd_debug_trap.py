"""DBG_TRAP of a process on itself: snapshots, exceptions, and every refusal in the kernel's order."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kfd_client import Client, StubEngine

from pytest_amdgpu.abi import kfd_debug
from pytest_amdgpu.abi.kfd import EventType, HsaMemoryExceptionData, KfdIoctl, QueueType
from pytest_amdgpu.abi.kfd_debug import (
    DbgDeviceInfoEntry,
    DbgTrapOp,
    ExceptionCode,
    QueueSnapshotEntry,
    RuntimeInfo,
)
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault
from pytest_amdgpu.emulator.refusal import KfdMisuse

UNMAPPED = 0x1234_5678_0000
OWN = os.getpid()


def bit(code: ExceptionCode) -> int:
    return 1 << (code - 1)


@pytest.fixture
def bell() -> Iterator[tuple[int, int]]:
    """A pipe whose writing end the debugger hands in."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def trap(client: Client, op: int, **payload: Any) -> Any:
    return client.call(KfdIoctl.DBG_TRAP, pid=OWN, op=op, **payload)


def refused(
    client: Client,
    error: int,
    op: int,
    *,
    pid: int = OWN,
    changes: bool = False,
    out: Mapping[str, Any] | None = None,
    **payload: Any,
) -> Any:
    return client.refused(error, KfdIoctl.DBG_TRAP, changes=changes, out=out, pid=pid, op=op, **payload)


def attach(client: Client, fd: int, mask: int = 0, **fields: int) -> Any:
    enable = kfd_debug.DbgTrapEnableArgs(exception_mask=mask, dbg_fd=fd, **fields)
    return trap(client, DbgTrapOp.ENABLE, enable=enable)


def rung(bell: tuple[int, int]) -> bool:
    try:
        return bool(os.read(bell[0], 100))
    except BlockingIOError:
        return False


def fault(engine: StubEngine, address: int = 0x7000_0123) -> None:
    engine.context.host.vm_fault(VmFault(address, Access.WRITE, Reason.READ_ONLY))


@pytest.mark.parametrize("pid", [0, 0x7FFF_FFFF, 1])
def test_process_that_has_no_software_gpu_esrch(client: Client, pid: int) -> None:
    refused(client, errno.ESRCH, DbgTrapOp.ENABLE, pid=pid)


@pytest.mark.parametrize("op", [op for op in DbgTrapOp if op is not DbgTrapOp.ENABLE] + [99])
def test_operation_without_debugger_einval(client: Client, op: int) -> None:
    refused(client, errno.EINVAL, op)


def test_enable_twice_ealready(client: Client, bell: tuple[int, int]) -> None:
    attach(client, bell[1])
    refused(client, errno.EALREADY, DbgTrapOp.ENABLE)
    trap(client, DbgTrapOp.DISABLE)
    attach(client, bell[1])


@pytest.mark.parametrize("fd", [99_999, 0xFFFFFFFF])
def test_enable_descriptor_not_open_ebadf(client: Client, fd: int) -> None:
    refused(client, errno.EBADF, DbgTrapOp.ENABLE, enable=kfd_debug.DbgTrapEnableArgs(dbg_fd=fd))
    refused(client, errno.EINVAL, DbgTrapOp.DISABLE)


def test_enable_with_global_wave_sync_ebusy(client: Client, bell: tuple[int, int]) -> None:
    queue = client.create_queue(QueueType.COMPUTE)
    client.call(KfdIoctl.ALLOC_QUEUE_GWS, queue_id=queue.queue_id, num_gws=1)
    refused(client, errno.EBUSY, DbgTrapOp.ENABLE, enable=kfd_debug.DbgTrapEnableArgs(dbg_fd=bell[1]))


def test_enable_tells_the_runtimes_state(client: Client, bell: tuple[int, int]) -> None:
    client.call(KfdIoctl.RUNTIME_ENABLE, r_debug=0x1234, mode_mask=3)
    info = RuntimeInfo(9, 9, 9)
    args = attach(client, bell[1], rinfo_ptr=ctypes.addressof(info), rinfo_size=12)
    assert args.enable.rinfo_size == 16
    assert (info.r_debug, info.runtime_state, info.ttmp_setup) == (0x1234, 1, 9), "12 bytes were copied"


def test_enable_bad_pointer_efault_but_attached(client: Client, bell: tuple[int, int]) -> None:
    enable = kfd_debug.DbgTrapEnableArgs(dbg_fd=bell[1], rinfo_ptr=UNMAPPED, rinfo_size=16)
    args = refused(client, errno.EFAULT, DbgTrapOp.ENABLE, changes=True, enable=enable)
    assert args.enable.rinfo_size == 16
    refused(client, errno.EALREADY, DbgTrapOp.ENABLE)


@pytest.mark.parametrize("op", range(DbgTrapOp.SET_WAVE_LAUNCH_OVERRIDE, DbgTrapOp.SET_FLAGS + 1))
def test_operation_before_runtime_enable_eperm(client: Client, bell: tuple[int, int], op: int) -> None:
    attach(client, bell[1])
    refused(client, errno.EPERM, op)


@pytest.mark.parametrize("op", [DbgTrapOp.SET_NODE_ADDRESS_WATCH, DbgTrapOp.CLEAR_NODE_ADDRESS_WATCH])
def test_watch_point_on_unknown_gpu_enodev(client: Client, bell: tuple[int, int], op: int) -> None:
    client.call(KfdIoctl.RUNTIME_ENABLE, mode_mask=1)
    attach(client, bell[1])
    refused(client, errno.ENODEV, op)


def test_unknown_operation_einval(client: Client, bell: tuple[int, int]) -> None:
    attach(client, bell[1])
    refused(client, errno.EINVAL, 15)


def queue_snapshot(client: Client, count: int, size: int = 64, mask: int = 0) -> tuple[Any, Any]:
    entries = (QueueSnapshotEntry * max(count, 1))()
    snapshot = kfd_debug.DbgTrapQueueSnapshotArgs(mask, ctypes.addressof(entries), count, size)
    return trap(client, DbgTrapOp.GET_QUEUE_SNAPSHOT, queue_snapshot=snapshot).queue_snapshot, entries


def test_queue_snapshot_describes_queues(client: Client, bell: tuple[int, int]) -> None:
    fields = client.queue_fields(QueueType.COMPUTE_AQL)
    client.call(KfdIoctl.CREATE_QUEUE, **fields)
    client.create_queue(QueueType.SDMA_BY_ENG_ID)
    attach(client, bell[1])
    args, entries = queue_snapshot(client, 2)
    assert (args.num_queues, args.entry_size) == (2, 64)
    entry = entries[0]
    for name in ("ring_base_address", "write_pointer_address", "read_pointer_address", "ring_size"):
        assert getattr(entry, name) == fields[name], name
    assert entry.ctx_save_restore_address == fields["ctx_save_restore_address"]
    assert entry.ctx_save_restore_area_size == fields["ctx_save_restore_size"]
    assert (entry.queue_id, entry.gpu_id, entry.queue_type) == (0, client.gpu_id, QueueType.COMPUTE_AQL)
    assert (entries[1].queue_id, entries[1].queue_type) == (1, QueueType.SDMA)
    assert {entry.exception_status for entry in entries} == {bit(ExceptionCode.QUEUE_NEW)}


def test_queue_snapshot_counts_all_and_fills_what_fits(client: Client, bell: tuple[int, int]) -> None:
    for _ in range(3):
        client.create_queue()
    attach(client, bell[1])
    assert queue_snapshot(client, 0)[0].num_queues == 3
    args, entries = queue_snapshot(client, 1)
    assert args.num_queues == 3
    assert entries[0].gpu_id == client.gpu_id


@pytest.mark.parametrize(("size", "filled"), [(44, 44), (64, 64), (80, 64)])
def test_queue_snapshot_entries_have_the_callers_stride(
    client: Client, bell: tuple[int, int], size: int, filled: int
) -> None:
    for _ in range(2):
        client.create_queue()
    attach(client, bell[1])
    raw = (ctypes.c_uint8 * (2 * size))(*[0xEE] * (2 * size))
    snapshot = kfd_debug.DbgTrapQueueSnapshotArgs(0, ctypes.addressof(raw), 2, size)
    args = trap(client, DbgTrapOp.GET_QUEUE_SNAPSHOT, queue_snapshot=snapshot)
    assert args.queue_snapshot.entry_size == filled
    assert [raw[start + 40] for start in (0, size)] == [0, 1], "queue_id"
    assert list(raw[size - (size - filled) : size]) == [0xEE] * (size - filled)


def test_queue_snapshot_clears_what_it_is_told_to(client: Client, bell: tuple[int, int]) -> None:
    client.create_queue()
    attach(client, bell[1])
    new = bit(ExceptionCode.QUEUE_NEW)
    assert queue_snapshot(client, 1, mask=new)[1][0].exception_status == new
    assert queue_snapshot(client, 1)[1][0].exception_status == 0


def test_queue_snapshot_entries_of_0_bytes_einval(client: Client, bell: tuple[int, int]) -> None:
    client.create_queue()
    attach(client, bell[1])
    snapshot = kfd_debug.DbgTrapQueueSnapshotArgs(num_queues=4)
    out = {"queue_snapshot": kfd_debug.DbgTrapQueueSnapshotArgs(num_queues=0)}
    refused(client, errno.EINVAL, DbgTrapOp.GET_QUEUE_SNAPSHOT, out=out, queue_snapshot=snapshot)


def test_queue_snapshot_bad_pointer_efault(client: Client, bell: tuple[int, int]) -> None:
    client.create_queue()
    attach(client, bell[1])
    snapshot = kfd_debug.DbgTrapQueueSnapshotArgs(0, UNMAPPED, 1, 64)
    out = {"queue_snapshot": kfd_debug.DbgTrapQueueSnapshotArgs(0, UNMAPPED, 0, 64)}
    refused(client, errno.EFAULT, DbgTrapOp.GET_QUEUE_SNAPSHOT, out=out, queue_snapshot=snapshot)


def device_snapshot(client: Client, count: int, size: int = 120, mask: int = 0) -> tuple[Any, Any]:
    entries = (DbgDeviceInfoEntry * max(count, 1))()
    snapshot = kfd_debug.DbgTrapDeviceSnapshotArgs(mask, ctypes.addressof(entries), count, size)
    return trap(client, DbgTrapOp.GET_DEVICE_SNAPSHOT, device_snapshot=snapshot).device_snapshot, entries


def test_device_snapshot_describes_gpus(two_gpus: Client, bell: tuple[int, int]) -> None:
    attach(two_gpus, bell[1])
    args, entries = device_snapshot(two_gpus, 2)
    assert (args.num_devices, args.entry_size) == (2, 120)
    assert [entry.gpu_id for entry in entries] == [gpu.gpu_id for gpu in two_gpus.gpus]
    entry = entries[0]
    assert (entry.gfx_target_version, entry.simd_count, entry.num_xcc) == (90402, 1216, 8)
    assert (entry.vendor_id, entry.device_id, entry.debug_prop) == (0x1002, 0x74A1, 1511)
    assert (entry.lds_base, entry.gpuvm_limit) == (1 << 48, 0x7FFF_FFFF_FFFF)


def test_device_snapshot_counts_all_and_fills_what_fits(two_gpus: Client, bell: tuple[int, int]) -> None:
    attach(two_gpus, bell[1])
    assert device_snapshot(two_gpus, 0)[0].num_devices == 2
    args, entries = device_snapshot(two_gpus, 1, size=60)
    assert (args.num_devices, args.entry_size) == (2, 60)
    assert (entries[0].gpu_id, entries[0].location_id) == (two_gpus.gpu_id, 0)


def test_device_snapshot_without_room_einval(client: Client, bell: tuple[int, int]) -> None:
    attach(client, bell[1])
    refused(client, errno.EINVAL, DbgTrapOp.GET_DEVICE_SNAPSHOT)


def test_device_snapshot_bad_pointer_efault(client: Client, bell: tuple[int, int]) -> None:
    attach(client, bell[1])
    snapshot = kfd_debug.DbgTrapDeviceSnapshotArgs(0, UNMAPPED, 1, 120)
    refused(client, errno.EFAULT, DbgTrapOp.GET_DEVICE_SNAPSHOT, device_snapshot=snapshot)


def info_args(code: int, source: int, room: Any, *, clear: int = 0) -> Any:
    return kfd_debug.DbgTrapQueryExceptionInfoArgs(
        ctypes.addressof(room), ctypes.sizeof(room), source, code, clear
    )


def test_page_fault_that_the_debugger_wants_is_the_debuggers(
    client: Client, engines: list[StubEngine], bell: tuple[int, int]
) -> None:
    client.create_queue()
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.MEMORY).event_id
    violation = ExceptionCode.DEVICE_MEMORY_VIOLATION
    attach(client, bell[1], bit(violation))
    fault(engines[0])
    assert rung(bell)
    assert engines[0].calls == []
    assert not client.process.events._events[event].signaled
    data = HsaMemoryExceptionData()
    query = info_args(violation, client.gpu_id, data, clear=1)
    args = trap(client, DbgTrapOp.QUERY_EXCEPTION_INFO, query_exception_info=query)
    assert args.query_exception_info.info_size == 32
    assert (data.va, data.gpu_id, data.failure.ReadOnly) == (0x7000_0000, client.gpu_id, 1)
    refused(client, errno.ENODATA, DbgTrapOp.QUERY_EXCEPTION_INFO, query_exception_info=query)


def test_page_fault_handed_to_the_runtime_evicts_and_signals(
    client: Client, engines: list[StubEngine], bell: tuple[int, int]
) -> None:
    client.create_queue()
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.MEMORY).event_id
    mask = bit(ExceptionCode.DEVICE_MEMORY_VIOLATION)
    attach(client, bell[1], mask)
    fault(engines[0])
    send = kfd_debug.DbgTrapSendRuntimeEventArgs(mask, client.gpu_id)
    trap(client, DbgTrapOp.SEND_RUNTIME_EVENT, send_runtime_event=send)
    assert engines[0].calls == ["evict"]
    assert client.process.events._events[event].signaled


def test_page_fault_that_the_debugger_does_not_want_is_known_and_signalled(
    client: Client, engines: list[StubEngine], bell: tuple[int, int]
) -> None:
    client.create_queue()
    attach(client, bell[1])
    fault(engines[0])
    assert engines[0].calls == ["evict"]
    assert not rung(bell)
    violation = bit(ExceptionCode.DEVICE_MEMORY_VIOLATION)
    assert device_snapshot(client, 1, mask=violation)[1][0].exception_status == violation
    assert device_snapshot(client, 1)[1][0].exception_status == 0


@pytest.mark.parametrize(
    ("mask", "gpu", "queue", "error"),
    [
        (bit(ExceptionCode.DEVICE_MEMORY_VIOLATION), False, 0, errno.ENODEV),
        (bit(ExceptionCode.DEVICE_MEMORY_VIOLATION), True, 0, errno.ENODATA),
        (bit(ExceptionCode.QUEUE_WAVE_TRAP), True, 7, errno.EINVAL),
    ],
)
def test_send_runtime_event_refusals(
    client: Client, bell: tuple[int, int], mask: int, gpu: bool, queue: int, error: int
) -> None:
    attach(client, bell[1])
    send = kfd_debug.DbgTrapSendRuntimeEventArgs(mask, client.gpu_id if gpu else 0, queue)
    refused(client, error, DbgTrapOp.SEND_RUNTIME_EVENT, send_runtime_event=send)


def test_bad_packet_is_raised_on_its_queue(
    client: Client, engines: list[StubEngine], bell: tuple[int, int]
) -> None:
    client.create_queue()
    queue = client.create_queue(QueueType.COMPUTE).queue_id
    code = ExceptionCode.QUEUE_PACKET_RESERVED
    attach(client, bell[1], bit(code))
    engines[1].context.host.bad_packet("type 77", code)
    assert rung(bell)
    status = queue_snapshot(client, 2)[1][1].exception_status
    assert status == bit(code) | bit(ExceptionCode.QUEUE_NEW)
    event = trap(client, DbgTrapOp.QUERY_DEBUG_EVENT).query_debug_event
    assert (event.exception_mask, event.gpu_id, event.queue_id) == (status, client.gpu_id, queue)
    event = trap(
        client,
        DbgTrapOp.QUERY_DEBUG_EVENT,
        query_debug_event=kfd_debug.DbgTrapQueryDebugEventArgs(exception_mask=status),
    ).query_debug_event
    assert event.exception_mask == status
    refused(client, errno.EAGAIN, DbgTrapOp.QUERY_DEBUG_EVENT)


def test_query_debug_event_finds_gpu_and_process(
    client: Client, engines: list[StubEngine], bell: tuple[int, int]
) -> None:
    violation, runtime = ExceptionCode.DEVICE_MEMORY_VIOLATION, ExceptionCode.PROCESS_RUNTIME
    attach(client, bell[1], bit(violation) | bit(runtime))
    with pytest.warns(KfdMisuse, match="waits here for the debugger"):
        client.call(KfdIoctl.RUNTIME_ENABLE, r_debug=5, mode_mask=1)
    client.create_queue()
    fault(engines[0])
    found = []
    for _ in range(2):
        clear = kfd_debug.DbgTrapQueryDebugEventArgs(exception_mask=(1 << 64) - 1)
        event = trap(client, DbgTrapOp.QUERY_DEBUG_EVENT, query_debug_event=clear).query_debug_event
        found.append((event.exception_mask, event.gpu_id, event.queue_id))
    assert found == [(bit(violation), client.gpu_id, 0), (bit(runtime), 0, 0)]
    refused(client, errno.EAGAIN, DbgTrapOp.QUERY_DEBUG_EVENT)


def test_runtime_state_is_the_data_of_its_exception(client: Client, bell: tuple[int, int]) -> None:
    attach(client, bell[1])
    client.call(KfdIoctl.RUNTIME_ENABLE, r_debug=0x99, mode_mask=1)
    info = RuntimeInfo()
    query = info_args(ExceptionCode.PROCESS_RUNTIME, 0, info)
    args = trap(client, DbgTrapOp.QUERY_EXCEPTION_INFO, query_exception_info=query)
    assert (args.query_exception_info.info_size, info.r_debug, info.runtime_state) == (16, 0x99, 1)


def test_subscribing_to_what_is_raised_rings_at_once(client: Client, bell: tuple[int, int]) -> None:
    client.create_queue()
    attach(client, bell[1])
    for code, expected in ((ExceptionCode.QUEUE_WAVE_TRAP, False), (ExceptionCode.QUEUE_NEW, True)):
        chosen = kfd_debug.DbgTrapSetExceptionsEnabledArgs(bit(code))
        trap(client, DbgTrapOp.SET_EXCEPTIONS_ENABLED, set_exceptions_enabled=chosen)
        assert rung(bell) == expected


@pytest.mark.parametrize(
    ("code", "own_source", "error"),
    [
        (ExceptionCode.QUEUE_NEW, False, errno.EINVAL),
        (ExceptionCode.QUEUE_WAVE_TRAP, True, errno.ENODATA),
        (ExceptionCode.DEVICE_MEMORY_VIOLATION, False, errno.EINVAL),
        (ExceptionCode.DEVICE_RAS_ERROR, True, errno.ENODATA),
        (ExceptionCode.PROCESS_RUNTIME, True, errno.ENODATA),
        (0, True, errno.EINVAL),
        (7, True, errno.EINVAL),
        (64, True, errno.EINVAL),
    ],
)
def test_query_exception_info_refusals(
    client: Client, bell: tuple[int, int], code: int, own_source: bool, error: int
) -> None:
    queue = client.create_queue().queue_id
    attach(client, bell[1])
    source = (queue if code < 32 else client.gpu_id) if own_source else 77
    query = info_args(code, source, (ctypes.c_uint8 * 64)())
    refused(client, error, DbgTrapOp.QUERY_EXCEPTION_INFO, query_exception_info=query)


def test_query_exception_info_without_room_einval(client: Client, bell: tuple[int, int]) -> None:
    attach(client, bell[1])
    refused(client, errno.EINVAL, DbgTrapOp.QUERY_EXCEPTION_INFO)


def test_query_exception_info_bad_pointer_efault(
    client: Client, engines: list[StubEngine], bell: tuple[int, int]
) -> None:
    client.create_queue()
    attach(client, bell[1])
    fault(engines[0])
    query = kfd_debug.DbgTrapQueryExceptionInfoArgs(UNMAPPED, 32, client.gpu_id, 33, 1)
    refused(client, errno.EFAULT, DbgTrapOp.QUERY_EXCEPTION_INFO, query_exception_info=query)


def test_disable_forgets_exceptions(client: Client, bell: tuple[int, int]) -> None:
    client.create_queue()
    attach(client, bell[1])
    trap(client, DbgTrapOp.DISABLE)
    attach(client, bell[1])
    assert queue_snapshot(client, 1)[1][0].exception_status == 0


def test_descriptor_that_takes_no_byte_is_logged(
    client: Client, engines: list[StubEngine], bell: tuple[int, int]
) -> None:
    attach(client, bell[0], (1 << 64) - 1)
    client.create_queue()
    fault(engines[0])
    assert any("debugger's descriptor takes no byte" in line for line in client.kernel.log)
