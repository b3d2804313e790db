"""Tests that do not end, pytest that dies, and what is said of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from gate_cases import KILL_SUPERVISOR

from pytest_amdgpu.supervisor import process_state

Run = Callable[..., pytest.RunResult]
GATE = (
    *("--amdgpu-gate", "--amdgpu-verdict=verdict.json", "--amdgpu-all-devices"),
    # It has a time limit, which a machine with much else to do exceeds.
    "--amdgpu-health=off",
)
SHORT = "--amdgpu-deadline=setup=60,test=1,teardown=60"

HANGS = """
    import ctypes, os, pytest, signal

    def never_returns(library):
        # The C library waits for a mutex again when a signal came.
        mutex = ctypes.create_string_buffer(64)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_lock(mutex)

    def test_before(amdgpu_device): pass

    def test_hangs(amdgpu_device, sdma_queue, timeline_semaphore):
        if "gfx942" in amdgpu_device.name:
            sdma_queue.wait(timeline_semaphore, 5).submit()
            {hang}

    def test_after(amdgpu_device): pass
"""
HANG = {
    "without the GIL": "never_returns(ctypes.CDLL(None))",
    "with the GIL": "never_returns(ctypes.PyDLL(None))",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP); signal.pause()",
    "a wait": "timeline_semaphore.wait(6, timeout=1000)",
}
STACK = ["stack of Python:", "*test_it.py*, line * in never_returns"]
QUEUE = ["queues:", "  sdma queue * on sw-gfx942-0: write pointer *", "*: POLL_MEM *"]
PATIENT = """
    from pytest_amdgpu.supervisor import client

    client._PROGRAM = client._PROGRAM.replace(
        "main()",
        "import pytest_amdgpu.supervisor.watch as watch, pytest_amdgpu.supervisor.evidence as evidence; "
        "evidence._GLANCES = 1000; "
        "watch.STEPS = tuple(step._replace(patience=30) if number in (0, 2) else step"
        " for number, step in enumerate(watch.STEPS)); main()",
    )
"""
"""A plugin that makes the supervisor wait for its evidence also on a machine with much else to do."""
WITH_PATIENCE = ("-p", "patient")
POWERLESS = """
    from pytest_amdgpu.supervisor import client

    client._PROGRAM = (
        "import os; kill = os.kill; "
        "os.kill = lambda pid, number: number in (9, 15) or kill(pid, number); "
        + client._PROGRAM
    )
"""
"""A plugin that makes the supervisor send no signal that ends a process, as if that slept uninterruptibly."""
SOFT = ("stopped", "a wait")
"""Those that the interrupt ends."""


@pytest.fixture
def run(run_alone: Run) -> Run:
    return run_alone


def verdict() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("verdict.json").read_text())
    return content


def outcomes(content: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Outcome and trust by test and device."""
    return {
        f"{test['name'].rpartition('_')[2]} {test['devices'][0]}": (test["outcome"], test["trust"])
        for test in content["tests"]
    }


