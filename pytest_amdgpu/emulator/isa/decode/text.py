"""An instruction as text, close to LLVM's assembly syntax: for error messages, and for comparison with LLVM.

It differs from LLVM where the encoding says less than the assembler knows: mnemonics have no `_e32`-like
suffix, hardware registers and messages are numbers, and `s102`.. are not named FLAT_SCRATCH and XNACK_MASK.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.decode.instruction import (
    SPECIAL_NAMES,
    SRC_LDS_DIRECT,
    TTMP0,
    VCC,
    Instruction,
    Operand,
    OperandKind,
)

_FLOATS = ("0.5", "-0.5", "1.0", "-1.0", "2.0", "-2.0", "4.0", "-4.0", "0.15915494")
_SDWA_SELECTS = ("BYTE_0", "BYTE_1", "BYTE_2", "BYTE_3", "WORD_0", "WORD_1", "DWORD")
_SDWA_UNUSED = ("UNUSED_PAD", "UNUSED_SEXT", "UNUSED_PRESERVE")
_SCOPES = ("CU", "SE", "DEV", "SYS")
_FLAGS = ("offen", "idxen", "gds", "sc0", "nt", "sc1", "glc", "slc", "dlc", "scc", "lds", "tfe", "clamp")
_OMOD = ("", "mul:2", "mul:4", "div:2")
_MATRIX_NUMBERS = ("cbsz", "abid")


def text(instruction: Instruction) -> str:
    """One line, without offset and encoding."""
    if instruction.halves:
        return " :: ".join(text(half) for half in instruction.halves)
    operands = _destinations(instruction)
    if instruction.name != "s_waitcnt":
        operands += [_source(instruction, position) for position in range(len(instruction.sources))]
    if instruction.name == "v_dual_cndmask_b32":
        # LLVM does not write the mask, which is always VCC.
        operands.pop()
    parts = [instruction.name]
    if operands:
        parts.append(", ".join(operands))
    parts += _modifiers(instruction)
    return " ".join(parts)


def _destinations(instruction: Instruction) -> list[str]:
    texts = []
    for operand in instruction.destinations:
        implied = operand.kind is OperandKind.EXEC and instruction.name.startswith("v_cmpx")
        # A returning atomic of these encodings names its data register once.
        repeated = "_atomic_" in instruction.name and instruction.encoding in ("MUBUF", "MTBUF", "SMEM")
        if not implied and not repeated:
            texts.append(operand_text(operand, instruction.modifiers.get("op_sel", 0) >> 3 & 1))
    return texts


def _source(instruction: Instruction, position: int) -> str:
    operand = instruction.sources[position]
    modifiers = instruction.modifiers
    if operand.kind is OperandKind.OFF and instruction.encoding == "SMEM":
        return f"{modifiers.get('offset', 0):#x}"
    if operand.kind is OperandKind.IMM:
        return _immediate(instruction, operand)
    shown = operand_text(operand, modifiers.get("op_sel", 0) >> position & 1)
    if modifiers.get("abs", 0) >> position & 1:
        shown = f"|{shown}|"
    if modifiers.get("sext", 0) >> position & 1:
        shown = f"sext({shown})"
    if modifiers.get("neg", 0) >> position & 1:
        shown = f"-{shown}" if shown[0] in "vas|ten" else f"neg({shown})"
    return shown


def _immediate(instruction: Instruction, operand: Operand) -> str:
    name = instruction.name
    if name.startswith(("s_branch", "s_cbranch", "s_call", "s_subvector")):
        return str(operand.value)
    return f"{operand.value & 0xFFFF:#x}"


def operand_text(operand: Operand, high: int = 0) -> str:
    """One operand without its input modifiers; `high` chooses the half of a 16-bit register."""
    kind, index, count = operand.kind, operand.index, operand.count
    if kind is OperandKind.VGPR or kind is OperandKind.AGPR:
        letter = "v" if kind is OperandKind.VGPR else "a"
        half = (".h" if high else ".l") if operand.half else ""
        return _register(letter, index, count) + half
    if kind is OperandKind.SGPR:
        if index >= TTMP0:
            return _register("ttmp", index - TTMP0, count)
        if index >= VCC:
            return "vcc" if count == 2 else ("vcc_lo", "vcc_hi")[index - VCC]
        return _register("s", index, count)
    if kind is OperandKind.EXEC:
        return "exec" if count == 2 else ("exec_lo", "exec_hi")[index]
    if kind in (OperandKind.INLINE_INT, OperandKind.IMM):
        return str(operand.value)
    if kind is OperandKind.INLINE_FLOAT:
        return _FLOATS[index - 240]
    if kind is OperandKind.LITERAL:
        return f"{operand.value & (0xFFFF if operand.half else 0xFFFFFFFF):#x}"
    if kind is OperandKind.SPECIAL:
        return "src_lds_direct" if index == SRC_LDS_DIRECT else SPECIAL_NAMES[index]
    return kind.name.lower()


def _register(letter: str, index: int, count: int) -> str:
    return f"{letter}{index}" if count == 1 else f"{letter}[{index}:{index + count - 1}]"


def _bits(value: int, count: int) -> str:
    return "[" + ",".join(str(value >> position & 1) for position in range(count)) + "]"


def _modifiers(instruction: Instruction) -> list[str]:
    modifiers = instruction.modifiers
    encoding = instruction.encoding
    count = len(instruction.sources)
    parts = []
    if instruction.name == "s_waitcnt":
        return [f"{name}({modifiers[name]})" for name in ("vmcnt", "expcnt", "lgkmcnt") if name in modifiers]
    if encoding.startswith("VOP3P"):
        for name in ("op_sel", "op_sel_hi", "neg_lo", "neg_hi"):
            usual = (1 << count) - 1 if name == "op_sel_hi" and "_mix" not in instruction.name else 0
            value = modifiers.get(name, usual) & (1 << count) - 1
            if value != usual:
                parts.append(f"{name}:{_bits(value, count)}")
    elif encoding.startswith("VOP3") and (op_sel := modifiers.get("op_sel", 0)):
        # The destination's bit follows those of the sources. Written in full where the destination is a
        # source too, and by stochastic rounding, which selects one of four bytes.
        selected = op_sel & (1 << count) - 1 | (op_sel >> 3 & 1) << count
        if instruction.name.startswith(("v_cvt_sr_", "v_fmac_")):
            selected, count = op_sel, 3
        parts += [f"op_sel:{_bits(selected, count + 1)}"] if selected else []
    if encoding == "DS" or encoding.startswith(("FLAT", "M")):
        parts += [
            f"{name}:{modifiers[name]}" for name in ("offset", "offset0", "offset1") if modifiers.get(name)
        ]
    elif encoding == "SMEM" and instruction.sources and instruction.sources[-1].kind is not OperandKind.OFF:
        parts += [f"offset:{modifiers['offset']:#x}"] if modifiers.get("offset") else []
    if "format" in modifiers:
        parts.append(f"format:{modifiers['format']}")
    parts += [f"{name}:{modifiers[name]}" for name in _MATRIX_NUMBERS if modifiers.get(name)]
    if blgp := modifiers.get("blgp"):
        parts.append(f"neg:{_bits(blgp, 3)}" if "_f64" in instruction.name else f"blgp:{blgp}")
    parts += [f"th:{modifiers['th']}"] if modifiers.get("th") else []
    parts += [f"scope:SCOPE_{_SCOPES[modifiers['scope']]}"] if modifiers.get("scope") else []
    parts += [name for name in _FLAGS if modifiers.get(name)]
    if "bitop3" in modifiers:
        parts.append(f"bitop3:{modifiers['bitop3']:#x}")
    if omod := modifiers.get("omod"):
        parts.append(_OMOD[omod])
    if encoding.endswith("_SDWA"):
        parts += _sdwa(instruction)
    if encoding.endswith("_DPP"):
        parts += _dpp(instruction)
    if encoding.endswith("_DPP8"):
        lanes = ",".join(str(modifiers["dpp8"] >> 3 * lane & 7) for lane in range(8))
        parts.append(f"dpp8:[{lanes}]")
        parts += ["fi:1"] * modifiers.get("fi", 0)
    return parts


def _sdwa(instruction: Instruction) -> list[str]:
    modifiers = instruction.modifiers
    parts = []
    for name in ("dst_sel", "dst_unused", "src0_sel", "src1_sel"):
        if name in modifiers:
            names = _SDWA_UNUSED if name == "dst_unused" else _SDWA_SELECTS
            parts.append(f"{name}:{names[modifiers[name]]}")
    return parts


def dpp_control(control: int) -> str:
    """The name of a DPP control value; gfx9 calls row_share row_newbcast."""
    if control < 0x100:
        return "quad_perm:[" + ",".join(str(control >> 2 * lane & 3) for lane in range(4)) + "]"
    for base, name in ((0x100, "row_shl"), (0x110, "row_shr"), (0x120, "row_ror")):
        if base < control < base + 16:
            return f"{name}:{control - base}"
    for base, name in ((0x150, "row_share"), (0x160, "row_xmask")):
        if base <= control < base + 16:
            return f"{name}:{control - base}"
    single = {
        0x130: "wave_shl:1",
        0x134: "wave_rol:1",
        0x138: "wave_shr:1",
        0x13C: "wave_ror:1",
        0x140: "row_mirror",
        0x141: "row_half_mirror",
        0x142: "row_bcast:15",
        0x143: "row_bcast:31",
    }
    return single.get(control) or f"dpp_ctrl:{control:#x}"


def _dpp(instruction: Instruction) -> list[str]:
    modifiers = instruction.modifiers
    parts = [dpp_control(modifiers["dpp_ctrl"])]
    parts += [f"{name}:{modifiers[name]:#x}" for name in ("row_mask", "bank_mask")]
    parts += ["bound_ctrl:1"] * modifiers.get("bound_ctrl", 0)
    parts += ["fi:1"] * modifiers.get("fi", 0)
    return parts
