"""Layouts of gfx10 (RDNA2), gfx11 (RDNA3) and gfx12 (RDNA4)."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.decode.layouts import (
    SCALAR_AND_SHORT_VECTOR,
    VOP3_FIELDS,
    VOP3_SDST_FIELDS,
    VOP3P_FIELDS,
    Layout,
)

_SMEM = {"sbase": (0, 6), "sdata": (6, 7), "offset": (32, 21), "soffset": (57, 7)}
_DS = {
    "offset": (0, 16),
    "offset0": (0, 8),
    "offset1": (8, 8),
    "gds": (17, 1),
    "vaddr": (32, 8),
    "data0": (40, 8),
    "data1": (48, 8),
    "vdst": (56, 8),
}
_FLAT = {"vaddr": (32, 8), "vdata": (40, 8), "saddr": (48, 7), "vdst": (56, 8)}
_FLAT_GFX10 = {
    **_FLAT,
    "offset": (0, 12),
    "dlc": (12, 1),
    "lds": (13, 1),
    "seg": (14, 2),
    "glc": (16, 1),
    "slc": (17, 1),
}
_FLAT_GFX11 = {
    **_FLAT,
    "offset": (0, 13),
    "dlc": (13, 1),
    "glc": (14, 1),
    "slc": (15, 1),
    "seg": (16, 2),
    "sve": (55, 1),
}
_BUFFER = {
    "offset": (0, 12),
    "vaddr": (32, 8),
    "vdata": (40, 8),
    "srsrc": (48, 5),
    "soffset": (56, 8),
}
_BUFFER_GFX10 = {
    **_BUFFER,
    "offen": (12, 1),
    "idxen": (13, 1),
    "glc": (14, 1),
    "dlc": (15, 1),
    "lds": (16, 1),
    "slc": (54, 1),
    "tfe": (55, 1),
}
_BUFFER_GFX11 = {
    **_BUFFER,
    "slc": (12, 1),
    "dlc": (13, 1),
    "glc": (14, 1),
    "tfe": (53, 1),
    "offen": (54, 1),
    "idxen": (55, 1),
}
_VOPD = {
    "srcx0": (0, 9),
    "vsrcx1": (9, 8),
    "opy": (17, 5),
    "srcy0": (32, 9),
    "vsrcy1": (41, 8),
    "vdsty": (49, 7),
    "vdstx": (56, 8),
}
_VECTOR = (
    *SCALAR_AND_SHORT_VECTOR,
    Layout("VOP3", 8, "110101---", (16, 10), VOP3_FIELDS, group="VOP3"),
    Layout("VOP3_SDST", 8, "110101---", (16, 10), VOP3_SDST_FIELDS, group="VOP3"),
    Layout("VOP3P", 8, "11001100-", (16, 7), VOP3P_FIELDS),
)

GFX10_LAYOUTS = (
    *_VECTOR,
    Layout("SMEM", 8, "111101---", (18, 8), {**_SMEM, "dlc": (14, 1), "glc": (16, 1)}),
    Layout("DS", 8, "110110---", (18, 8), _DS),
    Layout("FLAT", 8, "110111---", (18, 7), _FLAT_GFX10, where={"seg": 0}),
    Layout("FLAT_SCRATCH", 8, "110111---", (18, 7), _FLAT_GFX10, where={"seg": 1}),
    Layout("FLAT_GLOBAL", 8, "110111---", (18, 7), _FLAT_GFX10, where={"seg": 2}),
    Layout("MUBUF", 8, "111000---", (18, 8), _BUFFER_GFX10),
    # The fourth bit of its opcode is far away, and only graphics uses it.
    Layout("MTBUF", 8, "111010---", (16, 3), {}, named_only=True),
    Layout("VINTRP", 4, "110010---", (16, 2), {}, named_only=True),
    Layout("MIMG", 8, "111100---", (18, 7), {}, named_only=True),
    Layout("EXP", 8, "111110---", (4, 6), {}, named_only=True),
)
GFX11_LAYOUTS = (
    *_VECTOR,
    Layout("VINTERP", 8, "11001101-", (16, 7), {}, named_only=True),
    Layout("LDSDIR", 4, "11001110-", (20, 2), {}, named_only=True),
    Layout("VOPD", 8, "110010---", (22, 4), _VOPD),
    Layout("SMEM", 8, "111101---", (18, 8), {**_SMEM, "dlc": (13, 1), "glc": (14, 1)}),
    Layout("DS", 8, "110110---", (18, 8), _DS),
    Layout("FLAT", 8, "110111---", (18, 7), _FLAT_GFX11, where={"seg": 0}),
    Layout("FLAT_SCRATCH", 8, "110111---", (18, 7), _FLAT_GFX11, where={"seg": 1}),
    Layout("FLAT_GLOBAL", 8, "110111---", (18, 7), _FLAT_GFX11, where={"seg": 2}),
    Layout("MUBUF", 8, "111000---", (18, 8), _BUFFER_GFX11),
    Layout("MTBUF", 8, "111010---", (15, 4), {**_BUFFER_GFX11, "format": (19, 7)}),
    Layout("MIMG", 8, "111100---", (18, 8), {}, named_only=True),
    Layout("EXP", 8, "111110---", (4, 6), {}, named_only=True),
)

_FLAT_GFX12 = {
    "saddr": (0, 7),
    "seg": (24, 2),
    "vdst": (32, 8),
    "sve": (49, 1),
    "scope": (50, 2),
    "th": (52, 3),
    "vdata": (55, 8),
    "vaddr": (64, 8),
    "offset": (72, 24),
}
_BUFFER_GFX12 = {
    "soffset": (0, 7),
    "tfe": (22, 1),
    "vdata": (32, 8),
    "srsrc": (41, 7),
    "scope": (50, 2),
    "th": (52, 3),
    "format": (55, 7),
    "offen": (62, 1),
    "idxen": (63, 1),
    "vaddr": (64, 8),
    "offset": (72, 24),
}
_SMEM_GFX12 = {
    "sbase": (0, 6),
    "sdata": (6, 7),
    "scope": (21, 2),
    "th": (23, 2),
    "offset": (32, 24),
    "soffset": (57, 7),
}
GFX12_LAYOUTS = (
    *_VECTOR,
    Layout("VINTERP", 8, "11001101-", (16, 7), {}, named_only=True),
    Layout("LDSDIR", 4, "11001110-", (20, 2), {}, named_only=True),
    Layout("VOPD", 8, "110010---", (22, 4), _VOPD),
    Layout("SMEM", 8, "111101---", (13, 6), _SMEM_GFX12),
    Layout("DS", 8, "110110---", (18, 8), {name: place for name, place in _DS.items() if name != "gds"}),
    Layout("FLAT", 12, "111011---", (14, 8), _FLAT_GFX12, where={"seg": 0}),
    Layout("FLAT_SCRATCH", 12, "111011---", (14, 8), _FLAT_GFX12, where={"seg": 1}),
    Layout("FLAT_GLOBAL", 12, "111011---", (14, 8), _FLAT_GFX12, where={"seg": 2}),
    Layout("MUBUF", 12, "110001---", (14, 8), _BUFFER_GFX12),
    Layout("EXP", 8, "111110---", (4, 6), {}, named_only=True),
)
