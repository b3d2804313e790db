"""Whether tests ran of each path that the command line of a gate names.

pytest is content with a directory that is empty, because a submodule is missing, say, and with a file whose
tests skip themselves, if there are others. Tests that options deselect are there, and are not wanted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_amdgpu.results.record import Record

PLUGIN = "amdgpu_named_paths"
_OUTPUT = "amdgpu_named_paths"
"""Under this name a worker of pytest-xdist says which paths have no tests."""
_HIDING_OPTIONS = ("lf", "pyargs")
"""Options with which nothing can be said of paths."""


class NamedPaths:
    """Looks at all tests before any is deselected, where tests are collected, and at results at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._empty: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Find the paths without tests."""
        files = {item.path for item in items}
        for argument in self._config.args:
            path = Path(os.path.abspath(self._config.invocation_params.dir / _file(argument)))
            if not any(file.is_relative_to(path) for file in files):
                self._empty.add(argument)

    def pytest_sessionfinish(self) -> None:
        """Tell the controller."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[_OUTPUT] = sorted(self._empty)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Be told, by each worker that comes to its end."""
        self._empty |= set(getattr(node, "workeroutput", {}).get(_OUTPUT, ()))

    def not_run(self, records: Sequence[Record]) -> Iterator[str]:
        """Yield each path of which no test ran, and why."""
        config = self._config
        hidden = any(config.getoption(name, None) for name in _HIDING_OPTIONS)
        if hidden or config.args_source is not config.ArgsSource.ARGS:
            return
        for argument in dict.fromkeys(config.args):
            begin = _node_id(argument, config)
            mine = [record for record in records if _is_of(record.id, begin)]
            if mine and not any(record.outcome.ran for record in mine):
                words = ", ".join(sorted({record.outcome.value for record in mine}))
                yield f"{argument}: no test of it ran ({words})"
            elif not mine and argument in self._empty:
                yield f"{argument}: there is no test"


def register(config: pytest.Config) -> None:
    """Look at the paths of a gate, in each of its processes."""
    config.pluginmanager.register(NamedPaths(config), PLUGIN)


def _file(argument: str) -> str:
    return argument.partition("::")[0]


def _node_id(argument: str, config: pytest.Config) -> str:
    """Return how ids of tests begin that an argument names."""
    path, colons, name = argument.partition("::")
    inside = os.path.relpath(config.invocation_params.dir / path, config.rootpath)
    return f"{inside}{colons}{name}"


def _is_of(node_id: str, begin: str) -> bool:
    rest = node_id.removeprefix(begin)
    return begin == "." or node_id == begin or (rest != node_id and rest[0] in "/:[")
