"""Results of tests, and what they are worth where another one was expected.

Words and meaning are those of deqp-runner (`RunnerStatus::with_baseline` in its runner_results.rs), which the
expectation files of Mesa are written for.
"""

from __future__ import annotations

import enum


class Status(enum.Enum):
    """What became of a test."""

    PASS = "Pass"
    FAIL = "Fail"
    CRASH = "Crash"
    TIMEOUT = "Timeout"
    MISSING = "Missing"
    SKIP = "Skip"
    WARN = "Warn"


class Expected(enum.Enum):
    """What a line of a fails file says of a test."""

    FAIL = "Fail"
    CRASH = "Crash"
    TIMEOUT = "Timeout"
    MISSING = "Missing"
    WARN = "Warn"
    ANY_FAIL = "ExpectedFail"


class Judgement(enum.Enum):
    """A result seen against what was expected of it."""

    AS_IT_IS = "as it is"
    """The result counts as if nothing had been expected."""
    EXPECTED = "expected"
    IMPROVEMENT = "unexpected improvement"
    """Better than expected: the line should go."""


_AS_IT_IS, _EXPECTED, _BETTER = Judgement.AS_IT_IS, Judgement.EXPECTED, Judgement.IMPROVEMENT
_ORDER = (
    Expected.FAIL,
    Expected.CRASH,
    Expected.TIMEOUT,
    Expected.MISSING,
    Expected.WARN,
    Expected.ANY_FAIL,
)
_TABLE = {
    Status.PASS: (_BETTER, _BETTER, _BETTER, _BETTER, _AS_IT_IS, _AS_IT_IS),
    Status.FAIL: (_EXPECTED, _BETTER, _BETTER, _AS_IT_IS, _AS_IT_IS, _EXPECTED),
    Status.CRASH: (_AS_IT_IS, _EXPECTED, _AS_IT_IS, _AS_IT_IS, _AS_IT_IS, _EXPECTED),
    Status.TIMEOUT: (_AS_IT_IS, _AS_IT_IS, _EXPECTED, _AS_IT_IS, _AS_IT_IS, _AS_IT_IS),
    Status.SKIP: (_BETTER, _BETTER, _BETTER, _BETTER, _AS_IT_IS, _AS_IT_IS),
    Status.WARN: (_BETTER, _BETTER, _AS_IT_IS, _AS_IT_IS, _EXPECTED, _AS_IT_IS),
    # Not in deqp-runner's table: there a test without a result has no line of its own.
    Status.MISSING: (_AS_IT_IS, _AS_IT_IS, _AS_IT_IS, _EXPECTED, _AS_IT_IS, _AS_IT_IS),
}
"""By result, for each expectation in `_ORDER`."""


def judge(result: Status, expected: Expected | None) -> Judgement:
    """Say what a result is worth where `expected` was expected of the test."""
    return _AS_IT_IS if expected is None else _TABLE[result][_ORDER.index(expected)]
