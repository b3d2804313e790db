"""The command `compare`: what it prints and how it exits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_amdgpu.commands.main import main
from pytest_amdgpu.results.record import Outcome, Record
from pytest_amdgpu.results.verdict import Judgment, Verdict
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict


def write(path: Path, outcome: Outcome, kernel: str = "6.12", seconds: float = 0.1) -> str:
    facts = {
        "environment": {"kernel": kernel, "devices": {}},
        "devices": [{"id": "gfx942-0", "target": "gfx942"}],
    }
    records = [
        Record("t[gfx942-0]", "t", ("gfx942-0",), outcome, seconds=seconds, text="assert 1 == 2"),
        Record("u", "u", (), Outcome.PASS, seconds=seconds),
    ]
    verdict = Verdict.GOOD if outcome is Outcome.PASS else Verdict.REGRESSION
    write_verdict(path, verdict_json(Judgment(verdict), records, facts, complete=True))
    return str(path)


def test_worse_results_are_named_with_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = write(tmp_path / "a.json", Outcome.PASS)
    after = write(tmp_path / "b.json", Outcome.FAIL, "6.13", 1.0)
    assert main(["compare", before, after]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "verdict: good -> regression",
        "new failures (1):",
        "    t on gfx942: pass -> fail, assert 1 == 2",
        "other durations (1):",
        "    u: 0.10 s -> 1.00 s",
        "other environment (1):",
        "    kernel: 6.12 -> 6.13",
    ]


def test_the_same_and_better_results_are_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = (write(tmp_path / name, Outcome.PASS) for name in ("a.json", "b.json"))
    assert main(["compare", before, after]) == 0
    assert capsys.readouterr().out == "the results are the same\n"
    worse = write(tmp_path / "c.json", Outcome.FAIL)
    assert main(["compare", worse, after]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "verdict: regression -> good",
        "fixed (1):",
        "    t on gfx942: fail, assert 1 == 2 -> pass",
    ]


def test_a_file_that_was_cut_off_is_compared_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = write(tmp_path / "a.json", Outcome.PASS), tmp_path / "b.json"
    write(after, Outcome.FAIL)
    after.write_bytes(after.read_bytes()[:-30])
    assert main(["compare", before, str(after)]) == 1
    assert capsys.readouterr().out.splitlines()[:3] == [
        f"warning: {after} was cut off: 1 results of it are whole",
        "verdict: good -> regression",
        "new failures (1):",
    ]


def test_a_file_that_cannot_be_used_is_not_a_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = write(tmp_path / "a.json", Outcome.PASS), tmp_path / "b.json"
    assert main(["compare", good, str(bad)]) == 2
    assert capsys.readouterr().err == f"compare: {bad}: No such file or directory\n"
    bad.write_text("<html>")
    assert main(["compare", str(bad), good]) == 2
    assert capsys.readouterr().err.startswith(f"compare: {bad}: is not JSON: ")
    with pytest.raises(SystemExit, match="2"):
        main(["compare", good])
