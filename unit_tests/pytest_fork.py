"""Runs pytest many times at little cost: in forks of a process that has imported what every run needs.

A run in an interpreter of its own spends most of its time on imports. A fork of a process that
has run nothing yet knows as little of earlier runs as that does.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT = 100.0
"""Seconds that a run may take."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "pytest",
        "numpy.random",
        "xml.etree.ElementTree",
        "pytest_timeout",
        "xdist.dsession",
        "xdist.plugin",
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

_PLUGINS = ("pytest_amdgpu", "pytest_timeout", "xdist")
"""Packages whose assert statements pytest would rewrite, had they not been imported before it began."""


def run_pytest(
    arguments: Sequence[str], directory: Path, output: Path, errors: Path | None = None
) -> int | None:
    """Run pytest in a directory, as `python -m pytest` does; return its exit code.

    What it prints goes to the file `output`, what it prints as errors to `errors` if that is given. If it has
    not ended after `TIMEOUT` seconds it is killed, and there is no code.
    """
    process = _context.Process(
        target=_main, args=(list(arguments), directory, dict(os.environ), output, errors)
    )
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def _main(
    arguments: list[str], directory: Path, environment: Mapping[str, str], output: Path, errors: Path | None
) -> None:
    mode = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(output, mode), 1)
    os.dup2(1 if errors is None else os.open(errors, mode), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for name, module in sys.modules.items():
        if name.partition(".")[0] in _PLUGINS:
            # So that it does not warn that it cannot.
            module.__doc__ = f"{module.__doc__} PYTEST_DONT_REWRITE"
    sys.path.insert(0, str(directory))
    sys.argv[1:] = arguments
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
