"""The tests of a run for the page of HTML: those that fail with what explains it, and all by device."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from urllib.parse import quote

from pytest_amdgpu.results.comparison import State, state_of
from pytest_amdgpu.results.record import Record
from pytest_amdgpu.results.rows import (
    LABELS,
    SEVERAL_DEVICES,
    Row,
    columns_of,
    failing,
    fails_since,
    label,
    matrix,
    repeat_command,
    words,
    worst,
)
from pytest_amdgpu.results.verdict_reader import VerdictFile

_FAILURES = 300
"""Failing tests that are shown with what explains them; all of them stand in the matrix."""
_LETTERS = 2000
"""Of a text."""
_PAST = 8
"""Earlier runs that the matrix shows."""
_WORTH_TELLING = 0.1
"""Seconds from which the matrix tells how long a test took."""
_MARKS = {
    State.NOT_RUN: "\N{EN DASH}",
    State.PASS: "\N{CHECK MARK}",
    State.FLAKY: "~",
    State.KNOWN: "K",
    State.INFRA: "I",
    State.MISSING: "M",
    State.FAIL: "F",
    State.TIMEOUT: "T",
    State.CRASH: "C",
}
"""One letter for each state: nothing but colour would not do for all eyes."""
_NO_RESULT = "\N{MIDDLE DOT}"


class Tests:
    """What both parts need of a run: which test has which place on the page, and its past."""

    def __init__(self, file: VerdictFile, earlier: Sequence[VerdictFile]) -> None:
        self.file = file
        self.earlier = earlier
        self._past = [(one.started, worst(one.records)) for one in earlier]
        self.groups: dict[str, list[Record]] = {}
        """By name the failing tests, those that are the worst first."""
        for record in failing(file.records):
            self.groups.setdefault(record.name, []).append(record)
        self.places = {name: f"f{number}" for number, name in enumerate([*self.groups][:_FAILURES])}

    def past(self, name: str) -> list[tuple[str, Record | None]]:
        """Return for each earlier run when it began, and what became of a test on its worst device."""
        return [(started, records.get(name)) for started, records in self._past]


def css_class(record: Record) -> str:
    """Return the name by which a result gets its colours."""
    return state_of(record).name.lower().replace("_", "-")


def tally(records: Sequence[Record], tag: str) -> str:
    """Return how many results there are of each kind, each in an element of its own."""
    numbers = Counter(map(label, records))
    classes = {label(record): css_class(record) for record in records}
    return "".join(
        f'<{tag} class="tally {classes[one]}">{numbers[one]} {escape(one)}</{tag}>'
        for one in LABELS
        if one in numbers
    )


def failures(tests: Tests, attachments: str, read: Callable[[str], str | None]) -> Iterator[str]:
    """Yield the failing tests, those of one name together."""
    if not tests.groups:
        return
    results = sum(map(len, tests.groups.values()))
    number = f"{len(tests.groups)}" + f", with {results} failures" * (results != len(tests.groups))
    yield f'<h2 id="failing">Failing tests ({number})</h2>'
    for name, place in tests.places.items():
        records = tests.groups[name]
        path, colons, rest = name.partition("::")
        about = [path if colons else "", _where(records), fails_since(tests.past(name))]
        yield f'<details class="failure" id="{place}">'
        yield f"<summary>{_badge(records[0])} <b>{escape(rest or path)}</b>"
        yield f"<small>{f' {_NO_RESULT} '.join(escape(text) for text in about if text)}</small>"
        yield f'<span class="first">{escape(cut(records[0].text, 200))}</span></summary>'
        for index, record in enumerate(records):
            yield from _failure(tests.file, record, attachments, read, opened=index == 0)
        yield "</details>"
    if len(tests.groups) > len(tests.places):
        yield f"<p>and {len(tests.groups) - len(tests.places)} more, see the tests by device</p>"


def _where(records: Sequence[Record]) -> str:
    if len(records) == 1:
        return ", ".join(records[0].devices)
    alone = all(len(record.devices) == 1 for record in records)
    return f"on {len(records)} devices" if alone else f"{len(records)} failures"


def _failure(
    file: VerdictFile, record: Record, attachments: str, read: Callable[[str], str | None], *, opened: bool
) -> Iterator[str]:
    """Yield what explains one failure; `opened` shows its traceback at once."""
    where = ", ".join(record.devices) or "no device"
    yield f"<section><h3>{_badge(record)} {escape(where)}</h3>"
    if record.blame:
        yield f"<p>{escape(record.blame_text)}</p>"
    yield f"<pre>{escape(cut(record.text) or 'no text')}</pre>"
    yield f"<p>To repeat:</p><pre>{escape(repeat_command(file, record))}</pre>"
    for path in record.attachments:
        text = read(path)
        if text is not None:
            name = posixpath.basename(path).removesuffix(".txt")
            attribute = " open" if opened and name.startswith("traceback") else ""
            yield f"<details{attribute}><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
    if record.attachments:
        yield "<p>Attachments:</p><ul>"
        for path in record.attachments:
            # A path that says where it begins does not depend on the page's place.
            # Two slashes would name another host.
            whole = "/" + path.lstrip("/") if path.startswith("/") else f"./{attachments}/{path}"
            # Half of a letter has no place in an address, nor in any name of a file.
            address = escape(quote(posixpath.normpath(whole), errors="replace"), quote=True)
            yield f'<li><a href="{address}">{escape(posixpath.basename(path))}</a></li>'
        yield "</ul>"
    yield "</section>"


def by_device(tests: Tests) -> Iterator[str]:
    """Yield all tests with their results on each device, file by file; those with failures stand open."""
    records = tests.file.records
    shown = " checked" if tests.groups else ""
    yield f'<h2 id="tests">Tests by device ({len(records)})</h2>'
    yield f'<input type="checkbox" id="only"{shown}><label for="only"> only what did not simply pass</label>'
    if tests.earlier:
        marks = ", ".join(f"{mark} {state.name.lower().replace('_', ' ')}" for state, mark in _MARKS.items())
        runs = f"the last {_PAST} earlier runs" if len(tests.earlier) > _PAST else "earlier runs"
        yield f'<p class="legend">Column <i>earlier</i>: {runs}, the oldest first; '
        yield f"{marks}, {_NO_RESULT} no result</p>"
    for path, rows in matrix(records).items():
        own = [record for row in rows.values() for found in row.values() for record in found]
        passed = all(state_of(record) is State.PASS for record in own)
        opened = any(record.outcome.bad and not record.expected for record in own)
        yield f'<details class="file{" passed" * passed}"{" open" * opened}>'
        yield f"<summary>{escape(path)} {tally(own, 'small')}</summary>"
        yield f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(path)} by device">'
        yield from _table(tests, path, rows, columns_of(own))
        yield "</div></details>"


def _table(tests: Tests, path: str, rows: Mapping[str, Row], columns: Sequence[str]) -> Iterator[str]:
    trend = '<th scope="col">earlier</th>' if tests.earlier else ""
    heads = "".join(f'<th scope="col">{_breakable(column)}</th>' for column in columns)
    yield f'<table class="matrix"><thead><tr><th scope="col">test</th>{trend}{heads}</tr></thead><tbody>'
    for name, row in rows.items():
        whole = next(iter(next(iter(row.values())))).name
        cells = "".join(_cell(row.get(column, ()), column, tests.places.get(whole)) for column in columns)
        passed = all(state_of(record) is State.PASS for found in row.values() for record in found)
        trend = f'<td class="past">{_trend(tests.past(whole))}</td>' if tests.earlier else ""
        yield f'<tr{" class=passed" if passed else ""}><th scope="row">{_breakable(name)}</th>'
        yield f"{trend}{cells}</tr>"
    yield "</tbody></table>"


def _cell(records: Sequence[Record], column: str, place: str | None) -> str:
    """Return the results of a test in a column: one, or of tests with several devices one for each group."""
    if not records:
        return "<td></td>"
    parts = []
    for record in records:
        text = escape(words(record))
        if place is not None and record.outcome.bad and not record.expected:
            text = f'<a href="#{place}">{text}</a>'
        if record.seconds >= _WORTH_TELLING:
            text += f" <small>{record.seconds:.1f} s</small>"
        if column == SEVERAL_DEVICES:
            text += f" <small>{escape(', '.join(record.devices))}</small>"
        parts.append(text)
    if len(records) == 1:
        return f'<td class="{css_class(records[0])}">{parts[0]}</td>'
    lines = zip(records, parts, strict=True)
    return f"<td>{''.join(f'<p class={css_class(record)}>{part}</p>' for record, part in lines)}</td>"


def _trend(past: Sequence[tuple[str, Record | None]]) -> str:
    return "".join(
        f'<i class="{css_class(record)}">{_MARKS[state_of(record)]}</i>' if record else f"<i>{_NO_RESULT}</i>"
        for _, record in past[-_PAST:]
    )


def _badge(record: Record) -> str:
    return f'<span class="badge {css_class(record)}">{escape(words(record))}</span>'


def _breakable(text: str) -> str:
    """Return a name that may be broken where its parts end."""
    return escape(text).replace("_", "_<wbr>").replace(":", ":<wbr>")


def cut(text: str, letters: int = _LETTERS) -> str:
    """Return a text, or its beginning."""
    return text if len(text) <= letters else f"{text[:letters]}..."
