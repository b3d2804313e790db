"""What the markers of a test ask for: `amdgpu(...)`, and `amdgpu_targets(...)` as its short form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_amdgpu.devices.groups import RELATIONS
from pytest_amdgpu.devices.needs import Needs, NeedsError, check_words, parse_size
from pytest_amdgpu.families.registry import UnknownFamilyError
from pytest_amdgpu.plugin.options import GROUP_MARKER, TARGETS_MARKER

DEFAULT_COUNT = 2
"""Devices of a group whose test does not say how many it needs."""

_NAMED = {"peers": "that are peers", "hive": "of one hive", "same_family": "of one family"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a test asks for. `count` and `relation` are of groups of devices, and None if it says nothing."""

    needs: Needs
    count: int | None = None
    relation: str | None = None

    @property
    def is_of_group(self) -> bool:
        """Whether one device cannot be what it asks for."""
        return self.relation is not None or self.count not in (None, 1)

    @property
    def group(self) -> str:
        """What messages call the group."""
        relation = f" {_NAMED[self.relation]}" if self.relation else ""
        return f"{self.count or DEFAULT_COUNT} devices{relation}"


def wish_of(item: pytest.Item | pytest.Function) -> Wish:
    """Return what all markers of a test say together; of a key that several have, the innermost counts.

    Raises `pytest.UsageError`, which names the test, the key and what is allowed.
    """
    values: dict[str, Any] = {}
    for marker in [*item.iter_markers(GROUP_MARKER)][::-1]:
        values |= _checked(marker, f"{item.nodeid}: {GROUP_MARKER}")
    targets = _targets(item)
    if targets is not None:
        if "target" in values:
            # Both must hold.
            targets = tuple(target for target in values["target"] if target in targets)
            if not targets:
                raise pytest.UsageError(
                    f"{item.nodeid}: {GROUP_MARKER} and {TARGETS_MARKER} have no target in common"
                )
        values["target"] = targets
    needs = Needs(
        targets=values.get("target", ()),
        kinds=values.get("family", ()),
        features=values.get("features", ()),
        vram=values.get("vram", 0),
    )
    return Wish(needs, values.get("devices"), values.get("relation"))


def _checked(marker: pytest.Mark, where: str) -> dict[str, Any]:
    allowed = ", ".join(_KEYS)
    if marker.args:
        raise pytest.UsageError(f"{where} takes keywords only ({allowed}), not {marker.args!r}")
    unknown = sorted(set(marker.kwargs) - set(_KEYS))
    if unknown:
        raise pytest.UsageError(f"{where} does not know {', '.join(unknown)}; allowed are {allowed}")
    return {key: _KEYS[key](value, f"{where}: {key}") for key, value in marker.kwargs.items()}


def _words(value: object, where: str) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, tuple | list | set | frozenset) or not words:
        raise pytest.UsageError(f"{where} is a word or a list of words, not {value!r}")
    for word in words:
        if not isinstance(word, str):
            raise pytest.UsageError(f"{where} is a word or a list of words, not {value!r}")
    return tuple(sorted(words) if isinstance(words, set | frozenset) else words)


def _known(key: str) -> Callable[[object, str], tuple[str, ...]]:
    """Return what reads words of one key, all of which must be known."""

    def read(value: object, where: str) -> tuple[str, ...]:
        words = _words(value, where)
        try:
            check_words(**{name: words if name == key else () for name in ("targets", "kinds", "features")})
        except (NeedsError, UnknownFamilyError) as error:
            raise pytest.UsageError(f"{where}: {error}") from error
        return words

    return read


def _vram(value: object, where: str) -> int:
    if isinstance(value, str):
        try:
            value = parse_size(value)
        except NeedsError as error:
            raise pytest.UsageError(f"{where}: {error}, nor a number of bytes") from error
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise pytest.UsageError(f"{where} is a number of bytes, or a text such as '16GiB', not {value!r}")
    return value


def _count(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise pytest.UsageError(f"{where} is a number of at least 1, not {value!r}")
    return value


def _relation(value: object, where: str) -> str | None:
    if value is not None and value not in RELATIONS:
        raise pytest.UsageError(f"{where} is one of {', '.join(RELATIONS)}, not {value!r}")
    return None if value is None else str(value)


_KEYS: Mapping[str, Callable[[Any, str], Any]] = {
    "family": _known("kinds"),
    "target": _known("targets"),
    "features": _known("features"),
    "vram": _vram,
    "devices": _count,
    "relation": _relation,
}


def _targets(item: pytest.Item) -> tuple[str, ...] | None:
    """Return the targets that the innermost marker of the short form names, or None if there is none."""
    marker = item.get_closest_marker(TARGETS_MARKER)
    if marker is None:
        return None
    if marker.kwargs or not marker.args or not all(isinstance(target, str) for target in marker.args):
        raise pytest.UsageError(
            f"{item.nodeid}: {TARGETS_MARKER} takes names of gfx targets, "
            f"not {marker.args!r} {marker.kwargs!r}"
        )
    return _known("targets")(list(marker.args), f"{item.nodeid}: {TARGETS_MARKER}")
