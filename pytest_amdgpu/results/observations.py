"""What several recorded runs saw of each test on GPUs of one target: how often it failed, and how."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.status import Expected, Status
from pytest_amdgpu.results.verdict_reader import VerdictFile

EXPECTED_TEXT, KNOWN_FLAKE_TEXT = "expected: ", "known flake: "
"""Begin the reason for which a failure that a file knows is no news. A test's own xfail mark has others."""
_IMPROVED = re.compile(r"unexpected improvement: the result is (\w+),")
_WORDS = {Outcome.FAIL: Expected.FAIL, Outcome.CRASH: Expected.CRASH, Outcome.TIMEOUT: Expected.TIMEOUT}
_ENVIRONMENT = ("kernel", "kfd", "amdgpu", "rocm")
"""What must be the same in all runs, besides the GPUs' firmware and VBIOS; hosts may differ."""
_OF_DEVICE = ("firmware", "vbios_version")


class ObservationError(ValueError):
    """Runs that do not belong together, or are no evidence; the message names the file and what to do."""


@dataclass(slots=True)
class Observed:
    """Results of one test on GPUs of one target: so many runs, and how often it failed in which way."""

    runs: int = 0
    failures: Counter[Expected] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """How often it failed in any way."""
        return self.failures.total()


Observations = Mapping[tuple[str, str], Observed]
"""By target and name of the test."""


def observe(runs: Sequence[VerdictFile], *, mixed: bool = False) -> Observations:
    """Gather what runs saw; `mixed` lets them differ in tests, GPUs and drivers.

    What the machine is to blame for, what did not run, and failures that a test's own mark expects are no
    evidence. A failure that was run again counts with all its runs on its own device.
    Raises `ObservationError`.
    """
    if len(runs) < 2:
        raise ObservationError("results of 2 runs are the least: one does not tell a flake from a failure")
    for run in runs:
        if run.shortcoming:
            raise ObservationError(f"{run.shortcoming}: leave it out")
    for first, second in itertools.combinations(runs, 2):
        if (first.started, first.records) == (second.started, second.records):
            raise ObservationError(f"{first.path} and {second.path} are of one run")
        if not mixed:
            _compare(first, second)
    found: dict[tuple[str, str], Observed] = {}
    for run in runs:
        for record in run.records:
            # The first device is the one whose files count for a test with several.
            target = run.targets.get(record.devices[0]) if record.devices else None
            if target is not None:
                _add(found.setdefault((target, record.name), Observed()), record)
    return {key: observed for key, observed in found.items() if observed.runs}


def environment_of(run: VerdictFile) -> str:
    """Return in a few words what a run's results were seen with."""
    amdgpu = run.environment.get("amdgpu", {})
    driver = amdgpu.get("version") or amdgpu.get("srcversion") if isinstance(amdgpu, dict) else None
    words = [f"Linux {run.environment.get('kernel', '?')}"]
    if driver:
        words.append(f"amdgpu {driver}")
    if run.run.get("backend") == "software":
        words.append("software GPUs")
    return ", ".join(words)


def _add(observed: Observed, record: Record) -> None:
    improved = _IMPROVED.match(record.text)
    own_mark = record.expected and not record.expected.startswith((EXPECTED_TEXT, KNOWN_FLAKE_TEXT))
    if record.trust is Trust.INFRA or not record.outcome.ran or own_mark:
        return
    if improved and improved[1] == Status.SKIP.value:
        return
    if improved:
        word = {expected.value: expected for expected in Expected}.get(improved[1])
        observed.runs += 1
        observed.failures += Counter([word] if word else [])
        return
    failed, runs = int(record.outcome.bad), 1
    if record.confirmation:
        failed, runs = record.confirmation[0].failed, record.confirmation[0].runs
    observed.runs += runs
    if failed:
        observed.failures[_WORDS[record.outcome]] += failed


def _compare(first: VerdictFile, second: VerdictFile) -> None:
    """Raise `ObservationError` unless two runs are of the same tests, GPUs and driver."""
    both = f"{first.path} and {second.path}"
    tests, others = (
        {(record.name, targets(run, record)) for record in run.records} for run in (first, second)
    )
    for name, where in sorted(tests ^ others):
        raise ObservationError(
            f"{both} are not of the same tests: only one has {name} on {' and '.join(where) or 'no GPU'};"
            " give runs of one selection, or say --mixed"
        )
    old, new = (dict(_environment(run)) for run in (first, second))
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            raise ObservationError(
                f"{both} differ in {key}: {old.get(key, 'nothing')} and {new.get(key, 'nothing')};"
                " give runs of one environment, or say --mixed"
            )


def targets(run: VerdictFile, record: Record) -> tuple[str, ...]:
    """Return the targets of a record's devices."""
    return tuple(run.targets.get(device, device) for device in record.devices)


def _environment(run: VerdictFile) -> Iterator[tuple[str, str]]:
    for key in _ENVIRONMENT:
        if key in run.environment:
            yield key, str(run.environment[key])
    devices: Any = run.environment.get("devices", {})
    by_target: dict[str, set[str]] = {}
    for device, values in devices.items() if isinstance(devices, dict) else ():
        kept = {key: values[key] for key in _OF_DEVICE if key in values}
        by_target.setdefault(run.targets.get(device, device), set()).add(str(kept))
    for target, kinds in by_target.items():
        yield f"the firmware of {target}", "; ".join(sorted(kinds))
