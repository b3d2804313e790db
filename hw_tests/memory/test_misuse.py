"""Bad requests for memory: each is refused with a specific error, and the device stays usable."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import (
    AllocationError,
    BufferBoundsError,
    NotCpuVisibleError,
    UseAfterFreeError,
)


@pytest.fixture(autouse=True)
def still_usable(gtt_buffer, sdma_queue, timeline_semaphore):
    """After each refusal the device fills memory as before."""
    yield
    buffer = gtt_buffer(4096)
    sdma_queue.fill(buffer, 0x77).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert (buffer.array == 0x77).all()


@pytest.mark.parametrize("location", ["vram", "gtt"])
@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(amdgpu_device, location, size):
    with pytest.raises(AllocationError, match=f"cannot allocate {size} bytes of {location}"):
        getattr(amdgpu_device, location)(size)


def test_more_than_all_vram_is_refused(amdgpu_device):
    size = amdgpu_device.node.vram_bytes + 4096
    with pytest.raises(AllocationError, match=f"{size:#x} bytes of vram.*ENOMEM"):
        amdgpu_device.vram(size, cpu_visible=False)


def test_writes_past_the_end_are_refused(gtt_buffer):
    buffer = gtt_buffer(100)
    with pytest.raises(BufferBoundsError, match="100"):
        buffer.write(b"12345678", 96)
    with pytest.raises(BufferBoundsError, match="100"):
        buffer.view(np.uint64, offset=96, count=1)


def test_commands_past_the_end_are_refused(gtt_buffer, sdma_queue):
    buffer, other = gtt_buffer(100), gtt_buffer(200)
    with pytest.raises(BufferBoundsError, match=r"101 bytes.*100"):
        sdma_queue.fill(buffer, 0, 101)
    with pytest.raises(BufferBoundsError, match=r"200 bytes.*100"):
        sdma_queue.copy(buffer, other)
    with pytest.raises(BufferBoundsError, match="101"):
        buffer[50:101]


def test_the_cpu_is_refused_memory_that_it_cannot_see(vram_buffer):
    buffer = vram_buffer(4096, cpu_visible=False)
    with pytest.raises(NotCpuVisibleError, match="cpu_visible"):
        buffer.array.sum()


def test_use_after_free_is_refused(amdgpu_device, sdma_queue):
    buffer = amdgpu_device.gtt(4096)
    buffer.free()
    with pytest.raises(UseAfterFreeError):
        buffer.array[0] = 1
    with pytest.raises(UseAfterFreeError):
        sdma_queue.fill(buffer, 0)
    with pytest.raises(UseAfterFreeError):
        buffer.free()
