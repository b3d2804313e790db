"""A pytest plugin for the child runs: breaks the software GPU (or the driver) in one named way.

Loaded with `-p injection --defect=NAME`. A defect is a function marked with `defect`; it takes a
`pytest.MonkeyPatch`, changes one place with it, and says in its name what is wrong from then on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

Defect = Callable[[pytest.MonkeyPatch], None]

DEFECTS: dict[str, Defect] = {}
"""All defects by name, once `load_defects` was called."""

PATIENCE = 2.0
"""Seconds that waits take at most where a defect shows as a wait that never ends."""


def defect(function: Defect) -> Defect:
    """Register a defect under the name of its function."""
    name = function.__name__
    if name in DEFECTS:
        raise ValueError(f"there are two defects of the name {name}")
    DEFECTS[name] = function
    return function


def load_defects() -> dict[str, Defect]:
    """Import every module of defects beside this one."""
    for path in sorted(Path(__file__).parent.glob("*_defects.py")):
        importlib.import_module(path.stem)
    return DEFECTS


def shorten_waits(patch: pytest.MonkeyPatch) -> None:
    """Let no wait for a semaphore take long; for defects that lose a signal."""
    from pytest_amdgpu.driver.semaphore import TimelineSemaphore

    wait = TimelineSemaphore.wait

    def short_wait(self: TimelineSemaphore, value: int, timeout: float) -> None:
        wait(self, value, min(timeout, PATIENCE))

    patch.setattr(TimelineSemaphore, "wait", short_wait)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--defect", required=True, help="name of the defect to inject")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--defect")
    # Not imported with this plugin: pytest could then not rewrite the assertions of what they import.
    inject = load_defects().get(name)
    if inject is None:
        raise pytest.UsageError(f"there is no defect {name!r}; there are {', '.join(DEFECTS)}")
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    inject(patch)
