"""Which errors GPUs have counted during a test, without reading the counters for each test.

To read those of RAS takes the kernel's driver and the GPU's firmware milliseconds. So they are read at the
set-up of a test only if that is due: a second after they were read last, or longer if reading takes long, so
that it costs at most a hundredth of the time; and at the set-up of each test that follows a failure. What is
told of a failure says since when the errors are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.devices.counters import counted

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device

PAUSE = 1.0
"""Seconds between two readings, at least."""
_SHARE = 100
"""So many times what a reading takes passes before the next one."""
_SET_UP, _FAILURE = "the set-up", "a failure"


@dataclass(slots=True)
class _Look:
    """What counters said, and when: at the set-up or after a failure of a test."""

    counts: Mapping[str, int]
    test: str
    when: str
    due: float
    tests: int = 0
    """How many tests began since."""

    def since(self, test: str) -> str:
        """Say since when what has changed was counted."""
        if self.test == test:
            return f"since {self.when} of this test"
        earlier = "the test before" if self.tests == 1 else f"{self.tests} tests before"
        return f"since {self.when} of {self.test}, {earlier}: what came in between may have caused it"


class ErrorWatch:
    """The counters of the devices that one process uses. `read` reads those of a device."""

    def __init__(
        self, read: Callable[[Device], Mapping[str, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._clock = read, clock
        self._looks: dict[str, _Look] = {}

    def begin(self, device: Device, test: str) -> None:
        """Know that a test begins on a device, and read its counters if that is due."""
        look = self._looks.get(device.name)
        if look is None or self._clock() >= look.due:
            self._looks[device.name] = self._look(device, test, _SET_UP)
        else:
            look.tests += 1

    def changes(self, device: Device, test: str) -> list[str]:
        """Return what has changed, and since when; raises KeyError if the test has not begun there."""
        before = self._looks[device.name]
        now = self._looks[device.name] = self._look(device, test, _FAILURE)
        # The next test is told nothing of this one's.
        now.due = 0.0
        lines = counted(before.counts, now.counts)
        return [*lines, f"    counted {before.since(test)}"] if lines else []

    def _look(self, device: Device, test: str, when: str) -> _Look:
        begun = self._clock()
        counts = self._read(device)
        ended = self._clock()
        return _Look(counts, test, when, ended + max(PAUSE, _SHARE * (ended - begun)))
