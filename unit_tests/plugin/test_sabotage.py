"""Ways to make a gate green although nothing, or not all, was proven. None may be.

Each case is one way, by its name. Most are a command line, or a file that the run meets; what needs more is a
test of its own below.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from gate_cases import (
    GATE,
    GOOD,
    INFRASTRUCTURE,
    KILL_SUPERVISOR,
    MUST_RUN,
    REGRESSION,
    TESTS,
    USAGE,
    verdict,
)

from pytest_amdgpu.devices.leases import LeaseDirectory

Run = Callable[..., pytest.RunResult]
WORKER = ["-n1"]
"""Tests run in a worker of pytest-xdist, as they do in a gate unless somebody leaves that plugin out."""


@pytest.fixture
def run(run_alone: Run) -> Run:
    return run_alone


@pytest.fixture
def tests(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_it=TESTS)
    # Of an earlier run, which was green.
    Path("verdict.json").write_text('{"verdict": "good", "complete": true}')
    Path("more.toml").write_text("[[must_run]]\ntests = ['test_more.py::test_more']\n")
    return pytester


COMMAND_LINES = {
    "all-skipped": (["-k", "skipped"], MUST_RUN),
    "all-skipped-in-workers": (["-n2", "-k", "skipped"], MUST_RUN),
    "nothing-applies": (["-k", "not_applicable"], MUST_RUN),
    "all-expected-to-fail": (["-k", "expected"], MUST_RUN),
    "deselected-by-a-typo": (["-k", "pases"], MUST_RUN),
    "deselected-by-a-typo-in-workers": (["-n2", "-k", "pases"], MUST_RUN),
    "deselected-by-a-marker": (["-m", "gpu", "-o", "markers=gpu"], MUST_RUN),
    "all-deselected": (["--deselect=test_it.py"], MUST_RUN),
    "only-collected": (["--collect-only"], MUST_RUN),
    "only-planned": (["--setup-plan", "-k", "passes"], INFRASTRUCTURE),
    "only-set-up": (["--setup-only", "-k", "passes"], INFRASTRUCTURE),
    "only-fixtures-are-shown": (["--fixtures", "-k", "passes"], USAGE),
    "only-fixtures-of-tests-are-shown": (["--fixtures-per-test", "-k", "passes"], USAGE),
    "only-markers-are-shown": (["--markers", "-k", "passes"], USAGE),
    "no-test-uses-a-gpu": (["-k", "without_a_gpu"], MUST_RUN),
    "only-help-is-shown": (["--help"], INFRASTRUCTURE),
    "a-part-is-left-out": (["-k", "passes", "-p", "no:amdgpu_gate"], USAGE),
    "a-named-test-is-skipped": (["test_it.py::test_passes", "test_it.py::test_skipped"], MUST_RUN),
    "file-is-absent": (["test_gone.py"], USAGE),
    "test-is-absent": (["test_it.py::test_gone"], USAGE),
    "device-is-absent": (["--amdgpu-device=gfx90a"], USAGE),
    "model-is-absent": (["--amdgpu-software=gfx7"], USAGE),
    "plugin-is-absent": (["-k", "passes", "-p", "no_such_plugin"], USAGE),
    "this-plugin-is-left-out": (["-k", "passes", "-p", "no:amdgpu"], USAGE),
    "expectations-are-absent": (["--amdgpu-expectations=none"], USAGE),
    "contract-is-absent": (["--amdgpu-must-run=none.toml"], USAGE),
    "model-file-is-absent": (["--amdgpu-model=none.toml"], USAGE),
    "test-hangs": (["-k", "passes or hangs"], REGRESSION),
    "teardown-fails": (["-k", "passes or teardown"], REGRESSION),
    "device-is-lost": (["-k", "passes or loses"], INFRASTRUCTURE),
    "ctrl-c-in-a-test": (["-k", "passes or interrupts"], INFRASTRUCTURE),
    "pytest-exit-in-a-test": (["-k", "passes or exits"], INFRASTRUCTURE),
    "ended-after-a-failure": (["-k", "passes or fails or teardown", "-x"], REGRESSION),
    "ended-after-some-failures": (["--maxfail=1", "-k", "passes or fails"], REGRESSION),
    "worker-dies": (["-n1", "-k", "passes or crashes"], REGRESSION),
    "no-worker-is-left": (["-n1", "-k", "passes or crashes", "--max-worker-restart=0"], REGRESSION),
}


@pytest.mark.parametrize(("options", "status"), COMMAND_LINES.values(), ids=COMMAND_LINES)
def test_a_command_line(options: list[str], status: int, run: Run, tests: pytest.Pytester) -> None:
    result = run(*GATE, *options, xdist=any(option.startswith("-n") for option in options))
    assert result.ret == status
    if "-p" not in options:
        # Where pytest or this plugin does not come up at all, nobody is there to write.
        assert verdict()["verdict"] != "good"
        assert (verdict()["verdict"] == "usage") == (status == USAGE)


def test_a_worker_is_asked_for_what_is_absent(run: Run, tests: pytest.Pytester) -> None:
    """pytest-xdist does not say what is wrong."""
    result = run(*GATE, "-n2", "test_it.py::test_gone", "gone.py", "test_it.py", xdist=True)
    assert result.ret == USAGE
    reasons = [f"not found: {tests.path}/test_it.py::test_gone", "file or directory not found: gone.py"]
    assert verdict()["verdict"] == "usage"
    assert sorted(verdict()["reasons"]) in (sorted(reasons), reasons[1:])
    result.stdout.fnmatch_lines(["*amdgpu verdict: usage*", "file or directory not found: gone.py"])


class Found(NamedTuple):
    """What a run finds: the text of a file, and what it says of it."""

    file: str
    text: str
    status: int
    reason: str
    options: tuple[str, ...] = ("-k", "passes")


def hook(name: str, body: str = "raise RuntimeError('a plugin is broken')") -> str:
    """Return a conftest.py with one hook."""
    return f"import atexit, ctypes, os, pytest, signal, sys\ndef {name}: {body}"


KNOWN = ("--amdgpu-expectations=.", "-k", "passes")
FILES = {
    "test-cannot-be-imported": Found(
        "test_broken.py",
        "import no_such_module",
        INFRASTRUCTURE,
        "collection of test_broken.py failed",
        ("--continue-on-collection-errors", "-k", "passes"),
    ),
    "test-deselected-by-a-conftest": Found(
        "conftest.py",
        hook("pytest_collection_modifyitems(items)", "items.clear()"),
        MUST_RUN,
        "no test ran on any device",
    ),
    "plugin-fails-at-set-up": Found(
        "conftest.py", hook("pytest_runtest_setup()"), REGRESSION, "test_it.py::test_passes"
    ),
    "plugin-fails-at-a-report": Found(
        "conftest.py", hook("pytest_runtest_logreport()"), INFRASTRUCTURE, "a plugin is broken"
    ),
    "plugin-fails-at-the-end": Found(
        "conftest.py", hook("pytest_sessionfinish()"), INFRASTRUCTURE, "the end of the session failed"
    ),
    "plugin-leaves-the-controller": Found(
        "conftest.py",
        hook(
            "pytest_runtest_logreport(report)",
            "os.environ.get('PYTEST_XDIST_WORKER') or ctypes.CDLL(None)._exit(0)",
        ),
        INFRASTRUCTURE,
        "died before the end of the run",
        (*WORKER, "-k", "passes"),
    ),
    "process-leaves-at-exit": Found(
        "conftest.py",
        hook("pytest_configure()", "atexit.register(lambda: os._exit(0))"),
        REGRESSION,
        "test_it.py::test_fails",
        ("-k", "passes or fails"),
    ),
    "process-crashes-at-exit": Found(
        "conftest.py",
        hook("pytest_configure()", "atexit.register(lambda: os.kill(os.getpid(), signal.SIGSEGV))"),
        INFRASTRUCTURE,
        "pytest's process ended with -11, and its verdict did not say so",
    ),
    "plugin-forgets-the-status": Found(
        "conftest.py",
        hook("pytest_sessionfinish(session)", "session.exitstatus = 0"),
        REGRESSION,
        "test_it.py::test_fails",
        ("-k", "passes or fails"),
    ),
    "plugin-forgets-the-status-later": Found(
        "conftest.py",
        "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        "def pytest_sessionfinish(session):\n    yield\n    session.exitstatus = 0",
        REGRESSION,
        "test_it.py::test_fails",
        ("-k", "passes or fails"),
    ),
    "plugin-returns-from-main": Found(
        "conftest.py",
        "import pytest\n@pytest.hookimpl(tryfirst=True)\ndef pytest_cmdline_main(): return 0",
        INFRASTRUCTURE,
        "",
    ),
    "plugin-ends-the-run-before-it-begins": Found(
        "conftest.py",
        hook("pytest_sessionstart()", "pytest.exit('nothing to do', returncode=0)"),
        INFRASTRUCTURE,
        "",
    ),
    "plugin-ends-the-end": Found(
        "conftest.py",
        hook("pytest_sessionfinish()", "pytest.exit('all done', returncode=0)"),
        INFRASTRUCTURE,
        "the end of the session failed",
    ),
    "named-file-has-no-test": Found(
        "test_more.py",
        "def check_more(amdgpu_device): pass",
        MUST_RUN,
        "test_more.py: there is no test",
        ("test_it.py", "test_more.py", "-k", "passes"),
    ),
    "named-file-has-no-test-in-workers": Found(
        "test_more.py",
        "def check_more(amdgpu_device): pass",
        MUST_RUN,
        "test_more.py: there is no test",
        (*WORKER, "test_it.py", "test_more.py", "-k", "passes"),
    ),
    "named-file-skips-itself": Found(
        "test_more.py",
        "import pytest\npytest.importorskip('no_such_module')",
        MUST_RUN,
        "test_more.py: no test of it ran (skipped)",
        ("test_it.py::test_passes", "test_more.py"),
    ),
    "named-device-runs-nothing": Found(
        "test_more.py",
        "import pytest\n@pytest.mark.amdgpu_targets('gfx942')\ndef test_more(amdgpu_device): pass",
        MUST_RUN,
        "no test ran on sw-gfx1100-0, which --amdgpu-device names",
        ("--amdgpu-device=gfx942", "--amdgpu-device=gfx1100", "test_more.py"),
    ),
    "list-of-parameters-is-empty": Found(
        "test_more.py",
        "import pytest\n@pytest.mark.parametrize('file', [])\ndef test_more(amdgpu_device, file): pass",
        MUST_RUN,
        "test_more.py::test_more[sw-gfx942-0-NOTSET]: got empty parameter set",
        ("-k", "passes or more"),
    ),
    "class-is-not-collected": Found(
        "test_more.py",
        "class TestMore:\n    def __init__(self): pass\n    def test_more(self, amdgpu_device): assert 0",
        INFRASTRUCTURE,
        "collection of test_more.py::TestMore failed: pytest.PytestCollectionWarning: cannot collect",
        ("--continue-on-collection-errors", "-k", "passes"),
    ),
    "device-is-a-mock": Found(
        "conftest.py",
        "import pytest, unittest.mock\n@pytest.fixture(scope='session')\n"
        "def amdgpu_device(request): return unittest.mock.MagicMock()",
        REGRESSION,
        "test_it.py::test_passes",
    ),
    "plugin-runs-failures-again": Found(
        "conftest.py",
        """if True:
    from _pytest.runner import runtestprotocol

    def pytest_runtest_protocol(item, nextitem):
        for again in (True, False):
            for report in runtestprotocol(item, log=False, nextitem=nextitem):
                if again and report.failed:
                    report.outcome = 'rerun'
                item.ihook.pytest_runtest_logreport(report=report)
            item.obj = lambda amdgpu_device: None
        return True
    """,
        REGRESSION,
        "test_it.py::test_fails[sw-gfx942-0]: fail",
        ("-k", "passes or fails"),
    ),
    "workers-ignore-assert-statements": Found(
        "conftest.py",
        "import os\nos.environ['PYTHONOPTIMIZE'] = '1'",
        INFRASTRUCTURE,
        "worker gw0 died outside of a test",
        (*WORKER, "--assert=plain", "-k", "passes or fails", "--max-worker-restart=0"),
    ),
    "plugin-knows-of-a-failure": Found(
        "conftest.py",
        hook("pytest_sessionfinish(session)", "session.exitstatus = 1"),
        REGRESSION,
        "pytest reports a failure that belongs to no test",
    ),
    "exit-of-the-process": Found(
        "conftest.py",
        hook("pytest_runtest_teardown()", "os._exit(0)"),
        REGRESSION,
        "test_it.py::test_passes[sw-gfx942-0]: crash",
        (*WORKER, "-k", "passes"),
    ),
    "worker-ends-at-its-start": Found(
        "conftest.py",
        hook("pytest_sessionstart(session)", "hasattr(session.config, 'workerinput') and os._exit(0)"),
        INFRASTRUCTURE,
        "worker gw0 died outside of a test",
        (*WORKER, "-k", "passes", "--max-worker-restart=0"),
    ),
    "worker-is-killed-while-it-collects": Found(
        "conftest.py",
        hook("pytest_collection_modifyitems()", "os.kill(os.getpid(), signal.SIGKILL)"),
        INFRASTRUCTURE,
        "worker gw0 died outside of a test",
        (*WORKER, "-k", "passes", "--max-worker-restart=0"),
    ),
    "worker-is-killed-at-its-end": Found(
        "conftest.py",
        hook(
            "pytest_sessionfinish(session)",
            "hasattr(session.config, 'workerinput') and os.kill(os.getpid(), signal.SIGKILL)",
        ),
        INFRASTRUCTURE,
        "worker gw0 died outside of a test",
        (*WORKER, "-k", "passes", "--max-worker-restart=0"),
    ),
    "contract-is-corrupt": Found(
        "contract.toml", "[[must_run]\n", USAGE, "", ("--amdgpu-must-run=contract.toml",)
    ),
    "contract-is-empty": Found("contract.toml", "", USAGE, "", ("--amdgpu-must-run=contract.toml",)),
    "one-of-two-contracts-is-met": Found(
        "contract.toml",
        "[[must_run]]\n",
        MUST_RUN,
        "test_more.py::test_more",
        ("--amdgpu-must-run=more.toml", "--amdgpu-must-run=contract.toml", "-k", "passes"),
    ),
    "gpu-is-hidden": Found(
        "contract.toml",
        "[[must_run]]\ndevices = 3\n",
        MUST_RUN,
        "tests must run on 3 devices, and ran on 2",
        ("--amdgpu-must-run=contract.toml", "--amdgpu-all-devices", "-k", "passes"),
    ),
    "test-that-must-run-is-expected-not-to": Found(
        "test_more.py",
        "import pytest\n@pytest.mark.xfail(run=False)\ndef test_more(amdgpu_device): assert False",
        MUST_RUN,
        "test_more.py::test_more",
        ("--amdgpu-must-run=more.toml", "-k", "passes or more"),
    ),
    "expectations-are-corrupt": Found("all-fails.txt", "test_it.py::test_pa\0\n", USAGE, "", KNOWN),
    "expectations-are-cut-off": Found("all-fails.txt", "test_it.py::test_passes,F", USAGE, "", KNOWN),
    "expectations-are-misnamed": Found("gfx942-skip.txt", "nothing\n", USAGE, "", KNOWN),
    "expectations-skip-everything": Found(
        "all-skips.txt", ".*\n", MUST_RUN, "no test ran on any device", KNOWN
    ),
    "expectations-know-everything-to-be-flaky": Found(
        "all-flakes.txt",
        ".*\n",
        MUST_RUN,
        "no test passed on any device",
        ("--amdgpu-expectations=.", "-k", "fails"),
    ),
    "expectation-is-of-a-test-that-is-skipped-now": Found(
        "all-fails.txt",
        "test_it.py::test_skipped,Fail\n",
        REGRESSION,
        "test_it.py::test_skipped",
        ("--amdgpu-expectations=.", "-k", "passes or skipped"),
    ),
    "expectations-know-tests-that-are-gone": Found(
        "all-fails.txt",
        "test_it.py::test_gone,Fail\n",
        MUST_RUN,
        "all-fails.txt:1: test_it.py::test_gone was not collected: mend the name, or remove the line",
        KNOWN,
    ),
    "expectation-has-expired": Found(
        "all-fails.txt",
        "# Expires: 2020-01-01\ntest_it.py::test_fails,Fail\n",
        REGRESSION,
        "test_it.py::test_fails",
        ("--amdgpu-expectations=.", "-k", "passes or fails"),
    ),
    "clock-went-back-before-an-expectation-expired": Found(
        "all-fails.txt",
        "# Date: 2200-01-01\n# Expires: 2201-01-01\ntest_it.py::test_fails,Fail\n",
        REGRESSION,
        "test_it.py::test_fails",
        ("--amdgpu-expectations=.", "-k", "passes or fails"),
    ),
}


@pytest.mark.parametrize("found", FILES.values(), ids=FILES)
def test_a_file(found: Found, run: Run, tests: pytest.Pytester) -> None:
    Path(found.file).write_text(found.text)
    result = run(*GATE, *found.options, xdist="-n1" in found.options)
    assert result.ret == found.status
    content = verdict()
    assert content["verdict"] != "good"
    assert any(found.reason in reason for reason in content["reasons"]) or not found.reason


@pytest.mark.skipif(os.path.exists("/dev/kfd"), reason="the machine has a GPU")
@pytest.mark.parametrize("workers", [[], WORKER], ids=["here", "in-a-worker"])
def test_no_gpu_and_software_was_not_asked_for(workers: list[str], run: Run, tests: pytest.Pytester) -> None:
    result = run(*GATE, *workers, "-k", "passes", backend="auto", software=None, xdist=bool(workers))
    assert result.ret == INFRASTRUCTURE
    reasons = verdict()["reasons"]
    assert "no GPU: " in reasons[0]
    assert "software GPUs count only if they are asked for by name" in reasons[0]
    assert verdict()["tests"] == []


def test_an_empty_suite(run: Run, pytester: pytest.Pytester) -> None:
    assert run(*GATE).ret == MUST_RUN
    assert verdict()["reasons"] == ["no test ran on any device"]


def test_two_runs_at_once_want_one_device(run: Run, tests: pytest.Pytester) -> None:
    with LeaseDirectory(tests.path / "leases").take(["sw-gfx942-0"], "another run"):
        options = ("--amdgpu-lease-directory=leases", "--amdgpu-lease-timeout=0")
        assert run(*GATE, *options, "-k", "passes").ret == INFRASTRUCTURE
    assert "sw-gfx942-0 was in use for 0 s" in verdict()["reasons"][0]


def test_a_worker_is_killed_at_each_phase_of_a_test(run: Run, tests: pytest.Pytester) -> None:
    """Each in a test of its own: each alone makes the verdict bad, because each is a record that is."""
    tests.makepyfile(
        test_it="""
        import os, pytest, signal
        def die(): os.kill(os.getpid(), signal.SIGKILL)
        @pytest.fixture
        def at_set_up(amdgpu_device): die()
        @pytest.fixture
        def at_tear_down(amdgpu_device):
            yield
            die()
        def test_set_up(at_set_up): pass
        def test_call(amdgpu_device): die()
        def test_tear_down(at_tear_down): pass
        def test_passes(amdgpu_device): pass
        """
    )
    assert run(*GATE, *WORKER, xdist=True).ret == REGRESSION
    assert {test["name"].partition("_it.py::")[2]: test["outcome"] for test in verdict()["tests"]} == {
        "test_set_up": "crash",
        "test_call": "crash",
        # It had passed before.
        "test_tear_down": "crash",
        "test_passes": "pass",
    }
    assert len(verdict()["reasons"]) == 3


def test_what_only_looks_as_if_it_had_passed(run: Run, tests: pytest.Pytester) -> None:
    """Each in a test of its own: each alone makes the verdict bad, because each is a record that is."""
    tests.makepyfile(
        test_it="""
        import pytest, threading
        from pytest_amdgpu.plugin.session import DeviceLostError
        def test_thread(amdgpu_device):
            def check(): assert amdgpu_device is None
            thread = threading.Thread(target=check)
            thread.start()
            thread.join()
        def test_returns(amdgpu_device): return amdgpu_device is None
        @pytest.mark.parametrize("name", ["sw-gfx942-0", "x"])
        def test_named_like_a_device(name): pass
        @pytest.mark.xfail
        def test_lost(amdgpu_device): raise DeviceLostError("it is gone")
        def test_subtests(amdgpu_device, subtests):
            with subtests.test("only"): pytest.skip("not today")
        """
    )
    assert run(*GATE, "-W", "ignore", xdist=True).ret == REGRESSION
    found = {
        test["name"].partition("::test_")[2]: (test["outcome"], test["trust"], test["expected"])
        for test in verdict()["tests"]
    }
    failed = ("fail", "clean", "")
    assert found == {
        "thread": failed,
        "returns": failed,
        "named_like_a_device": failed,
        "named_like_a_device[x]": failed,
        "lost": ("fail", "infra", "xfail"),
        "subtests": ("skipped", "clean", ""),
    }


def test_what_is_left_out_of_pytest(run: Run, tests: pytest.Pytester) -> None:
    names = (
        "cacheprovider capture debugging doctest faulthandler junitxml legacypath logging monkeypatch"
        " pastebin recwarn setuponly setupplan skipping stepwise subtests terminal timeout"
        " tmpdir unittest warnings"
    )
    left_out = [part for name in names.split() for part in ("-p", f"no:{name}")]
    tests.makepyfile(
        test_it="""
        import threading
        def test_fails(amdgpu_device): assert amdgpu_device is None
        def test_thread(amdgpu_device):
            def check(): assert amdgpu_device is None
            thread = threading.Thread(target=check)
            thread.start()
            thread.join()
        def test_passes(amdgpu_device): pass
        """
    )
    assert run(*GATE, *left_out).ret == REGRESSION
    assert [test["outcome"] for test in verdict()["tests"]] == ["fail", "fail", "pass"]
    assert run("--amdgpu-gate", "-p", "no:threadexception").ret == USAGE


def test_a_contract_whose_variable_is_empty(run: Run, tests: pytest.Pytester) -> None:
    result = run("--amdgpu-gate", "--amdgpu-must-run=", "-k", "passes")
    assert result.ret == USAGE
    result.stderr.fnmatch_lines(["*argument --amdgpu-must-run: is empty; name a file or directory*"])


def test_a_program_runs_several_gates(tests: pytest.Pytester) -> None:
    """What one found is not what another one finds, and none ends with 0 without a verdict."""
    tests.path.joinpath("program.py").write_text(
        "import pytest, sys\n"
        "gate = ['--amdgpu-gate', '-n0', '--amdgpu-software=gfx942', '-pno:cacheprovider']\n"
        "chosen = (['-kpasses'], ['-kskipped'], ['-kpasses', '--help'], ['-kfails'], ['-kpasses'])\n"
        "print('statuses', *(int(pytest.main([*gate, *options])) for options in chosen))\n"
    )
    result = tests.run(sys.executable, "program.py")
    result.stdout.fnmatch_lines([f"statuses 0 {MUST_RUN} {INFRASTRUCTURE} {REGRESSION} 0"])


DEADLINES = "--amdgpu-deadline=setup=20,test=1,teardown=20"
COPY = """
    def test_copies(amdgpu_device, sdma_queue, timeline_semaphore):
        source, target = amdgpu_device.gtt(4096), amdgpu_device.gtt(4096)
        source.array[:] = 7
        sdma_queue.copy(target, source).signal(timeline_semaphore, 1).submit()
        timeline_semaphore.wait(1, timeout=0.5)
        assert (target.array == 7).all()
