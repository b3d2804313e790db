"""The defects that the GPUs of one emulated kernel have, and which test runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.emulator.injection.calls import PREFIX, concerned
from pytest_amdgpu.emulator.injection.defect import Injected, Scene

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.injection.defect import Defect
    from pytest_amdgpu.emulator.injection.spec import Injection
    from pytest_amdgpu.emulator.process import Machine, Process


class Injections:
    """Gives GPUs defects and takes them back."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._scene = Scene()
        self._runs: Counter[str] = Counter()

    def add(self, injection: Injection, gpu: SoftwareGpu) -> Defect:
        """Let a GPU have a defect."""
        if gpu.injected is None:
            gpu.injected = Injected(gpu)
            for process in self._machine.processes:
                for queue in process.devices[gpu.gpu_id].queues.values():
                    queue.context.injected = gpu.injected
        defect = injection.defect(gpu, injection.values, self._scene)
        gpu.injected.defects += (defect,)
        return defect

    def remove(self, defect: Defect) -> None:
        """Let a GPU have a defect no more. What it has done stays: a queue is wedged, a GPU gone."""
        injected = defect.gpu.injected
        assert injected is not None
        defect.undo()
        injected.defects = tuple(other for other in injected.defects if other is not defect)

    def at_call(self, process: Process, call: str, args: Any) -> None:
        """Let defects happen at an ioctl of `/dev/kfd`; raises Refusal."""
        call = call.removeprefix(PREFIX)
        about = concerned(process, call, args)
        for gpu in self._machine.gpus:
            if gpu.injected is not None and gpu.gpu_id in about:
                gpu.injected.at_call(self._machine, call)

    def begin_test(self, test: str) -> None:
        """Take note that a test begins, for defects that happen in some tests only."""
        self._runs[test] += 1
        self._scene.test, self._scene.runs = test, self._runs[test]

    def begin_phase(self, phase: str) -> None:
        """Take note of the phase of a test: setup, call or teardown."""
        self._scene.phase = phase

    def end_test(self) -> None:
        """Take note that no test runs."""
        self._scene.test = self._scene.phase = ""
