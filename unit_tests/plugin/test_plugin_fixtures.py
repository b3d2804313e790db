"""Fixtures hand out and take back: copies, seeds, leaks, failures, faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]


def test_a_copy_through_all_kinds_of_memory(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import numpy as np

        def test_copy(vram_buffer, gtt_buffer, userptr_buffer, sdma_queue, timeline_semaphore, rng):
            source, through = gtt_buffer(5000), vram_buffer(5000)
            back = userptr_buffer(np.zeros(5000, np.uint8))
            source.array[:] = rng.integers(0, 256, source.size, dtype=np.uint8)
            sdma_queue.copy(through, source).copy(back, through).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=10)
            assert (back.array == source.array).all()
        """
    )
    result = run("--amdgpu-all-devices")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*taken back*")


def test_the_seed_makes_the_numbers_whichever_tests_run(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_seed="""
        def test_a(rng): print("a drew", rng.integers(1 << 60))
        def test_b(rng): print("b drew", rng.integers(1 << 60))
        """
    )
    both, one, other = run("-s", "--amdgpu-seed=5"), run("-s", "--amdgpu-seed=5", "-kb"), run("-s", "-kb")

    def drawn(result: pytest.RunResult) -> list[str]:
        return [line.split("drew ")[1].rstrip(".") for line in result.outlines if "drew" in line]

    assert len(set(drawn(both))) == 2
    assert drawn(one) == drawn(both)[1:]
    assert drawn(other) != drawn(one)


def test_a_failure_tells_device_seed_and_how_to_repeat_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_bad="def test_bad(amdgpu_device, rng): assert rng.integers(9) < 0")
    result = run("--amdgpu-seed=123", "--amdgpu-software=gfx1100")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- amdgpu -*",
            "device: sw-gfx1100-0 (AMD Radeon RX 7900 XTX, software GPU)",
            "seed: 123",
            "to repeat: pytest --amdgpu-seed=123 --amdgpu-device=sw-gfx1100-0 --amdgpu-backend=software "
            "--amdgpu-software=gfx1100 'test_bad.py::test_bad[[]sw-gfx1100-0[]]'",
        ]
    )


def test_what_a_test_leaks_is_reported_by_name_and_line(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_leak="""
        import pytest

        @pytest.fixture(scope="module")
        def shared(amdgpu_device):
            buffer = amdgpu_device.gtt(4096)
            yield buffer
            buffer.free()

        def test_leak(amdgpu_device, shared, gtt_buffer):
            gtt_buffer(100)
            amdgpu_device.vram(8192)
            amdgpu_device.sdma_queue()

        def test_next(amdgpu_device, shared):
            assert [leak.site.rpartition(":")[2] for leak in amdgpu_device.leaks()] == ["5"]
            shared.array[:] = 1
        """
    )
    result = run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*amdgpu: taken back from tests that did not give it back*",
            "test_leak.py::test_leak[[]sw-gfx942-0[]]",
            "    *vram buffer of 8192 bytes*, made at *test_leak.py:11",
            "    sdma queue *, made at *test_leak.py:12",
        ],
    )
    result.stdout.no_fnmatch_line("*test_leak.py:10")
    result.stdout.no_fnmatch_line("*::test_next*")


def test_everything_is_taken_back_after_a_failure(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_fails(amdgpu_device, vram_buffer, sdma_queue, timeline_semaphore):
            buffer = vram_buffer(1 << 20)
            sdma_queue.fill(buffer, 1).submit()
            raise RuntimeError("in the middle")

        def test_next(amdgpu_device):
            assert amdgpu_device.leaks() == []
        """
    )
    run("--amdgpu-all-devices").assert_outcomes(failed=2, passed=2)


def test_an_error_while_taking_back_is_reported(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from pytest_amdgpu.driver.buffer import Buffer

        def test_broken(gtt_buffer, monkeypatch):
            buffer = gtt_buffer(4096)
            free = buffer.release
            def release():
                free()
                raise OSError("free failed")
            buffer.release = release

        def test_next(gtt_buffer): gtt_buffer(4096)
        """
    )
    result = run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_broken*", "*OSError: free failed*"])


FAULT = """
    from types import SimpleNamespace
    import pytest
    from pytest_amdgpu.driver.errors import GpuFaultError

    def copy_from_nowhere(queue, target):
        return queue.copy(target, SimpleNamespace(address=0x7E0000000000, size=64))

    def test_seen(sdma_queue, gtt_buffer, timeline_semaphore):
        copy_from_nowhere(sdma_queue, gtt_buffer(4096)).signal(timeline_semaphore, 1).submit()
        with pytest.raises(GpuFaultError, match="0x7e0000000000"):
            timeline_semaphore.wait(1, timeout=10)

    def test_next(sdma_queue, gtt_buffer, timeline_semaphore):
        sdma_queue.fill(gtt_buffer(4096), 1).signal(timeline_semaphore, 1).submit()
        timeline_semaphore.wait(1, timeout=10)
"""


def test_after_a_fault_the_next_test_runs_on_a_healthy_device(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAULT)
    run("--amdgpu-all-devices").assert_outcomes(passed=4)


def test_a_fault_that_no_wait_saw_is_an_error_of_the_test(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        FAULT
        + """
    def test_unseen(sdma_queue, gtt_buffer):
        copy_from_nowhere(sdma_queue, gtt_buffer(4096)).submit()

    def test_last(sdma_queue, gtt_buffer, timeline_semaphore):
        test_next(sdma_queue, gtt_buffer, timeline_semaphore)
    """
    )
    result = run()
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_unseen*", "*MemoryFaultError: *0x7e0000000000*"])


