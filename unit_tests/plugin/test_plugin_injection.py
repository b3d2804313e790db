"""Defects of software GPUs: what a test sees of each, and that a test on another GPU sees nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatch
from typing import NamedTuple

import pytest

from pytest_amdgpu.emulator.injection.registry import DEFECTS

Run = Callable[..., pytest.RunResult]

COPIES = """
    import time

    import numpy as np
    import pytest

    SIZE = 1 << 16

    @pytest.fixture
    def copied(gtt_buffer, sdma_queue, timeline_semaphore):
        source, target = gtt_buffer(SIZE), gtt_buffer(SIZE)
        source.array[:] = 7
        def copy(value=1, timeout=1.0):
            sdma_queue.copy(target, source).signal(timeline_semaphore, value).submit()
            timeline_semaphore.wait(value, timeout=timeout)
            return np.flatnonzero(target.array != 7).tolist()
        return copy

    def signalled(queue, semaphore):
        queue.signal(semaphore, 1).submit()
        semaphore.wait(1, timeout=1.0)
"""


class Case(NamedTuple):
    """A defect, and what a test sees of it. The test is named after the key of the case."""

    defect: str
    test: str
    text: str


SDMA = "assert copied() == []"
TWICE = "assert [copied(1), copied(2)] == [[], []]"
COMPUTE = "signalled(compute_queue, timeline_semaphore)"
TIMED = "begun = time.monotonic(); copied(); assert time.monotonic() - begun < 0.9"
LATE = "pytest_amdgpu.driver.errors.WaitTimeoutError: waited 1.0 s for 1 of *"

CASES = {
    "wedged": Case("wedge-queue", SDMA, LATE),
    "wedged_compute": Case("wedge-queue:engine=compute", COMPUTE, LATE),
    "other_engine": Case("wedge-queue:engine=compute", SDMA, ""),
    "interrupt_lost": Case("lose-interrupt", TIMED, "assert (* < 0.9"),
    "last_byte": Case("corrupt-byte", SDMA, "assert [[]65535] == []"),
    "some_byte": Case("corrupt-byte:offset=5,size=0x10000", SDMA, "assert [[]5] == []"),
    "other_size": Case("corrupt-byte:size=4096", SDMA, ""),
    "second_copy": Case("corrupt-byte:after=2", TWICE, "assert [[][[]], [[]65535]] == *"),
    "once": Case("corrupt-byte:times=1", TWICE, "assert [[][[]65535], [[]]] == *"),
    "fence_dropped": Case("drop-fence", SDMA, LATE),
    "fence_of_compute_dropped": Case("drop-fence:engine=compute", COMPUTE, LATE),
    "fence_delayed": Case("delay-fence:seconds=0.95", TIMED, "assert (* < 0.9"),
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
        f"    def test_{name}(copied, compute_queue, timeline_semaphore):\n        {case.test}\n"
        for name, case in CASES.items()
    ]
    pytester.makepyfile(test_it="\n".join([COPIES, *bodies]))
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
