"""The hardware suite on GPUs that lack something: it passes, or skips with the property that is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each reason must say, and the most tests that may have it: those that are about what is missing.
REASONS = {
    "rx7900xtx+small-bar": (r"sw-gfx1100\+small-bar-0: the CPU cannot see the VRAM .*heap_type 2", 0.1),
    "mi300x+no-sdma": (r"sw-gfx942\+no-sdma-0: .* has no SDMA queue: num_sdma_engines .* are 0 in", 0.7),
}


# These lack nothing: each XCC is a device of its own (eight of them).
WHOLE = ("mi300x+cpx",)


def run_suite(variant: str) -> tuple[int, list[str]]:
    """Return how many tests passed on a GPU, and the lines about those that were skipped."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "hw_tests"),
            *("--amdgpu-backend=software", f"--amdgpu-software={variant}"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    summary = re.search(r"(\d+) passed(, \d+ skipped)? in", done.stdout)
    assert summary, done.stdout[-5000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    # Tests of several GPUs are no concern of this one.
    return int(summary[1]), [line for line in lines if not re.search(r"needs \d+ devices", line)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", sorted(REASONS))
def test_the_suite_copes_with_what_a_gpu_lacks(variant: str) -> None:
    passed, own = run_suite(variant)
    reason, most = REASONS[variant]
    assert own
    assert all(re.search(reason, line) for line in own), own
    skipped = sum(int(re.findall(r"\d+", line)[0]) for line in own)
    assert skipped <= most * (passed + skipped)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", WHOLE)
def test_the_suite_passes_where_a_gpu_is_otherwise_made(variant: str) -> None:
    passed, own = run_suite(variant)
    assert passed > 400
    assert own == []