@pytest.mark.parametrize(
    ("hang", "mode"),
    [
        *((hang, []) for hang in HANG),
        # Several workers, and the only process.
        ("without the GIL", ["-n2"]),
        ("a wait", ["-n0"]),
        ("stopped", ["-n0"]),
    ],
)
def test_a_test_that_does_not_end(
    hang: str, mode: Sequence[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(patient=PATIENT)
    pytester.makepyfile(test_it=HANGS.format(hang=HANG[hang]))
    result = run(*WITH_PATIENCE, *GATE, SHORT, *mode, xdist=True)
    assert result.ret == 1
    content = verdict()
    assert (content["complete"], content["verdict"]) == (True, "regression")
    found = outcomes(content)
    assert found["hangs sw-gfx942-0"] == ("timeout", "clean")
    assert found["hangs sw-gfx1100-0"] == found["after sw-gfx1100-0"] == ("pass", "clean")
    if mode != ["-n2"]:
        assert found["before sw-gfx942-0"] == ("pass", "clean")
        assert found["after sw-gfx942-0"] == (("pass", "clean") if hang in SOFT else ("fail", "infra"))
    stack = [] if hang in SOFT else STACK
    result.stdout.fnmatch_lines(
        ["*- amdgpu evidence -*", *stack, "what * waits for:", "  process * is *", *QUEUE]
    )


@pytest.mark.parametrize("hang", ["without the GIL", "with the GIL"])
def test_a_test_that_does_not_end_in_the_only_process(hang: str, run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(patient=PATIENT)
    pytester.makepyfile(test_it=HANGS.format(hang=HANG[hang]))
    result = run(*WITH_PATIENCE, *GATE, SHORT, "-n0", xdist=True)
    assert result.ret == 1
    lines = result.stderr
    lines.fnmatch_lines(["amdgpu: Timeout: call of *test_hangs* did not end within 1 s*", *STACK])
    lines.fnmatch_lines(["what pytest waits for:", *QUEUE])
    lines.fnmatch_lines(["amdgpu verdict: regression", "*test_hangs[[]sw-gfx942-0]: timeout"])
    content = verdict()
    assert (content["complete"], content["verdict"]) == (True, "regression")
    assert outcomes(content) == {
        "before sw-gfx942-0": ("pass", "clean"),
        "hangs sw-gfx942-0": ("timeout", "clean"),
        "after sw-gfx942-0": ("missing", "clean"),
        **{f"{name} sw-gfx1100-0": ("missing", "clean") for name in ("before", "hangs", "after")},
    }


@pytest.mark.parametrize(
    ("defect", "phase", "after"),
    [
        ("process-stopped:phase=call,call=DOORBELL", "call", "pass"),
        ("wedge-queue:phase=call", "call", "pass"),
        ("call-never-returns:phase=setup,call=CREATE_QUEUE", "set-up", "fail"),
        ("call-never-returns:phase=teardown,kind=holds-gil,call=DESTROY_QUEUE", "tear-down", "fail"),
    ],
)
def test_software_gpus_that_hang(
    defect: str, phase: str, after: str, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        def test_hangs(sdma_queue, gtt_buffer, timeline_semaphore):
            sdma_queue.fill(gtt_buffer(4096), 5).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=1000)

        def test_after(amdgpu_device): pass
        """
    )
    short = {"set-up": "setup=15", "call": "test=2", "tear-down": "teardown=5"}[phase]
    limits = f"--amdgpu-deadline=setup=60,test=60,teardown=60,{short}"
    result = run(*GATE, limits, "--amdgpu-confirm=0", f"--amdgpu-inject={defect}@sw-gfx942-0", xdist=True)
    assert result.ret == 1
    found = outcomes(verdict())
    assert found["hangs sw-gfx942-0"] == ("timeout", "clean")
    assert found["after sw-gfx942-0"][0] == after
    assert found["hangs sw-gfx1100-0"] == found["after sw-gfx1100-0"] == ("pass", "clean")
    result.stdout.fnmatch_lines([f"*Timeout: {phase} *"])


# On a machine with much else to do it may be late before it is checked, while it is opened.
@pytest.mark.parametrize(
    ("kind", "phase"), [("uninterruptible", "* of sw-gfx942-0"), ("interruptible", "set-up")]
)
def test_what_hangs_in_a_check_is_the_device(
    kind: str, phase: str, run: Run, pytester: pytest.Pytester
) -> None:
    """It is used no more, although its process is gone."""
    pytester.makepyfile("def test_it(amdgpu_device): pass\ndef test_after(amdgpu_device): pass")
    defect = f"--amdgpu-inject=call-never-returns:kind={kind},call=CREATE_QUEUE@all"
    options = ("--amdgpu-health=on", "--amdgpu-deadline=setup=3", "--amdgpu-confirm=1", defect)
    result = run(*GATE, *options, software="gfx942", xdist=True)
    assert result.ret == 10
    assert outcomes(verdict()) == {
        "it sw-gfx942-0": ("timeout", "infra"),
        "after sw-gfx942-0": ("fail", "infra"),
    }
    result.stdout.fnmatch_lines([f"*Timeout: {phase} *"])
    result.stdout.fnmatch_lines(["*devices in quarantine*", "sw-gfx942-0: *"])


RESET = ("reset:cause=MES hang,phase=call", ["GPU reset 1 begins (MES hang)", "GPU reset 1 has ended"])
FAULT = ("vm-fault:phase=call", ["VM fault of process *"])


@pytest.mark.parametrize(
    ("hang", "defect", "events"),
    [
        ("never_returns(ctypes.CDLL(None))", *RESET),
        ("never_returns(ctypes.PyDLL(None))", *RESET),
        (HANG["stopped"], *RESET),
        ("never_returns(ctypes.CDLL(None), 'unkillable')", *RESET),
        ("signal.pause()", *FAULT),
    ],
    ids=["without-the-gil", "with-the-gil", "stopped", "uninterruptible", "fault"],
)
def test_all_that_is_evidence_is_told_of_each_kind_of_hang(
    hang: str, defect: str, events: Sequence[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(patient=PATIENT, powerless=POWERLESS)
    pytester.makepyfile(
        test_it=f"""
    import ctypes, os, signal

    def never_returns(library, *_):
        open("pid", "w").write(str(os.getpid()))
        mutex = ctypes.create_string_buffer(64)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_lock(mutex)

    def test_before(sdma_queue): pass

    def test_hangs(sdma_queue, gtt_buffer):
        sdma_queue.fill(gtt_buffer(4096), 5).submit()
        {hang}
    """
    )
    plugins = [*WITH_PATIENCE, *(("-p", "powerless") if "unkillable" in hang else ())]
    inject = f"--amdgpu-inject={defect}@sw-gfx942-0"
    try:
        result = run(*plugins, *GATE, SHORT, inject, "--amdgpu-confirm=0", software="gfx942", xdist=True)
    finally:
        if "unkillable" in hang:
            os.kill(int(Path("pid").read_text()), signal.SIGKILL)
    never_returns = "never_returns" in hang
    # What Python can tell itself it does: the traceback of the exception.
    stack = STACK if never_returns else ["*signal.pause()", "*DeadlineError: Timeout: call *"]
    lines = [
        "what gw0 waits for:",
        "  process * is *",
        f"  thread *: * in *{'futex' if never_returns else ''}*, system call *",
        "SMI events:",
        *(f"  *.* s ago: sw-gfx942-0: {event}" for event in events),
        "kernel log of the software GPUs:",
        "  amdgpu 0000:03:00.0: *",
        "queues:",
        "  sdma queue * on sw-gfx942-0: write pointer *, read pointer *",
        "  *: CONSTANT_FILL dst_addr=* value=5 *",
    ]
    result.stdout.fnmatch_lines(
        ["*- amdgpu evidence -*", *stack, *lines]
        if never_returns
        else [*stack, "*- amdgpu evidence -*", *lines]
    )
    result.stdout.fnmatch_lines(["SMI events:", *lines[4 : 4 + len(events)]], consecutive=True)


@pytest.mark.parametrize("mode", [[], ["-n0"]], ids=" ".join)
def test_gpus_are_heard_also_when_they_were_opened_anew(
    mode: Sequence[str], run: Run, pytester: pytest.Pytester
) -> None:
    """After a fault the process is another one to the kernel, which has closed all that it had open."""
    pytester.makepyfile(patient=PATIENT)
    pytester.makepyfile(
        """
        import signal

        def test_faults(sdma_queue, gtt_buffer, timeline_semaphore):
            sdma_queue.fill(gtt_buffer(4096), 5).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1)

        def test_hangs(sdma_queue, gtt_buffer):
            sdma_queue.fill(gtt_buffer(4096), 5).submit()
            signal.pause()
        """
    )
    inject = "--amdgpu-inject=vm-fault:phase=call,times=all@sw-gfx942-0"
    options = (*WITH_PATIENCE, *GATE, SHORT, inject, "--amdgpu-confirm=0", *mode)
    run(*options, software="gfx942", xdist=True).stdout.fnmatch_lines(
        ["*- amdgpu evidence -*", "SMI events:", *2 * ["  *.* s ago: sw-gfx942-0: VM fault of process *"]]
    )


def test_a_test_that_ends_late_by_itself_was_late(run: Run, pytester: pytest.Pytester) -> None:
    """Whatever comes first, interrupt or end: here time passes for the test, not for the supervisor."""
    pytester.makepyfile(
        """
        import time
        from pytest_amdgpu.supervisor import client

        def test_it(monkeypatch):
            monkeypatch.setattr(client, "monotonic", lambda: time.monotonic() + 1000)

        def test_with_another_clock(monkeypatch):
            monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        """
    )
    result = run("--amdgpu-supervise", "--amdgpu-deadline=test=500,teardown=none", "-n0", xdist=True)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*DeadlineError: Timeout: call took longer than 500 s (--amdgpu-deadline)"])


@pytest.mark.parametrize("mode", [[], ["-n0"]], ids=" ".join)
@pytest.mark.parametrize(
    ("phase", "hang"),
    [("setup", "signal.pause()\n    yield"), ("teardown", "yield\n    signal.pause()")],
    ids=["setup", "teardown"],
)
def test_deadlines_of_the_other_phases(
    phase: str, hang: str, mode: Sequence[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        f"import pytest, signal\n@pytest.fixture\ndef slow():\n    {hang}\ndef test_it(slow): pass"
    )
    result = run("--amdgpu-supervise", f"--amdgpu-deadline={phase}=1", *mode, xdist=True)
    result.assert_outcomes(errors=1, passed=int(phase == "teardown"))
    word = {"setup": "set-up", "teardown": "tear-down"}[phase]
    result.stdout.fnmatch_lines([f"*Timeout: {word} took longer than 1 s (--amdgpu-deadline)"])


NEVER = """
    import ctypes, os, pytest, signal
    def never_returns():
        mutex = ctypes.create_string_buffer(64)
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
        ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


def test_a_process_that_the_kernel_does_not_let_die(run: Run, pytester: pytest.Pytester) -> None:
    """The supervisor cannot send the signals that end processes; such a process does not heed them."""
    pytester.makepyfile(powerless=POWERLESS)
    pytester.makepyfile(
        NEVER
        + """
    def test_hangs(amdgpu_device):
        if "gfx942" in amdgpu_device.name:
            with open("pid", "w") as file: file.write(str(os.getpid()))
            never_returns()
    def test_after(amdgpu_device): pass
    """
    )
    try:
        result = run("-p", "powerless", *GATE, SHORT, xdist=True)
        # Nobody has waited for it.
        os.kill(int(Path("pid").read_text()), 0)
    finally:
        os.kill(int(Path("pid").read_text()), signal.SIGKILL)
    assert result.ret == 1
    assert outcomes(verdict()) == {
        "hangs sw-gfx942-0": ("timeout", "clean"),
        "after sw-gfx942-0": ("fail", "infra"),
        "hangs sw-gfx1100-0": ("pass", "clean"),
        "after sw-gfx1100-0": ("pass", "clean"),
    }
    result.stdout.fnmatch_lines(["*Timeout: call of * and does not die: the device is lost*"])


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("@pytest.mark.timeout(1)", []),
        ("@pytest.mark.timeout(1, func_only=True)", []),
        ("", ["--timeout=1"]),
        ("", ["-o", "timeout=1", "-o", "timeout_func_only=true"]),
        ("@pytest.mark.timeout(1, method='thread')", []),
    ],
)
def test_timeouts_of_pytest_timeout_are_kept(
    mark: str, options: Sequence[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        f"import pytest, signal\n{mark}\ndef test_it(): signal.pause()\ndef test_next(): pass"
    )
    result = run("--amdgpu-supervise", "--amdgpu-deadline=test=1000", *options, "-n0", xdist=True)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*DeadlineError: Timeout (>1.0s) from pytest-timeout.", "*amdgpu evidence*"])


def test_a_test_may_have_more_time_than_others(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest, time

        @pytest.mark.timeout(100)
        def test_slow(): time.sleep(1.5)

        def test_it(): pass
        """
    )
    result = run("--amdgpu-supervise", "--amdgpu-deadline=test=1", "-n0", xdist=True)
    result.assert_outcomes(passed=2)


def test_without_pytest_timeout(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import signal\ndef test_it(): signal.pause()\ndef test_next(): pass")
    result = run("--amdgpu-supervise", SHORT, "-p", "no:timeout")
    result.assert_outcomes(failed=1, passed=1)


def test_a_test_that_swallows_the_interrupt_fails_nevertheless(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import signal

        def test_it():
            try:
                signal.pause()
            except BaseException:
                pass
        """
    )
    result = run(*GATE, SHORT, "-n0", xdist=True)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["Timeout: call took longer than 1 s (--amdgpu-deadline)"])
    assert verdict()["tests"][0]["outcome"] == "timeout"


