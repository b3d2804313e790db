"""Runs a test once more in this process: on its own devices, or on others of the same targets.

Nothing of the run's fixtures is left changed, and no report is sent.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from pytest_amdgpu.plugin import leasing
from pytest_amdgpu.plugin.blame import INFRA_PROPERTY
from pytest_amdgpu.plugin.confirming.twins import Devices, devices_of, make_twin, name_of, others
from pytest_amdgpu.plugin.judging.states import crash_text, skip_text
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.results.trial import Attempt, Result, Trial, Turn


class KnowsNext:
    """Part of a plugin that runs tests again: up to where a test is taken down."""

    next: pytest.Item | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        """Know up to where a test is taken down."""
        self.next = nextitem


class Reruns:
    """The further runs of one test in this process, up to the end of its trial."""

    def __init__(
        self, config: pytest.Config, item: pytest.Function, nextitem: pytest.Item | None, trial: Trial
    ) -> None:
        self._config, self._item, self._next, self._trial = config, item, nextitem, trial
        self._session = config.stash[session_key]
        self._own = devices_of(item)
        self._open = self._own
        self._leased: set[str] = set()
        self.begins: Callable[[str], None] = lambda devices: None
        """Is told on which devices a run begins."""
        self.changed: Callable[[Trial], None] = lambda trial: None
        """Is told of what has come of it so far."""

    def hold(self) -> None:
        """Run the test as often as the trial wants."""
        with contextlib.ExitStack() as leases, _aside(self._item):
            while (turn := self._trial.next_turn()) is not None:
                devices = self._own if turn is Turn.HERE else self._choose()
                if devices:
                    self._try(devices, leases)
                else:
                    self._trial.exhausted = True
                self.changed(self._trial)
            self._go_to(self._own)
        self.changed(self._trial)

    def suspect(self) -> str | None:
        """Return the device that the test fails on and that it did not pass on, if that is only one."""
        chosen = self._by_name(self._trial.chosen)
        suspects = {device.id for device in self._own} - {device.id for device in chosen}
        return suspects.pop() if len(suspects) == 1 else None

    def _choose(self) -> Devices:
        """Return the others that have a result, or the next that were not tried; none if none are left."""
        if chosen := self._trial.chosen:
            return self._by_name(chosen)
        tried = {attempt.devices for attempt in self._trial.attempts}
        for devices in others(self._item, self._session.plan.pool):
            lost = any(self._session.quarantine.reason(device.id) is not None for device in devices)
            if not lost and name_of(devices) not in tried:
                return devices
        return ()

    def _by_name(self, name: str) -> Devices:
        found = others(self._item, self._session.plan.pool)
        return next((devices for devices in found if name_of(devices) == name), ())

    def _try(self, devices: Devices, leases: contextlib.ExitStack) -> None:
        """Run the test, if nobody else uses the devices, and note what becomes of it."""
        name = name_of(devices)
        attempt = None
        if devices != self._own and name not in self._leased:
            try:
                leases.enter_context(leasing.borrowed(self._config, self._item.session.items, devices))
                self._leased.add(name)
            except leasing.BusyError as error:
                attempt = Attempt(name, Result.NOT_TRIED, str(error))
        if attempt is None:
            self.begins(name)
            attempt = self._run(devices)
        self._trial.attempts.append(attempt)

    def _run(self, devices: Devices) -> Attempt:
        twin = make_twin(self._item, devices)
        self._obey_files(twin)
        self._go_to(devices)
        self._forget_failed_fixtures(twin)
        subtests = _keep_subtests(twin)
        with _time_limit(twin):
            reports = [*runtestprotocol(twin, log=False, nextitem=self._next), *subtests]
        bad = [one for one in reports if one.failed or (one.skipped and hasattr(one, "wasxfail"))]
        skipped = [report for report in reports if report.skipped]
        if any(INFRA_PROPERTY in dict(report.user_properties) for report in bad):
            result = Result.UNUSABLE
        elif bad:
            result = Result.FAILED
        elif skipped:
            result = Result.NOT_RUN
        else:
            result = Result.PASSED
        reason = _first_line((bad or skipped)[0]) if bad or skipped else ""
        return Attempt(name_of(devices), result, reason)

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
                self._trial.notes.append(f"{name_of(self._open)}: could not be closed: {error}")
        self._open = devices

    def _forget_failed_fixtures(self, twin: pytest.Function) -> None:
        """Let fixtures of a wider scope that failed be tried again: pytest keeps their errors."""
        for definitions in twin._fixtureinfo.name2fixturedefs.values():
            for definition in definitions:
                if definition.cached_result is not None and definition.cached_result[2] is not None:
                    _finish(definition, twin)


def _keep_subtests(twin: pytest.Function) -> list[pytest.TestReport]:
    """Return a list to which the reports of subtests are added, which pytest would send by itself."""
    reports: list[pytest.TestReport] = []
    hooks = twin.ihook

    class Hooks:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            reports.append(report)

        def __getattr__(self, name: str) -> Any:
            return getattr(hooks, name)

    twin.__class__ = type("Copy", (type(twin),), {"ihook": Hooks()})
    return reports


@contextlib.contextmanager
def _aside(item: pytest.Item) -> Iterator[None]:
    """Keep the time limit of a test off what follows, and the warnings of what follows off its own."""
    if item.config.pluginmanager.hasplugin("timeout"):
        item.ihook.pytest_timeout_cancel_timer(item=item)
    with warnings.catch_warnings(record=True):
        yield


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
    return skip_text(report) if isinstance(report.longrepr, tuple) else crash_text(report)
