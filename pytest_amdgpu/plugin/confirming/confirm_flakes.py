"""A known flake that fails is run again, to see whether it has become a failure (results/flake_trial.py)."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_amdgpu.plugin.blame import FLAKE_PROPERTY, FLAKE_RUNS_PROPERTY
from pytest_amdgpu.plugin.confirming.confirm_report import tell
from pytest_amdgpu.plugin.confirming.rerun import KnowsNext, Reruns
from pytest_amdgpu.plugin.confirming.twins import devices_of, name_of, twin_of_key
from pytest_amdgpu.plugin.judging.expected import KnownResults
from pytest_amdgpu.results.flake_trial import FlakeTrial

_line_key = pytest.StashKey[str]()
"""Of a flake that has failed: its line."""


def register(config: pytest.Config, known: KnownResults) -> None:
    """Confirm the failures of flakes that files know, unless failures are not to be run again."""
    if not (config.getoption("usepdb", False) or config.getoption("setuponly", False)):
        config.pluginmanager.register(FlakeConfirmation(config, known), "amdgpu_confirm_flakes")


class FlakeConfirmation(KnowsNext):
    """Runs flakes again, in the process that ran them, between their tear-down and the report of that."""

    def __init__(self, config: pytest.Config, known: KnownResults) -> None:
        self._config, self._known = config, known

    # First, so that it sees what the files made of a report.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Before the last report of a flake that failed: run it again, and tell how often it failed then."""
        report = yield
        if twin_of_key in item.stash or not isinstance(item, pytest.Function):
            return report
        if report.when != "teardown":
            if hasattr(report, "wasxfail") and (line := dict(report.user_properties).get(FLAKE_PROPERTY)):
                item.stash[_line_key] = str(line)
            return report
        line = item.stash.get(_line_key, None)
        rate = self._known.rate(line) if line is not None else None
        if rate is not None and not report.failed and not item.session.shouldstop:
            trial = FlakeTrial(name_of(devices_of(item)), None, rate=rate.share)
            Reruns(self._config, item, self.next, trial).hold()
            if trial.attempts:
                tell(self._config, report, trial, None)
                counts = [line, trial.same.failed, trial.same.runs]
                report.user_properties.append((FLAKE_RUNS_PROPERTY, counts))
        return report
