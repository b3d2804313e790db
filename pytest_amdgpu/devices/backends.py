"""Ways to GPUs that other packages bring, as entry points of the group `pytest_amdgpu.backends`.

An entry point names a callable without arguments that returns a `BackendSource` (driver/backend.py), a class
for example; `--amdgpu-backend` chooses it by the entry point's name.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.driver.backend import BackendSource

GROUP = "pytest_amdgpu.backends"
OWN_BACKENDS = ("auto", "hardware", "software")

_METHODS = ("kernel", "discover", "open", "renew")


class BackendError(ValueError):
    """No such backend is installed, or the one that is does not work; the message names it."""


def installed_backends() -> dict[str, list[EntryPoint]]:
    """Return the entry points by their names, in order, without loading them."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        found.setdefault(point.name, []).append(point)
    return found


def check_backend(name: str) -> None:
    """Raise `BackendError` with the list of backends unless `name` is one of ours or installed."""
    installed = installed_backends()
    if name in OWN_BACKENDS:
        return
    if name not in installed:
        others = ", ".join(_describe(point) for points in installed.values() for point in points)
        raise BackendError(
            f"{name!r} is not one of {', '.join(OWN_BACKENDS)}, nor of those that are installed ({GROUP}):"
            f" {others or 'none'}"
        )
    if len(installed[name]) > 1:
        raise BackendError(
            f"several packages have a backend {name!r}: {', '.join(map(_describe, installed[name]))}"
        )


def load_backend(name: str) -> BackendSource:
    """Return the source of GPUs that another package brings; raises `BackendError`."""
    check_backend(name)
    (point,) = installed_backends()[name]
    try:
        source = point.load()()
    except Exception as error:
        raise BackendError(f"{_describe(point)} cannot be used: {type(error).__name__}: {error}") from error
    missing = [method for method in _METHODS if not callable(getattr(source, method, None))]
    if missing:
        raise BackendError(
            f"{_describe(point)} gives {type(source).__name__}, which lacks {', '.join(missing)}"
        )
    return source  # type: ignore[no-any-return]


def _describe(point: EntryPoint) -> str:
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.name} = {point.value}{package}"
