"""Encoding layouts: where each field lies, as (lowest bit, width) in the 32- or 64-bit encoding.

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
_VOP3 = {**_VOP3_COMMON, "abs": (8, 3), "op_sel": (11, 4)}
_VOP3_SDST = {**_VOP3_COMMON, "sdst": (8, 7)}
_VOP3P = {
    **_VOP3_SOURCES,
    "vdst": (0, 8),
    "neg_hi": (8, 3),
    "op_sel": (11, 3),
    "op_sel_hi2": (14, 1),
    "clamp": (15, 1),
    "op_sel_hi": (59, 2),
    "neg_lo": (61, 3),
}
_MAI = {
    **_VOP3_SOURCES,
    "vdst": (0, 8),
    "cbsz": (8, 3),
    "abid": (11, 4),
    "acc_cd": (15, 1),
    "acc": (59, 2),
    "blgp": (61, 3),
}

_SCALAR_AND_SHORT_VECTOR = (
    Layout("SOP1", 4, "101111101", (8, 8), {**_SSRC, "sdst": (16, 7)}),
    Layout("SOPC", 4, "101111110", (16, 7), {**_SSRC, "ssrc1": (8, 8)}),
    Layout("SOPP", 4, "101111111", (16, 7), {"simm16": (0, 16)}),
    Layout("SOPK", 4, "1011-----", (23, 5), {"simm16": (0, 16), "sdst": (16, 7)}),
    Layout("SOP2", 4, "10-------", (23, 7), {**_SSRC, "ssrc1": (8, 8), "sdst": (16, 7)}),
    Layout("VOP1", 4, "0111111--", (9, 8), {**_SRC0_9, "vdst": (17, 8)}),
    Layout("VOPC", 4, "0111110--", (17, 8), {**_SRC0_9, "vsrc1": (9, 8)}),
    Layout("VOP2", 4, "0--------", (25, 6), {**_SRC0_9, "vsrc1": (9, 8), "vdst": (17, 8)}),
)

_FLAT_GFX9 = {
    "offset": (0, 13),
    "sc0": (16, 1),
    "nt": (17, 1),
    "sc1": (25, 1),
    "vaddr": (32, 8),
    "vdata": (40, 8),
    "saddr": (48, 7),
    "acc": (55, 1),
    "vdst": (56, 8),
}
_SEGMENT_GFX9 = {"seg": (14, 2)}

GFX940_LAYOUTS = (
    *_SCALAR_AND_SHORT_VECTOR,
    Layout("VOP3P", 8, "110100111", (16, 7), _VOP3P, group="VOP3P"),
    Layout("VOP3P_MAI", 8, "110100111", (16, 7), _MAI, group="VOP3P"),
    Layout("VOP3", 8, "110100---", (16, 10), _VOP3, group="VOP3"),
    Layout("VOP3_SDST", 8, "110100---", (16, 10), _VOP3_SDST, group="VOP3"),
    Layout(
        "SMEM",
        8,
        "110000---",
        (18, 8),
        {
            "sbase": (0, 6),
            "sdata": (6, 7),
            "soffset_en": (14, 1),
            "nv": (15, 1),
            "glc": (16, 1),
            "imm": (17, 1),
            "offset": (32, 21),
            "soffset": (57, 7),
        },
    ),
    Layout(
        "DS",
        8,
        "110110---",
        (17, 8),
        {
            "offset": (0, 16),
            "offset0": (0, 8),
            "offset1": (8, 8),
            "gds": (16, 1),
            "acc": (25, 1),
            "vaddr": (32, 8),
            "data0": (40, 8),
            "data1": (48, 8),
            "vdst": (56, 8),
        },
    ),
    Layout(
        "FLAT", 8, "110111---", (18, 7), {**_FLAT_GFX9, **_SEGMENT_GFX9, "offset": (0, 12)}, where={"seg": 0}
    ),
    Layout(
        "FLAT_SCRATCH",
        8,
        "110111---",
        (18, 7),
        {**_FLAT_GFX9, **_SEGMENT_GFX9, "sve": (13, 1)},
        where={"seg": 1},
    ),
    Layout("FLAT_GLOBAL", 8, "110111---", (18, 7), {**_FLAT_GFX9, **_SEGMENT_GFX9}, where={"seg": 2}),
    Layout(
        "MUBUF",
        8,
        "111000---",
        (18, 7),
        {
            "offset": (0, 12),
            "offen": (12, 1),
            "idxen": (13, 1),
            "sc0": (14, 1),
            "sc1": (15, 1),
            "lds": (16, 1),
            "nt": (17, 1),
            "vaddr": (32, 8),
            "vdata": (40, 8),
            "srsrc": (48, 5),
            "acc": (55, 1),
            "soffset": (56, 8),
        },
    ),
    Layout(
        "MTBUF",
        8,
        "111010---",
        (15, 4),
        {
            "offset": (0, 12),
            "offen": (12, 1),
            "idxen": (13, 1),
            "sc0": (14, 1),
            "format": (19, 7),
            "vaddr": (32, 8),
            "vdata": (40, 8),
            "srsrc": (48, 5),
            "sc1": (53, 1),
            "nt": (54, 1),
            "acc": (55, 1),
            "soffset": (56, 8),
        },
    ),
)

_FLAT_GFX11 = {
    "offset": (0, 13),
    "dlc": (13, 1),
    "glc": (14, 1),
    "slc": (15, 1),
    "seg": (16, 2),
    "vaddr": (32, 8),
    "vdata": (40, 8),
    "saddr": (48, 7),
    "sve": (55, 1),
    "vdst": (56, 8),
}
_BUFFER_GFX11 = {
    "offset": (0, 12),
    "slc": (12, 1),
    "dlc": (13, 1),
    "glc": (14, 1),
    "vaddr": (32, 8),
    "vdata": (40, 8),
    "srsrc": (48, 5),
    "tfe": (53, 1),
    "offen": (54, 1),
    "idxen": (55, 1),
    "soffset": (56, 8),
}

GFX11_LAYOUTS = (
    *_SCALAR_AND_SHORT_VECTOR,
    Layout("VOP3P", 8, "11001100-", (16, 7), _VOP3P),
    Layout("VOP3", 8, "110101---", (16, 10), _VOP3, group="VOP3"),
    Layout("VOP3_SDST", 8, "110101---", (16, 10), _VOP3_SDST, group="VOP3"),
    Layout("VINTERP", 8, "11001101-", (16, 7), {}, named_only=True),
    Layout("LDSDIR", 4, "11001110-", (20, 2), {}, named_only=True),
    Layout(
        "VOPD",
        8,
        "110010---",
        (22, 4),
        {
            "srcx0": (0, 9),
            "vsrcx1": (9, 8),
            "opy": (17, 5),
            "srcy0": (32, 9),
            "vsrcy1": (41, 8),
            "vdsty": (49, 7),
            "vdstx": (56, 8),
        },
    ),
    Layout(
        "SMEM",
        8,
        "111101---",
        (18, 8),
        {
            "sbase": (0, 6),
            "sdata": (6, 7),
            "dlc": (13, 1),
            "glc": (14, 1),
            "offset": (32, 21),
            "soffset": (57, 7),
        },
    ),
    Layout(
        "DS",
        8,
        "110110---",
        (18, 8),
        {
            "offset": (0, 16),
            "offset0": (0, 8),
            "offset1": (8, 8),
            "gds": (17, 1),
            "vaddr": (32, 8),
            "data0": (40, 8),
            "data1": (48, 8),
            "vdst": (56, 8),
        },
    ),
    Layout("FLAT", 8, "110111---", (18, 7), _FLAT_GFX11, where={"seg": 0}),
    Layout("FLAT_SCRATCH", 8, "110111---", (18, 7), _FLAT_GFX11, where={"seg": 1}),
    Layout("FLAT_GLOBAL", 8, "110111---", (18, 7), _FLAT_GFX11, where={"seg": 2}),
    Layout("MUBUF", 8, "111000---", (18, 8), _BUFFER_GFX11),
    Layout("MTBUF", 8, "111010---", (15, 4), {**_BUFFER_GFX11, "format": (19, 7)}),
    Layout("MIMG", 8, "111100---", (18, 8), {}, named_only=True),
    Layout("EXP", 8, "111110---", (4, 6), {}, named_only=True),
)