"""


@pytest.mark.parametrize(
    "defect",
    [
        pytest.param("wedge-queue", id="wedged-gpu"),
        pytest.param("corrupt-byte", id="wrong-byte"),
        pytest.param("drop-fence", id="fence-is-lost"),
        pytest.param("vm-fault", id="vm-fault"),
        pytest.param("process-stopped:call=DOORBELL", id="process-is-stopped"),
        pytest.param("call-never-returns:call=DOORBELL", id="call-never-returns"),
    ],
)
def test_a_gpu_that_fails(defect: str, run: Run, tests: pytest.Pytester) -> None:
    """Whether the test or the check of the GPU's health meets it first decides what is blamed."""
    tests.makeconftest("from pytest_amdgpu.devices import health\nhealth.LIMIT_OF_SOFTWARE = 2.0")
    tests.makepyfile(test_it=COPY)
    result = run(*GATE, *WORKER, DEADLINES, f"--amdgpu-inject={defect}@sw-gfx942-0", xdist=True)
    assert result.ret in (REGRESSION, INFRASTRUCTURE)
    assert verdict()["tests"][0]["outcome"] in ("fail", "crash", "timeout")


def test_a_full_disk(run: Run, tests: pytest.Pytester) -> None:
    """A limit for the size of files does to whoever writes the verdict what a full disk does."""
    tests.makeconftest(
        """
        import pytest, resource
        # Not where the terminal writes, for that is a file here, too.
        @pytest.hookimpl(wrapper=True, trylast=True)
        def pytest_sessionfinish():
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
            try:
                return (yield)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        """
    )
    result = run(*GATE, "-k", "passes", "-p", "no:cacheprovider", "--junitxml=junit.xml")
    assert result.ret == INFRASTRUCTURE
    result.stderr.fnmatch_lines(["*amdgpu: the JUnit file could not be written: *File too large*"])
    result.stderr.fnmatch_lines(["*amdgpu: the verdict could not be written: *File too large*"])
    assert verdict()["verdict"] != "good"


