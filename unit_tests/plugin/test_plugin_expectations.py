"""A run with `--amdgpu-expectations`: what is known is no news, and all else is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., pytest.RunResult]

TESTS = """
    import os, pytest

    def test_fails(amdgpu_device): assert False
    def test_passes(amdgpu_device): pass
    def test_setup(request, amdgpu_device, broken): pass
    @pytest.fixture
    def broken(): raise RuntimeError("no set-up")
    @pytest.mark.timeout(0.2, func_only=True)
    def test_hangs(amdgpu_device):
        import threading
        threading.Event().wait(60)
    @pytest.mark.parametrize("n", range(8))
    def test_flaky(amdgpu_device, n): assert n in FINE
    FINE = [int(text) for text in os.environ["FINE"].split(",")]
    def test_crashes(amdgpu_device): os._exit(3)
"""
FLAKES = "# Bug: https://example.org/7\n# Failure Rate: 1/10\n"


@pytest.fixture
def expecting(run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Return a function that runs tests with files: `expecting("options", key__kind=text)`."""
    pytester.makepyfile(test_it=TESTS)

    def run_with(*options: str, fine: str = "0,1,2,3,4,5,6,7", xdist: bool = False, **files: str) -> object:
        monkeypatch.setenv("FINE", fine)
        directory = pytester.path / "known"
        directory.mkdir(exist_ok=True)
        for name, text in files.items():
            (directory / f"{name.replace('__', '-')}.txt").write_text(text)
        known = "--amdgpu-expectations=known"
        return run(known, "--amdgpu-device=gfx942", "-rA", "-p", "no:cacheprovider", *options, xdist=xdist)

    return run_with  # type: ignore[return-value]


def test_what_is_known_to_fail_is_no_news(expecting: Callable[..., pytest.RunResult]) -> None:
    result = expecting(
        "-k", "not crashes and not flaky and not hangs",
        gfx94x__fails="# Reason: broken board\ntest_it.py::test_fails,Fail\ntest_it.py::test_setup,Fail\n",
    )  # fmt: skip
    result.assert_outcomes(passed=1, xfailed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["XFAIL test_it.py::test_fails[[]sw-gfx942-0[]] - *expected: known/gfx94x-fails.txt:2: broken board*"]
    )


def test_lines_of_another_target_say_nothing(expecting: Callable[..., pytest.RunResult]) -> None:
    expecting("-k", "fails", gfx11__fails="test_it.py::test_fails,Fail\n").assert_outcomes(failed=1)


def test_an_improvement_is_told(expecting: Callable[..., pytest.RunResult]) -> None:
    result = expecting("-k", "passes", all__fails="\ntest_it.py::test_passes,Crash\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["unexpected improvement: the result is Pass, but known/all-fails.txt:2 expects Crash; if*"]
    )


def test_a_failure_is_not_a_timeout(expecting: Callable[..., pytest.RunResult]) -> None:
    lines = "test_it.py::test_fails,Timeout\ntest_it.py::test_hangs,Timeout\n"
    result = expecting("-k", "fails or hangs", all__fails=lines)
    result.assert_outcomes(failed=1, xfailed=1)
    result.stdout.fnmatch_lines(["unexpected improvement: the result is Fail, but known/all-fails.txt:1*"])


@pytest.mark.parametrize(("expected", "outcome"), [("Crash", "xfailed"), ("Fail", "failed")])
def test_a_crash_is_not_a_failure(
    expected: str, outcome: str, expecting: Callable[..., pytest.RunResult]
) -> None:
    line = f"test_it.py::test_crashes,{expected}\n"
    result = expecting("-n1", "-k", "crashes or passes", all__fails=line, xdist=True)
    result.assert_outcomes(**{"passed": 1, outcome: 1})


