"""Who made what, and was it given back? The record behind leak reports."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

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


class Tracker:
    """Resources that are out, in the order in which they were made."""

    def __init__(self) -> None:
        self._out: dict[int, Resource] = {}

    def add(self, resource: Resource) -> None:
        """Note that a resource was handed out."""
        self._out[id(resource)] = resource

    def discard(self, resource: Resource) -> None:
        """Note that a resource came back."""
        self._out.pop(id(resource), None)

    def leaks(self) -> list[Leak]:
        """Describe all that is out."""
        return [Leak(resource.describe(), resource.site) for resource in self._out.values()]

    def of_type(self, kind: type[_R]) -> list[_R]:
        """All resources of one type, newest first."""
        return [resource for resource in reversed(self._out.values()) if isinstance(resource, kind)]

    def all(self) -> list[Resource]:
        """All resources, newest first."""
        return list(reversed(self._out.values()))


def attempt(errors: list[Exception], action: Callable[[], object]) -> None:
    """Run one step of a clean-up that must go on whatever happens; its error joins `errors`."""
    try:
        action()
    except Exception as error:
        errors.append(error)