def test_what_is_expected_to_time_out_may(run: Run, pytester: pytest.Pytester) -> None:
    """Expectation files know timeouts by what they are, not by their words."""
    pytester.mkdir("expectations")
    (pytester.path / "expectations" / "gfx942-fails.txt").write_text(
        "# reason: it hangs since long\ntest_it.py::test_hangs,Timeout\n"
    )
    pytester.makepyfile(
        test_it=NEVER
        + """
    def test_hangs(amdgpu_device): never_returns()
    """
    )
    result = run("--amdgpu-supervise", SHORT, "--amdgpu-expectations=expectations", xdist=True)
    assert result.parseoutcomes() == {"xfailed": 1}


# Where it runs, and where not.
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        (["--amdgpu-supervise"], True),
        (["--amdgpu-deadline=test=5"], True),
        (["--amdgpu-gate"], True),
        (["--amdgpu-verdict=v.json"], True),
        ([], False),
        (["--amdgpu-gate", "-n0"], False),
        (["--amdgpu-gate", "-s"], False),
        (["--amdgpu-gate", "--pdb"], False),
        (["--amdgpu-gate", "--setup-show"], False),
        (["--amdgpu-gate", "-p", "no:xdist"], False),
    ],
)
def test_which_runs_have_a_worker(
    options: Sequence[str], workers: bool, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        "import os\ndef test_it(amdgpu_device): assert os.environ.get('PYTEST_XDIST_WORKER') == WORKER"
    )
    pytester.makeconftest(f"import builtins; builtins.WORKER = {'gw0' if workers else None!r}")
    result = run(*options, xdist=True)
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 1


