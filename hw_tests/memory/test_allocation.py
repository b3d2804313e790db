"""Memory by location, size and access from the CPU."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pytest_amdgpu.asserts import assert_equal

KIB, MIB = 1 << 10, 1 << 20
SIZES = [1, 4095, 4096, 4097, 64 * KIB, 2 * MIB, 2 * MIB + 1, 64 * MIB]


@pytest.fixture(params=["vram", "gtt", "userptr"])
def allocate(request, amdgpu_device):
    """Allocate memory of each location in turn."""
    return request.getfixturevalue(f"{request.param}_buffer")


@pytest.mark.parametrize("size", SIZES)
def test_the_cpu_reads_what_it_wrote(allocate, size, rng):
    buffer = allocate(size)
    edges = np.unique(np.clip(np.r_[np.arange(64), np.arange(size - 64, size)], 0, size - 1))
    data = rng.integers(0, 256, edges.size, dtype=np.uint8)
    buffer.array[edges] = data
    assert buffer.size == size
    assert buffer.array.size == size
    assert np.array_equal(buffer.array[edges], data)


@pytest.mark.parametrize("size", SIZES)
def test_the_gpu_writes_what_the_cpu_reads(allocate, size, sdma_queue, timeline_semaphore):
    buffer = allocate(size)
    buffer.array[:] = 0x11
    sdma_queue.fill(buffer, 0xA5).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert (buffer.array == 0xA5).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_gpu_reads_what_the_cpu_wrote(allocate, size, gtt_buffer, sdma_queue, timeline_semaphore, rng):
    buffer, seen = allocate(size), gtt_buffer(size)
    buffer.array[:] = np.resize(rng.integers(0, 256, min(size, 1_000_003), dtype=np.uint8), size)
    sdma_queue.copy(seen, buffer).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert np.array_equal(seen.array, buffer.array)


@pytest.mark.parametrize("offset", [0, 1, 12, 4095])
def test_the_gpu_reaches_a_part_of_an_array(offset, userptr_buffer, sdma_queue, timeline_semaphore):
    """A registered array need not begin or end at a page; what lies beside it stays as it is."""
    whole = np.zeros(3 * 4096, np.uint8)
    part = userptr_buffer(whole[offset : offset + 5000])
    sdma_queue.fill(part, 0x5C).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert_equal(np.flatnonzero(whole), np.arange(offset, offset + 5000))
    assert (whole[offset : offset + 5000] == 0x5C).all()


def test_buffers_lie_apart(vram_buffer, gtt_buffer, userptr_buffer):
    buffers = [make(size) for size in (1, 4096, 70000) for make in (vram_buffer, gtt_buffer, userptr_buffer)]
    ranges = sorted((buffer.address, buffer.address + buffer.size) for buffer in buffers)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    assert all(buffer.address % 4096 == 0 for buffer in buffers)


def test_buffers_are_not_each_others_memory(
    vram_buffer, gtt_buffer, userptr_buffer, sdma_queue, timeline_semaphore
):
    """Several of one size in each location, each filled by the GPU with a value of its own."""
    size = 5 * 4096
    buffers = [make(size) for make in (vram_buffer, gtt_buffer, userptr_buffer) for _ in range(4)]
    for value, buffer in enumerate(buffers, start=1):
        sdma_queue.fill(buffer, value)
    sdma_queue.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    for value, buffer in enumerate(buffers, start=1):
        assert (buffer.array == value).all()


@pytest.mark.parametrize("size", [1, 4097, 1 * MIB + 12])
def test_memory_the_cpu_cannot_see_is_reached_by_copies(
    size, vram_buffer, gtt_buffer, sdma_queue, timeline_semaphore, rng
):
    hidden, source, back = vram_buffer(size, cpu_visible=False), gtt_buffer(size), gtt_buffer(size)
    source.array[:] = rng.integers(0, 256, size, dtype=np.uint8)
    sdma_queue.copy(hidden, source).copy(back, hidden).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert np.array_equal(back.array, source.array)


def test_a_view_is_the_buffers_own_memory(gtt_buffer):
    buffer = gtt_buffer(64)
    buffer.view(np.uint32, offset=8, count=2)[:] = [0x01020304, 0x05060708]
    assert buffer.array[8:16].tolist() == [4, 3, 2, 1, 8, 7, 6, 5]


@pytest.mark.parametrize("cpu_visible", [True, False])
def test_freed_memory_is_available_again(cpu_visible, amdgpu_device):
    before = amdgpu_device.available_vram()
    buffer = amdgpu_device.vram(256 * MIB, cpu_visible=cpu_visible)
    assert amdgpu_device.available_vram() <= before - 256 * MIB
    buffer.free()
    assert amdgpu_device.available_vram() == before
