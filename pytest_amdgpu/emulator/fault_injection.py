"""What happens to real GPUs without anybody's doing, for tests to let it happen to software GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.ras import poison
from pytest_amdgpu.emulator.reset import reset

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.injection.injections import Injections
    from pytest_amdgpu.emulator.process import Machine


class FaultInjection:
    """The part of `EmulatedKernel` that no process could ask a kernel for. `index` counts GPUs from 0."""

    gpus: list[SoftwareGpu]
    _machine: Machine

    def reset_gpu(self, index: int, cause: str = "HWS hang", *, memory_lost: bool = True) -> None:
        """Reset a GPU as a whole, as amdgpu does when it hangs: its queues are lost, and VRAM unless kept.

        `cause` is what the SMI event says (amdgpu_reset_get_desc): "HWS hang", "MES hang", "RAS error" or
        "user trigger".
        """
        reset(self.gpus[index], self._machine.processes, cause, memory_lost=memory_lost)

    @property
    def injections(self) -> Injections:
        """The defects that GPUs are told to have; costs something from the first look on."""
        if self._machine.injections is None:
            from pytest_amdgpu.emulator.injection.injections import Injections

            self._machine.injections = Injections(self._machine)
        return self._machine.injections

    def hang_scheduler(self, index: int) -> None:
        """Let the scheduler of a GPU (HWS, from gfx11 on MES) answer no more, as debugfs' hang_hws does.

        The next call that must preempt queues there fails with ETIME, and the GPU is reset.
        """
        self.gpus[index].scheduler_hangs = True

    def poison(self, index: int, address: int, size: int) -> None:
        """Destroy `size` bytes of a GPU's VRAM at a GPU address, as an uncorrectable memory error does.

        Who reads them consumes poison: see `ras.consume_poison`. The process gets SIGBUS then, as from the
        real kernel. ValueError where the GPU knows no poison or the address is not its VRAM.
        """
        poison(self.gpus[index], self._machine.processes, address, size)
