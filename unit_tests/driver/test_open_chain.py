"""Commands gather in one open chain of their queue until they are submitted, and are never forgotten."""

from __future__ import annotations

import pytest

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import BufferBoundsError, CommandError
from pytest_amdgpu.driver.sdma_queue import SdmaQueue


@pytest.fixture
def queue(device: Device) -> SdmaQueue:
    return device.sdma_queue(4096)


def names(queue: SdmaQueue) -> list[str]:
    return [packet.name for packet in queue.packets.decode_stream(queue.ring.pending_words())]


def test_statements_gather_as_an_expression_does(queue: SdmaQueue, device: Device) -> None:
    target, semaphore = device.vram(4096), device.timeline_semaphore()
    for value in range(3):
        queue.fill(target, value)
    queue.signal(semaphore, 1)
    assert names(queue) == []
    queue.submit()
    sent = names(queue)
    assert sent.count("CONSTANT_FILL") == 3
    assert sent.index("TRAP") > max(i for i, name in enumerate(sent) if name == "CONSTANT_FILL")


def test_a_submitted_chain_is_not_gone_on_with(queue: SdmaQueue, device: Device) -> None:
    target = device.vram(4096)
    queue.fill(target, 1).submit()
    queue.fill(target, 2).submit()
    assert names(queue).count("CONSTANT_FILL") == 2


def test_a_recorded_chain_is_apart_from_the_open_one(queue: SdmaQueue, device: Device) -> None:
    target = device.vram(4096)
    queue.fill(target, 1)
    queue.record().fill(target, 2).submit()
    assert names(queue).count("CONSTANT_FILL") == 1
    queue.submit()
    assert names(queue).count("CONSTANT_FILL") == 2


def test_submitting_nothing_is_refused(queue: SdmaQueue) -> None:
    with pytest.raises(CommandError, match=r"sdma queue 0 on .* was given no commands to submit"):
        queue.submit()


FORGOTTEN = (
    r"sdma queue 0 on .*, made at .*test_open_chain\.py:.* never submitted: (GCR_REQ .*; )?CONSTANT_FILL"
)


def test_closing_a_queue_tells_of_forgotten_commands(queue: SdmaQueue, device: Device) -> None:
    queue.fill(device.vram(4096), 1)
    with pytest.raises(CommandError, match=FORGOTTEN):
        queue.close()
    assert queue.closed


def test_waiting_for_the_end_of_work_tells_of_forgotten_commands(queue: SdmaQueue, device: Device) -> None:
    queue.fill(device.vram(4096), 1)
    with pytest.raises(CommandError, match=FORGOTTEN):
        queue.wait_idle(0)


def test_reclaiming_a_device_tells_of_forgotten_commands(queue: SdmaQueue, device: Device) -> None:
    queue.fill(device.vram(4096), 1)
    with pytest.raises(ExceptionGroup) as caught:
        device.reclaim()
    assert caught.group_contains(CommandError, match=FORGOTTEN)


def test_discarded_commands_are_forgotten_on_purpose(queue: SdmaQueue, device: Device) -> None:
    queue.fill(device.vram(4096), 1)
    queue.discard()
    queue.close()


def test_a_refused_command_leaves_the_chain_as_it_was(queue: SdmaQueue, device: Device) -> None:
    target = device.vram(4096)
    queue.fill(target, 1)
    with pytest.raises(BufferBoundsError):
        queue.fill(target, 2, size=5000)
    queue.submit()
    assert names(queue).count("CONSTANT_FILL") == 1


def test_an_error_inside_a_with_block_is_not_covered_up(device: Device) -> None:
    def fail() -> None:
        with device.sdma_queue(4096) as queue:
            queue.fill(device.vram(4096), 1)
            raise RuntimeError("the real error")

    with pytest.raises(RuntimeError, match="the real error"):
        fail()
