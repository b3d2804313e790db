"""Expectation files: what a line says, which files are about a GPU, and what the linter finds."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from fractions import Fraction
from math import comb
from pathlib import Path

import pytest

from pytest_amdgpu.results.expectation_file import (
    Entry,
    ExpectationError,
    Kind,
    Rate,
    parse_entries,
    read_entries,
)
from pytest_amdgpu.results.expectations import bare_name, chance_of_failures, keys_of, load_expectations
from pytest_amdgpu.results.lint import lint
from pytest_amdgpu.results.status import Expected

TODAY = datetime.date(2026, 11, 28)
WELL = "# Bug Report: https://example.org/1\n# Date: 2026-11-01\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes files, named by their key and kind, into a directory."""

    def write_files(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name.replace('__', '-')}.txt").write_text(text)
        return tmp_path

    return write_files


def entries(text: str, kind: Kind = Kind.FAILS) -> list[Entry]:
    return list(parse_entries(text, kind, "file.txt"))


def test_a_file_of_mesa_can_be_read() -> None:
    """The shape of src/amd/ci/radv-*-fails.txt, and of a results.csv, which serves as one."""
    text = (
        "# New CTS failures in 1.4.1.0\n"
        "dEQP-VK.api.a.b,Fail\n"
        "\n"
        "dEQP-VK.api.c,Crash\n"
        "dEQP-VK.d,Timeout,1.25\n"
        "dEQP-GLES2.x@y.z,ExpectedFail\n"
    )
    assert [(entry.text, entry.expected, entry.line) for entry in entries(text)] == [
        ("dEQP-VK.api.a.b", Expected.FAIL, 2),
        ("dEQP-VK.api.c", Expected.CRASH, 4),
        ("dEQP-VK.d", Expected.TIMEOUT, 5),
        ("dEQP-GLES2.x@y.z", Expected.ANY_FAIL, 6),
    ]


def test_a_file_of_drm_ci_can_be_read() -> None:
    text = (
        "# Board Name: hp-11A-G6-EE-grunt\n"
        "# Bug Report: https://lore.kernel.org/amd-gfx/x\n"
        "# Failure Rate: 50\n"
        "# IGT Version: 1.28\n"
        "# Linux Version: 6.12\n"
        "kms_async_flips@async-.*\n"
        "kms_plane@b\n"
        "\n"
        "kms_x\n"
    )
    first, second, third = entries(text, Kind.FLAKES)
    assert first.matches("kms_async_flips@async-flip")
    assert not first.matches("kms_async_flips@async-flip".removesuffix("flip")[:-1])
    assert first.notes.rate == second.notes.rate == Rate(50, 100)
    assert first.notes.reason == "https://lore.kernel.org/amd-gfx/x"
    assert (third.notes.rate, third.notes.reason) == (None, "")


def test_a_file_of_windows_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf# Reason: y\r\na.*\r\n")
    (entry,) = read_entries(tmp_path / "x", Kind.SKIPS)
    assert (entry.text, entry.notes.reason, entry.line) == ("a.*", "y", 2)


def test_notes_belong_to_the_lines_below_them() -> None:
    text = (
        "# Reason: one\n# Date: 2026-01-02\na,Fail\nb,Fail,of its own\n"
        "# Reason: two\n# Expires: 2027-01-01\nc,Fail\n"
    )
    a, b, c = entries(text)
    assert (a.notes.reason, a.notes.date, a.notes.expires) == ("one", datetime.date(2026, 1, 2), None)
    assert (b.notes.reason, b.notes.date) == ("of its own", datetime.date(2026, 1, 2))
    assert (c.notes.reason, c.notes.date, c.notes.expires) == ("two", None, datetime.date(2027, 1, 1))


