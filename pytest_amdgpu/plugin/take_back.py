"""After each test: the devices get back what was handed out, and are opened anew if one faulted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest

from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.resources import Resource

_T = TypeVar("_T")

IDLE_TIMEOUT = 10.0
IDLE_TIMEOUT_AFTER_FAILURE = 0.5
"""Seconds that a queue gets to become idle after a test."""

TAKE_BACK_FIXTURE = "_amdgpu_take_back"

ledger_key = pytest.StashKey["Ledger"]()


def attend(items: Iterable[pytest.Item]) -> None:
    """Give the fixture that takes back to each test that uses a device, before all others of its scope.

    As a fixture that pytest uses by itself it would cost the other tests, too.
    """
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        if DEVICE_FIXTURE in names and TAKE_BACK_FIXTURE not in names:
            known = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
            wider = sum(1 for name in names if name in known and known[name][-1].scope != "function")
            # They are in the order of their scopes, and those of all tests of a function are one list.
            names.insert(wider, TAKE_BACK_FIXTURE)


class Ledger:
    """What one test was given of its devices, and what it made itself."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = list(devices)
        # Made by fixtures that outlive the test: not the test's to give back.
        self._older = self._out()
        self._handed_out = {id(resource) for resource in self._older}

    def hand_out(self, make: Callable[[], _T]) -> _T:
        """Call `make`, and note what it takes of the device as handed out by a fixture."""
        before = {id(resource) for resource in self._out()}
        try:
            return make()
        finally:
            self._handed_out |= {id(resource) for resource in self._out()} - before

    def leaks(self) -> list[str]:
        """Describe what the test made by itself and did not give back, oldest first."""
        return [
            f"{resource.describe()}, made at {resource.site}"
            for resource in reversed(self._out())
            if id(resource) not in self._handed_out
        ]

    def take_back(self, renew: Callable[[], None], *, failed: bool) -> list[Exception]:
        """Give the devices everything back that is not older than the test; return what went wrong.

        Queues of all devices end before any memory is freed, because they may use each other's.

        Faults that no wait of the test has seen are among that. After a fault, seen or not, `renew` must
        bring the device back to health, so that the next test can run. A test that has `failed` may well have
        left a queue that will never be idle: that is waited for only shortly, and is no further error.
        """
        from pytest_amdgpu.driver.device import Device
        from pytest_amdgpu.driver.errors import CommandError, WaitTimeoutError
        from pytest_amdgpu.driver.resources import attempt

        errors: list[Exception] = []
        for device in self.devices:
            if not device.fault_was_told:
                attempt(errors, device.check_health)
        timeout = IDLE_TIMEOUT_AFTER_FAILURE if failed else IDLE_TIMEOUT
        if self._faulted():
            timeout = 0.0
        for step in (Device.reclaim_queues, Device.reclaim):
            for device in self.devices:
                attempt(errors, partial(step, device, timeout, keep=self._older))
        if self._faulted():
            attempt(errors, renew)
        expected = (WaitTimeoutError, CommandError) if failed else ()
        return [error for error in _single_errors(errors) if not isinstance(error, expected)]

    def _out(self) -> list[Resource]:
        """All that is out, newest first, device by device."""
        return [resource for device in self.devices for resource in device.tracker.all()]

    def _faulted(self) -> bool:
        return any(device.backend.faults for device in self.devices)


def _single_errors(errors: Iterable[Exception]) -> Iterator[Exception]:
    """Unpack groups of errors."""
    for error in errors:
        if isinstance(error, ExceptionGroup):
            yield from _single_errors(error.exceptions)
        else:
            yield error
