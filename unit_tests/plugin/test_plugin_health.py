"""Devices that fail a check, before the first test, after one that failed and at the end, and quarantine."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatch

import pytest

from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine

Run = Callable[..., pytest.RunResult]

TESTS = """
    import pytest

    @pytest.mark.parametrize("number", range(3))
    def test_it(amdgpu_device, number):
        assert number != 7

    def test_work(gtt_buffer, sdma_queue, timeline_semaphore):
        source, target = gtt_buffer(4096), gtt_buffer(4096)
        sdma_queue.copy(target, source).signal(timeline_semaphore, 1).submit()
        timeline_semaphore.wait(1, timeout=5.0)
"""
GATE = ("--amdgpu-all-devices", "--amdgpu-gate", "--amdgpu-verdict=verdict.json")


@pytest.fixture(params=[False, True], ids=["alone", "xdist"])
def judged(request: pytest.FixtureRequest, run: Run, pytester: pytest.Pytester) -> Callable[..., dict]:
    """Run the tests with the options, also with workers, and return the verdict."""

    def run_judged(*options: str, tests: str = TESTS, workers: int = 2) -> dict:
        pytester.makepyfile(test_it=tests)
        result = run(*GATE, *options, *([f"-n{workers}"] if request.param else []), xdist=request.param)
        verdict = json.loads((pytester.path / "verdict.json").read_text())
        assert verdict["exit_status"] == result.ret
        verdict["stdout"] = result.stdout
        return verdict

    return run_judged


def outcomes(verdict: dict, device: str) -> list[str]:
    return [f"{test['outcome']} {test['trust']}" for test in verdict["tests"] if device in test["id"]]


PASSED, FAILED, INFRA = "pass clean", "fail clean", "fail infra"
ALL = ("--amdgpu-inject=corrupt-byte@gfx942",)
"""A device on which every copy is wrong."""


def test_no_test_runs_on_a_device_that_fails_before(judged: Callable[..., dict]) -> None:
    verdict = judged(*ALL)
    assert outcomes(verdict, "gfx942") == [INFRA] * 4
    assert outcomes(verdict, "gfx1100") == [PASSED] * 4
    assert verdict["verdict"] == "infrastructure"
    reason = "its health check before its first test failed: SDMA copy: WrongResultError: * dwords are wrong*"
    assert any(fnmatch(line, f"sw-gfx942-0 is in quarantine: {reason}") for line in verdict["reasons"])
    verdict["stdout"].fnmatch_lines(["*amdgpu: devices in quarantine*", f"sw-gfx942-0: {reason}"])


def test_a_device_that_a_test_broke_is_used_no_more(judged: Callable[..., dict]) -> None:
    tests = """
        def test_0_before(vram_buffer): vram_buffer(4096)
        def test_1_breaks(vram_buffer): vram_buffer(4096)
        def test_2_after(amdgpu_device): pass
        def test_3_after(amdgpu_device): pass
    """
    # One worker, because software GPUs are each worker's own, and break there only.
    verdict = judged("--amdgpu-inject=device-gone:test=test_1@gfx942", tests=tests, workers=1)
    assert outcomes(verdict, "gfx942") == [PASSED, FAILED, INFRA, INFRA]
    assert verdict["verdict"] == "regression"
    assert any("its health check after a test that failed failed" in line for line in verdict["reasons"])
    assert outcomes(verdict, "gfx1100") == [PASSED] * 4


def test_what_a_check_found_is_told_although_the_test_passes_elsewhere(judged: Callable[..., dict]) -> None:
    verdict = judged(
        "--amdgpu-inject=device-gone:test=test_breaks,phase=call@sw-gfx942-0",
        "--amdgpu-software=gfx942:2",
        tests="def test_breaks(vram_buffer): vram_buffer(4096)\ndef test_next(amdgpu_device): pass",
        workers=1,
    )
    (reason,) = (line for line in verdict["reasons"] if line.startswith("sw-gfx942-0 is in quarantine: "))
    assert "its health check after a test that failed failed: " in reason
    assert "_pytest" not in reason


def test_a_device_that_fails_at_the_end_makes_the_gate_infrastructure(judged: Callable[..., dict]) -> None:
    # Each worker has an end of its own.
    verdict = judged("--amdgpu-inject=corrupt-byte:phase=teardown@gfx942", workers=1)
    assert sorted(outcomes(verdict, "gfx942")) == [INFRA, *[PASSED] * 3]
    assert outcomes(verdict, "gfx1100") == [PASSED] * 4
    assert verdict["verdict"] == "infrastructure"
    assert any("its health check at the end failed: SDMA copy" in line for line in verdict["reasons"])


def test_tests_of_a_device_that_cannot_be_opened_do_not_run(judged: Callable[..., dict]) -> None:
    verdict = judged("--amdgpu-inject=device-gone@gfx942")
    assert outcomes(verdict, "gfx942") == [INFRA] * 4
    assert outcomes(verdict, "gfx1100") == [PASSED] * 4
    assert any("it cannot be opened: " in line for line in verdict["reasons"])


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("wedge-queue:engine=sdma", "SDMA copy: WaitTimeoutError: waited *"),
        ("drop-fence:engine=compute", "compute dispatch: WaitTimeoutError: waited *"),
        ("lose-interrupt", "SDMA copy: WrongResultError: * its value written, but no interrupt came"),
        ("vm-fault", "SDMA copy: MemoryFaultError: memory fault *"),
        ("flaky:probability=1", "SDMA copy: WrongResultError: 1 of 16384 dwords are wrong, *"),
    ],
)
def test_a_check_sees_what_does_not_work(
    defect: str, message: str, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_it(amdgpu_device): pass")
    result = run("--amdgpu-health=on", f"--amdgpu-inject={defect}@all", "--amdgpu-device=gfx942")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"sw-gfx942-0: its health check before its first test failed: {message}"])


BARE = "sw-gfx942-0: its health check at the end failed: * MiB of VRAM less are free than at the start, and *"
LEAKS = """
    def test_leak(amdgpu_device, request):
        from pytest_amdgpu.plugin.session import session_key
        kernel = request.config.stash[session_key].software_kernel
        LEAK
