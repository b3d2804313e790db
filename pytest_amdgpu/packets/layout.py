"""Packet layouts as tables of bit fields, decoded packets, and the errors of decoding.

A `Layout` is one packet of one generation: its length in dwords, the bits that identify it, and its
fields. A field is a logical value that may be spread over dwords (a 64-bit address is one field).
Encoders and decoders are compiled from it (packets/compiler.py), so that the table is the only place
that knows where a bit is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

Words = tuple[int, ...]


class PacketError(Exception):
    """Dwords are no packet of the generation that they were decoded for."""

    @property
    def reason(self) -> str:
        """What is wrong, without the place: for messages that name a better one than an index."""
        return str(self)


class UnknownPacketError(PacketError):
    """No packet of this generation begins with these dwords, of which `index` is the first."""

    def __init__(self, what: str, index: int, why: str = "") -> None:
        super().__init__(f"{what} at dword {index}{why}")
        self._reason = what + why

    @property
    def reason(self) -> str:
        """What is wrong, without the place."""
        return self._reason


class TruncatedPacketError(PacketError):
    """The dwords end inside a packet; `needed` and `available` count dwords from its start."""

    def __init__(self, name: str, needed: int, available: int) -> None:
        super().__init__(f"{name} needs {needed} dwords, {available} are left")
        self.needed = needed
        self.available = available


class UnavailablePacketError(PacketError, AttributeError):
    """A generation has no packet of this name (an `AttributeError`, so that `hasattr` tells)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bits `[low + width - 1 : low]` of a dword hold the bits of a value from `shift` upwards."""

    dword: int
    low: int
    width: int
    shift: int


@dataclass(frozen=True, slots=True)
class Field:
    """A value of a packet.

    `default` None makes it a required argument of the encoder. The lowest `zero_bits` bits of the
    value are not in the packet and must be zero. `multiple` is the alignment that the encoder demands
    although the packet has room for the low bits; a decoder shows those as they are.
    """

    name: str
    pieces: tuple[Piece, ...]
    default: int | None = 0
    zero_bits: int = 0
    multiple: int = 1

    @property
    def width(self) -> int:
        """Bits of the value, counting those that must be zero."""
        return self.zero_bits + sum(piece.width for piece in self.pieces)

    @property
    def alignment(self) -> int:
        """What the value must be a multiple of."""
        return max(self.multiple, 1 << self.zero_bits)

    def scatter(self, value: int) -> list[tuple[int, int]]:
        """Bits that the value sets, as pairs of dword index and bits; `ValueError` if it does not fit."""
        if value < 0 or value >> self.width:
            raise ValueError(f"{self.name} = {value:#x} does not fit {self.width} bits")
        if value % self.alignment:
            raise ValueError(f"{self.name} = {value:#x} is not a multiple of {self.alignment}")
        return [
            (piece.dword, (value >> piece.shift & ((1 << piece.width) - 1)) << piece.low)
            for piece in self.pieces
        ]


@dataclass(frozen=True, slots=True)
class Tail:
    """Dwords of variable number behind the fixed part of a packet.

    The field `counter` of the packet holds their number plus `bias`. `spread` makes the encoder take
    them as trailing positional arguments instead of one sequence.
    """

    name: str
    counter: Field
    bias: int
    spread: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """One packet of one generation.

    `words` is the length in dwords without a tail; `fixed` are (dword, mask, value) triples of bits
    that are always the same, which identify the packet when it is decoded.
    """

    engine: str
    name: str
    words: int
    fields: tuple[Field, ...]
    fixed: tuple[tuple[int, int, int], ...]
    tail: Tail | None = None
    required: tuple[str, ...] = ()
    show_counter: bool = True
    frequent: tuple[str, ...] = ()
    """Fields with a default that are usually given; this only makes their encoder faster."""
    ignored: tuple[tuple[int, int], ...] = ()
    """(dword, mask) pairs of bits that mean nothing to us and are neither built nor reserved."""

    @property
    def owners(self) -> tuple[Field, ...]:
        """All that own bits which vary: the fields, and the counter of the tail."""
        return (*self.fields, self.tail.counter) if self.tail else self.fields

    @property
    def label(self) -> str:
        """The name of the packet with that of its generation, for messages."""
        return f"{self.engine} {self.name}"

    def field(self, name: str) -> Field:
        """Return a field by name; `KeyError` where the packet has none of that name."""
        for owner in self.fields:
            if owner.name == name:
                return owner
        raise KeyError(f"{self.label} has no field {name}")

    def defined_bits(self, dword: int) -> int:
        """Mask of the bits of a dword that a field, the tail's counter or a fixed value owns."""
        mask = 0
        for owner in self.owners:
            for piece in owner.pieces:
                if piece.dword == dword:
                    mask |= ((1 << piece.width) - 1) << piece.low
        for index, fixed_mask, _ in self.fixed:
            if index == dword:
                mask |= fixed_mask
        for index, ignored_mask in self.ignored:
            if index == dword:
                mask |= ignored_mask
        return mask

    def with_values(self, **values: int) -> Layout:
        """Return the layout with some fields fixed to a value, to compile a faster encoder from."""
        fixed = list(self.fixed)
        for name, value in values.items():
            fixed += [(dword, 0, bits) for dword, bits in self.field(name).scatter(value)]
        return replace(
            self,
            fields=tuple(owner for owner in self.fields if owner.name not in values),
            fixed=tuple(fixed),
            required=tuple(name for name in self.required if name not in values),
            frequent=tuple(name for name in self.frequent if name not in values),
        )


@dataclass(slots=True)
class Packet:
    """A decoded packet: fields by name, dwords of variable number, and the dwords it was made from."""

    name: str
    fields: dict[str, int]
    words: int
    data: Words = ()
    raw: Words = field(default=(), compare=False, repr=False)
    layout: Layout | None = field(default=None, compare=False, repr=False)

    def __getitem__(self, name: str) -> int:
        return self.fields[name]

    def reserved(self) -> list[tuple[int, int]]:
        """Reserved bits that are set, as pairs of dword index and bits; a correct packet has none."""
        if self.layout is None:
            return []
        found = []
        for index in range(self.layout.words):
            stray = self.raw[index] & ~self.layout.defined_bits(index)
            if stray:
                found.append((index, stray))
        return found

    def __str__(self) -> str:
        parts = [self.name]
        required = self.layout.required if self.layout else ()
        for name, value in self.fields.items():
            if value or name in required:
                parts.append(f"{name}={value if value < 10 else hex(value)}")
        if self.data:
            shown = " ".join(f"{word:08x}" for word in self.data[:8])
            more = f" ... {len(self.data)} dwords" if len(self.data) > 8 else ""
            parts.append(f"[{shown}{more}]")
        stray = [f"dword {index} {bits:#x}" for index, bits in self.reserved()]
        if stray:
            parts.append(f"(reserved bits set: {', '.join(stray)})")
        return " ".join(parts)


def pieces(text: str, zero_bits: int = 0) -> tuple[Piece, ...]:
    """Pieces from `dword[high:low]` notation, lowest bits of the value first: `3[31:0] 4[31:0]`."""
    result = []
    shift = zero_bits
    for part in text.split():
        dword, _, bits = part.rstrip("]").partition("[")
        high, _, low = bits.partition(":")
        width = int(high) - int(low or high) + 1
        result.append(Piece(int(dword), int(low or high), width, shift))
        shift += width
    return tuple(result)