def test_a_verdict_has_no_place(run: Run, tests: pytest.Pytester) -> None:
    assert run("--amdgpu-gate", "--amdgpu-verdict=no/such/place.json", "-k", "passes").ret == USAGE
    # The place is lost while the run goes on.
    tests.makeconftest("import shutil\ndef pytest_runtest_teardown(): shutil.rmtree('place', True)")
    Path("place").mkdir()
    result = run("--amdgpu-gate", "--amdgpu-verdict=place/verdict.json", "-k", "passes")
    assert result.ret == INFRASTRUCTURE
    result.stderr.fnmatch_lines(["*amdgpu: the verdict could not be written: *"])


def test_a_junit_file_has_no_place(run: Run, tests: pytest.Pytester) -> None:
    assert run(*GATE, "--junitxml=test_it.py/junit.xml", "-k", "passes").ret == USAGE
    place = tests.path / "test_it.py"
    text = f"--junitxml: {place}/junit.xml cannot be written: {place} is no directory"
    assert (verdict()["verdict"], verdict()["reasons"]) == ("usage", [text])
    # Nobody finds out about this one before the end.
    result = run(*GATE, "--junitxml=/dev/full", "-k", "passes")
    assert result.ret == INFRASTRUCTURE
    text = "the JUnit file could not be written: [Errno 28] No space left on device"
    assert (verdict()["verdict"], verdict()["reasons"]) == ("infrastructure", [text])
    assert f"amdgpu: {text}" in result.errlines
    result.stdout.fnmatch_lines(["*= amdgpu verdict: infrastructure =*", "*1 passed*"])
    result.stdout.no_fnmatch_line("*generated xml file*")


