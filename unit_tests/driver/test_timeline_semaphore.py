"""Timeline semaphores on the host: waking, time-outs that explain themselves, faults."""

from __future__ import annotations

import errno
import re

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.abi.kfd import EventData, EventType, HsaHwExceptionData
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import (
    GpuFaultError,
    GpuResetError,
    PoisonError,
    QueueError,
    SemaphoreValueError,
    UseAfterFreeError,
    WaitTimeoutError,
)
from pytest_amdgpu.driver.semaphore import TimelineSemaphore
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.kernel.protocol import KernelError

SHORT = 0.002


@pytest.fixture
def semaphore(device: Device) -> TimelineSemaphore:
    return device.timeline_semaphore()


def gpu_signals(fake: FakeKernel, semaphore: TimelineSemaphore, value: int) -> None:
    semaphore._word[0] = value
    fake.signal(semaphore.event_id)


def test_host_signals_and_waits(semaphore: TimelineSemaphore) -> None:
    assert semaphore.value == 0
    semaphore.signal(3)
    assert semaphore.value == 3
    semaphore.wait(2, timeout=0)
    semaphore.wait(3, timeout=0)


def test_a_signal_of_the_host_wakes_waiters(fake: FakeKernel, semaphore: TimelineSemaphore) -> None:
    semaphore.signal(1)
    assert fake.calls[-1] == "SET_EVENT"
    assert fake.events[semaphore.event_id].age == 2


def test_initial_value_and_64_bits(device: Device) -> None:
    semaphore = device.timeline_semaphore((1 << 32) + 5)
    assert semaphore.value == (1 << 32) + 5
    semaphore.signal((1 << 64) - 1)
    assert semaphore.value == (1 << 64) - 1


def test_a_reached_value_asks_nothing_of_the_kernel(fake: FakeKernel, semaphore: TimelineSemaphore) -> None:
    semaphore.signal(1)
    fake.calls.clear()
    semaphore.wait(1, timeout=60)
    assert fake.calls == []


def test_a_wait_sleeps_on_the_event_and_reads_the_value_again(
    fake: FakeKernel, semaphore: TimelineSemaphore
) -> None:
    values = iter([1, 2, 3])
    fake.on_wait = lambda: gpu_signals(fake, semaphore, next(values))
    fake.calls.clear()
    semaphore.wait(3, timeout=60)
    assert fake.calls == ["WAIT_EVENTS"] * 3


def test_a_wake_up_before_the_value_is_not_the_end(fake: FakeKernel, semaphore: TimelineSemaphore) -> None:
    wakes = 0

    def wake() -> None:
        nonlocal wakes
        wakes += 1
        fake.signal(semaphore.event_id)
        if wakes == 5:
            semaphore._word[0] = 1

    fake.on_wait = wake
    semaphore.wait(1, timeout=60)
    assert wakes == 5


def test_the_age_of_the_event_is_handed_back(fake: FakeKernel, semaphore: TimelineSemaphore) -> None:
    """With age 0 the kernel would sleep although a signal came between two waits."""
    ages = []

    def note(argument: EventData) -> None:
        if argument.event_id == semaphore.event_id:
            ages.append(argument.signal_event_data.last_event_age)

    fake.on_wait_element = note
    fake.on_wait = lambda: gpu_signals(fake, semaphore, len(ages) + 1)
    semaphore.wait(3, timeout=60)
    assert ages == [1, 2, 3]


def test_a_time_out_says_what_nobody_signals(semaphore: TimelineSemaphore) -> None:
    with pytest.raises(WaitTimeoutError) as caught:
        semaphore.wait(7, timeout=SHORT)
    assert re.fullmatch(
        rf"waited {SHORT} s for 7 of timeline semaphore at 0x[0-9a-f]+ \(value 0\), made at .*\.py:\d+\n"
        r"nothing that was submitted signals 7 or more\n"
        r"faults seen: none",
        str(caught.value),
    )


@pytest.mark.parametrize("kind", ["sdma", "pm4", "aql"])
def test_a_time_out_says_what_would_have_signalled_and_where_queues_are(device: Device, kind: str) -> None:
    queue = device.sdma_queue(4096) if kind == "sdma" else device.compute_queue(kind, 4096)
    go, done = device.timeline_semaphore(), device.timeline_semaphore()
    queue.signal(done, 1).submit()
    queue.wait(go, 5).signal(done, 7).submit()
    queue.ring._read_pointer[0] = queue.ring._position // queue.UNIT
    queue.wait(go, 6).signal(done, 9).submit()
    with pytest.raises(WaitTimeoutError) as caught:
        done.wait(6, timeout=SHORT)
    text = str(caught.value)
    assert f"submission 2 of {kind} queue 0 signals 7; submission 3 of {kind} queue 0 signals 9" in text
    line = next(line for line in text.splitlines() if line.startswith(f"{kind} queue 0"))
    assert f"write pointer {queue.ring.write_pointer:#x}, read pointer {queue.ring.read_pointer:#x}" in line
    polled = {"sdma": "POLL_MEM", "pm4": "WAIT_REG_MEM", "aql": "which runs: WAIT_REG_MEM"}[kind]
    assert polled in line
    assert f"addr={go.address:#x} value=6" in line