"""


@pytest.mark.parametrize(
    ("code", "options", "lines"),
    [
        ("kernel.gpus[0].vram_used += 128 << 20", [], [BARE]),
        ("kernel.gpus[0].vram_used += 32 << 20", [], []),
        (
            "kernel.gpus[0].vram_used += 128 << 20",
            ["--amdgpu-lease=shared"],
            ["sw-gfx942-0 at the end: * MiB of VRAM less are free *"],
        ),
        ("kernel.gpus[0].vram_losses += 1", [], ["sw-gfx942-0 at the end: resets that lost VRAM: 0 -> 1"]),
    ],
)
def test_counters_are_compared_with_the_start(
    code: str, options: list[str], lines: list[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(LEAKS.replace("LEAK", code))
    result = run("--amdgpu-health=on", "--amdgpu-device=gfx942", *options)
    result.stdout.fnmatch_lines(lines)
    assert result.ret == (lines == [BARE])
    if not lines:
        result.stdout.no_fnmatch_line("*health*")


def test_software_gpus_are_checked_only_where_it_is_asked_for(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(amdgpu_device): pass")
    for options, errors in (([], 0), (["--amdgpu-health=off", "--amdgpu-gate"], 0), (["--amdgpu-gate"], 1)):
        result = run(*ALL, *options)
        result.assert_outcomes(passed=1 - errors, errors=errors)


def test_a_device_stays_in_quarantine_of_the_machine_until_it_is_released(
    judged: Callable[..., dict], pytester: pytest.Pytester
) -> None:
    machine = ("--amdgpu-lease-directory=leases", "--amdgpu-quarantine=machine")
    assert outcomes(judged(*ALL, *machine), "gfx942") == [INFRA] * 4
    quarantine = MachineQuarantine(pytester.path / "leases")
    assert quarantine.names() == ["sw-gfx942-0"]
    verdict = judged(machine[0])
    assert outcomes(verdict, "gfx942") == [INFRA] * 4
    assert outcomes(verdict, "gfx1100") == [PASSED] * 4
    verdict["stdout"].fnmatch_lines(
        [
            "sw-gfx942-0: of the whole machine, since 20??-* by *, pid * on *: its health check * failed: *; "
            "release it with `python -m pytest_amdgpu devices --release sw-gfx942-0`"
        ]
    )
    assert quarantine.release("sw-gfx942-0")
    assert outcomes(judged(machine[0]), "gfx942") == [PASSED] * 4


def test_a_quarantine_of_the_machine_needs_a_place(run: Run) -> None:
    result = run("--amdgpu-quarantine=machine")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --amdgpu-quarantine=machine: software GPUs are each run's own, *"])
