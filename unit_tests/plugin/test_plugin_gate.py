"""Runs as a gate: what is written and returned, and that none of many ways to prove nothing is green."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_amdgpu.devices.leases import LeaseDirectory

Run = Callable[..., pytest.RunResult]
GATE = ("--amdgpu-gate", "--amdgpu-verdict=verdict.json")
GOOD, REGRESSION, USAGE, INFRASTRUCTURE, MUST_RUN = 0, 1, 4, 10, 11
SCHEMA = json.loads((files("pytest_amdgpu.results") / "verdict_schema.json").read_text())

TESTS = """
    import os, pytest

    def test_passes(amdgpu_device): pass
    def test_without_a_gpu(): pass
    @pytest.mark.skip(reason="not today")
    def test_skipped(amdgpu_device): pass
    @pytest.mark.amdgpu_targets("gfx908")
    def test_not_applicable(amdgpu_device): pass
    def test_fails(amdgpu_device): assert amdgpu_device is None
    @pytest.mark.xfail
    def test_expected(amdgpu_device): assert False
    @pytest.mark.timeout(0.2, func_only=True)
    def test_hangs(amdgpu_device):
        import threading
        threading.Event().wait(60)
    def test_crashes(amdgpu_device): os._exit(3)
    def test_loses(amdgpu_device):
        from pytest_amdgpu.plugin.session import DeviceLostError
        raise DeviceLostError("it is gone")
    @pytest.fixture
    def bad_teardown():
        yield
        raise RuntimeError("not taken back")
    def test_teardown(amdgpu_device, bad_teardown): pass
    def test_interrupts(amdgpu_device): raise KeyboardInterrupt
    def test_exits(amdgpu_device): pytest.exit("enough")
