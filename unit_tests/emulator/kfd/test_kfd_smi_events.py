"""SMI_EVENTS: who hears what, in which words, and what the listener's descriptor refuses."""

from __future__ import annotations

import errno
import mmap
import os
import select
from pathlib import Path

import pytest
from kfd_client import GTT, PAGE, PROT_RW, Client, StubEngine

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.kfd import AllocFlag, EventType, KfdIoctl, SmiEvent
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.kernel.protocol import KernelError

EVERYTHING = (1 << 64) - 1


def listen(client: Client, *events: SmiEvent, mask: int | None = None, gpu: int = 0) -> int:
    fd: int = client.call(KfdIoctl.SMI_EVENTS, gpuid=client.gpus[gpu].gpu_id).anon_fd
    wanted = sum(1 << (event - 1) for event in events) if mask is None else mask
    assert client.kernel.write(fd, wanted.to_bytes(8, "little")) == 8
    return fd


def records(client: Client, fd: int) -> list[bytes]:
    if not client.kernel.poll([(fd, select.POLLIN)], 0):
        return []
    return client.kernel.read(fd, 8192).splitlines(keepends=True)


def errno_of(call: object, *arguments: object) -> int | None:
    assert callable(call)
    with pytest.raises(KernelError) as caught:
        call(*arguments)
    return caught.value.errno


def fault(engine: StubEngine) -> None:
    engine.context.host.vm_fault(VmFault(0x1234, Access.READ, Reason.NOT_PRESENT))


def test_gpu_unknown_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.SMI_EVENTS, gpuid=0)


