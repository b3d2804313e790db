"""Defects of software GPUs: what a test sees of each, and that a test on another GPU sees nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from typing import NamedTuple

import pytest

from pytest_amdgpu.devices.machine import find_machine
from pytest_amdgpu.emulator.injection.registry import DEFECTS
from pytest_amdgpu.emulator.injection.spec import make_injection, parse_injection
from pytest_amdgpu.plugin.injection import check

Run = Callable[..., pytest.RunResult]

COPIES = """
    import time

    import numpy as np
    import pytest

    SIZE = 1 << 16
    LATE = set()

    @pytest.fixture
    def patience(request):
        return 1.0 if request.node.name in LATE else 60.0

    @pytest.fixture
    def quick(amdgpu_device):
        return 0.9 if amdgpu_device.name == "sw-gfx942-0" else 60.0

    @pytest.fixture
    def copied(gtt_buffer, sdma_queue, timeline_semaphore, patience):
        source, target = gtt_buffer(SIZE), gtt_buffer(SIZE)
        source.array[:] = 7
        def copy(value=1):
            sdma_queue.copy(target, source).signal(timeline_semaphore, value).submit()
            timeline_semaphore.wait(value, timeout=patience)
            return np.flatnonzero(target.array != 7).tolist()
        return copy

    def signalled(queue, semaphore, patience):
        queue.signal(semaphore, 1).submit()
        semaphore.wait(1, timeout=patience)
"""
"""Waits are short only where `LATE` says that they are in vain: no test depends on the machine's speed."""


class Case(NamedTuple):
    """A defect, and what a test sees of it. The test is named after the key of the case."""

    defect: str
    test: str
    text: str


SDMA = "assert copied() == []"
TWICE = "assert [copied(1), copied(2)] == [[], []]"
COMPUTE = "signalled(compute_queue, timeline_semaphore, patience)"
TIMED = "begun = time.monotonic(); copied(); took = time.monotonic() - begun; assert took < quick"
LATE = "pytest_amdgpu.driver.errors.WaitTimeoutError: waited 1 s for 1 of *"

CASES = {
    "wedged": Case("wedge-queue", SDMA, LATE),
    "wedged_compute": Case("wedge-queue:engine=compute", COMPUTE, LATE),
    "other_engine": Case("wedge-queue:engine=compute", SDMA, ""),
    "interrupt_lost": Case("lose-interrupt", TIMED, "assert * < 0.9"),
    "last_byte": Case("corrupt-byte", SDMA, "assert [[]65535] == []"),
    "some_byte": Case("corrupt-byte:offset=5,size=0x10000", SDMA, "assert [[]5] == []"),
    "other_size": Case("corrupt-byte:size=4096", SDMA, ""),
    "second_copy": Case("corrupt-byte:after=2", TWICE, "assert [[][[]], [[]65535]] == *"),
    "once": Case("corrupt-byte:times=1", TWICE, "assert [[][[]65535], [[]]] == *"),
    "fence_dropped": Case("drop-fence", SDMA, LATE),
    "fence_of_compute_dropped": Case("drop-fence:engine=compute", COMPUTE, LATE),
    "fence_delayed": Case("delay-fence:seconds=1", TIMED, "assert * < 0.9"),
    "faulted": Case("vm-fault:address=0x1234000,access=write", SDMA, "*MemoryFaultError*0x1234000*"),
    "reset_with_loss": Case("reset:memory=lost", SDMA, "*GpuResetError*"),
    "reset_without_loss": Case("reset:memory=kept", SDMA, "*GpuResetError*"),
    "never": Case("flaky:probability=0", SDMA, ""),
    "always": Case("flaky:probability=1", SDMA, "assert [[]65535] == []"),
    "set_up": Case("drop-fence:phase=setup", SDMA, ""),
    "scheduler_hangs": Case("wedge-queue:scheduler=hangs", SDMA, LATE),
    "zz_gone": Case("device-gone:call=ALLOC_MEMORY_OF_GPU", SDMA, "*ENODEV*"),
}
"""The last one, because after it nothing runs on the device. An empty text: nothing is seen."""


def test_the_list_of_defects_is_printed(run: Run) -> None:
    result = run("--amdgpu-inject=help")
    assert result.ret == 0
    lines = result.stdout.lines
    assert [line for line in lines if line in DEFECTS] == list(DEFECTS)
    assert "collected" not in result.stdout.str()


