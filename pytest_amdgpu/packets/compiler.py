"""Compile a layout into the function that builds its packet and the one that takes it apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NoReturn, cast

from pytest_amdgpu.packets.layout import Layout, Words

Encoder = Callable[..., Words]
"""Builds one packet: required fields by position or name, the others by name; see its docstring.

Raises `ValueError` that names packet, field, value and width where a value does not fit its field.
"""


def _word_expression(layout: Layout, dword: int) -> str:
    constant = 0
    for index, _, value in layout.fixed:
        if index == dword:
            constant |= value
    terms = [f"{constant:#x}"] if constant else []
    for owner in layout.owners:
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
        words = cast(Sequence[int], values[tail.name])
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
        try:
            owner.scatter(cast(int, values[owner.name]))
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
            f"len({tail.name}) and (max({tail.name}) >> 32 or min({tail.name}) < 0)",
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
    owners = layout.owners if layout.show_counter else layout.fields
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
