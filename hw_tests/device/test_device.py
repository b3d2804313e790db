"""Opening, closing and what a device says of itself."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import DeviceClosedError


@pytest.fixture
def second_handle(amdgpu_device):
    """The same GPU opened once more in this process."""
    with Device.open(amdgpu_device.kernel, amdgpu_device.node) as device:
        yield device


def test_identity_is_a_pci_address(amdgpu_device, request):
    assert re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", amdgpu_device.node.identity)
    # Messages call a device by the id that tests are parametrized with.
    assert amdgpu_device.name in request.node.name


def test_properties_agree_with_the_family(amdgpu_device):
    properties, family = amdgpu_device.node.properties, amdgpu_device.family
    assert properties["gfx_target_version"] == family.gfx_target_version
    assert properties["wave_front_size"] in family.wave_sizes
    assert properties["lds_size_in_kb"] * 1024 == family.lds_bytes
    assert properties["simd_count"] % (properties["simd_per_cu"] * amdgpu_device.node.num_xcc) == 0
    assert properties["num_sdma_engines"] >= 1


def test_vram_is_reported_and_available(amdgpu_device):
    assert 0 < amdgpu_device.available_vram() <= amdgpu_device.node.vram_bytes


def test_the_gpus_clock_advances(amdgpu_device):
    first, host_first = amdgpu_device.backend.clock_counters()
    second, host_second = amdgpu_device.backend.clock_counters()
    assert host_second > host_first
    assert second >= first


def test_timestamps_follow_the_order_of_work(sdma_queue, gtt_buffer, timeline_semaphore):
    stamps, large = gtt_buffer(64), gtt_buffer(1 << 20)
    stamps.array[:] = 0
    sdma_queue.timestamp(stamps, 0).fill(large, 1).timestamp(stamps, 32).signal(
        timeline_semaphore, 1
    ).submit()
    timeline_semaphore.wait(1, timeout=10)
    first, last = stamps.view(np.uint64)[[0, 4]]
    assert 0 < first <= last


def test_a_second_handle_works_beside_the_first(second_handle, sdma_queue, gtt_buffer, timeline_semaphore):
    queue, buffer, semaphore = (
        second_handle.sdma_queue(),
        second_handle.gtt(4096),
        second_handle.timeline_semaphore(),
    )
    mine = gtt_buffer(4096)
    queue.fill(buffer, 1).signal(semaphore, 1).submit()
    sdma_queue.fill(mine, 2).signal(timeline_semaphore, 1).submit()
    semaphore.wait(1, timeout=10)
    timeline_semaphore.wait(1, timeout=10)
    assert (buffer.array == 1).all()
    assert (mine.array == 2).all()


def test_closing_takes_everything_back(amdgpu_device):
    before = amdgpu_device.available_vram()
    with Device.open(amdgpu_device.kernel, amdgpu_device.node) as device:
        device.vram(1 << 20)
        device.sdma_queue().fill(device.vram(4096), 1).submit()
    assert amdgpu_device.available_vram() == before


@pytest.mark.parametrize("make", ["vram", "gtt"])
def test_a_closed_device_makes_no_memory(make, amdgpu_device):
    device = Device.open(amdgpu_device.kernel, amdgpu_device.node)
    device.close()
    with pytest.raises(DeviceClosedError, match=device.name):
        getattr(device, make)(4096)
    device.close()
