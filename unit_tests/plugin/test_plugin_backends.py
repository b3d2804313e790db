"""Backends of other packages, found through their entry points: installed as a dist-info beside the tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import plain_backend
import pytest

Run = Callable[..., pytest.RunResult]
Install = Callable[..., None]

COPY = """
def test_copy(vram_buffer, gtt_buffer, sdma_queue, timeline_semaphore, rng):
    source, through, back = gtt_buffer(70000), vram_buffer(70000), gtt_buffer(70000)
    source.array[:] = rng.integers(0, 256, 70000, dtype="uint8")
    sdma_queue.copy(through, source).copy(back, through).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=5.0)
    assert (back.array == source.array).all()
"""


@pytest.fixture
def install(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a package with a module `plain_backend` and entry points."""
    path = [str(pytester.path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    module = Path(plain_backend.__file__).read_text()

    def install_package(*points: str, package: str = "plain-gpus") -> None:
        (pytester.path / "plain_backend.py").write_text(module)
        info = pytester.path / f"{package.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text("\n".join(["[pytest_amdgpu.backends]", *points, ""]))

    return install_package


def test_a_backend_of_another_package_runs_a_copy(
    run: Run, install: Install, pytester: pytest.Pytester
) -> None:
    install("plain = plain_backend:PlainSource")
    pytester.makepyfile(COPY)
    result = run(backend="plain")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "amdgpu: seed *, plain GPUs (asked for)",
            "  [*]  plain-gfx1100-0000:00:00.0  gfx1100  AMD Radeon RX 7900 XTX  1 * 1 GiB",
        ]
    )


def test_options_of_software_gpus_are_refused(run: Run, install: Install, pytester: pytest.Pytester) -> None:
    install("plain = plain_backend:PlainSource")
    pytester.makepyfile(COPY)
    result = run("--amdgpu-hostile=1", "--amdgpu-software=gfx942", backend="plain")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --amdgpu-software, --amdgpu-hostile: for software GPUs only, but this run uses plain GPUs"
            " (asked for); add --amdgpu-backend=software to run on software GPUs"
        ]
    )


def test_its_kernel_is_traced_and_its_name_repeats_a_failure(
    run: Run, install: Install, pytester: pytest.Pytester
) -> None:
    install("plain = plain_backend:PlainSource")
    pytester.makepyfile(COPY + "    assert False")
    result = run("--amdgpu-trace=calls", backend="plain")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["to repeat: pytest * --amdgpu-backend=plain *"])
    assert "doorbell" in (pytester.path / "calls").read_text()


def test_after_a_fault_it_is_renewed_and_the_run_goes_on(
    run: Run, install: Install, pytester: pytest.Pytester
) -> None:
    install("plain = plain_backend:PlainSource")
    pytester.makepyfile(
        """
        import pytest
        from pytest_amdgpu.driver.backend import Fault
        from pytest_amdgpu.driver.errors import MemoryFaultError

        def test_fault(amdgpu_device):
            amdgpu_device.backend.found.append(Fault("memory", "page not there", 0x5000))
            with pytest.raises(MemoryFaultError):
                amdgpu_device.raise_fault()

        def test_next(amdgpu_device):
            assert not amdgpu_device.backend.faults
        """
        + COPY.replace("\n", "\n        ")
    )
    result = run("-s", backend="plain")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*renewed 1 time(s)*"])


def test_workers_use_it_too(run: Run, install: Install, pytester: pytest.Pytester) -> None:
    install("plain = plain_backend:PlainSource")
    pytester.makepyfile(COPY)
    run("-n1", backend="plain", xdist=True).assert_outcomes(passed=1)


def test_help_lists_what_is_installed(run: Run, install: Install) -> None:
    install("plain = plain_backend:PlainSource", "bare = plain_backend:PlainSource")
    result = run("--help")
    result.stdout.fnmatch_lines(["*--amdgpu-backend=auto|hardware|software|bare|plain*"])


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            "broken = no_such_module:Source",
            "*broken = no_such_module:Source of plain-gpus 1.5 cannot be used: ModuleNotFoundError: *",
        ),
        (
            "broken = plain_backend:NoSuchClass",
            "*broken = plain_backend:NoSuchClass of plain-gpus 1.5 cannot be used: AttributeError: *",
        ),
        ("broken = plain_backend:ctypes", "*broken = plain_backend:ctypes of * cannot be used: TypeError: *"),
        (
            "broken = plain_backend:DoorbellOnly",
            "*broken = plain_backend:DoorbellOnly of * gives DoorbellOnly, which lacks kernel, discover, *",
        ),
        (
            "other = plain_backend:PlainSource",
            "*'broken' is not one of auto, hardware, software, nor of those that are installed"
            " (pytest_amdgpu.backends): other = plain_backend:PlainSource of plain-gpus 1.5",
        ),
    ],
)
def test_a_backend_that_does_not_work_is_named(
    point: str, message: str, run: Run, install: Install, pytester: pytest.Pytester
) -> None:
    install(point)
    pytester.makepyfile(COPY)
    result = run(backend="broken")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --amdgpu-backend: {message.lstrip('*')}"])


def test_a_broken_backend_that_nobody_asks_for_is_left_alone(
    run: Run, install: Install, pytester: pytest.Pytester
) -> None:
    install("broken = no_such_module:Source")
    pytester.makepyfile(COPY)
    run().assert_outcomes(passed=1)


def test_two_backends_of_one_name_are_told_apart_by_their_packages(
    run: Run, install: Install, pytester: pytest.Pytester
) -> None:
    install("plain = plain_backend:PlainSource")
    install("plain = plain_backend:PlainSource", package="rival-gpus")
    pytester.makepyfile(COPY)
    result = run(backend="plain")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*several packages have a backend 'plain': *of plain-gpus 1.5*rival-gpus 1.5*"]
    )


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("return []", "--amdgpu-backend=plain: the backend plain finds no GPU"),
        (
            "raise OSError('bus is gone')",
            "--amdgpu-backend: the backend plain cannot list its GPUs: OSError: bus*",
        ),
    ],
)
def test_a_backend_without_gpus_is_an_error(
    found: str, message: str, run: Run, install: Install, pytester: pytest.Pytester
) -> None:
    install("plain = none_found:Source")
    pytester.makepyfile(COPY)
    (pytester.path / "none_found.py").write_text(
        "from plain_backend import PlainSource\n"
        "class Source(PlainSource):\n"
        f"    def discover(self, kernel, *, nearest_target): {found}\n"
    )
    result = run(backend="plain")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
