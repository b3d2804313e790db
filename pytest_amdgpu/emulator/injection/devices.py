"""Defects of a GPU as a whole: it is reset, or it is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pytest_amdgpu.emulator.injection.calls import CALL, CallDefect
from pytest_amdgpu.emulator.injection.defect import DOORBELL
from pytest_amdgpu.emulator.injection.options import Option, choice
from pytest_amdgpu.emulator.reset import reset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.injection.defect import Scene
    from pytest_amdgpu.emulator.process import Machine, Process

CAUSES = ("HWS hang", "MES hang", "RAS error", "user trigger")
"""What SMI events say of a reset (amdgpu_reset_get_desc)."""


class Reset(CallDefect):
    """A reset of the GPU, after which no process that was there has queues."""

    name: ClassVar[str] = "reset"
    summary: ClassVar[str] = "the GPU is reset: all queues are lost, and VRAM unless it is kept"
    options: ClassVar[tuple[Option, ...]] = (
        choice("memory", ("lost", "kept"), "lost", "what becomes of VRAM"),
        choice("cause", CAUSES, CAUSES[0], "what the SMI event says"),
        CALL._replace(default=DOORBELL),
    )

    def strike(self, machine: Machine) -> None:
        """Reset."""
        lost = self.values["memory"] == "lost"
        reset(self.gpu, machine.processes, self.values["cause"], memory_lost=lost)


class DeviceGone(CallDefect):
    """A GPU that leaves the machine, for good.

    Its node and its files are gone. A render node that is open refuses with ENODEV (drm_dev_enter in
    drm_drv.c). That amdkfd does so, too, for calls that name the GPU, is an assumption; the process's queues
    there stop in any case.
    """

    name: ClassVar[str] = "device-gone"
    summary: ClassVar[str] = (
        "the GPU leaves the machine: its calls fail with ENODEV, its node and files are gone"
    )

    def __init__(self, gpu: SoftwareGpu, values: Mapping[str, Any], scene: Scene) -> None:
        super().__init__(gpu, values, scene)
        self._processes: list[Process] = []

    def strike(self, machine: Machine) -> None:
        """Be gone."""
        self.gpu.gone = True
        for process in machine.processes:
            process.devices[self.gpu.gpu_id].evict()
        self._processes = list(machine.processes)

    def undo(self) -> None:
        """Be there again; queues that were there stay stopped."""
        self.gpu.gone = False
        for process in self._processes:
            process.devices[self.gpu.gpu_id].evicted = False
