"""What the plugin adds to the start of pytest, and what opening a software GPU takes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import measure

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

START_TARGET, OPEN_TARGET = 0.4, 15.0
"""Seconds, and milliseconds."""


def pytest_times(directory: Path, *arguments: str) -> tuple[float, float]:
    """Return wall time and CPU time of a run of pytest that collects one test, in seconds."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", *arguments]
    begun = time.perf_counter()
    child = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return wall, usage.ru_utime + usage.ru_stime


def report_start(rounds: int) -> None:
    """Print what the plugin adds; the runs alternate, so that a machine that slows down slows both.

    Start-up waits for nothing, so its least CPU time is what a machine with nothing else to do needs.
    """
    bare, loaded = [], []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "test_one.py").write_text("def test_one(): pass\n")
        for _ in range(rounds):
            bare.append(pytest_times(directory, "-p", "no:amdgpu"))
            loaded.append(pytest_times(directory, "--amdgpu-backend=software"))
    report_added("median wall", [wall for wall, _ in bare], [wall for wall, _ in loaded], statistics.median)
    report_added("least CPU", [cpu for _, cpu in bare], [cpu for _, cpu in loaded], min)


def report_added(
    what: str, bare: list[float], loaded: list[float], summary: Callable[[list[float]], float]
) -> None:
    """Print the difference of two lists of times."""
    without = summary(bare)
    added = summary(loaded) - without
    measure.row(
        f"added to pytest, {what} time",
        f"{added:+.3f} s",
        f"<= {START_TARGET:g} s",
        added <= START_TARGET,
        f"{1 + added / without:.2f} x bare pytest, {without:.3f} s",
    )


def open_once(target: str, discovered: measure.Samples, opened: measure.Samples) -> None:
    """Add a round of reading the topology and opening the GPU of a new software machine."""
    kernel = EmulatedKernel([model(measure.MODELS[target])])
    discovered.wall(lambda: discover(kernel), batches=1)
    node = discover(kernel)[0]
    with ExitStack() as close:
        opened.wall(lambda: close.enter_context(Device.open(kernel, node)), batches=1)
    kernel.shutdown()


def report_open(target: str, rounds: int) -> None:
    """Print how long opening takes; the best is of a process that has opened a GPU before."""
    discovered, opened = measure.Samples(), measure.Samples()
    for _ in range(rounds + 1):
        open_once(target, discovered, opened)
    milliseconds = opened.best * 1e3
    measure.row(
        f"open {target}",
        f"{milliseconds:.2f} ms",
        f"<= {OPEN_TARGET:g} ms",
        milliseconds <= OPEN_TARGET,
        f"{opened.best / discovered.best:.2f} x reading the topology, {discovered.best * 1e3:.2f} ms",
    )


def main() -> None:
    """Print rows for the start of pytest and for opening each software GPU."""
    rounds = 1 if measure.is_quick(__doc__) else 9
    print("start of pytest with one test, with software GPUs and without the plugin; opening a device")
    report_start(rounds)
    for target in measure.MODELS:
        report_open(target, rounds)


if __name__ == "__main__":
    main()
