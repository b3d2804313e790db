"""`--amdgpu-confirm`: a failing test is run again, here and on another device, to see what is to be blamed.

The further runs are no results of their own. They happen in the process that ran the test, between its
tear-down and the report of that, which tells of them; `crash_trial.py` has those of a test that its process
died of. Fixtures of tests are set up anew for each.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import pytest

from pytest_amdgpu.plugin.blame import IMPROVEMENT_TEXT, INFRA_PROPERTY
from pytest_amdgpu.plugin.confirming import crash_trial
from pytest_amdgpu.plugin.confirming.confirm_report import SECTION, tell
from pytest_amdgpu.plugin.confirming.rerun import KnowsNext, Reruns
from pytest_amdgpu.plugin.confirming.twins import devices_of, name_of, twin_of_key
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.results.trial import Trial

_reports_key = pytest.StashKey[list[pytest.TestReport]]()


def register(config: pytest.Config) -> None:
    """Confirm failures of a run if that is wanted, and there are devices for it."""
    wanted: int | None = config.getoption("--amdgpu-confirm")
    if config.getoption("usepdb", False) or config.getoption("setuponly", False) or wanted == 0:
        # Who debugs a failure wants to see it once.
        return
    targets = [device.target for device in config.stash[session_key].plan.pool]
    if wanted is not None or len(set(targets)) < len(targets):
        config.pluginmanager.register(Confirmation(config, wanted), "amdgpu_confirm")
        crash_trial.register(config, wanted)


class Confirmation(KnowsNext):
    """Runs failing tests again, `wanted` times; if that is None, as often as a decision needs."""

    def __init__(self, config: pytest.Config, wanted: int | None) -> None:
        self._config = config
        self._wanted = wanted
        self._told: dict[str, str] = {}

    # First, so that it sees what all others made of a report.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Before the last report of a test that failed: run it again."""
        report = yield
        if twin_of_key in item.stash or not isinstance(item, pytest.Function) or not devices_of(item):
            return report
        if report.when == "setup":
            item.stash[_reports_key] = []
        reports = item.stash[_reports_key]
        reports.append(report)
        if report.when == "teardown" and _asks_for_it(reports) and not item.session.shouldstop:
            trial = Trial(name_of(devices_of(item)), self._wanted)
            reruns = Reruns(self._config, item, self.next, trial)
            reruns.hold()
            tell(self._config, report, trial, reruns.suspect())
        return report

    # What follows tells, in the process that sees all reports.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember what a failure was blamed on."""
        self._told.update((report.nodeid, text) for title, text in report.sections if title == SECTION)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what failures were blamed on."""
        if self._told:
            terminalreporter.section("amdgpu: failures that were run again", red=True)
        for test, text in self._told.items():
            first, *lines = text.splitlines()
            terminalreporter.line(f"{test}: {first}")
            for line in lines:
                terminalreporter.line(f"    {line}")


def _asks_for_it(reports: Sequence[pytest.TestReport]) -> bool:
    """Whether a test failed, and neither the machine nor an expectation file has explained it."""
    failed = [report for report in reports if report.failed]
    return bool(failed) and not any(
        INFRA_PROPERTY in dict(report.user_properties) or report.longreprtext.startswith(IMPROVEMENT_TEXT)
        for report in failed
    )
