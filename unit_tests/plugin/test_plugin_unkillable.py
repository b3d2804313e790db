"""Tests in processes that do not die when they are killed; tracer.py holds them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import tracer

from pytest_amdgpu.supervisor import process_state

Run = Callable[..., pytest.RunResult]

HANGS = """
    import ctypes, os, subprocess, sys
    from pathlib import Path

    def hold():
        ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1 & 2**64 - 1))  # PR_SET_PTRACER, any
        held = subprocess.Popen(
            [sys.executable, TRACER, str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, text=True,
        )
        Path("tracers").open("a").write(f"{held.pid} {os.getpid()} ")
        assert held.stdout.readline() == "holds\\n"

    def test_hangs(amdgpu_device, amdgpu_inject):
        if "gfx942" in amdgpu_device.name:
            hold()
            amdgpu_inject("call-never-returns", kind="uninterruptible", call="ALLOC_MEMORY_OF_GPU")
            amdgpu_device.vram(4096)

    def test_after(amdgpu_device): pass
"""


@pytest.fixture
def run(run_alone: Run) -> Run:
    return run_alone


@pytest.fixture
def pids(pytester: pytest.Pytester) -> Iterator[Callable[[], list[int]]]:
    """Return the numbers of the tracer and of the process that it holds; both end with the test."""
    with subprocess.Popen(["sleep", "60"]) as victim:
        command = [sys.executable, tracer.__file__, str(victim.pid)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as held:
            assert held.stdout is not None
            can_trace = held.stdout.readline()
            victim.kill()
            held.kill()
            if not can_trace:
                pytest.skip(f"processes cannot be traced here: {held.communicate()[1].splitlines()[-1]}")

    def read() -> list[int]:
        return list(map(int, (pytester.path / "tracers").read_text().split()))

    yield read
    for pid in read():
        os.kill(pid, signal.SIGKILL)


def results(pytester: pytest.Pytester) -> dict[str, tuple[str, str]]:
    content = json.loads((pytester.path / "verdict.json").read_text())
    assert (content["complete"], content["verdict"]) == (True, "regression")
    return {
        test["id"].removeprefix("test_it.py::test_"): (test["outcome"], test["trust"])
        for test in content["tests"]
    }


@pytest.mark.parametrize("mode", ["-n1", "-n0"], ids=["worker", "only-process"])
def test_a_process_that_cannot_be_killed_is_lost_and_nobody_waits_for_it(
    mode: str, run: Run, pytester: pytest.Pytester, pids: Callable[[], list[int]]
) -> None:
    pytester.makepyfile(test_it=f"    TRACER = {tracer.__file__!r}\n{HANGS}")
    options = ("--amdgpu-gate", "--amdgpu-verdict=verdict.json", "--amdgpu-all-devices", mode)
    result = run(*options, "--amdgpu-deadline=setup=60,test=1,teardown=60", xdist=True)
    assert result.ret == 1
    _, held = pids()
    assert process_state.state(held) == "t"
    timeout = f"*Timeout: call of *, nor when it was interrupted: process {held} was killed"
    if mode == "-n0":
        lines = pytest.LineMatcher((pytester.path / "stderr").read_text().splitlines())
        lines.fnmatch_lines(
            [
                "amdgpu verdict: regression",
                timeout,
                f"process {held} (pytest) was killed and does not die",
            ]
        )
        others = {"hangs[sw-gfx1100-0]": ("missing", "clean"), "after[sw-gfx1100-0]": ("missing", "clean")}
        after = ("missing", "clean")
    else:
        result.stdout.fnmatch_lines(
            [
                "*node down: it was killed, and the kernel does not let it die",
                f"{timeout} and does not die: the device is lost",
                "*amdgpu verdict: regression*",
            ]
        )
        others = {"hangs[sw-gfx1100-0]": ("pass", "clean"), "after[sw-gfx1100-0]": ("pass", "clean")}
        after = ("fail", "infra")
    assert results(pytester) == {
        "hangs[sw-gfx942-0]": ("timeout", "clean"),
        "after[sw-gfx942-0]": after,
        **others,
    }
