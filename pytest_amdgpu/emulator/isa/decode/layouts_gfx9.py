"""Layouts of gfx9: gfx908, gfx90a and gfx940 (CDNA1 to 3).

They differ in cache bits and scratch addressing, and since gfx90a memory instructions can name accumulation
registers.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.decode.layouts import (
    MAI_FIELDS,
    SCALAR_AND_SHORT_VECTOR,
    VOP3_FIELDS,
    VOP3_SDST_FIELDS,
    VOP3P_FIELDS,
    Field,
    Layout,
)

_SMEM = {
    "sbase": (0, 6),
    "sdata": (6, 7),
    "soffset_en": (14, 1),
    "nv": (15, 1),
    "glc": (16, 1),
    "imm": (17, 1),
    "offset": (32, 21),
    "soffset": (57, 7),
}
_DS = {
    "offset": (0, 16),
    "offset0": (0, 8),
    "offset1": (8, 8),
    "gds": (16, 1),
    "vaddr": (32, 8),
    "data0": (40, 8),
    "data1": (48, 8),
    "vdst": (56, 8),
}
_FLAT = {
    "offset": (0, 13),
    "seg": (14, 2),
    "vaddr": (32, 8),
    "vdata": (40, 8),
    "saddr": (48, 7),
    "vdst": (56, 8),
}
_BUFFER = {
    "offset": (0, 12),
    "offen": (12, 1),
    "idxen": (13, 1),
    "vaddr": (32, 8),
    "vdata": (40, 8),
    "srsrc": (48, 5),
    "soffset": (56, 8),
}
# The hardware ignores the highest bit of a generic address's offset.
_GENERIC_OFFSET = {"offset": (0, 12)}


def _gfx9(
    flat: dict[str, Field],
    scratch: dict[str, Field],
    mubuf: dict[str, Field],
    mtbuf: dict[str, Field],
    ds: dict[str, Field],
    mai: dict[str, Field],
) -> tuple[Layout, ...]:
    """The layouts, with the bits that differ: cache bits, LDS and accumulators of the memory encodings."""
    match = "110111---"
    return (
        *SCALAR_AND_SHORT_VECTOR,
        Layout("VOP3P", 8, "110100111", (16, 7), VOP3P_FIELDS, group="VOP3P"),
        Layout("VOP3P_MAI", 8, "110100111", (16, 7), mai, group="VOP3P"),
        Layout("VOP3", 8, "110100---", (16, 10), VOP3_FIELDS, group="VOP3"),
        Layout("VOP3_SDST", 8, "110100---", (16, 10), VOP3_SDST_FIELDS, group="VOP3"),
        Layout("SMEM", 8, "110000---", (18, 8), _SMEM),
        Layout("DS", 8, "110110---", (17, 8), {**_DS, **ds}),
        Layout("FLAT", 8, match, (18, 7), {**_FLAT, **flat, **_GENERIC_OFFSET}, where={"seg": 0}),
        Layout("FLAT_SCRATCH", 8, match, (18, 7), {**_FLAT, **flat, **scratch}, where={"seg": 1}),
        Layout("FLAT_GLOBAL", 8, match, (18, 7), {**_FLAT, **flat}, where={"seg": 2}),
        Layout("MUBUF", 8, "111000---", (18, 7), {**_BUFFER, "lds": (16, 1), **mubuf}),
        Layout("MTBUF", 8, "111010---", (15, 4), {**_BUFFER, "format": (19, 7), **mtbuf}),
    )


_IMAGES = Layout("MIMG", 8, "111100---", (18, 7), {}, named_only=True)
_ACC: dict[str, Field] = {"acc": (55, 1)}
_ACC_DS: dict[str, Field] = {"acc": (25, 1)}

GFX908_LAYOUTS = (
    *_gfx9(
        flat={"lds": (13, 1), "glc": (16, 1), "slc": (17, 1)},
        scratch={},
        mubuf={"glc": (14, 1), "slc": (17, 1), "tfe": (55, 1)},
        mtbuf={"glc": (14, 1), "slc": (54, 1), "tfe": (55, 1)},
        ds={},
        # Sums are always in accumulators.
        mai={name: place for name, place in MAI_FIELDS.items() if name != "acc_cd"},
    ),
    _IMAGES,
)
GFX90A_LAYOUTS = (
    *_gfx9(
        flat={"lds": (13, 1), "glc": (16, 1), "slc": (17, 1), "scc": (25, 1), **_ACC},
        scratch={},
        mubuf={"glc": (14, 1), "scc": (15, 1), "slc": (17, 1), **_ACC},
        mtbuf={"glc": (14, 1), "scc": (53, 1), "slc": (54, 1), **_ACC},
        ds=_ACC_DS,
        mai=MAI_FIELDS,
    ),
    _IMAGES,
)
GFX940_LAYOUTS = _gfx9(
    flat={"sc0": (16, 1), "nt": (17, 1), "sc1": (25, 1), **_ACC},
    scratch={"sve": (13, 1)},
    mubuf={"sc0": (14, 1), "sc1": (15, 1), "nt": (17, 1), **_ACC},
    mtbuf={"sc0": (14, 1), "sc1": (53, 1), "nt": (54, 1), **_ACC},
    ds=_ACC_DS,
    mai=MAI_FIELDS,
)
