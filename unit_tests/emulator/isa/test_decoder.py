"""Single instructions worked out by hand from the microcode formats, and the decoder's errors."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from pytest_amdgpu.emulator.isa.decode.decoder import decoder
from pytest_amdgpu.emulator.isa.decode.instruction import (
    SRC_SHARED_BASE,
    VCC,
    Instruction,
    Operand,
    OperandKind,
)
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction

VGPR, AGPR, SGPR = OperandKind.VGPR, OperandKind.AGPR, OperandKind.SGPR
OFF = Operand(OperandKind.OFF)


def decode(target: str, *words: int, wave_size: int | None = None) -> Instruction:
    return decoder(target, wave_size).decode(struct.pack(f"<{len(words)}I", *words), 0)


def test_sop2() -> None:
    # SOP2: 10 | op 0 (s_add_u32) | sdst s5 | ssrc1 code 193 (-1) | ssrc0 s7
    instruction = decode("gfx942", 0b10 << 30 | 0 << 23 | 5 << 16 | 193 << 8 | 7)
    assert (instruction.name, instruction.encoding, instruction.size) == ("s_add_u32", "SOP2", 4)
    assert instruction.destinations == (Operand(SGPR, 5),)
    assert instruction.sources == (Operand(SGPR, 7), Operand(OperandKind.INLINE_INT, 193, 1, -1))


def test_sop1_64_bit_with_literal() -> None:
    # SOP1: 101111101 | sdst s[4:5] | op 1 (s_mov_b64) | ssrc0 code 255 (literal)
    instruction = decode("gfx942", 0b101111101 << 23 | 4 << 16 | 1 << 8 | 255, 0xDEADBEEF)
    assert instruction.size == 8
    assert instruction.destinations == (Operand(SGPR, 4, 2),)
    assert instruction.sources == (Operand(OperandKind.LITERAL, 0, 2, 0xDEADBEEF),)


def test_both_sources_share_the_literal() -> None:
    instruction = decode("gfx942", 0b101111110 << 23 | 6 << 16 | 255 << 8 | 255, 77)
    assert instruction.name == "s_cmp_eq_u32"
    assert [operand.value for operand in instruction.sources] == [77, 77]
    assert instruction.size == 8


def test_branch_target_is_relative_to_the_next_instruction() -> None:
    # SOPP: 101111111 | op 2 (s_branch) | simm16 -3
    code = struct.pack("<3I", 0xBF800000, 0xBF800000, 0b101111111 << 23 | 2 << 16 | 0xFFFD)
    instruction = decoder("gfx942").decode(code, 8)
    assert instruction.sources == (Operand(OperandKind.IMM, value=-3),)
    assert instruction.branch_target == 8 + 4 - 12


def test_sopk_immediates_are_signed_or_not_by_opcode() -> None:
    signed = decode("gfx942", 0b1011 << 28 | 2 << 23 | 9 << 16 | 0xFFFF)
    unsigned = decode("gfx942", 0b1011 << 28 | 8 << 23 | 9 << 16 | 0xFFFF)
    assert (signed.name, signed.sources[1].value) == ("s_cmpk_eq_i32", -1)
    assert (unsigned.name, unsigned.sources[1].value) == ("s_cmpk_eq_u32", 0xFFFF)
    assert not signed.destinations
    assert signed.sources[0] == Operand(SGPR, 9)


@pytest.mark.parametrize(
    ("target", "simm16", "counters"),
    [
        # gfx9: vmcnt 3:0 and 15:14, expcnt 6:4, lgkmcnt 11:8.
        ("gfx942", 0xCF7F & ~0x000F & ~0xC000, {"vmcnt": 0}),
        ("gfx942", 0xC07F, {"lgkmcnt": 0}),
        ("gfx942", 0x4F75, {"vmcnt": 5 | 1 << 4}),
        # gfx11: expcnt 2:0, lgkmcnt 9:4, vmcnt 15:10.
        ("gfx1100", 0xFC07, {"lgkmcnt": 0}),
        ("gfx1100", 0x03F7, {"vmcnt": 0}),
        ("gfx1100", 0xFFF0, {"expcnt": 0}),
    ],
)
def test_wait_counters(target: str, simm16: int, counters: dict[str, int]) -> None:
    opcode = 12 if target == "gfx942" else 9
    instruction = decode(target, 0b101111111 << 23 | opcode << 16 | simm16)
    found = {name: value for name, value in instruction.modifiers.items() if name.endswith("cnt")}
    assert (instruction.name, found) == ("s_waitcnt", counters)
    assert instruction.modifiers["simm16"] == simm16


def test_implied_vcc_is_an_operand() -> None:
    # VOP2: 0 | op | vdst v1 | vsrc1 v2 | src0 v3
    for target, opcode, name, width in (
        ("gfx942", 0, "v_cndmask_b32", 2),
        ("gfx1100", 1, "v_cndmask_b32", 1),
        ("gfx942", 28, "v_addc_co_u32", 2),
    ):
        instruction = decode(target, opcode << 25 | 1 << 17 | 2 << 9 | 256 + 3)
        assert instruction.name == name
        assert instruction.sources == (Operand(VGPR, 3), Operand(VGPR, 2), Operand(SGPR, VCC, width))
    assert instruction.destinations == (Operand(VGPR, 1), Operand(SGPR, VCC, 2))


def test_masks_follow_the_wave_size() -> None:
    # VOPC: 0111110 | op 0x4a (v_cmp_eq_u32) | vsrc1 v2 | src0 v3
    word = 0b0111110 << 25 | 0x4A << 17 | 2 << 9 | 256 + 3
    assert decode("gfx1100", word).destinations == (Operand(SGPR, VCC, 1),)
    assert decode("gfx1100", word, wave_size=64).destinations == (Operand(SGPR, VCC, 2),)


def test_cmpx_writes_exec_on_gfx11() -> None:
    instruction = decode("gfx1100", 0b0111110 << 25 | 0xCA << 17 | 2 << 9 | 256 + 3)
    assert (instruction.name, instruction.destinations) == ("v_cmpx_eq_u32", (Operand(OperandKind.EXEC),))


def test_vop3_modifiers() -> None:
    # VOP3 gfx9: 110100 | op 0x1cb (v_fma_f32) | clamp | abs src1 | v9; neg src0+src2, omod 2, v3, s4, -1.0
    low = 0b110100 << 26 | 0x1CB << 16 | 1 << 15 | 0b010 << 8 | 9
    high = 0b101 << 29 | 2 << 27 | 243 << 18 | 4 << 9 | 256 + 3
    instruction = decode("gfx942", low, high)
    assert (instruction.name, instruction.encoding, instruction.size) == ("v_fma_f32", "VOP3", 8)
    minus_one = struct.unpack("<I", struct.pack("<f", -1.0))[0]
    assert instruction.sources == (
        Operand(VGPR, 3),
        Operand(SGPR, 4),
        Operand(OperandKind.INLINE_FLOAT, 243, 1, minus_one),
    )
    assert instruction.modifiers == {"neg": 0b101, "omod": 2, "clamp": 1, "abs": 0b010}


def test_mad_u64_has_two_destinations() -> None:
    # VOP3 with scalar destination: op 0x1e8 | sdst s[8:9] at 14:8 | v[4:5]; v1, v2, v[6:7]
    instruction = decode(
        "gfx942", 0b110100 << 26 | 0x1E8 << 16 | 8 << 8 | 4, (256 + 6) << 18 | (256 + 2) << 9 | 257
    )
    assert instruction.name == "v_mad_u64_u32"
    assert instruction.destinations == (Operand(VGPR, 4, 2), Operand(SGPR, 8, 2))
    assert instruction.sources == (Operand(VGPR, 1), Operand(VGPR, 2), Operand(VGPR, 6, 2))


def test_apertures_and_half_registers() -> None:
    instruction = decode("gfx942", 0b101111101 << 23 | 4 << 16 | 1 << 8 | SRC_SHARED_BASE)
    assert instruction.sources == (Operand(OperandKind.SPECIAL, SRC_SHARED_BASE, 2),)
    # v_add_f16 v5.h, v1.h, v2.l: bit 7 of the register numbers is the half (VOP2 op 0x32).
    half = decode("gfx1100", 0x32 << 25 | (128 + 5) << 17 | 2 << 9 | 256 + 128 + 1)
    assert half.destinations == (Operand(VGPR, 5, half=True),)
    assert half.sources == (Operand(VGPR, 1, half=True), Operand(VGPR, 2, half=True))
    assert half.modifiers == {"op_sel": 0b1001}


def test_global_memory_operands() -> None:
    # FLAT gfx9: 110111 | op | seg 2 | offset; vdst, saddr, data, addr
    def words(opcode: int, saddr: int, offset: int = 0, sc0: int = 0) -> tuple[int, int]:
        low = 0b110111 << 26 | opcode << 18 | sc0 << 16 | 2 << 14 | offset & 0x1FFF
        return low, 8 << 24 | saddr << 16 | 5 << 8 | 2

    load = decode("gfx942", *words(0x15, 0x7F, -8))
    assert (load.name, load.encoding) == ("global_load_dwordx2", "FLAT_GLOBAL")
    assert (load.destinations, load.sources) == ((Operand(VGPR, 8, 2),), (Operand(VGPR, 2, 2), OFF))
    assert load.modifiers == {"offset": -8}
    store = decode("gfx942", *words(0x1C, 4))
    assert (store.name, store.destinations) == ("global_store_dword", ())
    assert store.sources == (Operand(VGPR, 2), Operand(VGPR, 5), Operand(SGPR, 4, 2))
    atomic, returning = (decode("gfx942", *words(0x42, 4, sc0=sc0)) for sc0 in (0, 1))
    assert atomic.name == "global_atomic_add"
    assert (atomic.destinations, returning.destinations) == ((), (Operand(VGPR, 8),))


def test_buffer_atomic_names_its_data_twice_when_it_returns() -> None:
    # MUBUF gfx9: 111000 | op 0x41 (cmpswap) | sc0 | offen; soffset s9, srsrc s[8:11], vdata v4, vaddr v3
    low = 0b111000 << 26 | 0x41 << 18 | 1 << 14 | 1 << 12 | 16
    instruction = decode("gfx942", low, 9 << 24 | 2 << 16 | 4 << 8 | 3)
    assert instruction.name == "buffer_atomic_cmpswap"
    assert instruction.destinations == (Operand(VGPR, 4, 1),)
    data, address, descriptor, offset = instruction.sources
    assert (data, address) == (Operand(VGPR, 4, 2), Operand(VGPR, 3))
    assert (descriptor, offset) == (Operand(SGPR, 8, 4), Operand(SGPR, 9))
    assert instruction.modifiers == {"offset": 16, "offen": 1, "sc0": 1}


def test_scalar_load_offsets() -> None:
    # SMEM gfx9: 110000 | op 2 | imm | sdata s[4:7] | sbase s[2:3]; offset -4. gfx11: 111101, soffset null
    gfx9 = decode("gfx942", 0b110000 << 26 | 2 << 18 | 1 << 17 | 4 << 6 | 1, -4 & 0x1FFFFF)
    gfx11 = decode("gfx1100", 0b111101 << 26 | 2 << 18 | 4 << 6 | 1, 124 << 25 | -4 & 0x1FFFFF)
    assert (gfx9.name, gfx11.name) == ("s_load_dwordx4", "s_load_b128")
    for instruction in (gfx9, gfx11):
        assert instruction.destinations == (Operand(SGPR, 4, 4),)
        assert instruction.sources == (Operand(SGPR, 2, 2), OFF)
        assert instruction.modifiers["offset"] == -4


def test_ds_offsets() -> None:
    # DS gfx9: 110110 | op | offset1 | offset0; vdst, data1, data0, addr
    one = decode("gfx942", 0b110110 << 26 | 54 << 17 | 2 << 8 | 1, 8 << 24 | 3)
    two = decode("gfx942", 0b110110 << 26 | 55 << 17 | 2 << 8 | 1, 8 << 24 | 3)
    assert (one.name, one.modifiers) == ("ds_read_b32", {"offset": 0x201})
    assert (two.name, two.modifiers) == ("ds_read2_b32", {"offset0": 1, "offset1": 2})
    assert two.destinations == (Operand(VGPR, 8, 2),)


def test_mfma_with_accumulators() -> None:
    # VOP3P-MAI: 110100111 | op 0x45 (16x16x4 f32) | acc_cd at 15 | vdst 8; acc (src0) at 59
    low = 0b110100111 << 23 | 0x45 << 16 | 1 << 15 | 8
    high = 0b01 << 27 | (256 + 4) << 18 | (256 + 2) << 9 | 256 + 1
    instruction = decode("gfx942", low, high)
    assert instruction.name == "v_mfma_f32_16x16x4_f32"
    assert instruction.destinations == (Operand(AGPR, 8, 4),)
    assert instruction.sources == (Operand(AGPR, 1), Operand(VGPR, 2), Operand(AGPR, 4, 4))


def test_dpp_and_sdwa() -> None:
    # v_add_f32 v1, v3, v2 with src0 code 250: row_shr:1, row_mask 0xa, bank_mask 0xf, bound_ctrl, -src0
    dpp = decode("gfx942", 1 << 25 | 1 << 17 | 2 << 9 | 250, 0xAF << 24 | 1 << 20 | 1 << 19 | 0x111 << 8 | 3)
    assert (dpp.encoding, dpp.name, dpp.size) == ("VOP2_DPP", "v_add_f32", 8)
    assert dpp.sources == (Operand(VGPR, 3), Operand(VGPR, 2))
    assert dpp.modifiers == {
        "dpp_ctrl": 0x111,
        "row_mask": 10,
        "bank_mask": 15,
        "bound_ctrl": 1,
        "neg": 1,
    }
    # src0 code 249: src1_sel WORD_1, s1 (src1 is s2), src0_sel BYTE_2, dst_sel WORD_0, dst_unused PRESERVE
    extra = 1 << 31 | 5 << 24 | 2 << 16 | 2 << 11 | 4 << 8 | 3
    sdwa = decode("gfx942", 0x34 << 25 | 1 << 17 | 2 << 9 | 249, extra)
    assert (sdwa.encoding, sdwa.name) == ("VOP2_SDWA", "v_add_u32")
    assert sdwa.sources == (Operand(VGPR, 3), Operand(SGPR, 2))
    assert sdwa.modifiers == {"dst_sel": 4, "dst_unused": 2, "src0_sel": 2, "src1_sel": 5}
    dpp8 = decode("gfx1100", 3 << 25 | 1 << 17 | 2 << 9 | 234, 0o76543210 << 8 | 3)
    assert (dpp8.encoding, dpp8.modifiers) == ("VOP2_DPP8", {"dpp8": 0o76543210, "fi": 1})


def test_vopd_has_two_halves() -> None:
    # VOPD: 110010 | opx 8 (mov) | opy 16 (add_nc_u32) | srcx0 literal; vdstx v4, vdsty 3 -> v7, v6, v5
    low = 0b110010 << 26 | 8 << 22 | 16 << 17 | 0 << 9 | 255
    instruction = decode("gfx1100", low, 4 << 24 | 3 << 17 | 6 << 9 | 256 + 5, 0x1234)
    assert (instruction.encoding, instruction.size, len(instruction.halves)) == ("VOPD", 12, 2)
    x, y = instruction.halves
    assert (x.name, x.destinations) == ("v_dual_mov_b32", (Operand(VGPR, 4),))
    assert x.sources == (Operand(OperandKind.LITERAL, value=0x1234),)
    assert (y.name, y.destinations) == ("v_dual_add_nc_u32", (Operand(VGPR, 7),))
    assert y.sources == (Operand(VGPR, 5), Operand(VGPR, 6))


@pytest.mark.parametrize(
    ("target", "words", "message"),
    [
        ("gfx942", (0b101111101 << 23 | 255 << 8,), "no SOP1 opcode 0xff"),
        ("gfx942", (0b111111 << 26,), "no encoding with these leading bits"),
        ("gfx942", (0b101111101 << 23 | 5 << 16 | 1 << 8,), "s_mov_b64: sdst cannot be 0x5"),
        ("gfx942", (0b110100 << 26 | 0x1CB << 16, 255), "v_fma_f32: src0 cannot be 0xff"),
        ("gfx942", (1 << 25 | 2 << 9 | 233, 0), "v_add_f32 has no dpp8 form"),
        ("gfx942", (1 << 25 | 2 << 9 | 250, 0x170 << 8), "dpp_ctrl cannot be 0x170"),
        ("gfx942", (0b101111101 << 23 | 255,), "the code ends within this instruction"),
        ("gfx942", (), "the code ends here"),
        ("gfx1100", (0b110010 << 26 | 15 << 22, 0), "no VOPDX opcode 0xf"),
        ("gfx1100", (0b111100 << 26, 0), "image_load: MIMG is for graphics"),
        ("gfx1100", (0b111110 << 26, 0), "EXP is for graphics"),
    ],
)
def test_what_is_no_instruction_is_named(target: str, words: tuple[int, ...], message: str) -> None:
    code = b"\0" * 16 + struct.pack(f"<{len(words)}I", *words)
    with pytest.raises(IllegalInstruction) as caught:
        decoder(target).decode(code, 16)
    assert message in caught.value.text
    assert caught.value.address == 16
    assert caught.value.words == words
    assert "0x10" in str(caught.value)
    assert all(f"{word:08x}" in str(caught.value) for word in words)


def test_vopd_needs_wave32() -> None:
    with pytest.raises(IllegalInstruction, match="VOPD in a wave of 64 lanes"):
        decode("gfx1100", 0b110010 << 26, 0, wave_size=64)


def test_unknown_targets_and_wave_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'gfx000'; there are .*gfx942"):
        decoder("gfx000")
    with pytest.raises(ValueError, match="gfx942 has no waves of 32 lanes"):
        decoder("gfx942", 32)
    assert decoder("gfx1100") is decoder("gfx1100")


def test_opcode_tables_are_imported_for_their_target_only() -> None:
    program = (
        "import sys; from pytest_amdgpu.emulator.isa.decode.decoder import decoder\n"
        "def loaded(): return sorted(n.rsplit('.', 1)[1] for n in sys.modules if '.decode.tables.' in n)\n"
        "before = loaded(); decoder('gfx1100'); print(before, loaded())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[] ['gfx11']"
