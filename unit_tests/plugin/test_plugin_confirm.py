"""Failures that are run again (`--amdgpu-confirm`): what is blamed, and that nothing is doubled."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_amdgpu.devices.leases import LeaseDirectory

Run = Callable[..., pytest.RunResult]
SCHEMA = json.loads((files("pytest_amdgpu.results") / "verdict_schema.json").read_text())
GATE = ("--amdgpu-gate", "--amdgpu-verdict=verdict.json")
OPTIONS = ("-W", "default", "-o", "junit_family=legacy")
"""Show warnings, and let tests record properties."""
TWO = "gfx942:2"
"""Two GPUs of one target, of which tests run on the first."""


def records() -> dict[str, dict[str, Any]]:
    """What the verdict file says of each test, by its name."""
    content = json.loads(Path("verdict.json").read_text())
    jsonschema.validate(content, SCHEMA)
    return {test["name"].removeprefix("test_it.py::test_"): test for test in content["tests"]}


def runs() -> list[str]:
    """What tests have noted in a file of their own; each line is a run."""
    path = Path("runs")
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def tests(pytester: pytest.Pytester) -> Callable[[str], None]:
    """Return a function that writes tests, which can call `note(device)` and `run_number(name)`."""

    def write(text: str) -> None:
        pytester.makepyfile(
            helper="""
            from collections import Counter
            _runs = Counter()
            def note(text):
                with open("runs", "a") as file: print(text, file=file)
            def run_number(name):
                _runs[name] += 1
                return _runs[name]
            """
        )
        pytester.makepyfile(test_it=text)

    return write


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_what_failures_are_blamed_on(workers: list[str], run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        from helper import run_number
        def test_bad(amdgpu_device): assert False, "wrong"
        def test_setup(amdgpu_device, broken): pass
        import pytest
        @pytest.fixture
        def broken(): raise RuntimeError("no set-up")
        def test_flaky(amdgpu_device): assert run_number("flaky") % 2 == 0
        def test_good(amdgpu_device): pass
        def test_device(amdgpu_device): assert amdgpu_device.name != "sw-gfx942-0"
        def test_later(amdgpu_device): pass
        """
    )
    result = run(*GATE, "--amdgpu-confirm=2", "--junitxml=j.xml", *workers, software=TWO, xdist=bool(workers))
    assert result.ret == 1
    found = records()
    assert {
        name: (test["outcome"], test["trust"], test.get("blame"), test.get("confirmation"))
        for name, test in found.items()
    } == {
        "bad": ("fail", "clean", "regression", counts((3, 3), (2, 2))),
        "setup": ("fail", "clean", "regression", counts((3, 3), (2, 2))),
        "flaky": ("fail", "flaky", "flaky", counts((1, 3), (2, 2))),
        "good": ("pass", "clean", None, None),
        "device": ("fail", "infra", "device suspect", counts((3, 3), (0, 2))),
        "later": ("fail", "infra", None, None),
    }
    assert (
        "sw-gfx942-0 is in quarantine: test_it.py::test_device[sw-gfx942-0] failed" in found["later"]["text"]
    )
    # One result of each, and the verdict with the counts.
    result.assert_outcomes(passed=1, failed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*amdgpu verdict: regression*",
            "test_it.py::test_flaky[[]sw-gfx942-0]: fail, flaky: failed 1+0 of 3 on sw-gfx942-0, 2 of 2 on *",
            "*amdgpu: failures that were run again*",
            "test_it.py::test_bad[[]sw-gfx942-0]: failed 1+2 of 3 on sw-gfx942-0, 2 of 2 on *-1: regression",
            "    sw-gfx942-0: failed: *wrong",
            "    sw-gfx942-1: failed: *wrong",
            "test_it.py::test_device[[]sw-gfx942-0]: failed 1+2 of 3 on *, 0 of 2 on *: device suspect",
        ]
    )
    cases = list(ElementTree.parse("j.xml").iter("testcase"))
    assert len(cases) == 6
    assert [len(case.findall("failure") + case.findall("error")) for case in cases] == [1, 1, 1, 0, 1, 1]
    properties = {entry.get("name"): entry.get("value") for entry in cases[4].iter("property")}
    assert properties["amdgpu_blame"] == "device suspect"
    assert properties["amdgpu_confirmation"] == "sw-gfx942-0 3/3, sw-gfx942-1 0/2"