def test_an_idle_queue_is_said_to_be_idle(device: Device, semaphore: TimelineSemaphore) -> None:
    device.sdma_queue(4096)
    with pytest.raises(WaitTimeoutError, match="sdma queue 0: write pointer 0x0, read pointer 0x0, all read"):
        semaphore.wait(1, timeout=SHORT)


def test_garbage_in_the_ring_is_shown_as_dwords(device: Device, semaphore: TimelineSemaphore) -> None:
    queue = device.sdma_queue(4096)
    queue.signal(semaphore, 1).submit()
    queue._memory.ring.view("<u4")[0] = 0xDEADBEEF
    with pytest.raises(WaitTimeoutError, match=r"at the read pointer: .*op 239.* \(deadbeef "):
        semaphore.wait(1, timeout=SHORT)


def test_an_interrupted_wait_goes_on(fake: FakeKernel, semaphore: TimelineSemaphore) -> None:
    fake.fail("WAIT_EVENTS", errno.EINTR)
    fake.on_wait = lambda: gpu_signals(fake, semaphore, 1)
    semaphore.wait(1, timeout=60)


def test_a_wait_that_the_kernel_refuses_is_an_error(fake: FakeKernel, semaphore: TimelineSemaphore) -> None:
    fake.fail("WAIT_EVENTS", errno.EINVAL)
    with pytest.raises(KernelError, match="WAIT_EVENTS"):
        semaphore.wait(1, timeout=60)


def test_a_memory_fault_ends_every_wait(
    fake: FakeKernel, device: Device, semaphore: TimelineSemaphore
) -> None:
    queue = device.sdma_queue(4096)
    queue.signal(semaphore, 1).submit()
    fake.on_wait = lambda: fake.raise_memory_fault(device.node.gpu_id, 0xDEAD000)
    for wait in (
        lambda: semaphore.wait(1, timeout=60),
        lambda: semaphore.wait(2, timeout=60),
        lambda: queue.wait_idle(60),
        device.check_health,
    ):
        with pytest.raises(
            GpuFaultError, match=r"memory fault on GPU .* at 0xdead000: page not present"
        ) as caught:
            wait()
        assert caught.value.kind == "memory"
        assert caught.value.address == 0xDEAD000
    queue.close()


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        ("ReadOnly", "write to a read-only page"),
        ("NoExecute", "page not executable"),
        ("imprecise", "address imprecise"),
        (None, "no cause given"),
    ],
)
def test_causes_of_memory_faults(fake: FakeKernel, device: Device, cause: str | None, text: str) -> None:
    fake.raise_memory_fault(device.node.gpu_id, 0x1000)
    data = next(e for e in fake.events.values() if e.kind is EventType.MEMORY).data
    assert data is not None
    data.memory_exception_data.failure.NotPresent = 0
    if cause:
        setattr(data.memory_exception_data.failure, cause, 1)
    with pytest.raises(GpuFaultError, match=f"at 0x1000: {text}"):
        device.check_health()


def test_an_uncorrectable_error_is_named(fake: FakeKernel, device: Device) -> None:
    fake.raise_memory_fault(device.node.gpu_id, 0x1000)
    data = next(e for e in fake.events.values() if e.kind is EventType.MEMORY).data
    assert data is not None
    data.memory_exception_data.ErrorType = 2
    text = r"met an uncorrectable error of its memory \(poison consumed\); the kernel resets it"
    with pytest.raises(PoisonError, match=text) as caught:
        device.check_health()
    assert (caught.value.kind, caught.value.address, caught.value.memory_lost) == ("poison", None, True)


def test_a_fault_of_another_gpu_is_not_ours() -> None:
    fake = FakeKernel("mi300x", "mi300x")
    first, second = (Device.open(fake, node) for node in discover(fake))
    with first, second:
        fake.raise_memory_fault(second.node.gpu_id, 0x1000)
        first.check_health()
        with pytest.raises(GpuFaultError, match=second.node.identity):
            second.check_health()


