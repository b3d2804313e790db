"""What the workgroups of a dispatch need of compute units, from the registers it starts with.

`COMPUTE_STATIC_THREAD_MGMT_SE*` come from the queue's memory descriptor, where SET_CU_MASK puts them, or from
a PM4 packet. Waves in WGP mode (PGM_RSRC1.WGP_MODE) take a pair of units together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.placement import Claimant, Limits, Needs, Placement, vector_registers
from pytest_amdgpu.packets.registers import compute_registers

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.compute_units import EngineMasks
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.isa.dispatch import Triple

_LOW, _MEDIUM, _HIGH = range(3)
_PIPE_PRIORITIES = (_LOW,) * 7 + (_MEDIUM,) * 4 + (_HIGH,) * 5
"""By queue priority 0 to 15 (pipe_priority_map in kfd_mqd_manager.c)."""


def placement(
    context: QueueContext,
    *,
    rsrc1: int,
    block: Triple,
    wave_size: int,
    lds_bytes: int,
    xccs: tuple[int, ...],
    limits: Limits,
    masks: EngineMasks | None = None,
) -> Placement:
    """Make the placement of a dispatch on `xccs`; `masks` are what PM4 programmed in place of the queue's."""
    family, units = context.gpu.family, context.gpu.units
    waves = max(-(-block[0] * block[1] * block[2] // wave_size), 1)
    registers = compute_registers(family.registers)
    pair = bool(registers.decode("COMPUTE_PGM_RSRC1", rsrc1).get("wgp_mode")) and units.pairable
    needs = Needs(
        waves=waves,
        lds_bytes=lds_bytes,
        vgpr_bytes=waves * wave_size * 4 * vector_registers(family, rsrc1, wave_size),
        pair=pair,
    )
    claimant = Claimant(
        xccs=xccs,
        masks=lambda: masks if masks is not None else context.engine_masks,
        pipe_priority=lambda: _PIPE_PRIORITIES[context.priority],
    )
    return Placement(units, claimant, needs, limits)
