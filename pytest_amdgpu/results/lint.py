"""What is wrong with expectation files although they can be read: lines that do nothing, or hide too much."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator
from pathlib import Path

from pytest_amdgpu.families.models import model, model_names
from pytest_amdgpu.families.registry import FAMILIES
from pytest_amdgpu.results.expectation_file import FILL_IN, Entry, ExpectationError, Kind, read_entries
from pytest_amdgpu.results.expectations import expectation_files, keys_of
from pytest_amdgpu.results.status import Expected


def lint(directory: Path, today: datetime.date, tests: Collection[str] | None = None) -> Iterator[str]:
    """Yield what is wrong, as `file:line: text`. `tests` are the names of all tests, without devices.

    Raises `ExpectationError` only where there is no such directory.
    """
    if not directory.is_dir():
        raise ExpectationError(f"{directory} is not a directory of expectation files")
    try:
        files = expectation_files(directory)
    except ExpectationError as error:
        yield str(error)
        return
    known = known_keys()
    by_key: dict[str, dict[Kind, list[Entry]]] = {}
    for path, (key, kind) in files.items():
        if key not in known:
            yield f"{path}: {key!r} is no target, generation or product that is known"
        try:
            entries = read_entries(path, kind)
        except ExpectationError as error:
            yield str(error)
            continue
        by_key.setdefault(key, {})[kind] = entries
        for entry in entries:
            for text in _of_one(entry, today, tests):
                yield f"{entry.place}: {text}"
    for kinds in by_key.values():
        yield from _hidden(kinds)


def known_keys() -> set[str]:
    """Names that an expectation file may begin with: of every target and product that there is a row for."""
    products = [(known.target, known.marketing_name) for known in map(model, model_names())]
    products += [(row.name, row.name) for row in FAMILIES]
    return {key for target, product in products for key in keys_of(target, product)}


def _of_one(entry: Entry, today: datetime.date, tests: Collection[str] | None) -> Iterator[str]:
    notes = entry.notes
    if not notes.reason:
        yield "has no reason: put '# Bug Report: URL' or '# Reason: TEXT' above it"
    elif notes.reason.strip().lower() == FILL_IN:
        yield f"has no reason yet: put one in the place of '{FILL_IN}'"
    if notes.date is None:
        yield "has no date: put '# Date: YYYY-MM-DD' above it"
    elif notes.date > today:
        yield f"is dated {notes.date}, which is still to come"
    if notes.expires is not None and notes.expires < today:
        yield f"expired on {notes.expires}: look at it again, then remove it or set a new date"
    if entry.expected is Expected.ANY_FAIL:
        yield "expects any failure, so that a failure that turns into a crash is not seen: say Fail or Crash"
    if entry.kind is Kind.FLAKES:
        if notes.rate is None:
            yield "has no rate: put '# Failure Rate: FAILED/RUNS' above it"
        elif notes.rate.failed == notes.rate.runs:
            yield f"fails in {notes.rate} runs: that is no flake, it belongs into a fails file"
        elif notes.rate.failed == 0:
            yield f"fails in {notes.rate} runs: that is no flake, remove it"
    if tests is not None and not any(entry.matches(test) for test in tests):
        yield f"{entry.text!r} is no test that there is"


def _hidden(kinds: dict[Kind, list[Entry]]) -> Iterator[str]:
    """Lines of one key's files that another one takes the effect of."""
    for hiding in (Kind.SKIPS, Kind.FLAKES):
        for entry in kinds.get(hiding, ()):
            for hidden in kinds.get(Kind.FAILS, ()):
                if entry.matches(hidden.text):
                    yield f"{hidden.place}: has no effect, for {entry.place} is about {hidden.text!r}, too"
