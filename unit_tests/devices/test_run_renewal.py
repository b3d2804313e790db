"""A run goes on in a child process, and the process that began it ends as the child does."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


def _run(code: str) -> subprocess.CompletedProcess[str]:
    program = f"import os, sys, signal\nfrom pytest_amdgpu.devices.renewal import continue_in_child\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_child_goes_on_and_the_parent_passes_its_exit_code() -> None:
    result = _run(
        "print('before'); first = os.getpid()\n"
        "continue_in_child()\n"
        "print('after', os.getppid() == first); sys.exit(3)"
    )
    assert result.stdout.splitlines() == ["before", "after True"]
    assert result.returncode == 3


def test_it_can_be_done_again() -> None:
    result = _run("continue_in_child()\ncontinue_in_child()\nprint('once')")
    assert (result.returncode, result.stdout) == (0, "once\n")


def test_an_end_by_a_signal_is_an_error_of_the_parent() -> None:
    result = _run("continue_in_child()\nos.kill(os.getpid(), signal.SIGKILL)")
    assert result.returncode == 128 + signal.SIGKILL


def test_the_parent_outlives_ctrl_c_to_pass_on_how_the_child_ended() -> None:
    result = _run(
        "parent = os.getpid()\n"
        "continue_in_child()\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(parent, signal.SIGINT)\n"
        "sys.exit(2)"
    )
    assert result.returncode == 2


def test_a_whole_pytest_run_goes_on(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import os, pytest
        from pytest_amdgpu.devices.renewal import continue_in_child

        @pytest.fixture
        def renewed(request):
            yield
            continue_in_child()
        """
    )
    pytester.makepyfile(
        """
        import os

        pids = []

        def test_1(renewed): pids.append(os.getpid()); print("output of the first")
        def test_2(renewed): assert os.getpid() not in pids; pids.append(os.getpid()); assert False
        def test_3(tmp_path): assert os.getpid() not in pids
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-rA", "--junitxml=result.xml")
    result.assert_outcomes(passed=2, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.outlines.count("output of the first") == 1
    assert (pytester.path / "result.xml").read_text().count("<testcase") == 3
