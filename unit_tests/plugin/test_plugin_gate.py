"""Runs as a gate: what is written and returned. Ways to prove nothing are in `test_sabotage.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
import pytest
from gate_cases import GATE, GOOD, MUST_RUN, REGRESSION, SCHEMA, TESTS, verdict

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(run_alone: Run) -> Run:
    return run_alone


@pytest.fixture
def tests(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_it=TESTS)
    return pytester


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_a_record_of_each_test(workers: Sequence[str], run: Run, tests: pytest.Pytester) -> None:
    chosen = "not interrupts and not exits" + ("" if workers else " and not crashes")
    result = run(*GATE, *workers, "--amdgpu-device=gfx942", "-k", chosen, xdist=bool(workers))
    assert result.ret == REGRESSION
    content = verdict()
    outcomes = {
        test["name"].removeprefix("test_it.py::test_"): (test["outcome"], test["trust"])
        for test in content["tests"]
    }
    assert outcomes == {
        "passes": ("pass", "clean"),
        "without_a_gpu": ("pass", "clean"),
        "skipped": ("skipped", "clean"),
        "not_applicable": ("not applicable", "clean"),
        "fails": ("fail", "clean"),
        "expected": ("fail", "clean"),
        "hangs": ("timeout", "clean"),
        "loses": ("fail", "infra"),
        "teardown": ("fail", "clean"),
        **({"crashes": ("crash", "clean")} if workers else {}),
    }
    assert (content["complete"], content["verdict"], content["exit_status"]) == (True, "regression", 1)
    by_name = {test["name"]: test for test in content["tests"]}
    assert by_name["test_it.py::test_fails"]["devices"] == ["sw-gfx942-0"]
    assert by_name["test_it.py::test_fails"]["text"].startswith("assert <Device sw-gfx942-0> is None")
    assert by_name["test_it.py::test_skipped"]["text"] == "not today"
    assert by_name["test_it.py::test_expected"]["expected"] == "xfail"
    crashed, number = (", 1 crash", 10) if workers else ("", 9)
    counts = (
        f"{number} tests on 1 device: 2 pass, 2 fail, 1 timeout{crashed}, 1 infrastructure, 1 known failure,"
        " 1 skipped, 1 not applicable"
    )
    result.stdout.fnmatch_lines(
        ["*amdgpu verdict: regression*", counts, "test_it.py::test_*", "*short test summary*"]
    )


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_good_is_green(workers: Sequence[str], run: Run, tests: pytest.Pytester) -> None:
    result = run(*GATE, *workers, "-k", "passes or skipped or expected", xdist=bool(workers))
    assert result.ret == GOOD
    assert (verdict()["verdict"], verdict()["reasons"]) == ("good", [])
    result.stdout.fnmatch_lines(["*amdgpu verdict: good*"])


def test_without_the_gate_the_status_is_that_of_pytest(run: Run, tests: pytest.Pytester) -> None:
    result = run("--amdgpu-verdict=verdict.json", "-k", "without_a_gpu")
    assert result.ret == 0
    assert verdict()["verdict"] == "must-run violated"


CONTRACT = "--amdgpu-must-run=contract.toml"


@pytest.mark.parametrize(
    ("contract", "options", "status", "reason"),
    [
        ('device = "gfx942"', [], GOOD, ""),
        ('device = "gfx1100"', [], MUST_RUN, "tests must run on 1 device (gfx1100), and ran on 0"),
        ("devices = 2", [], MUST_RUN, "tests must run on 2 devices, and ran on 1"),
        ("devices = 2", ["--amdgpu-all-devices"], GOOD, ""),
        ("count = 2", [], MUST_RUN, "2 tests must run on sw-gfx942-0, and 1 did"),
        ('tests = [".*passes"]', [], GOOD, ""),
        (
            'tests = [".*passse"]',
            [],
            MUST_RUN,
            "a test named '.*passse' must run on sw-gfx942-0, and none did",
        ),
        (
            'tests = [".*skipped"]',
            [],
            MUST_RUN,
            "a test named '.*skipped' must run on sw-gfx942-0, and none did",
        ),
    ],
)
def test_what_must_run(
    contract: str, options: list[str], status: int, reason: str, run: Run, tests: pytest.Pytester
) -> None:
    Path("contract.toml").write_text(f"[[must_run]]\n{contract}\n")
    result = run(CONTRACT, "--amdgpu-verdict=verdict.json", *options, "-k", "passes or skipped")
    assert result.ret == status
    assert verdict()["reasons"] == ([reason] if reason else [])


def test_the_file_can_be_read_half_way(run: Run, tests: pytest.Pytester) -> None:
    tests.makepyfile(
        test_it="""
        import json, pytest, shutil
        @pytest.mark.parametrize("number", range(2))
        def test_it(amdgpu_device, number): shutil.copy("verdict.json", f"seen{number}.json")
        """
    )
    assert run(*GATE).ret == GOOD
    contents = [json.loads(Path(f"seen{number}.json").read_text()) for number in range(2)]
    for content in contents:
        jsonschema.validate(content, SCHEMA)
        assert (content["complete"], content["verdict"]) == (False, "incomplete")
    assert [test["outcome"] for test in contents[1]["tests"]] == ["pass"]


def test_what_a_worker_died_of_is_in_the_file_before_another_one_has_come_up(
    run: Run, pytester: pytest.Pytester
) -> None:
    """Whatever was written last, and when: the new worker takes seconds in which nothing is reported."""
    pytester.makepyfile(
        """
        import json, os

        def test_before(amdgpu_device): pass

        def test_dies(amdgpu_device): os._exit(1)

        def test_after(amdgpu_device):
            with open("verdict.json") as file:
                tests = json.load(file)["tests"]
            assert [test["outcome"] for test in tests if "test_dies" in test["name"]] == ["crash"]
        """
    )
    result = run(*GATE, "--amdgpu-confirm=0", software="gfx1100", xdist=True)
    result.assert_outcomes(passed=2, failed=1)


def test_tests_of_a_device_in_quarantine_are_the_machines_failure(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        import pytest
        from pytest_amdgpu.plugin.session import session_key

        @pytest.hookimpl(trylast=True)
        def pytest_sessionstart(session):
            session.config.stash[session_key].quarantine.add("sw-gfx942-0", "it smells")
        """
    )
    pytester.makepyfile("def test_it(amdgpu_device): pass")
    result = run("--amdgpu-gate", "--amdgpu-all-devices")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*QuarantinedError: sw-gfx942-0 is in quarantine: it smells"])
    result.assert_outcomes(passed=1, errors=1)
