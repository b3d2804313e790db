"""What reports show of a verdict file: counts by device, failing tests, tests by device, and their past."""

from __future__ import annotations

import datetime
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_amdgpu.results.comparison import State, state_of
from pytest_amdgpu.results.record import Outcome, Record
from pytest_amdgpu.results.verdict import reason_of
from pytest_amdgpu.results.verdict_reader import VerdictFile

SEVERAL_DEVICES = "several devices"
WITHOUT_DEVICE = "no device"

_LABELS = {
    State.PASS: "pass",
    State.FAIL: "fail",
    State.TIMEOUT: "timeout",
    State.CRASH: "crash",
    State.MISSING: "missing",
    State.INFRA: "infrastructure",
    State.FLAKY: "flaky",
    State.KNOWN: "known failure",
}
"""What results are counted as, in the order of columns; those of tests that did not run follow."""
LABELS = (*_LABELS.values(), Outcome.SKIPPED.value, Outcome.NOT_APPLICABLE.value)


def label(record: Record) -> str:
    """Return what a result is counted as: one of `LABELS`."""
    return _LABELS.get(state_of(record), record.outcome.value)


def column_of(record: Record) -> str:
    """Return the column of a record: tests with several devices share one, whatever their devices are."""
    return (
        SEVERAL_DEVICES
        if len(record.devices) > 1
        else record.devices[0]
        if record.devices
        else WITHOUT_DEVICE
    )


def columns_of(records: Sequence[Record]) -> list[str]:
    """Return all columns, in the order of the tests; those that are no device last."""
    found = dict.fromkeys(map(column_of, records))
    return sorted(found, key=lambda column: (column == WITHOUT_DEVICE, column == SEVERAL_DEVICES))


def counts(records: Sequence[Record]) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Return the labels that there are, and for each column how many tests had each."""
    by_column = {column: Counter[str]() for column in columns_of(records)}
    for record in records:
        by_column[column_of(record)][label(record)] += 1
    labels = [one for one in LABELS if any(count[one] for count in by_column.values())]
    return labels, [(column, [count[one] for one in labels]) for column, count in by_column.items()]


def summary(records: Sequence[Record]) -> str:
    """Return in one line how many tests there are, on how many devices, and what became of them."""
    if not records:
        return "no tests"
    devices = {device for record in records for device in record.devices}
    numbers = Counter(map(label, records))
    found = ", ".join(f"{numbers[one]} {one}" for one in LABELS if one in numbers)
    return f"{counted(len(records), 'test')} on {counted(len(devices), 'device')}: {found}"


def counted(number: int, thing: str) -> str:
    """Return a number of things."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def failing(records: Sequence[Record]) -> list[Record]:
    """Return what went wrong and was not expected to, crashes first."""
    bad = [record for record in records if record.outcome.bad and not record.expected]
    return sorted(bad, key=state_of, reverse=True)


def alike(records: Sequence[Record]) -> list[list[Record]]:
    """Return failures of one test that came out alike and are blamed on the same together, in their order."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.name, words(record), record.blame), []).append(record)
    return list(groups.values())


def by_reason(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return by reason the tests that were not run and those that failed as expected, the most first."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if reason := _reason(record):
            found.setdefault(reason, []).append(record)
    return dict(sorted(found.items(), key=lambda pair: -len(pair[1])))


def _reason(record: Record) -> str:
    state = state_of(record)
    if state is State.KNOWN:
        return record.expected
    if state is not State.NOT_RUN:
        return ""
    text = record.text.removeprefix(f"{record.outcome.value}: ") or record.outcome.value
    # What devices lack is the same reason on each.
    for device in record.devices:
        text = text.replace(f"{device}: ", "")
    return text


def other_reasons(file: VerdictFile) -> list[str]:
    """Return those reasons for the verdict that the list of failing tests does not tell."""
    told = {reason_of(record) for record in failing(file.records)}
    return [reason for reason in file.reasons if reason not in told]


def repeat_command(file: VerdictFile, record: Record) -> str:
    """Return the command that runs a test again as it ran."""
    devices = (f"--amdgpu-device={device}" for device in record.devices)
    test = from_directory(record.id, file.rootdir, file.directory)
    return shlex.join(["pytest", *file.repeat, *devices, test])


def from_directory(test: str, rootdir: str, directory: str) -> str:
    """Return how a test's id, which begins at `rootdir`, is named in `directory`, if both are known."""
    if not rootdir or not directory or rootdir == directory:
        return test
    path, colons, rest = test.partition("::")
    return os.path.relpath(os.path.join(rootdir, path), directory) + colons + rest


def words(record: Record) -> str:
    """Return outcome and trust in few letters."""
    state = state_of(record)
    if state in (State.FLAKY, State.KNOWN, State.INFRA):
        return f"{record.outcome.value}, {state.name.lower()}"
    return record.outcome.value


Row = Mapping[str, Sequence[Record]]
"""The records of the tests of one name, by column."""


def matrix(records: Sequence[Record]) -> dict[str, dict[str, Row]]:
    """Return by file, and by the rest of the name, what came out in each column."""
    files: dict[str, dict[str, dict[str, list[Record]]]] = {}
    for record in records:
        path, _, name = record.name.partition("::")
        row = files.setdefault(path, {}).setdefault(name or path, {})
        row.setdefault(column_of(record), []).append(record)
    return {path: dict(rows) for path, rows in files.items()}


def worst(records: Sequence[Record]) -> dict[str, Record]:
    """Return by name the worst record of each test."""
    found: dict[str, Record] = {}
    for record in records:
        if record.name not in found or state_of(record) > state_of(found[record.name]):
            found[record.name] = record
    return found


def fails_since(past: Sequence[tuple[str, Record | None]]) -> str:
    """Return since when a test that fails now does; empty if its past does not tell.

    `past` is for each earlier run, the oldest first, when it began and what became of the test.
    """
    ran = [
        (started, record.outcome.bad) for started, record in past if record is not None and record.outcome.ran
    ]
    failed = 0
    while failed < len(ran) and ran[-1 - failed][1]:
        failed += 1
    if failed:
        return f"fails since {when(ran[-failed][0])}, in {failed} earlier run{'s' * (failed > 1)}"
    return f"new: passed in the run of {when(ran[-1][0])}" if ran else ""


def when(started: str) -> str:
    """Return the beginning of a run for people, to the minute; what is no time stays as it is."""
    try:
        return datetime.datetime.fromisoformat(started).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return started
