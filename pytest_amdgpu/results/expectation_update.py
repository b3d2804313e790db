"""Expectation files brought up to date with what recorded runs saw of each test."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_amdgpu.results.expectation_file import FILL_IN, Entry, Kind, parse_entries
from pytest_amdgpu.results.expectations import (
    WORSE_THAN_ITS_RATE,
    Expectations,
    chance_of_failures,
    keys_of,
    load_expectations,
)
from pytest_amdgpu.results.observations import Observations, Observed
from pytest_amdgpu.results.status import Judgement, Status, judge


@dataclass(slots=True)
class Update:
    """The files that change, with their new text, and what to tell: what changed, and what could not."""

    texts: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def update(
    directory: Path,
    observations: Observations,
    products: dict[str, str],
    today: datetime.date,
    seen_with: str,
) -> Update:
    """Work out which lines the files of a directory should have.

    A test that always failed gets a line of a fails file, one that failed sometimes gets one of a flakes file
    with its rate, and one that always passed loses its lines. Lines are written to, and taken from, the
    files of the target only: those of a generation, or of all GPUs, say something about other GPUs, too.
    `products` holds the name of the product for each target. Raises `ExpectationError`, OSError.
    """
    found = Update()
    for target in sorted({target for target, _ in observations}):
        known = load_expectations(directory, keys_of(target, products.get(target, "")), today)
        edits = _Edits(directory, target, today, seen_with, found)
        for (of, name), observed in sorted(observations.items()):
            if of == target:
                edits.see(name, observed, known)
        edits.finish()
    return found


class _Edits:
    """Changes of the fails and flakes file of one target."""

    def __init__(
        self, directory: Path, target: str, today: datetime.date, seen_with: str, found: Update
    ) -> None:
        self._paths = {kind: directory / f"{target}-{kind.value}.txt" for kind in (Kind.FAILS, Kind.FLAKES)}
        self._target, self._today, self._seen_with, self._found = target, today, seen_with, found
        self._removed: dict[Kind, list[Entry]] = {Kind.FAILS: [], Kind.FLAKES: []}
        self._added: dict[Kind, list[str]] = {Kind.FAILS: [], Kind.FLAKES: []}
        self._lapsed: Sequence[Entry] = ()

    def see(self, name: str, observed: Observed, known: Expectations) -> None:
        """Decide about one test."""
        self._lapsed = known.lapsed
        failing, flake = known.fails(name), known.flake(name)
        where = f"{name} on {self._target}"
        if known.skip(name):
            return
        if observed.runs < 2:
            if observed.failed:
                self._found.notes.append(f"{where}: failed in its only run that counts: nothing is written")
        elif not observed.failed:
            if failing and self._remove(failing, where):
                self._found.notes.append(f"{where}: passed {observed.runs} times: line removed")
            if flake and self._is_over(flake, observed) and self._remove(flake, where):
                self._found.notes.append(f"{where}: passed {observed.runs} times: flake removed")
        elif observed.failed < observed.runs:
            self._see_flake(name, observed, failing, flake)
        else:
            self._see_failure(name, observed, failing, flake)

    def _see_flake(self, name: str, observed: Observed, failing: Entry | None, flake: Entry | None) -> None:
        where = f"{name} on {self._target}"
        if flake is not None and not self._is_worse(flake, observed):
            return
        if flake is not None and not self._remove(flake, where):
            return
        if failing is not None and not self._remove(failing, where):
            return
        self._add(Kind.FLAKES, re.escape(name), "", observed)
        self._found.notes.append(f"{where}: failed {observed.failed} of {observed.runs} times: flake written")

    def _see_failure(self, name: str, observed: Observed, failing: Entry | None, flake: Entry | None) -> None:
        where = f"{name} on {self._target}"
        if len(observed.failures) > 1:
            ways = ", ".join(sorted(word.value for word in observed.failures))
            self._found.notes.append(f"{where}: fails each time, but in several ways ({ways}): not written")
            return
        (word,) = observed.failures
        if flake is not None:
            if not self._is_worse(flake, observed) or not self._remove(flake, where):
                return
        elif failing is not None and judge(Status(word.value), failing.expected) is Judgement.EXPECTED:
            return
        if failing is not None and failing.file == str(self._paths[Kind.FAILS]):
            self._remove(failing, where)
        self._add(Kind.FAILS, name, f",{word.value}", observed)
        self._found.notes.append(f"{where}: failed {observed.runs} of {observed.runs} times: line written")

    def _remove(self, entry: Entry, where: str) -> bool:
        """Take a line out if it is about this test on this target alone; say so if not."""
        alone = entry.pattern is None or entry.text == re.escape(where.rpartition(" on ")[0])
        if entry.file != str(self._paths[entry.kind]) or not alone:
            self._found.notes.append(
                f"{where}: is no longer as {entry.place} says, which is about other tests or GPUs, too:"
                " change it by hand"
            )
            return False
        self._removed[entry.kind].append(entry)
        return True

    def _add(self, kind: Kind, text: str, status: str, observed: Observed) -> None:
        # What has no effect any more makes room: a file has one line for each test.
        old = (entry for entry in self._lapsed if entry.file == str(self._paths[kind]) and entry.text == text)
        self._removed[kind] += old
        self._added[kind].append(
            f"# Bug Report: {FILL_IN}\n# Date: {self._today}\n"
            f"# Failure Rate: {observed.failed}/{observed.runs}\n"
            f"# Seen With: {self._seen_with}\n{text}{status}\n"
        )

    @staticmethod
    def _is_worse(flake: Entry, observed: Observed) -> bool:
        rate = flake.notes.rate
        if rate is None:
            return False
        return chance_of_failures(observed.failed, observed.runs, rate.share) < WORSE_THAN_ITS_RATE

    @staticmethod
    def _is_over(flake: Entry, observed: Observed) -> bool:
        """Whether at its rate it would hardly have passed so often."""
        rate = flake.notes.rate
        return rate is not None and (1 - rate.share) ** observed.runs < WORSE_THAN_ITS_RATE

    def finish(self) -> None:
        """Make the new texts."""
        for kind, path in self._paths.items():
            removed, added = self._removed[kind], self._added[kind]
            if removed or added:
                old = path.read_text(encoding="utf-8-sig") if path.exists() else ""
                text = "\n\n".join(
                    part
                    for part in (_without(old, removed).rstrip("\n"), *(block.rstrip() for block in added))
                    if part
                )
                text = f"{text}\n" if text else ""
                # What is written is read again before anything is replaced.
                list(parse_entries(text, kind, str(path)))
                self._found.texts[path] = text


def _without(text: str, entries: Sequence[Entry]) -> str:
    """Take lines out, and the comment above each that would then be about nothing."""
    lines = text.splitlines()
    gone = {entry.line - 1 for entry in entries}
    for index in sorted(gone):
        below = index + 1
        while below in gone:
            below += 1
        if below < len(lines) and _is_entry(lines[below]):
            continue
        above = index - 1
        while above in gone:
            above -= 1
        if above >= 0 and _is_entry(lines[above]):
            continue
        while above >= 0 and lines[above].strip().startswith("#"):
            gone.add(above)
            above -= 1
        if above >= 0 and not lines[above].strip():
            gone.add(above)
    return "\n".join(line for index, line in enumerate(lines) if index not in gone)


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


def write_texts(texts: dict[Path, str]) -> None:
    """Put each text in place of the file's at once; raises OSError, and then that file has not changed."""
    for path, text in texts.items():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with open(draft, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                os.chmod(draft, path.stat().st_mode & 0o7777)
            os.replace(draft, path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