@pytest.mark.parametrize("jump", [-1e9, 1e9], ids=["back", "forth"])
def test_the_clock_jumps(jump: float, run: Run, tests: pytest.Pytester) -> None:
    """What takes too long is found all the same, and what passes is no failure."""
    tests.makeconftest(
        f"""
        import time
        real = time.time
        def pytest_runtest_setup(): time.time = lambda: real() + {jump}
        """
    )
    result = run(*GATE, "-k", "passes or hangs")
    assert result.ret == REGRESSION
    outcomes = {test["name"]: test["outcome"] for test in verdict()["tests"]}
    assert outcomes == {"test_it.py::test_passes": "pass", "test_it.py::test_hangs": "timeout"}
    assert all(0 <= test["seconds"] < 60 for test in verdict()["tests"])


def test_a_flake_passes_when_it_is_run_again(run: Run, tests: pytest.Pytester) -> None:
    tests.makepyfile(
        test_it="""
        runs = []
        def test_flaky(amdgpu_device):
            runs.append(1)
            assert len(runs) > 1
        def test_passes(amdgpu_device): pass
        """
    )
    assert run(*GATE, "--amdgpu-confirm=3").ret == REGRESSION
    assert verdict()["tests"][0]["blame"] == "flaky"


def test_nobody_watches(run: Run, tests: pytest.Pytester) -> None:
    """The process that would see a hang is killed."""
    tests.makeconftest(
        """
        def pytest_collection_finish(session):
            kill_supervisor()
        """
        + KILL_SUPERVISOR
    )
    assert run(*GATE, "-k", "passes").ret == INFRASTRUCTURE
    assert verdict()["reasons"][0].startswith("from some point on nobody watched that tests end")


