"""Hardware registers that waves read and write with s_getreg and s_setreg.

Numbers: LLVM's SIDefines.h (enum Id of Hwreg); an instruction names (number, first bit, width).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.errors import NotEmulatedError
from pytest_amdgpu.emulator.isa.numpy_ops import uniform
from pytest_amdgpu.families.hardware_ids import place_registers

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group

MODE, STATUS, TRAPSTS, IB_STS, SH_MEM_BASES = 1, 2, 3, 7, 15
FLAT_SCR_LO, FLAT_SCR_HI = 20, 21
SHADER_CYCLES = 29
_APERTURES = 1 << 16 | 2
"""High 16 bits of the shared (upper half) and of the private aperture."""
_STATUS_DEFAULT = 1 << 16
"""VALID."""


def _fields(simm16: int) -> tuple[int, int, int]:
    return simm16 & 63, simm16 >> 6 & 31, (simm16 >> 11 & 31) + 1


def read(g: Group, simm16: int) -> Any:
    """Return the field of a hardware register; IllegalInstruction for one that is not emulated."""
    number, first, width = _fields(simm16)
    value = _whole(g, number)
    mask = (1 << width) - 1
    return value >> first & mask


def _whole(g: Group, number: int) -> Any:
    generation = g.chunk.state.family.gfx_version
    if number == MODE:
        return g.mode
    if number == STATUS:
        return _STATUS_DEFAULT
    if number in (TRAPSTS, IB_STS):
        return 0
    if number == SH_MEM_BASES and generation[0] >= 9:
        return _APERTURES
    if number in place_registers(g.chunk.state.family):
        return uniform(g.chunk.place_register(g, number))
    if number in (FLAT_SCR_LO, FLAT_SCR_HI) and generation[0] >= 10:
        bases = g.chunk.scratch_bases(g) if generation[0] > 10 else g.chunk.flat_scratch(g)
        half = bases >> np.uint64(32) if number == FLAT_SCR_HI else bases & np.uint64(0xFFFFFFFF)
        return uniform(half.astype(np.uint32))
    if number == SHADER_CYCLES and generation >= (10, 3, 0):
        return g.chunk.clock("cycles") & 0xFFFFF
    raise NotEmulatedError(g.pc, (), f"hardware register {number} is not emulated")


def write(g: Group, simm16: int, value: Any) -> None:
    """Write a field of MODE, or the whole of FLAT_SCRATCH where that is a hardware register."""
    number, first, width = _fields(simm16)
    if number in (FLAT_SCR_LO, FLAT_SCR_HI) and g.chunk.state.family.gfx_version[0] == 10 and width == 32:
        g.chunk.set_flat_scratch(g, value, high=number == FLAT_SCR_HI)
        return
    if number != MODE:
        raise NotEmulatedError(g.pc, (), f"write to hardware register {number} is not emulated")
    if type(value) is not int:
        value = uniform(value[g.living])
    if type(value) is not int:
        raise NotEmulatedError(g.pc, (), "waves of one group write different values to MODE")
    mask = (1 << width) - 1
    g.mode = g.mode & ~(mask << first) | (value & mask) << first
