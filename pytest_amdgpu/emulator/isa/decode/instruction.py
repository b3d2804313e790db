"""What the decoder hands to everybody else: one instruction with its operands in the order of LLVM's text.

Rules that semantics can rely on:

* `name` is LLVM's mnemonic without `_e32`, `_e64`, `_sdwa`, `_dpp`; `encoding` says which form it was.
* `destinations` and `sources` follow LLVM's text, with these additions that make implicit things explicit:
  a wave mask that the encoding implies is an operand (VCC of `v_add_co_u32`/`v_cndmask_b32`/`v_cmp_*` in
  their short form, EXEC of `v_cmpx_*` on gfx10+); a returning buffer or scalar atomic has its data register
  in both lists.
* Not listed: the destination that `v_fmac`/`v_mac`/`v_dot*c`/`s_addk`/`s_cmovk` also read, the half of a
  register that `*_d16` loads keep, the source that `v_swap` also writes, SCC, the VCC that `v_div_fmas`
  reads, M0 of LDS and messages, EXEC as lane mask.
* Memory operands always have the same positions; one that is switched off has kind `OFF`:
  - FLAT: load `dst <- (vaddr,)`, store and atomic `(vaddr, vdata)`; compare-and-swap has the new value and
    then the expected one in the tuple of vdata; GLOBAL and SCRATCH the same with `saddr` last;
  - DS: `dst <- (vaddr, data0, data1)` as far as the opcode has them;
  - MUBUF: `dst <- (vaddr, srsrc, soffset)`, stores and atomics `(vdata, vaddr, srsrc, soffset)`;
  - SMEM: load `dst <- (sbase, soffset)`, store `(sdata, sbase, soffset)`;
  the immediate is `modifiers["offset"]`, signed.
* Branches have as last source an `IMM`, the signed distance in dwords from the end of the instruction; see
  `branch_target`.
* Half registers of gfx11 (`v1.h`) are bits of `modifiers["op_sel"]`: bit i for source i, bit 3 for the
  destination, whichever encoding it came from.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class OperandKind(enum.Enum):
    """Where an operand lives; `Operand.index` counts within the kind."""

    VGPR = enum.auto()
    AGPR = enum.auto()
    SGPR = enum.auto()
    """0..105 general (gfx9: 102/103 is FLAT_SCRATCH, 104/105 XNACK_MASK), 106/107 VCC, 108..123 TTMP."""
    EXEC = enum.auto()
    """Index 0: the low half or the whole, index 1: the high half."""
    M0 = enum.auto()
    NULL = enum.auto()
    """Reads as zero, writes vanish (gfx10+)."""
    OFF = enum.auto()
    """An address operand that the encoding leaves out, printed as `off`."""
    INLINE_INT = enum.auto()
    """`value` is the signed constant, -16..64."""
    INLINE_FLOAT = enum.auto()
    """`index` is the code 240..248 (0.5 -0.5 1.0 -1.0 2.0 -2.0 4.0 -4.0 1/2pi), `value` the bits as f32."""
    LITERAL = enum.auto()
    """`value` is the 32-bit literal, unsigned. 64-bit floats take it as their high half."""
    SPECIAL = enum.auto()
    """`index` is the operand code, see `SPECIAL_NAMES`."""
    IMM = enum.auto()
    """`value` is an immediate of the opcode: simm16 (signed unless the opcode is not), hwreg, message."""


SRC_SHARED_BASE, SRC_SHARED_LIMIT, SRC_PRIVATE_BASE, SRC_PRIVATE_LIMIT, SRC_POPS_EXITING_WAVE_ID = range(
    235, 240
)
SRC_VCCZ, SRC_EXECZ, SRC_SCC, SRC_LDS_DIRECT = 251, 252, 253, 254

SPECIAL_NAMES = {
    SRC_SHARED_BASE: "src_shared_base",
    SRC_SHARED_LIMIT: "src_shared_limit",
    SRC_PRIVATE_BASE: "src_private_base",
    SRC_PRIVATE_LIMIT: "src_private_limit",
    SRC_POPS_EXITING_WAVE_ID: "src_pops_exiting_wave_id",
    SRC_VCCZ: "src_vccz",
    SRC_EXECZ: "src_execz",
    SRC_SCC: "src_scc",
    SRC_LDS_DIRECT: "src_lds_direct",
}

FLAT_SCRATCH = 102
"""Index of FLAT_SCRATCH's low half among the SGPRs of gfx9."""
VCC = 106
"""Index of VCC's low half among the SGPRs."""
TTMP0 = 108
"""Index of TTMP0 among the SGPRs."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand; `count` is its width in dwords (1 also for 16-bit values)."""

    kind: OperandKind
    index: int = 0
    count: int = 1
    value: int = 0
    half: bool = False
    """A 16-bit register of gfx11: `op_sel` says which half, and writing it leaves the other half as it is."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One decoded instruction at `offset` bytes in the code; `size` counts literal, DPP and SDWA dwords too.

    Modifiers that are absent have their default (0; `op_sel_hi` of VOP3P is always present). Names and units:
    `neg`, `abs`, `neg_lo`, `neg_hi`, `op_sel`, `op_sel_hi` bit masks over the sources; `clamp`, `omod`
    (0..3); `offset` bytes (signed where the encoding is), `offset0`/`offset1` raw (not scaled) of DS, `gds`;
    cache bits `sc0` `sc1` `nt` (gfx940), `glc` `slc` `dlc` `scc`, or `th` `scope` (gfx12); `lds`, `offen`,
    `idxen`, `tfe`;
    `dpp_ctrl` `row_mask` `bank_mask` `bound_ctrl` `fi`, `dpp8` (24 bits of lane selectors);
    `dst_sel` `dst_unused` `src0_sel` `src1_sel` `sext` (mask over sources) of SDWA;
    `cbsz` `abid` `blgp` of MFMA; `bitop3`, a truth table of 8 bits; `simm16` raw; `vmcnt` `expcnt` `lgkmcnt`
    of s_waitcnt, absent if not waited for.
    """

    offset: int
    size: int
    encoding: str
    name: str
    destinations: tuple[Operand, ...]
    sources: tuple[Operand, ...]
    words: tuple[int, ...]
    modifiers: Mapping[str, int] = field(default_factory=dict)
    halves: tuple[Instruction, ...] = ()
    """The X and the Y operation of a VOPD instruction, otherwise empty."""

    @property
    def branch_target(self) -> int:
        """Offset of the branch target in the code, if the last source is a branch distance."""
        return self.offset + self.size + 4 * self.sources[-1].value

    def __str__(self) -> str:
        from pytest_amdgpu.emulator.isa.decode.text import text

        return text(self)
