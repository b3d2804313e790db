"""What is to be injected where: the text `DEFECT[:OPTION=VALUE,...]@DEVICE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pytest_amdgpu.emulator.injection.defect import Defect
from pytest_amdgpu.emulator.injection.registry import DEFECTS

_NEXT_OPTION = re.compile(r",(?=[a-z]+=)")
"""A comma that ends the value of an option: one before the name of another."""


class InjectionError(ValueError):
    """Not a defect that there is, or not with these options; the message says what is allowed."""


class Injection(NamedTuple):
    """A defect with a value for each of its options."""

    defect: type[Defect]
    values: Mapping[str, Any]


def parse_injection(text: str) -> tuple[Injection, str]:
    """Return the defect and the device of a text; raises `InjectionError`."""
    what, at, device = text.rpartition("@")
    if not at or not device:
        raise InjectionError(f"{text!r} does not say on which device: DEFECT[:OPTION=VALUE,...]@DEVICE")
    name, colon, options = what.partition(":")
    texts: dict[str, str] = {}
    for part in _NEXT_OPTION.split(options) if colon else ():
        option, equals, value = part.partition("=")
        if not equals:
            raise InjectionError(f"{text!r}: {part!r} is not OPTION=VALUE")
        if option in texts:
            raise InjectionError(f"{text!r}: {option} is given twice")
        texts[option] = value
    return make_injection(name, texts), device


def make_injection(name: str, texts: Mapping[str, str]) -> Injection:
    """Return a defect with the values that the texts of options stand for; raises `InjectionError`."""
    defect = DEFECTS.get(name)
    if defect is None:
        raise InjectionError(f"there is no defect {name!r}; there are {', '.join(DEFECTS)}")
    options = {option.name: option for option in defect.all_options()}
    if unknown := [option for option in texts if option not in options]:
        raise InjectionError(f"{name} has no option {unknown[0]!r}; it has {', '.join(options)}")
    try:
        values = {
            option.name: option.value(texts.get(option.name, option.default)) for option in options.values()
        }
    except ValueError as error:
        raise InjectionError(f"{name}: {error}") from None
    return Injection(defect, values)