def test_a_run_that_is_not_judged_has_no_supervisor(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, sys

        def test_it():
            assert not any(name.startswith("pytest_amdgpu.supervisor") for name in sys.modules)
            ours = f"pytest-amdgpu-{os.getpid()}-"
            assert not any(ours in line for line in open("/proc/net/unix"))
        """
    )
    run(xdist=True).assert_outcomes(passed=1)


def test_collecting_only_needs_none(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(amdgpu_device): pass")
    result = run("--amdgpu-gate", "--collect-only", xdist=True)
    result.stdout.fnmatch_lines(["*test_it*"])
    result.stdout.no_fnmatch_line("*worker*")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tests=1", "'tests=1' is not one of setup=SECONDS, test=SECONDS, *end=SECONDS*"),
        ("", "'' is not one of setup=SECONDS, test=SECONDS, *end=SECONDS*"),
        ("test", "'test' is not one of setup=SECONDS, test=SECONDS, *end=SECONDS*"),
        ("test=x", "'test=x' is not a number of seconds above 0; 'none' lifts the limit"),
        ("test=-1", "'test=-1' is not a number of seconds above 0; 'none' lifts the limit"),
        ("test=0", "'test=0' is not a number of seconds above 0; 'none' lifts the limit"),
    ],
)
def test_deadlines_that_are_none(text: str, says: str, run: Run, pytester: pytest.Pytester) -> None:
    result = run(f"--amdgpu-deadline={text}")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*--amdgpu-deadline: {says}".replace("[", "[[]")])


def test_deadlines_can_be_lifted(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    run("--amdgpu-supervise", "--amdgpu-deadline=test=none, setup = 5").assert_outcomes(passed=1)


def test_a_program_that_calls_pytest_goes_on_in_its_own_process(pytester: pytest.Pytester) -> None:
    """It would not come back from a fork; the plugin says that its status counts for less then."""
    pytester.makepyfile(test_it="def test_it(amdgpu_device): pass")
    options = [*GATE, "-n0", "-p", "no:hypothesispytest", "--amdgpu-software=gfx942"]
    program = pytester.path / "program.py"
    program.write_text(f"""
import os, sys, pytest
pid = os.getpid()
status = pytest.main({options!r})
sys.exit(20 + status if os.getpid() == pid else "this is another process")
""")
    result = pytester.runpython(program)
    assert result.ret == 20
    result.stdout.fnmatch_lines(["amdgpu: warning: *, for a program has called pytest.main()"])
    assert verdict()["verdict"] == "good"


# When processes of pytest die.
# ------------------------------------------------------------------------------------------------------------


WAITS = """
    import ctypes, os, pytest, signal, sys

    @pytest.fixture
    def late():
        yield
        wait("teardown")

    def wait(phase):
        if phase == os.environ["PHASE"]:
            with open("pids", "w") as file: file.write(f"{os.getpid()} {os.getppid()}")
            if "HANGS" in os.environ:
                ctypes.PyDLL(None).pthread_mutex_lock(mutex)
                ctypes.PyDLL(None).pthread_mutex_lock(mutex)
            signal.pause()

    mutex = ctypes.create_string_buffer(64)

    def test_before(amdgpu_device): pass
    def test_it(amdgpu_device, late): wait("call")
    def test_after(amdgpu_device): pass
"""


def run_until_it_waits(
    pytester: pytest.Pytester, phase: str, *options: str, terminal: str | None = None, hangs: bool = False
) -> subprocess.Popen[str]:
    """`terminal` is the path of one that the run has to itself."""

    def own_terminal() -> None:
        # What leads a session has the first terminal that it opens for its own.
        if terminal is not None:
            os.close(os.open(terminal, os.O_RDWR))

    pytester.makepyfile(test_it=WAITS)
    command = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", *GATE, *options]
    process = subprocess.Popen(
        [*command, "--amdgpu-backend=software", "--amdgpu-software=gfx942"],
        env={**os.environ, "PHASE": phase, **({"HANGS": "1"} if hangs else {})},
        start_new_session=terminal is not None,
        preexec_fn=own_terminal,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    end = time.monotonic() + 300
    while len(pids()) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


def pids() -> list[int]:
    """The process that runs the test, and its parent."""
    path = Path("pids")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("phase", ["call", "teardown"])
def test_when_the_controller_is_killed_its_verdict_is_written_and_no_worker_stays(
    phase: str, pytester: pytest.Pytester
) -> None:
    process = run_until_it_waits(pytester, phase)
    worker, controller = pids()
    os.kill(controller, signal.SIGKILL)
    # All that hold its output end: the supervisor and the worker.
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 10
    assert "amdgpu verdict: infrastructure" in output
    content = verdict()
    assert (content["complete"], content["verdict"]) == (True, "infrastructure")
    assert content["reasons"][0] == f"pytest's process {controller} died before the end of the run"
    assert outcomes(content) == {
        "before sw-gfx942-0": ("pass", "clean"),
        "it sw-gfx942-0": ("missing", "clean"),
        "after sw-gfx942-0": ("missing", "clean"),
    }
    assert process_state.state(worker) in ("", "Z")


def test_when_a_worker_is_killed_the_rest_runs(pytester: pytest.Pytester) -> None:
    process = run_until_it_waits(pytester, "call")
    os.kill(pids()[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert outcomes(verdict()) == {
        "before sw-gfx942-0": ("pass", "clean"),
        "it sw-gfx942-0": ("crash", "clean"),
        "after sw-gfx942-0": ("pass", "clean"),
    }


def test_workers_that_die_one_after_the_other_are_replaced_while_tests_are_left(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import os, pytest, time

        @pytest.mark.parametrize("number", range(6))
        def test_it(number):
            # The second worker dies when the first one has nothing left to do.
            time.sleep(number % 2)
            if number < 4:
                os._exit(1)
        """
    )
    result = run("--amdgpu-verdict=verdict.json", "-n2", xdist=True)
    assert result.parseoutcomes()["failed"] == 4
    assert result.parseoutcomes()["passed"] == 2
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """A descriptor of who types, and the path of the terminal."""
    typing, terminal = os.openpty()
    yield typing, os.ttyname(terminal)
    os.close(typing)
    os.close(terminal)


