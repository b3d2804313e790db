"""One expectation file: its lines, and the notes above them.

    # Bug Report: https://github.com/ROCm/...    notes for the lines below, until a blank line or new comment
    # Date: 2026-11-28
    # Failure Rate: 3/10
    tests/test_copy.py::test_size[4097],Fail     a fails file: a test and what is expected of it
    tests/test_copy.py::test_.*                  a flakes or skips file: a regular expression for names

The format is that of Mesa's files for deqp-runner, the notes are those of the kernel's DRM CI
(drivers/gpu/drm/ci/xfails); both can be read.
"""

from __future__ import annotations

import datetime
import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_amdgpu.results.status import Expected


class Kind(enum.Enum):
    """What the lines of a file are about."""

    FAILS = "fails"
    FLAKES = "flakes"
    SKIPS = "skips"


FILL_IN = "(fill in)"
"""The reason of a line that a command wrote: the linter wants a real one in its place."""


class ExpectationError(ValueError):
    """A line that cannot be read; the message says file, line and what is allowed."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a test was seen to fail: in `failed` of `runs` runs."""

    failed: int
    runs: int

    @property
    def share(self) -> float:
        """The rate as a number from 0 to 1."""
        return self.failed / self.runs

    def __str__(self) -> str:
        return f"{self.failed}/{self.runs}"


@dataclass(frozen=True, slots=True)
class Notes:
    """What a file says of a line besides its meaning."""

    reason: str = ""
    date: datetime.date | None = None
    rate: Rate | None = None
    expires: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: the name of a test (fails) or a pattern (flakes, skips). `expected` is of a fails line."""

    kind: Kind
    text: str
    expected: Expected | None
    notes: Notes
    file: str
    line: int
    pattern: re.Pattern[str] | None = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}"

    def matches(self, test: str) -> bool:
        """Whether the line is about a test of this name."""
        return self.text == test if self.pattern is None else self.pattern.fullmatch(test) is not None

    def __str__(self) -> str:
        return f"{self.place}: {self.notes.reason}" if self.notes.reason else self.place


_NOTE = re.compile(r"#\s*([A-Za-z ]+?)\s*:\s*(.*)")
_REASON, _DATE, _RATE, _EXPIRES = range(4)
_NOTES: Mapping[str, int] = {
    "bug report": _REASON,
    "bug": _REASON,
    "reason": _REASON,
    "date": _DATE,
    "failure rate": _RATE,
    "expires": _EXPIRES,
}
"""What notes are called, in lower case; DRM CI has further ones, which say where a flake was seen."""
_MEANT = re.compile(r"#\s*(expir|(fail(ure)?|flak[ey])[ _-]*rate\b).*", re.IGNORECASE)
"""A comment that is meant to be a note on which results depend."""
_FRACTION = re.compile(r"(\d+)\s*/\s*(\d+)")
_PERCENT = re.compile(r"(\d{1,3})\s*%?")
EXPECTED_WORDS = {expected.value: expected for expected in Expected}


def read_entries(path: Path, kind: Kind) -> list[Entry]:
    """Read a file; raises `ExpectationError`, and OSError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExpectationError(f"{path}: is not UTF-8 text: {error}") from error
    return list(parse_entries(text, kind, str(path)))


def parse_entries(text: str, kind: Kind, file: str) -> Iterator[Entry]:
    """Yield the entries of a file's text; raises `ExpectationError`."""
    values: dict[int, str] = {}
    lines: dict[int, int] = {}
    in_notes = False
    seen: dict[str, int] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            if not line or not in_notes:
                values, lines = {}, {}
            in_notes = bool(line)
            match = _NOTE.fullmatch(line)
            key = _NOTES.get(match[1].lower()) if match else None
            if match and key is not None:
                values[key], lines[key] = match[2], number
            elif _MEANT.fullmatch(line):
                raise ExpectationError(
                    f"{file}:{number}: {line!r} has no effect: write '# Expires: 2026-11-28' or"
                    " '# Failure Rate: 3/10'"
                )
            continue
        in_notes = False
        name, expected, remark = _split(line, kind, file, number)
        if name in seen:
            raise ExpectationError(f"{file}:{number}: {name!r} has a line already, line {seen[name]}")
        seen[name] = number
        notes = _notes(values, lines, remark, file)
        pattern = _pattern(name, file, number) if kind is not Kind.FAILS else None
        yield Entry(kind, name, expected, notes, file, number, pattern)


def _split(line: str, kind: Kind, file: str, number: int) -> tuple[str, Expected | None, str]:
    """Return test, expectation and remark. A test may hold commas: the first known word ends it."""
    if kind is not Kind.FAILS:
        return line, None, ""
    fields = line.split(",")
    for index, word in enumerate(fields[1:], 1):
        if expected := EXPECTED_WORDS.get(word.strip()):
            return ",".join(fields[:index]), expected, ",".join(fields[index + 1 :]).strip()
    raise ExpectationError(
        f"{file}:{number}: {line!r} does not end in a comma and one of {', '.join(EXPECTED_WORDS)}"
    )


def _pattern(text: str, file: str, number: int) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ExpectationError(f"{file}:{number}: {text!r} is no regular expression: {error}") from error


def _notes(values: Mapping[int, str], lines: Mapping[int, int], remark: str, file: str) -> Notes:
    def date(key: int) -> datetime.date | None:
        if key not in values:
            return None
        try:
            return datetime.date.fromisoformat(values[key])
        except ValueError:
            raise ExpectationError(
                f"{file}:{lines[key]}: {values[key]!r} is not a date such as 2026-11-28"
            ) from None

    rate = _rate(values[_RATE], f"{file}:{lines[_RATE]}") if _RATE in values else None
    return Notes(remark or values.get(_REASON, ""), date(_DATE), rate, date(_EXPIRES))


def _rate(text: str, place: str) -> Rate:
    if match := _FRACTION.fullmatch(text):
        rate = Rate(int(match[1]), int(match[2]))
    elif match := _PERCENT.fullmatch(text):
        rate = Rate(int(match[1]), 100)
    else:
        raise ExpectationError(f"{place}: {text!r} is not a rate such as 3/10, or 30 for percent")
    if rate.runs == 0 or rate.failed > rate.runs:
        raise ExpectationError(f"{place}: {text!r} is not a rate from 0 to 1")
    return rate
