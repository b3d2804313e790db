"""Brings our text and LLVM's text of an instruction to one form, so that the tests can compare them."""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from llvm_disassembler import CRASHED, LlvmDisassembler

__all__ = ["CRASHED", "LlvmDisassembler", "agree"]

_SUFFIX = re.compile(r"(_e32|_e64)?(_sdwa|_dpp8|_dpp)?$")
# LLVM writes these immediates as symbols; that the field is taken from the right place other instructions show.
_SYMBOLIC = re.compile(
    r"s_(endpgm|delay_alu|waitcnt_depctr|getreg_b32|setreg\w*|sendmsg\w*|version|set_gpr_idx_mode|set_gpr_idx_on)$"
)
_BRANCH = re.compile(r"s_(branch|cbranch_\w+|call_b64|subvector_loop_\w+)$")
_CONSTANTS = ("0.5", "-0.5", "1.0", "-1.0", "2.0", "-2.0", "4.0", "-4.0", "0.15915494")
_AS_16_BITS = {text: (str(int.from_bytes(struct.pack("<e", float(text)), "little")),) for text in _CONSTANTS}
_AS_16_BITS["0.15915494"] += ("0.15915494309189532", "0.15915494309189533")
_REGISTER_NAMES = {
    "flat_scratch": "s[102:103]",
    "flat_scratch_lo": "s102",
    "flat_scratch_hi": "s103",
    "xnack_mask": "s[104:105]",
    "xnack_mask_lo": "s104",
    "xnack_mask_hi": "s105",
}


def comparable(text: str) -> list[object]:
    """Mnemonic, operands and modifiers of a text (ours or LLVM's): equal for the same instruction."""
    if " :: " in text:
        return [comparable(half) for half in text.split(" :: ")]
    name, _, rest = text.partition(" ")
    name = _SUFFIX.sub("", name)
    if _SYMBOLIC.match(name):
        return [name]
    rest = re.sub(r"(?<![\w.])lit\((\w+)\)", r"\1", rest)
    rest = re.sub(r"\b0x([0-9a-f]+)\b", lambda match: str(int(match[1], 16)), rest)
    rest = re.sub(r"neg\((-?[\w.]+)\)", r"-\1", rest)
    for alias, register in _REGISTER_NAMES.items():
        rest = re.sub(rf"\b{alias}\b", register, rest)
    *operands, last = re.split(r",\s*(?![^\[]*\])", rest)
    last, *modifiers = re.split(r" (?![^\[]*\])", last)
    operands.append(last)
    if _BRANCH.match(name) and last.lstrip("-").isdigit():
        operands[-1] = str(int(last) % 0x10000)
    if name.startswith("s_load") and last == "null":
        operands[-1] = "0"
    # LLVM writes these by name; it drops and pads elements of op_sel.
    left_out = "offset:" if name == "ds_swizzle_b32" else "op_sel:" if name == "v_cndmask_b16" else "format:"
    modifiers = [re.sub(r"(op_sel:\[.*?)(,0)*\]", r"\1]", word) for word in modifiers]
    modifiers = [
        word.replace("row_newbcast", "row_share") for word in modifiers if not word.startswith(left_out)
    ]
    return [name, operands, sorted(modifiers)]


def agree(ours: str, theirs: str) -> bool:
    """Whether both texts are the same instruction."""
    return _match(comparable(ours), comparable(theirs))


def _match(ours: object, theirs: object) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_match, ours, theirs))
    if ours == theirs or theirs in _AS_16_BITS.get(str(ours), ()):
        return True
    # For 16-bit operands LLVM cuts literals and writes constants as bits.
    numbers = [re.fullmatch(r"(\W*)(\d+)(\W*)", str(text)) for text in (ours, theirs)]
    if None in numbers:
        return False
    (left, our_number, right), (their_left, their_number, their_right) = (match.groups() for match in numbers)
    return (left, right) == (their_left, their_right) and (int(our_number) - int(their_number)) % 0x10000 == 0
