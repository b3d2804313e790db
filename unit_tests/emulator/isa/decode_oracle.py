"""LLVM as the oracle of the decoder: both texts brought to one form, and what LLVM is known to get wrong."""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from llvm_disassembler import CRASHED, LlvmDisassembler

__all__ = ["CRASHED", "LlvmDisassembler", "agree", "complains", "excused"]

_SUFFIX = re.compile(r"(_e32|_e64)?(_sdwa|_dpp8|_dpp)?$")
# LLVM writes these immediates as symbols; that the field is taken from the right place other instructions
# show.
_SYMBOLIC = re.compile(
    r"s_(endpgm|delay_alu|waitcnt_depctr|wait_alu|getreg_b32|setreg\w*|sendmsg\w*|version|set_gpr_idx_mode|set_gpr_idx_on)$"
)
_BRANCH = re.compile(r"s_(branch|cbranch_\w+|call_b64|subvector_loop_\w+)$")
_CONSTANTS = ("0.5", "-0.5", "1.0", "-1.0", "2.0", "-2.0", "4.0", "-4.0", "0.15915494")
_AS_16_BITS = {text: (str(int.from_bytes(struct.pack("<e", float(text)), "little")),) for text in _CONSTANTS}
_OF_GFX1250 = ("scale_offset", "nv")
"""Modifiers that LLVM 22 prints for the reserved bits of gfx1200 too."""
_REGISTER_NAMES = {
    "flat_scratch": "s[102:103]",
    "flat_scratch_lo": "s102",
    "flat_scratch_hi": "s103",
    "xnack_mask": "s[104:105]",
    "xnack_mask_lo": "s104",
    "xnack_mask_hi": "s105",
}


def agree(ours: str, theirs: str) -> bool:
    """Whether both texts are the same instruction."""
    return _match(_comparable(ours), _comparable(theirs))


def _comparable(text: str) -> list[object]:
    """Mnemonic, operands and modifiers of a text."""
    if " :: " in text:
        return [_comparable(half) for half in text.split(" :: ")]
    name, _, rest = text.partition(" ")
    name = _SUFFIX.sub("", name)
    if _SYMBOLIC.match(name):
        return [name]
    rest = re.sub(r"(?<![\w.])lit\((\w+)\)", r"\1", rest)
    rest = re.sub(r"\b0x([0-9a-f]+)\b", lambda match: str(int(match[1], 16)), rest)
    rest = re.sub(r"neg\((-?[\w.]+)\)", r"-\1", rest)
    for alias, register in _REGISTER_NAMES.items():
        rest = re.sub(rf"\b{alias}\b", register, rest)
    rest = re.sub(r"0\.1591549430918953[23]", "0.15915494", rest)
    # The usual selections, which LLVM leaves out where the opcode has no others.
    rest = rest.replace(" dst_sel:DWORD", "").replace(" dst_unused:UNUSED_PAD", "")
    if name.startswith("v_cmpx_"):
        # Since gfx10 the destination is implied.
        rest = re.sub(r"^exec(_lo)?, ", "", rest)
    if name in ("global_inv", "global_wb", "global_wbinv"):
        return [name, re.findall(r"scope:\w+", rest)]
    *operands, last = re.split(r",\s*(?![^\[(]*[\])])", rest)
    last, *modifiers = re.split(r" (?![^\[(]*[\])])", last)
    operands.append(last)
    if _BRANCH.match(name) and last.lstrip("-").isdigit():
        operands[-1] = str(int(last) % 0x10000)
    if name.startswith("s_load") and last == "null":
        operands[-1] = "0"
    # LLVM writes these by name (the hints of gfx12 differ by kind of instruction); it drops and pads elements
    # of op_sel, and shows offsets that are zero.
    left_out = "offset:" if name == "ds_swizzle_b32" else "op_sel:" if name == "v_cndmask_b16" else "format:"
    modifiers = [re.sub(r"(op_sel:\[.*?)(,0)*\]", r"\1]", word) for word in modifiers]
    modifiers = [
        word.replace("row_newbcast", "row_share")
        for word in modifiers
        if not word.startswith((left_out, "th:")) and word not in ("offset:0", *_OF_GFX1250)
    ]
    return [name, operands, sorted(modifiers)]