def test_descriptor_table_full_emfile(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("os.pipe2", refuse)
    client.refused(errno.EMFILE, KfdIoctl.SMI_EVENTS, gpuid=client.gpu_id)
    assert not client.gpu.smi._listeners


def test_it_needs_no_acquired_vm(make_client: object) -> None:
    assert callable(make_client)
    client = make_client("rx7900xtx", acquire=False)
    assert listen(client, SmiEvent.VMFAULT) > 2


def test_nothing_is_heard_before_a_mask_is_written(client: Client, engines: list[StubEngine]) -> None:
    fd = client.call(KfdIoctl.SMI_EVENTS, gpuid=client.gpu_id).anon_fd
    client.create_queue()
    fault(engines[0])
    assert records(client, fd) == []


@pytest.mark.parametrize("data", [b"", bytes(7)])
def test_mask_shorter_than_8_bytes_efault(client: Client, data: bytes) -> None:
    fd = listen(client, SmiEvent.VMFAULT)
    assert errno_of(client.kernel.write, fd, data) == errno.EFAULT


def test_mask_longer_than_8_bytes_takes_8(client: Client) -> None:
    fd = listen(client)
    assert client.kernel.write(fd, bytes(20)) == 8


@pytest.mark.parametrize("size", [0, 1, 8192])
def test_read_of_nothing_eagain(client: Client, size: int) -> None:
    assert errno_of(client.kernel.read, listen(client, SmiEvent.VMFAULT), size) == errno.EAGAIN


def test_page_fault_names_process_in_hex_and_task(client: Client, engines: list[StubEngine]) -> None:
    fd = listen(client, SmiEvent.VMFAULT)
    client.create_queue()
    fault(engines[0])
    name = Path("/proc/self/comm").read_text(encoding="utf-8").rstrip()
    assert records(client, fd) == [f"1 {os.getpid():x}:{name}\n".encode()]


def test_page_fault_evicts_without_an_eviction_record(client: Client, engines: list[StubEngine]) -> None:
    # kfd_dqm_evict_pasid preempts at the queue manager, below what reports evictions.
    fd = listen(client, mask=EVERYTHING)
    client.create_queue()
    fault(engines[0])
    assert [record[:2] for record in records(client, fd)] == [b"1 "]


def test_only_masked_events_of_that_gpu_are_heard(two_gpus: Client, engines: list[StubEngine]) -> None:
    deaf = listen(two_gpus, SmiEvent.GPU_PRE_RESET)
    other = listen(two_gpus, SmiEvent.VMFAULT, gpu=1)
    two_gpus.create_queue()
    fault(engines[0])
    assert records(two_gpus, deaf) == records(two_gpus, other) == []


def test_mask_can_be_changed(client: Client, engines: list[StubEngine]) -> None:
    fd = listen(client, SmiEvent.VMFAULT)
    client.kernel.write(fd, bytes(8))
    client.create_queue()
    fault(engines[0])
    assert records(client, fd) == []


def test_every_listener_hears(client: Client, engines: list[StubEngine]) -> None:
    listeners = [listen(client, SmiEvent.VMFAULT) for _ in range(3)]
    client.create_queue()
    fault(engines[0])
    assert [len(records(client, fd)) for fd in listeners] == [1, 1, 1]


def test_reset_has_a_number_and_a_cause_before_and_no_cause_after(client: Client) -> None:
    fd = listen(client, SmiEvent.GPU_PRE_RESET, SmiEvent.GPU_POST_RESET)
    client.kernel.reset_gpu(0)
    client.kernel.reset_gpu(0, "RAS error")
    assert records(client, fd) == [b"3 1 HWS hang\n", b"4 1 \n", b"3 2 RAS error\n", b"4 2 \n"]


@pytest.mark.parametrize("lost", [True, False])
def test_reset_evicts_queues_and_signals_hw_exception(
    client: Client, engines: list[StubEngine], lost: bool
) -> None:
    vram, gtt = client.buffer(), client.buffer(flags=GTT)
    for bo in client.process.devices[client.gpu_id].objects.values():
        bo.data[:] = 7
    client.create_queue()
    event = client.call(KfdIoctl.CREATE_EVENT, event_type=EventType.HW_EXCEPTION).event_id
    client.kernel.reset_gpu(0, memory_lost=lost)
    data = client.process.events._events[event].hardware
    assert data is not None
    # The event says that memory is lost in any case; the counter of VRAM losses knows.
    assert (data.reset_type, data.reset_cause, data.memory_lost) == (0, 0, 1)
    assert data.gpu_id == client.gpu_id
    assert engines[0].calls == ["evict"]
    assert client.gpu.vram_losses == lost
    space = client.process.devices[client.gpu_id].space
    assert space.read(vram.va_addr, 1) == bytes([0 if lost else 7])
    assert space.read(gtt.va_addr, 1) == b"\7"


def test_reset_evicts_the_queues_of_all_gpus(two_gpus: Client, engines: list[StubEngine]) -> None:
    """kgd2kfd_suspend evicts every process as a whole, and kgd2kfd_post_reset restores none."""
    fds = [listen(two_gpus, SmiEvent.QUEUE_EVICTION, gpu=gpu) for gpu in (0, 1)]
    for gpu in (0, 1):
        two_gpus.create_queue(gpu=gpu)
    two_gpus.kernel.reset_gpu(0)
    assert [engine.calls for engine in engines] == [["evict"], ["evict"]]
    for fd, gpu in zip(fds, two_gpus.gpus, strict=True):
        (record,) = records(two_gpus, fd)
        assert record.split()[2:] == [f"-{os.getpid()}".encode(), f"{gpu.gpu_id:x}".encode(), b"3"]
    assert [gpu.vram_losses for gpu in two_gpus.gpus] == [1, 0]


def test_user_memory_unmapped_while_mapped_evicts(client: Client, engines: list[StubEngine]) -> None:
    fd = listen(client, SmiEvent.QUEUE_EVICTION)
    client.create_queue()
    address = client.kernel.mmap(0, PAGE, PROT_RW, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    args = client.call(
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=address,
        size=PAGE,
        gpu_id=client.gpu_id,
        flags=AllocFlag.USERPTR | AllocFlag.WRITABLE,
        mmap_offset=address,
    )
    client.map(args.handle)
    with pytest.warns(KfdMisuse, match="still mapped as"):
        client.kernel.munmap(address, PAGE)
    (record,) = records(client, fd)
    number, ns, pid, node, trigger = record.split()
    assert (number, pid, trigger) == (b"9", f"-{os.getpid()}".encode(), b"1")
    assert (int(ns) > 0, node) == (True, f"{client.gpu_id:x}".encode())
    assert engines[0].calls == ["evict"]


def test_read_in_pieces(client: Client) -> None:
    fd = listen(client, SmiEvent.GPU_PRE_RESET)
    client.kernel.reset_gpu(0)
    assert client.kernel.read(fd, 4) + client.kernel.read(fd, 100) == b"3 1 HWS hang\n"
    assert errno_of(client.kernel.read, fd, 100) == errno.EAGAIN


def test_poll_says_when_there_is_something(client: Client) -> None:
    fd = listen(client, SmiEvent.GPU_PRE_RESET)
    assert client.kernel.poll([(fd, select.POLLIN)], 0) == []
    client.kernel.reset_gpu(0)
    assert client.kernel.poll([(fd, select.POLLIN)], 0) == [(fd, select.POLLIN)]
    client.kernel.read(fd, 4)
    assert client.kernel.poll([(fd, select.POLLIN)], 0) == [(fd, select.POLLIN)]
    client.kernel.read(fd, 8192)
    assert client.kernel.poll([(fd, select.POLLIN)], 0) == []


def test_records_that_do_not_fit_are_dropped_whole(client: Client) -> None:
    fd = listen(client, SmiEvent.GPU_PRE_RESET)
    for _ in range(1000):
        client.kernel.reset_gpu(0, "user trigger")
    data = client.kernel.read(fd, 1 << 20)
    assert 8192 - len(b"3 3e8 user trigger\n") < len(data) <= 8192
    assert data.endswith(b" user trigger\n")
    client.kernel.reset_gpu(0, "user trigger")
    assert records(client, fd) == [b"3 3e9 user trigger\n"]


def test_events_of_another_process_need_the_mask_and_the_privilege(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.getpid() + 1
    for user, mask, heard in ((1000, EVERYTHING, 0), (0, EVERYTHING >> 1, 0), (0, EVERYTHING, 1)):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        fd = listen(client, mask=mask)
        client.gpu.smi.queue_restore(other)
        client.gpu.smi.queue_restore(os.getpid())
        assert len(records(client, fd)) == 1 + heard


def test_restore_record_has_a_zero_byte_where_nothing_was_rescheduled(client: Client) -> None:
    fd = listen(client, SmiEvent.QUEUE_RESTORE)
    client.gpu.smi.queue_restore(os.getpid())
    (record,) = records(client, fd)
    assert record.startswith(b"a ")
    assert record.endswith(f" -{os.getpid()} {client.gpu_id:x} \0\n".encode())


def test_a_descriptor_that_was_passed_on_is_read_as_the_listeners_own(client: Client) -> None:
    fd = listen(client, SmiEvent.GPU_PRE_RESET, SmiEvent.GPU_POST_RESET)
    passed = os.dup(fd)
    try:
        client.kernel.reset_gpu(0)
        assert [line.split()[0] for line in os.read(passed, 8192).splitlines()] == [b"3", b"4"]
        assert records(client, fd) == []
        with pytest.raises(BlockingIOError):
            os.read(passed, 1)
    finally:
        os.close(passed)


def test_closed_listener_hears_nothing_and_is_gone(client: Client) -> None:
    fd = listen(client, SmiEvent.GPU_PRE_RESET)
    client.kernel.close(fd)
    client.kernel.reset_gpu(0)
    assert not client.gpu.smi._listeners
    for call, arguments in ((client.kernel.read, (fd, 8)), (client.kernel.write, (fd, bytes(8)))):
        assert errno_of(call, *arguments) == errno.EBADF


def test_listener_takes_no_ioctl_and_no_mapping(client: Client) -> None:
    fd = listen(client)
    assert errno_of(client.kernel.ioctl, fd, KfdIoctl.GET_VERSION, ioctl_argument()) == errno.ENOTTY
    assert errno_of(client.kernel.mmap, 0, PAGE, PROT_RW, mmap.MAP_SHARED, fd, 0) == errno.ENODEV


def ioctl_argument() -> object:
    from pytest_amdgpu.abi.kfd import GetVersionArgs

    assert ioctl.decode(KfdIoctl.GET_VERSION).size == 8
    return GetVersionArgs()


def test_device_nodes_are_not_read_or_written(client: Client) -> None:
    for fd in (client.fd, client.renders[0]):
        assert errno_of(client.kernel.read, fd, 8) == errno.EINVAL
        assert errno_of(client.kernel.write, fd, bytes(8)) == errno.EINVAL


def test_listener_survives_exec(client: Client) -> None:
    # kfd_smi_event_open asks for O_RDWR only. Python's own descriptors are not inheritable.
    fd = listen(client)
    assert os.get_inheritable(fd)
