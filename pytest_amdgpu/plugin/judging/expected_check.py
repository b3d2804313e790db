"""Which lines of expectation files the tests of this run show to be wrong; told at its end.

Lines about tests that are gone, and skips whose time has passed, let a run fail. Others are only told.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from pytest_amdgpu.plugin.parametrize import NO_GROUP_ID
from pytest_amdgpu.results.expectation_check import Collected, lapsed_lines, missing_tests, stale_lines
from pytest_amdgpu.results.expectation_file import Kind
from pytest_amdgpu.results.expectations import Expectations, bare_name

_OUTPUT = "amdgpu_deselected"
"""Under this name a worker of pytest-xdist says which tests it left out."""
_HIDING_OPTIONS = ("lf", "ignore", "ignore_glob", "pyargs", "collectonly")
"""Options with which tests are not collected although they are there, and nobody says which."""


class ExpectationCheck:
    """Gathers the names of all tests, in the process that sees all of them."""

    def __init__(
        self,
        config: pytest.Config,
        known: Sequence[Expectations],
        device_ids: Iterable[str],
        today: datetime.date,
    ) -> None:
        self._config, self._known, self._today = config, known, today
        self._ids = (*device_ids, NO_GROUP_ID)
        self._names: set[str] = set()
        self._left_out: set[str] = set()
        self._broken: set[str] = set()
        self._knows_all = not config.getoption("numprocesses", None) and not config.getoption("tx", None)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Know tests that are there, although they do not run."""
        self._left_out |= {item.nodeid for item in items}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Know the tests."""
        self._know(item.nodeid for item in session.items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Know files whose tests nobody knows."""
        if report.failed:
            self._broken.add(report.nodeid.partition("::")[0])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Know the tests that a worker collected."""
        self._know(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Know what a worker left out; one that was killed does not say."""
        output = getattr(node, "workeroutput", {})
        if _OUTPUT in output:
            self._know(output[_OUTPUT])
            self._knows_all = True

    def _know(self, node_ids: Iterable[str]) -> None:
        self._names |= {bare_name(node_id, self._ids) for node_id in node_ids}

    # First, so that a gate already sees it.
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let a run fail whose files speak of tests that are gone."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[_OUTPUT] = sorted(self._left_out)
        elif self.problems() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what is wrong with the files."""
        problems = self.problems()
        lines = [*problems, *self._remarks()]
        if lines:
            red = bool(problems)
            terminalreporter.section(
                "amdgpu: expectation files that are out of date", red=red, yellow=not red
            )
        for line in lines:
            terminalreporter.line(line)

    def problems(self) -> list[str]:
        """Return what lets a run fail."""
        lapsed = [text for entry, text in lapsed_lines(self._known, self._today) if entry.kind is Kind.SKIPS]
        return [*missing_tests(self._known, self._collected()), *lapsed]

    def _remarks(self) -> list[str]:
        lapsed = [
            text for entry, text in lapsed_lines(self._known, self._today) if entry.kind is not Kind.SKIPS
        ]
        return [*stale_lines(self._known, self._collected()), *lapsed]

    def _collected(self) -> Collected:
        self._know(self._left_out)
        return Collected(self._names, self._paths() if self._knows_all else (), self._broken)

    def _paths(self) -> list[str]:
        """Return the paths below which all tests were collected, as ids of tests begin."""
        if any(self._config.getoption(name, None) for name in _HIDING_OPTIONS):
            return []
        begin, root = self._config.invocation_params.dir, self._config.rootpath
        return [
            os.path.relpath(begin / argument, root) for argument in self._config.args if "::" not in argument
        ]
