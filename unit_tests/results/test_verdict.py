"""The verdict on a run, and its file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import EXIT_STATUS, Judgment, Verdict, judge_run
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict


def record(outcome: Outcome, trust: Trust = Trust.CLEAN, expected: str = "", text: str = "") -> Record:
    return Record("t", "t", ("gpu",), outcome, trust, 0.0, expected, text)


PASSED = record(Outcome.PASS)


@pytest.mark.parametrize(
    ("records", "must_run", "troubles", "verdict"),
    [
        ([PASSED], [], [], Verdict.GOOD),
        ([PASSED, record(Outcome.SKIPPED), record(Outcome.NOT_APPLICABLE)], [], [], Verdict.GOOD),
        ([PASSED, record(Outcome.FAIL)], [], [], Verdict.REGRESSION),
        ([record(Outcome.CRASH)], ["x"], ["y"], Verdict.REGRESSION),
        ([record(Outcome.TIMEOUT)], [], [], Verdict.REGRESSION),
        ([PASSED, record(Outcome.FAIL, expected="known")], [], [], Verdict.GOOD),
        ([PASSED, record(Outcome.FAIL, Trust.FLAKY, expected="known")], [], [], Verdict.GOOD),
        # A flake that no file knows is a finding.
        ([PASSED, record(Outcome.FAIL, Trust.FLAKY)], [], [], Verdict.REGRESSION),
        ([PASSED, record(Outcome.PASS, Trust.FLAKY)], [], [], Verdict.GOOD),
        ([PASSED, record(Outcome.FAIL, Trust.INFRA)], [], [], Verdict.INFRASTRUCTURE),
        ([PASSED, record(Outcome.MISSING)], [], [], Verdict.INFRASTRUCTURE),
        ([PASSED], [], ["interrupted"], Verdict.INFRASTRUCTURE),
        ([PASSED], ["nothing ran on gfx942"], [], Verdict.MUST_RUN),
        ([PASSED, record(Outcome.FAIL, Trust.INFRA)], ["x"], [], Verdict.INFRASTRUCTURE),
    ],
)
def test_a_run_is_judged(
    records: list[Record], must_run: list[str], troubles: list[str], verdict: Verdict
) -> None:
    judgment = judge_run(records, must_run, troubles)
    assert judgment.verdict is verdict
    assert (judgment.reasons == ()) == (verdict is Verdict.GOOD)
    assert {*must_run, *troubles} <= set(judgment.reasons)


def test_only_good_is_green() -> None:
    assert [verdict for verdict, status in EXIT_STATUS.items() if status == 0] == [Verdict.GOOD]
    assert set(EXIT_STATUS) == set(Verdict)


def test_reasons_begin_with_what_matters_most() -> None:
    records = [record(Outcome.FAIL, Trust.INFRA, text="lost"), record(Outcome.MISSING), record(Outcome.FAIL)]
    assert judge_run(records, ["d"], ["b"]).reasons == ("t: fail", "b", "t: fail: lost", "t: missing", "d")


def test_the_file_is_replaced_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "verdict.json"
    content = verdict_json(Judgment(Verdict.GOOD), [PASSED], {"seed": 1}, complete=True)
    write_verdict(path, content)
    text = path.read_text()
    assert json.loads(text)["tests"][0]["outcome"] == "pass"
    monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space")))
    with pytest.raises(OSError, match="no space"):
        write_verdict(path, {"verdict": "half of", "tests": []})
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    """A superuser could replace /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(OSError, match=f"Not a regular file: '{path}'"):
            write_verdict(path, {"tests": []})
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_file_that_cannot_be_written_is_named_as_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"No such file or directory: '{tmp_path}/no/verdict.json'"):
        write_verdict(tmp_path / "no" / "verdict.json", {"tests": []})
