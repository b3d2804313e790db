"""Registers of a dispatch against the kernel's register headers (gc_*_offset.h, gc_*_sh_mask.h)."""

import pytest

from pytest_amdgpu.packets.register_tables import COLUMNS
from pytest_amdgpu.packets.registers import SH_BASE, compute_registers

# From the headers: offset + segment base (0x2000 gfx9, 0x1260 gfx10 and up) - 0x2c00, one value per column.
MOVED = {
    # regCOMPUTE_PGM_RSRC3: 0x0e2d (9.4.2, 9.4.3), 0x1bc8 (10.x to 12.0); gfx908 has none
    "COMPUTE_PGM_RSRC3": (None, 0x22D, 0x22D, 0x228, 0x228, 0x228, 0x228, 0x228),
    # regCOMPUTE_RELAUNCH: 0x0e22, 0x1bcb (10.x), 0x1bd0 (11, 12)
    "COMPUTE_RELAUNCH": (0x222, 0x222, 0x222, 0x22B, 0x22B, 0x230, 0x230, 0x230),
    # regCOMPUTE_STATIC_THREAD_MGMT_SE6: 0x0e27, 0x1bcd (11, 12); on gfx942 that index is the chunk size
    "COMPUTE_STATIC_THREAD_MGMT_SE6": (0x227, 0x227, None, None, None, 0x22D, 0x22D, 0x22D),
    "COMPUTE_TG_CHUNK_SIZE": (None, None, 0x227, None, None, None, None, None),
    # regCOMPUTE_SHADER_CHKSUM: 0x0e2c, 0x1bca
    "COMPUTE_SHADER_CHKSUM": (None, 0x22C, 0x22C, 0x22A, 0x22A, 0x22A, 0x22A, 0x22A),
    # regCOMPUTE_DISPATCH_INTERLEAVE: 0x1bcf
    "COMPUTE_DISPATCH_INTERLEAVE": (None, None, None, None, None, 0x22F, 0x22F, 0x22F),
}
# regCOMPUTE_*: 0x0e00 + n on gfx9, 0x1ba0 + n later: the same index everywhere
UNMOVED = {
    "COMPUTE_DISPATCH_INITIATOR": 0x200,
    "COMPUTE_START_X": 0x204,
    "COMPUTE_NUM_THREAD_X": 0x207,
    "COMPUTE_PGM_LO": 0x20C,
    "COMPUTE_PGM_HI": 0x20D,
    "COMPUTE_DISPATCH_SCRATCH_BASE_LO": 0x210,
    "COMPUTE_PGM_RSRC1": 0x212,
    "COMPUTE_PGM_RSRC2": 0x213,
    "COMPUTE_RESOURCE_LIMITS": 0x215,
    "COMPUTE_STATIC_THREAD_MGMT_SE0": 0x216,
    "COMPUTE_TMPRING_SIZE": 0x218,
    "COMPUTE_RESTART_X": 0x21B,
    "COMPUTE_USER_DATA_0": 0x240,
    "COMPUTE_USER_DATA_15": 0x24F,
    "COMPUTE_NOWHERE": 0x27F,
}


@pytest.mark.parametrize(("number", "column"), list(enumerate(COLUMNS)))
def test_offsets_of_a_generation(number, column):
    registers = compute_registers(column)
    for name, offsets in MOVED.items():
        assert registers.offsets.get(name) == offsets[number], name
    for name, offset in UNMOVED.items():
        assert registers[name] == offset


@pytest.mark.parametrize("column", COLUMNS)
def test_no_two_registers_share_an_index_or_a_bit(column):
    registers = compute_registers(column)
    assert len(set(registers.offsets.values())) == len(registers.offsets)
    assert all(0x200 <= offset < 0x280 for offset in registers.offsets.values())
    for name in registers.offsets:
        taken = 0
        for field in registers.fields(name).values():
            mask = ((1 << field.width) - 1) << field.low
            assert not mask & taken, f"{name}.{field.name}"
            assert mask < 1 << 32
            taken |= mask


