"""A run as one page of HTML that needs no other file: verdict, failures, tests by device, trends, times."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from urllib.parse import quote

from pytest_amdgpu.results.comparison import State, flat_environment, state_of
from pytest_amdgpu.results.record import Record
from pytest_amdgpu.results.rows import counts, devices_of, failing, matrix, repeat_command, words, worst
from pytest_amdgpu.results.verdict import Verdict
from pytest_amdgpu.results.verdict_reader import VerdictFile

_SLOWEST = 20
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Of the page: whatever a result holds, nothing is run and nothing is fetched."""


def html(file: VerdictFile, earlier: Sequence[VerdictFile] = (), attachments: str = ".") -> str:
    """Return the page. `earlier` are results to show trends from, the oldest first.

    `attachments` is the way from the page to where the paths of attachments begin.
    """
    style = (files("pytest_amdgpu.results") / "report.css").read_text(encoding="utf-8")
    title = f"amdgpu verdict: {file.verdict.value}"
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body>",
        f'<h1 class="{"good" if file.verdict is Verdict.GOOD else "bad"}">{escape(title)}</h1>',
        *_summary(file),
        *_failures(file, attachments),
        *_matrix(file, earlier),
        *(_runs([*earlier, file]) if earlier else ()),
        *_durations(file.records),
        *_environment(file),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _summary(file: VerdictFile) -> Iterator[str]:
    if file.started:
        yield f"<p>Run of {escape(file.started)}</p>"
    if file.shortcoming:
        yield f'<p class="warning">{escape(file.shortcoming)}</p>'
    if file.reasons:
        yield f"<ul>{''.join(f'<li>{escape(reason)}</li>' for reason in file.reasons)}</ul>"
    outcomes, rows = counts(file.records)
    yield from _table(["device", *outcomes], ([device, *map(str, numbers)] for device, numbers in rows))


def _failures(file: VerdictFile, attachments: str) -> Iterator[str]:
    tests = failing(file.records)
    if tests:
        yield f"<h2>Failing tests ({len(tests)})</h2>"
    for record in tests:
        blamed = f"<p>{escape(record.blame_text)}</p>" if record.blame else ""
        yield (
            f"<details><summary>{_badge(record)} {escape(record.id)}</summary>"
            f"{blamed}<pre>{escape(record.text or 'no text')}</pre>"
            f"<p>To repeat:</p><pre>{escape(repeat_command(file, record))}</pre>"
            f"{''.join(_links(record, attachments))}</details>"
        )


def _links(record: Record, attachments: str) -> Iterator[str]:
    """Link the files that a test left; they are beside the page, whatever a result says."""
    if record.attachments:
        yield "<p>Attachments:</p><ul>"
        for path in record.attachments:
            # A path that says where it begins does not depend on the page's place.
            # Two slashes would name another host.
            whole = "/" + path.lstrip("/") if path.startswith("/") else f"./{attachments}/{path}"
            yield f'<li><a href="{escape(quote(posixpath.normpath(whole)), quote=True)}">'
            yield f"{escape(posixpath.basename(path))}</a></li>"
        yield "</ul>"


def _matrix(file: VerdictFile, earlier: Sequence[VerdictFile]) -> Iterator[str]:
    devices = devices_of(file.records)
    past = [worst(one.records) for one in earlier]
    yield f"<h2>Tests by device ({len(file.records)})</h2>"
    yield '<input type="checkbox" id="only"><label for="only"> only what did not simply pass</label>'
    trend = "<th>earlier</th>" if earlier else ""
    heads = "".join(f"<th>{escape(device)}</th>" for device in devices)
    yield f'<div class="wide"><table class="matrix"><tr><th>test</th>{trend}{heads}</tr>'
    for name, row in matrix(file.records).items():
        boxes = "".join(_box(records.get(name)) for records in past)
        cells = "".join(f"<td>{_result(row[device]) if device in row else ''}</td>" for device in devices)
        passed = all(state_of(record) is State.PASS for record in row.values())
        trend = f"<td>{boxes}</td>" if earlier else ""
        yield f"<tr{' class=passed' if passed else ''}><th>{escape(name)}</th>{trend}{cells}</tr>"
    yield "</table></div>"


def _runs(runs: Sequence[VerdictFile]) -> Iterator[str]:
    yield "<h2>Runs</h2>"
    yield from _table(
        ["started", "verdict", "tests", "failing", "file"],
        (
            [
                run.started,
                run.verdict.value,
                str(len(run.records)),
                str(len(failing(run.records))),
                run.shortcoming or run.path,
            ]
            for run in runs
        ),
    )


def _durations(records: Sequence[Record]) -> Iterator[str]:
    slowest = sorted(records, key=lambda record: record.seconds, reverse=True)[:_SLOWEST]
    if not slowest or not slowest[0].seconds:
        return
    yield f"<h2>Durations</h2><p>{sum(record.seconds for record in records):.1f} s in tests; the slowest:</p>"
    yield '<div class="wide"><table>'
    for record in slowest:
        share = 100 * record.seconds / slowest[0].seconds
        yield (
            f"<tr><td>{record.seconds:.3f} s</td>"
            f'<td><meter max="100" value="{share:.0f}"></meter></td><th>{escape(record.id)}</th></tr>'
        )
    yield "</table></div>"


def _environment(file: VerdictFile) -> Iterator[str]:
    yield "<h2>Environment</h2><details><summary>what the results may depend on</summary>"
    yield from _table(["key", "value"], map(list, flat_environment(file)))
    yield "</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f'<div class="wide"><table><tr>{"".join(f"<th>{escape(cell)}</th>" for cell in head)}</tr>'
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        yield f"<tr><th>{escape(first)}</th>{cells}</tr>"
    yield "</table></div>"


def _class(record: Record) -> str:
    return state_of(record).name.lower().replace("_", "-")


def _badge(record: Record) -> str:
    return f'<span class="{_class(record)}">{escape(words(record))}</span>'


def _result(record: Record) -> str:
    return f"{_badge(record)} <small>{record.seconds:.2f} s</small>"


def _box(record: Record | None) -> str:
    """Return one letter of a test's past; nothing but colour would not do for all eyes."""
    if record is None:
        return '<span class="box" title="no result">&middot;</span>'
    text = words(record)
    return f'<span class="box {_class(record)}" title="{escape(text)}">{escape(text[0])}</span>'
