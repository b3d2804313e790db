"""What the driver makes of a fault: one error that says what is known, queues that are lost, and going on."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.abi.kfd import EventData, EventType, HsaHwExceptionData
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import (
    AllocationError,
    DeviceOpenError,
    GpuFaultError,
    MemoryFaultError,
    PoisonError,
    QueueError,
    QueueLostError,
)
from pytest_amdgpu.driver.queue import Queue
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

NOWHERE = 0x7E00_0000_0000


def raise_queue_error(fake: FakeKernel, queue: Queue, code: int) -> None:
    """Do what kfd_send_exception_to_runtime does: OR the code's bit into the payload, signal the event."""
    queue._memory.pointers.view("<u8", offset=0x800, count=1)[0] |= 1 << (code - 1)
    fake.signal(min(number for number, event in fake.events.items() if event.kind is EventType.SIGNAL))


def memory_fault(fake: FakeKernel, device: Device, address: int) -> str:
    fake.raise_memory_fault(device.node.gpu_id, address)
    with pytest.raises(MemoryFaultError) as caught:
        device.check_health()
    assert (caught.value.kind, caught.value.address) == ("memory", address)
    return str(caught.value)


def test_a_memory_fault_names_the_nearest_buffer(fake: FakeKernel, device: Device) -> None:
    buffer = device.gtt(0x2800)
    text = memory_fault(fake, device, buffer.address + 0x3000)
    assert f"; the page is 0x801 bytes behind the last byte of {buffer.describe()}, made at " in text
    assert f"{__file__}:" in text


def test_a_memory_fault_before_a_buffer(fake: FakeKernel, device: Device) -> None:
    buffer = device.gtt(64)
    text = memory_fault(fake, device, buffer.address - 0x1000)
    assert f"0x1000 bytes before {buffer.describe()}" in text


def test_a_memory_fault_inside_a_buffer_that_was_freed(fake: FakeKernel, device: Device) -> None:
    freed = device.gtt(0x4000)
    address, described = freed.address, freed.describe()
    freed.free()
    text = memory_fault(fake, device, address + 0x1000)
    assert f"the page is inside {described}, made at {__file__}:" in text
    assert text.endswith(", which was freed")


def test_a_memory_fault_far_from_everything_names_nothing(fake: FakeKernel, device: Device) -> None:
    device.gtt(64)
    assert memory_fault(fake, device, 0x1000).endswith("at 0x1000: page not present")


def test_a_fault_shows_the_queues_that_were_busy(fake: FakeKernel, device: Device) -> None:
    idle, busy = device.sdma_queue(4096), device.sdma_queue(4096)
    busy.fill(device.gtt(64), 1).submit()
    text = memory_fault(fake, device, 0x1000)
    assert f"\n{busy.name}: write pointer" in text
    assert f"\n{idle.name}" not in text


def test_after_a_memory_fault_all_queues_are_lost(fake: FakeKernel, device: Device) -> None:
    queue, buffer = device.sdma_queue(4096), device.gtt(64)
    memory_fault(fake, device, 0x1000)
    with pytest.raises(QueueLostError, match=r"sdma queue 0 on .* runs nothing more, .*at 0x1000: .*reopen"):
        queue.fill(buffer, 1).submit()
    assert not fake.doorbells


def test_an_error_of_a_queue_leaves_the_others(fake: FakeKernel, device: Device) -> None:
    stopped, other = device.compute_queue("pm4", 4096), device.compute_queue("pm4", 4096)
    first, second = device.timeline_semaphore(), device.timeline_semaphore()
    stopped.signal(first, 1).submit()
    raise_queue_error(fake, stopped, 20)
    with pytest.raises(QueueError, match="packet unsupported") as caught:
        first.wait(1, timeout=1)
    assert caught.value.queue == stopped.name
    with pytest.raises(QueueLostError, match=stopped.name):
        stopped.signal(first, 2).submit()
    other.signal(second, 1).submit()
    fake.on_wait = lambda: second._word.__setitem__(0, 1)
    second.wait(1, timeout=1)
    with pytest.raises(QueueError):
        first.wait(1, timeout=1)
    with pytest.raises(QueueError):
        stopped.wait_idle(1)


