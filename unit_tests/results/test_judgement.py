"""Results against expectations: deqp-runner's table, as the reference of test frameworks quotes it."""

from __future__ import annotations

import pytest

from pytest_amdgpu.results.status import Expected, Judgement, Status, judge

TABLE = """
Got      no-line  Fail          Crash         Timeout       Missing   Warn          ExpectedFail
Pass     Pass     UI            UI            UI            UI        Pass          Pass
Fail     Fail     ExpectedFail  UI            UI            Fail      Fail          ExpectedFail
Crash    Crash    Crash         ExpectedFail  Crash         Crash     Crash         ExpectedFail
Timeout  Timeout  Timeout       Timeout       ExpectedFail  Timeout   Timeout       Timeout
Skip     Skip     UI            UI            UI            UI        Skip          Skip
Warn     Warn     UI            UI            Warn          Warn      ExpectedFail  Warn
"""
"""From `RunnerStatus::with_baseline` in deqp-runner's runner_results.rs; UI is UnexpectedImprovement."""

HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [(row[0], expected, cell) for row in ROWS for expected, cell in zip(HEAD[1:], row[1:], strict=True)]


@pytest.mark.parametrize(("got", "expected", "outcome"), CELLS)
def test_a_result_against_an_expectation(got: str, expected: str, outcome: str) -> None:
    wanted = {"UI": Judgement.IMPROVEMENT, "ExpectedFail": Judgement.EXPECTED}.get(
        outcome, Judgement.AS_IT_IS
    )
    assert judge(Status(got), None if expected == "no-line" else Expected(expected)) is wanted


def test_a_missing_test_is_no_news_only_where_it_was_expected() -> None:
    expected = {word for word in Expected if judge(Status.MISSING, word) is not Judgement.AS_IT_IS}
    assert expected == {Expected.MISSING}
