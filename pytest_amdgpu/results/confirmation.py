"""What a failure is to be blamed on, from what became of the test when it was run again.

| again on the same device | on another one of its target | blame |
|---|---|---|
| fails each time | fails each time, or there is none | regression |
| passes at least once | whatever | flaky |
| whatever | passes and fails | flaky |
| fails each time, or cannot be run for the machine's sake | passes each time | device suspect |
| cannot be run | fails each time | regression |
| cannot be run | cannot be run | machine |

Where its device is the only one and can no longer be used, nothing follows: the test may have broken it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass


class Blame(enum.Enum):
    """What a failure is to be blamed on."""

    REGRESSION = "regression"
    """What is tested, or the test: it fails wherever it is run."""
    FLAKY = "flaky"
    """It fails and passes on one device. That is a finding like any failure."""
    DEVICE_SUSPECT = "device suspect"
    """It fails on one device and passes on another one of the same target."""
    MACHINE = "machine"
    """No device can be used any more."""


@dataclass(frozen=True, slots=True)
class Count:
    """How often a test failed on a device (or on several, joined by `+`) of how many runs with a result."""

    device: str
    failed: int
    runs: int

    def __str__(self) -> str:
        return f"{self.device} {self.failed}/{self.runs}"


@dataclass(slots=True)
class Repeats:
    """What became of runs on one device: `failed` of `runs` that had a result, besides `unusable` ones."""

    device: str
    failed: int = 0
    runs: int = 0
    unusable: int = 0


def blame(same: Repeats, other: Repeats | None) -> Blame | None:
    """Say what a failure is to be blamed on. `same` are further runs on its device, without the failure.

    None means that nothing follows from them.
    """
    if same.failed < same.runs or (other is not None and 0 < other.failed < other.runs):
        return Blame.FLAKY
    if other is not None and other.runs:
        if other.failed:
            return Blame.REGRESSION
        return Blame.DEVICE_SUSPECT if same.runs or same.unusable else None
    if same.runs:
        return Blame.REGRESSION
    gone = same.unusable and other is not None and other.unusable
    return Blame.MACHINE if gone else None


def counts_text(counts: Sequence[Count]) -> str:
    """Return counts in words; the first is of the device of the failure, which it includes."""
    first, *others = counts
    failed = f"1+{first.failed - 1}" if first.runs > 1 else "1"
    texts = [f"failed {failed} of {first.runs} on {first.device}"]
    return ", ".join([*texts, *(f"{count.failed} of {count.runs} on {count.device}" for count in others)])


_COUNT = re.compile(r"(\S+) (\d{1,9})/(\d{1,9})")


def parse_counts(text: str) -> tuple[Count, ...]:
    """Undo `", ".join(map(str, counts))`; raises ValueError."""
    counts = []
    for part in text.split(", ") if text else ():
        match = _COUNT.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no count such as 'sw-gfx942-0 1/2'")
        counts.append(Count(match[1], int(match[2]), int(match[3])))
    return tuple(counts)
