"""What tests of the gate share: tests that end in every way, statuses, and the verdict as it is published."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema

GATE = (
    *("--amdgpu-gate", "--amdgpu-verdict=verdict.json"),
    # It has a time limit, which a machine with much else to do exceeds.
    "--amdgpu-health=off",
)
GOOD, REGRESSION, USAGE, INFRASTRUCTURE, MUST_RUN = 0, 1, 4, 10, 11
SCHEMA = json.loads((files("pytest_amdgpu.results") / "verdict_schema.json").read_text())

TESTS = """
    import os, pytest

    def test_passes(amdgpu_device): pass
    def test_without_a_gpu(): pass
    @pytest.mark.skip(reason="not today")
    def test_skipped(amdgpu_device): pass
    @pytest.mark.amdgpu_targets("gfx908")
    def test_not_applicable(amdgpu_device): pass
    def test_fails(amdgpu_device): assert amdgpu_device is None
    @pytest.mark.xfail
    def test_expected(amdgpu_device): assert False
    @pytest.mark.timeout(0.2, func_only=True)
    def test_hangs(amdgpu_device):
        import threading
        threading.Event().wait(60)
    def test_crashes(amdgpu_device): os._exit(3)
    def test_loses(amdgpu_device):
        from pytest_amdgpu.plugin.session import DeviceLostError
        raise DeviceLostError("it is gone")
    @pytest.fixture
    def bad_teardown():
        yield
        raise RuntimeError("not taken back")
    def test_teardown(amdgpu_device, bad_teardown): pass
    def test_interrupts(amdgpu_device): raise KeyboardInterrupt
    def test_exits(amdgpu_device): pytest.exit("enough")
"""

KILL_SUPERVISOR = """
        import os, signal
        from pytest_amdgpu.supervisor import process_state

        def kill_supervisor():
            '''Of a gate: it is the other child of the process that waits for this one.'''
            parent = os.getppid()
            with open(f"/proc/{parent}/task/{parent}/children") as file:
                [pid] = {*map(int, file.read().split())} - {os.getpid()}
            os.kill(pid, signal.SIGKILL)
            while process_state.state(pid) != "Z":
                pass
"""
"""A function for a conftest.py."""


def verdict() -> dict[str, Any]:
    """What the run wrote, in the form that is published."""
    content: dict[str, Any] = json.loads(Path("verdict.json").read_text())
    jsonschema.validate(content, SCHEMA)
    return content
