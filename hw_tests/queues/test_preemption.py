"""Queues that are taken off the hardware while waves run, and more queues than the hardware has room for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import CommandError, WaitTimeoutError
from pytest_amdgpu.families.queue_sizes import queue_sizes

GROUPS, BLOCK = 40, 64
SEED = 12345


class Held:
    """Work-groups that wait for the host with their registers and LDS full."""

    def __init__(self, queue: Any, kernel: Any, buffer: Any, semaphore: Any, seed: int = SEED) -> None:
        self.seed = np.uint32(seed)
        self.count = GROUPS * BLOCK
        self.words = buffer.view(np.uint32)
        self.words[:] = 0
        self.semaphore = semaphore
        started, flag, out = buffer[:4], buffer[64:68], buffer[128 : 128 + 4 * self.count]
        queue.dispatch(kernel, self.count, [started, flag, out, seed], block=BLOCK)
        queue.signal(semaphore, 1).submit()

    def await_start(self) -> None:
        """Wait until all run, at most 10 seconds."""
        deadline = time.monotonic() + 10
        while self.words[0] < GROUPS:
            assert time.monotonic() < deadline, f"{self.words[0]} of {GROUPS} work-groups have started"
            time.sleep(0.0005)

    def let_go(self) -> None:
        """Let them end."""
        self.words[16] = 1

    def check(self) -> None:
        """Wait for the end and check what became of what they held."""
        self.semaphore.wait(1, timeout=10)
        i = np.arange(self.count, dtype=np.uint32)
        lane = i % BLOCK
        mirror = i - lane + BLOCK - 1 - lane
        expected = i // BLOCK * np.uint32(40503) + self.seed + (mirror ^ self.seed)
        for k in range(8):
            held = (i + self.seed) * np.uint32(2654435761) + np.uint32(k * int(self.seed))
            expected += held >> np.uint32(k)
        assert np.array_equal(self.words[32 : 32 + self.count], expected)


@pytest.fixture(params=["pm4", "aql"])
def queue(request, make_queue) -> Any:
    return make_queue(request.param)


@pytest.fixture
def held(queue, suite_kernel, amdgpu_device, gtt_buffer, timeline_semaphore) -> Iterator[Held]:
    kernel = suite_kernel("hold")
    buffer = gtt_buffer(128 + 4 * GROUPS * BLOCK, uncached=True)
    work = Held(queue, kernel, buffer, timeline_semaphore)
    work.await_start()
    yield work
    work.let_go()
    if queue.paused:
        queue.resume()


def test_a_paused_queue_keeps_its_waves(queue, held):
    queue.pause()
    held.let_go()
    with pytest.raises(WaitTimeoutError):
        held.semaphore.wait(1, timeout=0.05)
    queue.resume()
    held.check()


def test_a_queue_can_be_paused_again_and_again(queue, held):
    for _ in range(5):
        queue.pause()
        queue.resume()
    held.let_go()
    held.check()


def test_pausing_saves_the_waves(queue, held):
    queue.pause()
    saved = queue.saved_waves()
    sizes = queue_sizes(queue.device.node.properties)
    for xcc, waves in enumerate(saved):
        assert (waves.wave_state > 0) == (waves.control_stack > 0) == (xcc in queue.xccs)
        assert waves.control_stack < sizes.ctl_stack_size
        assert waves.wave_state <= sizes.cwsr_size - sizes.ctl_stack_size
    # Each has at least the ten registers that it holds in every lane.
    assert sum(waves.wave_state for waves in saved) >= GROUPS * BLOCK * 4 * 10
    queue.resume()
    held.let_go()
    held.check()


def test_an_idle_queue_saves_nothing(queue):
    queue.pause()
    assert {(waves.control_stack, waves.wave_state) for waves in queue.saved_waves()} == {(0, 0)}
    queue.resume()
    with pytest.raises(CommandError, match="is not paused"):
        queue.saved_waves()


def test_what_is_submitted_to_a_paused_queue_waits(make_queue, timeline_semaphore):
    for kind in ("sdma", "pm4", "aql"):
        queue = make_queue(kind)
        value = timeline_semaphore.value + 1
        queue.pause()
        queue.signal(timeline_semaphore, value).submit()
        with pytest.raises(WaitTimeoutError):
            timeline_semaphore.wait(value, timeout=0.02)
        queue.resume()
        timeline_semaphore.wait(value, timeout=10)


def test_a_mask_moves_waves_that_run(queue, held, amdgpu_device):
    """They are preempted and go on elsewhere, with what they held."""
    units = amdgpu_device.node.num_xcc * (2 if amdgpu_device.family.units_in_pairs else 1)
    queue.set_cu_mask(range(units))
    queue.set_cu_mask(range(units, 2 * units))
    held.let_go()
    held.check()


def test_waves_of_more_queues_than_the_hardware_has_keep_what_they_hold(
    amdgpu_device, suite_kernel, gtt_buffer, make_semaphore
):
    """All must have had a turn before any may end, so those before them were saved and come back."""
    kernel = suite_kernel("hold")
    with ExitStack() as close:
        works = []
        for index in range(amdgpu_device.node.hardware_queues + 2):
            queue = close.enter_context(amdgpu_device.compute_queue())
            buffer = gtt_buffer(128 + 4 * GROUPS * BLOCK, uncached=True)
            works.append(Held(queue, kernel, buffer, make_semaphore(), SEED + index))
        close.callback(lambda: [work.let_go() for work in works])
        for work in works:
            work.await_start()
        for work in works:
            work.let_go()
        for work in works:
            work.check()


def test_more_queues_than_the_hardware_has_all_go_on(amdgpu_device, suite_kernel, gtt_buffer):
    """Each waits, with a wave, for a number from the next; the last ones come when all places are taken."""
    places = amdgpu_device.node.hardware_queues
    count = places + 2
    kernel = suite_kernel("pass_on")
    numbers, started = (gtt_buffer(64 * (count + 1), uncached=True) for _ in range(2))
    numbers.array[:] = 0
    started.array[:] = 0
    begin = started[64 * count : 64 * count + 4]
    started.view(np.uint32)[16 * count] = 1
    with ExitStack() as close:
        queues = [close.enter_context(amdgpu_device.compute_queue()) for _ in range(count)]
        for index, queue in enumerate(queues):
            source, target = (numbers[64 * place : 64 * place + 4] for place in (index + 1, index))
            queue.dispatch(kernel, 1, [begin, started[64 * index : 64 * index + 4]], block=1)
            queue.dispatch(kernel, 1, [source, target], block=1).submit()
            deadline = time.monotonic() + 10
            while index < places and not started.view(np.uint32)[16 * index]:
                assert time.monotonic() < deadline, f"queue {index} of {places} has not started"
                time.sleep(0.0005)
        numbers.view(np.uint32)[16 * count] = 1
        for queue in queues:
            queue.wait_idle(timeout=20)
    assert np.array_equal(numbers.view(np.uint32)[::16], np.arange(count + 1, 0, -1))
