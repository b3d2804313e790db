"""The driver on software GPUs: the real path down to an engine and back, for every generation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_amdgpu.driver import queue as queue_module
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import GpuFaultError, WaitTimeoutError
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"
NOWHERE = 0x7E00_0000_0000

MODELS = (
    "mi100",
    "mi210",
    "mi300x",
    "mi350x",
    "rx5700xt",
    "rx6900xt",
    "rx7900xtx",
    "strixhalo",
    "rx9060xt",
    "r9700",
)
PATHS = [(name, kind) for name in MODELS for kind in ("aql", "pm4")]


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> Iterator[EmulatedKernel]:
    made = EmulatedKernel([model(request.param)])
    yield made
    made.shutdown()


@pytest.fixture
def device(kernel: EmulatedKernel) -> Iterator[Device]:
    opened = Device.open(kernel, discover(kernel)[0])
    yield opened
    opened.close()


every_model = pytest.mark.parametrize("kernel", MODELS, indirect=True)
all_paths = pytest.mark.parametrize(("kernel", "kind"), PATHS, indirect=["kernel"])


class Elsewhere:
    """An address without memory, for commands that take a buffer."""

    def __init__(self, size: int) -> None:
        self.address, self.size = NOWHERE, size

    def describe(self) -> str:
        return "nothing"


@every_model
def test_copy_signal_wait(device: Device) -> None:
    source, through, back = device.gtt(100_001), device.vram(100_001), device.userptr(100_001)
    source.array[:] = np.random.default_rng(1).integers(0, 256, source.size, dtype=np.uint8)
    done = device.timeline_semaphore()
    queue = device.sdma_queue()
    queue.copy(through, source).copy(back, through).signal(done, 1).submit()
    done.wait(1, timeout=60)
    assert (back.array == source.array).all()


@every_model
def test_the_smallest_ring_wraps_often(device: Device) -> None:
    source, target = device.gtt(4096), device.gtt(4096)
    queue, done = device.sdma_queue(4096), device.timeline_semaphore()
    for step in range(1, 301):
        source.array[:] = step % 251
        queue.copy(target, source).signal(done, step).submit()
        done.wait(step, timeout=60)
        assert (target.array == step % 251).all()
    chain = queue.record()
    for offset in range(2000):
        chain.copy(target[offset:], source[2000 - offset :], 1)
    chain.signal(done, 1000).submit()
    done.wait(1000, timeout=60)


@all_paths
def test_dispatch_with_partial_workgroups(device: Device, kind: str) -> None:
    program = device.load(OBJECTS / device.family.name / "vector_add.co")
    queue, done = device.compute_queue(kind), device.timeline_semaphore()
    rng = np.random.default_rng(2)
    for step, count in enumerate((1, 63, 64, 1000), 1):
        out, left, right = (device.vram(4 * count) for _ in range(3))
        for buffer in (left, right):
            buffer.view(np.uint32)[:] = rng.integers(0, 2**32, count, dtype=np.uint32)
        queue.dispatch(program["vector_add"], count, (out, left, right, count)).signal(done, step).submit()
        done.wait(step, timeout=20)
        assert (out.view(np.uint32) == left.view(np.uint32) + right.view(np.uint32)).all()


@all_paths
def test_engines_and_host_hand_over(device: Device, kind: str) -> None:
    compute, copies = device.compute_queue(kind), device.sdma_queue()
    program = device.load(OBJECTS / device.family.name / "vector_add.co")
    line = device.timeline_semaphore()
    count = 256
    host, one, work = device.gtt(4 * count), device.gtt(4 * count), device.vram(4 * count)
    one.view(np.uint32)[:] = 1
    host.view(np.uint32)[:] = range(count)
    add = program["vector_add"]
    for step in range(0, 15, 3):
        copies.wait(line, step + 1).copy(work, host).signal(line, step + 2).submit()
        compute.wait(line, step + 2).dispatch(add, count, (host, work, one, count)).signal(
            line, step + 3
        ).submit()
        line.signal(step + 1)
        line.wait(step + 3, timeout=20)
        assert (host.view(np.uint32) == np.arange(count) + step // 3 + 1).all()


@all_paths
def test_a_recording_runs_again_and_again(device: Device, kind: str) -> None:
    program = device.load(OBJECTS / device.family.name / "vector_add.co")
    queue, count = device.compute_queue(kind), 100
    total, one = device.gtt(4 * count), device.gtt(4 * count)
    total.view(np.uint32)[:] = 0
    one.view(np.uint32)[:] = 1
    recording = queue.record().dispatch(program["vector_add"], count, (total, total, one, count)).finish()
    for _ in range(20):
        recording.submit()
    queue.wait_idle(20)
    assert (total.view(np.uint32) == 20).all()


@all_paths
def test_arguments_in_flight_are_not_overwritten(
    device: Device, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More launches than the argument memory holds at once, each with its own place to write."""
    monkeypatch.setattr(queue_module, "ARENA_SIZE", 16384)
    kernel = device.load(OBJECTS / device.family.name / "fill.co")["fill"]
    queue, launches = device.compute_queue(kind), 300
    out = device.gtt(4 * launches)
    for index in range(launches):
        queue.dispatch(kernel, 1, (out[4 * index :], index, 1)).submit()
    queue.wait_idle(60)
    assert (out.view(np.uint32) == np.arange(launches)).all()


