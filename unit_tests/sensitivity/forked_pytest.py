"""Runs pytest many times at little cost: in forks of a process that has imported what every run needs.

A run in an interpreter of its own spends most of its time on imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT = 100.0
"""Seconds that a run may take."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "pytest",
        "numpy.random",
        "xml.etree.ElementTree",
        "pytest_amdgpu.plugin",
        "pytest_amdgpu.devices.machine",
        "pytest_amdgpu.driver.device",
        "pytest_amdgpu.driver.aql_queue",
        "pytest_amdgpu.driver.pm4_queue",
        "pytest_amdgpu.driver.sdma_queue",
        "pytest_amdgpu.driver.program",
        "pytest_amdgpu.emulator.kernel",
        "pytest_amdgpu.emulator.kfd.queue_calls",
        "pytest_amdgpu.emulator.engine.aql",
        "pytest_amdgpu.emulator.engine.pm4",
        "pytest_amdgpu.emulator.engine.sdma",
        "pytest_amdgpu.emulator.isa.chunk",
    ]
)

_ARGUMENTS = (
    *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"),
    *("-W", "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"),
    *("--amdgpu-backend=software", "--amdgpu-software=gfx942,gfx1100,gfx1201", "--amdgpu-all-devices"),
)


def run_pytest(arguments: Sequence[str], output: Path) -> int | None:
    """Run pytest on the software GPUs, from the root of the repository; return its exit code.

    What it prints goes to the file `output`. Without an end after `TIMEOUT` seconds it is killed and the
    code is negative.
    """
    process = _context.Process(target=_main, args=([*_ARGUMENTS, *arguments], output))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def _main(arguments: list[str], output: Path) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(ROOT)
    sys.exit(pytest.main(arguments))
