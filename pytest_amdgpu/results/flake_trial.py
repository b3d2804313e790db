"""The further runs of a known flake that failed: one run does not tell whether it has become a failure."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_amdgpu.results.expectations import WORSE_THAN_ITS_RATE, chance_of_failures
from pytest_amdgpu.results.trial import Trial, Turn

MOST_RUNS = 20
"""Of one flake in a run: more than that costs more than it tells."""


@dataclass(slots=True)
class FlakeTrial(Trial):
    """Runs on the test's own devices until it passes, or until its `rate` does not explain the failures."""

    rate: float = 0.0

    def next_turn(self) -> Turn | None:
        """Say whether it is to be run once more."""
        same = self.same
        failed = 1 + same.failed
        over = len(self.attempts) > same.failed or failed >= MOST_RUNS
        if over or chance_of_failures(failed, failed, self.rate) < WORSE_THAN_ITS_RATE:
            return None
        return Turn.HERE