def counts(own: tuple[int, int], other: tuple[int, int] | None = None) -> list[dict[str, object]]:
    """What a record says of failures and runs on the first device, and on the second one."""
    found = [own] if other is None else [own, other]
    return [
        {"device": f"sw-gfx942-{index}", "failed": failed, "runs": runs}
        for index, (failed, runs) in enumerate(found)
    ]


NOTES = """
    from helper import note, run_number
    def test_it(amdgpu_device):
        note(amdgpu_device.name[-1])
        assert {condition}
"""


@pytest.mark.parametrize(
    ("options", "software", "condition", "expected", "status"),
    [
        # By default: elsewhere first, here only where that leaves a question.
        ([], TWO, "False", "01", 1),
        ([], TWO, "run_number('') > 1", "010", 1),
        ([], TWO, "amdgpu_device.name[-1] == '1'", "01001", 10),
        ([], "gfx942,gfx1100", "False", "0", 1),
        (["--amdgpu-confirm=0"], TWO, "False", "0", 1),
        (["--amdgpu-confirm=1"], "gfx942", "False", "00", 1),
        (["--amdgpu-confirm=1"], TWO, "False", "001", 1),
        (["--amdgpu-confirm=3"], TWO, "amdgpu_device.name[-1] == '1'", "0010101", 10),
        # The run may use no other device.
        (["--amdgpu-device=sw-gfx942-0"], TWO, "False", "0", 1),
        (["-x"], TWO, "False", "01", 1),
        (["-s"], TWO, "False", "01", 1),
        (["--amdgpu-confirm=1", "--setup-only"], TWO, "False", "", 10),
    ],
)
def test_how_often_a_failure_is_run_again(
    options: list[str],
    software: str,
    condition: str,
    expected: str,
    status: int,
    run: Run,
    tests: Callable[[str], None],
) -> None:
    tests(NOTES.format(condition=condition))
    assert run("--amdgpu-gate", *options, software=software).ret == status
    assert "".join(runs()) == expected


def test_who_debugs_sees_a_failure_once(run: Run, tests: Callable[[str], None]) -> None:
    tests(NOTES.format(condition="False"))
    result = run("--pdb", "--pdbcls=helper:Nobody", software=TWO)
    assert "".join(runs()) == "0"
    result.assert_outcomes(failed=1)


def test_what_needs_no_explanation_is_not_run_again(
    run: Run, tests: Callable[[str], None], pytester: pytest.Pytester
) -> None:
    tests(
        """
        import pytest
        from helper import note
        def test_lost(amdgpu_device):
            note("lost")
            from pytest_amdgpu.plugin.session import DeviceLostError
            raise DeviceLostError("it is gone")
        def test_known(amdgpu_device): note("known"); assert False
        def test_flake(amdgpu_device): note("flake"); assert False
        def test_better(amdgpu_device): note("better")
        @pytest.mark.xfail
        def test_xfail(amdgpu_device): note("xfail"); assert False
        @pytest.mark.skip
        def test_skipped(amdgpu_device): note("skipped")
        def test_without_a_device(): note("without"); assert False
        """
    )
    directory = pytester.mkdir("known")
    (directory / "all-fails.txt").write_text("test_it.py::test_known,Fail\ntest_it.py::test_better,Fail\n")
    (directory / "all-flakes.txt").write_text("test_it.py::test_flake\n")
    result = run("--amdgpu-expectations=known", "--amdgpu-confirm=1", software=TWO)
    result.assert_outcomes(failed=3, xfailed=3, skipped=1)
    assert runs() == ["lost", "known", "flake", "better", "xfail", "without"]
    assert "run again" not in result.stdout.str()


