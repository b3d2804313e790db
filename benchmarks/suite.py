"""Time of the hardware suite on software GPUs, as the README runs it, and how it divides between devices."""

from __future__ import annotations

import re
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import measure

ROOT = Path(__file__).parent.parent
OPTIONS = (
    "--amdgpu-all-devices",
    "--amdgpu-backend=software",
    f"--amdgpu-software={','.join(measure.MODELS)}",
)
TARGET, DEFAULT_TARGET = 40.0, 60.0
"""Seconds for two models in one process, and for the default models in two."""

_DEVICE = re.compile(r"\[.*(sw-[a-z0-9]+-\d+)")
"""Where the id of a device is in a test's name."""


def device_times(report: Path) -> dict[str, tuple[int, float]]:
    """Return for each device how many tests it had, and their time with set-up and tear-down in seconds."""
    times: dict[str, list[float]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        device = _DEVICE.search(case.get("name", ""))
        times[device[1] if device else "no device"].append(float(case.get("time", "0")))
    return {device: (len(of_device), sum(of_device)) for device, of_device in sorted(times.items())}


def main() -> None:
    """Print the rows of both runs."""
    tests = "hw_tests/events" if measure.is_quick(__doc__) else "hw_tests"
    report_two(tests)
    report_default(tests)


def report_default(tests: str) -> None:
    """Print a row for one GPU of each generation, in two processes."""
    options = ("-n2", "--amdgpu-all-devices", "--amdgpu-backend=software")
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        times = measure.run_pytest(ROOT, [*options, tests, f"--junitxml={report}"], Path(name) / "bytecode")
        count = sum(1 for _ in ElementTree.parse(report).iter("testcase"))
    print(f"pytest {' '.join(options)} {tests}")
    measure.row(
        f"the default GPUs: {count} tests",
        f"{times.wall:.1f} s",
        f"<= {DEFAULT_TARGET:g} s",
        times.wall <= DEFAULT_TARGET,
        f"{times.cpu / times.wall:.2f} cores",
    )


def report_two(tests: str) -> None:
    """Print a row for each of two devices and one for the whole."""
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        times = measure.run_pytest(
            ROOT,
            [*OPTIONS, tests, f"--junitxml={report}"],
            Path(name) / "bytecode",
        )
        split = device_times(report)
    print(f"pytest {' '.join(OPTIONS)} {tests}")
    for device, (count, seconds) in split.items():
        measure.row(
            f"{device}: {count} tests",
            f"{seconds:.1f} s",
            "",
            None,
            f"{seconds / times.wall:.2f} x the whole",
        )
    whole = sum(count for count, _ in split.values())
    measure.row(f"whole: {whole} tests", f"{times.wall:.1f} s", "", None, "1.00 x the whole")
    measure.row(
        "whole, less waits for a core",
        f"{times.unhindered:.1f} s",
        f"<= {TARGET:g} s",
        times.unhindered <= TARGET,
        f"{times.unhindered / times.wall:.2f} x the whole",
    )
    measure.row("CPU time", f"{times.cpu:.1f} s", "", None, f"{times.cpu / times.wall:.2f} x the whole")


if __name__ == "__main__":
    main()
