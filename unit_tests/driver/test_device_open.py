"""Opening and closing a GPU: the order of calls, refusals, and that nothing is left behind."""

from __future__ import annotations

import errno

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.abi.kfd import AllocFlag, EventType
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import DeviceClosedError, DeviceOpenError, DriverError, NoFreeQueueError
from pytest_amdgpu.driver.kfd_process import connect, disconnect
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.families.registry import UnknownFamilyError
from pytest_amdgpu.kernel.protocol import KernelError


def open_first(kernel: FakeKernel) -> Device:
    return Device.open(kernel, discover(kernel)[0])


def test_order_of_calls() -> None:
    kernel = FakeKernel("mi300x")
    with open_first(kernel):
        assert kernel.calls == [
            "open",
            "GET_VERSION",
            "open",
            "ACQUIRE_VM",
            "GET_PROCESS_APERTURES_NEW",
            "GET_PROCESS_APERTURES_NEW",
            "RUNTIME_ENABLE",
            "mmap",
            "ALLOC_MEMORY_OF_GPU",
            "mmap",
            "MAP_MEMORY_TO_GPU",
            "CREATE_EVENT",
            "DESTROY_EVENT",
            "CREATE_EVENT",
            "CREATE_EVENT",
            "CREATE_EVENT",
        ]
        assert list(kernel.descriptors.values()) == ["/dev/kfd", "/dev/dri/renderD128"]


def test_events_page_is_uncached_system_memory_handed_over_with_the_first_event() -> None:
    kernel = FakeKernel("mi300x")
    with open_first(kernel) as device:
        page = kernel.objects[kernel.events_page]
        assert page.size == 32768
        assert page.flags & (AllocFlag.GTT | AllocFlag.VRAM) == AllocFlag.GTT
        assert AllocFlag.UNCACHED | AllocFlag.COHERENT in page.flags
        event = device.backend.create_event()
        assert event.slot_address == page.address + 8 * event.event_id
        device.backend.destroy_event(event)


def test_faults_are_listened_for() -> None:
    kernel = FakeKernel("mi300x")
    with open_first(kernel):
        kinds = {event.kind for event in kernel.events.values()}
        assert {EventType.MEMORY, EventType.HW_EXCEPTION} <= kinds


def test_a_second_gpu_shares_descriptor_and_events_page() -> None:
    kernel = FakeKernel("mi300x", "rx7900xtx")
    nodes = discover(kernel)
    with Device.open(kernel, nodes[0]), Device.open(kernel, nodes[1]):
        assert list(kernel.descriptors.values()).count("/dev/kfd") == 1
        assert kernel.objects[kernel.events_page].mapped == {0x1001, 0x1002}


def test_a_gpu_can_be_closed_and_opened_again_with_the_descriptor_of_its_vm() -> None:
    kernel = FakeKernel("rx7900xtx")
    open_first(kernel).close()
    assert not any(kernel.held().values())
    descriptors = dict(kernel.descriptors)
    with open_first(kernel) as device:
        device.gtt(100)
        assert kernel.descriptors == descriptors
    assert not any(kernel.held().values())


def test_every_failing_call_is_undone_and_the_next_opening_works() -> None:
    kernel = FakeKernel("mi300x")
    open_first(kernel).close()
    calls = len(kernel.calls)
    for failing in range(calls):
        kernel = FakeKernel("mi300x")
        nodes = discover(kernel)
        kernel.fail_nth(failing)
        try:
            device = Device.open(kernel, nodes[0])
        except (KernelError, DriverError):
            held = kernel.held()
            # An event that could not be destroyed is still there.
            held["events"] -= kernel.calls[failing] == "DESTROY_EVENT"
            assert not any(held.values()), (failing, held, kernel.calls)
        else:
            # The failing call is one of closing: it is told, and the rest is done.
            with pytest.raises(ExceptionGroup, match="could not close") as caught:
                device.close()
            assert "EIO" in str(caught.value.exceptions)
        kernel.forgive()
        open_first(kernel).close()


@pytest.mark.parametrize(("major", "minor"), [(1, 13), (0, 99), (2, 0)])
def test_other_interface_versions_are_refused_and_named(major: int, minor: int) -> None:
    kernel = FakeKernel("mi300x")
    kernel.version = (major, minor)
    with pytest.raises(DeviceOpenError, match=rf"interface {major}\.{minor}; needed is 1\.14"):
        open_first(kernel)
    assert not kernel.descriptors


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOENT, "/dev/kfd: the amdgpu kernel driver is not loaded"),
        (errno.EACCES, "/dev/kfd: no permission; the user must be in the group"),
        (errno.EPERM, "/dev/kfd: hidden from this container"),
        (errno.EMFILE, "/dev/kfd: .*Too many open files"),
    ],
)
def test_a_device_node_that_cannot_be_opened_says_why(number: int, text: str) -> None:
    kernel = FakeKernel("mi300x")
    kernel.fail("open", number)
    with pytest.raises(DeviceOpenError, match=text):
        open_first(kernel)


