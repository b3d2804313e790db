"""What `--amdgpu-expectations` makes of results: what is known to fail is no news, all else is."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import pytest

from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.plugin.blame import (
    FLAKE_PROPERTY,
    FLAKE_RUNS_PROPERTY,
    IMPROVEMENT_TEXT,
    NOT_APPLICABLE,
    timed_out,
)
from pytest_amdgpu.plugin.judging.expected_check import ExpectationCheck
from pytest_amdgpu.plugin.judging.states import skip_text
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.results.expectation_file import Entry, ExpectationError, Kind, Rate
from pytest_amdgpu.results.expectations import (
    WORSE_THAN_ITS_RATE,
    Expectations,
    bare_name,
    chance_of_failures,
    keys_of,
    load_expectations,
)
from pytest_amdgpu.results.node_ids import devices_in
from pytest_amdgpu.results.observations import EXPECTED_TEXT, KNOWN_FLAKE_TEXT
from pytest_amdgpu.results.status import Judgement, Status, judge

_NOT_TO_BE_RUN = "not to be run: "
"""Begins the reason for which a test is skipped that a skips file names."""
_failed_subtest_key = pytest.StashKey[bool]()


def register(config: pytest.Config) -> None:
    """Apply the files of the option's directory; raises `pytest.UsageError`."""
    devices = config.stash[session_key].plan.pool
    today = datetime.date.today()
    try:
        known = KnownResults(Path(config.getoption("--amdgpu-expectations")), devices, today)
    except (ExpectationError, OSError) as error:
        raise pytest.UsageError(f"--amdgpu-expectations: {error}") from error
    config.pluginmanager.register(known, "amdgpu_expectations")
    if config.getoption("--amdgpu-confirm") != 0:
        from pytest_amdgpu.plugin.confirming import confirm_flakes

        # After the files, whose judgment it needs.
        confirm_flakes.register(config, known)
    check = ExpectationCheck(config, known.all(), [device.id for device in devices], today)
    config.pluginmanager.register(check, "amdgpu_expectation_check")


class KnownResults:
    """Sees the results of tests on devices against what files expect."""

    def __init__(self, directory: Path, devices: Sequence[DeviceInfo], today: datetime.date) -> None:
        """Raises `ExpectationError` and OSError."""
        self._of_device: dict[str, Expectations] = {
            device.id: load_expectations(directory, keys_of(device.target, device.name), today)
            for device in devices
        }
        self._calls: pytest.Item | None = None
        """The test whose call goes on."""
        self._failed: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()

    def all(self) -> list[Expectations]:
        """Return what the files say for each device."""
        return list(self._of_device.values())

    def rate(self, place: str) -> Rate | None:
        """Return how often the flake of a line was seen to fail, if the line says it."""
        return self._entries()[place].notes.rate

    def _entries(self) -> dict[str, Entry]:
        return {entry.place: entry for known in self._of_device.values() for entry in known.entries}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what a skips file names."""
        self.skip_known(items)

    def skip_known(self, items: Iterable[pytest.Item]) -> None:
        """Mark tests that a skips file names."""
        for item in items:
            device = getattr(getattr(item, "callspec", None), "params", {}).get(DEVICE_FIXTURE)
            if device is not None:
                entry = self._of_device[device.id].skip(bare_name(item.nodeid, self._of_device))
                if entry is not None:
                    item.add_marker(pytest.mark.skip(reason=f"{_NOT_TO_BE_RUN}{entry}"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Know that what is reported meanwhile are subtests."""
        self._calls = item
        try:
            return (yield)
        finally:
            self._calls = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """See a result against what was expected. A test's own xfail marks stand."""
        report = yield
        decides = report.when == "call" or (report.when == "setup" and not report.passed)
        if decides and not hasattr(report, "wasxfail"):
            device = getattr(getattr(item, "callspec", None), "params", {}).get(DEVICE_FIXTURE)
            if device is not None:
                self._see_phase(item, report, self._of_device[device.id])
        return report

    def _see_phase(self, item: pytest.Item, report: pytest.TestReport, expectations: Expectations) -> None:
        """See the set-up, the call or a subtest. What a subtest fails by, the test does."""
        if item is self._calls:
            if report.failed:
                item.stash[_failed_subtest_key] = True
                self._see(report, expectations, _status(report), is_subtest=True)
        elif report.skipped:
            if not skip_text(report).startswith((NOT_APPLICABLE, _NOT_TO_BE_RUN)):
                self._see(report, expectations, Status.SKIP)
        elif report.passed and item.stash.get(_failed_subtest_key, False):
            self._see(report, expectations, Status.FAIL)
        else:
            self._see(report, expectations, _status(report))

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """See a test that killed its worker (in the controller of pytest-xdist)."""
        for device in devices_in(report.nodeid, self._of_device)[:1]:
            self._see(report, self._of_device[device], _status(report, Status.CRASH))

    def _see(
        self,
        report: pytest.TestReport,
        expectations: Expectations,
        status: Status,
        *,
        is_subtest: bool = False,
    ) -> None:
        entry = expectations.known(bare_name(report.nodeid, self._of_device))
        if entry is None:
            return
        if entry.kind is Kind.FLAKES:
            if status is Status.SKIP:
                return
            if not is_subtest:
                report.user_properties.append((FLAKE_PROPERTY, entry.place))
            if status is not Status.PASS:
                _accept(report, f"{KNOWN_FLAKE_TEXT}{entry}")
            return
        judgement = judge(status, entry.expected)
        if judgement is Judgement.EXPECTED:
            _accept(report, f"{EXPECTED_TEXT}{entry}")
        elif judgement is Judgement.IMPROVEMENT and not is_subtest:
            assert entry.expected is not None
            report.outcome = "failed"
            report.longrepr = (
                f"{IMPROVEMENT_TEXT}the result is {status.value}, but {entry.place} expects"
                f" {entry.expected.value}; if it is mended, remove the line"
            )

    # What follows counts flakes, in the process that sees all reports.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count how often each flake of the files failed."""
        for name, place in report.user_properties:
            if name == FLAKE_PROPERTY:
                self._runs[str(place)] += 1
                self._failed[str(place)] += hasattr(report, "wasxfail")
            elif name == FLAKE_RUNS_PROPERTY and isinstance(place, list | tuple):
                line, failed, runs = place
                self._runs[line] += runs
                self._failed[line] += failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let a run fail whose flakes failed too often."""
        if self.worse() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the flakes that failed too often."""
        lines = self.worse()
        if lines:
            terminalreporter.section("amdgpu: flakes that fail more often than they did", red=True)
        for line in lines:
            terminalreporter.line(line)

    def worse(self) -> list[str]:
        """Return what to say of each flake whose failures its rate does not explain."""
        entries = self._entries()
        lines = []
        for place, runs in self._runs.items():
            rate, failed = entries[place].notes.rate, self._failed[place]
            if rate is None or not failed:
                continue
            chance = chance_of_failures(failed, runs, rate.share)
            if chance < WORSE_THAN_ITS_RATE:
                lines.append(
                    f"{entries[place]}: failed {failed} of {runs} times, which at its rate of {rate} has a"
                    f" chance of {chance:.1g}"
                )
        return lines


def _accept(report: pytest.TestReport, reason: str) -> None:
    """Make a failure one that was expected, as pytest's own xfail does."""
    report.outcome = "skipped"
    report.wasxfail = reason


def _status(report: pytest.TestReport, failure: Status = Status.FAIL) -> Status:
    """Return what became of a test whose failure, if it was not about time, is called `failure`."""
    if report.passed:
        return Status.PASS
    return Status.TIMEOUT if timed_out(report) else failure
