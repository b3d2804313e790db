"""Expectation files brought up to date with recorded runs: what is evidence, and which lines follow."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_amdgpu.results.confirmation import Count
from pytest_amdgpu.results.expectation_file import ExpectationError
from pytest_amdgpu.results.expectation_update import update, write_texts
from pytest_amdgpu.results.lint import lint
from pytest_amdgpu.results.observations import ObservationError, Observed, environment_of, observe
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.status import Expected
from pytest_amdgpu.results.verdict import Verdict
from pytest_amdgpu.results.verdict_reader import VerdictFile

TODAY = datetime.date(2026, 11, 28)
LETTERS = {
    "P": Record("", "", (), Outcome.PASS),
    "F": Record("", "", (), Outcome.FAIL),
    "C": Record("", "", (), Outcome.CRASH),
    "T": Record("", "", (), Outcome.TIMEOUT),
    "S": Record("", "", (), Outcome.SKIPPED),
    "M": Record("", "", (), Outcome.MISSING),
    "I": Record("", "", (), Outcome.FAIL, Trust.INFRA),
    # A failure that a file knows, a flake that one knows, a mark of the test itself, an improvement.
    "k": Record("", "", (), Outcome.FAIL, expected="expected: all-fails.txt:3: x"),
    "f": Record("", "", (), Outcome.FAIL, Trust.FLAKY, expected="known flake: all-flakes.txt:3: x"),
    "x": Record("", "", (), Outcome.FAIL, expected="xfail"),
    "i": Record("", "", (), Outcome.FAIL, text="unexpected improvement: the result is Pass, but y expects"),
    "s": Record("", "", (), Outcome.FAIL, text="unexpected improvement: the result is Skip, but y expects"),
    # It failed, and of two further runs one.
    "r": Record(
        "", "", (), Outcome.FAIL, blame="flaky", confirmation=(Count("g", 2, 3), Count("h", 0, 2))
    ),
}  # fmt: skip


def runs(results: Mapping[str, str], *, device: str = "sw-gfx942-0", **values: Any) -> list[VerdictFile]:
    """Runs of which the n-th has the n-th letter's result of each test."""
    count = len(next(iter(results.values())))
    return [
        VerdictFile(
            path=f"{number}.json",
            verdict=Verdict.GOOD,
            complete=True,
            cut_off=False,
            records=tuple(
                dataclasses.replace(LETTERS[letters[number]], id=name, name=name, devices=(device,))
                for name, letters in results.items()
            ),
            started=f"2026-11-28T10:00:0{number}+00:00",
            targets={device: "gfx942"},
            environment={"kernel": "6.12", "amdgpu": {"srcversion": "ABC"}},
        )
        for number in range(count)
    ]