def test_a_missing_render_node_is_named() -> None:
    kernel = FakeKernel("mi300x")
    kernel.fail("open", errno.ENOENT, after=1)
    with pytest.raises(DeviceOpenError, match="/dev/dri/renderD128: the device node is missing or hidden"):
        open_first(kernel)


def test_a_gpu_without_apertures_is_refused() -> None:
    kernel = FakeKernel("mi300x")
    node = discover(kernel)[0]
    kernel.files = FakeKernel("mi300x", "mi300x").files
    for path in [path for path in kernel.files if "/nodes/1/" in path]:
        del kernel.files[path]
    with pytest.raises(DeviceOpenError, match="no apertures for gpu_id 4097"):
        Device.open(kernel, node)


def test_an_unknown_target_is_refused_and_closed() -> None:
    kernel = FakeKernel("mi300x")
    path = next(path for path in kernel.files if path.endswith("/1/properties"))
    kernel.files[path] = kernel.files[path].replace("gfx_target_version 90402", "gfx_target_version 170000")
    with pytest.raises(UnknownFamilyError, match="170000"):
        open_first(kernel)
    assert not any(kernel.held().values())


def test_another_runtime_may_have_enabled_exceptions() -> None:
    kernel = FakeKernel("mi300x")
    kernel.fail("RUNTIME_ENABLE", errno.EBUSY)
    open_first(kernel).close()


def test_a_closed_device_gives_nothing_out(fake: FakeKernel) -> None:
    device = open_first(fake)
    device.close()
    device.close()
    for make in (
        lambda: device.gtt(4),
        lambda: device.vram(4),
        lambda: device.userptr(4),
        device.sdma_queue,
        device.compute_queue,
        device.timeline_semaphore,
        lambda: device.load(b""),
    ):
        with pytest.raises(DeviceClosedError, match="was closed"):
            make()


def test_xnack_mode(fake: FakeKernel, device: Device) -> None:
    assert not device.backend.xnack_enabled()
    fake.xnack = 1
    assert device.backend.xnack_enabled()
    fake.fail("SET_XNACK_MODE", errno.EPERM)
    assert not device.backend.xnack_enabled()
    fake.fail("SET_XNACK_MODE", errno.EINVAL)
    with pytest.raises(KernelError, match="SET_XNACK_MODE"):
        device.backend.xnack_enabled()


def test_flush_registers_that_cannot_be_mapped_are_freed(fake: FakeKernel, device: Device) -> None:
    before = fake.held()
    fake.fail("mmap", errno.EINVAL)
    with pytest.raises(KernelError, match="mmap"):
        device.backend.flush_host_writes()
    assert fake.held() == before
    device.backend.flush_host_writes()


def test_a_child_process_connects_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """amdkfd serves a descriptor only to the process that opened it (EBADF after a fork)."""
    kernel = FakeKernel("mi300x")
    first = connect(kernel)
    assert connect(kernel) is first
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert connect(kernel) is not first
    disconnect(kernel)
    disconnect(kernel)


def test_ecc_and_text(device: Device) -> None:
    assert device.node.sramecc == (device.family.name == "gfx942")
    assert repr(device) == f"<Device {device.name}>"


def test_clocks_and_free_memory(device: Device) -> None:
    assert device.backend.clock_counters() == (1000, 10000)
    assert device.backend.available_memory() == 1 << 30


def test_a_gpu_that_the_process_has_opened_another_way_is_told() -> None:
    kernel = FakeKernel("mi300x")
    kernel.fail("ACQUIRE_VM", errno.EBUSY)
    with pytest.raises(DeviceOpenError, match=r"/dev/dri/renderD128: this process has opened .* another way"):
        open_first(kernel)
    assert "/dev/dri/renderD128" not in kernel.descriptors.values()


def test_sdma_queues_that_other_processes_hold_are_told() -> None:
    kernel = FakeKernel("rx7900xtx")
    with open_first(kernel) as device:
        # What queues share stays with the device.
        device.sdma_queue().close()
        held = kernel.held()
        kernel.fail("CREATE_QUEUE", errno.ENOMEM)
        message = (
            r"no SDMA queue is free on the GPU at 0000:01:00\.0 .* all processes share 12, 6 of each engine"
        )
        with pytest.raises(NoFreeQueueError, match=message):
            device.sdma_queue()
        assert kernel.held() == held
        kernel.fail("CREATE_QUEUE", errno.ENOMEM)
        with pytest.raises(NoFreeQueueError, match="all processes share 6, 6 of each engine"):
            device.sdma_queue(engine=1)
        kernel.fail("CREATE_QUEUE", errno.ENOMEM)
        with pytest.raises(KernelError, match="ENOMEM"):
            device.compute_queue()
