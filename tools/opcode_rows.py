"""From LLVM's text about probed encodings to rows of the opcode tables, in the notation of `decode/table.py`.

A part of `make_opcode_tables.py`.
"""

from __future__ import annotations

import re

from opcode_probe import (
    LITERAL,
    Probe,
    Prober,
    base_word,
    find_encodings,
    forms_of,
    loose_bits,
    mnemonic,
    probe_operands,
    put,
    source_class,
)

from pytest_amdgpu.emulator.isa.decode.layouts import Layout

SCALE = {"sbase": (6, 2), "srsrc": (5, 4)}
"""Fields of so many bits count scalar registers by so many."""
# The first operand of these is read, although it sits in a destination field.
READS_DESTINATION_FIELD = re.compile(
    r"s_cmpk_|s_setreg|s_waitcnt_|s_cbranch_i_fork|s_subvector_loop|.*_store_|buffer_gl|.*_atomic_|s_atc_probe"
)
SIGNED_SIMM16 = re.compile(r"s_(movk|cmovk|addk|addk_co|mulk)_i32|s_cmpk_\w+_i32")
BRANCH_SIMM16 = re.compile(r"s_branch|s_cbranch_|s_call_b64|s_subvector_loop")


REGISTER = re.compile(r"(v|s|a|ttmp)(?:(\d+)(\.[lh])?|\[(\d+):(\d+)\])$")


def operand_texts(text: str) -> list[str]:
    """The operands of an instruction's text, without the modifiers after the last one."""
    _, _, rest = text.partition(" ")
    parts = re.split(r",\s*(?![^\[(]*[\])])", rest) if rest else []
    if parts:
        last = parts[-1]
        parts[-1] = last if last.startswith(("sendmsg(", "hwreg(")) else last.split(" ")[0]
    return [part for part in parts if part != "gds"]


def scale(name: str, width: int) -> int:
    """Scalar registers per unit of a field."""
    bits, factor = SCALE.get(name, (0, 1))
    return factor if width == bits else 1


def field_of(probe: Probe, register: str, number: int) -> str:
    """The field whose probe value is this register number."""
    for name in probe.operands:
        low, width = probe.layout.fields[name]
        value = (probe.word >> low & (1 << width) - 1) * scale(name, width)
        is_source = name.startswith("src")
        may_be_vector = value >= 256 if is_source else name.startswith(("v", "data"))
        may_be_scalar = not may_be_vector or name == "vdst"
        allowed = may_be_scalar if register == "s" else may_be_vector
        if allowed and value - 256 * (is_source and may_be_vector) == number:
            return name
    raise RuntimeError(f"{probe.text!r}: no field of {probe.operands} holds {register}{number}")


def operand_tokens(probe: Probe, narrow: str | None) -> list[str]:
    """Row tokens for the operands; `narrow` is the text for wave32 where that exists, to find wave masks."""
    name = mnemonic(probe.text)
    texts = operand_texts(probe.text)
    narrow_texts = operand_texts(narrow) if narrow else texts
    tokens = []
    if re.match(r"s_(buffer_)?prefetch_", name):
        base = [f"sbase:{4 if 'buffer' in name else 2}"] if "sbase" in probe.operands else []
        return [*base, "soffset", "sdata!m"]
    for position, (text, other) in enumerate(zip(texts, narrow_texts, strict=True)):
        register = REGISTER.match(text)
        if register:
            kind, single, half, first, last = register.groups()
            number = int(single if single is not None else first)
            width = 1 if single is not None else int(last) - int(first) + 1
            field = field_of(probe, kind, number)
            token = field + (":h" if half else f":{width}" if width > 1 else "")
            if text != other:
                token = field + wave_width(width, other)
            if field == "vdst" and kind == "s":
                token += "!s"
            if kind == "a":
                token += "!a"
            is_destination = field in ("vdst", "sdst", "sdata", "vdata")
            if field in ("sdata", "vdata", "sdst") and READS_DESTINATION_FIELD.match(name):
                is_destination = False
            if field == "vdata" and probe.layout.name.startswith("FLAT"):
                is_destination = False
            tokens.append("=" * is_destination + token)
        elif text in ("vcc", "vcc_lo"):
            tokens.append("=vcc" if position < 2 and not any(t[0] != "=" for t in tokens) else "vcc")
        elif text == "off":
            tokens.append(missing_address(probe, tokens))
        elif name.startswith("s_atc_probe") and position == 0:
            tokens.append("sdata!m")
        elif probe.layout.name == "SMEM":
            tokens.append("soffset" if "sdata" in probe.operands or "sbase" in probe.operands else "simm16")
        elif text == f"{LITERAL:#x}":
            tokens.append("literal")
        elif probe.layout.name in ("SOPK", "SOPP"):
            kind = "b" if BRANCH_SIMM16.match(name) else "i" if SIGNED_SIMM16.match(name) else "u"
            tokens.append(f"simm16!{kind}")
        elif text.startswith("sendmsg("):
            tokens.append("ssrc0!m")
        elif name == "s_set_gpr_idx_on":
            tokens.append("ssrc1!m")
        elif text == "0" and probe.layout.name == "SMEM":
            tokens.append("soffset")
        else:
            raise RuntimeError(f"{probe.layout.name} {probe.text!r}: operand {text!r} not understood")
    return tokens