WHOLE = "GPU 0000:01:00.0, or a queue of this process on it,"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (HsaHwExceptionData(0, 0, 1), f"{WHOLE} hung and was reset; memory is given up as lost"),
        (HsaHwExceptionData(1, 0, 0), "a queue of GPU 0000:01:00.0 hung and was reset; memory was kept"),
        (HsaHwExceptionData(0, 1, 1), f"{WHOLE} had a memory error and was reset; memory is given up"),
        (HsaHwExceptionData(0, 9, 0), f"{WHOLE} failed for cause 9 and was reset"),
    ],
    ids=["hang", "queue", "ecc", "unknown"],
)
def test_a_reset_ends_waits(
    fake: FakeKernel, semaphore: TimelineSemaphore, device: Device, data: HsaHwExceptionData, text: str
) -> None:
    event = next(e for e in fake.events.values() if e.kind is EventType.HW_EXCEPTION)
    event.data = EventData()
    event.data.hw_exception_data = data
    event.data.hw_exception_data.gpu_id = device.node.gpu_id
    with pytest.raises(GpuResetError, match=text) as caught:
        semaphore.wait(1, timeout=60)
    assert (caught.value.kind, caught.value.address) == ("reset", None)
    assert caught.value.memory_lost == bool(data.memory_lost)


def test_an_exception_of_a_queue_is_named(fake: FakeKernel, device: Device) -> None:
    queue = device.compute_queue("pm4", 4096)
    (created,) = fake.queues.values()
    payload = queue._memory.pointers.view("<u8", offset=0x800, count=1)
    # The kernel ORs bits of code - 1: 4 is an illegal instruction, 20 an unsupported packet.
    payload[0] = 1 << 3 | 1 << 19 | 1 << 60
    signal_events = [number for number, e in fake.events.items() if e.kind is EventType.SIGNAL]
    fake.signal(min(signal_events))
    text = (
        r"pm4 queue 0 of GPU 0000:01:00.0 stopped: queue wave illegal instruction \(code 4\), "
        r"queue packet unsupported \(code 20\), unknown exception code 61"
    )
    with pytest.raises(QueueError, match=text) as caught:
        device.check_health()
    assert (caught.value.kind, caught.value.queue) == ("queue", "pm4 queue 0")
    assert payload[0] == 0
    assert created.queue_id == queue.queue_id


def test_an_exception_that_came_before_the_wait_ends_it(
    fake: FakeKernel, device: Device, semaphore: TimelineSemaphore
) -> None:
    queue = device.compute_queue("pm4", 4096)
    queue._memory.pointers.view("<u8", offset=0x800, count=1)[0] = 1 << 3
    fake.signal(min(number for number, e in fake.events.items() if e.kind is EventType.SIGNAL))
    with pytest.raises(GpuFaultError, match=r"illegal instruction \(code 4\)"):
        semaphore.wait(1, timeout=1)


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_values_that_64_bits_cannot_hold(device: Device, semaphore: TimelineSemaphore, value: int) -> None:
    for use in (
        lambda: semaphore.signal(value),
        lambda: semaphore.wait(value, timeout=0),
        lambda: device.timeline_semaphore(value),
        lambda: device.sdma_queue(4096).wait(semaphore, value),
        lambda: device.compute_queue("pm4", 4096).signal(semaphore, value),
    ):
        with pytest.raises(SemaphoreValueError, match=f"{value} is not a value of a timeline semaphore"):
            use()


def test_a_timeline_only_grows(semaphore: TimelineSemaphore) -> None:
    semaphore.signal(5)
    for value in (5, 4):
        with pytest.raises(SemaphoreValueError, match=f"cannot go to {value}: it only grows"):
            semaphore.signal(value)


def test_use_after_free(fake: FakeKernel, semaphore: TimelineSemaphore, device: Device) -> None:
    events = len(fake.events)
    semaphore.free()
    assert len(fake.events) == events - 1
    for use in (
        lambda: semaphore.value,
        lambda: semaphore.signal(1),
        lambda: semaphore.wait(1, timeout=0),
        semaphore.free,
        lambda: device.sdma_queue(4096).signal(semaphore, 1),
    ):
        with pytest.raises(UseAfterFreeError, match=r"timeline semaphore at .* was freed"):
            use()


def test_many_semaphores_have_places_of_their_own(device: Device) -> None:
    semaphores = [device.timeline_semaphore(number) for number in range(200)]
    assert [semaphore.value for semaphore in semaphores] == list(range(200))
    assert len({semaphore.address for semaphore in semaphores}) == 200
    assert all(semaphore.address % 64 == 0 for semaphore in semaphores)


def test_no_event_no_semaphore(fake: FakeKernel, device: Device) -> None:
    device.timeline_semaphore()
    fake.fail("CREATE_EVENT", errno.ENOSPC)
    with pytest.raises(KernelError, match=r"CREATE_EVENT.*ENOSPC"):
        device.timeline_semaphore()
    device.timeline_semaphore().free()


def test_peers_reach_the_value() -> None:
    fake = FakeKernel("mi300x", "mi300x")
    first, second = (Device.open(fake, node) for node in discover(fake))
    with first, second:
        semaphore = first.timeline_semaphore()
        semaphore.map_to(second)
        page = next(o for o in fake.objects.values() if o.address == semaphore.address & ~4095)
        assert page.mapped == {0x1001, 0x1002}
