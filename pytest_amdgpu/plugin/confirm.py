"""`--amdgpu-confirm`: a failing test is run again, here and on another device, to see what is to be blamed.

The further runs are no results of their own. They happen in the process that ran the test, between its
tear-down and the report of that, which tells of them. Fixtures of tests are set up anew for each.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from pytest_amdgpu.plugin import leasing
from pytest_amdgpu.plugin.blame import (
    BLAME_PROPERTY,
    CONFIRMATION_PROPERTY,
    IMPROVEMENT_TEXT,
    INFRA_PROPERTY,
    QUARANTINE_PROPERTY,
)
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.plugin.twins import Devices, devices_of, make_twin, name_of, others
from pytest_amdgpu.results.confirmation import Blame, Count, Repeats, blame, counts_text

SECTION = "amdgpu confirmation"
"""Title of what the report of a tear-down says; pytest's terminal does not show that by itself."""

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


class Confirmation:
    """Runs failing tests again, `wanted` times; if that is None, as often as a decision needs."""

    def __init__(self, config: pytest.Config, wanted: int | None) -> None:
        self._config = config
        self._wanted = wanted
        self._next: pytest.Item | None = None
        self._busy = False
        self._told: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        """Know up to where a test is taken down."""
        self._next = nextitem

    # First, so that it sees what all others made of a report.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Before the last report of a test that failed: run it again."""
        report = yield
        if self._busy or not isinstance(item, pytest.Function) or not devices_of(item):
            return report
        if report.when == "setup":
            item.stash[_reports_key] = []
        reports = item.stash[_reports_key]
        reports.append(report)
        if report.when == "teardown" and _asks_for_it(reports) and not item.session.shouldstop:
            self._busy = True
            try:
                with _aside(item):
                    _Trial(self._config, item, self._next).hold(self._wanted).tell(report)
            finally:
                self._busy = False
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


@contextlib.contextmanager
def _aside(item: pytest.Item) -> Iterator[None]:
    """Keep the time limit of a test off what follows, and the warnings of what follows off its own."""
    if item.config.pluginmanager.hasplugin("timeout"):
        item.ihook.pytest_timeout_cancel_timer(item=item)
    with warnings.catch_warnings(record=True):
        yield