def test_what_should_not_run_does_not(expecting: Callable[..., pytest.RunResult]) -> None:
    skips = "# Reason: ends the process\ntest_it.py::test_cra.*\n"
    result = expecting("-k", "crashes or passes", gfx942__skips=skips)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*not to be run: known/gfx942-skips.txt:2: ends the process"])


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_a_flake_may_fail_as_often_as_it_did(
    workers: list[str], expecting: Callable[..., pytest.RunResult]
) -> None:
    result = expecting(
        "-k", "flaky", *workers, fine="0,1,2,3,4,5,6", all__flakes=FLAKES + "test_it.py::test_flaky.*\n",
        xdist=bool(workers),
    )  # fmt: skip
    result.assert_outcomes(passed=7, xfailed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["XFAIL*known flake: known/all-flakes.txt:3: https://example.org/7*"])


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_a_flake_that_turned_into_a_failure_is_red(
    workers: list[str], expecting: Callable[..., pytest.RunResult]
) -> None:
    result = expecting(
        "-k", "flaky", "--amdgpu-confirm=0", *workers, fine="0", xdist=bool(workers),
        all__flakes=FLAKES + "test_it.py::test_flaky.*\n",
    )  # fmt: skip
    result.assert_outcomes(passed=1, xfailed=7)
    assert result.ret == 1
    # The chance: 8 * 0.1**7 * 0.9 + 0.1**8 = 7.3e-07.
    result.stdout.fnmatch_lines(
        [
            "*amdgpu: flakes that fail more often than they did*",
            "known/all-flakes.txt:3: https://example.org/7: failed 7 of 8 times, which at its rate of 1/10"
            " has a chance of 7e-07",
        ]
    )


def test_files_that_cannot_be_read_end_the_run(expecting: Callable[..., pytest.RunResult]) -> None:
    result = expecting(all__fails="nonsense\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --amdgpu-expectations: known/all-fails.txt:1: 'nonsense' does not end*"]
    )


def test_a_directory_that_is_not_there_ends_the_run(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = run("--amdgpu-expectations=none")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not os.path.exists("none")
    result.stderr.fnmatch_lines(
        ["ERROR: --amdgpu-expectations: none is not a directory of expectation files"]
    )


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_lines_about_tests_that_are_gone_end_in_a_failure(
    workers: list[str], expecting: Callable[..., pytest.RunResult]
) -> None:
    fails = "# Reason: x\ntest_it.py::test_gone,Fail\ntest_it.py::test_fails,Fail\ntest_no.py::test_x,Fail\n"
    files = {"all__fails": fails, "all__flakes": "# Reason: y\n.*_nowhere\n", "gfx11__fails": fails}
    # Those that were deselected are there.
    result = expecting("-k", "passes", "--amdgpu-gate", *workers, xdist=bool(workers), **files)
    result.assert_outcomes(passed=1, deselected=0 if workers else 12)
    assert result.ret == 11
    result.stdout.fnmatch_lines(
        [
            "*amdgpu verdict: must-run violated*",
            "known/all-fails.txt:2: x: test_it.py::test_gone was not collected: mend the name, or *",
            "known/all-fails.txt:4: x: test_no.py::test_x was not collected: mend the name, or *",
            "*amdgpu: expectation files that are out of date*",
            "known/all-fails.txt:2: x: *",
            "known/all-fails.txt:4: x: *",
            "known/all-flakes.txt:2: y: .*_nowhere matches no test",
        ]
    )


def test_a_run_of_some_paths_says_nothing_about_others(expecting: Callable[..., pytest.RunResult]) -> None:
    result = expecting("test_it.py::test_passes", all__fails="test_it.py::test_gone,Fail\n")
    assert (result.ret, "out of date" in result.stdout.str()) == (0, False)


def test_expired_lines_have_no_effect_and_expired_skips_are_red(
    expecting: Callable[..., pytest.RunResult],
) -> None:
    old = "# Reason: x\n# Expires: 2026-01-01\n"
    result = expecting(
        "-k", "fails or passes",
        all__fails=f"{old}test_it.py::test_fails,Fail\n", all__skips=f"{old}test_it.py::test_crashes\n",
    )  # fmt: skip
    result.assert_outcomes(passed=1, failed=1, deselected=11)
    result.stdout.fnmatch_lines(
        [
            "known/all-skips.txt:3: x: expired on 2026-01-01, and still keeps tests from running: look *",
            "known/all-fails.txt:3: x: expired on 2026-01-01, and has no effect any more: look at it *",
        ]
    )
    assert expecting("-k", "passes").ret == 1


def test_a_flake_may_crash_its_worker_as_often_as_it_did(expecting: Callable[..., pytest.RunResult]) -> None:
    flakes = FLAKES + "test_it.py::test_(flaky|crashes).*\n"
    result = expecting("-n1", "-k", "flaky or crashes", all__flakes=flakes, xdist=True)
    result.assert_outcomes(passed=8, xfailed=1)
    assert result.ret == 0
    # One that does nothing else fails more often than once in a thousand.
    often = FLAKES.replace("1/10", "1/10000") + "test_it.py::test_crashes\n"
    result = expecting("-n1", "-k", "passes or crashes", all__flakes=often, xdist=True)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["known/all-flakes.txt:3: *: failed 1 of 1 times, which at its rate *"])


