"""Which lines of expectation files a run shows to be wrong: about tests that are gone, or out of date."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pytest_amdgpu.results.expectation_file import Entry, Kind
from pytest_amdgpu.results.expectations import Expectations
from pytest_amdgpu.results.status import Expected

_LITERAL_PATH = re.compile(r"((?:[\w/-]|\\?\.|\\-)+)::")
"""The file that a regular expression for names begins with, if that is plain text."""


@dataclass(frozen=True, slots=True)
class Collected:
    """The names of the tests that a run knows, and paths (`hw_tests/sdma`) whose tests are all among them.

    `broken` are files below them whose tests could not be collected.
    """

    names: Collection[str]
    paths: Sequence[str]
    broken: Collection[str] = ()

    def has_all_of(self, file: str) -> bool:
        """Whether all tests of a file would have been collected."""
        inside = any(path in (".", file) or file.startswith(f"{path}/") for path in self.paths)
        return inside and file not in self.broken

    @property
    def has_all(self) -> bool:
        """Whether all tests that there are would have been collected."""
        return "." in self.paths and not self.broken


def missing_tests(known: Sequence[Expectations], collected: Collected) -> Iterator[str]:
    """Yield the lines of fails files that name a test of the run which is not there any more.

    A line that expects the test to be missing is right.
    """
    for entry in _unique(known):
        file, separator, _ = entry.text.partition("::")
        if (
            entry.kind is Kind.FAILS
            and entry.expected is not Expected.MISSING
            and separator
            and collected.has_all_of(file)
            and entry.text not in collected.names
        ):
            yield f"{entry}: {entry.text} was not collected: mend the name, or remove the line"


def stale_lines(known: Sequence[Expectations], collected: Collected) -> Iterator[str]:
    """Yield the lines of flakes and skips files that match no test, where all that could match is known."""
    for entry in _unique(known):
        if entry.kind is Kind.FAILS:
            continue
        match = _LITERAL_PATH.match(entry.text)
        file = match[1].replace("\\", "") if match else ""
        covered = collected.has_all_of(file) if file else collected.has_all
        if covered and not any(entry.matches(name) for name in collected.names):
            yield f"{entry}: {entry.text} matches no test"


def lapsed_lines(known: Sequence[Expectations], today: datetime.date) -> Iterator[tuple[Entry, str]]:
    """Yield the lines whose time has passed or is still to come, and what to say of each."""
    for entry in dict.fromkeys(entry for expectations in known for entry in expectations.lapsed):
        expires = entry.notes.expires
        if expires is not None and expires < today:
            when = f"expired on {expires}"
        else:
            when = f"is dated {entry.notes.date}, which is still to come"
        effect = "still keeps tests from running" if entry.kind is Kind.SKIPS else "has no effect any more"
        yield entry, f"{entry}: {when}, and {effect}: look at it again, then remove it or set a new date"


def _unique(known: Sequence[Expectations]) -> Iterator[Entry]:
    yield from dict.fromkeys(entry for expectations in known for entry in expectations.entries)
