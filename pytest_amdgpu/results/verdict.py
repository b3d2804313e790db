"""What a whole run says, in one word, with reasons, and as an exit status."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_amdgpu.results.record import Outcome, Record, Trust


class Verdict(enum.Enum):
    """The word for a run."""

    GOOD = "good"
    REGRESSION = "regression"
    INFRASTRUCTURE = "infrastructure"
    MUST_RUN = "must-run violated"
    USAGE = "usage"
    INCOMPLETE = "incomplete"
    """The run has not come to its end (yet)."""


EXIT_STATUS = {
    Verdict.GOOD: 0,
    Verdict.REGRESSION: 1,
    Verdict.USAGE: 4,
    Verdict.INFRASTRUCTURE: 10,
    Verdict.MUST_RUN: 11,
    Verdict.INCOMPLETE: 10,
}
"""Apart from what pytest's own numbers mean: 2 interrupted, 3 internal error, 5 no tests."""


@dataclass(frozen=True, slots=True)
class Judgment:
    """A verdict and why, the most important reason first."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """Exit status of a gate."""
        return EXIT_STATUS[self.verdict]


def judge_run(records: Sequence[Record], must_run: Sequence[str], troubles: Sequence[str]) -> Judgment:
    """Judge a run.

    `must_run` lists what should have run and did not, `troubles` what went wrong outside of tests. A
    regression that can be trusted is one whatever else happened. A run in which something went wrong is not
    good.
    """
    bad = [record for record in records if record.is_regression]
    infra = [reason_of(record) for record in records if record.outcome.bad and record.trust is Trust.INFRA]
    missing = [reason_of(record) for record in bad if record.outcome is Outcome.MISSING]
    regressions = [reason_of(record) for record in bad if record.outcome is not Outcome.MISSING]
    reasons = (*regressions, *troubles, *infra, *missing, *must_run)
    if regressions:
        return Judgment(Verdict.REGRESSION, reasons)
    if troubles or infra or missing:
        return Judgment(Verdict.INFRASTRUCTURE, reasons)
    if must_run:
        return Judgment(Verdict.MUST_RUN, reasons)
    return Judgment(Verdict.GOOD)


def reason_of(record: Record) -> str:
    """Return how a test's result is told among the reasons of a verdict: the machine's failures with why."""
    line = f"{record.id}: {record.outcome.value}, {record.blame_text}".removesuffix(", ")
    return f"{line}: {record.text}".removesuffix(": ") if record.trust is Trust.INFRA else line
