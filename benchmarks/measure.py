"""What the benchmarks share: how time is taken, and how a row is printed."""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path(__file__).parent.parent / "hw_tests" / "kernels" / "objects"
MODELS = {"gfx942": "mi300x", "gfx1100": "rx7900xtx"}
"""The software GPUs that the benchmarks run on, by target."""

_PACKET = struct.Struct("<16I")


def is_quick(description: str | None) -> bool:
    """Parse the command line; `--quick` asks for sizes that show only that the benchmark works."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: the figures mean nothing")
    return bool(parser.parse_args().quick)


class Samples:
    """Times of one thing, in seconds, taken in rounds that alternate with rounds of what it is compared to.

    A slow spell of the machine spoils a round or two: what counts is the best of the rounds' medians.
    """

    def __init__(self) -> None:
        self._medians: list[float] = []

    @property
    def best(self) -> float:
        """The least of the medians."""
        return min(self._medians)

    def cpu(self, function: Callable[[], object], calls: int, batches: int = 5) -> None:
        """Add a round: CPU time of this thread per call, the median of `batches` of `calls` calls."""
        self._add(function, calls, batches, time.thread_time)

    def process_cpu(self, function: Callable[[], object], calls: int = 1, batches: int = 3) -> None:
        """Add a round: CPU time of all threads of the process per call, the median as above."""
        self._add(function, calls, batches, time.process_time)

    def wall(self, function: Callable[[], object], calls: int = 1, batches: int = 3) -> None:
        """Add a round: wall time per call, the median of `batches` of `calls` calls."""
        self._add(function, calls, batches, time.perf_counter)

    def _add(
        self, function: Callable[[], object], calls: int, batches: int, clock: Callable[[], float]
    ) -> None:
        times = []
        for _ in range(batches):
            begun = clock()
            for _ in range(calls):
                function()
            times.append((clock() - begun) / calls)
        self._medians.append(statistics.median(times))


@dataclass(frozen=True)
class ChildTimes:
    """How long a child process took, in seconds."""

    wall: float
    cpu: float
    queued: float
    """Of the wall time, what its first thread could run and did not, because others had the cores."""

    @property
    def unhindered(self) -> float:
        """What it would have taken, had its first thread never waited for a core."""
        return self.wall - self.queued


def python_environment(bytecode: Path) -> dict[str, str]:
    """Return the environment of a child process whose Python keeps compiled modules in a directory."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def run_pytest(directory: Path, arguments: Sequence[str], bytecode: Path) -> ChildTimes:
    """Run pytest in a directory; a run that fails ends this process, because its time means nothing.

    `bytecode` is where Python keeps compiled modules, whatever the environment says about that: an empty
    directory makes a first run after installation, the same one again a later run.
    """
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=directory,
        env=python_environment(bytecode),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout:
        output = child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    wall = time.perf_counter() - begun
    # Nanoseconds on a core, and in its queue (Documentation/scheduler/sched-stats.rst of the kernel).
    _, queued, _ = map(int, Path(f"/proc/{child.pid}/schedstat").read_text().split())
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{output}\npytest failed")
    return ChildTimes(wall, usage.ru_utime + usage.ru_stime, queued / 1e9)


def write_packets() -> None:
    """Build 100 packets of 16 dwords and put them into memory: a yardstick for Python on this machine."""
    memory = memoryview(bytearray(6400))
    words = tuple(range(16))
    for at in range(0, 6400, 64):
        memory[at : at + 64] = _PACKET.pack(*words)


def row(what: str, figure: str, target: str, met: bool | None, ratio: str) -> None:
    """Print a figure, what it should be and whether it is, and its ratio to a baseline of the same run."""
    verdict = "" if met is None else "met" if met else "MISSED"
    print(f"{what:40}{figure:>12}  {target:14}{verdict:8}{ratio}", flush=True)
