"""What the plugin adds to the start of pytest: one run that collects one test, with and without it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7


def seconds(directory: Path, *arguments: str) -> float:
    """Return the wall time of one run of pytest."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", *arguments],
        cwd=directory,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    """Print medians; the runs alternate, so that a machine that slows down slows both."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "test_one.py").write_text("def test_one(): pass\n")
        bare, loaded = [], []
        for _ in range(ROUNDS):
            bare.append(seconds(directory, "-p", "no:amdgpu"))
            loaded.append(seconds(directory, "--amdgpu-backend=software"))
    without, with_plugin = statistics.median(bare), statistics.median(loaded)
    print(
        f"start of pytest: {without:.3f} s bare, {with_plugin:.3f} s with software GPUs: "
        f"{with_plugin - without:+.3f} s, x {with_plugin / without:.2f}"
    )


if __name__ == "__main__":
    main()
