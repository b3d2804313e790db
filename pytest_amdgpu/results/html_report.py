"""A run as one page of HTML that needs no other file: verdict, failures, tests by device, trends, times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from pytest_amdgpu.results.comparison import flat_environment
from pytest_amdgpu.results.html_tests import Tests, by_device, css_class, cut, failures, tally
from pytest_amdgpu.results.record import Record
from pytest_amdgpu.results.rows import (
    LABELS,
    by_reason,
    column_of,
    columns_of,
    counts,
    failing,
    label,
    other_reasons,
    when,
)
from pytest_amdgpu.results.verdict import Verdict
from pytest_amdgpu.results.verdict_reader import VerdictFile

_SLOWEST = 20
_REASONS = 5
"""Reasons that are shown at once."""
_ITEMS = 100
"""Further reasons that are shown, and tests that were not run, or are known to fail, for one reason."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Of the page: whatever a result holds, nothing is run and nothing is fetched."""


def html(
    file: VerdictFile,
    earlier: Sequence[VerdictFile] = (),
    attachments: str = ".",
    read: Callable[[str], str | None] = lambda path: None,
) -> str:
    """Return the page. `earlier` are results to show trends from, the oldest first.

    `attachments` is the way from the page to where the paths of attachments begin, and `read` returns the
    text of those that the page is to hold.
    """
    style = (files("pytest_amdgpu.results") / "report.css").read_text(encoding="utf-8")
    title = f"amdgpu verdict: {file.verdict.value}"
    tests = Tests(file, earlier)
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>\n{style}</style></head><body>",
        *_head(file, title),
        "<main>",
        *_summary(tests),
        *failures(tests, attachments, read),
        *by_device(tests),
        *_reasons(file.records),
        *(_runs([*earlier, file]) if earlier else ()),
        *_durations(file.records),
        *_environment(file),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _head(file: VerdictFile, title: str) -> Iterator[str]:
    good = file.verdict is Verdict.GOOD
    facts = [when(file.started)] if file.started else []
    facts.append(f"{len(file.records)} tests, {len(failing(file.records))} failing")
    if seed := file.run.get("seed"):
        facts.append(f"seed {seed}")
    yield f'<header class="{"good" if good else "bad"}"><h1>{escape(title)}</h1>'
    yield f"<p>{escape(', '.join(facts))}</p></header>"


def _summary(tests: Tests) -> Iterator[str]:
    file = tests.file
    if file.shortcoming:
        yield f'<p class="warning">{escape(file.shortcoming)}</p>'
    reasons = other_reasons(file)
    if reasons:
        yield f'<ul class="reasons">{_items(reasons[:_REASONS])}</ul>'
    if more := reasons[_REASONS:]:
        yield f"<details><summary>and {len(more)} more reasons</summary><ul>{_items(more)}</ul></details>"
    yield f"<p>{tally(file.records, 'span')}</p>"
    failing_tests = ['<a href="#failing">failing tests</a>'] if tests.groups else []
    runs = ['<a href="#runs">runs</a>'] if tests.earlier else []
    reasons = ['<a href="#reasons">not run</a>'] if by_reason(file.records) else []
    others = (f'<a href="#{name}">{text}</a>' for name, text in _PARTS)
    links = " ".join([*failing_tests, *runs, *reasons, *others])
    yield f'<nav aria-label="parts of this page">{links}</nav>'
    yield from _devices(file)


_PARTS = (("tests", "tests by device"), ("durations", "durations"), ("environment", "environment"))


def _devices(file: VerdictFile) -> Iterator[str]:
    labels, rows = counts(file.records)
    seconds = dict.fromkeys(columns_of(file.records), 0.0)
    for record in file.records:
        seconds[column_of(record)] += record.seconds
    if not rows:
        return
    yield "<h2>Devices</h2>"
    yield from _table(
        ["device", *labels, "time", "GPU"],
        (
            [
                device,
                *(str(number or "") for number in numbers),
                f"{seconds[device]:.1f} s",
                _gpu(file, device),
            ]
            for device, numbers in rows
        ),
    )


def _gpu(file: VerdictFile, device: str) -> str:
    target = file.targets.get(device, "")
    return f"{target} {file.products.get(target, '')}".strip()


def _reasons(records: Sequence[Record]) -> Iterator[str]:
    found = by_reason(records)
    if found:
        yield f'<h2 id="reasons">Not run, or known to fail ({sum(map(len, found.values()))})</h2>'
    for reason, tests in found.items():
        yield f'<details class="reason"><summary>{tally(tests, "small")} {escape(cut(reason))}</summary>'
        yield f"<ul>{_items([record.id for record in tests])}</ul></details>"


def _items(texts: Sequence[str]) -> str:
    """Return texts as items of a list, of many the first ones."""
    items = [f"<li>{escape(cut(text))}</li>" for text in texts[:_ITEMS]]
    return "".join([*items, *([f"<li>and {len(texts) - _ITEMS} more</li>"] if len(texts) > _ITEMS else [])])


def _runs(runs: Sequence[VerdictFile]) -> Iterator[str]:
    """Yield the runs with their results as bars, the oldest first."""
    yield '<h2 id="runs">Runs</h2><div class="scroll" tabindex="0" role="region" aria-label="runs"><table>'
    heads = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("started", "tests", "failing", "results", "verdict", "file")
    )
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for run in runs:
        yield f'<tr><th scope="row">{escape(when(run.started))}</th><td>{len(run.records)}</td>'
        yield f"<td>{len(failing(run.records))}</td><td>{_bar(run.records)}</td>"
        yield f"<td>{escape(run.verdict.value)}</td><td>{escape(run.shortcoming or run.path)}</td></tr>"
    yield "</tbody></table></div>"


def _bar(records: Sequence[Record]) -> str:
    """Return the shares of results as a bar; the numbers beside it say the same."""
    numbers = Counter(map(css_class, sorted(records, key=lambda record: LABELS.index(label(record)))))
    parts = "".join(f'<i class="{name}" style="flex:{number}"></i>' for name, number in numbers.items())
    return f'<span class="bar" aria-hidden="true">{parts}</span>'


def _durations(records: Sequence[Record]) -> Iterator[str]:
    yield '<h2 id="durations">Durations</h2>'
    slowest = sorted(records, key=lambda record: record.seconds, reverse=True)[:_SLOWEST]
    if not slowest or not slowest[0].seconds:
        yield "<p>No test took any time.</p>"
        return
    yield f"<p>{sum(record.seconds for record in records):.1f} s in tests; the slowest:</p>"
    yield "<table><tbody>"
    for record in slowest:
        share = 100 * record.seconds / slowest[0].seconds
        bar = f'<meter aria-hidden="true" max="100" value="{share:.0f}"></meter>'
        yield f"<tr><td>{record.seconds:.3f} s</td><td>{bar}</td>"
        yield f'<th scope="row">{escape(record.id)}</th></tr>'
    yield "</tbody></table>"


def _environment(file: VerdictFile) -> Iterator[str]:
    yield '<h2 id="environment">Environment</h2><details><summary>what the results may depend on</summary>'
    yield from _table(["key", "value"], map(list, flat_environment(file)))
    yield "</details>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(head[0])}">'
    yield f"<table><thead><tr>{heads}</tr></thead><tbody>"
    for first, *others in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        yield f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
    yield "</tbody></table></div>"
