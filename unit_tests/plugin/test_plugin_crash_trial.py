"""Tests that kill their workers, and are run again by those that come after them (`--amdgpu-confirm`)."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]
GATE = ("--amdgpu-gate", "--amdgpu-verdict=verdict.json")
TWO = "gfx942:2"
"""Two GPUs of one target, of which tests run on the first."""
HELPER = """
    import os

    def run_number(name):
        # Also of processes that are gone.
        with open(f"runs-{name}", "ab") as file:
            file.write(b"x")
            file.flush()
            return file.tell()

    def die(): os._exit(9)
"""


@pytest.fixture
def run(run_alone: Run) -> Run:
    return run_alone


@pytest.fixture
def tests(pytester: pytest.Pytester) -> Callable[[str], None]:
    """Return a function that writes tests, which can call `die()` and `run_number(name)`."""

    def write(text: str) -> None:
        pytester.makepyfile(helper=HELPER, test_it=text)

    return write


def blamed() -> dict[str, tuple[Any, ...]]:
    """What the verdict file says of each test, by its name: outcome, trust, blame, failures of runs."""
    return {
        test["name"].removeprefix("test_it.py::test_"): (
            test["outcome"],
            test["trust"],
            test.get("blame"),
            *(
                f"{count['device'][-1]} {count['failed']}/{count['runs']}"
                for count in test.get("confirmation", ())
            ),
        )
        for test in json.loads(Path("verdict.json").read_text())["tests"]
    }


def test_what_crashes_are_blamed_on(run: Run, tests: Callable[[str], None]) -> None:
    """With -n1 the worker may be replaced four times: deaths in further runs do not count."""
    tests(
        """
        import pytest
        from helper import die, run_number

        @pytest.fixture
        def fragile(amdgpu_device):
            yield
            die()

        def test_bad(fragile): pass
        def test_fails_and_then_dies(amdgpu_device):
            assert run_number("dies") > 1
            die()
        def test_flaky(amdgpu_device): run_number("flaky") % 2 == 0 or die()
        def test_fails(amdgpu_device): assert False
        def test_good(amdgpu_device): pass
        def test_device(amdgpu_device): amdgpu_device.name != "sw-gfx942-0" or die()
        """
    )
    result = run(*GATE, "-n1", "--junitxml=j.xml", software=TWO, xdist=True)
    assert result.ret == 1
    assert blamed() == {
        "bad": ("crash", "clean", "regression", "0 1/1", "1 1/1"),
        "fails_and_then_dies": ("crash", "clean", "regression", "0 1/1", "1 1/1"),
        "flaky": ("crash", "flaky", "flaky", "0 2/3", "1 0/1"),
        "fails": ("fail", "clean", "regression", "0 1/1", "1 1/1"),
        "good": ("pass", "clean", None),
        "device": ("crash", "infra", "device suspect", "0 3/3", "1 0/2"),
    }
    result.stdout.fnmatch_lines(
        [
            "*amdgpu verdict: regression*",
            "test_it.py::test_bad[[]sw-gfx942-0]: crash, regression: failed 1 of 1 on *-0, 1 of 1 on *-1",
            "*amdgpu: failures that were run again*",
        ]
    )
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_device[[]sw-gfx942-0]: failed 1+2 of 3 on *, 0 of 2 on *: device suspect",
            "    sw-gfx942-1: passed",
            "    sw-gfx942-0: failed: worker 'gw*' died: Not properly terminated",
            "    sw-gfx942-0: failed: worker 'gw*' died: Not properly terminated",
            "    sw-gfx942-1: passed",
        ]
    )
    # Nobody died of no test, and each test is one case, that of a crash with its properties, too.
    result.stdout.no_fnmatch_line("*workers that died and of no test*")
    cases = {case.get("name"): case for case in ElementTree.parse("j.xml").iter("testcase")}
    assert len(cases) == 6
    properties = {
        entry.get("name"): entry.get("value") for entry in cases["test_bad[sw-gfx942-0]"].iter("property")
    }
    assert properties["amdgpu_blame"] == "regression"
    assert properties["amdgpu_outcome"] == "crash"


def test_several_workers_that_die(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        import pytest
        from helper import die

        @pytest.mark.parametrize("number", range(3))
        def test_bad(amdgpu_device, number): die()

        @pytest.mark.parametrize("number", range(6))
        def test_good(amdgpu_device, number): pass
        """
    )
    run(*GATE, "-n2", software=TWO, xdist=True)
    assert blamed() == {
        **{f"bad[{number}]": ("crash", "clean", "regression", "0 1/1", "1 1/1") for number in range(3)},
        **{f"good[{number}]": ("pass", "clean", None) for number in range(6)},
    }