def test_poison_is_told_once_by_both_events(fake: FakeKernel, device: Device) -> None:
    """As kfd_signal_poison_consumed_event fills them: error type 2, imprecise; cause 1, memory lost."""
    for event in fake.events.values():
        event.data = EventData()
        if event.kind is EventType.MEMORY:
            memory = event.data.memory_exception_data
            memory.gpu_id, memory.ErrorType, memory.failure.imprecise = device.node.gpu_id, 2, 1
        elif event.kind is EventType.HW_EXCEPTION:
            event.data.hw_exception_data = HsaHwExceptionData(0, 1, 1, device.node.gpu_id)
        else:
            event.data = None
    with pytest.raises(PoisonError, match="uncorrectable error"):
        device.check_health()
    assert len(device.backend.faults) == 1


@pytest.fixture
def newest() -> Iterator[FakeKernel]:
    kernel = FakeKernel("mi300x")
    kernel.version = (1, 19)
    yield kernel
    assert not any(kernel.held().values()), kernel.held()


def test_reopening_goes_on_in_a_secondary_process(newest: FakeKernel) -> None:
    with Device.open(newest, discover(newest)[0]) as device:
        buffer = device.gtt(64)
        memory_fault(newest, device, 0x1000)
        before = set(newest.descriptors)
        device.reopen()
        assert "CREATE_PROCESS" in newest.calls
        assert before.isdisjoint(newest.descriptors), "the old descriptors are closed"
        device.check_health()
        assert buffer.freed
        device.gtt(64).free()
        with pytest.raises(AllocationError, match=r"secondary process .* user memory \(EOPNOTSUPP\)"):
            device.userptr(4096)
        memory_fault(newest, device, 0x2000)
        device.reopen()
        device.check_health()
    assert newest.calls.count("CREATE_PROCESS") == 2


def test_an_error_of_a_queue_needs_no_other_process(newest: FakeKernel) -> None:
    with Device.open(newest, discover(newest)[0]) as device:
        queue = device.compute_queue("pm4", 4096)
        raise_queue_error(newest, queue, 20)
        with pytest.raises(QueueError):
            device.check_health()
        queue.close()
        device.reopen()
    assert "CREATE_PROCESS" not in newest.calls


@pytest.mark.parametrize("call", ["CREATE_PROCESS", "ACQUIRE_VM", "open"])
def test_a_secondary_process_that_cannot_be_had(newest: FakeKernel, call: str) -> None:
    device = Device.open(newest, discover(newest)[0])
    memory_fault(newest, device, 0x1000)
    newest.fail(call, errno.EIO)
    with pytest.raises((OSError, DeviceOpenError)):
        device.reopen()
    device.reopen()
    device.close()


def test_reopening_where_the_kernel_has_no_secondary_processes(fake: FakeKernel) -> None:
    device = Device.open(fake, discover(fake)[0])
    memory_fault(fake, device, 0x1000)
    with pytest.raises(
        DeviceOpenError, match=r"earlier fault \(memory fault .* 1\.17, .*\(1\.19 has\): only another"
    ):
        device.reopen()


@pytest.mark.parametrize("name", ["mi300x", "rx7900xtx"])
def test_on_a_software_gpu_of_the_newest_kernel(name: str) -> None:
    kernel = EmulatedKernel([model(name)], behaviour="newest")
    with Device.open(kernel, discover(kernel)[0]) as device:
        for _ in range(2):
            queue, done = device.sdma_queue(), device.timeline_semaphore()
            queue.copy(device.gtt(4096), Elsewhere()).signal(done, 1).submit()  # type: ignore[arg-type]
            with pytest.raises(GpuFaultError, match=f"at {NOWHERE:#x}: page not present"):
                done.wait(1, timeout=10)
            device.reopen()
        queue, done, buffer = device.compute_queue(), device.timeline_semaphore(), device.gtt(8)
        queue.timestamp(buffer).signal(done, 1).submit()
        done.wait(1, timeout=10)
    assert len(kernel._machine.processes) == 2, "the primary process, and the last secondary one"
    kernel.shutdown()


class Elsewhere:
    """An address without memory, for commands that take a buffer."""

    address, size = NOWHERE, 64

    def describe(self) -> str:
        return "nothing"