@pytest.mark.parametrize("mode", [[], ["-n0"]], ids=" ".join)
@pytest.mark.parametrize("hangs", [True, False], ids=["a call hangs", "a wait"])
@pytest.mark.parametrize("source", ["terminal", "process"])
def test_ctrl_c_ends_the_run_with_a_verdict(
    source: str, hangs: bool, mode: Sequence[str], terminal: tuple[int, str], pytester: pytest.Pytester
) -> None:
    """It names what was running, also if that does not heed it."""
    pytester.makepyfile(patient=PATIENT)
    patience = [] if hangs else WITH_PATIENCE
    process = run_until_it_waits(pytester, "call", *mode, *patience, terminal=terminal[1], hangs=hangs)
    if source == "terminal":
        os.write(terminal[0], b"\x03")
    else:
        os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 10, output
    content = verdict()
    assert (content["complete"], content["verdict"]) == (True, "infrastructure")
    assert outcomes(content) == {
        "before sw-gfx942-0": ("pass", "clean"),
        "it sw-gfx942-0": ("crash", "infra") if hangs else ("missing", "clean"),
        "after sw-gfx942-0": ("missing", "clean"),
    }
    told = "test_it.py::test_it[sw-gfx942-0]"
    wanted = f"Interrupted: call of {told} did not end" if hangs else f"{told} was running"
    assert any(wanted in reason for reason in content["reasons"]), content["reasons"]
    assert process_state.state(pids()[0]) in ("", "Z")


