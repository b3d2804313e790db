"""SDMA copies: every size class, alignment and pair of locations, and never a byte beyond."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

KIB, MIB = 1 << 10, 1 << 20
GUARD = 64
"""Bytes on both sides of every target that must stay as they were."""

SIZES = [
    1,
    2,
    3,
    4,
    5,
    63,
    64,
    65,
    255,
    256,
    4095,
    4096,
    4097,
    64 * KIB + 1,
    MIB,
    4 * MIB - 1,
    4 * MIB,
    4 * MIB + 1,
]
LARGE_SIZES = [16 * MIB + 3, 64 * MIB, 256 * MIB]
LOCATIONS = ["vram", "gtt", "userptr"]


@pytest.fixture
def allocate(request):
    """Allocate by the name of a location."""
    return lambda location, size: request.getfixturevalue(f"{location}_buffer")(size)


@pytest.fixture
def copied(sdma_queue, timeline_semaphore):
    """Return a function that copies and waits."""

    def copy(target, source, size=None):
        value = timeline_semaphore.value + 1
        sdma_queue.copy(target, source, size).signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=30)

    return copy


def check(target, source, copied, size, rng, target_offset=GUARD, source_offset=0):
    """Copy `size` bytes between offsets and compare the whole target with what it must be."""
    source.array[source_offset : source_offset + size] = rng.integers(0, 256, size, dtype=np.uint8)
    target.array[:] = 0xEE
    expected = target.array.copy()
    expected[target_offset : target_offset + size] = source.array[source_offset : source_offset + size]
    copied(target[target_offset : target_offset + size], source[source_offset : source_offset + size])
    assert np.array_equal(target.array, expected)


@pytest.mark.parametrize("size", SIZES)
def test_size(size, visible_buffer, gtt_buffer, copied, rng):
    check(visible_buffer(size + 2 * GUARD), gtt_buffer(size), copied, size, rng)


@pytest.mark.parametrize("size", LARGE_SIZES)
def test_large_size(size, visible_buffer, copied, rng):
    """Beyond one packet's limit; the data repeat at a prime distance, so that a misplaced chunk shows."""
    target, source = visible_buffer(size + 2 * GUARD), visible_buffer(size)
    pattern = rng.integers(0, 256, 1_000_003, dtype=np.uint8)
    source.array[:] = np.resize(pattern, size)
    target.array[:GUARD] = target.array[-GUARD:] = 0xEE
    copied(target[GUARD : GUARD + size], source)
    assert np.array_equal(target.array[GUARD:-GUARD], source.array)
    assert (target.array[:GUARD] == 0xEE).all()
    assert (target.array[-GUARD:] == 0xEE).all()


@pytest.mark.parametrize("beyond", [-1, 0, 1, 4, 5])
def test_the_limit_of_one_packet(beyond, amdgpu_device, visible_buffer, copied, rng):
    """Around the size at which a copy takes a second packet, where that is not beyond this suite's sizes."""
    size = min(amdgpu_device.family.sdma_copy_limit, 16 * MIB) + beyond
    check(visible_buffer(size + 2 * GUARD), visible_buffer(size), copied, size, rng)


@pytest.mark.parametrize(("target", "source"), list(itertools.product(LOCATIONS, repeat=2)))
def test_locations(target, source, allocate, copied, rng):
    size = 64 * KIB + 7
    check(allocate(target, size + 2 * GUARD), allocate(source, size), copied, size, rng)


@pytest.mark.parametrize("target_offset", [0, 1, 2, 3, 4, 7, 15, 63, 4095])
@pytest.mark.parametrize("source_offset", [0, 1, 2, 3, 4, 7, 15, 63, 4095])
def test_alignment(target_offset, source_offset, visible_buffer, gtt_buffer, copied, rng):
    size = 4099
    target, source = visible_buffer(size + 2 * 4096), gtt_buffer(size + 4096)
    check(target, source, copied, size, rng, target_offset, source_offset)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 64, 4096])
@pytest.mark.parametrize(
    ("target_offset", "source_offset"), [(0, 1), (1, 0), (2, 3), (4095, 4095), (4093, 2)]
)
def test_small_copies_at_any_alignment(
    target_offset, source_offset, size, visible_buffer, gtt_buffer, copied, rng
):
    target, source = visible_buffer(3 * 4096), gtt_buffer(3 * 4096)
    check(target, source, copied, size, rng, target_offset, source_offset)


def test_neighbouring_copies_meet(visible_buffer, gtt_buffer, sdma_queue, timeline_semaphore, rng):
    """Each byte is copied by one of many copies, whose ends touch, in an order of their own."""
    total = 64 * KIB
    target, source = visible_buffer(total), gtt_buffer(total)
    source.array[:] = rng.integers(0, 256, total, dtype=np.uint8)
    target.array[:] = 0
    cuts = [0, *sorted(rng.choice(np.arange(1, total), 300, replace=False).tolist()), total]
    pieces = list(itertools.pairwise(cuts))
    for index in rng.permutation(len(pieces)):
        start, end = pieces[index]
        sdma_queue.copy(target[start:end], source[start:end])
    sdma_queue.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert np.array_equal(target.array, source.array)


def test_a_copy_takes_the_size_that_it_is_given(visible_buffer, gtt_buffer, copied, rng):
    target, source = visible_buffer(4096), gtt_buffer(4096)
    source.array[:] = rng.integers(1, 256, 4096, dtype=np.uint8)
    target.array[:] = 0
    copied(target, source, 1000)
    assert np.array_equal(target.array[:1000], source.array[:1000])
    assert not target.array[1000:].any()


def test_many_random_ranges(visible_buffer, gtt_buffer, sdma_queue, timeline_semaphore, rng):
    """Copies of random size and place in one submission, against the same copies by numpy."""
    total = 256 * KIB
    target, source = visible_buffer(total), gtt_buffer(total)
    source.array[:] = rng.integers(0, 256, total, dtype=np.uint8)
    target.array[:] = 0
    expected = np.zeros(total, np.uint8)
    chain = sdma_queue.record()
    for _ in range(200):
        size = int(rng.integers(1, 5000))
        here, there = (int(rng.integers(0, total - size)) for _ in range(2))
        expected[there : there + size] = source.array[here : here + size]
        chain.copy(target[there : there + size], source[here : here + size])
    chain.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert np.array_equal(target.array, expected)


def test_a_chain_of_copies_is_ordered(visible_buffer, sdma_queue, timeline_semaphore, rng):
    buffers = [visible_buffer(MIB) for _ in range(8)]
    buffers[0].array[:] = rng.integers(0, 256, MIB, dtype=np.uint8)
    chain = sdma_queue.record()
    for source, target in itertools.pairwise(buffers):
        chain.copy(target, source)
    chain.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert np.array_equal(buffers[-1].array, buffers[0].array)
