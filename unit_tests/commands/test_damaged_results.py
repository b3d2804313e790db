"""Every command that reads result files, on files that are cut off or damaged anywhere."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_amdgpu.commands.main import main
from pytest_amdgpu.results.confirmation import Count
from pytest_amdgpu.results.record import Outcome, Record
from pytest_amdgpu.results.verdict import Judgment, Verdict
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict

GPU = "sw-gfx942-0"
RECORDS = [
    Record(f"t.py::a[{GPU}]", "t.py::a", (GPU,), Outcome.PASS, seconds=1.5),
    Record(
        f"t.py::ä[{GPU}]",
        "t.py::ä",
        (GPU,),
        Outcome.FAIL,
        text="wrong",
        blame="flaky",
        confirmation=(Count(GPU, 1, 2),),
        attachments=("v.json-attachments/a/log.txt",),
    ),
    Record("t.py::c", "t.py::c", (), Outcome.SKIPPED, text="why"),
]
FACTS = {
    "started": "2026-11-28T10:00:00+00:00",
    "rootdir": "/tests",
    "directory": "/tests/below",
    "environment": {"kernel": "6.12", "devices": {GPU: {"firmware": {"mec": "1"}, "links": [{"to": 0}]}}},
    "devices": [{"id": GPU, "target": "gfx942", "name": "AMD Instinct MI300X"}],
    "repeat": ["--amdgpu-seed=1"],
    "seed": 1,
}
CONTENT = verdict_json(Judgment(Verdict.REGRESSION, ("bad",)), RECORDS, FACTS, complete=True)
STATUS = {"report": ([0], 1), "compare": ([0, 1], 2), "expectations": ([0], 1)}
"""By the first word of a command: statuses of a result, and of a file that cannot be used."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("results")
    write_verdict(place / "good.json", CONTENT)
    (place / "expectations").mkdir()
    return place


def every_command(place: Path, data: bytes) -> None:
    """Run all commands on a file; each does what it can, or says what is wrong with the file."""
    good, bad = str(place / "good.json"), str(place / "bad.json")
    Path(bad).write_bytes(data)
    page, summary = str(place / "page.html"), str(place / "summary.md")
    update = ["expectations", "update", str(place / "expectations"), "--dry-run", "--mixed", "--results"]
    for arguments in (
        ["report", bad, good, "--html", page, "--markdown", summary],
        ["report", good, bad, "--html", page],
        ["compare", bad, good],
        ["compare", good, bad],
        [*update, good, bad],
    ):
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = main(arguments)
        results, unusable = STATUS[arguments[0]]
        assert status in (*results, unusable)
        assert status in results or bad in errors.getvalue()


TEXT = json.dumps(CONTENT, ensure_ascii=False).encode()


@settings(deadline=None, max_examples=40)
@given(end=st.integers(0, len(TEXT)), zeros=st.integers(0, 3))
def test_a_file_that_is_cut_off(place: Path, end: int, zeros: int) -> None:
    every_command(place, TEXT[:end] + bytes(zeros))


@settings(deadline=None, max_examples=40)
@given(at=st.integers(0, len(TEXT) - 1), byte=st.integers(0, 255))
def test_a_file_with_a_wrong_byte(place: Path, at: int, byte: int) -> None:
    every_command(place, TEXT[:at] + bytes([byte]) + TEXT[at + 1 :])


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values within a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inside for found in paths(one, (*path, key)))]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None, max_examples=60)
@given(path=st.sampled_from(paths(CONTENT)[1:]), value=ANYTHING | st.sampled_from(["\ud800", "\0", 1e400]))
def test_a_file_with_a_wrong_value(place: Path, path: tuple[Any, ...], value: Any) -> None:
    content: Any = json.loads(json.dumps(CONTENT))
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    every_command(place, json.dumps(content).encode())
