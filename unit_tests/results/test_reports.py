"""Reports of a verdict file, as markdown and as a page of HTML, read with parsers of their own."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from pytest_amdgpu.results.confirmation import Count
from pytest_amdgpu.results.html_report import html
from pytest_amdgpu.results.markdown_report import code, markdown
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import Verdict
from pytest_amdgpu.results.verdict_reader import VerdictFile

HOSTILE = "<script>alert(1)</script> & \"'`|*_ <img src=http://x>"
RECORDS = (
    Record("t.py::a[gpu-0]", "t.py::a", ("gpu-0",), Outcome.PASS, seconds=2.0),
    Record("t.py::a[gpu-1]", "t.py::a", ("gpu-1",), Outcome.CRASH, text="worker died", seconds=1.0),
    Record("t.py::b[gpu-0]", "t.py::b", ("gpu-0",), Outcome.FAIL, Trust.INFRA, text="first\nsecond"),
    Record("t.py::c[gpu-0]", "t.py::c", ("gpu-0",), Outcome.FAIL, expected="fails.txt:3"),
    Record("t.py::d", "t.py::d", (), Outcome.SKIPPED, text=HOSTILE),
)


def file(records: tuple[Record, ...] = RECORDS, **values: Any) -> VerdictFile:
    known: dict[str, Any] = {
        "path": "v.json",
        "verdict": Verdict.REGRESSION,
        "complete": True,
        "cut_off": False,
        "reasons": ("t.py::a[gpu-1]: crash",),
        "started": "2026-11-28T10:00:00+00:00",
        "environment": {"kernel": "6.12", "devices": {"gpu-0": {"firmware": {"mec": "0x1"}}}},
        "repeat": ("--amdgpu-seed=7",),
    }
    return VerdictFile(records=records, **{**known, **values})


def test_the_markdown_has_all_that_is_needed_to_act() -> None:
    assert markdown(file()).splitlines() == [
        "## amdgpu verdict: regression",
        "",
        "- `t.py::a[gpu-1]: crash`",
        "",
        "| device | pass | fail | crash | skipped |",
        "|---|---:|---:|---:|---:|",
        "| `gpu-0` | 1 | 2 | 0 | 0 |",
        "| `gpu-1` | 0 | 0 | 1 | 0 |",
        "| `no device` | 0 | 0 | 0 | 1 |",
        "",
        "### Failing tests (2)",
        "",
        "- `t.py::a[gpu-1]`: crash",
        "  - `worker died`",
        "  - to repeat: `pytest --amdgpu-seed=7 --amdgpu-device=gpu-1 't.py::a[gpu-1]'`",
        "- `t.py::b[gpu-0]`: fail, infra",
        "  - `first second`",
        "  - to repeat: `pytest --amdgpu-seed=7 --amdgpu-device=gpu-0 't.py::b[gpu-0]'`",
    ]


def test_both_reports_say_what_a_failure_is_blamed_on() -> None:
    counts = (Count("gpu-0", 1, 2), Count("gpu-1", 0, 1))
    flaky = Record("t", "t", ("gpu-0",), Outcome.FAIL, Trust.FLAKY, blame="flaky", confirmation=counts)
    text = "flaky: failed 1+0 of 2 on gpu-0, 0 of 1 on gpu-1"
    assert f"  - `{text}`\n" in markdown(file((flaky,)))
    assert f"<p>{text}</p>" in html(file((flaky,)))


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("a*b_c<d>", "`a*b_c<d>`"),
        ("a`b``c", "```a`b``c```"),
        ("`x`", "`` `x` ``"),
        ("two\n\n# lines", "`two # lines`"),
        ("", "` `"),
        ("y" * 501, f"`{'y' * 500}...`"),
    ],
)
def test_in_markdown_text_stays_text(text: str, span: str) -> None:
    # By the rule of CommonMark 6.1: a span ends at a run of as many backticks as it began with.
    assert code(text) == span


def test_a_long_list_is_cut_and_says_so() -> None:
    records = tuple(Record(f"t{i}", f"t{i}", (), Outcome.FAIL) for i in range(60))
    text = markdown(file(records, reasons=tuple(map(str, range(51)))))
    assert "- and 1 more\n" in text
    assert text.endswith("- and 10 more\n")


def test_a_run_without_an_end_says_so_in_both_reports() -> None:
    short = file(complete=False, cut_off=True, verdict=Verdict.INCOMPLETE)
    assert markdown(short).startswith(
        "## amdgpu verdict: incomplete\n\n**Not whole:** `v.json was cut off: 5 "
    )
    assert '<p class="warning">v.json was cut off: 5 results of it are whole</p>' in html(short)


VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """Reads a page: its tags are balanced, its text by tag, its tables by row, and all addresses in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.handlers: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    evil = Record(HOSTILE, HOSTILE, (HOSTILE,), Outcome.FAIL, text=HOSTILE, seconds=1)
    text = html(file((*RECORDS, evil), reasons=(HOSTILE,), environment={HOSTILE: HOSTILE}), [file((evil,))])
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert page.addresses == page.handlers == []
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    # It is there, as text.
    assert HOSTILE in page.texts["li"]
    assert HOSTILE in page.texts["pre"]
    assert [HOSTILE, HOSTILE] in page.rows
    assert "width=device-width" in text