def _match(ours: object, theirs: object) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_match, ours, theirs))
    if ours == theirs or theirs in _AS_16_BITS.get(str(ours), ()):
        return True
    # For 16-bit operands LLVM cuts literals and writes constants as bits.
    our_number, their_number = (re.fullmatch(r"(\W*)(\d+)(\W*)", str(text)) for text in (ours, theirs))
    if our_number is None or their_number is None or our_number.group(1, 3) != their_number.group(1, 3):
        return False
    return (int(our_number[2]) - int(their_number[2])) % 0x10000 == 0


def complains(text: str) -> bool:
    """Whether LLVM prints the instruction but says that something in it is invalid."""
    return "/*" in text or "Warning" in text


def excused(target: str, theirs: str, ours: str | None) -> str:
    """Why LLVM 22 is not to be followed on this instruction, empty if it is; `ours` is None if we reject."""
    if "src_flat_scratch_base" in theirs:
        return "registers of gfx1250, printed for every target"
    if target.startswith("gfx9") and re.search(r"\bnull\b", theirs):
        return "NULL exists since gfx10"
    if ours is None:
        if theirs.startswith("v_interp_"):
            return "graphics in the encoding of compute"
        tuples = [(int(first), int(last)) for first, last in re.findall(r"[va]\[(\d+):(\d+)\]", theirs)]
        if any(last > 255 for _, last in tuples):
            return "tuples beyond the last register"
        if target == "gfx908" and re.match(r"(flat|global|scratch|buffer|tbuffer|ds)_.* a(\d|\[)", theirs):
            return "accumulators as data of memory, which gfx90a brings"
        if target in ("gfx90a", "gfx942", "gfx950") and any(first % 2 for first, _ in tuples):
            return "misaligned tuples, refused only in some operands"
        if re.search(r"\bsrc_\w+", theirs):
            return "special values where only registers can be"
        if re.search(
            r"(_co_ci_|addc_co_|subb_co_|subbrev_co_|v_cndmask_)\w+ .*, v(\d+|\[\S+)( [^v]*)?$", theirs
        ):
            return "a VGPR as wave mask"
        if "dst_unused:UNUSED_PAD" in theirs:
            return "the reserved value 3 of dst_unused, printed as 0"
        if re.match(r"v_(swap|wmma)\S* .*(null|0x)", theirs):
            return "NULL and literals where only registers can be"
        if re.match(r"(global|flat)_\S+ .*, exec(_lo)?\b", theirs):
            return "EXEC as scalar address, refused for most opcodes"
        if re.match(r"v_\S+_e64_dpp ", theirs):
            return "a scalar as src1 of DPP, which gfx1150 brings"
    elif not theirs:
        if re.match(r"s_(buffer_)?prefetch_|s_atc_probe|s_buffer_load_.*offset:-|global_(inv|wb)", ours):
            return "reserved values: lengths of hints, negative offsets in buffers, hints of cache operations"
        if re.match(r"(global|flat)_atomic_\w+ a", ours):
            return "no returning form of float atomics with AGPRs"
        if re.match(r"v_\w+_[biu]16 ", ours):
            return "source modifiers of 16-bit integers, refused only with scalar operands"
    else:
        plain = [re.sub(r" op_sel:\S*|\.[lh]\b|_e64|_dpp", "", text) for text in (ours, theirs)]
        if re.match(r"v_fma_mix\w+_e64_dpp ", theirs) and agree(
            *(text.split(" quad_perm:")[0] for text in plain)
        ):
            return "the control of DPP, printed with some bits missing"
        if agree(*plain) and not re.search(r"\.[lh]\b", theirs):
            return "16-bit operations without half registers, as before true16"
    if re.match(r"s_(buffer_)?prefetch_", theirs):
        return "hints, with offset and length as operands"
    if "s_delay_alu" in theirs:
        return "hints, which cannot be invalid"
    return ""
