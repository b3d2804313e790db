"""The commands `expectations lint` and `expectations update`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_amdgpu.commands.expectations import collected_names
from pytest_amdgpu.commands.main import main
from pytest_amdgpu.results.record import Outcome, Record
from pytest_amdgpu.results.verdict import Judgment, Verdict
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict


def test_lint_prints_what_is_wrong_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, tests = tmp_path / "files", tmp_path / "tests"
    files.mkdir()
    file = files / "gfx942-fails.txt"
    file.write_text("# Reason: known\n# Date: 2026-01-01\nt.py::test_a[aql],Fail\nt.py::test_b,Fail\n")
    tests.write_text(
        "t.py::test_a[aql-sw-gfx942-0]\nt.py::test_a[pm4-gfx942-0000:03:00.0]\n\n2 tests collected\n"
    )
    assert main(["expectations", "lint", str(files)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["expectations", "lint", str(files), "--tests", str(tests)]) == 1
    assert capsys.readouterr().out == f"{file}:4: 't.py::test_b' is no test that there is\n"
    assert main(["expectations", "lint", str(tmp_path / "none")]) == 1
    assert "none is not a directory of expectation files" in capsys.readouterr().err
    # Not what pytest printed: all lines would be about no test.
    tests.write_bytes(b"\xff no tests collected in 0.01s\n")
    assert main(["expectations", "lint", str(files), "--tests", str(tests)]) == 1
    assert capsys.readouterr().err == (
        f"expectations: {tests}: names no test; the output of `pytest --collect-only -q` is wanted\n"
    )


def test_names_of_collected_tests_are_without_devices() -> None:
    text = "t.py::test_a[aql-sw-gfx90a-12]\nt.py::test_b[gfx1201-0000:c3:00.1-7]\nt.py::test_c\n\n3 tests"
    text += "\nt.py::test_d[sw-gfx942+small-bar-0+sw-gfx1100-0-vram]"
    assert list(collected_names(text)) == [
        "t.py::test_a[aql]",
        "t.py::test_b[7]",
        "t.py::test_c",
        "t.py::test_d[vram]",
    ]


def test_update_shows_and_writes_what_results_call_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    results = []
    for number in range(2):
        failed = Record("t.py::a[sw-gfx942-0]", "t.py::a", ("sw-gfx942-0",), Outcome.FAIL)
        facts = {
            "started": f"2026-11-28T10:00:0{number}+00:00",
            "environment": {"kernel": "6.12"},
            "backend": "software",
            "devices": [{"id": "sw-gfx942-0", "target": "gfx942", "name": "AMD Instinct MI300X"}],
        }
        content = verdict_json(Judgment(Verdict.REGRESSION, ("x",)), [failed], facts, complete=True)
        results.append(tmp_path / f"{number}.json")
        write_verdict(results[-1], content)
    command = ["expectations", "update", str(files), "--results", *map(str, results)]
    assert main([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "+# Seen With: Linux 6.12, software GPUs\n+t.py::a,Fail\n" in out
    assert list(files.iterdir()) == []
    assert main(command) == 0
    assert capsys.readouterr().out == "t.py::a on gfx942: failed 2 of 2 times: line written\n"
    assert (files / "gfx942-fails.txt").read_text().endswith("t.py::a,Fail\n")
    assert main(command) == 0
    assert capsys.readouterr().out == "no line has to change\n"
    assert main(command[:-1]) == 1
    assert capsys.readouterr().err.startswith("expectations: results of 2 runs are the least")
    results[1].write_text(results[1].read_text()[:-20])
    assert main(command) == 1
    assert "1.json was cut off" in capsys.readouterr().err