def updated(directory: Path, results: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The files that change, by name, and what is told."""
    found = update(directory, observe(runs(results)), {"gfx942": "AMD Instinct MI300X"}, TODAY, "Linux 6.12")
    write_texts(found.texts)
    return {path.name: text for path, text in found.texts.items()}, found.notes


def block(line: str, rate: str) -> str:
    notes = f"# Bug Report: (fill in)\n# Date: 2026-11-28\n# Failure Rate: {rate}\n# Seen With: Linux 6.12\n"
    return f"{notes}{line}\n"


@pytest.mark.parametrize(
    ("letters", "line"),
    [
        ("FF", ("fails", "t.py::a[1],Fail", "2/2")),
        ("CCC", ("fails", "t.py::a[1],Crash", "3/3")),
        ("TT", ("fails", "t.py::a[1],Timeout", "2/2")),
        ("FPF", ("flakes", r"t\.py::a\[1\]", "2/3")),
        ("FCP", ("flakes", r"t\.py::a\[1\]", "2/3")),
        ("rP", ("flakes", r"t\.py::a\[1\]", "2/4")),
        ("FFI", ("fails", "t.py::a[1],Fail", "2/2")),
        ("FISM", None),
        ("PP", None),
        ("xx", None),
        ("FC", None),
        ("II", None),
        ("ii", None),
    ],
)
def test_a_line_follows_from_several_results(
    letters: str, line: tuple[str, str, str] | None, tmp_path: Path
) -> None:
    texts, _ = updated(tmp_path, {"t.py::a[1]": letters})
    assert texts == ({} if line is None else {f"gfx942-{line[0]}.txt": block(*line[1:])})


def test_what_is_not_written_is_told(tmp_path: Path) -> None:
    _, notes = updated(tmp_path, {"a": "FC", "b": "FI"})
    assert notes == [
        "a on gfx942: fails each time, but in several ways (Crash, Fail): not written",
        "b on gfx942: failed in its only run that counts: nothing is written",
    ]


OLD = """# The files of this board.

# Bug Report: https://example.org/1
# Date: 2026-01-01
one,Fail
# of its own
two,Fail

# Bug Report: https://example.org/2
# Date: 2026-01-01
three,Crash
four,Fail
seven,Fail
"""


def test_lines_go_and_come_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "gfx942-fails.txt"
    file.write_text(OLD)
    file.chmod(0o640)
    texts, notes = updated(
        tmp_path, {"one": "kk", "two": "ii", "three": "PP", "four": "kk", "five": "FF", "six": "SS",
                   "seven": "ss"},
    )  # fmt: skip
    kept = OLD.replace("# of its own\ntwo,Fail\n", "").replace("three,Crash\n", "")
    assert texts == {"gfx942-fails.txt": f"{kept}\n{block('five,Fail', '2/2')}"}
    assert file.read_text() == texts["gfx942-fails.txt"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]
    assert notes == [
        "five on gfx942: failed 2 of 2 times: line written",
        "three on gfx942: passed 2 times: line removed",
        "two on gfx942: passed 2 times: line removed",
    ]
    # Again: nothing is left to do.
    again, _ = updated(tmp_path, {"one": "kk", "two": "PP", "three": "PP", "four": "kk", "five": "kk"})
    assert again == {}


def test_a_written_line_is_rejected_until_it_has_a_reason(tmp_path: Path) -> None:
    updated(tmp_path, {"a": "FF"})
    file = tmp_path / "gfx942-fails.txt"
    assert list(lint(tmp_path, TODAY)) == [
        f"{file}:5: has no reason yet: put one in the place of '(fill in)'"
    ]
    file.write_text(file.read_text().replace("(fill in)", "https://example.org/3"))
    assert list(lint(tmp_path, TODAY)) == []


FLAKE = "# Reason: x\n# Date: 2026-01-01\n# Failure Rate: 1/10\na\n"


@pytest.mark.parametrize(
    ("letters", "changes"),
    [
        # Four failures of four at a rate of 1/10 have a chance of 1/10000; two of four one of 5 %.
        ("ffff", {"gfx942-flakes.txt": "", "gfx942-fails.txt": block("a,Fail", "4/4")}),
        ("ffPP", {}),
        ("fffP", {}),
        ("PP", {}),
        ("P" * 65, {}),
        ("P" * 66, {"gfx942-flakes.txt": ""}),
        ("fffffP", {"gfx942-flakes.txt": block("a", "5/6")}),
    ],
)
def test_a_flake_stays_as_long_as_its_rate_explains_the_results(
    letters: str, changes: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "gfx942-flakes.txt").write_text(FLAKE)
    assert updated(tmp_path, {"a": letters})[0] == changes


def test_lines_about_other_gpus_are_left_to_people(tmp_path: Path) -> None:
    (tmp_path / "all-fails.txt").write_text("a,Fail\nb,Fail\n")
    (tmp_path / "gfx942-flakes.txt").write_text("# Failure Rate: 1/2\nc.*\n")
    texts, notes = updated(tmp_path, {"a": "ii", "b": "CC", "cc": "P" * 2})
    assert texts == {"gfx942-fails.txt": block("b,Crash", "2/2")}
    assert notes == [
        f"a on gfx942: is no longer as {tmp_path}/all-fails.txt:1 says, which is about other tests or GPUs,"
        " too: change it by hand",
        "b on gfx942: failed 2 of 2 times: line written",
    ]


def test_a_lapsed_line_makes_room(tmp_path: Path) -> None:
    file = tmp_path / "gfx942-fails.txt"
    file.write_text("# Reason: x\n# Date: 2026-01-01\n# Expires: 2026-02-01\na,Fail\n")
    assert updated(tmp_path, {"a": "FF"})[0] == {"gfx942-fails.txt": block("a,Fail", "2/2")}


def test_what_must_not_be_run_is_nobodys_failure(tmp_path: Path) -> None:
    (tmp_path / "all-skips.txt").write_text("a\n")
    assert updated(tmp_path, {"a": "FF"}) == ({}, [])


def test_results_on_all_gpus_of_a_target_count_together() -> None:
    first, second = runs({"a": "FF"}), runs({"a": "PP"}, device="sw-gfx942-1")
    files = [
        dataclasses.replace(
            one, records=one.records + other.records, targets={**one.targets, **other.targets}
        )
        for one, other in zip(first, second, strict=True)
    ]
    (observed,) = observe(files).values()
    assert (observed.runs, dict(observed.failures)) == (4, {Expected.FAIL: 2})
    assert isinstance(observed, Observed)


def cut_off(files: list[VerdictFile]) -> list[VerdictFile]:
    return [files[0], dataclasses.replace(files[1], cut_off=True, complete=False)]


def with_environment(files: list[VerdictFile], **values: Any) -> list[VerdictFile]:
    return [files[0], dataclasses.replace(files[1], environment={**files[1].environment, **values})]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files: files[:1],
            "results of 2 runs are the least: one does not tell a flake from a failure",
        ),
        (lambda files: [files[0], files[0]], "0.json and 0.json are of one run"),
        (cut_off, "1.json was cut off: 1 results of it are whole: leave it out"),
        (lambda files: [files[0], dataclasses.replace(files[1], complete=False)], "did not come to its end"),
        (
            lambda files: [files[0], dataclasses.replace(files[1], records=())],
            "0.json and 1.json are not of the same tests: only one has a on gfx942; give runs of one"
            " selection, or say --mixed",
        ),
        (
            lambda files: with_environment(files, kernel="6.14"),
            "0.json and 1.json differ in kernel: 6.12 and 6.14; give runs of one environment, or say --mixed",
        ),
        (lambda files: with_environment(files, amdgpu={}), "differ in amdgpu: {'srcversion': 'ABC'} and {};"),
        (
            lambda files: with_environment(files, devices={"sw-gfx942-0": {"firmware": {"mec": "0x2"}}}),
            "differ in the firmware of gfx942: nothing and ",
        ),
    ],
)
def test_runs_that_are_no_evidence_together_are_refused(
    change: Callable[[list[VerdictFile]], list[VerdictFile]], message: str
) -> None:
    with pytest.raises(ObservationError, match=re.escape(message)):
        observe(change(runs({"a": "FF"})))


def test_unlike_runs_can_be_asked_for() -> None:
    files = with_environment(runs({"a": "FF"}), kernel="6.14")
    assert observe(files, mixed=True)["gfx942", "a"].failed == 2
    assert [environment_of(file) for file in files] == ["Linux 6.12, amdgpu ABC", "Linux 6.14, amdgpu ABC"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "all-fails.txt").write_text("nonsense\n")
    with pytest.raises(ExpectationError, match=r"all-fails\.txt:1: 'nonsense' does not end"):
        updated(tmp_path, {"a": "FF"})
    with pytest.raises(ExpectationError, match="none is not a directory"):
        updated(tmp_path / "none", {"a": "FF"})
