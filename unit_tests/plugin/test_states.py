"""From the reports of a test's phases, in every order that pytest has, to one record."""

from __future__ import annotations

import pytest

from pytest_amdgpu.plugin.blame import TIMEOUT_PROPERTY
from pytest_amdgpu.plugin.judging.states import States
from pytest_amdgpu.results.record import Record

PHASES = {"s": "setup", "c": "call", "t": "teardown", "?": "???"}


def record(*phases: str) -> Record:
    """What becomes of a test of these phases: a phase, its outcome, and what is special about it.

    `x` is what an expectation or xfail makes of a failure, `o` a timeout.
    """
    states = States()
    for phase in phases:
        letter, outcome, *special = phase.split("-")
        report = pytest.TestReport(
            nodeid="t",
            location=("t", 1, "t"),
            keywords={},
            outcome={"p": "passed", "f": "failed", "s": "skipped"}[outcome],  # type: ignore[arg-type]
            longrepr=phase if outcome == "f" else ("t", 1, f"Skipped: {phase}") if outcome == "s" else None,
            when=PHASES[letter],  # type: ignore[arg-type]
        )
        if "x" in special:
            report.wasxfail = "known"  # type: ignore[attr-defined]
        if "o" in special:
            report.user_properties.append((TIMEOUT_PROPERTY, "teardown"))
        states.see(report)
    assert [one.id for one in states.records(final=True)] == ["t"]
    return states.record("t")


@pytest.mark.parametrize(
    ("phases", "outcome", "expected", "text"),
    [
        ("s-p c-p t-p", "pass", "", ""),
        ("s-s t-p", "skipped", "", "s-s"),
        ("s-f t-p", "fail", "", "s-f"),
        ("s-p c-p t-s", "skipped", "", "t-s"),
        ("s-p c-p t-f", "fail", "", "t-f"),
        ("s-p c-s t-f", "fail", "", "t-f"),
        ("s-p c-p ?-f", "crash", "", "?-f"),
        ("s-p c-p t-f-o", "timeout", "", "t-f-o"),
        ("s-p c-f t-s", "fail", "", "c-f"),
        ("s-p c-f t-f", "fail", "", "c-f"),
        # The worse one counts, and what came first explains it.
        ("s-p c-f t-f-o", "timeout", "", "c-f; then t-f-o"),
        ("s-p c-f ?-f", "crash", "", "c-f; then ?-f"),
        ("s-p c-f-o ?-f", "crash", "", "c-f-o; then ?-f"),
        ("s-p c-f-o t-f", "timeout", "", "c-f-o"),
        # What is known of the test excuses nothing of its tear-down.
        ("s-p c-s-x t-p", "fail", "known", ""),
        ("s-p c-s-x t-s", "fail", "known", ""),
        ("s-p c-s-x t-f", "fail", "", "t-f"),
        ("s-p c-s-x ?-f", "crash", "", "?-f"),
    ],
)
def test_one_result_of_each_test(phases: str, outcome: str, expected: str, text: str) -> None:
    found = record(*phases.split())
    assert (found.outcome.value, found.expected, found.text) == (outcome, expected, text)
