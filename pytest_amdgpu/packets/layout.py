"""Packet layouts as tables of bit fields, and the encoders and decoders that are compiled from them.

A `Layout` is one packet of one generation: its length in dwords, the bits that identify it, and its
fields. A field is a logical value that may be spread over dwords (a 64-bit address is one field).
From a layout one Python function is compiled that builds the packet (a tuple of dwords) and one that
takes it apart, so that the table is the only place that knows where a bit is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

Words = tuple[int, ...]
Encoder = Callable[..., Words]
"""Builds one packet: required fields by position or name, the others by name; see its docstring.

Raises `ValueError` that names packet, field, value and width where a value does not fit its field.
"""


class PacketError(Exception):
    """Dwords are no packet of the generation that they were decoded for."""


class UnknownPacketError(PacketError):
    """No packet of this generation begins with these dwords."""


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
    def label(self) -> str:
        """The name of the packet with that of its generation, for messages."""
        return f"{self.engine} {self.name}"

    def defined_bits(self, dword: int) -> int:
        """Mask of the bits of a dword that a field, the tail's counter or a fixed value owns."""
        mask = 0
        owners = [*self.fields, self.tail.counter] if self.tail else self.fields
        for owner in owners:
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
        by_name = {owner.name: owner for owner in self.fields}
        fixed = list(self.fixed)
        for name, value in values.items():
            for dword, bits in by_name[name].scatter(value):
                fixed.append((dword, 0, bits))
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


def _word_expression(layout: Layout, dword: int) -> str:
    constant = 0
    for index, _, value in layout.fixed:
        if index == dword:
            constant |= value
    terms = [f"{constant:#x}"] if constant else []
    owners = [*layout.fields, layout.tail.counter] if layout.tail else list(layout.fields)
    for owner in owners:
        for piece in owner.pieces:
            if piece.dword != dword:
                continue
            text = owner.name
            topmost = piece.shift + piece.width == owner.width
            if piece.shift:
                text = f"({text} >> {piece.shift})"
            if not topmost:
                text = f"({text} & {(1 << piece.width) - 1:#x})"
            if piece.low:
                text = f"({text} << {piece.low})"
            terms.append(text)
    return " | ".join(terms) or "0"


def _refuse(layout: Layout, values: dict[str, object]) -> NoReturn:
    """Find the value that made an encoder give up, and raise the error that names it."""
    tail = layout.tail
    if tail is not None:
        words = values[tail.name]
        assert isinstance(words, Sequence)
        count = len(words) + tail.bias
        if count < 0 or count >> tail.counter.width:
            raise ValueError(
                f"{layout.label}: {tail.name} of {len(words)} dwords does not fit:"
                f" {tail.counter.name} has {tail.counter.width} bits"
            )
        for index, word in enumerate(words):
            if word < 0 or word >> 32:
                raise ValueError(f"{layout.label}: {tail.name}[{index}] = {word:#x} does not fit 32 bits")
    for owner in layout.fields:
        if owner.name not in values:
            continue
        value = values[owner.name]
        assert isinstance(value, int)
        try:
            owner.scatter(value)
        except ValueError as error:
            raise ValueError(f"{layout.label}: {error}") from None
    raise AssertionError(f"{layout.label} refused values that fit: {values}")


def _compile(layout: Layout, name: str, source: str) -> Callable[..., object]:
    namespace: dict[str, object] = {"layout": layout, "refuse": _refuse}
    exec(compile(source, f"<{layout.label} {name}>", "exec"), namespace)
    function = namespace[name]
    assert callable(function)
    return function


def _build(layout: Layout, names: Collection[str]) -> list[str]:
    """Lines that check the fields in `names` and return the dwords, with all others at their default."""
    tail = layout.tail
    constant = layout.with_values(
        **{owner.name: owner.default or 0 for owner in layout.fields if owner.name not in names}
    )
    lines = []
    conditions = []
    if tail is not None:
        bias = f" {'+' if tail.bias > 0 else '-'} {abs(tail.bias)}" if tail.bias else ""
        lines.append(f"{tail.counter.name} = len({tail.name}){bias}")
        conditions += [
            f"{tail.counter.name} >> {tail.counter.width}",
            f"{tail.name} and (max({tail.name}) >> 32 or min({tail.name}) < 0)",
        ]
    groups: dict[int, list[str]] = {}
    for owner in constant.fields:
        groups.setdefault(owner.width, []).append(owner.name)
        if owner.alignment > 1:
            conditions.append(f"{owner.name} & {owner.alignment - 1:#x}")
    conditions += [f"({' | '.join(group)}) >> {width}" for width, group in groups.items()]
    if conditions:
        values = ", ".join(f"{name!r}: {name}" for name in names)
        lines.append(f"if {' or '.join(conditions)}: refuse(layout, {{{values}}})")
    words = [_word_expression(constant, index) for index in range(layout.words)]
    if tail is not None:
        words.append(f"*{tail.name}")
    lines.append(f"return ({', '.join(words)},)")
    return lines