def test_a_test_on_the_device_sees_each_defect_and_another_device_none(
    run: Run, pytester: pytest.Pytester
) -> None:
    bodies = [
        f"    def test_{name}(copied, compute_queue, timeline_semaphore, patience, quick):\n"
        f"        {case.test}\n"
        for name, case in CASES.items()
    ]
    late = {name for name, case in CASES.items() if case.text == LATE} | {"interrupt_lost"}
    names = {f"test_{name}[sw-gfx942-0]" for name in late}
    pytester.makepyfile(test_it="\n".join([COPIES, f"    LATE = {names}", *bodies]))
    defects = [
        f"{case.defect}{',' if ':' in case.defect else ':'}test=test_{name}.sw@sw-gfx942-0"
        for name, case in CASES.items()
    ]
    options = [f"--amdgpu-inject={defect}" for defect in defects]
    run("--amdgpu-all-devices", "--amdgpu-verdict=verdict.json", *options)
    verdict = json.loads((pytester.path / "verdict.json").read_text())
    assert verdict["injected"] == defects
    seen = {test["id"].removeprefix("test_it.py::test_"): test for test in verdict["tests"]}
    wrong = []
    for name, case in CASES.items():
        for device, text in (("sw-gfx942-0", case.text), ("sw-gfx1100-0", "")):
            test = seen[f"{name}[{device}]"]
            passed = test["outcome"] == "pass"
            if passed != (text == "") or not fnmatch(test.get("text", ""), text):
                wrong.append((name, device, test["outcome"], test.get("text")))
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wedge-queue", "'wedge-queue' does not say on which device: DEFECT[[]:OPTION=VALUE,...]@DEVICE"),
        ("wedged@all", "there is no defect 'wedged'; there are wedge-queue, lose-interrupt, *"),
        (
            "wedge-queue@gfx90a",
            "'wedge-queue@gfx90a': no device is 'gfx90a'; known: sw-gfx942-0 *, and all",
        ),
        ("reset:memory=half@all", "reset: memory is one of lost, kept, not 'half'"),
        ("reset:when=now@all", "reset has no option 'when'; it has memory, cause, call, after, *"),
        ("reset:memory@all", "'reset:memory@all': 'memory' is not OPTION=VALUE"),
        ("reset:after=1,after=2@all", "*: after is given twice"),
        ("flaky:probability=2@all", "flaky: probability is a number from 0 to 1, not '2'"),
        ("flaky:probability=nan@all", "flaky: probability is a number from 0 to 1, not 'nan'"),
        ("drop-fence:after=0@all", "drop-fence: after is a number from 1 on, not '0'"),
        ("drop-fence:times=0@all", "drop-fence: times is a number from 1 on, or all, not '0'"),
        ("drop-fence:test=(@all", "drop-fence: test is a regular expression, not '(' *"),
        ("call-never-returns:call=OPEN@all", "*: call is any, DOORBELL *, not 'OPEN'"),
        (
            "corrupt-byte:address=-1@all",
            "*: address is a GPU address from 0 to 2[*][*]64 - 1, or none, not '-1'",
        ),
    ],
)
def test_what_cannot_be_injected_is_a_usage_error(text: str, message: str) -> None:
    machine = find_machine("software", "gfx942,gfx1100")
    with pytest.raises(pytest.UsageError) as caught:
        check([text], [machine])
    assert fnmatch(str(caught.value), f"--amdgpu-inject: {message}")


def test_a_usage_error_ends_the_run(run: Run) -> None:
    result = run("--amdgpu-inject=wedged@all")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --amdgpu-inject: there is no defect 'wedged'; there are *"])


@pytest.mark.parametrize("backend", ["hardware", "plain"])
def test_only_software_gpus_fail_on_request(backend: str) -> None:
    found = find_machine("software", "gfx942")
    machine = dataclasses.replace(found.on_host("a"), backend=backend, software=())
    # Those of another host are.
    check(["wedge-queue@b/sw-gfx942-0", "wedge-queue@1"], [machine, found.on_host("b")])
    with pytest.raises(
        pytest.UsageError, match=f"only software GPUs fail on request .* a/sw-gfx942-0 are {backend} GPUs"
    ):
        check(["wedge-queue@all"], [machine])


def test_every_default_is_a_value_that_is_allowed() -> None:
    for name in DEFECTS:
        make_injection(name, {})


def test_a_value_may_hold_what_separates_options_and_devices() -> None:
    injection, device = parse_injection("wedge-queue:test=a@b,c:d,after=2@sw-gfx942+no-sdma-0")
    assert (device, injection.values["after"]) == ("sw-gfx942+no-sdma-0", 2)
    assert injection.values["test"].pattern == "a@b,c:d"


HEADER = "amdgpu: injected: drop-fence:test=test_sdma@gfx942"


def test_what_is_injected_is_said_and_repeated(run: Run, pytester: pytest.Pytester) -> None:
    late = "    LATE = {'test_sdma[sw-gfx942-0]'}\n"
    pytester.makepyfile(f"{COPIES}\n{late}    def test_sdma(copied):\n        {SDMA}\n")
    result = run("--amdgpu-inject=drop-fence:test=test_sdma@gfx942")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [HEADER, "to repeat: pytest * --amdgpu-inject=drop-fence:test=test_sdma@gfx942 *"]
    )


