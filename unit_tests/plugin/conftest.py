"""Runs pytest with the plugin on tests that a test writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from pytest_fork import run_pytest

TWO_UNLIKE = "gfx942,gfx1100"
"""One GPU with 64 lanes per wave and several dies, one with 32 lanes and one die."""


@pytest.fixture(autouse=True)
def outside_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run of pytest take itself for a worker because the tests here run in one."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


Start = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Start:
    """Run pytest on two software GPUs unless told otherwise (None: the default).

    In a process of its own, but a fork of one that has imported what a run needs: see `run_alone`.
    """

    def start(*arguments: str) -> pytest.RunResult:
        output, errors = pytester.path / "stdout", pytester.path / "stderr"
        begun = time.monotonic()
        code = run_pytest(arguments, Path.cwd(), output, errors)
        seconds = time.monotonic() - begun
        lines = [path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (output, errors)]
        print(*lines[0], sep="\n")
        print(*lines[1], sep="\n", file=sys.stderr)
        if code is None:
            pytest.fail("the run has not come to its end")
        return pytest.RunResult(code, *lines, seconds)

    return _on_software_gpus(start)


@pytest.fixture
def run_alone(pytester: pytest.Pytester) -> Start:
    """Run pytest as `run` does, in an interpreter of its own: where that is a part of what is tested."""
    return _on_software_gpus(partial(pytester.runpytest_subprocess, timeout=100))


def _on_software_gpus(start: Start) -> Start:
    """Let pytest run without other plugins of the environment, which cost time and are not what is tested."""

    def run_on_gpus(
        *arguments: str, backend: str = "software", software: str | None = TWO_UNLIKE, xdist: bool = False
    ) -> pytest.RunResult:
        others = ["hypothesispytest", *([] if xdist else ["xdist"])]
        disabled = [part for name in others for part in ("-p", f"no:{name}")]
        if backend not in ("auto", "software"):
            # Those of the machine are for hardware, and another run of these tests may go on there.
            gpus = ["--amdgpu-lease-directory=leases"]
        else:
            gpus = [] if software is None else [f"--amdgpu-software={software}"]
        return start(*disabled, f"--amdgpu-backend={backend}", *gpus, *arguments)

    return run_on_gpus
