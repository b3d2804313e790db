"""What reports show of a verdict file: counts by device, failing tests, the matrix of tests by device."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence

from pytest_amdgpu.results.comparison import State, state_of
from pytest_amdgpu.results.record import Outcome, Record
from pytest_amdgpu.results.verdict_reader import VerdictFile

WITHOUT_DEVICE = "no device"


def device_of(record: Record) -> str:
    """Return the column of a record; a test with several devices has one of its own."""
    return ", ".join(record.devices) or WITHOUT_DEVICE


def devices_of(records: Sequence[Record]) -> list[str]:
    """Return all columns, tests without a device last."""
    found = dict.fromkeys(map(device_of, records))
    return sorted(found, key=lambda device: device == WITHOUT_DEVICE)


def counts(records: Sequence[Record]) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Return the outcomes that there are, and for each device how many tests had each."""
    outcomes = [outcome for outcome in Outcome if any(record.outcome is outcome for record in records)]
    by_device = {device: Counter[Outcome]() for device in devices_of(records)}
    for record in records:
        by_device[device_of(record)][record.outcome] += 1
    rows = [(device, [count[outcome] for outcome in outcomes]) for device, count in by_device.items()]
    return [outcome.value for outcome in outcomes], rows


def failing(records: Sequence[Record]) -> list[Record]:
    """Return what went wrong and was not expected to, crashes first."""
    bad = [record for record in records if record.outcome.bad and not record.expected]
    return sorted(bad, key=state_of, reverse=True)


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


def matrix(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """Return by name and device the record of each test."""
    rows: dict[str, dict[str, Record]] = {}
    for record in records:
        rows.setdefault(record.name, {})[device_of(record)] = record
    return rows


def worst(records: Sequence[Record]) -> dict[str, Record]:
    """Return by name the worst record of each test."""
    found: dict[str, Record] = {}
    for record in records:
        if record.name not in found or state_of(record) > state_of(found[record.name]):
            found[record.name] = record
    return found
