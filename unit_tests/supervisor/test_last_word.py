"""The verdict of a run that ended without a word."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from pytest_amdgpu.results.confirmation import Count
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import Judgment, Verdict
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict
from pytest_amdgpu.results.verdict_reader import read_verdict
from pytest_amdgpu.supervisor.last_word import Results

SCHEMA = json.loads((files("pytest_amdgpu.results") / "verdict_schema.json").read_text())
FACTS = {
    "started": "2026-11-28T20:00:00+00:00",
    "arguments": [],
    "directory": "/",
    "environment": {"host": "h", "kernel": "6", "python": "3", "packages": {}},
}
TROUBLE = "pytest's process 7 died before the end of the run"
IDS = ["t.py::test_a[sw-0]", "t.py::test_b[sw-0]", "t.py::test_c"]


@pytest.fixture
def results() -> Results:
    results = Results()
    results.devices = ("sw-0",)
    results.expect(IDS)
    return results


def test_what_ran_is_kept_and_what_did_not_is_missing(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    meanwhile = Judgment(Verdict.INCOMPLETE, ("the run has not come to its end",))
    write_verdict(path, verdict_json(meanwhile, [], {**FACTS, "seed": 3}, complete=False))
    record = Record(IDS[0], "t.py::test_a", ("sw-0",), Outcome.PASS, seconds=0.5)
    results.take(json.loads(json.dumps(record.to_json())))
    judgment = results.judge([TROUBLE])
    results.write(path, {}, judgment)
    jsonschema.validate(json.loads(path.read_text()), SCHEMA)
    content = read_verdict(path)
    assert content.verdict is Verdict.INFRASTRUCTURE
    assert content.complete
    assert content.reasons == (TROUBLE, f"{IDS[1]}: missing", f"{IDS[2]}: missing")
    assert content.run["seed"] == 3
    assert content.records == (
        record,
        Record(IDS[1], "t.py::test_b", ("sw-0",), Outcome.MISSING),
        Record(IDS[2], "t.py::test_c", (), Outcome.MISSING),
    )


def test_what_a_failure_was_blamed_on_is_kept(results: Results) -> None:
    counts = (Count("sw-0", 2, 2), Count("sw-1", 0, 2))
    record = Record(
        IDS[0], "t.py::test_a", ("sw-0",), Outcome.FAIL, blame="device suspect", confirmation=counts
    )
    results.take(json.loads(json.dumps(record.to_json())))
    assert results.judge([]).reasons[0] == f"{IDS[0]}: fail, {record.blame_text}"


@pytest.mark.parametrize("left", [None, "", '{"schema": 1, "sta', "[]"])
def test_where_the_file_is_lost_what_is_known_is_written(
    left: str | None, results: Results, tmp_path: Path
) -> None:
    path = tmp_path / "verdict.json"
    if left is not None:
        path.write_text(left)
    results.write(path, FACTS, results.judge([TROUBLE]))
    content = json.loads(path.read_text())
    jsonschema.validate(content, SCHEMA)
    assert content["started"] == FACTS["started"]


def test_a_test_that_timed_out_speaks_against_what_was_tested(results: Results) -> None:
    results.was_running(IDS[0], Outcome.TIMEOUT, Trust.CLEAN, "Timeout: call of it did not end")
    judgment = results.judge([TROUBLE])
    assert judgment.verdict is Verdict.REGRESSION
    assert judgment.reasons[0] == f"{IDS[0]}: timeout"


def test_a_test_whose_process_died_for_no_known_reason_does_not(results: Results) -> None:
    results.was_running(IDS[0], Outcome.CRASH, Trust.INFRA, "pytest's process died in call of it")
    results.was_running("t.py::test_unknown", Outcome.CRASH, Trust.INFRA, "died")
    judgment = results.judge([TROUBLE])
    assert judgment.verdict is Verdict.INFRASTRUCTURE
    assert f"{IDS[0]}: crash: pytest's process died in call of it" in judgment.reasons


def test_what_was_told_of_a_test_before_its_process_died_stands(results: Results) -> None:
    failed = Record(IDS[0], "t.py::test_a", ("sw-0",), Outcome.FAIL, text="assert 1 == 2")
    results.take(failed.to_json())
    results.was_running(IDS[0], Outcome.CRASH, Trust.INFRA, "pytest's process died in tear-down of it")
    assert results.judge([]).verdict is Verdict.REGRESSION


def test_a_regression_is_one_though_pytest_died(results: Results) -> None:
    results.take(Record(IDS[0], "t.py::test_a", ("sw-0",), Outcome.FAIL).to_json())
    assert results.judge([TROUBLE]).verdict is Verdict.REGRESSION
