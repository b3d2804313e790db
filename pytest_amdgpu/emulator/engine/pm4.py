"""A PM4 compute queue: the command processor on a ring of dwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine.command_processor import CommandProcessor
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.stream import DwordQueue

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.engine.wave_save import SavedWaves


class Pm4Queue(DwordQueue):
    """A compute queue of PM4 packets. Pointers and doorbell count dwords.

    It runs on one XCC only: amdkfd gives a PM4 queue to the XCC that CREATE_QUEUE names.
    """

    def __init__(self, context: QueueContext) -> None:
        super().__init__(context, f"PM4 {context.gpu.family.pm4}", 4)
        self._shaders = Shaders(self)
        self.seat = self._shaders.seat()
        self.interpreter = CommandProcessor(self, self._shaders, (context.xcc % context.gpu.num_xcc,))

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

    def write_rptr(self) -> None:
        """Report dwords, in 32 bits and wrapping at the end of the ring."""
        self.memory.write_u32(self.context.rptr_address, self.rptr % (self.context.ring_size // self.unit))
