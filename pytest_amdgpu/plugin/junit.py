"""Properties of JUnit test cases, for `--junitxml`: the states that JUnit has no words for.

pytest's own writer takes them from the report of a test's tear-down, in the process that sees all reports.
"""

from __future__ import annotations

import pytest

from pytest_amdgpu.plugin.blame import ATTACHMENT_PROPERTY
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.plugin.states import States

OUTCOME_PROPERTY = "amdgpu_outcome"
TRUST_PROPERTY = "amdgpu_trust"
DEVICE_PROPERTY = "amdgpu_device"
"""Name of the property for each device of a test."""
SEED_PROPERTY = "amdgpu_seed"


class JunitProperties:
    """Adds to the last report of each test what became of it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._states = States()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Know the devices."""
        self._states.devices = tuple(device.id for device in self._config.stash[session_key].plan.pool)

    # Before pytest's writer, which takes the properties from here.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a phase, and after the last one tell."""
        self._states.see(report)
        if report.when != "teardown":
            return
        record = self._states.take(report.nodeid)
        own = [value for name, value in report.user_properties if name == ATTACHMENT_PROPERTY]
        report.user_properties += [
            (OUTCOME_PROPERTY, record.outcome.value),
            (TRUST_PROPERTY, record.trust.value),
            *((DEVICE_PROPERTY, device) for device in record.devices),
            *((ATTACHMENT_PROPERTY, path) for path in record.attachments if path not in own),
            (SEED_PROPERTY, self._config.stash[session_key].plan.seed),
        ]