def test_names_of_tests_may_hold_commas() -> None:
    (entry,) = entries("t.py::test[a,Fail-b],Crash\n".replace("Fail-", "x-"))
    assert (entry.text, entry.expected) == ("t.py::test[a,x-b]", Expected.CRASH)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "a\n",
            Kind.FAILS,
            r"file.txt:1: 'a' does not end in a comma and one of Fail, Crash, Timeout, Missing",
        ),
        (
            "a,Fail\nb,UnexpectedImprovement(Skip)\n",
            Kind.FAILS,
            r"file.txt:2: 'b,UnexpectedImprovement\(Skip\)'",
        ),
        ("a,Pass\n", Kind.FAILS, "does not end"),
        ("a,Skip\n", Kind.FAILS, "does not end"),
        ("a,Flake\n", Kind.FAILS, "does not end"),
        ("a,Fail\n\na,Crash\n", Kind.FAILS, "file.txt:3: 'a' has a line already, line 1"),
        ("a(\n", Kind.FLAKES, r"file.txt:1: 'a\(' is no regular expression: missing \)"),
        (
            "\n# Date: tomorrow\na,Fail\n",
            Kind.FAILS,
            "file.txt:2: 'tomorrow' is not a date such as 2026-11-28",
        ),
        ("# Failure Rate: often\na\n", Kind.FLAKES, "file.txt:1: 'often' is not a rate such as 3/10, or 30"),
        (
            "a\n# Expire: 2026-01-01\nb\n",
            Kind.SKIPS,
            "file.txt:2: .# Expire: 2026-01-01. has no effect",
        ),
        ("# Expires 2026-01-01\nb\n", Kind.SKIPS, "file.txt:1: '# Expires 2026-01-01' has no effect"),
        ("# Flake rate: 50\nb\n", Kind.FLAKES, "file.txt:1: '# Flake rate: 50' has no effect: write .*3/10"),
        ("# Failure Rate: 3/0\na\n", Kind.FLAKES, "file.txt:1: '3/0' is not a rate from 0 to 1"),
        ("# Failure Rate: 101\na\n", Kind.FLAKES, "file.txt:1: '101' is not a rate from 0 to 1"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, kind: Kind, message: str) -> None:
    with pytest.raises(ExpectationError, match=message):
        entries(text, kind)


def test_a_gpu_has_the_files_of_all_that_it_is() -> None:
    keys = keys_of("gfx942", "AMD Instinct MI300X")
    assert keys == ("all", "gfx9", "gfx94x", "gfx942", "amd-instinct-mi300x")
    assert keys_of("gfx90a", "?")[1:3] == ("gfx9", "gfx90x")
    assert keys_of("gfx1201", "?")[1:3] == ("gfx12", "gfx120x")


def test_what_is_special_counts_before_what_is_general(write: Callable[..., Path]) -> None:
    directory = write(
        gfx942__fails="a,Crash\n",
        all__fails="a,Fail\nb,Fail\n",
        gfx11__fails="a,Timeout\n",
        gfx94x__skips="b.*\n",
        all__flakes="b\n",
        gfx9__fails="b,Fail\n",
        gfx9__flakes="b\n",
    )
    mine = load_expectations(directory, keys_of("gfx942", "x"), TODAY)
    entry = mine.fails("a")
    assert entry is not None
    assert (entry.expected, entry.place) == (Expected.CRASH, f"{directory}/gfx942-fails.txt:1")
    assert mine.fails("c") is None
    assert mine.skip("bc") is not None
    assert mine.flake("a") is None
    assert mine.known("a") == entry
    flake = mine.known("b")
    assert flake is not None
    assert flake.place == f"{directory}/gfx9-flakes.txt:1"
    other = load_expectations(directory, keys_of("gfx1201", "x"), TODAY)
    assert other.fails("a") is not None
    assert other.skip("bc") is None


@pytest.mark.parametrize("name", ["fails.txt", "gfx942.txt", "gfx942-fail.txt"])
def test_a_file_that_would_be_ignored_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ExpectationError, match=f"{name}: is not called KEY-fails.txt"):
        load_expectations(tmp_path, ["all"], TODAY)
    with pytest.raises(ExpectationError, match="/none is not a directory of expectation files"):
        load_expectations(tmp_path / "none", ["all"], TODAY)


@pytest.mark.parametrize(
    ("node_id", "name"),
    [
        ("t.py::test", "t.py::test"),
        ("t.py::test[sw-gfx942-0]", "t.py::test"),
        ("t.py::test[sw-gfx942-0-64]", "t.py::test[64]"),
        ("t.py::test[aql-sw-gfx942-0-64]", "t.py::test[aql-64]"),
        ("t.py::test[aql-sw-gfx942-0]", "t.py::test[aql]"),
        ("t.py::test[sw-gfx942-01]", "t.py::test[sw-gfx942-01]"),
        ("t.py::test[-1-gfx942-0000:03:00.0]", "t.py::test[-1]"),
        ("t.py::test[sw-gfx942-0+gfx942-0000:03:00.0-vram]", "t.py::test[vram]"),
        ("t[1]/t.py::test[sw-gfx942-0-x]", "t[1]/t.py::test[x]"),
        ("t[1]/t.py::test", "t[1]/t.py::test"),
        ("t.py::test[sw-gfx942-0-a::b[c]", "t.py::test[a::b[c]"),
        ("t.py::test[sw-gfx942+small-bar-0]", "t.py::test"),
        ("t.py::test[sw-gfx942+small-bar-0+sw-gfx942-0]", "t.py::test"),
    ],
)
def test_names_are_without_devices(node_id: str, name: str) -> None:
    assert bare_name(node_id, ["sw-gfx942-0", "sw-gfx942+small-bar-0", "gfx942-0000:03:00.0"]) == name


