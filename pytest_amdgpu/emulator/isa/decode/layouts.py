"""Encoding layouts: where each field lies, as (lowest bit, width) in the encoding of 32, 64 or 96
bits.

A generation is a set of layouts (here) plus an opcode table (`tables/`). Layouts with the same `group` share
their match bits and their opcode field; the opcode's row says which of them holds. Bit positions are from
AMD's "CDNA3 instruction set architecture" and "RDNA3 instruction set architecture" documents, chapter
"Microcode formats", and every one of them is checked against LLVM by the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Field = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Layout:
    """One encoding: `size` in bytes without trailing literal, DPP or SDWA dword."""

    name: str
    size: int
    match: str
    """The leading bits of the first dword, most significant first; `-` is any."""
    opcode: Field
    fields: dict[str, Field]
    group: str = ""
    """Set where several layouts share match and opcode field; the first of them is the default."""
    where: dict[str, int] = field(default_factory=dict)
    """Fixed values of fields that select this layout among those with the same match (FLAT's segment)."""
    named_only: bool = False
    """Graphics instructions: the table has their names for error messages, they are not decoded."""


_SRC0_9 = {"src0": (0, 9)}
_SSRC = {"ssrc0": (0, 8)}
_VOP3_SOURCES = {"src0": (32, 9), "src1": (41, 9), "src2": (50, 9)}
_VOP3_COMMON = {**_VOP3_SOURCES, "vdst": (0, 8), "omod": (59, 2), "neg": (61, 3), "clamp": (15, 1)}
VOP3_FIELDS = {**_VOP3_COMMON, "abs": (8, 3), "op_sel": (11, 4)}
VOP3_SDST_FIELDS = {**_VOP3_COMMON, "sdst": (8, 7)}
VOP3P_FIELDS = {
    **_VOP3_SOURCES,
    "vdst": (0, 8),
    "neg_hi": (8, 3),
    "op_sel": (11, 3),
    "op_sel_hi2": (14, 1),
    "clamp": (15, 1),
    "op_sel_hi": (59, 2),
    "neg_lo": (61, 3),
}
MAI_FIELDS = {
    **_VOP3_SOURCES,
    "vdst": (0, 8),
    "cbsz": (8, 3),
    "abid": (11, 4),
    "acc_cd": (15, 1),
    "acc": (59, 2),
    "blgp": (61, 3),
}

SCALAR_AND_SHORT_VECTOR = (
    Layout("SOP1", 4, "101111101", (8, 8), {**_SSRC, "sdst": (16, 7)}),
    Layout("SOPC", 4, "101111110", (16, 7), {**_SSRC, "ssrc1": (8, 8)}),
    Layout("SOPP", 4, "101111111", (16, 7), {"simm16": (0, 16)}),
    Layout("SOPK", 4, "1011-----", (23, 5), {"simm16": (0, 16), "sdst": (16, 7)}),
    Layout("SOP2", 4, "10-------", (23, 7), {**_SSRC, "ssrc1": (8, 8), "sdst": (16, 7)}),
    Layout("VOP1", 4, "0111111--", (9, 8), {**_SRC0_9, "vdst": (17, 8)}),
    Layout("VOPC", 4, "0111110--", (17, 8), {**_SRC0_9, "vsrc1": (9, 8)}),
    Layout("VOP2", 4, "0--------", (25, 6), {**_SRC0_9, "vsrc1": (9, 8), "vdst": (17, 8)}),
)
