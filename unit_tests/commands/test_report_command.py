"""The command `report`: where its reports go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_amdgpu.commands.main import main
from pytest_amdgpu.results.record import Outcome, Record
from pytest_amdgpu.results.verdict import Judgment, Verdict
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict

HEAD = "## amdgpu verdict: good\n"


@pytest.fixture
def verdict(tmp_path: Path) -> str:
    return write(tmp_path / "v.json", "2026-11-28", Outcome.PASS)


def write(path: Path, started: str, outcome: Outcome) -> str:
    facts = {"started": started, "environment": {}}
    records = [Record("t", "t", (), outcome)]
    write_verdict(path, verdict_json(Judgment(Verdict.GOOD), records, facts, complete=True))
    return str(path)


@pytest.mark.parametrize("options", [[], ["--markdown", "-"]])
def test_markdown_is_printed(options: list[str], verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", verdict, *options]) == 0
    assert capsys.readouterr().out.startswith(HEAD)


def test_files_are_written_and_nothing_is_printed(
    verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, text = tmp_path / "page.html", tmp_path / "text.md"
    assert main(["report", verdict, "--html", str(page), "--markdown", str(text)]) == 0
    assert text.read_text().startswith(HEAD)
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert capsys.readouterr().out == ""


def test_earlier_results_are_shown_by_their_age(verdict: str, tmp_path: Path) -> None:
    newer = write(tmp_path / "newer.json", "2026-11-27", Outcome.CRASH)
    older = write(tmp_path / "older.json", "2026-11-26", Outcome.FAIL)
    page = tmp_path / "page.html"
    assert main(["report", verdict, newer, older, "--html", str(page)]) == 0
    text = page.read_text()
    assert '<i class="fail">F</i><i class="crash">C</i>' in text


def test_auto_appends_to_the_summary_of_the_step(
    verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    assert main(["report", verdict, "--markdown", "auto"]) == 0
    assert step.read_text().startswith(f"before\n{HEAD}")
    step.write_text("x" * ((1 << 20) - 80))
    assert main(["report", verdict, "--markdown", "auto"]) == 0
    assert step.stat().st_size <= 1 << 20
    assert step.read_text().endswith(f"x{HEAD}\n\n- and more, for which there is no room here\n")


def test_auto_needs_a_step(
    verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert main(["report", verdict, "--markdown", "auto"]) == 1
    assert capsys.readouterr().err == (
        "report: --markdown auto: $GITHUB_STEP_SUMMARY is not set; name a file, or - to print it\n"
    )


def test_a_file_that_is_no_verdict_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    assert main(["report", str(bad)]) == 1
    assert capsys.readouterr().err.startswith(f"report: {bad}: has no 'schema'")


@pytest.mark.parametrize("option", ["--html", "--markdown"])
def test_a_report_that_cannot_be_written_is_named(
    option: str, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The disk is full only when the file is closed.
    for place, why in (
        (f"{tmp_path}/no/file", "No such file or directory"),
        ("/dev/full", "No space left on device"),
    ):
        assert main(["report", verdict, option, place]) == 1
        assert capsys.readouterr().err == f"report: {place}: {why}\n"


def test_output_that_nobody_takes_is_no_error_of_python(verdict: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "pytest_amdgpu", "report", verdict]
    results = []
    with open("/dev/full", "w") as full, open(write, "w") as nobody:
        for target in (nobody, full):
            run = subprocess.run(command, stdout=target, stderr=subprocess.PIPE, text=True, check=False)
            results.append((run.returncode, run.stderr))
    assert results == [(1, ""), (1, "report: [Errno 28] No space left on device\n")]
