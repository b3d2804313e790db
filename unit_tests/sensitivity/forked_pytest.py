"""Runs tests of the hardware suite on software GPUs, many times at little cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest_fork

ROOT = Path(__file__).parents[2]

_ARGUMENTS = (
    *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"),
    *("--amdgpu-backend=software", "--amdgpu-software=gfx942,gfx1100,gfx1201", "--amdgpu-all-devices"),
)


def run_pytest(arguments: Sequence[str], output: Path) -> int | None:
    """Run pytest from the root of the repository as `pytest_fork.run_pytest` does."""
    return pytest_fork.run_pytest([*_ARGUMENTS, *arguments], ROOT, output)
