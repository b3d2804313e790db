"""Saves the waves of a preempted queue to its context save area (CWSR).

The area of each XCC begins with a header; the control stack grows down from `ctl_stack_size`, the waves'
state up from there (get_wave_state in amdkfd's kfd_mqd_manager_v10.c). What firmware writes into the control
stack is not imitated: as many bytes as amdkfd's formula gives a wave are counted and written as 0. Waves go
on from the emulator's own state, not from the area.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.isa.chunk import Chunk

HEADER_BYTES = 40
_STACK_END_BYTES = 8


@dataclass(frozen=True, slots=True)
class SavedWaves:
    """What lies in one XCC's area: bytes of control stack and of the waves' state."""

    control_stack: int = 0
    wave_state: int = 0


def save_waves(context: QueueContext, chunks: Iterable[Chunk]) -> tuple[SavedWaves, ...]:
    """Write the waves of chunks that still have their places; return what lies in the area of each XCC."""
    from pytest_amdgpu.emulator.isa.wave_image import images

    count = context.gpu.num_xcc
    waves: list[list[bytes]] = [[] for _ in range(count)]
    for chunk in chunks:
        xccs = chunk.xccs()
        for workgroup, _, image in sorted(images(chunk), key=lambda wave: wave[:2]):
            waves[xccs[workgroup]].append(image)
    if not context.ctx_save_size:
        return (SavedWaves(),) * count
    return tuple(_write(context, xcc, state) for xcc, state in enumerate(waves))


def _write(context: QueueContext, xcc: int, waves: list[bytes]) -> SavedWaves:
    if not waves:
        return SavedWaves()
    start = context.ctx_save_address + xcc * context.ctx_save_size
    top = start + context.ctl_stack_size
    rules = context.gpu.family.context_save
    control = len(waves) * rules.control_bytes_per_wave + _STACK_END_BYTES
    stack = min(control, context.ctl_stack_size - HEADER_BYTES)
    state = b"".join(waves)[: context.ctx_save_size - context.ctl_stack_size]
    if rules.control_stack_in_area:
        context.memory.write(top - stack, bytes(stack))
    context.memory.write(top, state)
    return SavedWaves(stack, len(state))
