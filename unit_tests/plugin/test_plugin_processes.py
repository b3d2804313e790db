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


AS_ON_HARDWARE = """
    import dataclasses
    from pytest_amdgpu.devices.machine import Machine

    connect = Machine.connect
    Machine.connect = lambda machine: dataclasses.replace(connect(machine), needs_fork=True)
"""
"""Only another process of the machine can use the GPU again."""


FAULTS = """
    from types import SimpleNamespace
    import os, pytest
    from pytest_amdgpu.driver.errors import MemoryFaultError

    @pytest.mark.parametrize("time", range(2))
    def test_fault(time, sdma_queue, gtt_buffer):
        sdma_queue.copy(gtt_buffer(4096), SimpleNamespace(address=0x7E0000000000, size=64)).submit()
        with pytest.raises(MemoryFaultError):
            sdma_queue.wait_idle(10)

    def test_next(userptr_buffer):
        userptr_buffer(4096)
        assert os.environ["PYTEST_XDIST_WORKER"] == "gw2"

    def test_without_gpu(): pass
"""


@pytest.mark.parametrize("options", [["-n1"], ["--amdgpu-gate", "--amdgpu-health=off"]])
def test_after_a_fault_another_worker_takes_the_place_of_one_that_cannot_go_on(
    options: list[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(AS_ON_HARDWARE)
    pytester.makepyfile(test_lost=FAULTS)
    result = run(*options, xdist=True)
    assert result.ret == 0
    result.assert_outcomes(passed=4)
    result.stdout.no_fnmatch_line("*node down*")


def test_after_a_fault_a_worker_that_nobody_replaces_says_that_its_gpu_is_lost(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(AS_ON_HARDWARE)
    pytester.makepyfile(test_lost=FAULTS)
    result = run("-n1", "--dist=worksteal", xdist=True)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        ["*DeviceLostError: test_lost.py::test_fault* made the GPU fault; *run such tests without -n"]
    )


def test_after_a_fault_a_worker_goes_on_where_the_kernel_has_secondary_processes(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(AS_ON_HARDWARE)
    pytester.makepyfile(
        """
        from types import SimpleNamespace
        import pytest
        from pytest_amdgpu.driver.errors import AllocationError, MemoryFaultError

        @pytest.mark.parametrize("time", range(2))
        def test_fault(time, sdma_queue, gtt_buffer):
            sdma_queue.copy(gtt_buffer(4096), SimpleNamespace(address=0x7E0000000000, size=64)).submit()
            with pytest.raises(MemoryFaultError):
                sdma_queue.wait_idle(10)

        def test_next(sdma_queue, vram_buffer):
            buffer = vram_buffer(4096)
            sdma_queue.fill(buffer, 7).submit()
            sdma_queue.wait_idle(10)
            assert (buffer.array == 7).all()

        def test_user_memory(userptr_buffer):
            with pytest.raises(AllocationError, match="secondary process"):
                userptr_buffer(4096)
        """
    )
    result = run("-n1", "--amdgpu-software-kernel=newest", xdist=True)
    result.assert_outcomes(passed=4)


def test_after_a_fault_a_run_that_can_become_another_process_does(
    run: Run, pytester: pytest.Pytester
) -> None:
    """Because a secondary process could not register user memory."""
    pytester.makepyfile(
        """
        from types import SimpleNamespace
        import pytest
        from pytest_amdgpu.driver.errors import MemoryFaultError
        from pytest_amdgpu.driver.kfd_process import connection

        def test_fault(sdma_queue, gtt_buffer):
            sdma_queue.copy(gtt_buffer(4096), SimpleNamespace(address=0x7E0000000000, size=64)).submit()
            with pytest.raises(MemoryFaultError):
                sdma_queue.wait_idle(10)

        def test_user_memory(userptr_buffer, amdgpu_device):
            assert not connection(amdgpu_device.kernel).secondary
            userptr_buffer(4096)
        """
    )
    result = run("--amdgpu-software-kernel=newest")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["amdgpu: they behave as with kernel newest"])


def test_an_error_of_a_queue_leaves_the_process_as_it_is(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(AS_ON_HARDWARE)
    pytester.makepyfile(
        """
        import pytest
        from pytest_amdgpu.driver.errors import QueueError

        def test_bad_packet(compute_queue, timeline_semaphore):
            compute_queue._put(b"\\xff" * compute_queue.UNIT)
            with pytest.raises(QueueError):
                compute_queue.wait_idle(10)

        def test_next(compute_queue, timeline_semaphore):
            compute_queue.signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=10)
        """
    )
    run("-n1", xdist=True).assert_outcomes(passed=2)


def test_an_unknown_kernel_is_refused_with_the_known_ones(run: Run, pytester: pytest.Pytester) -> None:
    result = run("--amdgpu-software-kernel=5.4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--amdgpu-software-kernel: invalid choice: '5.4'*6.12*newest*"])


def test_a_failure_on_another_kernel_is_repeated_on_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_fails(amdgpu_device): assert False")
    result = run("--amdgpu-software-kernel=newest", "--amdgpu-seed=1")
    result.stdout.fnmatch_lines(["to repeat: pytest *--amdgpu-software-kernel=newest*"])


POISON = """
    import signal
    import pytest
    from pytest_amdgpu.driver.errors import GpuResetError, PoisonError

    def test_poison(amdgpu_device, sdma_queue, vram_buffer, gtt_buffer, timeline_semaphore):
        source = vram_buffer(4096)
        amdgpu_device.kernel.poison(0, source.address + 64, 64)
        sdma_queue.copy(gtt_buffer(4096), source).signal(timeline_semaphore, 1).submit()
        with pytest.raises(PoisonError, match="poison consumed") as caught:
            timeline_semaphore.wait(1, timeout=10)
        assert caught.value.memory_lost
        assert signal.SIGBUS in signal.sigpending()
        assert timeline_semaphore.value == 0

    def test_next(sdma_queue, vram_buffer):
        assert signal.SIGBUS not in signal.sigpending()
        buffer = vram_buffer(4096)
        sdma_queue.fill(buffer, 7).submit()
        sdma_queue.wait_idle(10)
        assert (buffer.array == 7).all()

    @pytest.mark.parametrize("lost", [True, False])
    def test_reset(lost, amdgpu_device, compute_queue, timeline_semaphore):
        compute_queue.wait(timeline_semaphore, 1).submit()
        amdgpu_device.kernel.reset_gpu(0, memory_lost=lost)
        with pytest.raises(GpuResetError, match="hung and was reset") as caught:
            timeline_semaphore.wait(1, timeout=10)
        assert caught.value.memory_lost

    def test_last(compute_queue, timeline_semaphore):
        compute_queue.signal(timeline_semaphore, 1).submit()
        timeline_semaphore.wait(1, timeout=10)

    def test_hang(amdgpu_device, sdma_queue, timeline_semaphore):
        amdgpu_device.kernel.hang_scheduler(0)
        with pytest.raises(OSError, match="CREATE_QUEUE.*ETIME"):
            amdgpu_device.sdma_queue()
        with pytest.raises(GpuResetError):
            timeline_semaphore.wait(1, timeout=10)

    def test_very_last(compute_queue, timeline_semaphore):
        compute_queue.signal(timeline_semaphore, 1).submit()
        timeline_semaphore.wait(1, timeout=10)
"""


@pytest.mark.parametrize("kernel", ["6.12", "newest"])
@pytest.mark.parametrize("options", [(), ("-n1",)], ids=["alone", "worker"])
def test_poison_and_resets_are_survived(
    run: Run, pytester: pytest.Pytester, kernel: str, options: tuple[str, ...]
) -> None:
    pytester.makepyfile(POISON)
    result = run(
        "--amdgpu-software=gfx942", f"--amdgpu-software-kernel={kernel}", *options, xdist=bool(options)
    )
    result.assert_outcomes(passed=7)
