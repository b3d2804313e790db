"""Opening, closing and what a device says of itself."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import DeviceClosedError
from pytest_amdgpu.driver.topology import discover

MIB = 1 << 20


@pytest.fixture
def second_handle(amdgpu_device):
    """The same GPU opened once more in this process."""
    with Device.open(amdgpu_device.kernel, amdgpu_device.node) as device:
        yield device


def test_messages_call_it_as_its_tests_are_called(amdgpu_device, request):
    assert amdgpu_device.name in request.node.name


def test_the_identity_is_that_of_the_render_node(amdgpu_device):
    """The kernel tells the PCI address twice: in KFD's topology and beside the render node."""
    node = amdgpu_device.node
    device = f"/sys/class/drm/renderD{node.properties['drm_render_minor']}/device"
    assert f"PCI_SLOT_NAME={node.identity}" in amdgpu_device.kernel.read_text(f"{device}/uevent").split()


def test_identities_tell_gpus_apart(amdgpu_device):
    nodes = discover(amdgpu_device.kernel)
    assert amdgpu_device.node.identity in [node.identity for node in nodes]
    for numbers in ("identity", "gpu_id", "render_path"):
        assert len({getattr(node, numbers) for node in nodes}) == len(nodes), numbers


def test_properties_agree_with_the_family(amdgpu_device):
    properties, family = amdgpu_device.node.properties, amdgpu_device.family
    assert family.name in (amdgpu_device.node.target, amdgpu_device.node.stand_in)
    assert properties["wave_front_size"] in family.wave_sizes
    assert properties["lds_size_in_kb"] * 1024 == family.lds_bytes
    assert properties["simd_count"] % (properties["simd_per_cu"] * amdgpu_device.node.num_xcc) == 0
    # A virtual function may be left without engines; but an engine has queues.
    engines = [*amdgpu_device.node.sdma_engines, *amdgpu_device.node.xgmi_engines]
    assert properties["num_sdma_queues_per_engine"] >= 1 or not engines


def test_vram_is_reported_and_available(amdgpu_device):
    assert 0 < amdgpu_device.available_vram() <= amdgpu_device.node.vram_bytes


def test_the_gpus_clock_advances(amdgpu_device):
    clock = amdgpu_device.backend.clock_counters
    first, host_first = clock()
    second, host_second = clock()
    # A coarse counter may read the same twice, but not for a second.
    deadline = time.monotonic() + 1
    while second == first and time.monotonic() < deadline:
        second, host_second = clock()
    assert host_second > host_first
    assert second > first


@pytest.mark.parametrize("engine", ["sdma", "pm4", "aql"])
def test_timestamps_follow_the_order_of_work(
    engine, make_queue, amdgpu_device, suite_kernel, gtt_buffer, timeline_semaphore
):
    """Work that takes longer than a tick lies between two timestamps, and both lie in the test's time."""
    queue, stamps, large = make_queue(engine), gtt_buffer(64), gtt_buffer(MIB)
    stamps.array[:] = 0
    before, _ = amdgpu_device.backend.clock_counters()
    queue.timestamp(stamps, 0)
    if engine == "sdma":
        queue.fill(large, 1)
    else:
        queue.dispatch(suite_kernel("fill"), MIB // 4, [large, 1, MIB // 4])
    queue.timestamp(stamps, 32).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    after, _ = amdgpu_device.backend.clock_counters()
    first, last = stamps.view(np.uint64)[[0, 4]].tolist()
    assert before <= first < last <= after


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
    """Also from a device with queues and unfinished work. Sizes are above what the kernel rounds."""
    before = amdgpu_device.available_vram()
    with Device.open(amdgpu_device.kernel, amdgpu_device.node) as device:
        device.compute_queue()
        device.sdma_queue().fill(device.vram(16 * MIB), 1).submit()
        assert amdgpu_device.available_vram() <= before - 16 * MIB
    assert amdgpu_device.available_vram() == before


@pytest.mark.parametrize("make", ["vram", "gtt"])
def test_a_closed_device_makes_no_memory(make, amdgpu_device):
    device = Device.open(amdgpu_device.kernel, amdgpu_device.node)
    device.close()
    with pytest.raises(DeviceClosedError, match=device.name):
        getattr(device, make)(4096)
    device.close()


def test_the_gpus_clock_has_the_frequency_that_it_tells(amdgpu_device):
    """Ticks against the host's clock, over a hundredth of a second at least."""
    first = second = amdgpu_device.clocks()
    while second.cpu_ns - first.cpu_ns < 10_000_000:
        second = amdgpu_device.clocks()
    seconds = (second.cpu_ns - first.cpu_ns) / 1e9
    assert (second.gpu_ticks - first.gpu_ticks) / seconds == pytest.approx(second.gpu_hz, rel=0.05)
    assert second.system_ns > first.system_ns


def test_apertures_lie_apart(amdgpu_device, gtt_buffer):
    """What the GPU can be given lies in one range, LDS and scratch in others."""
    apertures = amdgpu_device.apertures()
    ranges = sorted((apertures.shared, apertures.private, apertures.memory))
    assert all(base < limit for base, limit in ranges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    assert apertures.memory[0] <= gtt_buffer(4096).address <= apertures.memory[1]
