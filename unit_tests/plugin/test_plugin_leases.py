"""Leases of a run: who waits, what is said, and that none is left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_amdgpu.devices.leases import LeaseDirectory

Run = Callable[..., pytest.RunResult]

TESTS = """
    import os
    from pathlib import Path
    from pytest_amdgpu.devices.leases import LeaseDirectory

    def test_it(amdgpu_device):
        holders = LeaseDirectory(Path("leases")).holders(amdgpu_device.name)
        Path(f"holder-{amdgpu_device.name}").write_text(str([holder.pid for holder in holders or []]))

    def test_without_a_gpu(): pass
"""
DIRECTORY = "--amdgpu-lease-directory=leases"


@pytest.mark.parametrize("xdist", [False, True])
def test_a_run_leases_what_its_tests_use(xdist: bool, run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    workers = ["-n1"] if xdist else []
    run(DIRECTORY, "--amdgpu-device=gfx1100", *workers, xdist=xdist).assert_outcomes(passed=2)
    text = (pytester.path / "holder-sw-gfx1100-0").read_text()
    assert text.strip("[]").isdecimal()
    leases = LeaseDirectory(pytester.path / "leases")
    assert [file.name for file in leases.path.iterdir()] == ["sw-gfx1100-0.lease"]
    assert leases.holders("sw-gfx1100-0") is None


@pytest.mark.parametrize("xdist", [False, True])
def test_a_device_in_use_for_too_long_is_no_failure_of_a_test(
    xdist: bool, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(TESTS)
    workers = ["-n1"] if xdist else []
    with LeaseDirectory(pytester.path / "leases").take(["sw-gfx942-0"], "another run"):
        result = run(DIRECTORY, "--amdgpu-lease-timeout=0.1", *workers, xdist=xdist)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        [
            f"amdgpu: waiting at most 0.1 s for sw-gfx942-0, in use by pid {os.getpid()} of * (another run)*",
            f"*amdgpu: no test was run: sw-gfx942-0 was in use for 0.1 s: pid {os.getpid()} of *",
        ]
    )
    assert "passed" not in result.stdout.str()


def test_runs_may_share(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    with LeaseDirectory(pytester.path / "leases").take(["sw-gfx942-0"], "another run", shared=True):
        run(DIRECTORY, "--amdgpu-lease=shared", "--amdgpu-lease-timeout=0").assert_outcomes(passed=2)
        assert run(DIRECTORY, "--amdgpu-lease-timeout=0").ret == 10


def test_what_is_not_used_is_not_waited_for(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    with LeaseDirectory(pytester.path / "leases").take(["sw-gfx942-0"], "another run"):
        for options in (
            [DIRECTORY, "--amdgpu-device=gfx1100"],
            [DIRECTORY, "--amdgpu-lease=none"],
            [DIRECTORY, "-k", "without"],
            [],
        ):
            assert run("--amdgpu-lease-timeout=0", *options).ret == 0
        assert run(DIRECTORY, "--collect-only", "--amdgpu-lease-timeout=0").ret == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--amdgpu-lease-timeout=-1", "*'-1' is not a number of seconds from 0 on"),
        ("--amdgpu-lease-timeout=long", "*'long' is not a number of seconds from 0 on"),
        ("--amdgpu-lease=mine", "*--amdgpu-lease: invalid choice: 'mine'*"),
        ("--amdgpu-lease-directory=file", "*--amdgpu-lease-directory: file is not a directory; choose*"),
    ],
)
def test_wrong_options(option: str, message: str, run: Run, pytester: pytest.Pytester) -> None:
    Path("file").touch()
    pytester.makepyfile(TESTS)
    result = run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
