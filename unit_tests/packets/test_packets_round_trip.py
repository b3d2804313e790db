"""Packets of every generation: fields own different bits, come back as given, refuse what is too large."""

import contextlib
import random

import numpy as np
import pytest

from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.layout import (
    PacketError,
    TruncatedPacketError,
    UnknownPacketError,
    pieces,
)
from pytest_amdgpu.packets.pm4 import PM4_GENERATIONS, pm4_packets
from pytest_amdgpu.packets.sdma import SDMA_VERSIONS, sdma_packets

CODECS = [
    *[sdma_packets(version) for version in SDMA_VERSIONS],
    *[pm4_packets(generation) for generation in PM4_GENERATIONS],
    aql_packets(),
]
LAYOUTS = [
    pytest.param(codec, layout, id=layout.label.replace(" ", "-"))
    for codec in CODECS
    for layout in codec.layouts.values()
    if layout.name not in ("NOP", "FILLER")
]


def build(codec, layout, values, data=()):
    arguments = dict(values)
    if layout.tail is None:
        return getattr(codec, layout.name.lower())(**arguments)
    if not layout.tail.spread:
        return getattr(codec, layout.name.lower())(**arguments, **{layout.tail.name: data})
    positional = [arguments.pop(name) for name in layout.required if name != layout.tail.name]
    return getattr(codec, layout.name.lower())(*positional, *data, **arguments)


def zeros(layout):
    return dict.fromkeys((field.name for field in layout.fields), 0)


def largest(field):
    return (1 << field.width) - field.alignment


@pytest.mark.parametrize(("codec", "layout"), LAYOUTS)
def test_fields_own_different_bits(codec, layout):
    data = (0,) if layout.tail else ()
    empty = build(codec, layout, zeros(layout), data)
    taken = [0] * len(empty)
    for field in layout.fields:
        full = build(codec, layout, {**zeros(layout), field.name: largest(field)}, data)
        changed = [before ^ after for before, after in zip(empty, full, strict=True)]
        assert any(changed)
        for index, bits in enumerate(changed):
            assert not bits & taken[index], f"{field.name} shares bits of dword {index}"
            taken[index] |= bits
    assert all(bits & ~layout.defined_bits(index) == 0 for index, bits in enumerate(taken[: layout.words]))


@pytest.mark.parametrize(("codec", "layout"), LAYOUTS)
def test_random_values_come_back(codec, layout):
    rng = random.Random(layout.label)
    for _ in range(20):
        values = {
            field.name: rng.getrandbits(field.width) // field.alignment * field.alignment
            for field in layout.fields
        }
        data = tuple(rng.getrandbits(32) for _ in range(rng.randrange(1, 9))) if layout.tail else ()
        words = build(codec, layout, values, data)
        assert all(0 <= word < 1 << 32 for word in words)
        packet = codec.decode((0xDEAD, *words, 0xBEEF), 1)
        assert packet.name == layout.name
        assert packet.words == len(words)
        assert packet.raw == words
        assert packet.data == data
        assert {name: packet[name] for name in values} == values
        assert packet.reserved() == []
        for array in (np.array(words, np.uint32), memoryview(np.array(words, np.uint32))):
            assert codec.decode(array) == packet


@pytest.mark.parametrize(("codec", "layout"), LAYOUTS)
def test_value_that_does_not_fit_is_named(codec, layout):
    data = (0,) if layout.tail else ()
    for field in layout.fields:
        expected = f"{layout.label}: {field.name} = {1 << field.width:#x} does not fit {field.width} bits"
        with pytest.raises(ValueError, match=f"^{expected}$"):
            build(codec, layout, {**zeros(layout), field.name: 1 << field.width}, data)
        with pytest.raises(ValueError, match=rf"^{layout.label}: {field.name} = -0x1 does not fit"):
            build(codec, layout, {**zeros(layout), field.name: -1}, data)
        if field.alignment > 1:
            with pytest.raises(
                ValueError, match=rf"{field.name} = 0x1 is not a multiple of {field.alignment}$"
            ):
                build(codec, layout, {**zeros(layout), field.name: 1}, data)


