"""Rings full of garbage: an engine refuses, faults, waits or goes on, but never breaks or hangs."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.families.registry import family
from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.sdma import sdma_packets

KINDS = [
    (target, kind)
    for target in ("gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1151", "gfx1200")
    for kind in (QueueType.SDMA, QueueType.COMPUTE, QueueType.COMPUTE_AQL)
]


def codec(target, kind):
    row = family(target)
    if kind is QueueType.SDMA:
        return sdma_packets(row.sdma)
    return pm4_packets(row.pm4) if kind is QueueType.COMPUTE else aql_packets()


def almost_a_packet(rng, layout, addresses):
    """A packet of this layout with random fields, addresses that often exist, and sometimes a flipped bit."""
    words = rng.integers(0, 1 << 32, layout.words, np.uint32).tolist()
    small = rng.integers(0, 8, layout.words).tolist()
    words = [word if rng.random() < 0.3 else low for word, low in zip(words, small, strict=True)]
    for index in range(1, layout.words - 1):
        if rng.random() < 0.4:
            address = int(rng.choice(addresses)) + int(rng.integers(0, 64)) * 4
            words[index], words[index + 1] = address & 0xFFFFFFFF, address >> 32
    for dword, mask, value in layout.fixed:
        words[dword] = words[dword] & ~mask | value
    for dword in range(layout.words):
        if rng.random() < 0.9:
            words[dword] &= layout.defined_bits(dword)
    if layout.tail is not None:
        for piece in layout.tail.counter.pieces:
            words[piece.dword] &= ~(((1 << piece.width) - 1) << piece.low)
            words[piece.dword] |= int(rng.integers(0, 6)) << piece.low
        words += rng.integers(0, 1 << 32, 8, np.uint32).tolist()
    return words


@pytest.mark.parametrize(("target", "kind"), KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_garbage(bench, fake_shaders, target, kind, seed):
    rng = np.random.default_rng([seed, len(target), kind])
    driver = bench.queue(target, kind, ring_size=4096)
    blocks = [bench.block() for _ in range(3)]
    for block in blocks:
        block.u32[:] = rng.integers(0, 4, 1024)
    layouts = list(codec(target, kind).layouts.values())
    addresses = [block.address for block in blocks]
    for _ in range(6):
        layout = layouts[int(rng.integers(len(layouts)))]
        words = almost_a_packet(rng, layout, addresses)
        words += [0] * (-len(words) % (driver.unit // 4 or 1))
        if not driver.host.stopped and (driver.put * driver.unit + 4 * len(words)) < 4096:
            driver.submit(words)
    settled = ("idle", "waiting", "polling", "repeating")
    bench.until(lambda: driver.host.stopped or any(word in driver.queue.state() for word in settled))
    driver.queue.evict()
    driver.queue.restore()
    driver.queue.stop()
    assert not [text for text in driver.host.bad if "the emulator failed" in text]
    driver.host.misuses.clear()