@all_paths
def test_timestamps_grow(device: Device, kind: str) -> None:
    stamps = device.gtt(64)
    compute, copies = device.compute_queue(kind), device.sdma_queue()
    before, _ = device.backend.clock_counters()
    compute.timestamp(stamps).timestamp(stamps, 8).submit()
    compute.wait_idle(60)
    copies.timestamp(stamps, 32).submit()
    copies.wait_idle(60)
    after, _ = device.backend.clock_counters()
    read = stamps.view(np.uint64)
    assert before <= read[0] <= read[1] <= read[4] <= after


@every_model
def test_a_host_wait_in_another_thread_is_woken(device: Device) -> None:
    line = device.timeline_semaphore()
    waiters = [threading.Thread(target=line.wait, args=(1, 20.0)) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    line.signal(1)
    for waiter in waiters:
        waiter.join(60)
        assert not waiter.is_alive()


@every_model
def test_a_fault_of_sdma_reaches_the_wait_with_its_address(device: Device) -> None:
    queue, done = device.sdma_queue(), device.timeline_semaphore()
    queue.copy(device.gtt(4096), Elsewhere(64)).signal(done, 1).submit()  # type: ignore[arg-type]
    with pytest.raises(GpuFaultError, match=f"at {NOWHERE:#x}: page not present") as caught:
        done.wait(1, timeout=60)
    assert caught.value.address == NOWHERE


@all_paths
def test_a_bad_packet_ends_the_wait(kernel: EmulatedKernel, device: Device, kind: str) -> None:
    queue, done = device.compute_queue(kind), device.timeline_semaphore()
    queue._put(b"\xff" * queue.UNIT)
    queue.signal(done, 1).submit()
    with pytest.raises(GpuFaultError) as caught:
        done.wait(1, timeout=60)
    assert caught.value.kind in ("queue", "reset")


@every_model
def test_a_time_out_shows_the_waiting_packet(device: Device) -> None:
    queue, go, done = device.sdma_queue(), device.timeline_semaphore(), device.timeline_semaphore()
    queue.wait(go, 1).signal(done, 1).submit()
    with pytest.raises(WaitTimeoutError, match=r"submission 1 of sdma queue 0 signals 1\n.*POLL_MEM"):
        done.wait(1, timeout=0.02)
    go.signal(1)
    done.wait(1, timeout=60)


def test_two_gpus_of_different_generations_copy_to_each_other() -> None:
    kernel = EmulatedKernel([model("mi300x"), model("rx7900xtx")])
    first, second = (Device.open(kernel, node) for node in discover(kernel))
    with first, second:
        shared = first.gtt(5000, peers=[second])
        own, other = first.gtt(5000), second.gtt(5000)
        own.array[:] = np.arange(5000) % 251
        line = first.timeline_semaphore()
        line.map_to(second)
        first.sdma_queue().copy(shared, own).signal(line, 1).submit()
        second.sdma_queue().wait(line, 1).copy(other, shared).signal(line, 2).submit()
        line.wait(2, timeout=60)
        assert (other.array == own.array).all()
    kernel.shutdown()
