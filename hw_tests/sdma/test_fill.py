"""SDMA fills: values, widths, sizes and alignment."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.asserts import assert_equal

KIB, MIB = 1 << 10, 1 << 20
GUARD = 64


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 255, 4096, 4097, MIB, 4 * MIB + 1, 16 * MIB + 2])
@pytest.mark.parametrize("value", [0x00, 0xFF, 0xA5])
def test_a_byte_fills_any_size(size, value, visible_buffer, sdma_queue, timeline_semaphore):
    target = visible_buffer(size + 2 * GUARD)
    target.array[:] = 0x5A
    sdma_queue.fill(target[GUARD : GUARD + size], value).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert (target.array[:GUARD] == 0x5A).all()
    assert (target.array[GUARD : GUARD + size] == value).all()
    assert (target.array[GUARD + size :] == 0x5A).all()


@pytest.mark.parametrize("location", ["vram", "gtt", "userptr"])
@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_a_byte_fills_at_any_alignment(offset, location, request, sdma_queue, timeline_semaphore):
    target = request.getfixturevalue(f"{location}_buffer")(4096)
    target.array[:] = 0
    sdma_queue.fill(target[offset : offset + 1021], 0x3C).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert_equal(np.flatnonzero(target.array), np.arange(offset, offset + 1021))


@pytest.mark.parametrize("words", [1, 3, 1024, 1 * MIB + 1, 5 * MIB])
def test_a_word_fills_words(words, visible_buffer, sdma_queue, timeline_semaphore):
    target = visible_buffer(words * 4 + 4)
    target.array[:] = 0
    sdma_queue.fill(target[: words * 4], 0xDEADBEEF, width=4).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    filled = target.view(np.uint32)
    assert (filled[:-1] == 0xDEADBEEF).all()
    assert filled[-1] == 0


@pytest.mark.parametrize("count", [1, 2, 3, 2047, 2 * MIB + 1])
@pytest.mark.parametrize("offset", [0, 2])
def test_a_half_word_fills_half_words(offset, count, visible_buffer, sdma_queue, timeline_semaphore):
    target = visible_buffer(2 * count + 8)
    target.array[:] = 0
    part = target[offset : offset + 2 * count]
    sdma_queue.fill(part, 0xBEEF, width=2).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    expected = np.zeros(count + 4, np.uint16)
    expected[offset // 2 : offset // 2 + count] = 0xBEEF
    assert np.array_equal(target.view(np.uint16), expected)


@pytest.mark.parametrize("beyond", [-4, 0, 4])
@pytest.mark.parametrize("width", [1, 4])
def test_the_limit_of_one_packet(
    width, beyond, amdgpu_device, visible_buffer, sdma_queue, timeline_semaphore
):
    """Around the size at which a fill takes a second packet, where that is not beyond this suite's sizes."""
    size = min(amdgpu_device.family.sdma_fill_limit, 16 * MIB) // 4 * 4 + beyond
    target = visible_buffer(size + GUARD)
    target.array[:] = 0x5A
    sdma_queue.fill(target[:size], 0xC3C3C3C3 & (1 << 8 * width) - 1, width=width)
    sdma_queue.signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert (target.array[:size] == 0xC3).all()
    assert (target.array[size:] == 0x5A).all()
