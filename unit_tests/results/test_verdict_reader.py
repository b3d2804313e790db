"""Reading of verdict files: whole, cut off at any byte, and wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_amdgpu.results.confirmation import Count
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import Judgment, Verdict
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict
from pytest_amdgpu.results.verdict_reader import VerdictFileError, read_verdict

RECORDS = [
    Record("a[gpu-0]", "a", ("gpu-0",), Outcome.PASS, seconds=0.25),
    Record(
        "b[gpu-0]", "b", ("gpu-0",), Outcome.FAIL, Trust.INFRA, 1.5e-05, "", 'it "broke" \\ \u2028 é {"id": ]'
    ),
    Record("c", "c", (), Outcome.NOT_APPLICABLE, Trust.FLAKY, 12, "x.txt:3", "tests"),
]
FACTS: dict[str, Any] = {
    "started": "2026-11-28T10:00:00+00:00",
    "arguments": ["-q"],
    "directory": "/",
    "environment": {"kernel": "6.12", "devices": {"gpu-0": {"links": []}}},
    "seed": 1234,
    "devices": [{"id": "gpu-0", "target": "gfx942"}],
    "repeat": ["--amdgpu-seed=1234"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "verdict.json"
    write_verdict(path, verdict_json(Judgment(Verdict.REGRESSION, ("bad",)), RECORDS, FACTS, complete=True))
    return path


def test_what_was_written_is_read(path: Path) -> None:
    file = read_verdict(path)
    assert file.records == tuple(RECORDS)
    assert (file.verdict, file.complete, file.cut_off) == (Verdict.REGRESSION, True, False)
    assert (file.reasons, file.repeat) == (("bad",), ("--amdgpu-seed=1234",))
    assert file.environment == FACTS["environment"]
    assert (file.targets, file.run) == ({"gpu-0": "gfx942"}, {"seed": 1234, "arguments": ["-q"]})
    assert file.shortcoming == ""


@pytest.mark.parametrize("indent", [None, 1])
def test_of_a_file_cut_off_at_any_byte_the_whole_records_are_used(path: Path, indent: int | None) -> None:
    whole = json.dumps(json.loads(path.read_text()), indent=indent, ensure_ascii=False).encode()
    # Of use is a file in which something follows the schema's number.
    useful = whole.index(b'"schema": 1') + len(b'"schema": 1,')
    counts = []
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size < useful:
            with pytest.raises(VerdictFileError, match="was cut off before anything of use"):
                read_verdict(path)
            continue
        file = read_verdict(path)
        assert file.cut_off
        assert not file.complete
        # What is there is as it was: no number lost its end.
        assert file.records == tuple(RECORDS[: len(file.records)])
        # A record ends with its closing brace.
        assert len(file.records) == whole[whole.index(b'"tests": [') : size].replace(
            b'{"id": ]', b""
        ).replace(rb"{\"id\": ]", b"").count(b"}")
        assert file.run.get("seed", 1234) == 1234
        assert f"was cut off: {len(file.records)} results of it are whole" in file.shortcoming
        counts.append(len(file.records))
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


BLAMED = Record(
    "b[gpu-0]", "b", ("gpu-0",), Outcome.FAIL, Trust.INFRA, 1.0, "", "text", "device suspect",
    (Count("gpu-0", 2, 2), Count("gpu-1", 0, 1)),
)  # fmt: skip


def test_a_file_whose_end_the_disk_never_saw_is_cut_off(path: Path) -> None:
    """After a power cut the file system may have the size of a file and not all of its blocks: zeros."""
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b'"c"')] + bytes(500))
    file = read_verdict(path)
    assert (file.cut_off, file.records) == (True, tuple(RECORDS[:2]))


def test_what_a_failure_was_blamed_on_is_read(path: Path) -> None:
    content = verdict_json(
        Judgment(Verdict.INFRASTRUCTURE, ("bad",)), [BLAMED, RECORDS[0]], FACTS, complete=True
    )
    assert "blame" not in content["tests"][1]
    write_verdict(path, content)
    assert read_verdict(path).records == (BLAMED, RECORDS[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blame": "the moon"}, "blame: 'the moon' is not one of regression, flaky, device suspect, machine"),
        ({"confirmation": []}, "confirmation: [] is not a list of counts"),
        ({"confirmation": None}, "confirmation: None is not a list of counts"),
        ({"confirmation": [{"device": "x", "failed": 2, "runs": 1}]}, "confirmation[0]: {'device': 'x', "),
        ({"confirmation": [{"device": "x", "failed": True, "runs": 1}]}, "confirmation[0]: {'device': 'x', "),
    ],
)
def test_a_wrong_blame_is_refused_by_place(changes: dict[str, Any], message: str, path: Path) -> None:
    content = verdict_json(Judgment(Verdict.GOOD), [BLAMED], FACTS, complete=True)
    content["tests"][0] |= changes
    write_verdict(path, content)
    with pytest.raises(VerdictFileError) as error:
        read_verdict(path)
    assert str(error.value).startswith(f"{path}: tests[0].{message}")


def test_a_run_that_goes_on_is_no_whole_one(path: Path) -> None:
    content = verdict_json(Judgment(Verdict.INCOMPLETE), RECORDS, FACTS, complete=False)
    write_verdict(path, content)
    file = read_verdict(path)
    assert (file.complete, file.cut_off) == (False, False)
    assert file.shortcoming == f"{path} is of a run that did not come to its end"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "was cut off before anything of use"),
        ("[1, 2", "was cut off before anything of use"),
        ("hello", "is not JSON: Expecting value"),
        ("\0" * 100, "was cut off before anything of use"),
        ('{"schema": 1, oops}', "is not JSON: Expecting property name"),
        ('{"schema": 1} {', "is not JSON: Extra data"),
        ("[" * 100000 + "]" * 100000, "is not JSON that can be read"),
        ("[]", "is no object of JSON"),
        ("{}", "has no 'schema'; a file of --amdgpu-verdict with schema 1 is wanted"),
        ('{"schema": 2}', "is of schema 2; a file of --amdgpu-verdict with schema 1 is wanted"),
        ('{"schema": true}', "is of schema True"),
        ('{"schema": 2, "verdict": "go', "is of schema 2"),
        ('{"schema": 1}', "has no 'verdict'"),
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_refused(text: str, message: str, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(VerdictFileError) as error:
        read_verdict(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_text_that_is_not_utf8_is_refused(path: Path) -> None:
    path.write_bytes(b'{"schema": "\xff\xff"')
    with pytest.raises(VerdictFileError, match="is not UTF-8 text"):
        read_verdict(path)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["verdict"], "fine", "verdict: 'fine' is not one of good, regression, "),
        (["verdict"], 3, "verdict: 3 is no text"),
        (["complete"], "yes", "complete: 'yes' is no true or false"),
        (["environment"], [], "environment: [] is no object"),
        (["environment", "devices"], None, "environment.devices: None is no object"),
        (["devices", 0], {"id": 3}, "devices[0]: has no 'id' and 'target'"),
        (["tests"], {}, "tests: {} is no list"),
        (["tests", 1], 7, "tests[1]: is no object"),
        (["tests", 1, "outcome"], "passed", "tests[1].outcome: 'passed' is not one of pass, fail, crash, "),
        (["tests", 0, "trust"], None, "tests[0].trust: None is not one of clean, flaky, infra"),
        (["tests", 0, "name"], 1, "tests[0].name: 1 is no text"),
        (["tests", 2, "seconds"], -1, "tests[2].seconds: -1 is not a number of seconds from 0 on"),
        (["tests", 2, "seconds"], float("nan"), "tests[2].seconds: nan is not a number of seconds"),
        (["tests", 2, "devices"], "gpu", "tests[2].devices: 'gpu' is not a list of ids"),
    ],
)
def test_wrong_values_are_refused_by_place(keys: list[Any], value: Any, message: str, path: Path) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(VerdictFileError) as error:
        read_verdict(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_attachments_are_read_and_older_files_have_none(path: Path) -> None:
    content = json.loads(path.read_text())
    content["tests"][0]["attachments"] = ["a/b.txt"]
    del content["tests"][1]["attachments"]
    path.write_text(json.dumps(content))
    assert [record.attachments for record in read_verdict(path).records] == [("a/b.txt",), (), ()]
    content["tests"][0]["attachments"] = ["a", 3]
    path.write_text(json.dumps(content))
    with pytest.raises(VerdictFileError, match=r"tests\[0\].attachments: \['a', 3\] is not a list of paths"):
        read_verdict(path)