def wave_width(width: int, narrow: str) -> str:
    """The width of an operand that depends on the wave size: a wave mask, or a share of a matrix."""
    match = REGISTER.match(narrow)
    assert match is not None
    narrow_width = 1 if match[2] is not None else int(match[5]) - int(match[4]) + 1
    return ":m" if (narrow_width, width) == (1, 2) else f":{narrow_width}x{width}"


def missing_address(probe: Probe, tokens: list[str]) -> str:
    """Which address operand `off` stands for."""
    if probe.layout.name in ("MUBUF", "MTBUF"):
        return "vaddr"
    if probe.layout.name == "FLAT_SCRATCH" and not any(token.startswith("vaddr") for token in tokens):
        return "vaddr"
    return "saddr"


def class_suffix(layout: Layout, name: str, letters: str) -> str:
    """How the row writes a class; nothing where it is the usual one of the field."""
    if "i" in letters and "s" in letters:
        return "" if "v" in letters or name.startswith("ssrc") else "!si"
    if "i" in letters:
        return "!vi"
    if "s" in letters:
        # LLVM takes a VGPR for a wave mask in silence.
        return "!s"
    return "!v"


def returns_when_glc(prober: Prober, probe: Probe) -> str | None:
    """The optional destination of a FLAT atomic."""
    bit = next((name for name in ("sc0", "glc", "th") if name in probe.layout.fields), None)
    if bit is None or not probe.layout.name.startswith("FLAT") or "vdst" in probe.operands:
        return None
    word = put(probe.layout, put(probe.layout, probe.word, bit, 1), "vdst", 32)
    ((size, text),) = prober.texts(probe.layout, [word])
    first = operand_texts(text)[0] if size and operand_texts(text) else ""
    match = re.match(r"v(?:32$|\[32:(\d+)\])", first)
    if not match:
        return None
    width = int(match[1]) - 31 if match[1] else 1
    return f"=vdst:{width}?" if width > 1 else "=vdst?"


def row(prober: Prober, narrow_prober: Prober | None, probe: Probe) -> str:
    """One line of the table."""
    narrow = None
    if narrow_prober is not None:
        ((size, narrow),) = narrow_prober.texts(probe.layout, [probe.word])
        if not size:
            narrow = None
    tokens = operand_tokens(probe, narrow)
    if probe.text.startswith("v_cmpx") and not any(token[0] == "=" for token in tokens):
        tokens.insert(0, "=exec")
    if optional := returns_when_glc(prober, probe):
        tokens.insert(0, optional)
    for position, token in enumerate(tokens):
        field = re.match(r"=?(\w+)", token)
        assert field is not None
        if field[1] not in ("src0", "src1", "src2", "ssrc0", "ssrc1"):
            continue
        if token.endswith("!a"):
            tokens[position] = token + "i" * ("i" in source_class(prober, probe, field[1]))
        elif "!" not in token:
            letters = source_class(prober, probe, field[1])
            tokens[position] = token + class_suffix(probe.layout, field[1], letters)
    fixed, free = loose_bits(prober, probe)
    parts = [f"{probe.opcode:02x}", mnemonic(probe.text), *tokens, *forms_of(prober, probe)]
    if fixed & ~probe.word:
        parts.append(f"zero={fixed & ~probe.word:x}")
    if fixed & probe.word:
        parts.append(f"ones={fixed & probe.word:x}")
    if free:
        parts.append(f"free={free:x}")
    return " ".join(parts)


