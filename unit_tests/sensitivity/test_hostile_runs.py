"""The hardware suite passes with hostile timing: nothing in driver or tests counts on luck."""

from __future__ import annotations

from pathlib import Path

import pytest
from forked_pytest import run_pytest

SUBSET = ("device/test_device.py", "events", "memory/test_svm.py", "queues/test_semaphore.py")
"""Tests that wait, open devices and use queues."""


@pytest.mark.parametrize("seed", [1, 2])
def test_the_suite_passes_with_hostile_timing(seed: int, tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    code = run_pytest([f"--amdgpu-hostile={seed}", *(f"hw_tests/{name}" for name in SUBSET)], output)
    text = output.read_text()
    assert code == pytest.ExitCode.OK, text
    assert f"amdgpu: their timing is hostile, seed {seed}" in text
