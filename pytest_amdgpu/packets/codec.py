"""Encoders and decoders of all packets of one generation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

from pytest_amdgpu.packets.compiler import Encoder, decoder, encoder
from pytest_amdgpu.packets.layout import (
    Layout,
    Packet,
    TruncatedPacketError,
    UnavailablePacketError,
    UnknownPacketError,
    Words,
)


class _Decoder:
    """What decoding needs of a layout at once; the function for its fields is compiled on first use."""

    __slots__ = ("bias", "counter", "fields_of", "further", "layout", "mask", "value", "words")

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.words = layout.words
        _, self.mask, self.value = layout.fixed[0]
        self.further = layout.fixed[1:]
        self.counter = layout.tail.counter.pieces[0] if layout.tail else None
        self.bias = layout.tail.bias if layout.tail else 0
        self.fields_of: Callable[[Words], dict[str, int]] | None = None

    def decode(self, words: Sequence[int], index: int) -> Packet:
        layout, length = self.layout, self.words
        raw = _take(words, index, length)
        if len(raw) < length:
            raise TruncatedPacketError(layout.label, length, len(raw))
        for dword, mask, value in self.further:
            if raw[dword] & mask != value:
                raise UnknownPacketError(
                    layout.label,
                    index,
                    f": dword {dword} is {raw[dword]:#010x}, its bits {mask:#x} must be {value:#x}",
                )
        data: Words = ()
        counter = self.counter
        if counter is not None:
            count = (raw[counter.dword] >> counter.low & ((1 << counter.width) - 1)) - self.bias
            if count < 0:
                raise UnknownPacketError(layout.label, index, " is shorter than its fixed part")
            data = _take(words, index + length, count)
            if len(data) < count:
                raise TruncatedPacketError(layout.label, length + count, length + len(data))
            length += count
            raw += data
        fields_of = self.fields_of
        if fields_of is None:
            fields_of = self.fields_of = decoder(layout)
        return Packet(layout.name, fields_of(raw), length, data, raw, layout)


class Codec(ABC):
    """Encoders and decoders of the packets of one generation, each compiled when first used.

    A session uses a dozen of them, and compiling all costs as much as opening a device. Every packet
    is an attribute in lower case that builds it; `decode` gives it back under its name in upper case.
    Subclasses say how dword 0 leads to the candidates for decoding.
    """

    def __init__(self, engine: str, layouts: Iterable[Layout]) -> None:
        self.engine = engine
        self.layouts: dict[str, Layout] = {}
        self._by_key: dict[int, list[_Decoder]] = {}
        for layout in layouts:
            self.layouts.setdefault(layout.name, layout)
            self._by_key.setdefault(self.key(layout.fixed[0][2]), []).append(_Decoder(layout))
        for candidates in self._by_key.values():
            # The layout that fixes most bits of dword 0 is the most special one.
            candidates.sort(key=lambda candidate: -candidate.mask.bit_count())

    @abstractmethod
    def key(self, header: int) -> int:
        """The part of dword 0 that all packets have in the same place."""

    @abstractmethod
    def describe_header(self, header: int) -> str:
        """Text for a dword 0 that begins no known packet."""

    def __getattr__(self, name: str) -> Encoder:
        layout = self.__dict__.get("layouts", {}).get(name.upper())
        if layout is None or name != name.lower():
            raise UnavailablePacketError(f"{self.__dict__.get('engine')} has no packet or attribute {name!r}")
        function = encoder(layout)
        setattr(self, name, function)
        return function

    def decode(self, words: Sequence[int], index: int = 0) -> Packet:
        """Decode the packet that begins at `words[index]`.

        Raises `UnknownPacketError` where no packet of this generation begins so, and
        `TruncatedPacketError` where `words` ends inside it.
        """
        if index >= len(words):
            raise TruncatedPacketError(f"{self.engine} packet", 1, 0)
        header = int(words[index])
        for candidate in self._by_key.get(self.key(header), ()):
            if header & candidate.mask == candidate.value:
                return candidate.decode(words, index)
        raise UnknownPacketError(self.describe_header(header), index)

    def decode_stream(self, words: Sequence[int], index: int = 0) -> Iterator[Packet]:
        """Decode packets one behind the other up to the end of `words`; errors as from `decode`."""
        while index < len(words):
            packet = self.decode(words, index)
            yield packet
            index += packet.words


def _take(words: Sequence[int], index: int, count: int) -> Words:
    part = words[index : index + count]
    # A numpy integer keeps its width in shifts, so arrays become Python integers here.
    if hasattr(part, "tolist"):
        part = part.tolist()
    return tuple(part)