def test_a_crash_on_another_host_is_run_again_there(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        from helper import die
        def test_device(amdgpu_device): amdgpu_device.name != "beta/sw-gfx942-0" or die()
        """
    )
    hosts = [("alpha", "gfx1100"), ("beta", "gfx942:2")]
    gateways = [f"--tx=id={name}//popen//env:PYTEST_AMDGPU_SOFTWARE={gpus}" for name, gpus in hosts]
    options = (*gateways, "--dist=load", "--amdgpu-all-devices")
    run(*GATE, *options, backend="auto", software=None, xdist=True)
    content = json.loads(Path("verdict.json").read_text())
    (crash,) = (test for test in content["tests"] if test["outcome"] == "crash")
    assert (crash["blame"], crash["confirmation"]) == (
        "device suspect",
        [
            {"device": "beta/sw-gfx942-0", "failed": 3, "runs": 3},
            {"device": "beta/sw-gfx942-1", "failed": 0, "runs": 2},
        ],
    )


def test_a_crash_on_the_only_device(run: Run, tests: Callable[[str], None]) -> None:
    tests(
        """
        from helper import die, run_number
        def test_unasked(amdgpu_device): run_number("unasked"); die()
        """
    )
    run(*GATE, software="gfx942,gfx1100", xdist=True)
    assert blamed() == {"unasked": ("crash", "clean", None)}
    run(*GATE, "--amdgpu-confirm=2", software="gfx942", xdist=True)
    assert blamed() == {"unasked": ("crash", "clean", "regression", "0 3/3")}
    assert Path("runs-unasked").stat().st_size == 1 + 3


def test_crashes_that_are_not_run_again(
    run: Run, tests: Callable[[str], None], pytester: pytest.Pytester
) -> None:
    tests(
        """
        from helper import die, run_number
        def test_known(amdgpu_device): run_number("known"); die()
        def test_without_a_device(): run_number("without"); die()
        """
    )
    (pytester.mkdir("known") / "all-fails.txt").write_text("test_it.py::test_known,Crash\n")
    result = run("--amdgpu-expectations=known", "-n1", software=TWO, xdist=True)
    assert result.parseoutcomes() == {"xfailed": 1, "failed": 1}
    assert {path.stat().st_size for path in Path().glob("runs-*")} == {1}
    result.stdout.no_fnmatch_line("*run again*")


@pytest.mark.parametrize(
    ("where", "options", "note"),
    [
        ("test", ["-n1", "--max-worker-restart=0"], "no worker was left to run it again"),
        ("collection", ["-n1"], "worker gw2 ended without running it again"),
    ],
)
def test_where_no_worker_comes_to_run_it_again_nothing_follows(
    where: str,
    options: list[str],
    note: str,
    run: Run,
    tests: Callable[[str], None],
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        f"""
        import os
        def pytest_collection():
            if {where == "collection"} and os.environ.get("PYTEST_XDIST_WORKER") in ("gw1", "gw2"):
                os._exit(9)
        """
    )
    tests("from helper import die\ndef test_bad(amdgpu_device): die()\ndef test_next(amdgpu_device): pass")
    result = run(*GATE, *options, software=TWO, xdist=True)
    assert result.ret == 1
    assert blamed() == {
        "bad": ("crash", "clean", None),
        "next": ("missing" if where == "test" else "pass", "clean", None),
    }
    result.stdout.fnmatch_lines(["*: failed 1 of 1 on sw-gfx942-0: nothing follows", f"    {note}"])


def test_what_hangs_are_blamed_on(run: Run, tests: Callable[[str], None]) -> None:
    """A device whose test was killed is used further if it is healthy, until a second one hangs in a row."""
    tests(
        """
        import ctypes

        def never_returns():
            mutex = ctypes.create_string_buffer(64)
            ctypes.CDLL(None).pthread_mutex_lock(mutex)
            ctypes.CDLL(None).pthread_mutex_lock(mutex)

        def test_hangs(amdgpu_device): never_returns()
        def test_good(amdgpu_device): pass
        def test_device(amdgpu_device): amdgpu_device.name != "sw-gfx942-0" or never_returns()
        def test_later(amdgpu_device): pass
        """
    )
    result = run(*GATE, "--amdgpu-deadline=setup=60,test=1,teardown=60", software=TWO, xdist=True)
    assert result.ret == 1
    assert blamed() == {
        # Each run takes as long as it may, so there are no more than needed.
        "hangs": ("timeout", "clean", "regression", "0 1/1", "1 1/1"),
        "good": ("pass", "clean", None),
        "device": ("timeout", "infra", "device suspect", "0 2/2", "1 0/1"),
        "later": ("fail", "infra", None),
    }
    result.stdout.fnmatch_lines(
        [
            "*amdgpu: failures that were run again*",
            "test_it.py::test_hangs[[]sw-gfx942-0]: failed 1 of 1 on *-0, 1 of 1 on *-1: regression",
            "    sw-gfx942-1: failed: Timeout: call of test_it.py::test_hangs[[]sw-gfx942-1] did not end *",
            "*amdgpu: devices in quarantine*",
            "sw-gfx942-0: *::test_device[[]sw-gfx942-0] did not end and could not be interrupted, like"
            " *::test_device[[]sw-gfx942-0] before it",
        ]
    )
