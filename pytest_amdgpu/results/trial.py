"""The further runs of a test that failed: what came of them, and which one comes next.

Knows nothing of how tests are run, so that a trial can go on in another process when one run ended the first.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from dataclasses import dataclass, field
from typing import Any

from pytest_amdgpu.results.confirmation import Blame, Count, Repeats, blame, counts_text


class Turn(enum.Enum):
    """Where a test is run again."""

    HERE = "on the devices that it failed on"
    ELSEWHERE = "on others of the same targets"


class Result(enum.Enum):
    """What became of a further run, in the words of reports."""

    PASSED = "passed"
    FAILED = "failed"
    UNUSABLE = "cannot be used"
    """For the machine's sake; that is no result of the test."""
    NOT_RUN = "did not run it"
    """It was skipped there."""
    NOT_TRIED = "not tried"
    """Somebody else uses the devices."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A further run on `devices` (as ids of tests name them), or that there was none, and why."""

    devices: str
    result: Result
    reason: str = ""

    @property
    def has_result(self) -> bool:
        """Whether it says something of the test."""
        return self.result in (Result.PASSED, Result.FAILED)

    def __str__(self) -> str:
        return f"{self.devices}: {self.result.value}" + (f": {self.reason}" if self.reason else "")


@dataclass(slots=True)
class Trial:
    """All further runs of a test that failed on `own` devices: `wanted` on each, or as many as are needed.

    A test that was `killed` at its deadline, because nothing else ended it, has one run elsewhere, and
    another one here only if the first leaves a question: each may take as long again.
    """

    own: str
    wanted: int | None
    killed: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    exhausted: bool = False
    """Whether there are no other devices that were not tried."""
    notes: list[str] = field(default_factory=list)
    """What went wrong besides."""

    def next_turn(self) -> Turn | None:
        """Say where the test is to be run now, or None if the trial is over."""
        here, elsewhere = self._turns()
        other = self.other
        as_needed = self.wanted is None or self.killed
        each = self.wanted if self.wanted is not None and not self.killed else 1
        # Who did not ask for further runs wants none that say nothing of the device.
        alone = self.wanted is not None and other is None
        if as_needed:
            if elsewhere < 1:
                return Turn.ELSEWHERE
            if here < 1 and (alone or (other is not None and not other.failed)):
                return Turn.HERE
        elif here < each and here <= elsewhere:
            return Turn.HERE
        elif elsewhere < each:
            return Turn.ELSEWHERE
        if self.blame is Blame.DEVICE_SUSPECT and each == 1 and self.same.runs and not self.killed:
            # A test that fails every second time looks like this once in four; then once in sixteen.
            if here < 2:
                return Turn.HERE
            if elsewhere < 2:
                return Turn.ELSEWHERE
        return None

    @property
    def same(self) -> Repeats:
        """What came of further runs on the test's own devices."""
        return self._repeats(self.own)

    @property
    def other(self) -> Repeats | None:
        """What came of runs elsewhere: where there is a result, or where it was tried last."""
        tried = [one.devices for one in self._abroad if one.result is not Result.NOT_TRIED]
        devices = self.chosen or (tried[-1] if tried else "")
        return self._repeats(devices) if devices else None

    @property
    def chosen(self) -> str:
        """The other devices that runs elsewhere are on, as soon as there is a result; else empty."""
        return next((one.devices for one in self._abroad if one.has_result), "")

    @property
    def blame(self) -> Blame | None:
        """What the failure is to be blamed on, as far as is known."""
        return blame(self.same, self.other)

    @property
    def counts(self) -> list[Count]:
        """How often the test failed, the first time included, on its own devices and on the others."""
        same, other = self.same, self.other
        counts = [Count(self.own, 1 + same.failed, 1 + same.runs)]
        if other is not None and other.runs:
            counts.append(Count(other.device, other.failed, other.runs))
        return counts

    @property
    def text(self) -> str:
        """Counts and blame in words, and a line for each attempt."""
        found = f"{counts_text(self.counts)}: {self.blame.value if self.blame else 'nothing follows'}"
        return "\n".join([found, *map(str, self.attempts), *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for another process."""
        attempts = [[one.devices, one.result.value, one.reason] for one in self.attempts]
        return {**{name: getattr(self, name) for name in _PLAIN}, "attempts": attempts}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Trial:
        """Undo `to_json`."""
        attempts = [
            Attempt(devices, Result(result), reason) for devices, result, reason in values["attempts"]
        ]
        return cls(**{**values, "attempts": attempts})

    def _turns(self) -> tuple[float, float]:
        """How many turns there were here and elsewhere; infinitely many where there can be no more."""
        mine = [one for one in self.attempts if one.devices == self.own]
        here = len(mine) if all(one.has_result for one in mine) else math.inf
        if self.exhausted:
            return here, math.inf
        return here, sum(one.devices == self.chosen for one in self.attempts)

    @property
    def _abroad(self) -> list[Attempt]:
        return [one for one in self.attempts if one.devices != self.own]

    def _repeats(self, devices: str) -> Repeats:
        results = [one.result for one in self.attempts if one.devices == devices]
        failed = results.count(Result.FAILED)
        runs = failed + results.count(Result.PASSED)
        return Repeats(devices, failed, runs, results.count(Result.UNUSABLE))


_PLAIN = tuple(one.name for one in dataclasses.fields(Trial) if one.name != "attempts")
