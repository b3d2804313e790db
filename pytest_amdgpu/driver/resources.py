"""Who made what, and was it given back? The record behind leak reports."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

_PACKAGE = str(Path(__file__).parent.parent) + "/"


def creation_site() -> str:
    """Return `file:line` of the innermost caller outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class Resource(Protocol):
    """Something that a device handed out and wants back."""

    site: str

    def describe(self) -> str:
        """One line that says what it is."""

    def release(self) -> None:
        """Give it back; harmless when done before."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A resource that was not given back."""

    description: str
    site: str

    def __str__(self) -> str:
        return f"{self.description}, made at {self.site}"


_R = TypeVar("_R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a resource is in the GPU's address space: bytes [start, end)."""

    start: int
    end: int
    text: str

    def distance(self, address: int) -> int:
        """Bytes from the nearest byte of it to an address outside; 0 inside."""
        return max(self.start - address, address - self.end + 1, 0)


class _Near(NamedTuple):
    distance: int
    freed: bool
    extent: Extent


_REMEMBERED = 64
"""Resources given back whose places are remembered."""
_NEAR = 16 << 20
"""Bytes within which an address counts as near to something."""


class Tracker:
    """Resources that are out, in the order in which they were made."""

    def __init__(self) -> None:
        self._out: dict[int, Resource] = {}
        self._given_back: deque[Extent] = deque(maxlen=_REMEMBERED)

    def add(self, resource: Resource) -> None:
        """Note that a resource was handed out."""
        self._out[id(resource)] = resource

    def discard(self, resource: Resource) -> None:
        """Note that a resource came back."""
        known = self._out.pop(id(resource), None)
        extent = _extent(resource) if known is not None else None
        if extent is not None:
            self._given_back.append(extent)

    def describe_address(self, address: int) -> str:
        """Say what is at, or nearest to, an address of the GPU; what was given back counts, too.

        "" if there is nothing within 16 MiB.
        """
        here = [extent for resource in self._out.values() if (extent := _extent(resource)) is not None]
        near = [
            _Near(extent.distance(address), freed, extent)
            for freed, extents in ((False, here), (True, [*reversed(self._given_back)]))
            for extent in extents
        ]
        nearest = min(near, key=lambda one: one[:2], default=None)
        if nearest is None or nearest.distance > _NEAR:
            return ""
        distance, freed, extent = nearest
        text = f"{extent.text}{', which was freed' if freed else ''}"
        if not distance:
            return f"inside {text}"
        return (
            f"{distance:#x} bytes {'before' if address < extent.start else 'behind the last byte of'} {text}"
        )

    def leaks(self) -> list[Leak]:
        """Describe all that is out."""
        return [Leak(resource.describe(), resource.site) for resource in self._out.values()]

    def of_type(self, kind: type[_R]) -> list[_R]:
        """All resources of one type, newest first."""
        return [resource for resource in reversed(self._out.values()) if isinstance(resource, kind)]

    def all(self) -> list[Resource]:
        """All resources, newest first."""
        return list(reversed(self._out.values()))


def _extent(resource: Resource) -> Extent | None:
    """Return the place of a resource that says it by `extent`, as buffers and programs do."""
    place: tuple[int, int] | None = getattr(resource, "extent", None)
    if place is None:
        return None
    return Extent(*place, f"{resource.describe()}, made at {resource.site}")


def attempt(errors: list[Exception], action: Callable[[], object]) -> None:
    """Run one step of a clean-up that must go on whatever happens; its error joins `errors`."""
    try:
        action()
    except Exception as error:
        errors.append(error)
