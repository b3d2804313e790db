"""Taking back what was handed out: order, leaks by name and line, errors that do not stop it."""

from __future__ import annotations

import errno

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import GpuFaultError, WaitTimeoutError
from pytest_amdgpu.driver.queue import Queue
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.kernel.protocol import KernelError


def finish(fake: FakeKernel, *queues: Queue) -> None:
    """Let queues look idle to whoever waits."""

    def reach() -> None:
        for queue in queues:
            if not queue.closed:
                queue._progress._word[0] = queue._mark
                fake.signal(queue._progress.event_id)

    fake.on_wait = reach


def test_leaks_are_named_with_the_line_that_made_them(device: Device) -> None:
    device.vram(100)
    queue = device.sdma_queue(4096)
    semaphore = device.timeline_semaphore()
    recording = queue.record().signal(semaphore, 1).finish()
    line = test_leaks_are_named_with_the_line_that_made_them.__code__.co_firstlineno
    texts = [str(leak) for leak in device.leaks()]
    for offset, (text, what) in enumerate(
        zip(
            texts,
            (
                "a vram buffer of 100 bytes at 0x",
                "sdma queue 0 on gfx",
                "timeline semaphore at 0x",
                "a recording for sdma queue 0",
            ),
            strict=True,
        ),
        1,
    ):
        assert text.startswith(what)
        assert text.endswith(f"made at {__file__}:{line + offset}")
    recording.free()
    semaphore.free()
    queue.close()
    assert len(device.leaks()) == 1


def test_order_is_idle_queue_its_memory_then_the_rest(fake: FakeKernel, device: Device) -> None:
    buffer = device.gtt(64)
    queue = device.sdma_queue(4096)
    semaphore = device.timeline_semaphore()
    queue.fill(buffer, 0).signal(semaphore, 1).submit()
    finish(fake, queue)
    fake.calls.clear()
    device.reclaim()
    assert fake.calls == [
        "WAIT_EVENTS",
        "DESTROY_QUEUE",
        *("UNMAP_MEMORY_FROM_GPU", "FREE_MEMORY_OF_GPU", "munmap") * 2,
        "DESTROY_EVENT",
        "DESTROY_EVENT",
        *("UNMAP_MEMORY_FROM_GPU", "FREE_MEMORY_OF_GPU", "munmap"),
    ]
    assert not device.leaks()
    device.reclaim()


def test_a_queue_that_never_ends_is_destroyed_nevertheless(fake: FakeKernel, device: Device) -> None:
    queue = device.sdma_queue(4096)
    queue.wait(device.timeline_semaphore(), 1).submit()
    with pytest.raises(ExceptionGroup, match="could not take back all of gfx") as caught:
        device.reclaim(idle_timeout=0.002)
    (error,) = caught.value.exceptions
    assert isinstance(error, WaitTimeoutError)
    assert "POLL_MEM" in str(error)
    assert not device.leaks()
    assert not fake.queues


def test_all_errors_are_collected(fake: FakeKernel, device: Device) -> None:
    device.gtt(64)
    device.gtt(64)
    device.timeline_semaphore()
    fake.fail("FREE_MEMORY_OF_GPU", errno.EBUSY)
    fake.fail("DESTROY_EVENT", errno.EINVAL)
    with pytest.raises(ExceptionGroup) as caught:
        device.reclaim()
    assert sorted(str(error).split("(")[0] for error in caught.value.exceptions) == [
        "[Errno 16] FREE_MEMORY_OF_GPU",
        "[Errno 22] DESTROY_EVENT",
    ]
    assert len(device.leaks()) == 2
    device.reclaim()


def test_after_a_fault_nothing_is_waited_for(fake: FakeKernel, device: Device) -> None:
    queue = device.sdma_queue(4096)
    queue.wait(device.timeline_semaphore(), 1).submit()
    fake.raise_memory_fault(device.node.gpu_id, 0x1000)
    with pytest.raises(GpuFaultError):
        device.check_health()
    fake.calls.clear()
    device.reclaim()
    assert "WAIT_EVENTS" not in fake.calls
    assert not device.leaks()


def test_some_things_can_be_kept(device: Device) -> None:
    kept, given_back = device.gtt(64), device.gtt(64)
    device.reclaim(keep=[kept])
    assert given_back.freed
    assert not kept.freed
    kept.free()


def test_what_was_given_back_is_no_leak(device: Device) -> None:
    buffer, queue, semaphore = device.gtt(64), device.sdma_queue(4096), device.timeline_semaphore()
    for resource in (buffer, queue, semaphore):
        resource.release()
        resource.release()
    assert device.leaks() == []


def test_reopening_tells_what_went_wrong_and_opens(fake: FakeKernel, device: Device) -> None:
    device.gtt(64)
    fake.fail("UNMAP_MEMORY_FROM_GPU", errno.EINVAL)
    with pytest.raises(ExceptionGroup, match="was opened anew, but could not be closed well"):
        device.reopen()
    device.gtt(64).free()
    fake.objects.clear()  # what could not be unmapped
    fake.mappings.clear()
    fake.events_page = 0


def test_idle_queues_are_not_asked_again(fake: FakeKernel, device: Device) -> None:
    queue = device.sdma_queue(4096)
    queue.wait_idle(0)
    queue.signal(device.timeline_semaphore(), 1).submit()
    finish(fake, queue)
    queue.wait_idle(60)
    fake.calls.clear()
    queue.wait_idle(0)
    assert fake.calls == []


def test_closing_a_device_that_cannot_let_go(fake: FakeKernel) -> None:
    device = Device.open(fake, discover(fake)[0])
    device.gtt(64)
    fake.fail("FREE_MEMORY_OF_GPU", errno.EBUSY)
    with pytest.raises(ExceptionGroup, match="could not close gfx") as caught:
        device.close()
    inner = caught.value.exceptions[0]
    assert isinstance(inner, ExceptionGroup)
    assert isinstance(inner.exceptions[0], KernelError)
    assert len(fake.events) == 0
