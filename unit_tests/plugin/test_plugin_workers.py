"""A run of several workers: tests go by devices, and workers die at any moment."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]

AS_ON_HARDWARE = """
    from pytest_amdgpu.devices.machine import Machine

    Machine.is_private = property(lambda machine: False)
"""
"""All processes share the GPUs, which one test at a time may use."""

ONCE = """
    import os, pathlib

    def die_once(name="died"):
        if os.environ.get("PYTEST_XDIST_WORKER"):
            try:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os._exit(9)
"""

JOURNAL = """
    import os, pathlib, time
    import pytest

    @pytest.fixture(autouse=True)
    def journal(request):
        begun = time.monotonic()
        yield
        devices = [value for name, value in request.node.callspec.params.items() if name == "amdgpu_device"]
        devices = request.node.callspec.params.get("amdgpu_devices") or devices
        line = [request.node.nodeid, os.environ["PYTEST_XDIST_WORKER"], begun, time.monotonic()]
        with open("journal", "a") as file:
            file.write(repr((line, [device.id for device in devices])) + "\\n")
"""
"""Each test notes where and when it ran, and on what."""


def journal(path: Path) -> list[tuple[str, str, float, float, list[str]]]:
    lines = (path / "journal").read_text().splitlines()
    return [(*entry, devices) for entry, devices in map(eval, lines)]


def verdict_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "v.json").read_text())
    return content


def assert_one_test_at_a_time(path: Path) -> None:
    entries = journal(path)
    for device in {device for *_, devices in entries for device in devices}:
        uses = sorted((begun, ended) for _, _, begun, ended, devices in entries if device in devices)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(uses))


DIES = """
    import os
    import pytest

    @pytest.fixture
    def fragile(amdgpu_device):
        {setup}
        yield
        {teardown}

    @pytest.mark.parametrize("number", range(6))
    def test_one(number, amdgpu_device): pass

    def test_dies(fragile):
        {call}

    @pytest.mark.parametrize("number", range(6))
    def test_two(number, amdgpu_device): pass
