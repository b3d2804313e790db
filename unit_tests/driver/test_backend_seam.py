"""The seam below the driver: a second backend, without ioctls, carries the same driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from plain_backend import PlainBackend

from pytest_amdgpu.driver.backend import Backend, Fault
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import GpuFaultError, WaitTimeoutError


@pytest.fixture
def backend() -> Iterator[PlainBackend]:
    made = PlainBackend()
    yield made
    assert made.closed
    assert not made.doorbells.queues
    assert not made.memory


def test_the_driver_copies_through_another_backend(backend: PlainBackend) -> None:
    typed: Backend = backend  # type: ignore[assignment]
    with Device.open(typed.kernel, typed.node, backend=typed) as device:
        source, through, back = device.gtt(100), device.vram(100), device.gtt(100)
        source.array[:] = range(100)
        done = device.timeline_semaphore()
        queue = device.sdma_queue(4096)
        for value in range(1, 50):
            back.fill(0)
            queue.copy(through, source).copy(back, through).signal(done, value).submit()
            done.wait(value, timeout=60)
            assert (back.array == source.array).all()
        queue.wait_idle(60)
        with pytest.raises(WaitTimeoutError, match="nothing that was submitted signals 99"):
            done.wait(99, timeout=0.001)


def test_its_faults_reach_the_test(backend: PlainBackend) -> None:
    typed: Backend = backend  # type: ignore[assignment]
    with Device.open(typed.kernel, typed.node, backend=typed) as device:
        backend.found.append(Fault("memory", "page not there", 0x5000))
        with pytest.raises(GpuFaultError, match="page not there") as caught:
            device.check_health()
        assert caught.value.address == 0x5000
