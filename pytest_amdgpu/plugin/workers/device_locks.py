"""In a run of several workers: a device is used by one test at a time, whoever runs the test."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from pytest_amdgpu.devices.leases import Lease, LeaseDirectory, LeaseError, LeaseTimeoutError
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE, GROUP_FIXTURE

LOCKS_INPUT = "amdgpu_locks"
"""Under this name a worker is told the directory of the locks, if its devices need any."""


class DeviceLocks:
    """Takes a lock of each device of a test before its set-up, and gives them back after its tear-down.

    The locks are leases in a directory of the run's own, so that one that is waited for in vain is reported
    with the test that has the device. They end with the worker that has them.
    """

    def __init__(self, directory: Path, timeout: float) -> None:
        self._directory = LeaseDirectory(directory)
        self._timeout = timeout
        self._lease: Lease | None = None
        self._error: LeaseError | LeaseTimeoutError | None = None

    # Before all that other plugins do with the device, and outside of the deadline for set-up.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Wait for the devices."""
        self._error = None
        params = getattr(getattr(item, "callspec", None), "params", {})
        devices = params.get(GROUP_FIXTURE) or (params.get(DEVICE_FIXTURE),)
        names = [device.pci_address for device in devices if device is not None]
        if names:
            try:
                self._lease = self._directory.take(names, item.nodeid, timeout=self._timeout)
            except (LeaseError, LeaseTimeoutError) as error:
                self._error = error
        yield

    # Inside of the wrappers of others, pytest's logging for one, that tear down what they have set up.
    @pytest.hookimpl(tryfirst=True, specname="pytest_runtest_setup")
    def pytest_amdgpu_refuse_setup(self) -> None:
        """Raise `LeaseTimeoutError` or `LeaseError` if the devices could not be had."""
        if self._error is not None:
            raise self._error

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, None, None]:
        """Let others have the devices."""
        try:
            yield
        finally:
            if self._lease is not None:
                self._lease.release()
                self._lease = None