@pytest.mark.parametrize("mode", [[], ["-n0"]], ids=" ".join)
def test_a_second_ctrl_c_ends_an_end_that_does_not_end(
    mode: Sequence[str], terminal: tuple[int, str], pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        import ctypes

        def pytest_sessionfinish(session):
            if not hasattr(session.config, "workerinput"):
                open("ending", "w").close()
                mutex = ctypes.create_string_buffer(64)
                for _ in range(2):
                    ctypes.PyDLL(None).pthread_mutex_lock(mutex)
        """
    )
    pytester.makepyfile(patient=PATIENT)
    process = run_until_it_waits(pytester, "call", *mode, *WITH_PATIENCE, terminal=terminal[1])
    for _ in range(2):
        os.write(terminal[0], b"\x03")
        end = time.monotonic() + 300
        while not Path("ending").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 10, output
    content = verdict()
    assert (content["complete"], content["verdict"]) == (True, "infrastructure")
    assert "it sw-gfx942-0" in outcomes(content)
    assert any("Interrupted: end of the run did not end" in reason for reason in content["reasons"])
    assert any("test_it.py::test_it[sw-gfx942-0] was running" in reason for reason in content["reasons"])


def test_a_supervisor_that_is_killed_does_not_leave_a_green_gate(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_sessionstart(session):
            if session.config.pluginmanager.hasplugin("amdgpu_supervision"):
                kill_supervisor()
        """
        + KILL_SUPERVISOR
    )
    pytester.makepyfile("def test_it(amdgpu_device): pass")
    result = run(*GATE, xdist=True)
    assert result.ret == 10
    assert verdict()["reasons"][0].startswith(
        "from some point on nobody watched that tests end: the supervisor"
    )
    assert {test["outcome"] for test in verdict()["tests"]} == {"pass"}


