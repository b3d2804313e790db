"""Hardware registers that waves read and write with s_getreg and s_setreg.

An instruction names (number, first bit, width); which register a number is, is a row of the family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.errors import NotEmulatedError
from pytest_amdgpu.emulator.isa.numpy_ops import uniform
from pytest_amdgpu.families.shader_rules import FlatScratch

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group

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
    match g.chunk.state.family.wave_registers.get(number):
        case "MODE":
            return g.mode
        case "STATUS":
            return _STATUS_DEFAULT
        case "TRAPSTS" | "IB_STS":
            return 0
        case "SH_MEM_BASES":
            return _APERTURES
        case "HW_ID" | "HW_ID1" | "HW_ID2" | "XCC_ID":
            return uniform(g.chunk.place_register(g, number))
        case "FLAT_SCR_LO" | "SCRATCH_BASE_LO":
            return uniform((_scratch(g) & np.uint64(0xFFFFFFFF)).astype(np.uint32))
        case "FLAT_SCR_HI" | "SCRATCH_BASE_HI":
            return uniform((_scratch(g) >> np.uint64(32)).astype(np.uint32))
        case "SHADER_CYCLES":
            return g.chunk.clock("cycles") & 0xFFFFF
        case "SHADER_CYCLES_LO":
            return g.chunk.clock("cycles") & 0xFFFFFFFF
        case "SHADER_CYCLES_HI":
            return g.chunk.clock("cycles") >> 32 & 0xFFFFFFFF
    raise NotEmulatedError(g.pc, (), f"hardware register {number} is not emulated")


def _scratch(g: Group) -> Any:
    """The base of private memory: where hardware does not set it up, what the program has written."""
    written = g.chunk.flat_scratch(g)
    return g.chunk.scratch_bases(g) if written is None else written


def write(g: Group, simm16: int, value: Any) -> None:
    """Write a field of MODE, or the whole of FLAT_SCRATCH where that is a hardware register."""
    number, first, width = _fields(simm16)
    family = g.chunk.state.family
    name = family.wave_registers.get(number)
    if (
        name in ("FLAT_SCR_LO", "FLAT_SCR_HI")
        and family.shader.flat_scratch is FlatScratch.HARDWARE_REGISTERS
        and width == 32
    ):
        g.chunk.set_flat_scratch(g, value, high=name == "FLAT_SCR_HI")
        return
    if name != "MODE":
        raise NotEmulatedError(g.pc, (), f"write to hardware register {number} is not emulated")
    if type(value) is not int:
        value = uniform(value[g.living])
    if type(value) is not int:
        raise NotEmulatedError(g.pc, (), "waves of one group write different values to MODE")
    mask = (1 << width) - 1
    g.mode = g.mode & ~(mask << first) | (value & mask) << first
