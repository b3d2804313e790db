"""Marks in reports, from the process that ran a test to the one that judges it."""

from __future__ import annotations

import pytest

INFRA_PROPERTY = "amdgpu_infra"
"""Name of the property of a report for whose failure the machine is to blame."""
FLAKE_PROPERTY = "amdgpu_flake"
"""Name of the property of a report that names the line of a known flake."""
FLAKE_RUNS_PROPERTY = "amdgpu_flake_runs"
"""Name of the property of a report for further runs of a known flake: its line, failures and runs."""
QUARANTINE_PROPERTY = "amdgpu_quarantine"
"""Name of the property of a report that puts a device in quarantine; the value: its id and the reason."""
TIMEOUT_PROPERTY = "amdgpu_timeout"
"""Name of the property of a report for a test that was ended because it took too long."""
OPENING, CHECK = "opening of ", "health check of "
"""Begin what parts of a test's phases are called in which no test runs: what hangs there is the device."""
LATE_OUTPUT = "amdgpu_late"
"""Under this name a worker of pytest-xdist says at its end what did not end in it besides tests."""
EVIDENCE_SECTION = "amdgpu evidence"
"""Title of the section of a report with what was seen of a process whose test was late."""
ATTACHMENT_PROPERTY = "amdgpu_attachment"
"""Name of the property of a report that names a file which a failing test has left."""
BLAME_PROPERTY = "amdgpu_blame"
"""Name of the property of a report for what a failure is to be blamed on, after it was run again."""
CONFIRMATION_PROPERTY = "amdgpu_confirmation"
"""Name of the property of a report for how often it failed: `device failed/runs, ...`, its own first."""
NOT_APPLICABLE = "not applicable: "
"""Begins the reason for which a test is skipped whose needs the machine cannot meet."""
IMPROVEMENT_TEXT = "unexpected improvement: "
"""Begins what is said of a test that a file expects to fail, and did not."""
TIMEOUT_TEXT = "from pytest-timeout"
"""In what pytest-timeout says of a test that took too long."""


def blame_machine(report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Say in the report of a failure that it is not the test's, where the error is one of a lost device.

    A mark that expects the test to fail does not expect that.
    """
    if (report.failed or hasattr(report, "wasxfail")) and call.excinfo is not None:
        error = call.excinfo.value
        if any(_is_infrastructure(part) for part in _parts(error)):
            report.user_properties.append((INFRA_PROPERTY, type(error).__name__))


def timed_out(report: pytest.TestReport) -> bool:
    """Whether a test was ended because it took too long."""
    marked = any(name == TIMEOUT_PROPERTY for name, _ in report.user_properties)
    return marked or TIMEOUT_TEXT in report.longreprtext


def _parts(error: BaseException) -> list[BaseException]:
    """The errors of a group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [part for member in error.exceptions for part in _parts(member)]
    return [error]


def _is_infrastructure(error: BaseException) -> bool:
    from pytest_amdgpu.devices.leases import LeaseError, LeaseTimeoutError
    from pytest_amdgpu.driver.errors import DeviceOpenError
    from pytest_amdgpu.plugin.session import (
        DeviceGoneError,
        DeviceHangError,
        DeviceLostError,
        QuarantinedError,
    )

    return isinstance(
        error,
        DeviceGoneError
        | DeviceHangError
        | DeviceLostError
        | DeviceOpenError
        | LeaseError
        | LeaseTimeoutError
        | QuarantinedError,
    )