"""


@pytest.mark.parametrize("phase", ["setup", "call", "teardown"])
@pytest.mark.parametrize("workers", ["-n1", "-n2"])
def test_a_test_that_kills_its_worker_is_told_once_and_the_rest_runs(
    run: Run, pytester: pytest.Pytester, phase: str, workers: str
) -> None:
    phases = dict.fromkeys(("setup", "call", "teardown"), "pass") | {phase: "os._exit(9)"}
    pytester.makepyfile(test_many=DIES.format(**phases))
    result = run(workers, "--amdgpu-all-devices", "--amdgpu-seed=3", "--amdgpu-verdict=v.json", xdist=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    records = verdict_of(pytester.path)["tests"]
    tests = {test["id"]: test["outcome"] for test in records}
    crashed = [f"test_many.py::test_dies[sw-{target}-0]" for target in ("gfx942", "gfx1100")]
    texts = {test["id"]: test["text"] for test in records if test["outcome"] == "crash"}
    for name, text in texts.items():
        assert text.startswith("worker 'gw")
        assert text.endswith(f"crashed while running '{name}'")
    assert {name for name, outcome in tests.items() if outcome == "crash"} == {*crashed}
    assert list(tests.values()).count("pass") == 24
    for name in crashed:
        result.stdout.fnmatch_lines([f"worker 'gw*' crashed while running '{name.replace('[', '[[]')}'"])
    result.stdout.fnmatch_lines(
        [
            "device: sw-gfx942-0 (AMD Instinct MI300X, software GPU)",
            "seed: 3",
            "to repeat: pytest --amdgpu-seed=3 --amdgpu-device=sw-gfx942-0 * 'test_many.py::test_dies*'",
        ]
    )
    result.stdout.no_fnmatch_line("*amdgpu: workers that died*")


@pytest.mark.parametrize("hook", ["pytest_sessionstart", "pytest_collection", "pytest_itemcollected"])
def test_a_worker_that_dies_before_it_runs_tests_is_replaced_and_told(
    run: Run, pytester: pytest.Pytester, hook: str
) -> None:
    pytester.makeconftest(f"{ONCE}\n    def {hook}(): die_once()")
    pytester.makepyfile(DIES.format(setup="pass", call="pass", teardown="pass"))
    result = run("-n2", "--amdgpu-gate", xdist=True)
    result.assert_outcomes(passed=13)
    result.stdout.fnmatch_lines(
        ["*workers that died and of no test*", "gw? died before it had collected tests: Not properly*"]
    )
    result.stdout.fnmatch_lines(["*amdgpu verdict: infrastructure*"])
    assert result.ret == 10


@pytest.mark.parametrize("hook", ["pytest_runtest_logfinish(nodeid)", "pytest_runtest_protocol(item)"])
def test_a_worker_that_dies_between_tests_blames_none_of_them(
    run: Run, pytester: pytest.Pytester, hook: str
) -> None:
    name = hook.partition("(")[2].rstrip(")")
    pytester.makeconftest(
        f"{ONCE}\n    import pytest\n    @pytest.hookimpl(trylast={name == 'nodeid'},"
        f" tryfirst={name == 'item'})\n    def {hook}:\n        if '5' in str({name}): die_once()"
    )
    pytester.makepyfile(DIES.format(setup="pass", call="pass", teardown="pass"))
    result = run("-n2", xdist=True)
    result.assert_outcomes(passed=13)
    result.stdout.fnmatch_lines(["gw? died while it ran no test: Not properly terminated"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_without_devices_the_death_of_a_worker_between_tests_is_pytest_xdists_own_business(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(f"{ONCE}\n    def pytest_collection(session): die_once()")
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")
    result = run("-n2", xdist=True)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


def test_a_worker_that_never_collects_ends_the_run_red(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import os\ndef pytest_collection():\n"
        "    if os.environ.get('PYTEST_XDIST_WORKER', 'gw0') not in ('gw0',): os._exit(3)"
    )
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    result = run("--tx=2*popen", "--dist=load", "--amdgpu-verdict=v.json", xdist=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["maximum crashed workers reached: 8"])
    result.stdout.fnmatch_lines(["*tests that were not run*", "test_a_worker*::test_a[[]sw-gfx942-0]"])
    assert [test["outcome"] for test in verdict_of(pytester.path)["tests"]] == ["missing"]


def test_tests_that_no_worker_is_left_for_are_named(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(DIES.format(setup="pass", call="os._exit(9)", teardown="pass"))
    result = run("-n1", "--max-worker-restart=0", "--amdgpu-gate", "--amdgpu-verdict=v.json", xdist=True)
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["*amdgpu: tests that were not run*", *["*::test_two*"] * 6])
    outcomes = [test["outcome"] for test in verdict_of(pytester.path)["tests"]]
    assert outcomes.count("missing") == 6
    assert result.ret == 1


def test_many_tests_that_kill_their_workers_at_the_same_time(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.parametrize("number", range(4))
        def test_dies(number, amdgpu_device): os.abort()

        @pytest.mark.parametrize("number", range(20))
        def test_lives(number, amdgpu_device): pass
        """
    )
    run("-n2", "--amdgpu-all-devices", xdist=True).assert_outcomes(passed=40, failed=8)


def test_a_device_is_opened_by_one_worker_and_its_tests_stay_in_order(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(JOURNAL)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(150))
        def test_short(number, amdgpu_device): pass
        """
    )
    options = ("-n2", "--amdgpu-all-devices", "--maxschedchunk=8")
    run(*options, xdist=True).assert_outcomes(passed=300)
    entries = journal(pytester.path)
    assert len({entry[0] for entry in entries}) == len(entries) == 300
    owners = {(devices[0], worker) for _, worker, _, _, devices in entries}
    # The last tests of a device are shared by both, if one worker is much quicker than the other.
    assert 2 <= len(owners) <= 3


GROUPS = """
    import time
    import pytest

    @pytest.mark.parametrize("number", range(8))
    def test_single(number, amdgpu_device): time.sleep(0.01)

    @pytest.mark.amdgpu(devices=2)
    @pytest.mark.parametrize("number", range(3))
    def test_pair(number, amdgpu_devices): time.sleep(0.01)

    @pytest.mark.parametrize("number", range(8))
    def test_none(number): pass