HANGS_ALIVE = """
    import ctypes, os, signal, time
    from pytest_amdgpu.supervisor import client

    def hang(config):
        if hasattr(config, "workerinput"):
            return
        # Let the time that it has be over soon.
        client.monotonic = lambda: time.monotonic() - 599
        config.pluginmanager.getplugin("amdgpu_heartbeat")._client.idle()
        client.monotonic = time.monotonic
        while True:
            {hang}

    {hook}
"""
REPORTS = """def pytest_runtest_logreport(report):
        if report.when == "call":
            hang(CONFIG)

    def pytest_configure(config):
        global CONFIG
        CONFIG = config
"""


@pytest.mark.parametrize(
    ("mode", "hook", "hang"),
    [
        # The controller in its loop, and the only process between tests.
        *(
            (mode, REPORTS, hang)
            for mode in ([], ["-n0"])
            for hang in ("time.sleep(1)", "ctypes.PyDLL(None).sleep(1000)", "os.kill(os.getpid(), 19)")
        ),
        # Before there are workers, and where they have been asked to end.
        ([], "def pytest_sessionstart(session): hang(session.config)", "time.sleep(1)"),
    ],
)
def test_pytest_that_hangs_between_the_phases(
    mode: Sequence[str], hook: str, hang: str, run: Run, pytester: pytest.Pytester
) -> None:
    """A hook that never returns ends as soon as it can be made to; what ran before it stands."""
    pytester.makepyfile(patient=PATIENT)
    pytester.makeconftest(HANGS_ALIVE.format(hook=hook, hang=hang))
    pytester.makepyfile("def test_a(amdgpu_device): pass\ndef test_b(amdgpu_device): pass")
    result = run(*WITH_PATIENCE, *GATE, *mode, software="gfx942", xdist=True)
    assert result.ret == 10
    content = verdict()
    assert (content["complete"], content["verdict"]) == (True, "infrastructure")
    told = "\n".join([*result.outlines, *result.errlines])
    assert "Timeout: " in "\n".join(content["reasons"])
    # One that stops itself again at once may be stopped when it is asked for its stack.
    stopped = "os.kill" in hang and "is stopped" in told
    assert stopped or "in hang" in told or "conftest.py:14: " in told
    if hook == REPORTS:
        assert [test["outcome"] for test in content["tests"]].count("missing") >= 1


