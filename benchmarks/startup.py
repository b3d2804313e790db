"""What the plugin adds to the start of pytest, and what opening a software GPU takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import measure

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model, model_names

FIRST_OPEN = """
import sys, time
from pathlib import Path
begun = time.perf_counter()
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
def waited():
    # Nanoseconds in the queue for a core (Documentation/scheduler/sched-stats.rst of the kernel).
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
kernel = EmulatedKernel([model(sys.argv[1])])
node = discover(kernel)[0]
ready, queued = time.perf_counter(), waited()
device = Device.open(kernel, node)
queued = waited() - queued
opened = time.perf_counter()
device.close()
kernel.shutdown()
print(ready - begun, opened - ready, queued)
"""
"""Opens a software GPU in a fresh process; prints seconds of imports and making the machine, of opening, and
of waits for a core while it opened."""

START_TARGET, OPEN_TARGET = 0.4, 15.0
"""Seconds, and milliseconds."""


def report_start(rounds: int) -> None:
    """Print what the plugin adds; the runs alternate, so that a machine that slows down slows both."""
    bare, loaded = [], []
    with tempfile.TemporaryDirectory() as name:
        directory, bytecode = Path(name), Path(name) / "bytecode"
        (directory / "test_one.py").write_text("def test_one(): pass\n")
        without_plugin = ["--collect-only", "-p", "no:amdgpu"]
        with_plugin = ["--collect-only", "--amdgpu-backend=software"]
        # The first runs fill the cache of compiled modules.
        measure.run_pytest(directory, without_plugin, bytecode)
        measure.run_pytest(directory, with_plugin, bytecode)
        for _ in range(rounds):
            bare.append(measure.run_pytest(directory, without_plugin, bytecode))
            loaded.append(measure.run_pytest(directory, with_plugin, bytecode))
    report_added("wall time", [run.wall for run in bare], [run.wall for run in loaded], None)
    report_added(
        "less waits for a core",
        [run.unhindered for run in bare],
        [run.unhindered for run in loaded],
        START_TARGET,
    )
    report_added("CPU time", [run.cpu for run in bare], [run.cpu for run in loaded], None)


def report_added(what: str, bare: list[float], loaded: list[float], limit: float | None) -> None:
    """Print the difference of the medians of two lists of times."""
    without = statistics.median(bare)
    added = statistics.median(loaded) - without
    measure.row(
        f"added to pytest, {what}",
        f"{added:+.3f} s",
        "" if limit is None else f"<= {limit:g} s",
        None if limit is None else added <= limit,
        f"{1 + added / without:.2f} x bare pytest, {without:.3f} s",
    )


def open_once(target: str, discovered: measure.Samples, opened: measure.Samples) -> None:
    """Add a round of reading the topology and opening the GPU of a new software machine."""
    kernel = EmulatedKernel([model(target)])
    discovered.wall(lambda: discover(kernel), batches=1)
    node = discover(kernel)[0]
    with ExitStack() as close:
        opened.wall(lambda: close.enter_context(Device.open(kernel, node)), batches=1)
    kernel.shutdown()


def report_first_open(target: str, rounds: int) -> None:
    """Print how long the first opening in a process takes, which imports modules, too."""
    prepared, wall, unhindered = [], [], []
    with tempfile.TemporaryDirectory() as name:
        environment = measure.python_environment(Path(name))
        # The first run fills the cache of compiled modules.
        for number in range(rounds + 1):
            child = subprocess.run(
                [sys.executable, "-c", FIRST_OPEN, target],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            before, opening, queued = map(float, child.stdout.split())
            if number:
                prepared.append(before)
                wall.append(opening)
                unhindered.append(opening - queued)
    milliseconds = statistics.median(unhindered) * 1e3
    before = statistics.median(prepared)
    measure.row(
        f"open {target} first, less waits",
        f"{milliseconds:.2f} ms",
        f"<= {OPEN_TARGET:g} ms",
        milliseconds <= OPEN_TARGET,
        f"{milliseconds / before / 1e3:.2f} x the imports before it, {before * 1e3:.0f} ms;"
        f" wall time {statistics.median(wall) * 1e3:.2f} ms",
    )


def report_open(target: str, rounds: int) -> None:
    """Print how long opening takes; the best is of a process that has opened a GPU before."""
    discovered, opened = measure.Samples(), measure.Samples()
    for _ in range(rounds + 1):
        open_once(target, discovered, opened)
    milliseconds = opened.best * 1e3
    measure.row(
        f"open {target} again",
        f"{milliseconds:.2f} ms",
        f"<= {OPEN_TARGET:g} ms",
        milliseconds <= OPEN_TARGET,
        f"{opened.best / discovered.best:.2f} x reading the topology, {discovered.best * 1e3:.2f} ms",
    )


def main() -> None:
    """Print rows for the start of pytest and for opening a software GPU of each target that has a model."""
    rounds = 1 if measure.is_quick(__doc__) else 9
    print("start of pytest with one test, with software GPUs and without the plugin; opening a device")
    report_start(rounds)
    for target in dict.fromkeys(model(name).target for name in model_names()):
        report_first_open(target, rounds)
        report_open(target, rounds)


if __name__ == "__main__":
    main()