"""


@pytest.mark.parametrize(
    "mode", ["load", "worksteal", "each"], ids=["by_schedule", "by_locks_worksteal", "by_locks_each"]
)
def test_on_hardware_a_device_is_used_by_one_test_at_a_time(
    run: Run, pytester: pytest.Pytester, mode: str
) -> None:
    pytester.makeconftest(AS_ON_HARDWARE + JOURNAL)
    pytester.makepyfile(GROUPS)
    options = ("-n3", f"--dist={mode}", "--amdgpu-all-devices")
    result = run(*options, software="gfx942,gfx1100,gfx1200", xdist=True)
    result.assert_outcomes(passed=(8 * 3 + 3 * 3 + 8) * (3 if mode == "each" else 1))
    assert_one_test_at_a_time(pytester.path)


def test_a_device_that_another_worker_does_not_give_back_is_the_machines_failure(
    run: Run, pytester: pytest.Pytester
) -> None:
    """Whichever worker has it first keeps it until the other one has failed for it."""
    pytester.makeconftest(
        AS_ON_HARDWARE
        + """
    import pathlib

    def pytest_runtest_logreport(report):
        if report.failed: pathlib.Path("failed").touch()
    """
    )
    pytester.makepyfile(
        """
        import pathlib, time

        def test_keeps(amdgpu_device):
            end = time.monotonic() + 60
            while not pathlib.Path("failed").exists():
                assert time.monotonic() < end
                time.sleep(0.01)
        """
    )
    options = ("-n2", "--dist=each", "--amdgpu-lease-timeout=0.3", "--amdgpu-lease=none", "--amdgpu-gate")
    result = run(*options, xdist=True)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*LeaseTimeoutError: 0000:*was in use for 0.3 s: pid*::test_keeps[[]sw-gfx942-0]*"]
    )
    assert result.ret == 10


QUARANTINE = """
    import pathlib
    import pytest
    from pytest_amdgpu.plugin.session import session_key

    WHERE = "{where}"

    def quarantine(config):
        config.stash[session_key].quarantine.add("sw-gfx942-0", "it smells")
        pathlib.Path("known").touch()

    @pytest.fixture(autouse=True)
    def health(request):
        yield
        if WHERE == "worker" and request.node.name == "test_a[sw-gfx942-0]":
            quarantine(request.config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(session):
        if WHERE == "controller" and not hasattr(session.config, "workerinput"):
            class Listener:
                def pytest_runtest_logreport(self, report):
                    if report.nodeid.endswith("test_a[sw-gfx942-0]") and report.when == "teardown":
                        quarantine(session.config)
            session.config.pluginmanager.register(Listener())
"""


@pytest.mark.parametrize(("workers", "where"), [("-n1", "worker"), ("-n2", "worker"), ("-n2", "controller")])
def test_no_tests_run_on_a_device_in_quarantine_although_workers_have_them(
    run: Run, pytester: pytest.Pytester, workers: str, where: str
) -> None:
    pytester.makeconftest(QUARANTINE.format(where=where))
    pytester.makepyfile(
        test_it="""
        import pathlib, time
        import pytest

        def wait():
            end = time.monotonic() + 60
            while not pathlib.Path("known").exists():
                assert time.monotonic() < end
                time.sleep(0.01)

        def test_a(amdgpu_device):
            # Or the other worker could be the quicker one, and help with the tests of the first device.
            if amdgpu_device.name == "sw-gfx1100-0": wait()

        def test_pause(amdgpu_device): wait()

        @pytest.mark.parametrize("number", range(10))
        def test_b(number, amdgpu_device): pathlib.Path(f"ran-{amdgpu_device.name}-{number}").touch()
        """
    )
    result = run(
        *(workers, "--amdgpu-all-devices", "--amdgpu-gate", "--amdgpu-verdict=v.json", "--junitxml=j.xml"),
        xdist=True,
    )
    assert result.ret == 10
    tests = verdict_of(pytester.path)["tests"]
    failed = [test for test in tests if test["outcome"] == "fail"]
    assert all(test["trust"] == "infra" and test["devices"] == ["sw-gfx942-0"] for test in failed)
    assert {test["text"].partition("QuarantinedError: ")[2] for test in failed} == {
        "sw-gfx942-0 is in quarantine: it smells"
    }
    assert {test["name"] for test in failed if "test_b" in test["name"]} == {
        f"test_it.py::test_b[{number}]" for number in range(10)
    }
    assert sorted(path.name for path in pytester.path.glob("ran-*")) == [
        f"ran-sw-gfx1100-0-{number}" for number in range(10)
    ]
    junit = (pytester.path / "j.xml").read_text()
    assert junit.count("<testcase") == 24
    assert junit.count('name="amdgpu_trust" value="infra"') == len(failed)


def test_a_new_worker_knows_the_quarantine(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import os
        from pytest_amdgpu.plugin.session import session_key

        def pytest_testnodedown(node):
            node.config.stash[session_key].quarantine.add("sw-gfx942-0", "it smells")
        def pytest_collection_finish(session):
            if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
                print(dict(session.config.stash[session_key].quarantine), file=open("known", "w"))
        """
    )
    pytester.makepyfile("import os\ndef test_a(amdgpu_device): os._exit(1)\ndef test_b(amdgpu_device): pass")
    run("-n1", xdist=True).assert_outcomes(failed=1, errors=1)
    assert (pytester.path / "known").read_text() == "{'sw-gfx942-0': 'it smells'}\n"


