"""Generate `pytest_amdgpu/emulator/isa/decode/tables/*.py` by asking LLVM's disassembler about every opcode.

    python tools/make_opcode_tables.py            # writes all tables; needs libLLVM 22 (Debian: llvm-22)
    python tools/make_opcode_tables.py --check    # writes nothing, fails if a table on disk differs

For each layout and each opcode value it looks for one encoding that LLVM accepts, finds by changing fields
which of them are operands, gives each of those a register number of its own, and reads the operands' order
and widths from the text. Bits outside operands are flipped one by one: a bit that makes the encoding invalid
must be zero, one that leaves the text unchanged has no meaning. The notation of the rows is explained in
`decode/table.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import struct
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from llvm_disassembler import LlvmDisassembler

from pytest_amdgpu.emulator.isa.decode.generation import GENERATIONS, Generation
from pytest_amdgpu.emulator.isa.decode.layouts import Layout

TABLES = Path(__file__).parent.parent / "pytest_amdgpu" / "emulator" / "isa" / "decode" / "tables"
LITERAL = 0x12345678

# A register number of its own for each operand field, so that the text says which field an operand came from.
# Multiples of 4, far enough apart for tuples of 32.
PROBES: dict[str, tuple[int, ...]] = {
    "vdst": (32,),
    "src0": (256 + 64, 24),
    "src1": (256 + 128, 48),
    "src2": (256 + 192, 72),
    "vsrc1": (96,),
    "sdst": (16,),
    "ssrc0": (32,),
    "ssrc1": (48,),
    "sbase": (32,),
    "sdata": (16,),
    "vaddr": (64,),
    "data0": (128,),
    "data1": (192,),
    "vdata": (128,),
    "srsrc": (2,),
    "soffset": (40,),
    "simm16": (0x1234,),
}
SCALE = {"sbase": 2, "srsrc": 4}
# What LLVM must accept for an operand to belong to a class: a VGPR, an SGPR, an inline constant, a literal.
CLASS_PROBES = {"v": 256 + 64, "s": 32, "i": 0x81, "L": 255}
# How a form is asked for: the code in src0, the dwords that may follow, what its text then holds, and which
# bits of the dword are not flipped: register, selectors, controls and masks, whose values the decoder checks
# itself.
FORM_PROBES = {
    "sdwa": (249, (0x00_06_06_40, 0x06_06_06_40), "src0_sel:", 0x87_87_1F_FF),
    "dpp": (250, (0xFF_00_E4_40,), "quad_perm:", 0xFF_01_FF_FF),
    "newbcast": (250, (0xFF_01_50_40,), "row_newbcast:", 0xFF_01_FF_FF),
    "dpp8": (233, (0x00_FA_C6_40,), "dpp8:", 0xFF_FF_FF_FF),
}
FORM_SUFFIX = re.compile(r"(_e32|_e64)?(_sdwa|_dpp8|_dpp)?$")


@dataclass(frozen=True)
class Target:
    """One table and the CPU that LLVM is asked about."""

    table: str
    cpu: str
    description: str

    @property
    def generation(self) -> Generation:
        """Layouts, wave sizes and flags."""
        return GENERATIONS[self.cpu]


TARGETS = (
    Target("gfx940", "gfx942", "gfx942 (CDNA3)"),
    Target("gfx11", "gfx1100", "gfx1100 (RDNA3)"),
)

BY_OPCODE_ROW = {"VOP3_SDST", "VOP3P_MAI"}
# The first operand of these is read, although it sits in a destination field.
READS_DESTINATION_FIELD = re.compile(
    r"s_cmpk_|s_setreg|s_waitcnt_|s_cbranch_i_fork|s_subvector_loop|.*_store_|buffer_gl|.*_atomic_|s_atc_probe"
)
SIGNED_SIMM16 = re.compile(r"s_(movk|cmovk|addk|mulk)_i32|s_cmpk_\w+_i32")
BRANCH_SIMM16 = re.compile(r"s_branch|s_cbranch_|s_call_b64|s_subvector_loop")


def put(layout: Layout, word: int, name: str, value: int) -> int:
    """`word` with one field replaced."""
    low, width = layout.fields[name]
    mask = (1 << width) - 1
    return word & ~(mask << low) | (value & mask) << low


def field_mask(layout: Layout, name: str) -> int:
    """The bits of one field."""
    low, width = layout.fields[name]
    return (1 << width) - 1 << low


class Prober:
    """Asks LLVM about encodings of one target. Close several in the reverse order of their making."""

    def __init__(self, target: Target, wave_size: int) -> None:
        features = f"+wavefrontsize{wave_size}"
        self._disassemble = LlvmDisassembler(target.cpu, features)
        self.target = target

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *exception: object) -> None:
        self._disassemble.__exit__(*exception)

    def texts(self, layout: Layout, words: list[int], trailer: int = LITERAL) -> list[tuple[int, str]]:
        """Size and text for each encoding, (0, "") for one that LLVM rejects or accepts with a complaint."""
        codes = [word.to_bytes(layout.size, "little") + struct.pack("<IQ", trailer, 0) for word in words]
        return [
            (size, text) if size > 0 and "Invalid" not in text and "Warning" not in text else (0, "")
            for size, text in self._disassemble(codes)
        ]


def mnemonic(text: str) -> str:
    """The name without the suffix of its encoding."""
    return FORM_SUFFIX.sub("", text.split()[0])


@dataclass
class Probe:
    """What was learnt of one opcode: the encoding with all operands set, its text, the roles of fields."""

    layout: Layout
    opcode: int
    word: int
    size: int
    text: str
    operands: list[str]
    ignored: list[str]


def base_word(layout: Layout, opcode: int) -> int:
    """Match bits, opcode and selecting fields; everything else zero."""
    word = int(layout.match.replace("-", "0"), 2) << 23 | opcode << layout.opcode[0]
    for name, value in layout.where.items():
        word = put(layout, word, name, value)
    return word


def find_encodings(prober: Prober, layout: Layout, skip: set[int]) -> dict[int, tuple[int, int, str]]:
    """For each opcode that exists one valid encoding: word, size, text."""
    sources = [name for name in ("src0", "src1", "src2") if name in layout.fields]
    asked: list[tuple[int, int]] = []
    for opcode in range(1 << layout.opcode[1]):
        if opcode in skip:
            continue
        for values in itertools.product((0, 256), repeat=len(sources)):
            word = base_word(layout, opcode)
            for name, value in zip(sources, values, strict=True):
                word = put(layout, word, name, value)
            if "imm" in layout.fields:
                asked.append((opcode, put(layout, word, "imm", 1)))
            if "saddr" in layout.fields:
                asked.append((opcode, put(layout, word, "saddr", prober.target.generation.saddr_off)))
            if "soffset" in layout.fields and "imm" not in layout.fields:
                asked.append((opcode, put(layout, word, "soffset", prober.target.generation.saddr_off)))
            asked.append((opcode, word))
            if "gds" in layout.fields:
                asked.append((opcode, put(layout, word, "gds", 1)))
            if layout.name == "VOP3":
                # gfx10+ comparisons that write EXEC must have its number in vdst.
                asked.append((opcode, put(layout, word, "vdst", 126)))
    found: dict[int, tuple[int, int, str]] = {}
    answers = prober.texts(layout, [word for _, word in asked])
    for (opcode, word), (size, text) in zip(asked, answers, strict=True):
        if size and opcode not in found:
            found[opcode] = (word, size, text)
    return found


def probe_operands(prober: Prober, layout: Layout, opcode: int, word: int, text: str) -> Probe:
    """Give each field that is an operand its own number."""
    used: dict[str, int] = {}
    ignored: list[str] = []
    for name, values in PROBES.items():
        if name not in layout.fields or (name == "simm16" and layout.name == "SOPP"):
            continue
        answers = prober.texts(layout, [put(layout, word, name, value) for value in values])
        for value, (size, changed) in zip(values, answers, strict=True):
            if size and mnemonic(changed) == mnemonic(text):
                if changed == text:
                    ignored.append(name)
                else:
                    used[name] = value
                break
    full = word
    for name, value in used.items():
        full = put(layout, full, name, value)
    ((size, full_text),) = prober.texts(layout, [full])
    if not size:
        raise RuntimeError(
            f"{layout.name} opcode {opcode:#x}: {text!r} has no valid combination of operands {used}"
        )
    return Probe(layout, opcode, full, size, full_text, list(used), ignored)


REGISTER = re.compile(r"(v|s|a|ttmp)(?:(\d+)(\.[lh])?|\[(\d+):(\d+)\])$")


def operand_texts(text: str) -> list[str]:
    """The operands of an instruction's text, without the modifiers after the last one."""
    _, _, rest = text.partition(" ")
    parts = re.split(r",\s*(?![^\[(]*[\])])", rest) if rest else []
    if parts:
        last = parts[-1]
        parts[-1] = last if last.startswith(("sendmsg(", "hwreg(")) else last.split(" ")[0]
    return [part for part in parts if part != "gds"]


