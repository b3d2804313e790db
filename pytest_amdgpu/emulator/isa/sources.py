"""Source operands as semantics see them: modifiers, inline constants, and parts of registers applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.isa.decode.instruction import (
    SRC_EXECZ,
    SRC_PRIVATE_BASE,
    SRC_PRIVATE_LIMIT,
    SRC_SCC,
    SRC_SHARED_BASE,
    SRC_SHARED_LIMIT,
    SRC_VCCZ,
    Operand,
    OperandKind,
)
from pytest_amdgpu.emulator.isa.dpp import dpp_source
from pytest_amdgpu.emulator.isa.effects import Effects
from pytest_amdgpu.emulator.isa.errors import NotExecutable
from pytest_amdgpu.emulator.isa.ir import F16, F32, F64, I16, I32, I64, INT_OF, Type, Value
from pytest_amdgpu.emulator.isa.sdwa import sdwa_select

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.decode.instruction import Instruction

PRIVATE_BASE = 2 << 48
"""Start of the flat aperture of private memory, as GET_PROCESS_APERTURES reports it on gfx9 and later."""
SHARED_BASE = 1 << 48
"""Start of the flat aperture of LDS."""
APERTURE_SIZE = 1 << 32

_F16_INLINE = (0x3800, 0xB800, 0x3C00, 0xBC00, 0x4000, 0xC000, 0x4400, 0xC400, 0x3118)
_F64_INLINE = (
    0x3FE0000000000000,
    0xBFE0000000000000,
    0x3FF0000000000000,
    0xBFF0000000000000,
    0x4000000000000000,
    0xC000000000000000,
    0x4010000000000000,
    0xC010000000000000,
    0x3FC45F306DC9C882,
)
# Inline constants 240..248 (RDNA3 ISA section 6.1: 0.5 -0.5 1 -1 2 -2 4 -4 1/(2 pi)).


class SourceOperands(Effects):
    """What one instruction reads."""

    # ---- the instruction ----------------------------------------------------------------------------------

    @property
    def num_sources(self) -> int:
        """Number of source operands."""
        return len(self.inst.sources)

    @property
    def num_destinations(self) -> int:
        """Number of destination operands."""
        return len(self.inst.destinations)

    def mod(self, name: str, default: int = 0) -> int:
        """A modifier of the instruction, `default` where it is absent."""
        return self.inst.modifiers.get(name, default)

    def bind(self, inst: Instruction) -> None:
        """Start the next instruction of the block (for the translator, not for semantics)."""
        self.inst = inst
        self.write_mask = None

    # ---- sources ------------------------------------------------------------------------------------------

    def src(self, i: int, type_: Type, *, signed_literal: bool = False) -> Value:
        """Source operand `i` as `type_`, with everything that the encoding does to it.

        That is: op_sel (16-bit types), SDWA selection and sign extension, DPP (source 0), inline constants as
        the type has them, then for floats `abs` and `neg`. 64-bit types read two dwords; a 32-bit literal is
        the high half of an F64, zero-extended to I64 (sign-extended with `signed_literal`). I16 from a 32-bit
        register is its low half. I1 is not a source type: see `src_mask`. An operand that is OFF or NULL
        reads as zero. The value has lanes if the operand is a VGPR or AGPR.
        """
        operand = self.inst.sources[i]
        if type_ is F64 and operand.kind is OperandKind.LITERAL:
            value = self.const_bits(F64, operand.value << 32)
        else:
            int_type = INT_OF.get(type_, type_)
            value = self._raw(operand, int_type, source=i, signed_literal=signed_literal)
            value = self.bitcast(value, type_)
        if type_.is_float:
            if self.mod("abs") >> i & 1:
                value = self.fabs(value)
            if self.mod("neg") >> i & 1:
                value = self.fneg(value)
        return value

    def src_dword(self, i: int, dword: int) -> Value:
        """Dword `dword` of source operand `i`'s register tuple as I32, without modifiers (store data,
        descriptors).

        Of a scalar constant, dword 0 is the constant and the others are zero.
        """
        operand = self.inst.sources[i]
        return self._dword(operand, dword, i)

    def src_mask(self, i: int) -> Value:
        """Source operand `i` as a lane mask: an I1 with lanes (carry-in, condition of v_cndmask)."""
        return self.lanes(self.src_mask_bits(i))

    def src_mask_bits(self, i: int) -> Value:
        """Source operand `i` as a wave-wide mask: a scalar I64, in wave32 with a zero high half."""
        operand = self.inst.sources[i]
        if self.wave_size == 32:
            return self.zext(self._dword(operand, 0), I64)
        return self._raw(operand, I64)

    def src_packed(self, i: int, type_: Type) -> tuple[Value, Value]:
        """Both halves of source `i` of a packed (VOP3P) operation, for the low and for the high result.

        `type_` is F16 or I16 (halves of a dword) or F32 or I32 (v_pk_fma_f32 and the like: dwords of a pair).
        op_sel and op_sel_hi choose the half, neg_lo and neg_hi negate floats. Inline constants: floats have
        their value in the low half and zero in the high one for 16 bits, and in both dwords for 32 bits.
        """
        operand = self.inst.sources[i]
        halves = []
        int_type = INT_OF.get(type_, type_)
        scalar = operand.kind not in (OperandKind.VGPR, OperandKind.AGPR, OperandKind.SGPR)
        for selector, negate in (("op_sel", "neg_lo"), ("op_sel_hi", "neg_hi")):
            high = self.mod(selector) >> i & 1
            if type_.bits == 16:
                word = self._dword16(operand)
                half = self.hi16(word) if high else self.lo16(word)
            else:
                half = self._dword(operand, 0 if scalar else high)
            value = self.bitcast(self._expect(half, int_type), type_)
            if type_.is_float and self.mod(negate) >> i & 1:
                value = self.fneg(value)
            halves.append(value)
        return halves[0], halves[1]

    def src_mix(self, i: int) -> Value:
        """Source `i` of v_fma_mix/v_mad_mix as F32: op_sel_hi says F16, op_sel which half; neg_hi means
        abs."""
        operand = self.inst.sources[i]
        if self.mod("op_sel_hi") >> i & 1:
            word = self._dword16(operand)
            half = self.hi16(word) if self.mod("op_sel") >> i & 1 else self.lo16(word)
            value = self._lanewise("fpext", F32, self.bitcast(half, F16))
        else:
            value = self.bitcast(self._dword(operand, 0), F32)
        if self.mod("neg_hi") >> i & 1 or self.mod("abs") >> i & 1:
            value = self.fabs(value)
        if self.mod("neg_lo") >> i & 1 or self.mod("neg") >> i & 1:
            value = self.fneg(value)
        return value

    def dst_old(self, type_: Type, i: int = 0) -> Value:
        """Destination `i` before the instruction (v_fmac, v_mac, s_cmov, s_addk); op_sel picks the half of 16
        bits."""
        operand = self.inst.destinations[i]
        value = self._raw(operand, INT_OF.get(type_, type_), half=self.mod("op_sel") >> 3 & 1)
        return self.bitcast(value, type_)

    def src_vgpr_index(self, i: int) -> int:
        """First register of a VGPR or AGPR source, in the numbering of `vgpr` (AGPRs count from 256)."""
        return self._vgpr_index(self.inst.sources[i])

    def dst_vgpr_index(self, i: int = 0) -> int:
        """First register of a VGPR or AGPR destination, in the numbering of `vgpr` (AGPRs count from 256)."""
        return self._vgpr_index(self.inst.destinations[i])

    def imm(self, i: int = -1) -> int:
        """The value of an immediate source (simm16, hwreg, message, wait counts), by default the last
        source's."""
        operand = self.inst.sources[i]
        if operand.kind is not OperandKind.IMM:
            raise TypeError(f"source {i} of {self.inst.name} is {operand}, not an immediate")
        return operand.value

    @property
    def _has_dpp(self) -> bool:
        return "dpp_ctrl" in self.inst.modifiers or "dpp8" in self.inst.modifiers

    @staticmethod
    def _expect(value: Value, type_: Type) -> Value:
        if value.type is not type_:
            raise TypeError(f"{value!r} is not {type_!r}")
        return value

    def _vgpr_index(self, operand: Operand) -> int:
        if operand.kind is OperandKind.VGPR:
            return operand.index
        if operand.kind is OperandKind.AGPR:
            return 256 + operand.index
        raise TypeError(f"{operand} of {self.inst.name} is not a vector register")

    def _dword16(self, operand: Operand) -> Value:
        """A dword that holds 16-bit halves: inline floats are F16 bits in the low half."""
        if operand.kind is OperandKind.INLINE_FLOAT:
            return self.const(I32, _F16_INLINE[operand.index - 240])
        return self._dword(operand, 0)

    def _raw(
        self,
        operand: Operand,
        type_: Type,
        *,
        source: int | None = None,
        half: int = 0,
        signed_literal: bool = False,
    ) -> Value:
        """An operand as an integer type of the width that is wanted, source modifiers of integers applied."""
        kind = operand.kind
        if kind is OperandKind.INLINE_INT:
            return self.const(type_, operand.value)
        if kind is OperandKind.INLINE_FLOAT:
            code = operand.index - 240
            return self.const(
                type_, {16: _F16_INLINE[code], 32: operand.value, 64: _F64_INLINE[code]}[type_.bits]
            )
        if kind is OperandKind.LITERAL and type_ is I64:
            negative = signed_literal and operand.value >> 31
            return self.const(I64, operand.value - (1 << 32) if negative else operand.value)
        if type_ is I64:
            low, high = self._dword(operand, 0, source), self._dword(operand, 1, source)
            if source == 0 and self._has_dpp:
                low, high = dpp_source(self, low), dpp_source(self, high)
            return self.combine64(low, high)
        word = self._dword(operand, 0, source)
        if source is not None:
            if source == 0 and self._has_dpp:
                word = dpp_source(self, word)
            selection = self.inst.modifiers.get(f"src{source}_sel")
            if selection is not None:
                word = sdwa_select(self, word, selection, bool(self.mod("sext") >> source & 1))
            half = self.mod("op_sel") >> source & 1
        if type_ is I32:
            return word
        if type_ is not I16:
            raise TypeError(f"{operand} of {self.inst.name} cannot be read as {type_!r}")
        vector = kind not in (OperandKind.LITERAL, OperandKind.IMM)
        return self.hi16(word) if half and vector else self.lo16(word)

    @property
    def _gpr_offset(self) -> Value:
        return self.and_(self.m0(), 0xFF)

    def _dword(self, operand: Operand, dword: int, source: int | None = None) -> Value:
        """One dword of an operand as I32."""
        kind = operand.kind
        if kind in (OperandKind.VGPR, OperandKind.AGPR):
            if source is not None and self.gpr_index >> source & 1:
                return self.vgpr_at(self._vgpr_index(operand) + dword, self._gpr_offset)
            return self.vgpr(self._vgpr_index(operand) + dword)
        if kind is OperandKind.SGPR:
            return self.sgpr(operand.index + dword)
        if kind is OperandKind.EXEC:
            return self.hi32(self.exec()) if operand.index + dword else self.lo32(self.exec())
        if kind is OperandKind.M0:
            return self.m0()
        if kind in (OperandKind.NULL, OperandKind.OFF):
            return self.const(I32, 0)
        if kind is OperandKind.SPECIAL:
            return self._special(operand.index, dword)
        if kind is OperandKind.INLINE_INT:
            return self.const(I32, operand.value if dword == 0 or operand.value >= 0 else -1)
        if kind in (OperandKind.INLINE_FLOAT, OperandKind.LITERAL, OperandKind.IMM):
            return self.const(I32, operand.value if dword == 0 else 0)
        raise TypeError(f"{operand} of {self.inst.name} cannot be read")

    def _special(self, code: int, dword: int) -> Value:
        """Apertures are 64-bit values whose low half is zero, which is what a 32-bit read gives."""
        zero = self.const(I32, 0)
        match code:
            case 235 | 236 | 237 | 238:
                value = {
                    SRC_SHARED_BASE: SHARED_BASE,
                    SRC_SHARED_LIMIT: SHARED_BASE + APERTURE_SIZE - 1,
                    SRC_PRIVATE_BASE: PRIVATE_BASE,
                    SRC_PRIVATE_LIMIT: PRIVATE_BASE + APERTURE_SIZE - 1,
                }[code]
                return self.const(I32, value >> 32 * dword)
            case _ if dword:
                return zero
            case _ if code == SRC_SCC:
                return self.zext(self.scc(), I32)
            case _ if code == SRC_VCCZ:
                return self.zext(self.eq(self.vcc(), 0), I32)
            case _ if code == SRC_EXECZ:
                return self.zext(self.eq(self.exec(), 0), I32)
        raise NotExecutable(f"special operand {code}")