def test_a_test_ends_the_only_process(run: Run, tests: pytest.Pytester) -> None:
    tests.makepyfile(
        test_it="""
        import ctypes, os, pytest, signal

        def end_by_signal(_): os.kill(os.getpid(), signal.SIGKILL)

        def test_forks(amdgpu_device):
            child = os.fork()
            if not child:
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        @pytest.mark.parametrize("leave", [os._exit, ctypes.CDLL(None)._exit, end_by_signal])
        def test_leaves(amdgpu_device, leave): leave(0)
        """
    )
    assert run(*GATE, "-k", "forks").ret == 0
    for leave in ("_exit0", "_exit1", "end_by_signal"):
        # The shell has the status when the file is there.
        assert run(*GATE, "-k", f"forks or {leave}").ret == INFRASTRUCTURE
        assert [(test["outcome"], test["trust"]) for test in verdict()["tests"]] == [
            ("pass", "clean"),
            ("crash", "infra"),
        ]


@pytest.mark.parametrize("options", [(), ("--help",), ("--amdgpu-inject=help",)], ids=" ".join)
def test_pytest_ends_before_there_is_a_gate(
    options: tuple[str, ...], run: Run, tests: pytest.Pytester
) -> None:
    if not options:
        tests.makeconftest("import ctypes; ctypes.CDLL(None)._exit(0)")
    result = run(*GATE, *options)
    assert result.ret == INFRASTRUCTURE
    if options == ("--help",):
        assert verdict()["reasons"] == ["pytest's process ended with 0, and its verdict did not say so"]
    else:
        result.stderr.fnmatch_lines(["amdgpu: pytest's process ended with 0, and there is no verdict*"])
        assert not Path("verdict.json").exists() or verdict()["verdict"] == "incomplete"