def field_of(probe: Probe, register: str, number: int) -> str:
    """The field whose probe value is this register number."""
    for name in probe.operands:
        low, width = probe.layout.fields[name]
        value = (probe.word >> low & (1 << width) - 1) * SCALE.get(name, 1)
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


def source_class(prober: Prober, probe: Probe, name: str) -> str:
    """Which of VGPR, SGPR, inline constant and literal the operand may be."""
    answers = prober.texts(
        probe.layout, [put(probe.layout, probe.word, name, value) for value in CLASS_PROBES.values()]
    )
    return "".join(
        letter
        for letter, (size, text) in zip(CLASS_PROBES, answers, strict=True)
        if size and mnemonic(text) == mnemonic(probe.text)
    )


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


def forms_of(prober: Prober, probe: Probe) -> list[str]:
    """Which of SDWA, DPP and DPP8 the opcode has."""
    if "src0" not in probe.operands:
        return []
    forms = []
    for form, (code, trailers, mark, settled) in FORM_PROBES.items():
        if form == "sdwa":
            # A comparison has its destination where others have clamp and omod; one source leaves src1's bits
            # over.
            settled |= 0xE000 if probe.layout.name == "VOPC" else 0
            settled &= ~0 if "vsrc1" in probe.operands else 0x00FF_FFFF
        word = put(probe.layout, probe.word, "src0", code)
        for trailer in trailers:
            ((size, text),) = prober.texts(probe.layout, [word], trailer)
            if size == probe.layout.size + 4 and mark in text and mnemonic(text) == mnemonic(probe.text):
                if form != "newbcast" or "+dpp" not in "".join(forms):
                    forms.append(f"+{form}{form_masks(prober, probe.layout, word, trailer, text, settled)}")
                break
    return forms


