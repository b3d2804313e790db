"""A PM4 compute queue: the command processor on a ring of dwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine.command_processor import CommandProcessor
from pytest_amdgpu.emulator.engine.shader_queue import ShaderQueue
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.stream import DwordQueue

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext


class Pm4Queue(ShaderQueue, DwordQueue):
    """A compute queue of PM4 packets. Pointers and doorbell count dwords.

    It runs on one XCC only: amdkfd gives a PM4 queue to the XCC that CREATE_QUEUE names.
    """

    def __init__(self, context: QueueContext) -> None:
        super().__init__(context, f"PM4 {context.gpu.family.pm4}", 4)
        self._shaders = Shaders(self)
        self.seat = self._shaders.seat()
        self.interpreter = CommandProcessor(self, self._shaders, (context.xcc % context.gpu.num_xcc,))

    def write_rptr(self) -> None:
        """Report dwords, in 32 bits and wrapping at the end of the ring."""
        self.memory.write_u32(self.context.rptr_address, self.rptr % (self.context.ring_size // self.unit))