def test_a_child_of_a_test_comes_back_into_pytest(run: Run, tests: pytest.Pytester) -> None:
    tests.makepyfile(
        test_it="""
        import os

        def test_forks(amdgpu_device): os.fork() and os.wait()
        def test_fails(amdgpu_device): assert False
        """
    )
    result = run(*GATE, xdist=True)
    assert result.ret == REGRESSION
    result.assert_outcomes(passed=1, failed=1)
    assert len(verdict()["tests"]) == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_run_is_ended_by_a_signal(number: int, tests: pytest.Pytester) -> None:
    tests.makepyfile(test_it="def test_waits(amdgpu_device): print('ready', flush=True); input()")
    command = [sys.executable, "-m", "pytest", "-s", *GATE, "--amdgpu-software=gfx1100"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stdin=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        while "ready" not in process.stdout.readline():
            assert process.poll() is None
        assert (verdict()["verdict"], verdict()["complete"]) == ("incomplete", False)
        process.send_signal(number)
        _, told = process.communicate(timeout=300)
    content = verdict()
    assert (content["verdict"], content["complete"]) == ("infrastructure", True)
    assert content["devices"]
    if number == signal.SIGINT:
        assert process.returncode == INFRASTRUCTURE
        return
    # The supervisor holds what it says of it, too, and ends when it has written.
    assert process.returncode == (-number if number == signal.SIGKILL else INFRASTRUCTURE)
    assert "amdgpu verdict: infrastructure" in told
    assert [(test["outcome"], test["trust"]) for test in content["tests"]] == [("crash", "infra")]


def test_python_ignores_assert_statements(
    run: Run, tests: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    result = run(*GATE, "--assert=plain", "-k", "passes or fails")
    assert result.ret == USAGE
    result.stderr.fnmatch_lines(["*--amdgpu-gate: Python ignores assert statements (-O, PYTHONOPTIMIZE)*"])
    assert verdict()["verdict"] != "good"


def test_there_are_enough_ways() -> None:
    """The number that the issue asks for, each by a name of its own; the functions here come on top."""
    assert len({*COMMAND_LINES, *FILES}) >= 30
    assert GOOD not in [status for _, status in COMMAND_LINES.values()]
