"""What the driver makes of a fault: one error that says what is known, queues that are lost, and going on."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.abi.kfd import EventData, EventType, HsaHwExceptionData
from pytest_amdgpu.devices.sigbus import discard, hold_back
from pytest_amdgpu.driver.compiler import compile_source, find_compiler
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import (
    AllocationError,
    DeviceOpenError,
    GpuFaultError,
    GpuResetError,
    MemoryFaultError,
    PoisonError,
    QueueError,
    QueueLostError,
    WaitTimeoutError,
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


@pytest.mark.parametrize(
    ("not_present", "read_only", "text"),
    [
        (1, 0, "page not present"),
        (1, 1, "page not present (at a write)"),
        (0, 1, "write to a read-only page"),
        (0, 0, "no cause given, as for instructions in a page that is not executable"),
    ],
)
def test_the_cause_of_a_memory_fault(
    fake: FakeKernel, device: Device, not_present: int, read_only: int, text: str
) -> None:
    fake.raise_memory_fault(device.node.gpu_id, 0x1000)
    for event in fake.events.values():
        if event.data is not None:
            event.data.memory_exception_data.failure.NotPresent = not_present
            event.data.memory_exception_data.failure.ReadOnly = read_only
    with pytest.raises(MemoryFaultError) as caught:
        device.check_health()
    assert str(caught.value) == f"memory fault on GPU {device.node.identity} at 0x1000: {text}"


def test_a_memory_fault_far_from_everything_names_nothing(fake: FakeKernel, device: Device) -> None:
    device.gtt(64)
    assert memory_fault(fake, device, 0x1000).endswith("at 0x1000: page not present")


def test_a_fault_shows_the_queues_that_were_busy(fake: FakeKernel, device: Device) -> None:
    idle, busy = device.sdma_queue(4096), device.sdma_queue(4096)
    busy.fill(device.gtt(64), 1).submit()
    text = memory_fault(fake, device, 0x1000)
    assert f"\nnot done: {busy.name}: write pointer" in text
    assert idle.name not in text


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


def test_a_reset_of_another_gpu_stops_queues_here() -> None:
    fake = FakeKernel("mi300x", "mi300x")
    first, second = (Device.open(fake, node) for node in discover(fake))
    with first, second:
        for event in fake.events.values():
            if event.kind is EventType.HW_EXCEPTION:
                event.data = EventData()
                event.data.hw_exception_data = HsaHwExceptionData(0, 0, 1, second.node.gpu_id)
        text = rf"reset another GPU \(gpu_id {second.node.gpu_id:#x}\) .* on GPU {first.node.identity}"
        with pytest.raises(GpuResetError, match=text) as caught:
            first.check_health()
        assert not caught.value.memory_lost
        with pytest.raises(GpuResetError, match="memory is given up as lost"):
            second.check_health()


def test_on_software_a_reset_of_another_gpu_ends_waits() -> None:
    kernel = EmulatedKernel([model("mi300x"), model("rx7900xtx")], behaviour="newest")
    first, second = (Device.open(kernel, node) for node in discover(kernel))
    with first, second:
        never = second.timeline_semaphore()
        kernel.reset_gpu(0)
        with pytest.raises(GpuResetError, match="has reset another GPU"):
            never.wait(1, timeout=60)
        for device in (first, second):
            device.reopen()
        for device in (first, second):
            done = device.timeline_semaphore()
            device.sdma_queue().signal(done, 1).submit()
            done.wait(1, timeout=60)
    kernel.shutdown()


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
                done.wait(1, timeout=60)
            device.reopen()
        queue, done, buffer = device.compute_queue(), device.timeline_semaphore(), device.gtt(8)
        queue.timestamp(buffer).signal(done, 1).submit()
        done.wait(1, timeout=60)
    assert len(kernel._machine.processes) == 2, "the primary process, and the last secondary one"
    kernel.shutdown()


@pytest.fixture
def sigbus() -> Iterator[None]:
    """Hold SIGBUS back, as the plugin does."""
    hold_back()
    yield
    discard()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGBUS})


OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"


@pytest.mark.parametrize("name", ["mi210", "mi300x", "mi350x"])
@pytest.mark.parametrize("kind", ["sdma", "pm4", "aql"])
def test_who_reads_poison_is_told(name: str, kind: str, sigbus: None) -> None:
    kernel = EmulatedKernel([model(name)], behaviour="newest")
    with Device.open(kernel, discover(kernel)[0]) as device:
        source, out, done = device.vram(4096), device.gtt(4096), device.timeline_semaphore()
        kernel.poison(0, source.address + 1024, 32)
        if kind == "sdma":
            device.sdma_queue().copy(out, source).signal(done, 1).submit()
        else:
            read_at = device.load(OBJECTS / device.family.name / "out_of_bounds.co")["read_at"]
            queue = device.compute_queue(kind)
            queue.dispatch(read_at, 64, [out, source.address + 1020]).signal(done, 1).submit()
            done.wait(1, timeout=60)
            queue.dispatch(read_at, 64, [out, source.address + 1024]).signal(done, 2).submit()
        with pytest.raises(PoisonError, match=r"poison consumed\); the kernel resets it"):
            done.wait(2, timeout=60)
        assert signal.SIGBUS in signal.sigpending()
        device.reopen()
        device.check_health()
        queue, done = device.sdma_queue(), device.timeline_semaphore()
        queue.fill(device.vram(4096), 1).signal(done, 1).submit()
        done.wait(1, timeout=60)
    kernel.shutdown()


ALL_KERNELS = ("mi210", "mi300x", "mi350x", "rx6900xt", "rx7900xtx", "strixhalo", "rx9060xt", "r9700")


@pytest.mark.parametrize("name", ALL_KERNELS)
@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_an_illegal_instruction_is_no_fault(name: str, kind: str) -> None:
    """The wave is halted: a time-out that hints at the log, and queues that go on and can be destroyed."""
    kernel = EmulatedKernel([model(name)])
    with Device.open(kernel, discover(kernel)[0]) as device:
        program = device.load(OBJECTS / device.family.name / "illegal.co")
        queue, done = device.compute_queue(kind), device.timeline_semaphore()
        queue.dispatch(program["illegal"], 1, [device.gtt(8)]).signal(done, 1).submit()
        end = time.monotonic() + 60
        while not any("sq_intr" in line for line in kernel.log):
            assert time.monotonic() < end
            time.sleep(0.001)
        with pytest.raises(WaitTimeoutError, match=r"faults seen: none\nof a wave that met an illegal"):
            done.wait(1, timeout=0.05)
        sdma, copied = device.sdma_queue(), device.timeline_semaphore()
        sdma.signal(copied, 1).submit()
        copied.wait(1, timeout=60)
        queue.close()
        assert not device.backend.faults
    assert any("sq_intr: error, err_type 2 (illegal instruction)" in line for line in kernel.log)
    assert any("[bfffffff]" in line for line in kernel.log)
    kernel.shutdown()


def test_a_time_out_of_sdma_hints_at_no_wave(device: Device) -> None:
    done = device.timeline_semaphore()
    device.sdma_queue(4096).signal(done, 1).submit()
    with pytest.raises(WaitTimeoutError, match=r"faults seen: none$"):
        done.wait(1, timeout=0)


def test_an_instruction_that_is_not_emulated_ends_the_wait(require_ziglang: None) -> None:
    kernel = EmulatedKernel([model("rx7900xtx")])
    with Device.open(kernel, discover(kernel)[0]) as device:
        source = '__attribute__((amdgpu_kernel)) void bad(void) { __asm__ volatile("s_sethalt 1"); }'
        program = device.load(compile_source(source, "gfx1100", compiler=find_compiler()))
        queue, done = device.compute_queue("pm4"), device.timeline_semaphore()
        queue.dispatch(program["bad"], 1, []).signal(done, 1).submit()
        with pytest.raises(GpuResetError, match="hung and was reset"):
            done.wait(1, timeout=60)
    assert any("s_sethalt" in line for line in kernel.log)
    kernel.shutdown()


class Elsewhere:
    """An address without memory, for commands that take a buffer."""

    address, size = NOWHERE, 64

    def describe(self) -> str:
        return "nothing"