def test_a_failure_shows_what_the_kernel_logged_during_the_test(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAULT.replace("with pytest.raises(", "if True: #"))
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*- amdgpu kernel log -*", "*0x7e0000000000*"])


def test_a_fault_that_was_seen_and_not_told_is_an_error_of_the_test(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        def test_unseen(amdgpu_device):
            queue = amdgpu_device.compute_queue("aql")
            queue._put(b"\\x3f".ljust(64, b"\\0"))
            amdgpu_device.backend.wait_event(None, 0, 10.0)
            assert len(amdgpu_device.backend.faults) == 1
            queue.close()

        def test_next(compute_queue, timeline_semaphore):
            compute_queue.signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=10)
        """
    )
    result = run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_unseen*", "*QueueError: aql queue 0 of GPU*"])


def test_the_log_of_a_failure_is_that_of_its_test_only(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from types import SimpleNamespace
        import pytest

        @pytest.mark.parametrize("address", [0x7E0000001000, 0x7E0000002000])
        def test_fault(address, sdma_queue, gtt_buffer):
            sdma_queue.copy(gtt_buffer(4096), SimpleNamespace(address=address, size=64)).submit()
            sdma_queue.wait_idle(10)
        """
    )
    result = run()
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    first, second = text.split("- amdgpu kernel log -")[1:]
    assert "0x00007e0000001000 from" in first
    assert "0x00007e0000002000 from" in second
    assert "0x00007e0000001000 from" not in second


def test_kernels_are_compiled_loaded_and_run(
    run: Run, pytester: pytest.Pytester, require_ziglang: None
) -> None:
    pytester.makepyfile(
        """
        import numpy as np
        import pytest

        SOURCE = (
            "__attribute__((amdgpu_kernel)) void %s(__attribute__((address_space(1))) int *p)"
            "{ p[__builtin_amdgcn_workitem_id_x()] = %d; }"
        )

        def test_run(compile_kernel, compute_queue, gtt_buffer, timeline_semaphore):
            kernel, out = compile_kernel(SOURCE % ("seven", 7)), gtt_buffer(4 * 64)
            compute_queue.dispatch(kernel, 64, [out], block=64).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=30)
            assert (out.view(np.int32) == 7).all()

        def test_choice(compile_kernel):
            two = SOURCE % ("one", 1) + SOURCE % ("two", 2)
            assert compile_kernel(two, "two").name == "two"
            with pytest.raises(ValueError, match="2 kernels, name one: one, two"):
                compile_kernel(two)

        def test_wrong(compile_kernel):
            from pytest_amdgpu.driver.compiler import CompilerError
            with pytest.raises(CompilerError, match="no_such_type"):
                compile_kernel("no_such_type x;")
        """
    )
    result = run("--amdgpu-all-devices")
    result.assert_outcomes(passed=6)
    result.stdout.no_fnmatch_line("*taken back*")


def test_a_compiler_that_is_not_there_ends_the_run_at_once(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    result = run("--amdgpu-compiler=/no/such/clang")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --amdgpu-compiler: there is no clang at /no/such/clang"])


def test_fixtures_give_the_kind_of_queue_that_suits_the_device(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_kind(compute_queue, amdgpu_device):
            assert compute_queue.kind.value == ("aql" if amdgpu_device.node.num_xcc > 1 else "pm4")
        """
    )
    run("--amdgpu-all-devices").assert_outcomes(passed=2)


def test_a_queue_that_never_ends_is_an_error_and_the_next_test_runs(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        from pytest_amdgpu.plugin import take_back

        take_back.IDLE_TIMEOUT = 0.1
        """
    )
    pytester.makepyfile(
        """
        def test_stuck(sdma_queue, gtt_buffer, timeline_semaphore):
            sdma_queue.wait(timeline_semaphore, 1).fill(gtt_buffer(4096), 1).submit()

        def test_next(sdma_queue, gtt_buffer, timeline_semaphore):
            sdma_queue.fill(gtt_buffer(4096), 1).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=10)
        """
    )
    result = run("--amdgpu-all-devices")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_stuck*", "*WaitTimeoutError: waited 0.1 s for *"]
    )


def test_a_gpu_asked_for_too_late_is_an_error_that_says_what_to_do(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_late(request):
            request.getfixturevalue("vram_buffer")(4096)

        @pytest.mark.usefixtures("amdgpu_device")
        def test_in_time(request):
            request.getfixturevalue("vram_buffer")(4096)
        """
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*too late to run per device: let it name the fixture amdgpu_device*"])


def test_other_tests_have_no_fixture_of_the_plugin(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.fixture(scope="module")
        def wide(amdgpu_device): return amdgpu_device.vram(4096)
        @pytest.fixture(autouse=True)
        def each(request): return None
        def test_other(request): assert request.fixturenames == ["each", "request"]
        @pytest.mark.parametrize("number", range(2))
        def test_device(wide, number, request):
            # After what outlives the test, and before all that is made for it.
            assert request.fixturenames[:4] == ["amdgpu_device", "wide", "_amdgpu_take_back", "each"]
        """
    )
    result = run("--amdgpu-device=gfx1100")
    result.assert_outcomes(passed=3)
    assert "taken back" not in result.stdout.str()
