"""What differs between the emulated kernels: version, sizes of queues, secondary processes."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable
from typing import Any

import pytest
from kfd_client import GTT, PAGE, PROT_RW, Client, StubEngine

from pytest_amdgpu.abi.kfd import AllocFlag, GetVersionArgs, KfdIoctl, QueueType
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.families.models import model
from pytest_amdgpu.families.queue_sizes import queue_sizes
from pytest_amdgpu.kernel.protocol import KernelError

NOTHING = ctypes.create_string_buffer(0)


@pytest.fixture
def newest(make_client: Callable[..., Client], engines: list[StubEngine]) -> Client:
    return make_client("rx7900xtx", behaviour="newest")


def test_unknown_behaviour_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"unknown kernel behaviour '6.11'; known: '6.12', 'newest'"):
        EmulatedKernel([model("mi300x")], behaviour="6.11")


@pytest.mark.parametrize(("name", "version"), [("6.12", (1, 17)), ("newest", (1, 22))])
def test_version(make_client: Callable[..., Client], name: str, version: tuple[int, int]) -> None:
    args = make_client("mi300x", behaviour=name).call(KfdIoctl.GET_VERSION)
    assert (args.major_version, args.minor_version) == version


def node_properties(client: Client, node: int) -> dict[str, int]:
    text = client.kernel.read_text(f"/sys/devices/virtual/kfd/kfd/topology/nodes/{node}/properties")
    return {key: int(value) for key, value in (line.split() for line in text.splitlines())}


def test_sizes_of_queues_are_in_sysfs_of_the_newest_only(
    make_client: Callable[..., Client], newest: Client
) -> None:
    properties = node_properties(newest, 1)
    assert (properties["cwsr_size"], properties["ctl_stack_size"]) == (46047232, 40960)
    keys = list(properties)
    assert keys[keys.index("num_cp_queues") + 1 :][:2] == ["cwsr_size", "ctl_stack_size"]
    assert node_properties(newest, 0)["cwsr_size"] == 0
    assert queue_sizes(properties) == newest.gpu.queue_sizes
    assert "cwsr_size" not in node_properties(make_client("rx7900xtx"), 1)


def larger_area(client: Client, extra: int) -> dict[str, Any]:
    fields = client.queue_fields(QueueType.COMPUTE)
    sizes = client.gpu.queue_sizes
    fields["ctx_save_restore_size"] = sizes.cwsr_size + extra
    fields["ctx_save_restore_address"] = client.buffer(sizes.cwsr_mapping_size + extra, GTT).va_addr
    return fields


def test_newest_takes_a_larger_context_save_area(newest: Client) -> None:
    newest.call(KfdIoctl.CREATE_QUEUE, **larger_area(newest, PAGE))


def test_6_12_refuses_a_larger_context_save_area_einval(client: Client) -> None:
    client.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **larger_area(client, PAGE))


def test_newest_context_save_area_too_small_einval(newest: Client) -> None:
    fields = newest.queue_fields(QueueType.COMPUTE)
    fields["ctx_save_restore_size"] -= 1
    newest.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


def test_newest_context_save_area_larger_than_its_mapping_einval(newest: Client) -> None:
    fields = newest.queue_fields(QueueType.COMPUTE)
    fields["ctx_save_restore_size"] += PAGE
    newest.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


def test_newest_context_save_area_whose_total_overflows_einval(newest: Client) -> None:
    fields = newest.queue_fields(QueueType.COMPUTE) | {"ctx_save_restore_size": 0xFFFF_FFFF}
    newest.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


def test_newest_eop_size_must_be_equal_einval(newest: Client) -> None:
    fields = newest.queue_fields(QueueType.COMPUTE) | {"eop_buffer_size": 8192}
    fields["eop_buffer_address"] = newest.buffer(8192).va_addr
    newest.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


def test_newest_checks_the_mapping_of_a_ring_smaller_than_a_page(newest: Client) -> None:
    fields = newest.queue_fields() | {"ring_base_address": newest.buffer(2 * PAGE, GTT).va_addr}
    newest.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, changes=True, **fields | {"ring_size": 1024})


def test_newest_metadata_ring_size_not_a_power_of_two_einval(newest: Client) -> None:
    fields = newest.queue_fields(QueueType.COMPUTE_AQL) | {"pad": 3 * PAGE}
    newest.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)


def test_newest_metadata_ring_lies_behind_the_ring(newest: Client) -> None:
    fields = newest.queue_fields(QueueType.COMPUTE_AQL) | {"pad": 4 * PAGE}
    newest.refused(errno.EINVAL, KfdIoctl.CREATE_QUEUE, **fields)
    fields["ring_base_address"] = newest.buffer(5 * PAGE, GTT).va_addr
    newest.call(KfdIoctl.CREATE_QUEUE, **fields)


def test_6_12_knows_no_metadata_ring(client: Client) -> None:
    with pytest.warns(KfdMisuse, match="with pad 0x3, which must be 0"):
        client.call(KfdIoctl.CREATE_QUEUE, **client.queue_fields(QueueType.COMPUTE_AQL), pad=3)


def errno_of(client: Client, fd: int, request: int, argument: Any = NOTHING) -> int | None:
    with pytest.raises(KernelError) as caught:
        client.kernel.ioctl(fd, request, argument)
    return caught.value.errno


def test_6_12_knows_no_create_process_einval(client: Client) -> None:
    assert errno_of(client, client.fd, KfdIoctl.CREATE_PROCESS) == errno.EINVAL


class Secondary:
    """A second process object on a descriptor of its own, with a VM of its own."""

    def __init__(self, client: Client) -> None:
        self.client, self.first = client, (client.fd, client.renders)
        self.fd = client.kernel.open("/dev/kfd", os.O_RDWR)
        client.kernel.ioctl(self.fd, KfdIoctl.CREATE_PROCESS, NOTHING)
        self.render = client.kernel.open("/dev/dri/renderD128", os.O_RDWR)
        client.fd, client.renders = self.fd, [self.render]
        client.call(KfdIoctl.ACQUIRE_VM, drm_fd=self.render, gpu_id=client.gpu_id)

    def leave(self) -> None:
        self.client.fd, self.client.renders = self.first


def test_secondary_process_goes_on_after_a_page_fault(newest: Client, engines: list[StubEngine]) -> None:
    newest.create_queue()
    engines[0].context.host.vm_fault(VmFault(0x1000, Access.READ, Reason.NOT_PRESENT))
    newest.create_queue()
    assert engines[1].calls == ["evict"]
    Secondary(newest)
    queue = newest.create_queue()
    assert queue.queue_id == 0, "its own numbers"
    assert engines[2].calls == []


def test_secondary_process_has_its_own_memory_and_events(newest: Client) -> None:
    buffer = newest.buffer()
    newest.event_page()
    secondary = Secondary(newest)
    assert newest.refused(errno.EINVAL, KfdIoctl.FREE_MEMORY_OF_GPU, handle=buffer.handle + 9) is not None
    with pytest.raises(KernelError) as caught:
        newest.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=buffer.handle)
    assert caught.value.errno == errno.EINVAL
    newest.event_page()
    secondary.leave()
    newest.unmap(buffer.handle)
    newest.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=buffer.handle)


def test_secondary_process_twice_on_a_descriptor_einval(newest: Client) -> None:
    secondary = Secondary(newest)
    assert errno_of(newest, secondary.fd, KfdIoctl.CREATE_PROCESS) == errno.EINVAL


def test_secondary_process_ends_with_its_descriptor(newest: Client, engines: list[StubEngine]) -> None:
    used = newest.gpu.vram_used
    secondary = Secondary(newest)
    newest.buffer()
    newest.create_queue()
    secondary.leave()
    newest.kernel.close(secondary.fd)
    assert engines[0].calls == ["stop"]
    assert (newest.gpu.vram_used, newest.gpu.queue_count) == (used, 0)
    assert len(newest.kernel._machine.processes) == 1


def test_reset_reaches_secondary_processes(newest: Client, engines: list[StubEngine]) -> None:
    newest.create_queue()
    Secondary(newest)
    newest.create_queue()
    newest.kernel.reset_gpu(0)
    assert [engine.calls for engine in engines] == [["evict"], ["evict"]]


def test_secondary_process_user_memory_eopnotsupp(newest: Client) -> None:
    Secondary(newest)
    address = newest.kernel.mmap(0, PAGE, PROT_RW, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    newest.refused(
        errno.EOPNOTSUPP,
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=address,
        size=PAGE,
        gpu_id=newest.gpu_id,
        flags=AllocFlag.USERPTR,
        mmap_offset=address,
    )
    newest.kernel.munmap(address, PAGE)


def test_secondary_process_debugging_eopnotsupp(newest: Client) -> None:
    Secondary(newest)
    newest.refused(errno.EOPNOTSUPP, KfdIoctl.DBG_TRAP, pid=os.getpid())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_create_process_in_a_forked_child_ebadf(newest: Client) -> None:
    Secondary(newest)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            newest.kernel.ioctl(newest.fd, KfdIoctl.CREATE_PROCESS, GetVersionArgs())
        except KernelError as error:
            status = 0 if error.errno == errno.EBADF else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