def test_subtests_and_tear_down_of_what_is_known(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest

        def test_some(amdgpu_device, subtests):
            with subtests.test("bad"): assert False
            with subtests.test("good"): pass
        def test_mended(amdgpu_device, subtests):
            with subtests.test("good"): pass
        @pytest.fixture
        def worse():
            yield
            raise RuntimeError("not taken back")
        def test_worse(amdgpu_device, worse): assert False
        def test_skipped(amdgpu_device): pytest.skip("today")
        @pytest.mark.amdgpu_targets("gfx908")
        def test_elsewhere(amdgpu_device): pass
        def test_special(amdgpu_device): pass
        """
    )
    names = ("some", "mended", "worse", "skipped", "elsewhere")
    lines = "".join(f"test_it.py::test_{name},Fail\n" for name in names)
    # As an editor on Windows writes it.
    pytester.path.joinpath("all-fails.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    # A line about a target goes before one about all, of whatever kind they are.
    pytester.path.joinpath("gfx942-fails.txt").write_text("test_it.py::test_special,Fail\n")
    pytester.path.joinpath("all-flakes.txt").write_text("test_it.py::test_special\n")
    result = run("--amdgpu-expectations=.", "--amdgpu-verdict=v.json", "--amdgpu-device=gfx942", "-rA")
    records = json.loads(Path("v.json").read_text())["tests"]
    found = {record["name"].partition("::test_")[2]: record for record in records}
    assert {name: (record["outcome"], record["expected"]) for name, record in found.items()} == {
        "some": ("fail", "expected: all-fails.txt:1"),
        "mended": ("fail", ""),
        "worse": ("fail", ""),
        "skipped": ("fail", ""),
        "elsewhere": ("not applicable", ""),
        "special": ("fail", ""),
    }
    assert found["worse"]["text"] == "RuntimeError: not taken back"
    for name, word in ("mended", "Pass"), ("skipped", "Skip"), ("special", "Pass"):
        assert found[name]["text"].startswith(f"unexpected improvement: the result is {word}, but")
    assert result.ret == 1


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_a_flake_that_fails_is_run_again_until_its_rate_tells(
    workers: list[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        test_it="""
        from collections import Counter
        runs = Counter()
        def number(name):
            runs[name] += 1
            return runs[name]
        def test_broken(amdgpu_device): assert number("broken") < 0
        def test_flaky(amdgpu_device): assert number("flaky") == 3
        def test_subtest(amdgpu_device, subtests):
            with subtests.test("a"): assert number("subtest") == 2
        def test_often(amdgpu_device): assert number("often") < 0
        def test_of_no_rate(amdgpu_device): assert number("no rate") < 0
        def test_counts(): print({name: count for name, count in runs.items()})
        """
    )
    pytester.path.joinpath("all-flakes.txt").write_text(
        "# Failure Rate: 3/10\ntest_it.py::test_broken\ntest_it.py::test_flaky\ntest_it.py::test_subtest\n"
        "# Failure Rate: 99/100\ntest_it.py::test_often\n\ntest_it.py::test_of_no_rate\n"
    )
    result = run("--amdgpu-expectations=.", "--amdgpu-verdict=v.json", "-rA", *workers, xdist=bool(workers))
    # 0.3**6 is the first power below one in a thousand.
    found = {"broken": 6, "flaky": 3, "subtest": 2, "often": 20, "no rate": 1}
    result.stdout.fnmatch_lines([str(found)])
    lines = [line for line in result.outlines if line.startswith("all-flakes.txt:") and "failed" in line]
    (worse,) = set(lines)
    assert worse == (
        "all-flakes.txt:2: failed 6 of 6 times, which at its rate of 3/10 has a chance of 0.0007"
    )
    assert result.ret == 1
    records = {test["id"].partition("_")[2]: test for test in json.loads(Path("v.json").read_text())["tests"]}
    counts = records["it.py::test_flaky[sw-gfx942-0]"]["confirmation"]
    assert counts == [{"device": "sw-gfx942-0", "failed": 2, "runs": 3}]