def test_a_debugger_has_all_the_time_it_wants(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import os, time
        from pytest_amdgpu.supervisor.protocol import Limit, Said

        def pytest_enter_pdb(config):
            client = config.pluginmanager.getplugin("amdgpu_heartbeat")._client
            client._pulse.beat -= 600
            # The supervisor finds it late, or finds that it rests.
            client.say(Said.IDLE, os.getpid(), Limit(time.monotonic() + 0.1, 600))
        """
    )
    pytester.makepyfile("def test_it(amdgpu_device): assert 6 * 7 == 41")
    command = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", *GATE, "--pdb"]
    with subprocess.Popen(
        [*command, "--amdgpu-software=gfx942"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        while not said.endswith(b"(Pdb) "):
            said += (more := process.stdout.read(1000))
            assert more, said
        # Too short a time would let a supervisor pass that does not give all of it.
        time.sleep(2)
        output, _ = process.communicate(b"p 6 * 9\nc\n", timeout=300)
    assert b"54\n" in output
    assert process.returncode == 1
    assert outcomes(verdict()) == {"it sw-gfx942-0": ("fail", "clean")}


@pytest.mark.parametrize("mode", [(), ("-n0",)], ids=["worker", "alone"])
@pytest.mark.parametrize("gil", ["CDLL", "PyDLL"])
@pytest.mark.parametrize(
    ("hook", "phase"), [("pytest_collection_modifyitems", "collection"), ("pytest_sessionfinish", "end")]
)
def test_what_hangs_outside_of_tests_ends_with_a_verdict(
    hook: str, phase: str, gil: str, mode: tuple[str, ...], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        f"""
        import ctypes

        def {hook}(config=None, session=None):
            config = config or session.config
            if hasattr(config, "workerinput") or config.getoption("numprocesses") == 0:
                while True:
                    ctypes.{gil}(None).sleep(1000)
        """
    )
    pytester.makepyfile("def test_it(amdgpu_device): pass")
    result = run(*GATE, *mode, f"--amdgpu-deadline={phase}=1", xdist=True)
    assert result.ret != 0
    content = verdict()
    assert content["verdict"] == "infrastructure"
    assert f"Timeout: {phase} " in "\n".join([*content["reasons"], *result.outlines, *result.errlines])
