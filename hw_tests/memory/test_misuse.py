"""Bad requests for memory: each is refused with a specific error, and the device stays usable."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import AllocationError, UseAfterFreeError


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
    with pytest.raises(AllocationError, match=r"VRAM|vram"):
        amdgpu_device.vram(amdgpu_device.node.vram_bytes + 4096, cpu_visible=False)


def test_writes_past_the_end_are_refused(gtt_buffer):
    buffer = gtt_buffer(100)
    with pytest.raises((IndexError, ValueError), match="100"):
        buffer.write(b"12345678", 96)
    with pytest.raises((IndexError, ValueError), match="100"):
        buffer.view(np.uint64, offset=96, count=1)


def test_use_after_free_is_refused(amdgpu_device, sdma_queue):
    buffer = amdgpu_device.gtt(4096)
    buffer.free()
    with pytest.raises(UseAfterFreeError):
        buffer.array[0] = 1
    with pytest.raises(UseAfterFreeError):
        sdma_queue.fill(buffer, 0)
    with pytest.raises(UseAfterFreeError):
        buffer.free()
