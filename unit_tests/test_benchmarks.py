"""The benchmarks run and print their rows; what the figures are is nobody's business here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py") if path.name != "measure.py")
ROW = re.compile(r"^\S.* [-+]?\d+\.\d+ (us|ms|s|M/s|GB/s) .* -?\d+\.\d+ x ")

ROWS = {
    "idle.py": 1,
    "instructions.py": 6,
    "overhead.py": 8,
    "sdma_copy.py": 2,
    "startup.py": 21,
    "submission.py": 18,
    "suite.py": 5,
    "wedge.py": 9,
}
"""How many rows a script prints, at least."""


def test_every_benchmark_is_known():
    assert sorted(ROWS) == SCRIPTS


# Scripts of up to thirty runs of pytest, which other jobs may slow down.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", SCRIPTS)
def test_benchmark_prints_its_rows(script):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, "--quick"],
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    rows = [line for line in done.stdout.splitlines() if ROW.match(line)]
    assert len(rows) >= ROWS[script], done.stdout
