"""The command `expectations lint`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_amdgpu.commands.expectations import collected_names
from pytest_amdgpu.commands.main import main


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


def test_names_of_collected_tests_are_without_devices() -> None:
    text = "t.py::test_a[aql-sw-gfx90a-12]\nt.py::test_b[gfx1201-0000:c3:00.1-7]\nt.py::test_c\n\n3 tests"
    text += "\nt.py::test_d[sw-gfx942+small-bar-0+sw-gfx1100-0-vram]"
    assert list(collected_names(text)) == [
        "t.py::test_a[aql]",
        "t.py::test_b[7]",
        "t.py::test_c",
        "t.py::test_d[vram]",
    ]
