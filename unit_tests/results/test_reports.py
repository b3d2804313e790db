"""Reports of a verdict file, as markdown and as a page of HTML, read with parsers of their own."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from pytest_amdgpu.results.confirmation import Count
from pytest_amdgpu.results.html_report import html
from pytest_amdgpu.results.markdown_report import code, markdown
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.rows import fails_since
from pytest_amdgpu.results.verdict import Verdict, reason_of
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
        # What the list of failing tests says, too, is not said twice.
        "reasons": ("t.py::a[gpu-1]: crash", "gpu-0 is in quarantine"),
        "started": "2026-11-28T10:00:00+00:00",
        "environment": {"kernel": "6.12", "devices": {"gpu-0": {"firmware": {"mec": "0x1"}}}},
        "repeat": ("--amdgpu-seed=7",),
    }
    return VerdictFile(records=records, **{**known, **values})


def test_the_markdown_has_all_that_is_needed_to_act() -> None:
    assert markdown(file()).splitlines() == [
        "## amdgpu verdict: regression",
        "",
        "- `gpu-0 is in quarantine`",
        "",
        "| device | pass | crash | infrastructure | known failure | skipped |",
        "|---|---:|---:|---:|---:|---:|",
        "| `gpu-0` | 1 | 0 | 1 | 1 | 0 |",
        "| `gpu-1` | 0 | 1 | 0 | 0 | 0 |",
        "| `no device` | 0 | 0 | 0 | 0 | 1 |",
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


def test_in_the_markdown_failures_of_a_test_that_are_alike_stand_together() -> None:
    records = [
        Record(f"t.py::a[{gpu}]", "t.py::a", (gpu,), Outcome.FAIL, text=f"on {gpu}")
        for gpu in map(str, range(10))
    ]
    other = Record("t.py::a[x]", "t.py::a", ("x",), Outcome.FAIL, Trust.INFRA)
    lines = markdown(file((*records, other))).splitlines()
    assert lines[lines.index("### Failing tests (11)") + 2 :] == [
        "- `t.py::a`: fail on `0`, `1`, `2`, `3`, `4`, `5`, `6`, `7` and 2 more; the first:",
        "  - `on 0`",
        "  - to repeat: `pytest --amdgpu-seed=7 --amdgpu-device=0 't.py::a[0]'`",
        "- `t.py::a[x]`: fail, infra",
        "  - to repeat: `pytest --amdgpu-seed=7 --amdgpu-device=x 't.py::a[x]'`",
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


VOID = {"meta", "input", "br", "wbr"}


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
        self.ids: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        self.ids |= {value or "" for name, value in attrs if name == "id"}
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
    evil = Record(HOSTILE, HOSTILE, (HOSTILE,), Outcome.FAIL, text=HOSTILE, seconds=1, attachments=("a.txt",))
    several = Record("s", "s", (HOSTILE, "gpu-0"), Outcome.PASS)
    text = html(
        file((*RECORDS, evil, several), reasons=(HOSTILE,), environment={HOSTILE: HOSTILE}),
        [file((evil,), started=HOSTILE)],
        read=lambda path: HOSTILE,
    )
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert page.handlers == []
    assert {address for address in page.addresses if not address.startswith("#")} == {"a.txt"}
    # Every way inside the page leads somewhere.
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= page.ids
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    # It is there, as text.
    assert HOSTILE in page.texts["li"]
    assert page.texts["pre"].count(HOSTILE) == 2
    assert [HOSTILE, HOSTILE] in page.rows
    assert "width=device-width" in text


def test_the_page_shows_tests_by_device_with_their_past() -> None:
    earlier = [
        file((Record("t.py::a[gpu-0]", "t.py::a", ("gpu-0",), Outcome.FAIL),), started="2026-11-26"),
        file(RECORDS[:1], started="2026-11-27", verdict=Verdict.GOOD),
    ]
    several = Record("u.py::e", "u.py::e", ("gpu-0", "gpu-1"), Outcome.PASS)
    targets = {"targets": {"gpu-0": "gfx942"}, "products": {"gfx942": "MI300X"}}
    page = Page(html(file((*RECORDS, several), **targets), earlier))
    start = page.rows.index(["test", "earlier", "gpu-0", "gpu-1", "no device"])
    assert page.rows[start + 1 : start + 5] == [
        ["a", "F✓", "pass 2.0 s", "crash 1.0 s", ""],
        ["b", "··", "fail, infra", "", ""],
        ["c", "··", "fail, known", "", ""],
        ["d", "··", "", "", "skipped"],
    ]
    assert (page.rows[start + 5 : start + 7]) == [
        ["test", "earlier", "several devices"],
        ["e", "··", "pass gpu-0, gpu-1"],
    ]
    assert ["gpu-0", "1", "", "1", "1", "", "2.0 s", "gfx942 MI300X"] in page.rows
    assert ["2026-11-27 00:00", "1", "0", "", "good", "v.json"] in page.rows
    assert ["2026-11-28 10:00 UTC", "6", "2", "", "regression", "v.json"] in page.rows
    assert ["device gpu-0.firmware.mec", "0x1"] in page.rows
    assert ["2.000 s", "", "t.py::a[gpu-0]"] in page.rows
    assert "pytest --amdgpu-seed=7 --amdgpu-device=gpu-1 't.py::a[gpu-1]'" in page.texts["pre"]


@pytest.mark.parametrize(
    ("past", "text"),
    [
        ([], ""),
        ([None, Outcome.SKIPPED, Outcome.MISSING], ""),
        ([Outcome.FAIL, Outcome.PASS, None], "new: passed in the run of 2026-11-02 00:00"),
        ([Outcome.PASS, Outcome.CRASH], "fails since 2026-11-02 00:00, in 1 earlier run"),
        ([Outcome.PASS, Outcome.FAIL, None, Outcome.FAIL], "fails since 2026-11-02 00:00, in 2 earlier runs"),
        ([Outcome.FAIL], "fails since 2026-11-01 00:00, in 1 earlier run"),
    ],
)
def test_since_when_a_test_fails(past: list[Outcome | None], text: str) -> None:
    records = [Record("t", "t", (), outcome) if outcome else None for outcome in past]
    runs = [(f"2026-11-{day:02}", record) for day, record in enumerate(records, 1)]
    assert fails_since(runs) == text
    earlier = [file((record,) if record else (), started=started) for started, record in runs]
    page = Page(html(file((Record("t", "t", (), Outcome.FAIL),)), earlier))
    assert "".join(page.texts.get("small", [""])).startswith(text)


def test_failures_of_one_test_stand_together_with_what_they_left() -> None:
    records = tuple(
        Record(
            f"t.py::a[{gpu}]",
            "t.py::a",
            (gpu,),
            Outcome.FAIL,
            text="E",
            attachments=(f"{gpu}/traceback.txt",),
        )
        for gpu in ("gpu-0", "gpu-1")
    )
    text = html(file(records), read=lambda path: f"of {path}")
    page = Page(text)
    assert "Failing tests (1, with 2 failures)" in page.texts["h2"]
    assert "t.py · on 2 devices" in page.texts["small"]
    assert [one for one in page.texts["pre"] if one.startswith("of ")] == [
        "of gpu-0/traceback.txt",
        "of gpu-1/traceback.txt",
    ]
    assert text.count("<details open><summary>traceback<") == 1


def test_the_page_says_why_tests_were_not_run_or_may_fail() -> None:
    lacking = tuple(
        Record(f"t[{gpu}]", "t", (gpu,), Outcome.NOT_APPLICABLE, text=f"not applicable: {gpu}: is no gfx90a")
        for gpu in ("gpu-0", "gpu-1")
    )
    page = Page(html(file((*RECORDS, *lacking))))
    assert "Not run, or known to fail (4)" in page.texts["h2"]
    reasons = [text.strip() for text in page.texts["summary"]]
    start = reasons.index("is no gfx90a")
    assert reasons[start : start + 3] == ["is no gfx90a", "fails.txt:3", HOSTILE]
    assert page.texts["li"][-4:] == ["t[gpu-0]", "t[gpu-1]", "t.py::c[gpu-0]", "t.py::d"]
    assert 'id="reasons"' not in html(file(RECORDS[:2]))


def test_what_simply_passed_can_be_hidden() -> None:
    text = html(file((RECORDS[0], RECORDS[2])))
    assert '<tr class=passed><th scope="row">a</th>\n' in text
    assert '<tr><th scope="row">b</th>' in text
    # One device that failed is enough to be shown.
    assert '<tr><th scope="row">a</th>' in html(file())
    # A file in which all passed goes as a whole, and only failures make that the beginning.
    assert '<details class="file passed">' in html(file(RECORDS[:1]))
    assert 'id="only" checked' in html(file())
    assert 'id="only">' in html(file(RECORDS[:1]))


def test_the_size_of_both_reports_is_bounded() -> None:
    tests = [
        Record(
            f"hw_tests/sdma/test_copy.py::test_size[gpu-0-{number}]",
            f"hw_tests/sdma/test_copy.py::test_size[{number}]",
            ("gpu-0",),
            Outcome.FAIL,
            text="x" * 100_000,
        )
        for number in range(10_000)
    ]
    run = file(tuple(tests), reasons=tuple(reason_of(test) for test in tests))
    assert len(html(run, [run] * 9)) < 5_000_000
    assert len(markdown(run)) < 100_000


@pytest.mark.parametrize("room", [60, 200, 500])
def test_the_markdown_takes_no_more_than_its_room(room: int) -> None:
    text = markdown(file(), room)
    assert text.startswith("## amdgpu verdict: ") or room == 60
    assert len(text) <= room
    assert text.endswith("- and more, for which there is no room here\n")
    assert markdown(file()).startswith(text.removesuffix("- and more, for which there is no room here\n"))


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
        "half \ud800",
    )
    record = Record("t.py::a", "t.py::a", (), Outcome.FAIL, attachments=paths)
    page = Page(html(file((record,)), attachments="../results"))
    assert page.open == []
    assert not page.tags & {"script"}
    assert [address for address in page.addresses if not address.startswith("#")] == [
        "../results/v.json-attachments/t-1/log.txt",
        "/elsewhere/t-1/got.npy",
        "/evil.example/x",
        "../results/javascript%3Aalert%281%29",
        "../results/a/%27%22%3E%3Cscript%3Ex",
        "../results/half%20%3F",
    ]
    assert "log.txt" in page.texts["a"]
    assert "  - 6 attachments: `v.json-attachments/t-1`\n" in markdown(file((record,)))