"""


def verdict() -> dict[str, Any]:
    """What the run wrote, in the form that is published."""
    content: dict[str, Any] = json.loads(Path("verdict.json").read_text())
    jsonschema.validate(content, SCHEMA)
    return content


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
    result.stdout.fnmatch_lines(
        ["*amdgpu verdict: regression*", "test_it.py::test_*", "*short test summary*"]
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
        ('device = "gfx1100"', [], MUST_RUN, "tests must run on 1 devices gfx1100, and ran on 0"),
        ("devices = 2", [], MUST_RUN, "tests must run on 2 devices all, and ran on 1"),
        ("devices = 2", ["--amdgpu-all-devices"], GOOD, ""),
        ("count = 2", [], MUST_RUN, "2 tests must run on sw-gfx942-0, and 1 did"),
        ('tests = [".*passes"]', [], GOOD, ""),
        ('tests = [".*passse"]', [], MUST_RUN, "a test '.*passse' must run on sw-gfx942-0, and none did"),
        ('tests = [".*skipped"]', [], MUST_RUN, "a test '.*skipped' must run on sw-gfx942-0, and none did"),
    ],
)
def test_what_must_run(
    contract: str, options: list[str], status: int, reason: str, run: Run, tests: pytest.Pytester
) -> None:
    Path("contract.toml").write_text(f"[[must_run]]\n{contract}\n")
    result = run(CONTRACT, "--amdgpu-verdict=verdict.json", *options, "-k", "passes or skipped")
    assert result.ret == status
    assert verdict()["reasons"] == ([reason] if reason else [])


# Ways to make a gate green although nothing was proven. None may be.
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param(["-k", "skipped"], MUST_RUN, id="all-skipped"),
        pytest.param(["-k", "not_applicable"], MUST_RUN, id="nothing-applies"),
        pytest.param(["-k", "pases"], MUST_RUN, id="deselected-by-a-typo"),
        pytest.param(["-m", "gpu", "-o", "markers=gpu"], MUST_RUN, id="deselected-by-a-marker"),
        pytest.param(["--deselect=test_it.py"], MUST_RUN, id="all-deselected"),
        pytest.param(["-k", "without_a_gpu"], MUST_RUN, id="no-test-uses-a-gpu"),
        pytest.param(["test_gone.py"], USAGE, id="file-is-absent"),
        pytest.param(["test_it.py::test_gone"], USAGE, id="test-is-absent"),
        pytest.param(["--amdgpu-device=gfx90a"], USAGE, id="device-is-absent"),
        pytest.param(["-k", "passes or hangs"], REGRESSION, id="test-hangs"),
        pytest.param(["-k", "passes or teardown"], REGRESSION, id="teardown-fails"),
        pytest.param(["-k", "passes or loses"], INFRASTRUCTURE, id="device-is-lost"),
        pytest.param(["-k", "passes or interrupts"], INFRASTRUCTURE, id="ctrl-c"),
        pytest.param(["-k", "passes or exits"], INFRASTRUCTURE, id="pytest-exit"),
        pytest.param(["-k", "passes or fails or teardown", "-x"], REGRESSION, id="ended-after-a-failure"),
        pytest.param(["--amdgpu-expectations=none"], USAGE, id="no-expectations"),
        pytest.param(["--amdgpu-must-run=none.toml"], USAGE, id="no-contract"),
        pytest.param(["--amdgpu-software=gfx7"], USAGE, id="no-such-model"),
        pytest.param(["--maxfail=1", "-k", "passes or fails"], REGRESSION, id="maxfail"),
        pytest.param(["-k", "passes", "-p", "no_such_plugin"], USAGE, id="plugin-is-absent"),
        pytest.param(["-n1", "-k", "passes or crashes"], REGRESSION, id="worker-dies"),
        pytest.param(
            ["-n1", "-k", "passes or crashes", "--max-worker-restart=0"], REGRESSION, id="no-worker-is-left"
        ),
        pytest.param(["-n2", "-k", "skipped"], MUST_RUN, id="all-skipped-in-workers"),
        pytest.param(["-n2", "-k", "pases"], MUST_RUN, id="deselected-by-a-typo-in-workers"),
    ],
)
def test_nothing_proven_is_not_green(
    options: list[str], status: int, run: Run, tests: pytest.Pytester
) -> None:
    Path("verdict.json").write_text('{"verdict": "good", "complete": true}')
    xdist = any(option.startswith("-n") for option in options)
    result = run(*GATE, *options, xdist=xdist)
    assert result.ret == status
    if "no_such_plugin" not in options:
        # Where pytest does not come up at all, nobody is there to write.
        assert verdict()["verdict"] != "good"


@pytest.mark.skipif(os.path.exists("/dev/kfd"), reason="the machine has a GPU")
@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_no_gpu_is_not_replaced_by_software(workers: list[str], run: Run, tests: pytest.Pytester) -> None:
    result = run(*GATE, *workers, "-k", "passes", backend="auto", software=None, xdist=bool(workers))
    assert result.ret == INFRASTRUCTURE
    reasons = verdict()["reasons"]
    assert "no usable hardware" in reasons[0]
    assert "software GPUs count only if they are asked for by name" in reasons[0]
    assert verdict()["tests"] == []


def test_a_busy_device_is_not_green(run: Run, tests: pytest.Pytester) -> None:
    leases = LeaseDirectory(tests.path / "leases")
    with leases.take(["sw-gfx942-0"], "another run"):
        options = ("--amdgpu-lease-directory=leases", "--amdgpu-lease-timeout=0")
        assert run(*GATE, *options, "-k", "passes").ret == INFRASTRUCTURE
    assert "sw-gfx942-0 was in use for 0 s" in verdict()["reasons"][0]


def test_tests_that_cannot_be_collected_are_not_green(run: Run, tests: pytest.Pytester) -> None:
    tests.makepyfile(test_broken="import no_such_module")
    result = run(*GATE, "--continue-on-collection-errors", "-k", "passes")
    assert result.ret != GOOD
    assert any("collection of test_broken.py failed" in reason for reason in verdict()["reasons"])


@pytest.mark.parametrize("hook", ["pytest_runtest_setup", "pytest_runtest_logreport", "pytest_sessionfinish"])
def test_a_plugin_that_fails_is_not_green(hook: str, run: Run, tests: pytest.Pytester) -> None:
    tests.makeconftest(f"def {hook}(): raise RuntimeError('a plugin is broken')")
    assert run(*GATE, "-k", "passes").ret != GOOD


def test_a_plugin_that_turns_failures_around_is_not_green(run: Run, tests: pytest.Pytester) -> None:
    """An exit status of failures without a failed test: something was hidden."""
    tests.makeconftest("def pytest_sessionfinish(session): session.exitstatus = 1")
    assert run(*GATE, "-k", "passes").ret == REGRESSION
    assert verdict()["reasons"] == ["pytest reports a failure that belongs to no test"]


def test_an_empty_suite_is_not_green(run: Run, pytester: pytest.Pytester) -> None:
    assert run(*GATE).ret == MUST_RUN
    assert verdict()["reasons"] == ["no test ran on any device"]


def test_a_verdict_that_cannot_be_written_is_not_green(run: Run, tests: pytest.Pytester) -> None:
    assert run("--amdgpu-gate", "--amdgpu-verdict=no/such/place.json", "-k", "passes").ret == USAGE
    # The place is lost while the run goes on, as when a disk is full.
    tests.makeconftest("import shutil\ndef pytest_runtest_teardown(): shutil.rmtree('place', True)")
    Path("place").mkdir()
    result = run("--amdgpu-gate", "--amdgpu-verdict=place/verdict.json", "-k", "passes")
    assert result.ret == INFRASTRUCTURE
    result.stderr.fnmatch_lines(["*amdgpu: the verdict could not be written: *"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_leaves_no_good_verdict(number: int, tests: pytest.Pytester) -> None:
    tests.makepyfile(test_it="def test_waits(amdgpu_device): print('ready', flush=True); input()")
    command = [sys.executable, "-m", "pytest", "-s", *GATE, "--amdgpu-software=gfx1100"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stdin=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        while "ready" not in process.stdout.readline():
            assert process.poll() is None
        assert (verdict()["verdict"], verdict()["complete"]) == ("incomplete", False)
        process.send_signal(number)
        # The supervisor holds it, too, and ends when it has written.
        assert process.stderr is not None
        assert "amdgpu verdict: infrastructure" in process.stderr.read()
    assert process.returncode == -number
    content = verdict()
    assert (content["verdict"], content["complete"]) == ("infrastructure", True)
    assert [(test["outcome"], test["trust"]) for test in content["tests"]] == [("crash", "infra")]
    assert content["devices"]


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