def test_nothing_of_a_test_is_doubled(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        import pytest, warnings
        from helper import note
        @pytest.fixture
        def each(amdgpu_device):
            note("set up")
            yield
            note("taken down")
        @pytest.fixture(scope="module")
        def wide():
            note("wide")
        def test_it(wide, each, amdgpu_device, record_property, rng):
            print("it speaks")
            warnings.warn("take care")
            record_property("size", 7)
            amdgpu_device.vram(4096)
            note(rng.integers(1 << 30))
            assert False
        def test_next(wide, amdgpu_device): pass
        """
    )
    result = run("--amdgpu-confirm=2", "--junitxml=j.xml", *OPTIONS, software=TWO)
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    # The same numbers on both devices, or a failure that depends on them would be blamed on one.
    wide, *each = runs()
    assert wide == "wide"
    number = each[1]
    assert each == ["set up", number, "taken down"] * 5
    assert result.stdout.str().count("it speaks") == 2  # in the source, and captured
    assert len([line for line in result.outlines if "made at" in line]) == 1
    case, _ = ElementTree.parse("j.xml").iter("testcase")
    names = [entry.get("name") for entry in case.iter("property")]
    assert (names.count("size"), names.count("amdgpu_leak")) == (1, 1)


def test_fixtures_of_a_module_are_tried_again(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        import pytest
        from helper import note, run_number
        @pytest.fixture(scope="module")
        def wide(amdgpu_device):
            note(amdgpu_device.name[-1])
            assert run_number("") > 1
        def test_it(wide): pass
        def test_next(wide): pass
        """
    )
    result = run("--amdgpu-confirm=1", software=TWO)
    result.stdout.fnmatch_lines(["*: failed 1+0 of 2 on sw-gfx942-0, 0 of 1 on sw-gfx942-1: flaky"])
    result.assert_outcomes(passed=1, errors=1)
    assert "".join(runs()) == "0010"


def test_each_run_has_the_time_of_a_test(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        import pytest, signal, threading
        from helper import note, run_number
        @pytest.mark.timeout(3000)
        def test_slow(amdgpu_device):
            # As if most of the time had passed.
            left, _ = signal.setitimer(signal.ITIMER_REAL, 1000)
            note("all" if 2000 < left <= 3000 else f"only {left} s")
            assert False, "in time"
        @pytest.mark.timeout(1, func_only=True)
        def test_hangs_when_run_again(amdgpu_device):
            if run_number("") > 1: threading.Event().wait(60)
            assert False
        """
    )
    result = run("--amdgpu-confirm=1", software=TWO)
    result.assert_outcomes(failed=2)
    assert runs() == ["all"] * 3
    result.stdout.fnmatch_lines(
        [
            "*: failed 1+1 of 2 on sw-gfx942-0, 1 of 1 on sw-gfx942-1: regression",
            "    sw-gfx942-0: failed: AssertionError: in time",
            "    sw-gfx942-1: failed: AssertionError: in time",
            "*: failed 1+1 of 2 on sw-gfx942-0, 1 of 1 on sw-gfx942-1: regression",
            "    sw-gfx942-0: failed: *Timeout*from pytest-timeout*",
        ]
    )


def test_groups_of_devices(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        import pytest
        from helper import note
        @pytest.mark.amdgpu(devices=2, relation="same_family")
        def test_it(amdgpu_devices):
            names = [device.name[-1] for device in amdgpu_devices]
            note("".join(names))
            assert "0" not in names
        """
    )
    result = run(*GATE, software="gfx942:3")
    assert runs() == ["01", "12", "01", "01", "12"]
    assert result.ret == 10
    assert records()["it"]["confirmation"] == [
        {"device": "sw-gfx942-0+sw-gfx942-1", "failed": 3, "runs": 3},
        {"device": "sw-gfx942-1+sw-gfx942-2", "failed": 0, "runs": 2},
    ]