def encoder(layout: Layout) -> Encoder:
    """Compile the function that builds a packet.

    Fields that are seldom given get one test together, behind which the dwords without them are
    mostly constants: this is what makes a packet cost well below a microsecond.
    """
    tail = layout.tail
    positional = [name for name in layout.required if tail is None or name != tail.name or not tail.spread]
    keywords = [owner for owner in layout.fields if owner.name not in positional]
    parameters = list(positional)
    if tail is not None and tail.spread:
        parameters.append(f"*{tail.name}")
    elif keywords:
        parameters.append("*")
    parameters += [f"{owner.name}={owner.default}" for owner in keywords]

    tail_name = [tail.name] if tail is not None else []
    every = [owner.name for owner in layout.fields] + tail_name
    often = [name for name in positional if name not in tail_name] + list(layout.frequent) + tail_name
    seldom = [owner for owner in keywords if owner.name not in layout.frequent]
    lines = []
    if seldom:
        given = [f"{owner.name} != {owner.default}" if owner.default else owner.name for owner in seldom]
        lines.append(f"if {' or '.join(given)}:")
        lines += [f"    {line}" for line in _build(layout, every)]
    lines += _build(layout, often)
    function_name = layout.name.lower()
    source = f"def {function_name}({', '.join(parameters)}):\n" + "".join(f"    {line}\n" for line in lines)
    function = _compile(layout, function_name, source)
    described = ", ".join(f"{owner.name} ({owner.width} bits)" for owner in layout.fields)
    function.__doc__ = f"Build {layout.label}: {described or 'no fields'}."
    return function  # type: ignore[return-value]


def decoder(layout: Layout) -> Callable[[Words], dict[str, int]]:
    """Compile the function that takes the fields out of the dwords of a packet."""
    owners = list(layout.fields)
    if layout.tail is not None and layout.show_counter:
        owners.append(layout.tail.counter)
    items = []
    for owner in owners:
        terms = []
        for piece in owner.pieces:
            text = f"w[{piece.dword}]"
            if piece.low:
                text = f"{text} >> {piece.low}"
            if piece.low + piece.width < 32:
                text = f"{text} & {(1 << piece.width) - 1:#x}"
            if piece.shift:
                text = f"({text}) << {piece.shift}"
            terms.append(f"({text})")
        items.append(f"{owner.name!r}: {' | '.join(terms)}")
    source = f"def decode(w):\n    return {{{', '.join(items)}}}\n"
    return _compile(layout, "decode", source)  # type: ignore[return-value]


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
                    f"{layout.label} at dword {index}: dword {dword} is {raw[dword]:#010x},"
                    f" its bits {mask:#x} must be {value:#x}"
                )
        data: Words = ()
        counter = self.counter
        if counter is not None:
            count = (raw[counter.dword] >> counter.low & ((1 << counter.width) - 1)) - self.bias
            if count < 0:
                raise UnknownPacketError(f"{layout.label} at dword {index} is shorter than its fixed part")
            data = _take(words, index + length, count)
            if len(data) < count:
                raise TruncatedPacketError(layout.label, length + count, length + len(data))
            length += count
            raw += data
        fields_of = self.fields_of
        if fields_of is None:
            fields_of = self.fields_of = decoder(layout)
        return Packet(layout.name, fields_of(raw), length, data, raw, layout)


class Codec:
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

    def key(self, header: int) -> int:
        """The part of dword 0 that all packets have in the same place."""
        raise NotImplementedError

    def describe_header(self, header: int) -> str:
        """Text for a dword 0 that begins no known packet."""
        raise NotImplementedError

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
        raise UnknownPacketError(f"{self.describe_header(header)} at dword {index}")

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
