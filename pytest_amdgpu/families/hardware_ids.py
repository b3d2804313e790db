"""Where a wave reads the place it runs at: fields of the hardware registers HW_ID, HW_ID1, HW_ID2 and XCC_ID.

Sources: numbers of the registers from LLVM's SIDefines.h (Hwreg); fields from the comment above `__smid` in
HIP's amd_device_functions.h, for HW_ID2 from the RDNA2 and RDNA3 instruction set manuals. HIP takes bit 0 of
SIMD_ID for the unit within a pair (HW_ID_CU_ID in CU mode).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_amdgpu.families.family import Family

HW_ID, XCC_ID, HW_ID1, HW_ID2 = 4, 20, 23, 24


@dataclass(frozen=True, slots=True)
class IdField:
    """Bits `[low + width - 1 : low]` of hardware register `register`."""

    register: int
    low: int
    width: int

    def of(self, value: int) -> int:
        """Take the field out of the register's value."""
        return value >> self.low & ((1 << self.width) - 1)


def _fields(register: int, text: str) -> dict[str, IdField]:
    result = {}
    for part in text.split(","):
        name, bits = part.split()
        high, _, low = bits.partition(":")
        result[name] = IdField(register, int(low or high), int(high) - int(low or high) + 1)
    return result


GFX9 = MappingProxyType(
    _fields(
        HW_ID,
        "wave 3:0, simd 5:4, pipe 7:6, unit 11:8, array 12, engine 15:13, workgroup 19:16, vm 23:20,"
        " queue 26:24, state 29:27, me 31:30",
    )
)
GFX942 = MappingProxyType(
    # Four engines per XCC: HIP reads two bits of SE_ID.
    {**GFX9, **_fields(HW_ID, "engine 14:13"), **_fields(XCC_ID, "xcc 3:0")}
)
GFX10 = MappingProxyType(
    {
        **_fields(HW_ID1, "wave 4:0, simd 9:8, pair 13:10, array 16, engine 20:18"),
        **_fields(HW_ID2, "queue 3:0, pipe 5:4, me 9:8, state 14:12, workgroup 20:16, vm 27:24"),
    }
)


def hardware_ids(family: Family) -> Mapping[str, IdField]:
    """Return the fields by what they number.

    `engine` is a shader engine (SE), `array` a shader array of it (SA, SH), `unit` a compute unit of that,
    `pair` a pair of compute units (WGP) of it where the generation has pairs; `xcc` is there on parts with
    several XCCs. Units and pairs are counted with those that are switched off.
    """
    return family.hardware_ids


def place_registers(family: Family) -> frozenset[int]:
    """Return the numbers of the hardware registers that name a wave's place."""
    return frozenset(field.register for field in hardware_ids(family).values())


def unit_number(family: Family, place: Mapping[str, int]) -> int:
    """Return the compute unit's number in its array, from fields: `unit`, or `pair` and a bit of `simd`."""
    return place["pair"] << 1 | place["simd"] & 1 if family.units_in_pairs else place["unit"]
