"""When devices are checked, and what becomes of one that fails: `--amdgpu-health`.

Each process checks a device before its first test there, after each test that failed, and after the last of
several tests there. One that fails goes into quarantine.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pytest_amdgpu.devices.backends import OWN_BACKENDS
from pytest_amdgpu.driver.resources import attempt
from pytest_amdgpu.plugin.blame import CHECK, QUARANTINE_PROPERTY
from pytest_amdgpu.plugin.options import LEASE_KINDS, decides
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE, GROUP_FIXTURE

if TYPE_CHECKING:
    from pytest_amdgpu.devices.health_counters import Reading
    from pytest_amdgpu.devices.machine import Machine
    from pytest_amdgpu.devices.patience import Patience
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.plugin.session import GpuSession

HEALTH_PROPERTY = "amdgpu_health"
"""Name of the property of a report that says something of a device's health."""
PLUGIN = "amdgpu_health"


def is_wanted(config: pytest.Config, session: GpuSession) -> bool:
    """Whether devices are checked: unless the option says, on hardware and in a gate.

    What a backend of another package need not be able to do, a check must be asked for.
    """
    choice: str = config.getoption("--amdgpu-health")
    machine = session.plan.machine
    auto = machine.backend in OWN_BACKENDS and (decides(config.option) or not machine.software)
    return choice == "on" or (choice == "auto" and auto)


class Health:
    """Checks the devices of one process."""

    def __init__(self, session: GpuSession, *, exclusive: bool) -> None:
        """`exclusive` says that nobody else uses the devices, whose free memory then is ours to explain."""
        self._session = session
        self._exclusive = exclusive
        self._before: dict[str, Reading] = {}
        self._good: set[str] = set()
        """Devices that were checked since they were opened."""
        self._used_next: set[str] = set()
        """Devices of the test that comes next."""
        self._pending: list[tuple[str, object]] = []
        """Properties that the next report gets, so that whoever sees reports knows."""

    def before_first_test(self, devices: Iterable[Device]) -> None:
        """Check devices that were opened for the test: others may have done harm to them meanwhile."""
        for device in devices:
            if device.name not in self._good and self._session.quarantine.reason(device.name) is None:
                self._good.add(device.name)
                self._check(device, "before its first test")

    def after_test(self, devices: Iterable[Device], *, failed: bool) -> list[Exception]:
        """Check the devices of a test that failed, and those that the next one does not use.

        All was taken back from the test. Returns an error for each device that fails at its end: tests may
        have passed there although it did not work, and nothing else would tell. After a failure none.
        """
        errors: list[Exception] = []
        for device in devices:
            if device.closed or self._session.quarantine.reason(device.name) is not None:
                continue
            if failed:
                self._check(device, "after a test that failed")
            elif device.name not in self._used_next:
                self._good.discard(device.name)
                self._check(device, "at the end")
                attempt(errors, partial(self._session.check_quarantine, device.name))
        return errors

    def cannot_open(self, device_id: str, error: Exception) -> None:
        """Take note that a device could not be opened, and raise `QuarantinedError`."""
        reason = f"it cannot be opened: {type(error).__name__}: {error}"
        self._quarantine(device_id, next(iter(reason.splitlines())))
        self._session.check_quarantine(device_id)

    # First, because devices are checked while fixtures are torn down.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> None:
        """Know which devices are used further. They are closed where that would hit another device's test."""
        params = getattr(getattr(nextitem, "callspec", None), "params", {})
        group = params.get(GROUP_FIXTURE) or (params.get(DEVICE_FIXTURE),)
        self._used_next = {device.id for device in group if device is not None}

    # First, before the report is sent to the controller. Some reports are not told to anybody.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add to a report what was found since the last one."""
        # Before what others found later, for the first reason is the one that is told.
        report.user_properties[:0] = self._pending
        self._pending.clear()

    def _check(self, device: Device, when: str) -> None:
        """Check a device; `when` is for messages."""
        from pytest_amdgpu.devices.health import check_work
        from pytest_amdgpu.plugin.session import DeviceHangError

        machine = self._session.plan.machine
        try:
            with self._session.device_alone(device.name, CHECK):
                problems = check_work(device, _patience(machine))
                if not problems and machine.backend in OWN_BACKENDS:
                    problems = self._compare_counters(device, when)
        except DeviceHangError as error:
            problems = [str(error)]
        if problems:
            self._quarantine(device.name, f"its health check {when} failed: {'; '.join(problems)}")

    def _compare_counters(self, device: Device, when: str) -> list[str]:
        """Return what the counters say against the device; tell what else has changed."""
        from pytest_amdgpu.devices.health_counters import changes, read
        from pytest_amdgpu.kernel.protocol import KernelError

        try:
            now = read(self._session.kernel, device)
        except KernelError as error:
            return [f"counters: {error}"]
        before = self._before.get(device.name)
        if before is None:
            self._before[device.name] = now
            return []
        found = changes(before, now, exclusive=self._exclusive)
        # What was told is not told again, but memory counts against the start.
        self._before[device.name] = dataclasses.replace(now, free_vram=before.free_vram)
        self._pending += [(HEALTH_PROPERTY, f"{device.name} {when}: {note}") for note in found.notes]
        return found.damage

    def _quarantine(self, device_id: str, reason: str) -> None:
        self._session.quarantine.add(device_id, reason)
        self._pending.append((QUARANTINE_PROPERTY, [device_id, reason]))


def register(config: pytest.Config, session: GpuSession) -> None:
    """Let the devices of this process be checked."""
    exclusive = config.getoption("--amdgpu-lease") == LEASE_KINDS[0]
    session.health = Health(session, exclusive=exclusive)
    config.pluginmanager.register(session.health, PLUGIN)


def write_summary(terminal: pytest.TerminalReporter, session: GpuSession) -> None:
    """List the devices in quarantine, and what else was noticed."""
    told = dict.fromkeys(
        str(text)
        for test_report in itertools.chain.from_iterable(terminal.stats.values())
        if isinstance(test_report, pytest.TestReport)
        for name, text in test_report.user_properties
        if name == HEALTH_PROPERTY
    )
    quarantined = list(session.quarantine)
    if quarantined:
        terminal.section("amdgpu: devices in quarantine", red=True)
    for device_id, reason in quarantined:
        terminal.line(f"{device_id}: {reason}")
    if told:
        terminal.section("amdgpu: health", yellow=True)
    for text in told:
        terminal.line(text)


def _patience(machine: Machine) -> Patience:
    from pytest_amdgpu.devices.health import LIMIT, LIMIT_OF_SOFTWARE
    from pytest_amdgpu.devices.patience import Patience

    if machine.software:
        return Patience(LIMIT_OF_SOFTWARE, on_cpu=True)
    return Patience(LIMIT)