def test_launch_bits_that_drivers_send():
    # tinygrad on hardware: 0x00000005 on gfx942, 0x00008005 on gfx11 (wave32).
    start = {"compute_shader_en": 1, "force_start_at_000": 1}
    assert compute_registers("gfx942").encode("COMPUTE_DISPATCH_INITIATOR", **start) == 5
    assert compute_registers("gfx11").encode("COMPUTE_DISPATCH_INITIATOR", **start, cs_w32_en=1) == 0x8005
    with pytest.raises(ValueError, match="gfx942 COMPUTE_DISPATCH_INITIATOR has no field cs_w32_en"):
        compute_registers("gfx942").encode("COMPUTE_DISPATCH_INITIATOR", cs_w32_en=1)


def test_descriptor_of_a_compiled_kernel_decodes():
    # A gfx942 code object made by clang: RSRC1 0x00af0040, RSRC2 0x84 (2 user SGPRs, workgroup id x).
    registers = compute_registers("gfx942")
    rsrc1 = registers.decode("COMPUTE_PGM_RSRC1", 0x00AF0040)
    assert {name: value for name, value in rsrc1.items() if value} == {
        "sgprs": 1,
        "float_mode": 0xF0,
        "dx10_clamp": 1,
        "ieee_mode": 1,
    }
    rsrc2 = registers.decode("COMPUTE_PGM_RSRC2", 0x84)
    assert {name: value for name, value in rsrc2.items() if value} == {"user_sgpr": 2, "tgid_x_en": 1}


def test_scratch_size_widened_with_each_generation():
    # gc_*_sh_mask.h, COMPUTE_TMPRING_SIZE__WAVESIZE_MASK: 0x01fff000, 0x07fff000, 0x3ffff000
    for column, width in (("gfx90a", 13), ("gfx942", 13), ("gfx10.3", 13), ("gfx11", 15), ("gfx12", 18)):
        registers = compute_registers(column)
        value = registers.encode("COMPUTE_TMPRING_SIZE", waves=0xFFF, wavesize=(1 << width) - 1)
        assert value == (1 << 12 + width) - 1
        with pytest.raises(ValueError, match=f"wavesize = {1 << width:#x} does not fit {width} bits"):
            registers.encode("COMPUTE_TMPRING_SIZE", wavesize=1 << width)


def test_meaning_of_a_bit_can_change():
    # gc_12_0_0_sh_mask.h: bit 6 of RSRC2 is DYNAMIC_VGPR, was TRAP_PRESENT; bit 21 of RSRC1 is WG_RR_EN.
    old, new = compute_registers("gfx11"), compute_registers("gfx12")
    assert (
        old.encode("COMPUTE_PGM_RSRC2", trap_present=1)
        == new.encode("COMPUTE_PGM_RSRC2", dynamic_vgpr=1)
        == 64
    )
    assert (
        old.encode("COMPUTE_PGM_RSRC1", dx10_clamp=1)
        == new.encode("COMPUTE_PGM_RSRC1", wg_rr_en=1)
        == 1 << 21
    )
    assert old.encode("COMPUTE_PGM_RSRC3", inst_pref_size=0x3F) == 0x3F0
    assert new.encode("COMPUTE_PGM_RSRC3", inst_pref_size=0xFF) == 0xFF0


def test_text_of_a_register_write():
    registers = compute_registers("gfx11")
    assert registers.describe(0x213, 0x84) == "COMPUTE_PGM_RSRC2 = 0x84 (user_sgpr=0x2, tgid_x_en=0x1)"
    assert registers.describe(0x20C, 0x1234) == "COMPUTE_PGM_LO = 0x1234"
    assert registers.describe(0x218, 0) == "COMPUTE_TMPRING_SIZE = 0x0 (all 0)"
    assert registers.describe(0x20D, 0x101) == "COMPUTE_PGM_HI = 0x101 (data=0x1, reserved bits 0x100)"
    assert registers.describe(0x3FF, 7) == "SH register 0x3ff = 0x7"
    assert registers.decode("COMPUTE_PGM_LO", 5) == {"value": 5}
    assert registers.name(0x245) == "COMPUTE_USER_DATA_5"
    assert SH_BASE + registers["COMPUTE_PGM_LO"] == 0x2E0C


def test_what_a_generation_lacks_is_refused():
    with pytest.raises(ValueError, match="gfx908 has no register COMPUTE_PGM_RSRC3"):
        compute_registers("gfx908")["COMPUTE_PGM_RSRC3"]
    assert "COMPUTE_PGM_RSRC3" not in compute_registers("gfx908")
    with pytest.raises(ValueError, match=r"unknown register generation 'gfx8'; known: gfx908, gfx90a"):
        compute_registers("gfx8")