def test_a_device_that_others_use_is_left_alone(
    run: Run, tests: Callable[[str], None], pytester: pytest.Pytester
) -> None:
    tests(NOTES.format(condition="False"))
    with LeaseDirectory(pytester.path / "leases").take(["sw-gfx942-1"], "another run"):
        result = run("--amdgpu-lease-directory=leases", "--amdgpu-confirm=1", software="gfx942:3")
    assert "".join(runs()) == "002"
    result.stdout.fnmatch_lines(
        [
            "*: failed 1+1 of 2 on sw-gfx942-0, 1 of 1 on sw-gfx942-2: regression",
            "    sw-gfx942-0: failed: *",
            "    sw-gfx942-1: not tried: sw-gfx942-1 was in use for 0 s: *another run*",
        ]
    )


def test_a_test_that_must_not_run_elsewhere_does_not(
    run: Run, tests: Callable[[str], None], pytester: pytest.Pytester
) -> None:
    tests(NOTES.format(condition="False"))
    pytester.makeconftest(
        """
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                if "sw-gfx942-1" in item.nodeid: item.add_marker(pytest.mark.skip(reason="hangs there"))
        """
    )
    result = run("--amdgpu-confirm=1", "--amdgpu-all-devices", software=TWO)
    assert "".join(runs()) == "00"
    result.stdout.fnmatch_lines(["    sw-gfx942-1: did not run it: *hangs there"])


def test_where_no_device_can_be_used_the_machine_is_to_blame(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        from helper import run_number
        from pytest_amdgpu.plugin.session import DeviceLostError
        def test_it(amdgpu_device):
            if run_number("") > 1: raise DeviceLostError("the driver is gone")
            assert False
        """
    )
    result = run(*GATE, software=TWO)
    assert result.ret == 10
    assert (records()["it"]["blame"], records()["it"]["confirmation"]) == ("machine", counts((1, 1)))
    result.stdout.fnmatch_lines(
        [
            "*: failed 1 of 1 on sw-gfx942-0: machine",
            "    sw-gfx942-1: cannot be used: *DeviceLostError: the driver is gone",
            "    sw-gfx942-0: cannot be used: *DeviceLostError: the driver is gone",
        ]
    )
    # With its only device lost it may have been the test that broke it.
    assert run(*GATE, "--amdgpu-confirm=1", software="gfx942").ret == 1
    assert "blame" not in records()["it"]


def test_ctrl_c_ends_the_further_runs_too(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        from helper import note, run_number
        def test_it(amdgpu_device):
            note("run")
            if run_number("") > 1: raise KeyboardInterrupt
            assert False
        def test_next(amdgpu_device): note("next")
        """
    )
    result = run(*GATE, "--amdgpu-confirm=5", software=TWO)
    assert runs() == ["run", "run"]
    assert result.ret == 1
    assert {name: test["outcome"] for name, test in records().items()} == {"it": "fail", "next": "missing"}


@pytest.mark.parametrize("value", ["-1", "many", "1001"])
def test_a_number_that_cannot_be(value: str, run: Run) -> None:
    result = run(f"--amdgpu-confirm={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*argument --amdgpu-confirm: '{value}' is not a number from 0 to 1000"])


def test_subtests_of_further_runs_count_and_are_no_results(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        from helper import run_number
        def test_bad(amdgpu_device, subtests):
            with subtests.test("a"): assert False
            with subtests.test("b"): pass
        def test_flaky(amdgpu_device, subtests):
            with subtests.test("a"): assert run_number("flaky") > 1
        """
    )
    result = run(*GATE, "--amdgpu-confirm=1", "-n1", software=TWO, xdist=True)
    found = {name: (test["outcome"], test["blame"], test["confirmation"]) for name, test in records().items()}
    assert found == {
        "bad": ("fail", "regression", counts((2, 2), (1, 1))),
        "flaky": ("fail", "flaky", counts((1, 2), (0, 1))),
    }
    # A test that fails, and a subtest of it.
    result.assert_outcomes(failed=4)
