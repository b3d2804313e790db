"""What the compute queues share, whatever is in their rings: their packets launch shaders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine.queue import QueueThread

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.shaders import Shaders
    from pytest_amdgpu.emulator.engine.wave_save import SavedWaves


class ShaderQueue(QueueThread):
    """A queue with shaders, which run behind its read pointer and leave the hardware with it."""

    _shaders: Shaders

    def advance(self) -> bool:
        """Run shaders while packets wait or there are none."""
        return self._shaders.advance()

    def saved_waves(self) -> Sequence[SavedWaves]:
        """Return what the last preemption saved, by XCC."""
        return self._shaders.saved

    def set_aside(self) -> None:
        """Save the waves and leave the hardware."""
        self._shaders.save()
        super().set_aside()

    def abandon(self) -> None:
        """Leave the hardware; the waves are lost."""
        self._shaders.suspend()
        super().abandon()