def test_workers_have_the_defects_of_their_devices(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(COPIES + f"\n    def test_sdma(copied):\n        {SDMA}\n")
    result = run("-n2", "--amdgpu-all-devices", "--amdgpu-inject=corrupt-byte@1", xdist=True)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_sdma[[]sw-gfx1100-0]*"])


def test_which_tests_are_flaky_follows_from_the_seed(run: Run, pytester: pytest.Pytester) -> None:
    many = f"""
    @pytest.mark.parametrize("number", range(20))
    def test_many(copied, number):
        {SDMA}
    """
    pytester.makepyfile(COPIES + many)
    inject = "--amdgpu-inject=flaky:probability=0.3,seed={}@all"
    failed = []
    for options in ([inject.format(7)], [inject.format(7), "-n2"], [inject.format(8)]):
        result = run(*options, "-rf", xdist="-n2" in options)
        failed.append({line.split()[1] for line in result.outlines if line.startswith("FAILED ")})
    assert failed[0] == failed[1] != failed[2]
    assert 1 <= len(failed[0]) <= 14


def test_the_fixture_injects_for_one_test(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        COPIES
        + """
    from pytest_amdgpu.driver.errors import WaitTimeoutError
    from pytest_amdgpu.emulator.injection.spec import InjectionError

    LATE = {"test_second_fence[sw-gfx942-0]", "test_second_fence[sw-gfx1100-0]"}

    def test_second_fence(copied, amdgpu_inject):
        defect, = amdgpu_inject("drop-fence", after=2)
        assert copied(1) == []
        assert defect.happened == 0
        with pytest.raises(WaitTimeoutError):
            copied(2)
        assert defect.happened == 1

    def test_no_more(copied):
        assert copied() == []

    def test_phase(copied, amdgpu_inject):
        amdgpu_inject("corrupt-byte", phase="call", test="phase")
        amdgpu_inject("corrupt-byte", phase="teardown")
        assert copied() == [SIZE - 1]

    def test_other_device(copied, amdgpu_device, amdgpu_inject):
        other = {"gfx942": "gfx1100", "gfx1100": "0"}[amdgpu_device.family.name]
        amdgpu_inject("drop-fence", device=other, times="all")
        assert copied() == []
        with pytest.raises(ValueError, match="no device is 'gfx90a'; known: sw-gfx942-0"):
            amdgpu_inject("drop-fence", device="gfx90a")
        with pytest.raises(InjectionError, match="drop-fence has no option 'afterwards'"):
            amdgpu_inject("drop-fence", afterwards=1)

    def test_gone(amdgpu_inject, amdgpu_device):
        amdgpu_inject("device-gone")
        with pytest.raises(Exception, match="ENODEV"):
            amdgpu_device.vram(4096)

    def test_there_again(copied):
        assert copied() == []

    def test_without_device(amdgpu_inject):
        with pytest.raises(ValueError, match="test_without_device runs on no device: say into which"):
            amdgpu_inject("drop-fence")
    """
    )
    run("--amdgpu-all-devices").assert_outcomes(passed=13)


HANGS = """
    import faulthandler
    import os
    import signal
    import sys
    import threading
    import time
    from pathlib import Path

    import pytest

    def interrupt(*_):
        raise TimeoutError("interrupted")

    def function_names(frame):
        while frame is not None:
            yield frame.f_code.co_name
            frame = frame.f_back

    def beat(main):
        while "strike" not in function_names(sys._current_frames()[main]):
            time.sleep(0.01)
        # Far more than it takes from there to the wait that holds the interpreter.
        time.sleep(0.3)
        Path("beat").touch()
        os.kill(os.getpid(), signal.SIGALRM)

    def test_hang(amdgpu_inject, amdgpu_device, request):
        signal.signal(signal.SIGALRM, interrupt)
        amdgpu_inject("call-never-returns", kind="KIND", call="ALLOC_MEMORY_OF_GPU")
        threading.Thread(target=beat, args=[threading.get_ident()], daemon=True).start()
        end = 60 if "KIND" == "interruptible" else 2
        faulthandler.dump_traceback_later(end, exit=True, file=open("stack", "w"))
        try:
            amdgpu_device.vram(4096)
        except TimeoutError:
            faulthandler.cancel_dump_traceback_later()
"""


@pytest.mark.parametrize(
    ("kind", "beats", "ends"),
    [("uninterruptible", True, False), ("interruptible", True, True), ("holds-gil", False, False)],
)
def test_a_call_never_returns(
    kind: str, beats: bool, ends: bool, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(HANGS.replace("KIND", kind))
    result = run("-p", "no:timeout")
    assert (result.ret == 0) == ends
    assert (pytester.path / "beat").exists() == beats
    assert ("in test_hang" in (pytester.path / "stack").read_text()) != ends


ALLOCATES = "def test_it(vram_buffer): vram_buffer(4096)"


def test_a_process_is_killed(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ALLOCATES)
    assert run("--amdgpu-inject=process-killed:test=test_it@all").ret == -signal.SIGKILL


def test_a_process_is_stopped(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ALLOCATES)
    options = ["--amdgpu-backend=software", "--amdgpu-inject=process-stopped:test=test_it@all"]
    with pytester.popen([sys.executable, "-m", "pytest", *options]) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
