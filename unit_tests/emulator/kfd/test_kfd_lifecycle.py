"""Device nodes, shutdown without leaks, several emulated kernels at once; and a copy through everything."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import select
import struct
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from kfd_client import GTT, MAP_ANONYMOUS, MAP_PRIVATE, PAGE, PROT_RW, Client, StubEngine, refusal_in_child

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.kfd import (
    AcquireVmArgs,
    EventData,
    EventType,
    GetVersionArgs,
    KfdIoctl,
    QueueType,
    SvmAttributeType,
    SvmOp,
    WaitResult,
)
from pytest_amdgpu.emulator.engine.preemption import EngineThread
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.kfd.svm_calls import sized_args
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import KernelError
from pytest_amdgpu.packets.sdma import sdma_packets


def host_state() -> tuple[int, int, int]:
    """Descriptors, threads and bytes of mappings of emulated memory that this process has."""
    gc.collect()
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        extents = [line.split()[0].split("-") for line in maps if "software-gpu-memory" in line]
    emulated = sum(int(end, 16) - int(start, 16) for start, end in extents)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), emulated


def signal_event(client: Client) -> tuple[int, int]:
    """Return a signal event and the address of its slot."""
    page = client.event_page()
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.SIGNAL, auto_reset=1).event_id
    return event, page.va_addr + 8 * event


def wait(client: Client, event: int, timeout_ms: int = 10_000) -> EventData:
    data = EventData(event_id=event)
    args = client.call(
        KfdIoctl.WAIT_EVENTS, events_ptr=ctypes.addressof(data), num_events=1, timeout=timeout_ms
    )
    assert args.wait_result == WaitResult.COMPLETE, client.kernel.log
    return data


def submit_sdma(client: Client, fields: dict[str, int], queue: object, words: list[int]) -> None:
    """Put packets at the start of a fresh ring and ring its doorbell."""
    ring, size = fields["ring_base_address"], 4 * len(words)
    ctypes.memmove(ring, struct.pack(f"{len(words)}I", *words), size)
    ctypes.c_uint64.from_address(fields["write_pointer_address"]).value = size
    doorbell = client.map_doorbells() + queue.doorbell_offset % (1 << 13)  # type: ignore[attr-defined]
    client.kernel.store_doorbell(doorbell, size)


@pytest.mark.parametrize("name", ["mi300x", "rx7900xtx"])
def test_copy_through_everything(make_client: Callable[..., Client], name: str) -> None:
    client = make_client(name)
    source, target = client.buffer(2 * PAGE, GTT), client.buffer(2 * PAGE)
    data = np.random.default_rng(1).integers(0, 256, 2 * PAGE, dtype=np.uint8).tobytes()
    ctypes.memmove(source.va_addr, data, len(data))
    event, slot = signal_event(client)
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    packets = sdma_packets(client.gpu.family.sdma)
    submit_sdma(
        client,
        fields,
        queue,
        [
            *packets.copy_linear(source.va_addr, target.va_addr, 2 * PAGE - 1),
            *packets.fence(slot, 1),
            *packets.trap(event),
        ],
    )
    wait(client, event)
    assert ctypes.string_at(target.va_addr, 2 * PAGE) == data


def test_copy_out_of_shared_virtual_memory(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx")
    source = client.kernel.mmap(0, 3 * PAGE, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    args = sized_args(32)(start_addr=source, size=3 * PAGE, op=SvmOp.SET_ATTR, nattr=1)
    args.room[0].type, args.room[0].value = SvmAttributeType.ACCESS, client.gpu_id
    client.kernel.ioctl(client.fd, ioctl.with_size(KfdIoctl.SVM, 32), args)
    data = np.random.default_rng(1).integers(0, 256, 3 * PAGE, dtype=np.uint8).tobytes()
    ctypes.memmove(source, data, len(data))
    target = client.buffer(3 * PAGE, GTT)
    event, slot = signal_event(client)
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    packets = sdma_packets(client.gpu.family.sdma)
    words = [*packets.copy_linear(source, target.va_addr, 3 * PAGE - 1)]
    submit_sdma(client, fields, queue, [*words, *packets.fence(slot, 1), *packets.trap(event)])
    wait(client, event)
    assert ctypes.string_at(target.va_addr, 3 * PAGE) == data
    client.kernel.munmap(source, 3 * PAGE)


def test_page_fault_of_a_copy_reaches_the_memory_event(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx")
    target = client.buffer()
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.MEMORY, auto_reset=1).event_id
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    packets = sdma_packets(client.gpu.family.sdma)
    submit_sdma(client, fields, queue, [*packets.copy_linear(0x7000_0123, target.va_addr, 63)])
    data = wait(client, event).memory_exception_data
    assert (data.va, data.gpu_id, data.failure.NotPresent) == (0x7000_0000, client.gpu_id, 1)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)


def test_bad_packet_reaches_the_hw_exception_event(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx")
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.HW_EXCEPTION, auto_reset=1).event_id
    fields = client.queue_fields()
    queue = client.call(KfdIoctl.CREATE_QUEUE, **fields)
    submit_sdma(client, fields, queue, [0xFF])
    data = wait(client, event).hw_exception_data
    assert (data.reset_type, data.memory_lost, data.gpu_id) == (0, 1, client.gpu_id)


@pytest.mark.parametrize("queue_type", [QueueType.SDMA, QueueType.COMPUTE, QueueType.COMPUTE_AQL])
def test_shutdown_leaves_no_descriptors_threads_or_memory(queue_type: QueueType) -> None:
    Client(["mi300x"]).kernel.shutdown()  # loads what is loaded once
    before = host_state()
    client = Client(["mi300x", "rx7900xtx"])
    for gpu in (0, 1):
        client.create_queue(queue_type, gpu=gpu)
        client.map_doorbells(gpu)
    signal_event(client)
    mapped = [client.buffer(1 << 20, GTT) for _ in range(10)]
    ctypes.memset(mapped[0].va_addr, 1, 1 << 20)
    client_maps = client.client_maps()
    client.kernel.shutdown()
    descriptors, threads, emulated = host_state()
    assert (descriptors, threads) == before[:2]
    # What is left is what the client has mapped itself: that is its own to unmap.
    assert emulated - before[2] == sum(length for _, length in client_maps)
    for start, length in client_maps:
        client.kernel.munmap(start, length)
    assert host_state() == before


def test_freed_memory_goes_back_to_the_host(make_client: Callable[..., Client]) -> None:
    client = make_client()
    buffer = client.buffer(1 << 20)
    ctypes.memset(buffer.va_addr, 1, 1 << 20)
    resident = client.kernel._machine.arena.resident
    assert resident() == 1 << 20
    client.unmap(buffer.handle)
    client.kernel.munmap(buffer.va_addr, 1 << 20)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=buffer.handle)
    assert resident() == 0


def test_shutdown_gives_memory_back_without_the_garbage_collector(make_client: Callable[..., Client]) -> None:
    client = make_client()
    client.buffer(1 << 20)
    memory = weakref.ref(next(iter(client.gpu.mmap_objects.values())).memory)
    gc.disable()
    try:
        client.kernel.shutdown()
        assert memory() is None
    finally:
        gc.enable()


def test_shutdown_reports_an_engine_that_does_not_stop(client: Client, engines: list[StubEngine]) -> None:
    client.create_queue()
    engines[0].stop_error = RuntimeError("stuck in a packet")
    with pytest.raises(RuntimeError, match="queue 0: stuck in a packet"):
        client.kernel.shutdown()
    assert client.gpu.vram_used == client.gpu.queue_count == 0


def test_shutdown_warns_about_what_engines_found(client: Client, engines: list[StubEngine]) -> None:
    client.create_queue()
    engines[0].context.host.misuse("something odd")
    with pytest.warns(KfdMisuse, match="something odd"):
        client.kernel.shutdown()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_shutdown_in_a_forked_child_leaves_the_parent_alone(make_client: Callable[..., Client]) -> None:
    client = make_client()
    buffer = client.buffer()
    ctypes.memset(buffer.va_addr, 9, PAGE)
    queue = client.create_queue()
    pid = os.fork()
    if pid == 0:
        client.kernel.shutdown()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert client.process.devices[client.gpu_id].space.read(buffer.va_addr, 1) == b"\t"
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("shut_down", [False, True])
def test_open_again_in_a_forked_child_enodev(make_client: Callable[..., Client], shut_down: bool) -> None:
    client = make_client()

    def open_again() -> None:
        if shut_down:
            client.kernel.shutdown()
        client.kernel.open("/dev/kfd", os.O_RDWR)

    pid, answer = refusal_in_child(open_again)
    assert answer == (
        f"ENODEV software kernel: these software GPUs live in process {os.getpid()}; a forked child such as"
        f" {pid} needs an EmulatedKernel of its own"
    )


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_may_be_the_first_to_open() -> None:
    kernel = EmulatedKernel([model("rx7900xtx")])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            kernel.ioctl(kernel.open("/dev/kfd", os.O_RDWR), KfdIoctl.GET_VERSION, GetVersionArgs())
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    kernel.shutdown()


def test_shutdown_twice_and_unused() -> None:
    kernel = EmulatedKernel([model("rx7900xtx")])
    kernel.shutdown()
    kernel.shutdown()


def test_gpus_can_be_used_again_after_shutdown(make_client: Callable[..., Client]) -> None:
    client = make_client()
    client.create_queue()
    client.kernel.shutdown()
    client.fd, client.renders = (
        client.kernel.open("/dev/kfd", 2),
        [client.kernel.open("/dev/dri/renderD128", 2)],
    )
    client.call(KfdIoctl.ACQUIRE_VM, drm_fd=client.renders[0], gpu_id=client.gpu_id)
    assert client.create_queue().queue_id == 0
    assert client.gpu.queue_count == 1


def test_closing_kfd_keeps_the_process_and_a_second_open_shares_it(client: Client) -> None:
    handle = client.alloc().handle
    queue = client.create_queue()
    client.kernel.close(client.fd)
    with pytest.raises(KernelError) as caught:
        client.call(KfdIoctl.GET_VERSION)
    assert caught.value.errno == errno.EBADF
    client.fd = client.kernel.open("/dev/kfd", os.O_RDWR)
    client.call(KfdIoctl.DESTROY_QUEUE, queue_id=queue.queue_id)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=handle)


@pytest.mark.parametrize(
    "path", ["/dev/dri/renderD129", "/dev/dri/card0", "/dev/kfd1", "/dev/null", "", "/dev/dri/renderD"]
)
def test_open_unknown_node_enoent(client: Client, path: str) -> None:
    with pytest.raises(KernelError) as caught:
        client.kernel.open(path, os.O_RDWR)
    assert (caught.value.errno, caught.value.call) == (errno.ENOENT, "open")


def test_close_twice_ebadf(client: Client) -> None:
    fd = client.kernel.open("/dev/kfd", os.O_RDWR)
    client.kernel.close(fd)
    with pytest.raises(KernelError) as caught:
        client.kernel.close(fd)
    assert (caught.value.errno, caught.value.call) == (errno.EBADF, "close")


@pytest.mark.parametrize("flags", [0, os.O_CLOEXEC])
def test_descriptors_are_the_processes_own(client: Client, flags: int) -> None:
    fd = client.kernel.open("/dev/kfd", os.O_RDWR | flags)
    assert os.fstat(fd)
    assert os.get_inheritable(fd) == (not flags)


def test_descriptor_that_was_closed_behind_the_kernels_back_is_not_confused(client: Client) -> None:
    fd = client.kernel.open("/dev/kfd", os.O_RDWR)
    os.close(fd)
    assert client.kernel.open("/dev/dri/renderD128", os.O_RDWR) == fd
    with pytest.raises(KernelError) as caught:
        client.kernel.ioctl(fd, KfdIoctl.GET_VERSION, GetVersionArgs())
    assert caught.value.errno == errno.EINVAL


def test_poll_never_waits_for_device_nodes(client: Client) -> None:
    fds = [(client.fd, select.POLLIN), (client.renders[0], select.POLLIN)]
    assert sorted(client.kernel.poll(fds, 10.0)) == sorted(fds)
    read_end, write_end = os.pipe()
    try:
        assert client.kernel.poll([(read_end, select.POLLIN)], 0.001) == []
        os.write(write_end, b"x")
        assert client.kernel.poll([(read_end, select.POLLIN)], None) == [(read_end, select.POLLIN)]
    finally:
        os.close(read_end)
        os.close(write_end)


def test_two_kernels_at_once_share_nothing(make_client: Callable[..., Client]) -> None:
    first, second = make_client("rx7900xtx"), make_client("rx7900xtx")
    assert first.gpu_id == second.gpu_id
    buffers = [client.buffer() for client in (first, second)]
    assert buffers[0].handle == buffers[1].handle
    for client, buffer, value in ((first, buffers[0], b"1"), (second, buffers[1], b"2")):
        ctypes.memset(buffer.va_addr, ord(value), PAGE)
        assert client.process.devices[client.gpu_id].space.read(buffer.va_addr, 1) == value
    with pytest.raises(KernelError) as caught:
        first.kernel.ioctl(second.fd, KfdIoctl.ACQUIRE_VM, AcquireVmArgs())
    assert caught.value.errno == errno.EBADF
    first.kernel.shutdown()
    assert ctypes.string_at(buffers[1].va_addr, 1) == b"2"
    second.create_queue()


def test_threads_allocate_map_and_free_at_once(client: Client) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(50):
                buffer = client.buffer(PAGE, GTT)
                ctypes.memset(buffer.va_addr, 5, PAGE)
                client.unmap(buffer.handle)
                client.kernel.munmap(buffer.va_addr, PAGE)
                client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=buffer.handle)
        except BaseException as error:
            errors.append(error)

    before = client.state()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert client.state() == before
    assert client.kernel._machine.arena.resident() == 0


def test_anonymous_memory_over_a_buffer_ends_its_mapping(client: Client) -> None:
    buffer = client.buffer(2 * PAGE)
    ctypes.memset(buffer.va_addr, 1, 2 * PAGE)
    fixed = 0x10
    client.kernel.mmap(buffer.va_addr, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS | fixed, -1, 0)
    assert ctypes.string_at(buffer.va_addr, 1) == b"\0"
    assert ctypes.string_at(buffer.va_addr + PAGE, 1) == b"\1"


def test_memory_unmapped_by_an_engines_thread_waits_for_nobody(make_client: Callable[..., Client]) -> None:
    """Python runs finalizers in any thread, also in one that the holder of the process's lock waits for."""
    client = make_client()
    plain, shared = (client.reserve(PAGE) for _ in range(2))
    client.process.svm.take(shared, shared + PAGE)
    thread = EngineThread(
        target=lambda: [client.kernel.munmap(address, PAGE) for address in (plain, shared)], daemon=True
    )
    with client.process.lock:
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    assert client.process.svm.overlapping(shared, shared + PAGE)
    client.call(KfdIoctl.GET_VERSION)
    assert not client.process.svm.overlapping(shared, shared + PAGE)