class _Trial:
    """The further runs of one test, and what they say."""

    def __init__(self, config: pytest.Config, item: pytest.Function, nextitem: pytest.Item | None) -> None:
        self._config, self._item, self._next = config, item, nextitem
        self._session = config.stash[session_key]
        self._own = devices_of(item)
        self._open = self._own
        self._same = Repeats(name_of(self._own))
        self._other: Repeats | None = None
        self._elsewhere: Devices = ()
        self._lines: list[str] = []

    def hold(self, wanted: int | None) -> _Trial:
        """Run the test as often as it takes; nothing of the run's fixtures is left changed."""
        with contextlib.ExitStack() as leases:
            if wanted is None:
                self._run_elsewhere(leases)
                if self._other is not None and not self._other.failed:
                    self._run_here()
            else:
                for _ in range(wanted):
                    self._run_here()
                    self._run_elsewhere(leases)
            if self._blame() is Blame.DEVICE_SUSPECT and self._same.runs == 1:
                # A test that fails every second time looks like this once in four; then once in sixteen.
                self._run_here()
                self._run_elsewhere(leases)
            self._go_to(self._own)
        return self

    def tell(self, report: pytest.TestReport) -> None:
        """Say in a report what came out; a suspect is not used any more in this run."""
        blamed = self._blame()
        own = Count(self._same.device, 1 + self._same.failed, 1 + self._same.runs)
        counts = [own]
        if self._other is not None and self._other.runs:
            counts.append(Count(self._other.device, self._other.failed, self._other.runs))
        text = f"{counts_text(counts)}: {blamed.value if blamed else 'nothing follows'}"
        if blamed is not None:
            report.user_properties += [
                (BLAME_PROPERTY, blamed.value),
                (CONFIRMATION_PROPERTY, ", ".join(map(str, counts))),
            ]
        if len(counts) > 1 or own.runs > 1 or self._lines:
            report.sections.append((SECTION, "\n".join([text, *self._lines])))
        if blamed is Blame.DEVICE_SUSPECT:
            suspects = set(self._own) - set(self._elsewhere)
            if len(suspects) == 1:
                suspect = suspects.pop().id
                reason = f"{self._item.nodeid} {text}"
                self._session.quarantine.add(suspect, reason)
                report.user_properties.append((QUARANTINE_PROPERTY, [suspect, reason]))

    def _blame(self) -> Blame | None:
        return blame(self._same, self._other)

    def _run_here(self) -> None:
        if not self._same.unusable:
            self._run(self._own, self._same)

    def _run_elsewhere(self, leases: contextlib.ExitStack) -> None:
        """Run the test on the same others as before, or on the first ones that it has a result on."""
        if self._elsewhere:
            assert self._other is not None
            self._run(self._elsewhere, self._other)
            return
        if self._other is not None:
            return
        for devices in others(self._item, self._session.plan.pool):
            if any(self._session.quarantine.reason(device.id) is not None for device in devices):
                continue
            try:
                leases.enter_context(leasing.borrowed(self._config, self._item.session.items, devices))
            except leasing.BusyError as error:
                self._lines.append(f"{name_of(devices)}: not tried: {error}")
                continue
            self._other = Repeats(name_of(devices))
            self._run(devices, self._other)
            if self._other.runs:
                self._elsewhere = devices
                return

    def _run(self, devices: Devices, repeats: Repeats) -> None:
        """Run the test once on these devices, and count what becomes of it."""
        twin = make_twin(self._item, devices)
        self._obey_files(twin)
        self._go_to(devices)
        self._forget_failed_fixtures(twin)
        with _time_limit(twin):
            reports = runtestprotocol(twin, log=False, nextitem=self._next)
        bad = [report for report in reports if report.failed or hasattr(report, "wasxfail")]
        bad = [report for report in bad if not report.passed]
        skipped = [report for report in reports if report.skipped]
        if any(INFRA_PROPERTY in dict(report.user_properties) for report in bad):
            repeats.unusable += 1
            words = "cannot be used"
        elif bad:
            repeats.failed += 1
            repeats.runs += 1
            words = "failed"
        elif skipped:
            words = "did not run it"
        else:
            repeats.runs += 1
            words = "passed"
        reason = _first_line((bad or skipped)[0]) if bad or skipped else ""
        self._lines.append(f"{repeats.device}: {words}{f': {reason}' if reason else ''}")

    def _obey_files(self, twin: pytest.Function) -> None:
        """Let a test that must not be run on other devices be skipped there, too."""
        for item in self._item.session.items:
            if item.nodeid == twin.nodeid:
                twin.own_markers[:] = item.own_markers
        known = self._config.pluginmanager.getplugin("amdgpu_expectations")
        if known is not None:
            known.skip_known([twin])

    def _go_to(self, devices: Devices) -> None:
        """Close devices before others are opened: errors of these are not to be taken for theirs."""
        if devices != self._open:
            try:
                _finish(self._item._fixtureinfo.name2fixturedefs[DEVICE_FIXTURE][-1], self._item)
            except Exception as error:
                self._lines.append(f"{name_of(self._open)}: could not be closed: {error}")
        self._open = devices

    def _forget_failed_fixtures(self, twin: pytest.Function) -> None:
        """Let fixtures of a wider scope that failed be tried again: pytest keeps their errors."""
        for definitions in twin._fixtureinfo.name2fixturedefs.values():
            for definition in definitions:
                if definition.cached_result is not None and definition.cached_result[2] is not None:
                    _finish(definition, twin)


def _finish(fixture: Any, item: pytest.Function) -> None:
    """End what a fixture began, and all that depends on it; pytest wants a request only for its node."""
    fixture.finish(item._request)


@contextlib.contextmanager
def _time_limit(twin: pytest.Function) -> Iterator[None]:
    """Give a run the limits that pytest-timeout would give it."""
    plugin = twin.config.pluginmanager.getplugin("timeout")
    if plugin is None:
        yield
        return
    with contextlib.contextmanager(plugin.pytest_runtest_protocol)(twin):
        yield


def _first_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        text = crash.message
    elif isinstance(report.longrepr, tuple):
        text = report.longrepr[2]
    else:
        text = report.longreprtext
    return next(iter(text.strip().splitlines()), "")
