"""What became of one test, and how far that can be trusted."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from pytest_amdgpu.results.confirmation import Count, counts_text


class Outcome(enum.Enum):
    """What became of a test."""

    PASS = "pass"
    FAIL = "fail"
    CRASH = "crash"
    TIMEOUT = "timeout"
    NOT_APPLICABLE = "not applicable"
    """The machine cannot offer what the test needs."""
    SKIPPED = "skipped"
    MISSING = "missing"
    """It was collected, and there is no result."""

    @property
    def ran(self) -> bool:
        """Whether the test says something about the device."""
        return self in _RAN

    @property
    def bad(self) -> bool:
        """Whether something is wrong."""
        return self in _BAD


_RAN = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT})
_BAD = frozenset({Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT, Outcome.MISSING})


class Trust(enum.Enum):
    """How far an outcome can be trusted to be about the test and what it tests."""

    CLEAN = "clean"
    FLAKY = "flaky"
    """It comes out differently from run to run."""
    INFRA = "infra"
    """The machine or the device is to blame."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One test of a run. `name` is its id without devices, `seconds` what its phases took together.

    `expected` names the line of an expectation file that made a failure no news; `text` says what went wrong.
    Of a failure that was run again, `blame` is a word of `Blame`, and `confirmation` says how often it
    failed, on its own device first.
    """

    id: str
    name: str
    devices: tuple[str, ...]
    outcome: Outcome
    trust: Trust = Trust.CLEAN
    seconds: float = 0.0
    expected: str = ""
    text: str = ""
    blame: str = ""
    confirmation: tuple[Count, ...] = ()
    attachments: tuple[str, ...] = ()
    """Files that it left, from the directory of the verdict on."""

    @property
    def is_regression(self) -> bool:
        """Whether it speaks against what was tested: bad, not known, and not the machine's failure.

        A flake that no file knows is one: who runs a test until it passes hides what broke it.
        """
        return self.outcome.bad and self.trust is not Trust.INFRA and not self.expected

    @property
    def blame_text(self) -> str:
        """What a failure that was run again is blamed on, with counts; empty for others."""
        return f"{self.blame}: {counts_text(self.confirmation)}" if self.blame else ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        # Not dataclasses.asdict, which copies each value and takes most of a verdict's time.
        values: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        values |= {"outcome": self.outcome.value, "trust": self.trust.value}
        if self.blame:
            counts = [dataclasses.asdict(count) for count in self.confirmation]
            values |= {"blame": self.blame, "confirmation": counts}
        return values


_PLAIN = tuple(
    field.name
    for field in dataclasses.fields(Record)
    if field.name not in ("outcome", "trust", "blame", "confirmation")
)
"""Fields that JSON has as they are."""
