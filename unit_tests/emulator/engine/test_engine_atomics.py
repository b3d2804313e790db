"""Atomics of the TC encoding, through the SDMA engine's packet and directly, against C-like arithmetic."""

from __future__ import annotations

import pytest

from pytest_amdgpu.emulator.engine.atomics import atomic
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.packets.sdma import sdma_packets

# (low bits of the operation, old, source, compare, new), for 32 bits; worked out by hand.
CASES = [
    (0x07, 5, 9, 0, 9),
    (0x08, 5, 9, 5, 9),
    (0x08, 5, 9, 6, 5),
    (0x0F, 0xFFFFFFFF, 2, 0, 1),
    (0x10, 1, 2, 0, 0xFFFFFFFF),
    (0x11, 0xFFFFFFFF, 1, 0, 0xFFFFFFFF),
    (0x12, 0xFFFFFFFF, 1, 0, 1),
    (0x13, 0xFFFFFFFF, 1, 0, 1),
    (0x14, 0xFFFFFFFF, 1, 0, 0xFFFFFFFF),
    (0x15, 0b1100, 0b1010, 0, 0b1000),
    (0x16, 0b1100, 0b1010, 0, 0b1110),
    (0x17, 0b1100, 0b1010, 0, 0b0110),
    (0x18, 4, 5, 0, 5),
    (0x18, 5, 5, 0, 0),
    (0x19, 3, 5, 0, 2),
    (0x19, 0, 5, 0, 5),
    (0x19, 6, 5, 0, 5),
]


@pytest.mark.parametrize(("code", "old", "source", "compare", "new"), CASES)
@pytest.mark.parametrize("returning", [0, 0x40])
def test_operations_of_32_bits(bench, code, old, source, compare, new, returning):
    block = bench.block()
    block.u32[:2] = old, 77
    assert atomic(bench.memory, block.address, code | returning, source, compare) == old
    assert block.u32[:2].tolist() == [new, 77]


@pytest.mark.parametrize(("code", "old", "source", "compare", "new"), CASES)
def test_operations_of_64_bits(bench, code, old, source, compare, new):
    def widen(value):
        return value << 32 | value if value >> 16 else value

    block = bench.block()
    block.u64[0] = widen(old)
    if code == 0x0F:
        old, source, new = 0xFFFFFFFF, 2, 0x1_0000_0001
        block.u64[0] = old
    else:
        old, new = widen(old), widen(new)
    assert atomic(bench.memory, block.address, code | 0x20, source, compare) == old
    assert int(block.u64[0]) == new


def test_other_operations_and_unaligned_addresses_are_refused(bench):
    block = bench.block()
    with pytest.raises(BadPacketError, match="0x2"):
        atomic(bench.memory, block.address, 0x02, 0, 0)
    with pytest.raises(BadPacketError, match="unaligned"):
        atomic(bench.memory, block.address + 4, 0x2F, 1, 0)


def test_sdma_adds_64_bits(bench):
    sdma, packets = bench.queue("gfx942"), sdma_packets("4.4")
    block = bench.block()
    block.u64[0] = 0xFFFF_FFFF
    sdma.run(packets.atomic(block.address, 47, 3))
    assert int(block.u64[0]) == 0x1_0000_0002


def test_sdma_repeats_a_compare_and_swap(bench):
    sdma, packets = bench.queue("gfx1100"), sdma_packets("6.0")
    block = bench.block()
    sdma.submit(packets.atomic(block.address, 0x28, 9, cmp_data=4, loop=1))
    sdma.wait(lambda: "repeating a compare-and-swap" in sdma.queue.state())
    block.u64[0] = 4
    sdma.wait_idle()
    assert int(block.u64[0]) == 9
