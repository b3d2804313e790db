"""A ring or buffer of packets as text, for diagnostics and for the command `decode`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.layout import Packet, PacketError
from pytest_amdgpu.packets.registers import Registers


def describe_packet(packet: Packet, registers: Registers | None = None) -> str:
    """Return a packet as text; with registers of its generation, SET_SH_REG shows names and fields."""
    if packet.name != "SET_SH_REG" or registers is None:
        return str(packet)
    first = packet["register"]
    writes = [registers.describe(first + index, value) for index, value in enumerate(packet.data)]
    return f"SET_SH_REG {'; '.join(writes)}"


def listing(
    codec: Codec, words: Sequence[int], first_index: int = 0, registers: Registers | None = None
) -> Iterator[str]:
    """Yield one line a packet, beginning with its index in dwords (counted from `first_index`).

    Where no packet of the generation begins, the last line says so and shows the dwords from there on:
    without its length there is no next packet.
    """
    index = 0
    while index < len(words):
        try:
            packet = codec.decode(words, index)
        except PacketError as error:
            shown = " ".join(f"{int(word):08x}" for word in words[index : index + 8])
            yield f"{first_index + index:8}: {error} [{shown}{' ...' if index + 8 < len(words) else ''}]"
            return
        yield f"{first_index + index:8}: {describe_packet(packet, registers)}"
        index += packet.words
