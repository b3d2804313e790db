"""Fields of the hardware registers that name a wave's place, against words worked out by hand."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from pytest_amdgpu.families.hardware_ids import hardware_ids, place_registers, unit_number
from pytest_amdgpu.families.registry import family

GFX9 = ("gfx908", "gfx90a", "gfx942", "gfx950")
GFX10 = ("gfx1030", "gfx1100", "gfx1151", "gfx1200", "gfx1201")


def fields_of(target: str, register: int, value: int) -> dict[str, int]:
    fields = hardware_ids(family(target))
    return {name: field.of(value) for name, field in fields.items() if field.register == register}


@pytest.mark.parametrize("target", GFX9)
def test_hw_id_of_gfx9(target: str) -> None:
    # HIP, amd_device_functions.h: WAVE_ID 3:0 = 7, SIMD_ID 5:4 = 2, PIPE_ID 7:6 = 3, CU_ID 11:8 = 11,
    # SH_ID 12 = 1, SE_ID from bit 13 = 3, TG_ID 19:16 = 5, VM_ID 23:20 = 8, QUEUE_ID 26:24 = 6,
    # STATE_ID 29:27 = 0, ME_ID 31:30 = 1.
    word = 7 | 2 << 4 | 3 << 6 | 11 << 8 | 1 << 12 | 3 << 13 | 5 << 16 | 8 << 20 | 6 << 24 | 1 << 30
    assert word == 0x46857BE7
    assert fields_of(target, 4, word) == {
        "wave": 7,
        "simd": 2,
        "pipe": 3,
        "unit": 11,
        "array": 1,
        "engine": 3,
        "workgroup": 5,
        "vm": 8,
        "queue": 6,
        "state": 0,
        "me": 1,
    }


def test_eight_engines_where_there_are_eight() -> None:
    # HW_ID_SE_ID_SIZE is 3 on gfx908 and gfx90a, and 2 on gfx942.
    assert fields_of("gfx90a", 4, 7 << 13)["engine"] == 7
    assert fields_of("gfx942", 4, 7 << 13)["engine"] == 3


@pytest.mark.parametrize("target", GFX10)
def test_hw_id1_of_gfx10(target: str) -> None:
    # HIP: WAVE_ID 4:0 = 19, SIMD_ID 9:8 = 3, WGP_ID 13:10 = 4, SA_ID 16 = 1, SE_ID from bit 18 = 5.
    word = 19 | 3 << 8 | 4 << 10 | 1 << 16 | 5 << 18
    place = fields_of(target, 23, word)
    assert place == {"wave": 19, "simd": 3, "pair": 4, "array": 1, "engine": 5}
    assert unit_number(family(target), place) == 9


@pytest.mark.parametrize("target", [*GFX9, *GFX10])
def test_numbers_of_the_registers_are_llvms(target: str, require_tool: Callable[[str], str]) -> None:
    """The assembler encodes the register's number in bits 5:0 of the instruction."""
    names = ["HW_REG_HW_ID1", "HW_REG_HW_ID2"] if target in GFX10 else ["HW_REG_HW_ID"]
    if target in ("gfx942", "gfx950"):
        names.append("HW_REG_XCC_ID")
    source = "".join(f"s_getreg_b32 s0, hwreg({name})\n" for name in names)
    command = [require_tool("llvm-mc"), "-triple=amdgcn-amd-amdhsa", f"-mcpu={target}", "-show-encoding"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    encodings = re.findall(r"encoding: \[0x(\w\w),", text)
    assert {int(octet, 16) & 63 for octet in encodings} == set(place_registers(family(target)))