@pytest.mark.parametrize(("codec", "layout"), LAYOUTS)
def test_cut_packet_is_refused_with_what_it_needs(codec, layout):
    words = build(codec, layout, zeros(layout), (1, 2, 3) if layout.tail else ())
    for length in range(1, len(words)):
        with pytest.raises(TruncatedPacketError) as caught:
            codec.decode(words[:length])
        assert caught.value.available == length
        assert length < caught.value.needed <= len(words)
    with pytest.raises(TruncatedPacketError):
        codec.decode(words, len(words))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.engine)
def test_random_dwords_decode_or_are_refused(codec):
    rng = random.Random(codec.engine)
    for _ in range(2000):
        words = [rng.getrandbits(32) for _ in range(24)]
        if rng.random() < 0.5:
            words[0] &= 0xFF
        with contextlib.suppress(PacketError):
            packet = codec.decode(words)
            assert packet.words == len(packet.raw)
            assert packet.name in str(packet)


def test_stream_gives_packets_until_the_first_bad_one():
    packets = sdma_packets("6.0")
    ring = [
        *packets.copy_linear(0x1000, 0x2000, 7),
        *packets.nop(2),
        *packets.fence(0x40, 1),
        *packets.trap(3),
    ]
    names = [packet.name for packet in packets.decode_stream(ring)]
    assert names == ["COPY_LINEAR", "NOP", "FENCE", "TRAP"]
    seen = []
    with pytest.raises(UnknownPacketError, match=r"SDMA 6\.0 has no packet with op 99 sub_op 0 at dword 16"):
        seen.extend(packets.decode_stream([*ring, 99]))
    with pytest.raises(TruncatedPacketError, match=r"SDMA 6\.0 TRAP needs 2 dwords, 1 are left"):
        seen.extend(packets.decode_stream(ring[:-1]))


def test_text_of_a_packet_shows_what_matters():
    packets = sdma_packets("6.0")
    assert str(packets.decode(packets.fence(0x1234, 5))) == "FENCE mtype=3 addr=0x1234 data=5"
    written = packets.decode(packets.write_linear(0x40, range(10)))
    assert str(written) == (
        "WRITE_LINEAR dst_addr=0x40 count=9"
        " [00000000 00000001 00000002 00000003 00000004 00000005 00000006 00000007 ... 10 dwords]"
    )
    stray = packets.decode((0x00030005, 0x1001, 0, 7))
    assert str(stray) == "FENCE mtype=3 addr=0x1001 data=7"
    assert str(packets.decode((0x40000006, 0x10000003))).endswith(
        "(reserved bits set: dword 0 0x40000000, dword 1 0x10000000)"
    )


def test_data_that_does_not_fit_is_named():
    packets = sdma_packets("4.4")
    with pytest.raises(ValueError, match=r"WRITE_LINEAR: data of 0 dwords does not fit: count has 20 bits"):
        packets.write_linear(0, [])
    with pytest.raises(ValueError, match=r"WRITE_LINEAR: data\[2\] = -0x1 does not fit 32 bits"):
        packets.write_linear(0, [1, 2, -1])
    with pytest.raises(ValueError, match=r"NOP: count = 0x4000 does not fit 14 bits"):
        packets.nop(1 << 14)


def test_field_with_fixed_value_is_checked_like_any_other():
    layout = sdma_packets("6.0").layouts["FENCE"]
    with pytest.raises(ValueError, match="mtype = 0x8 does not fit 3 bits"):
        layout.with_values(mtype=8)


def test_bits_are_read_lowest_piece_first():
    low, high = pieces("2[31:3] 3[15:0]", zero_bits=3)
    assert (low.dword, low.low, low.width, low.shift) == (2, 3, 29, 3)
    assert (high.dword, high.low, high.width, high.shift) == (3, 0, 16, 32)
