"""Time of the hardware suite on software GPUs, as the README runs it, and how it divides between devices."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import measure

ROOT = Path(__file__).parent.parent
TARGET = 40.0
"""Seconds for both models."""

_DEVICE = re.compile(r"\[.*(sw-[a-z0-9]+-\d+)")
"""Where the id of a device is in a test's name."""


def run_suite(tests: str, report: Path) -> tuple[float, float]:
    """Run tests on software GPUs and return wall time and CPU time in seconds; a failing test is an error."""
    command = [sys.executable, "-m", "pytest", "-q", "--amdgpu-all-devices", "--amdgpu-backend=software"]
    begun = time.perf_counter()
    child = subprocess.Popen(
        [*command, tests, f"--junitxml={report}"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{output}\nthe suite failed; its time means nothing")
    return wall, usage.ru_utime + usage.ru_stime


def device_times(report: Path) -> dict[str, tuple[int, float]]:
    """Return for each device how many tests it had, and their time with set-up and tear-down in seconds."""
    times: dict[str, list[float]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        device = _DEVICE.search(case.get("name", ""))
        times[device[1] if device else "no device"].append(float(case.get("time", "0")))
    return {device: (len(of_device), sum(of_device)) for device, of_device in sorted(times.items())}


def main() -> None:
    """Print a row for each device and one for the whole."""
    tests = "hw_tests/events" if measure.is_quick(__doc__) else "hw_tests"
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        wall, cpu = run_suite(tests, report)
        split = device_times(report)
    print(f"pytest --amdgpu-all-devices {tests}")
    for device, (count, seconds) in split.items():
        measure.row(
            f"{device}: {count} tests", f"{seconds:.1f} s", "", None, f"{seconds / wall:.2f} x the whole"
        )
    whole = sum(count for count, _ in split.values())
    measure.row(
        f"whole suite: {whole} tests", f"{wall:.1f} s", f"<= {TARGET:g} s", wall <= TARGET, "1.00 x the whole"
    )
    measure.row("CPU time", f"{cpu:.1f} s", "", None, f"{cpu / wall:.2f} x the whole")


if __name__ == "__main__":
    main()
