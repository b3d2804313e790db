"""Every field of every packet of every generation against bits from the headers (golden_fields_*.txt).

The whole packets in test_packets_{sdma,pm4,aql}.py pin what identifies a packet and its length; here each
field is set alone, so that no two fields can be exchanged and none can be missing a bit.
"""

from collections import defaultdict
from pathlib import Path

import pytest

from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.pm4 import PM4_GENERATIONS, pm4_packets
from pytest_amdgpu.packets.sdma import SDMA_VERSIONS, sdma_packets

HERE = Path(__file__).parent

# ROCr, GpuAgent::CreateBlitSdma: these engines take 30 bits, 8 more than the headers show.
WIDER = {
    (version, name, "count"): {1: 0x3FFFFFFF}
    for version in ("4.4.0", "5.2")
    for name in ("COPY_LINEAR", "COPY_BROADCAST")
}


def read(engine):
    """Return golden bits by generation, packet and field: {dword: bits}."""
    golden = defaultdict(dict)
    packet = None
    for line in (HERE / f"golden_fields_{engine}.txt").read_text().splitlines():
        text = line.partition("#")[0]
        if text.startswith(" "):
            field, generations, *dwords = text.split()
            bits = {
                int(dword): int(value, 16) for dword, _, value in (item.partition(":") for item in dwords)
            }
            for generation in generations.split(","):
                assert (packet, field) not in golden[generation], f"{engine} {packet} {field} is there twice"
                golden[generation][packet, field] = bits
        elif text.strip():
            packet = text.strip()
    return golden


SDMA, PM4, AQL = read("sdma"), read("pm4"), read("aql")
CODECS = [
    *((sdma_packets(version), version, SDMA[version[0]]) for version in SDMA_VERSIONS),
    *((pm4_packets(name), name, PM4[name.removeprefix("gfx")]) for name in PM4_GENERATIONS),
    (aql_packets(), "", AQL["1"]),
]


def owners(codec):
    """All fields by packet and name; the counter of data in a packet's tail is one of them."""
    return {(layout.name, owner.name): owner for layout in codec.layouts.values() for owner in layout.owners}


@pytest.mark.parametrize(
    ("codec", "version", "golden"), CODECS, ids=lambda value: getattr(value, "engine", "")
)
def test_every_field_of_every_packet_has_golden_bits(codec, version, golden):
    assert set(owners(codec)) == set(golden)


@pytest.mark.parametrize(
    ("codec", "version", "golden"), CODECS, ids=lambda value: getattr(value, "engine", "")
)
def test_field_owns_the_bits_of_the_header(codec, version, golden):
    for (name, field), owner in owners(codec).items():
        expected = WIDER.get((version, name, field), golden[name, field])
        bits = defaultdict(int)
        for piece in owner.pieces:
            bits[piece.dword] |= ((1 << piece.width) - 1) << piece.low
        assert {dword: hex(value) for dword, value in bits.items()} == {
            dword: hex(value) for dword, value in expected.items()
        }, f"{codec.engine} {name} {field}"


@pytest.mark.parametrize(
    ("codec", "version", "golden"), CODECS, ids=lambda value: getattr(value, "engine", "")
)
def test_encoder_and_decoder_put_the_field_there(codec, version, golden):
    for layout in codec.layouts.values():
        if not layout.fields:
            continue
        data = (0,) if layout.tail else ()
        empty = _build(codec, layout, {}, data)
        for owner in layout.fields:
            largest = (1 << owner.width) - owner.alignment
            words = _build(codec, layout, {owner.name: largest}, data)
            changed = {index: a ^ b for index, (a, b) in enumerate(zip(empty, words, strict=True)) if a != b}
            # An encoder that demands alignment leaves the lowest bits alone.
            low = owner.alignment - 1 if owner.multiple > 1 else 0
            expected = dict(WIDER.get((version, layout.name, owner.name), golden[layout.name, owner.name]))
            first = min(expected)
            expected[first] &= ~low
            assert changed == expected, f"{codec.engine} {layout.name} {owner.name}"
            assert codec.decode(words)[owner.name] == largest


def _build(codec, layout, values, data):
    arguments = {**dict.fromkeys((owner.name for owner in layout.fields), 0), **values}
    encode = getattr(codec, layout.name.lower())
    if layout.tail is None:
        return encode(**arguments)
    if not layout.tail.spread:
        return encode(**arguments, **{layout.tail.name: data})
    positional = [arguments.pop(name) for name in layout.required if name != layout.tail.name]
    return encode(*positional, *data, **arguments)
