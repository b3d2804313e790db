"""One run in several processes, or without the plugins that others bring."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

TESTS = """
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_copy(number, gtt_buffer, sdma_queue, timeline_semaphore):
        buffer = gtt_buffer(4096)
        sdma_queue.fill(buffer, number).signal(timeline_semaphore, 1).submit()
        timeline_semaphore.wait(1, timeout=10)
        assert (buffer.array == number).all()

    def test_leak(amdgpu_device): amdgpu_device.gtt(4096)

    def test_fails(rng): assert False
"""


def test_workers_use_what_the_controller_found(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_many=TESTS)
    result = run("-n2", "--amdgpu-all-devices", "--amdgpu-seed=9", "--amdgpu-trace=trace", xdist=True)
    result.assert_outcomes(passed=10, failed=1)
    result.stdout.fnmatch_lines(["amdgpu: seed 9, *", "*sw-gfx942-0*", "*sw-gfx1100-0*"])
    result.stdout.fnmatch_lines(["seed: 9", "*taken back*", "*::test_leak*", "*gtt buffer of 4096*"])
    traces = {path.name for path in pytester.path.glob("trace*")}
    assert traces == {"trace", "trace.gw0", "trace.gw1"}
    assert "CREATE_QUEUE" not in (pytester.path / "trace").read_text()
    assert "CREATE_QUEUE" in (pytester.path / "trace.gw0").read_text()


def test_without_xdist(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    run("-p", "no:xdist").assert_outcomes(passed=5, failed=1)


def test_the_trace_has_every_call_decoded(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    run("--amdgpu-trace=calls.txt", "-k", "copy")
    trace = (pytester.path / "calls.txt").read_text()
    for part in (
        "open('/dev/kfd', O_RDWR|O_CLOEXEC) = ",
        "AMDKFD_IOC_ACQUIRE_VM, drm_fd=",
        "queue_type=SDMA",
        "flags=GTT|",
        "doorbell(0x",
        "AMDKFD_IOC_DESTROY_QUEUE, queue_id=0",
    ):
        assert part in trace


def test_a_worker_that_dies_does_not_take_the_others_with_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os, signal, pytest

        def test_dies(amdgpu_device): os.kill(os.getpid(), signal.SIGSEGV)

        @pytest.mark.parametrize("number", range(3))
        def test_lives(number, gtt_buffer): gtt_buffer(4096)
        """
    )
    result = run("-n2", xdist=True)
    result.assert_outcomes(passed=3, failed=1)


def test_after_a_fault_a_worker_that_cannot_be_exchanged_says_that_its_gpu_is_lost(
    run: Run, pytester: pytest.Pytester
) -> None:
    # As on hardware, where only another process can use the GPU again.
    pytester.makeconftest(
        """
        import dataclasses
        from pytest_amdgpu.devices.machine import Machine

        connect = Machine.connect
        Machine.connect = lambda machine: dataclasses.replace(connect(machine), needs_fork=True)
        """
    )
    pytester.makepyfile(
        test_lost="""
        from types import SimpleNamespace

        def test_fault(sdma_queue, gtt_buffer):
            sdma_queue.copy(gtt_buffer(4096), SimpleNamespace(address=0x7E0000000000, size=64)).submit()
            sdma_queue.wait_idle(10)

        def test_next(gtt_buffer): pass

        def test_without_gpu(): pass
        """
    )
    result = run("-n1", xdist=True)
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*DeviceLostError: test_lost.py::test_fault* made the GPU fault; *run such tests without -n"]
    )
