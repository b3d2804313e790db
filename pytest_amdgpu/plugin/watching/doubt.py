"""Whether a device is used further after a process that used it had to be killed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.results.node_ids import devices_in


class Doubt:
    """Has a device used further that its next process finds healthy, unless a second test hangs in a row."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._doubted: dict[str, str] = {}
        """Devices on which a process was killed, and in which test; none has passed there since."""

    def killed(self, devices: Iterable[str], test: str, hanging_device: str) -> None:
        """Know of a process that was killed, and put its devices into quarantine if there is reason to.

        `hanging_device` says what was done with a device when it hung, or is empty: then it was the test.
        """
        session = self._config.stash[session_key]
        for device in devices:
            reason = f"{hanging_device or test} did not end and could not be interrupted"
            if device in self._doubted:
                reason += f", like {self._doubted[device]} before it"
            elif session.health is not None and not hanging_device:
                # Who opens it next checks it.
                self._doubted[device] = test
                continue
            session.quarantine.add(device, reason)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Trust a device on which a test has passed."""
        if self._doubted and report.passed and report.when == "call":
            for device in devices_in(report.nodeid, tuple(self._doubted)):
                del self._doubted[device]