def form_masks(prober: Prober, layout: Layout, word: int, trailer: int, text: str, settled: int) -> str:
    """The bits of the extra dword that must be zero and those without meaning, as the row writes them."""
    zero = free = 0
    for bit in range(32):
        if settled >> bit & 1:
            continue
        ((size, changed),) = prober.texts(layout, [word], trailer ^ 1 << bit)
        if not size:
            zero |= 1 << bit
        elif changed == text:
            free |= 1 << bit
    return f":{zero:x}:{free:x}" if zero or free else ""


def loose_bits(prober: Prober, probe: Probe) -> tuple[int, int]:
    """Bits that must be as they are, and bits without meaning, outside operands, opcode and match."""
    layout = probe.layout
    fixed = int("".join("0" if c == "-" else "1" for c in layout.match), 2) << 23
    fixed |= (1 << layout.opcode[1]) - 1 << layout.opcode[0]
    for name in (*probe.operands, *probe.ignored, *layout.where):
        fixed |= field_mask(layout, name)
    if "saddr" in layout.fields and layout.name != "FLAT":
        fixed |= field_mask(layout, "saddr")
    if layout.name == "SMEM" and "sbase" in probe.operands:
        fixed |= field_mask(layout, "soffset") | field_mask(layout, "offset")
        fixed |= field_mask(layout, "imm") if "imm" in layout.fields else 0
    bits = [bit for bit in range(layout.size * 8) if not fixed >> bit & 1]
    fixed_value = free = 0
    for bit, (size, text) in zip(
        bits, prober.texts(layout, [probe.word ^ 1 << bit for bit in bits]), strict=True
    ):
        if not size or mnemonic(text) != mnemonic(probe.text):
            fixed_value |= 1 << bit
        elif text == probe.text:
            free |= 1 << bit
    return fixed_value, free


def returns_when_glc(prober: Prober, probe: Probe) -> str | None:
    """The optional destination of a FLAT atomic."""
    bit = next((name for name in ("sc0", "glc") if name in probe.layout.fields), None)
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
        if field[1] in ("src0", "src1", "src2", "ssrc0", "ssrc1") and "!" not in token:
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
    siblings = [
        other for other in prober.target.generation.layouts if other.group and other.group == layout.group
    ]
    for opcode, (word, _, text) in find_encodings(prober, layout, taken).items():
        holds = layout
        for other in siblings:
            if other.name == "VOP3P_MAI" and re.match(r"v_(mfma|smfmac|accvgpr)", text):
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


def table_rows(target: Target, only: Collection[str] = ()) -> dict[str, list[str]]:
    """The rows of the table by layout, if wanted for some layouts `only` (with those of their group)."""
    with contextlib.ExitStack() as stack:
        wide, *others = (
            stack.enter_context(Prober(target, size)) for size in target.generation.wave_sizes[::-1]
        )
        return _table_rows(target.generation, wide, others[0] if others else None, only)


def _table_rows(
    generation: Generation, prober: Prober, narrow: Prober | None, only: Collection[str]
) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for layout in generation.layouts:
        if layout.name in BY_OPCODE_ROW or (only and layout.name not in only):
            continue
        if layout.name == "VOPD":
            assert narrow is not None
            rows |= vopd_rows(narrow, layout)
        elif layout.named_only:
            rows[layout.name] = name_rows(prober, layout)
        else:
            shadowed = shadowed_opcodes(layout, generation.layouts)
            for name, lines in layout_rows(prober, narrow, layout, shadowed).items():
                rows.setdefault(name, []).extend(lines)
    return rows


def table_source(target: Target) -> str:
    """The text of the data module."""
    lines = [
        f'"""Opcodes of {target.description}, generated by tools/make_opcode_tables.py from LLVM 22.',
        "",
        "The notation of the rows is explained in `decode/table.py`.",
        '"""',
        "",
        "ROWS = {",
    ]
    for name, rows in table_rows(target).items():
        lines += [f'    "{name}": """', *rows, '""",']
    return "\n".join([*lines, "}"]) + "\n"


def main() -> None:
    """Write or check the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for target in TARGETS:
        source = table_source(target)
        path = TABLES / f"{target.table}.py"
        if not check:
            path.write_text(source)
        elif path.read_text() != source:
            raise SystemExit(f"{path} is not what LLVM says now; run tools/make_opcode_tables.py")


if __name__ == "__main__":
    main()
