"""A packet that no engine can decode stops its queue, is shown, and leaves the other queues alone."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import GpuFaultError, WaitTimeoutError
from pytest_amdgpu.driver.semaphore import TimelineSemaphore
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

MODELS = ("mi210", "mi300x", "mi350x", "rx6900xt", "rx7900xtx", "strixhalo", "rx9060xt", "r9700")
WHY = {
    "sdma": "has no packet with op 238 sub_op 190",
    "pm4": "has no packet with opcode 0xbe",
    "aql": "AQL has no packet of type 238",
}


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Iterator[EmulatedKernel]:
    made = EmulatedKernel([model(request.param)])
    yield made
    made.shutdown()


@pytest.mark.parametrize("kernel", MODELS, indirect=True)
@pytest.mark.parametrize("kind", WHY)
def test_undecodable_packet_stops_its_queue_only_and_is_shown(kernel: EmulatedKernel, kind: str) -> None:
    with Device.open(kernel, discover(kernel)[0]) as device:
        queues = [device.sdma_queue() if kind == "sdma" else device.compute_queue(kind) for _ in range(2)]
        broken, sound = queues
        line, other, never = (device.timeline_semaphore() for _ in range(3))
        broken.signal(line, 1).submit()
        line.wait(1, timeout=60)
        sound.wait(line, 2).signal(other, 1).submit()
        # Sound packets in front of it, in the same submission.
        offset = broken.ring.write_pointer * broken.UNIT + 64
        broken.ring.place(broken.padding(64), broken._wait_for_space)
        broken._put(bytes.fromhex("eebeadde") * max(broken.UNIT // 4, 4))
        broken.signal(never, 1).submit()
        with pytest.raises(GpuFaultError):
            never.wait(1, timeout=60)
        # The kernel's log and the driver's view of the queue name the packet and say why.
        (line_of_log,) = [text for text in kernel.log if "bad packet: " in text]
        assert WHY[kind] in line_of_log
        assert "deadbeee deadbeee deadbeee" in line_of_log
        assert f"ring offset {offset:#x}" in line_of_log
        # An index of what the engine had read at once is no place that anybody could look for.
        assert "at dword" not in line_of_log
        state = broken.state()
        assert WHY[kind] in state
        assert "at dword" not in state
        assert "deadbeee deadbeee deadbeee" in state
        assert f"read pointer {offset // broken.UNIT:#x}" in state
        # The other queue was waiting all the time and goes on.
        assert never.value == other.value == 0
        line.signal(2)
        _reached(other)
        assert other.value == 1


def _reached(semaphore: TimelineSemaphore) -> None:
    """Wait until a semaphore is 1 by its memory alone: every wait of the driver tells the fault again."""
    deadline = time.monotonic() + 60
    pause = threading.Event()
    while semaphore.value != 1:
        assert time.monotonic() < deadline
        pause.wait(0.001)


class Elsewhere:
    """A place that no page table knows, where a command wants a buffer."""

    address, size = 0x7E00_0000_0000, 64


@pytest.mark.parametrize("kernel", MODELS, indirect=True)
@pytest.mark.parametrize("kind", WHY)
def test_log_and_wait_agree_on_where_a_fault_stopped_the_queue(kernel: EmulatedKernel, kind: str) -> None:
    with Device.open(kernel, discover(kernel)[0]) as device:
        queue = device.sdma_queue() if kind == "sdma" else device.compute_queue(kind)
        buffer, never = device.gtt(64), device.timeline_semaphore()
        # In one submission, so that the engine reads sound packets and the faulting one together.
        nowhere: Any = Elsewhere()
        queue.timestamp(buffer).timestamp(buffer).timestamp(nowhere).signal(never, 1).submit()
        with pytest.raises(GpuFaultError) as caught:
            never.wait(1, timeout=60)
        (logged,) = re.findall(r"at ring offset (0x[0-9a-f]+)", "\n".join(kernel.log))
        (told,) = re.findall(r"read pointer (0x[0-9a-f]+)", str(caught.value))
        assert int(logged, 16) == int(told, 16) * queue.UNIT > 0


@pytest.mark.parametrize("kernel", MODELS, indirect=True)
def test_a_wait_for_a_paused_queue_says_so(kernel: EmulatedKernel) -> None:
    with Device.open(kernel, discover(kernel)[0]) as device:
        queue, never = device.sdma_queue(), device.timeline_semaphore()
        queue.pause()
        queue.signal(never, 1).submit()
        with pytest.raises(WaitTimeoutError, match=r"sdma queue 0: .*, read pointer 0x0, paused, at "):
            never.wait(1, timeout=0.01)
        queue.resume()
        never.wait(1, timeout=60)
        assert "paused" not in queue.state()
