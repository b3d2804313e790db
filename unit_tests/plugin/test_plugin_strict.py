"""What a run says of a strict or hostile kernel: misuses of the interface, and how to repeat a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

MISUSE = """
from pytest_amdgpu.abi.kfd import KfdIoctl, ResetEventArgs

def test_misuse(amdgpu_device):
    backend = amdgpu_device.backend
    event = backend.create_event()
    backend._process.ioctl(KfdIoctl.RESET_EVENT, ResetEventArgs(event_id=event.event_id, pad=7))
    backend.destroy_event(event)
"""


def test_a_misuse_is_a_warning_of_its_own_category(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MISUSE)
    result = run()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*KfdMisuse: AMDKFD_IOC_RESET_EVENT with pad 0x7, which must be 0*"])


def test_a_misuse_can_be_an_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MISUSE)
    result = run("-W", "error::pytest_amdgpu.emulator.refusal.KfdMisuse")
    result.assert_outcomes(failed=1)


def test_hostile_timing_is_told_and_repeated(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_fails(amdgpu_device): raise AssertionError")
    result = run("--amdgpu-hostile=5")
    result.stdout.fnmatch_lines(
        ["amdgpu: their timing is hostile, seed 5", "to repeat: *--amdgpu-hostile=5*"]
    )


def test_a_wrong_seed_of_hostile_timing_is_refused(run: Run, pytester: pytest.Pytester) -> None:
    result = run("--amdgpu-hostile=often")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--amdgpu-hostile: 'often' is not a number from 0 to 4294967295*"])