def test_the_page_shows_tests_by_device_with_their_past() -> None:
    earlier = [
        file((Record("t.py::a[gpu-0]", "t.py::a", ("gpu-0",), Outcome.FAIL),), started="2026-11-26"),
        file(RECORDS[:1], started="2026-11-27", verdict=Verdict.GOOD),
    ]
    page = Page(html(file(), earlier))
    start = page.rows.index(["test", "earlier", "gpu-0", "gpu-1", "no device"])
    assert page.rows[start + 1 : start + 5] == [
        ["t.py::a", "fp", "pass 2.00 s", "crash 1.00 s", ""],
        ["t.py::b", "··", "fail, infra 0.00 s", "", ""],
        ["t.py::c", "··", "fail, known 0.00 s", "", ""],
        ["t.py::d", "··", "", "", "skipped 0.00 s"],
    ]
    assert ["2026-11-27", "good", "1", "0", "v.json"] in page.rows
    assert ["2026-11-28T10:00:00+00:00", "regression", "5", "2", "v.json"] in page.rows
    assert ["device gpu-0.firmware.mec", "0x1"] in page.rows
    assert ["2.000 s", "", "t.py::a[gpu-0]"] in page.rows
    assert "pytest --amdgpu-seed=7 --amdgpu-device=gpu-1 't.py::a[gpu-1]'" in page.texts["pre"]


def test_what_simply_passed_can_be_hidden() -> None:
    text = html(file((RECORDS[0], RECORDS[2])))
    assert "<tr class=passed><th>t.py::a</th>" in text
    assert "<tr><th>t.py::b</th>" in text
    # One device that failed is enough to be shown.
    assert "<tr><th>t.py::a</th>" in html(file())


def test_an_empty_run_has_a_page() -> None:
    assert Page(html(file((), environment={}))).open == []
    assert markdown(file((), reasons=())) == "## amdgpu verdict: regression\n\n"


def test_attachments_are_linked_and_lead_nowhere_else() -> None:
    paths = (
        "v.json-attachments/t-1/log.txt",
        "/elsewhere/t-1/got.npy",
        "//evil.example/x",
        "javascript:alert(1)",
        "a/'\"><script>x",
    )
    record = Record("t.py::a", "t.py::a", (), Outcome.FAIL, attachments=paths)
    page = Page(html(file((record,)), attachments="../results"))
    assert page.open == []
    assert not page.tags & {"script"}
    assert page.addresses == [
        "../results/v.json-attachments/t-1/log.txt",
        "/elsewhere/t-1/got.npy",
        "/evil.example/x",
        "../results/javascript%3Aalert%281%29",
        "../results/a/%27%22%3E%3Cscript%3Ex",
    ]
    assert "log.txt" in page.texts["a"]
    assert "  - 5 attachments: `v.json-attachments/t-1`\n" in markdown(file((record,)))
