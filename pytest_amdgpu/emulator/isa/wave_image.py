"""What a preempted wave leaves in its queue's context save area.

The order is that of amdkfd's trap handler (cwsr_trap_handler_gfx9.asm, _gfx10.asm, _gfx12.asm): vector
registers with all lanes, then accumulation registers, then 512 bytes of scalar registers, then 128 bytes of
hardware registers, of which the first five are M0, PC and EXEC, and with the first wave of a workgroup its
LDS. The sizes are those that amdkfd's formula for the area allows a wave. Not verified on hardware; hardware
registers behind EXEC are 0, and what nobody has written holds the emulator's mark of undefined registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.launch import UNDEFINED
from pytest_amdgpu.emulator.isa.waves import EXEC_SLOT, M0_SLOT
from pytest_amdgpu.emulator.placement import vector_registers
from pytest_amdgpu.families.shader_rules import Accumulation

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.chunk import Chunk
    from pytest_amdgpu.emulator.isa.waves import Group
    from pytest_amdgpu.families.registry import Family

SCALAR_BYTES, HARDWARE_REGISTER_BYTES = 512, 128
_SCALARS = SCALAR_BYTES // 4
_ACCUMULATION = 256
"""Where accumulation registers begin in `Group.v`."""


def images(chunk: Chunk) -> Iterator[tuple[int, int, bytes]]:
    """Yield workgroup (from 0 in the chunk), position in the workgroup and image of every wave."""
    state = chunk.state
    indices = _registers(state.family, state.rsrc1, state.rsrc3, state.wave_size)
    for group in chunk.groups:
        rows = group.living
        vectors = np.empty((len(rows), len(indices), state.wave_size), np.uint32)
        for place, index in enumerate(indices):
            group.need((index,))
            value = group.v[index]
            if value is None:
                vectors[:, place] = UNDEFINED
            else:
                vectors[:, place] = np.broadcast_to(value, group.shape)[rows]
        scalars = np.empty((len(rows), _SCALARS), np.uint32)
        for index in range(_SCALARS):
            scalars[:, index] = _column(group, group.s[index])[rows, 0]
        hardware = np.zeros((len(rows), HARDWARE_REGISTER_BYTES // 4), np.uint32)
        hardware[:, 0] = _column(group, group.s[M0_SLOT])[rows, 0]
        hardware[:, 1:3] = group.pc & 0xFFFFFFFF, group.pc >> 32
        mask = _column(group, group.s[EXEC_SLOT])[rows, 0].astype(np.uint64)
        hardware[:, 3], hardware[:, 4] = mask & np.uint64(0xFFFFFFFF), mask >> np.uint64(32)
        for row, wave in enumerate(group.waves[rows].tolist()):
            workgroup, position = chunk.position(wave)
            parts = [vectors[row].tobytes(), scalars[row].tobytes(), hardware[row].tobytes()]
            if not position:
                parts.append(chunk.lds_of(workgroup))
            yield workgroup, position, b"".join(parts)


def _column(group: Group, value: Any) -> Any:
    """A scalar register [waves, 1]."""
    return np.broadcast_to(np.asarray(value), (group.count, 1))


def _registers(family: Family, rsrc1: int, rsrc3: int, wave_size: int) -> list[int]:
    """Indices into `Group.v` of the registers that a wave has."""
    total = vector_registers(family, rsrc1, wave_size)
    accumulation = family.shader.accumulation
    if accumulation is Accumulation.NONE:
        return list(range(min(total, _ACCUMULATION)))
    # PGM_RSRC3.ACCUM_OFFSET has units of 4.
    plain = total // 2 if accumulation is Accumulation.OWN_FILE else min(total, 4 * ((rsrc3 & 63) + 1))
    return [*range(plain), *range(_ACCUMULATION, _ACCUMULATION + total - plain)]
