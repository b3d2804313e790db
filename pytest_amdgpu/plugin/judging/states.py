"""From the reports of a test's phases to one record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from pytest_amdgpu.plugin.blame import (
    ATTACHMENT_PROPERTY,
    BLAME_PROPERTY,
    CONFIRMATION_PROPERTY,
    FLAKE_PROPERTY,
    INFRA_PROPERTY,
    NOT_APPLICABLE,
    timed_out,
)
from pytest_amdgpu.results.confirmation import Blame, Count, parse_counts
from pytest_amdgpu.results.expectations import bare_name
from pytest_amdgpu.results.node_ids import devices_in
from pytest_amdgpu.results.record import Outcome, Record, Trust

_TRUST = {Blame.FLAKY: Trust.FLAKY, Blame.DEVICE_SUSPECT: Trust.INFRA, Blame.MACHINE: Trust.INFRA}
"""What is left of the trust in a failure that was run again; the others are as trusted as before."""

_PHASE_OUTCOMES = ("passed", "failed", "skipped")
"""What pytest itself makes of a phase. Plugins that run a failing test again have further words."""
_NOT_RUN = "[NOTRUN]"
"""In what pytest says of a test with `xfail(run=False)`, which proves nothing: pytest does not run it."""


_SEVERITY = {Outcome.FAIL: 0, Outcome.TIMEOUT: 1, Outcome.CRASH: 2}


@dataclass(slots=True)
class _State:
    outcome: Outcome = Outcome.MISSING
    trust: Trust = Trust.CLEAN
    seconds: float = 0.0
    expected: str = ""
    text: str = ""
    blame: str = ""
    confirmation: tuple[Count, ...] = ()
    seen: bool = False
    subtests: set[str] = field(default_factory=set)
    """Outcomes of its subtests."""
    attachments: list[str] = field(default_factory=list)


class States:
    """All tests of a run, each with what is known of it. `devices` are the ids of the run's devices."""

    def __init__(self) -> None:
        self.devices: tuple[str, ...] = ()
        self._states: dict[str, _State] = {}

    def expect(self, ids: Iterable[str]) -> None:
        """Know of tests before there is a result."""
        for node_id in ids:
            self._states.setdefault(node_id, _State())

    def see(self, report: pytest.TestReport) -> None:
        """Take in the report of a phase."""
        state = self._states.setdefault(report.nodeid, _State())
        state.seen = True
        state.seconds += getattr(report, "duration", 0.0)
        # What is written to JUnit files names those of earlier phases once more.
        for name, value in report.user_properties:
            if name == ATTACHMENT_PROPERTY and value not in state.attachments:
                state.attachments.append(str(value))
        properties = dict(report.user_properties)
        if FLAKE_PROPERTY in properties:
            state.trust = Trust.FLAKY
        if INFRA_PROPERTY in properties:
            state.trust = Trust.INFRA
        if BLAME_PROPERTY in properties:
            blame = Blame(properties[BLAME_PROPERTY])
            state.trust = _TRUST.get(blame, state.trust)
            state.blame = blame.value
            state.confirmation = parse_counts(str(properties[CONFIRMATION_PROPERTY]))
        failed_before = state.outcome.bad and state.outcome is not Outcome.MISSING
        if report.failed and (not failed_before or state.expected):
            # That a test fails does not excuse what its tear-down does.
            state.outcome, state.expected = _failure(report), ""
            state.text = crash_text(report)
        elif report.failed and _SEVERITY[outcome := _failure(report)] > _SEVERITY[state.outcome]:
            # What came first explains what came after it.
            state.outcome, state.text = outcome, f"{state.text}; then {crash_text(report)}"
        elif failed_before:
            return
        elif str(report.outcome) not in _PHASE_OUTCOMES:
            # Whoever runs a test until it passes hides what broke it.
            state.outcome, state.trust = _failure(report), Trust.FLAKY
            state.text = f"{report.outcome} after: {crash_text(report)}"
        elif hasattr(report, "wasxfail") and report.skipped and _NOT_RUN in report.wasxfail:
            state.outcome, state.text = Outcome.SKIPPED, report.wasxfail
        elif hasattr(report, "wasxfail") and report.skipped:
            state.outcome, state.expected = _failure(report), report.wasxfail or "xfail"
        elif hasattr(report, "context"):
            # A subtest, which alone does not say that the test has passed.
            state.subtests.add(report.outcome)
            state.text = skip_text(report) if report.skipped else ""
        elif report.skipped:
            state.text = skip_text(report)
            inapplicable = state.text.startswith(NOT_APPLICABLE)
            state.outcome = Outcome.NOT_APPLICABLE if inapplicable else Outcome.SKIPPED
        elif report.when == "call" and state.subtests == {"skipped"}:
            # pytest calls that passed.
            state.outcome, state.text = Outcome.SKIPPED, f"all subtests are skipped: {state.text}"
        elif report.when == "call":
            state.outcome, state.text = Outcome.PASS, ""

    def skip_file(self, node_id: str, text: str) -> None:
        """Know of a file none of whose tests is known, because it skips itself."""
        self._states.setdefault(node_id, _State(Outcome.SKIPPED, text=text, seen=True))

    def was_killed(self, node_id: str, text: str) -> None:
        """Know that a test was ended with its process, when the run was ended."""
        state = self._states.setdefault(node_id, _State())
        if state.outcome is Outcome.MISSING:
            state.outcome, state.trust, state.text = Outcome.CRASH, Trust.INFRA, text

    def records(self, *, final: bool) -> list[Record]:
        """Return the tests with a result, and at the end of a run those without, too."""
        return [
            self._record(node_id, state) for node_id, state in self._states.items() if final or state.seen
        ]

    def record(self, node_id: str) -> Record:
        """Return what is known of a test."""
        return self._record(node_id, self._states[node_id])

    def take(self, node_id: str) -> Record:
        """Return what is known of a test, and forget it."""
        return self._record(node_id, self._states.pop(node_id))

    def _record(self, node_id: str, state: _State) -> Record:
        return Record(
            id=node_id,
            name=bare_name(node_id, self.devices),
            devices=devices_in(node_id, self.devices),
            outcome=state.outcome,
            trust=state.trust,
            seconds=round(state.seconds, 6),
            expected=state.expected,
            text=state.text,
            attachments=tuple(state.attachments),
            blame=state.blame,
            confirmation=state.confirmation,
        )


def _failure(report: pytest.TestReport) -> Outcome:
    if timed_out(report):
        return Outcome.TIMEOUT
    # pytest-xdist reports a test that killed its worker under this name of a phase.
    if str(report.when) == "???":
        return Outcome.CRASH
    return Outcome.FAIL


def crash_text(report: pytest.TestReport) -> str:
    """Return the first line of why something failed."""
    crash = getattr(report.longrepr, "reprcrash", None)
    # Not `longreprtext`: that begins with a line about the worker.
    text = crash.message if crash is not None else str(report.longrepr)
    return next(iter(text.strip().splitlines()), "")


def skip_text(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why something was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext
