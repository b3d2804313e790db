"""Runs single instructions on chosen register values and returns what they left behind.

Vector programs: A is v[2:3], B v[4:5], C v[6:7], the destination v[8:11] (with known old content), a lane
mask is in VCC and another in {m}; {o} is a scalar destination. Each lane is one case.
Scalar programs: A is s[20:21], B s[22:23], the destination s[24:25], SCC, EXEC and VCC are given. Each
workgroup of one work-item is one case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from isa_machine import WAVE_SIZE, Machine, assemble

Words = npt.NDArray[np.uint32]

VECTOR_IN, VECTOR_OUT = 16, 8
"""Dwords per lane: A B C (two each), old destination (four), masks; new destination, VCC, {o}, EXEC."""
SCALAR_IN, SCALAR_OUT = 16, 8
"""Dwords per case: A B, old destination, EXEC, VCC (two each), SCC, M0; destination, EXEC, VCC, SCC, M0."""

_VECTOR_PROGRAM = """
.p2align 8
{label}:
  v_mov_b32 v1, s4
  v_lshl_add_u32 v0, v1, 6, v0
  v_lshlrev_b32 v1, 6, v0
  global_load_dwordx4 v[2:5], v1, s[0:1]
  global_load_dwordx2 v[6:7], v1, s[0:1] offset:16
  global_load_dwordx4 v[8:11], v1, s[0:1] offset:32
  global_load_dword v12, v1, s[0:1] offset:48
  v_lshlrev_b32 v1, 5, v0
  s_waitcnt vmcnt(0)
  v_and_b32 v13, 1, v12
  v_cmp_ne_u32 {vcc}, 0, v13
  v_and_b32 v13, 2, v12
  v_cmp_ne_u32 {m}, 0, v13
  {instruction}
  s_mov_b{bits} {e}, {exec}
  s_mov_b{bits} {exec}, -1
  v_cndmask_b32 v12, 0, 1, {vcc}
  v_cndmask_b32 v13, 0, 1, {o}
  v_cndmask_b32 v14, 0, 1, {e}
  global_store_dwordx4 v1, v[8:11], s[2:3]
  global_store_dwordx3 v1, v[12:14], s[2:3] offset:16
  s_endpgm
"""

_SCALAR_PROGRAM = """
.p2align 8
{label}:
  s_lshl_b32 s5, s4, 6
  s_add_u32 s0, s0, s5
  s_addc_u32 s1, s1, 0
  s_lshl_b32 s5, s4, 5
  s_load_dwordx8 s[20:27], s[0:1], 0x0
  s_load_dwordx4 s[28:31], s[0:1], 0x20
  s_waitcnt lgkmcnt(0)
  s_mov_b64 exec, s[26:27]
  s_mov_b64 vcc, s[28:29]
  s_mov_b32 m0, s31
  s_cmp_lg_u32 s30, 0
  {instruction}
  s_mov_b64 s[8:9], exec
  s_mov_b64 s[10:11], vcc
  s_cselect_b32 s12, 1, 0
  s_mov_b32 s13, m0
  s_mov_b64 exec, 1
  v_mov_b32 v1, s5
  v_mov_b32 v2, s24
  v_mov_b32 v3, s25
  v_mov_b32 v4, s8
  v_mov_b32 v5, s9
  v_mov_b32 v6, s10
  v_mov_b32 v7, s11
  v_mov_b32 v8, s12
  v_mov_b32 v9, s13
  global_store_dwordx4 v1, v[2:5], s[2:3]
  global_store_dwordx4 v1, v[6:9], s[2:3] offset:16
  s_endpgm
"""


@dataclass(frozen=True)
class Bench:
    """Programs around instructions, assembled for one target."""

    target: str
    code: bytes
    entries: Mapping[str, int]
    scalar: bool
    wave_size: int

    def run(self, label: str, inputs: Words, *, lds_bytes: int = 0, scratch_lane_bytes: int = 0) -> Words:
        """Run one instruction on rows of input dwords (vector: whole groups of 64); rows of output dwords."""
        machine = Machine(self.target, self.wave_size)
        code = machine.upload(np.frombuffer(self.code + bytes(256), np.uint8))
        source = machine.upload(inputs)
        result = machine.allocate(len(inputs) * 32)
        addresses = (source.address, result.address)
        user = [part for at in addresses for part in (at & 0xFFFFFFFF, at >> 32)]
        groups, block = (len(inputs), 1) if self.scalar else (len(inputs) // 64, 64)
        machine.run(
            code.address + self.entries[label],
            user,
            groups=groups,
            block=block,
            lds_bytes=lds_bytes,
            scratch_lane_bytes=scratch_lane_bytes,
        )
        return result.data.view(np.uint32).reshape(len(inputs), 8).copy()


def bench(
    require_tool: Callable[[str], str],
    target: str,
    instructions: Mapping[str, str],
    *,
    scalar: bool = False,
    wave_size: int | None = None,
) -> Bench:
    """Assemble a program around each instruction; `instructions` is text by label."""
    wave_size = wave_size or WAVE_SIZE[target]
    wave32 = wave_size == 32
    names = {
        "vcc": "vcc_lo" if wave32 else "vcc",
        "exec": "exec_lo" if wave32 else "exec",
        "bits": "32" if wave32 else "64",
        "m": "s20" if wave32 else "s[20:21]",
        "o": "s22" if wave32 else "s[22:23]",
        "e": "s24" if wave32 else "s[24:25]",
    }
    template = _SCALAR_PROGRAM if scalar else _VECTOR_PROGRAM
    source = "".join(
        template.format(label=label, instruction=text.format(**names), **names)
        for label, text in instructions.items()
    )
    features = "+wavefrontsize64" if not wave32 and target != "gfx942" else ""
    code, entries = assemble(require_tool, target, source, features=features)
    return Bench(target, code, entries, scalar, wave_size)
