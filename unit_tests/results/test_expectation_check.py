"""Lines of expectation files that a run shows to be wrong."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from pytest_amdgpu.results.expectation_check import Collected, lapsed_lines, missing_tests, stale_lines
from pytest_amdgpu.results.expectations import load_expectations

TODAY = datetime.date(2026, 11, 28)
NAMES = {"hw/test_a.py::test_one", "hw/test_a.py::test_two[1]", "hw/sub/test_b.py::test_b"}


def found(tmp_path: Path, name: str, text: str, collected: Collected) -> list[str]:
    (tmp_path / f"{name}.txt").write_text(text)
    known = [load_expectations(tmp_path, ["all"], TODAY)] * 2
    check = missing_tests if name.endswith("fails") else stale_lines
    return [line.replace(f"{tmp_path}/", "") for line in check(known, collected)]


@pytest.mark.parametrize(
    ("line", "paths", "broken", "missing"),
    [
        ("hw/test_a.py::test_one,Fail", ["."], [], False),
        ("hw/test_a.py::test_two[1],Fail", ["hw"], [], False),
        ("hw/test_a.py::test_two[2],Fail", ["hw"], [], True),
        ("hw/test_a.py::test_tow[1],Fail", ["hw/test_a.py"], [], True),
        ("hw/test_gone.py::test_one,Fail", ["hw"], [], True),
        ("hw/test_gone.py::test_one,Fail", ["."], [], True),
        # Nobody asked for these, or their file is broken, or they are said to be missing.
        ("other/test_c.py::test_one,Fail", ["hw"], [], False),
        ("hwx/test_c.py::test_one,Fail", ["hw"], [], False),
        ("hw/test_a.py::test_tow,Fail", ["hw/sub"], [], False),
        ("hw/test_a.py::test_tow,Fail", [], [], False),
        ("hw/test_a.py::test_tow,Fail", ["."], ["hw/test_a.py"], False),
        ("hw/test_a.py::test_tow,Missing", ["."], [], False),
        # A name of another program: Mesa's files can be read.
        ("dEQP-VK.api.x,Fail", ["."], [], False),
    ],
)
def test_tests_that_are_gone(
    line: str, paths: list[str], broken: list[str], missing: bool, tmp_path: Path
) -> None:
    name = line.partition(",")[0]
    text = f"all-fails.txt:2: x: {name} was not collected: mend the name, or remove the line"
    lines = found(tmp_path, "all-fails", f"# Reason: x\n{line}\n", Collected(NAMES, paths, broken))
    assert lines == ([text] if missing else [])


@pytest.mark.parametrize(
    ("pattern", "paths", "broken", "stale"),
    [
        (r"hw/test_a\.py::test_.*", ["."], [], False),
        (r"hw/test_a.py::test_three", ["hw"], [], True),
        (r"hw/test_a\.py::test_three\[x\]", ["hw"], [], True),
        (r"hw/test_a\.py::test_three", ["hw/sub"], [], False),
        (r".*three", ["."], [], True),
        (r".*three", ["hw"], [], False),
        (r".*three", ["."], ["hw/test_c.py"], False),
    ],
)
@pytest.mark.parametrize("kind", ["flakes", "skips"])
def test_patterns_that_match_nothing(
    kind: str, pattern: str, paths: list[str], broken: list[str], stale: bool, tmp_path: Path
) -> None:
    lines = found(tmp_path, f"all-{kind}", f"{pattern}\n", Collected(NAMES, paths, broken))
    assert lines == ([f"all-{kind}.txt:1: {pattern} matches no test"] if stale else [])


def test_lines_have_their_time(tmp_path: Path) -> None:
    past = "# Expires: 2026-11-27\n"
    last, future = "# Expires: 2026-11-28\n", "# Date: 2026-11-29\n"
    (tmp_path / "all-fails.txt").write_text(f"{past}a,Fail\n{last}b,Fail\n{future}c,Fail\n")
    (tmp_path / "all-flakes.txt").write_text(f"{past}d\n")
    (tmp_path / "all-skips.txt").write_text(f"{past}e\n")
    known = load_expectations(tmp_path, ["all"], TODAY)
    assert known.fails("a") is known.fails("c") is known.flake("d") is None
    assert known.fails("b") is not None
    # It may take the machine along.
    assert known.skip("e") is not None
    assert [text.replace(f"{tmp_path}/", "") for _, text in lapsed_lines([known, known], TODAY)] == [
        f"{line}: look at it again, then remove it or set a new date"
        for line in (
            "all-fails.txt:2: expired on 2026-11-27, and has no effect any more",
            "all-fails.txt:6: is dated 2026-11-29, which is still to come, and has no effect any more",
            "all-flakes.txt:2: expired on 2026-11-27, and has no effect any more",
            "all-skips.txt:2: expired on 2026-11-27, and still keeps tests from running",
        )
    ]
