"""Compiled kernels, each compared over its whole output with the same computation by numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pytest_amdgpu.asserts import assert_equal

COUNTS = [1, 63, 64, 65, 1000, 100_000]


@pytest.fixture
def run(any_compute_queue, timeline_semaphore):
    """Return a function that dispatches a kernel and waits for it."""

    def dispatch(kernel, grid, args, block=None):
        value = timeline_semaphore.value + 1
        any_compute_queue.dispatch(kernel, grid, args, block=block).signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=30)

    return dispatch


@pytest.mark.parametrize("count", COUNTS)
def test_fill(count, run, suite_kernel, visible_buffer):
    out = visible_buffer(4 * count + 64)
    out.array[:] = 0xEE
    run(suite_kernel("fill"), count, [out, 0xDEADBEEF, count])
    words = out.view(np.uint32)
    assert (words[:count] == 0xDEADBEEF).all()
    assert (words[count:] == 0xEEEEEEEE).all()


@pytest.mark.parametrize("count", COUNTS)
def test_vector_add(count, run, suite_kernel, visible_buffer, input_words, random_words):
    a, b, c = random_words(count), random_words(count), visible_buffer(4 * count)
    run(suite_kernel("vector_add"), count, [c, input_words(a), input_words(b), count])
    assert np.array_equal(c.view(np.uint32), a + b)


def test_saxpy_f32(run, suite_kernel, input_words, rng):
    """Multiples of 2**-20 below 8: product and sum are exact in double precision, so one rounding remains."""
    count = 10_000
    x, y = (rng.integers(-(1 << 23), 1 << 23, (2, count)) * 2.0**-20).astype(np.float32)
    a = np.float32(1.7)
    expected = (x.astype(np.float64) * np.float64(a) + y).astype(np.float32)
    target = input_words(y)
    run(suite_kernel("saxpy", "saxpy_f32"), count, [target, input_words(x), a, count])
    assert np.array_equal(target.view(np.float32), expected)


def test_saxpy_f64(run, suite_kernel, input_words, rng):
    """The exact sum of the exact product, rounded once."""
    count = 2000
    x, y = rng.standard_normal((2, count))
    # Sums that cancel keep the bits of the product that a separate rounding would lose.
    y[::2] = -1.7 * x[::2]
    exact = [Fraction(1.7) * Fraction(p) + Fraction(q) for p, q in zip(x.tolist(), y.tolist(), strict=True)]
    target = input_words(y)
    run(suite_kernel("saxpy", "saxpy_f64"), count, [target, input_words(x), np.float64(1.7), count])
    assert_equal(target.view(np.float64), np.array([float(value) for value in exact]))


@pytest.mark.parametrize(("width", "height"), [(16, 16), (64, 48), (1, 33), (33, 1), (50, 77)])
def test_transpose_through_lds(width, height, run, suite_kernel, visible_buffer, input_words, random_words):
    matrix, out = random_words(width * height).reshape(height, width), visible_buffer(4 * width * height)
    tiles = (-(-width // 16) * 16, -(-height // 16) * 16, 1)
    run(suite_kernel("transpose"), tiles, [out, input_words(matrix), width, height], block=(16, 16, 1))
    assert np.array_equal(out.view(np.uint32).reshape(width, height), matrix.T)


@pytest.mark.parametrize("count", [1, 256, 257, 20_000])
def test_reduce_with_barriers(count, run, suite_kernel, visible_buffer, input_words, random_words):
    blocks, data = -(-count // 256), random_words(count)
    out = visible_buffer(4 * blocks)
    run(suite_kernel("reduce"), blocks * 256, [out, input_words(data), count], block=256)
    padded = np.zeros(blocks * 256, np.uint32)
    padded[:count] = data
    assert np.array_equal(out.view(np.uint32), padded.reshape(blocks, 256).sum(axis=1, dtype=np.uint32))


@pytest.mark.parametrize("count", [1, 64, 1000])
def test_private_array_in_scratch(count, run, suite_kernel, visible_buffer, input_words, random_words, rng):
    order = rng.permutation(8).astype(np.uint32)
    data, out = random_words(count * 8), visible_buffer(count * 32)
    run(
        suite_kernel("scratch", "permute_private"), count, [out, input_words(data), input_words(order), count]
    )
    shifted = data.reshape(count, 8) + np.arange(count, dtype=np.uint32)[:, None]
    expected = np.empty_like(shifted)
    expected[:, order] = shifted
    assert np.array_equal(out.view(np.uint32).reshape(count, 8), expected)


def test_divergent_loop(run, suite_kernel, visible_buffer, input_words):
    count = 2000
    start, out = np.arange(1, count + 1, dtype=np.uint32), visible_buffer(4 * count)
    run(suite_kernel("collatz"), count, [out, input_words(start), count])

    def steps(n: int) -> int:
        taken = 0
        while n > 1:
            n, taken = (3 * n + 1 if n & 1 else n // 2), taken + 1
        return taken

    assert_equal(out.view(np.uint32), np.array([steps(n) for n in range(1, count + 1)], np.uint32))


def test_atomics_without_return(run, suite_kernel, input_words, random_words):
    count, bins = 5000, 37
    data, out = random_words(count), input_words(np.zeros(bins, np.uint32))
    run(suite_kernel("atomics", "histogram"), count, [out, input_words(data), bins, count])
    assert np.array_equal(out.view(np.uint32), np.bincount(data % bins, minlength=bins))


def test_atomics_with_return(run, suite_kernel, visible_buffer, input_words):
    count = 3000
    out, counter = visible_buffer(4 * count), input_words(np.zeros(1, np.uint32))
    run(suite_kernel("atomics", "tickets"), count, [out, counter, count])
    assert np.array_equal(np.sort(out.view(np.uint32)), np.arange(count))
    assert counter.view(np.uint32)[0] == count


def test_atomics_on_64_bits(run, suite_kernel, input_words, rng):
    data = rng.integers(0, 1 << 64, 2000, dtype=np.uint64)
    out = input_words(np.zeros(1, np.uint64))
    run(suite_kernel("atomics", "maximum_u64"), data.size, [out, input_words(data), data.size])
    assert out.view(np.uint64)[0] == data.max()


def test_compare_and_exchange_has_one_winner(run, suite_kernel, input_words):
    count, slots = 2000, 61
    taken, winners = input_words(np.zeros(slots, np.uint32)), input_words(np.zeros(count, np.uint32))
    run(suite_kernel("atomics", "compare_exchange"), count, [taken, winners, slots, count])
    owner = taken.view(np.uint32) - 1
    expected = np.zeros(count, np.uint32)
    expected[owner] = 1
    assert np.array_equal(owner % slots, np.arange(slots))
    assert np.array_equal(winners.view(np.uint32), expected)


def test_compute_bound_loop(run, suite_kernel, visible_buffer):
    count, rounds = 4096, 50
    out = visible_buffer(4 * count)
    run(suite_kernel("arithmetic", "mix"), count, [out, rounds, count])
    index = np.arange(count, dtype=np.uint32)
    a, b = index * np.uint32(2654435761), index ^ np.uint32(0x9E3779B9)
    for _ in range(rounds):
        a = a * np.uint32(1664525) + np.uint32(1013904223)
        b = (b ^ a) + (b << np.uint32(5))
        a ^= b >> np.uint32(7)
    assert np.array_equal(out.view(np.uint32), a ^ b)


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((64, 1, 1), (64, 1, 1)),
        ((100, 1, 1), (64, 1, 1)),
        ((5, 7, 3), (4, 4, 2)),
        ((33, 2, 1), (32, 1, 1)),
        ((1, 1, 70), (1, 1, 64)),
        ((130, 3, 2), (128, 2, 1)),
    ],
)
def test_launch_geometry_and_hidden_arguments(grid, block, run, suite_kernel, visible_buffer):
    """Every work-item runs and sees its identifiers, also in partial work-groups, and none beyond them."""
    items = int(np.prod(grid))
    out = visible_buffer(64 * int(np.prod(-(-np.array(grid) // block) * block)))
    out.array[:] = 0xEE
    run(suite_kernel("hidden", "launch"), grid, [out], block=block)
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.uint32) for n in reversed(grid)), indexing="ij")
    position = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    group, item = position // block, position % block
    full = np.array(grid[:2]) // block[:2] * block[:2]
    dims = max((axis + 1 for axis in range(3) if grid[axis] > 1), default=1)
    remainder = grid[0] % block[0] | (grid[1] % block[1]) << 16
    assert (out.array[64 * items :] == 0xEE).all()
    words = out.view(np.uint32)[: 16 * items].reshape(-1, 16)
    assert np.array_equal(words[:, 0:3], group)
    assert np.array_equal(words[:, 3:6], item)
    assert (words[:, 6:9] == block).all()
    assert (words[:, 9:12] == grid).all()
    assert (words[:, 12:14] == full).all()
    assert (words[:, 14] == dims).all()
    assert (words[:, 15] == remainder).all()


def test_copy_dispatch_copy(
    any_compute_queue, sdma_queue, suite_kernel, visible_buffer, gtt_buffer, timeline_semaphore, random_words
):
    """SDMA brings data, compute works on them, SDMA takes them away; only semaphores order the three."""
    count = 50_000
    data = random_words(count)
    source, there, result, back = (
        gtt_buffer(4 * count),
        *(visible_buffer(4 * count) for _ in range(2)),
        gtt_buffer(4 * count),
    )
    source.view(np.uint32)[:] = data
    sdma_queue.copy(there, source).signal(timeline_semaphore, 1).submit()
    any_compute_queue.wait(timeline_semaphore, 1)
    any_compute_queue.dispatch(suite_kernel("vector_add"), count, [result, there, there, count])
    any_compute_queue.signal(timeline_semaphore, 2).submit()
    sdma_queue.wait(timeline_semaphore, 2).copy(back, result).signal(timeline_semaphore, 3).submit()
    timeline_semaphore.wait(3, timeout=20)
    assert np.array_equal(back.view(np.uint32), data * np.uint32(2))
