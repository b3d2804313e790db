"""Shared virtual memory: memory of the process that the GPU reaches at its own address."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from pytest_amdgpu.abi.kfd import SvmFlag
from pytest_amdgpu.driver.errors import SvmError

PAGE = mmap.PAGESIZE
SIZE = 16 * PAGE


@pytest.fixture(autouse=True)
def _sharing(amdgpu_device):
    """Skip where the kernel says that it cannot share memory with this GPU."""
    if not amdgpu_device.node.shares_virtual_memory:
        pytest.skip(f"{amdgpu_device.name} has no SVM: its node's capability lacks SVMAPI_SUPPORTED")


@pytest.fixture
def shared(amdgpu_device):
    """New memory that the process and the GPU share."""
    memory = amdgpu_device.svm(SIZE)
    yield memory
    memory.release()


@pytest.fixture
def copy(sdma_queue, timeline_semaphore):
    """Return a function that copies with an engine and waits."""

    def run(target, source):
        value = timeline_semaphore.value + 1
        sdma_queue.copy(target, source).signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)

    return run


def test_the_gpu_reads_what_the_process_wrote(shared, gtt_buffer, copy, rng):
    seen = gtt_buffer(SIZE)
    shared.array[:] = rng.integers(0, 256, SIZE, dtype=np.uint8)
    copy(seen, shared)
    assert np.array_equal(seen.array, shared.array)


def test_the_process_reads_what_the_gpu_wrote(shared, gtt_buffer, copy, rng):
    source = gtt_buffer(SIZE)
    source.array[:] = rng.integers(0, 256, SIZE, dtype=np.uint8)
    copy(shared, source)
    assert np.array_equal(shared.array, source.array)


def test_an_array_of_the_process_is_shared(amdgpu_device, gtt_buffer, copy, rng):
    """Numbers that were there before the GPU came to know the memory."""
    array = np.frombuffer(mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)
    array[:] = rng.integers(0, 256, SIZE, dtype=np.uint8)
    seen, shared = gtt_buffer(SIZE), amdgpu_device.svm(array)
    copy(seen, shared)
    shared.free()
    assert np.array_equal(seen.array, array)


def test_migration_keeps_the_contents(amdgpu_device, shared, gtt_buffer, copy, rng):
    """To the GPU's memory and back; both sides read it in both places."""
    data, seen = rng.integers(0, 256, SIZE, dtype=np.uint8), gtt_buffer(SIZE)
    shared.array[:] = data
    for place in (amdgpu_device, None):
        shared.prefetch(place)
        copy(seen, shared)
        assert np.array_equal(seen.array, data)
        assert np.array_equal(shared.array, data)


def test_attributes_are_as_they_were_set(amdgpu_device, shared):
    gpu_id = amdgpu_device.node.gpu_id
    assert shared.attributes().access == {gpu_id: "yes"}
    shared.allow(amdgpu_device, in_place=True)
    shared.prefer(amdgpu_device)
    shared.set_granularity(4)
    shared.set_flags(SvmFlag.GPU_READ_MOSTLY)
    shared.clear_flags(SvmFlag.COHERENT)
    told = shared.attributes()
    assert (told.access, told.preferred, told.granularity) == ({gpu_id: "in place"}, gpu_id, 4)
    assert told.flags & (SvmFlag.GPU_READ_MOSTLY | SvmFlag.COHERENT) == SvmFlag.GPU_READ_MOSTLY


def test_memory_of_a_buffer_cannot_be_shared_too(amdgpu_device, gtt_buffer):
    buffer = gtt_buffer(SIZE)
    with pytest.raises(SvmError, match="cannot share 65536 bytes"):
        amdgpu_device.svm(buffer.array)