def layout_rows(
    prober: Prober, narrow: Prober | None, layout: Layout, taken: set[int]
) -> dict[str, list[str]]:
    """Rows by layout name: opcodes of a group go to the layout that holds for them."""
    rows: dict[str, list[str]] = {}
    siblings = [other for other in prober.generation.layouts if other.group and other.group == layout.group]
    for opcode, (word, _, text) in find_encodings(prober, layout, taken).items():
        if text.startswith("v_interp_"):
            # Graphics: their operands are attributes of a primitive.
            continue
        holds = layout
        for other in siblings:
            if other.name == "VOP3P_MAI" and re.match(r"v_(mfma_(?!ld_scale)|smfmac|accvgpr)", text):
                holds = other
            if other.name == "VOP3_SDST":
                ((size, changed),) = prober.texts(other, [put(other, word, "sdst", 16)])
                if size and re.search(r"\bs16\b|\bs\[16:17\]", changed):
                    holds = other
        probe = probe_operands(prober, holds, opcode, word, text)
        rows.setdefault(holds.name, []).append(row(prober, narrow, probe))
    return rows


def shadowed_opcodes(layout: Layout, layouts: tuple[Layout, ...]) -> set[int]:
    """Opcodes whose encodings belong to a layout with a longer match."""
    shadowed = set()
    for opcode in range(1 << layout.opcode[1]):
        top = f"{base_word(layout, opcode) & 0xFFFFFFFF:032b}"[:9]
        for other in layouts:
            longer = other.match.count("-") < layout.match.count("-")
            if longer and all(m in ("-", t) for m, t in zip(other.match, top, strict=True)):
                shadowed.add(opcode)
    return shadowed


def vopd_rows(prober: Prober, layout: Layout) -> dict[str, list[str]]:
    """The X and the Y operations of VOPD, each probed beside v_dual_fmac_f32 (opcode 0) in the other half."""
    rows: dict[str, list[str]] = {"VOPDX": [], "VOPDY": []}
    numbers = {"srcx0": 256 + 64, "vsrcx1": 97, "srcy0": 256 + 129, "vsrcy1": 162, "vdstx": 32, "vdsty": 17}
    roles = {"v32": "=vdst", "v35": "=vdst", "v64": "src0", "v129": "src0", "v97": "vsrc1", "v162": "vsrc1"}
    roles[f"{LITERAL:#x}"] = "literal"
    base = int(layout.match.replace("-", "0"), 2) << 23
    for name, value in numbers.items():
        base = put(layout, base, name, value)
    for half, low, width in (("X", *layout.opcode), ("Y", *layout.fields["opy"])):
        for opcode in range(1 << width):
            full = base | opcode << low
            unused_vsrc1 = put(layout, full, f"vsrc{half.lower()}1", 0)
            for size, text in prober.texts(layout, [full, unused_vsrc1]):
                if size:
                    part = text.split(" :: ")[half == "Y"]
                    tokens = [roles[operand] for operand in operand_texts(part)]
                    tokens += ["vcc"] * ("cndmask" in part)
                    rows["VOPD" + half].append(" ".join([f"{opcode:02x}", mnemonic(part), *tokens]))
                    break
    return rows


def name_rows(prober: Prober, layout: Layout) -> list[str]:
    """Rows of a layout whose instructions are not decoded: opcode and name."""
    lines = []
    for opcode in range(1 << layout.opcode[1]):
        word = base_word(layout, opcode)
        # Enough combinations that each opcode has a valid one: no or some operands, one enabled channel.
        words = [word, word | 1 << 8]
        if layout.size == 8:
            words += [word | 0x0101 << 32, word | 0xF << 8 | 1 << 7]
            words += [word | 1 << 40 | 1 << 49 | 1 << 58]
        for size, text in prober.texts(layout, words, 0):
            if size:
                lines.append(f"{opcode:02x} {mnemonic(text)}")
                break
    return lines