def test_the_chance_of_failures_is_exact() -> None:
    """Against fractions, also where the numbers of ways are beyond floating point."""
    draw = random.Random(5)
    cases = [(failed, runs) for runs in range(6) for failed in range(runs + 1)]
    cases += [(draw.randrange(1, 41), draw.randrange(40, 80)) for _ in range(20)]
    for failed, runs in [*cases, (600, 1200), (350, 3000)]:
        for rate in (Fraction(0), Fraction(1, 10), Fraction(draw.randrange(1, 100), 100), Fraction(1)):
            exact = sum(comb(runs, k) * rate**k * (1 - rate) ** (runs - k) for k in range(failed, runs + 1))
            found = chance_of_failures(failed, runs, float(rate))
            assert found == pytest.approx(float(exact), rel=1e-9, abs=1e-300), (failed, runs, rate)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("all-fails", "# Date: 2026-11-01\na,Fail\n", "all-fails.txt:2: has no reason"),
        ("all-fails", "# Reason: x\na,Fail\n", "all-fails.txt:2: has no date"),
        (
            "all-fails",
            "# Reason: x\n# Date: 2026-11-29\na,Fail\n",
            "is dated 2026-11-29, which is still to come",
        ),
        ("all-fails", WELL + "# Expires: 2026-11-27\na,Fail\n", "all-fails.txt:4: expired on 2026-11-27"),
        ("all-fails", WELL + "a,ExpectedFail\n", "a failure that turns into a crash is not seen"),
        ("all-fails", WELL + "a,UnexpectedImprovement(Skip)\n", "all-fails.txt:3: 'a,UnexpectedImprovement"),
        ("all-flakes", WELL + "a\n", "all-flakes.txt:3: has no rate"),
        ("all-flakes", WELL + "# Failure Rate: 100\na\n", "belongs into a fails file"),
        ("all-flakes", WELL + "# Failure Rate: 10/10\na\n", "belongs into a fails file"),
        ("all-flakes", WELL + "# Failure Rate: 0\na\n", "that is no flake, remove it"),
        ("all-skips", WELL + "nothing.*\n", "all-skips.txt:3: 'nothing.*' is no test that there is"),
        ("all-fails", WELL + "gone,Fail\n", "all-fails.txt:3: 'gone' is no test that there is"),
        ("gfx9999-fails", WELL + "a,Fail\n", "'gfx9999' is no target, generation or product that is known"),
        ("mine", "", "mine.txt: is not called KEY-fails.txt"),
    ],
)
def test_the_linter_finds(name: str, text: str, message: str, write: Callable[..., Path]) -> None:
    (found,) = lint(write(**{name: text}), TODAY, {"a"})
    assert message in found


def test_the_linter_finds_lines_that_others_hide(write: Callable[..., Path]) -> None:
    flake = WELL + "# Failure Rate: 3/10\na.*\n"
    directory = write(all__fails=WELL + "ab,Fail\n", all__flakes=flake, gfx9__fails=WELL + "ab,Fail\n")
    (found,) = lint(directory, TODAY)
    assert found == (
        f"{directory}/all-fails.txt:3: has no effect, for {directory}/all-flakes.txt:4 is about 'ab', too"
    )


def test_the_linter_finds_nothing_in_good_files(write: Callable[..., Path]) -> None:
    directory = write(
        all__fails=WELL + "a,Fail\n",
        gfx94x__flakes=WELL + "# Failure Rate: 3/10\n# Expires: 2026-11-28\nb\n",
        **{"amd-instinct-mi300x__skips": WELL + "c\n"},
    )
    assert list(lint(directory, TODAY, {"a", "b", "c"})) == []