def test_the_first_failure_ends_a_run_that_is_to_stop(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(JOURNAL)
    pytester.makepyfile(
        """
        import time
        import pytest

        @pytest.mark.parametrize("number", range(100))
        def test_a(number, amdgpu_device):
            time.sleep(0.02)
            assert number != 3
        """
    )
    result = run("-n2", "-x", "--amdgpu-all-devices", xdist=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(journal(pytester.path)) < 60
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    result.stdout.no_fnmatch_line("*amdgpu: tests that were not run*")


def test_workers_that_collect_different_tests_are_refused(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, pytest

        @pytest.mark.parametrize("worker", [os.environ.get("PYTEST_XDIST_WORKER")])
        def test_a(worker, amdgpu_device): pass
        """
    )
    result = run("-n2", xdist=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["Different tests were collected between gw* and gw*"])


def test_a_worker_that_comes_later_and_collects_other_tests_runs_none(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import os, pytest

        new = os.environ.get("PYTEST_XDIST_WORKER") == "gw1"

        def test_dies(amdgpu_device): os._exit(1)

        @pytest.mark.parametrize("number", range(2 + new))
        def test_a(number, amdgpu_device): assert not new
        """
    )
    result = run("-n1", xdist=True)
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["Different tests were collected between the workers before it and gw1*", "*tests that were not run*"]
    )


def test_as_many_workers_as_devices_on_hardware(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(AS_ON_HARDWARE)
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    result = run("-nauto", "--amdgpu-all-devices", software="gfx942,gfx1100,gfx1200", xdist=True)
    result.stdout.fnmatch_lines(["*3 workers*"])
    result.assert_outcomes(passed=3)


def test_software_gpus_need_a_worker_for_each_core(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("import os\nos.sched_getaffinity = lambda pid: {0, 1, 2}")
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    run("-nauto", xdist=True).stdout.fnmatch_lines(["*3 workers*"])


def test_a_conftest_that_chooses_the_number_of_workers_is_heard(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_xdist_auto_num_workers(config): return 4")
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    run("-nauto", xdist=True).stdout.fnmatch_lines(["*4 workers*"])


def test_the_variable_of_pytest_xdist_for_the_number_of_workers_is_heard(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "4")
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    run("-nauto", xdist=True).stdout.fnmatch_lines(["*4 workers*"])


def test_the_number_of_workers_is_chosen_from_devices_that_there_are(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    result = run("-nauto", "--amdgpu-device=gfx1030", xdist=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --amdgpu-device: no device is 'gfx1030'*"])


@pytest.mark.parametrize("mode", ["loadscope", "loadfile", "loadgroup"])
def test_modes_that_do_not_survive_a_death_are_warned_of(
    run: Run, pytester: pytest.Pytester, mode: str
) -> None:
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    result = run("-n1", f"--dist={mode}", xdist=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"amdgpu: warning: --dist={mode} *; --dist=load does not"])
