"""The builder that instruction semantics are written against.

A semantics function takes a `Builder` bound to one instruction and says what the instruction does; it returns
nothing and must not look at anything but the builder. All reads of registers in one instruction see the state
before the instruction, whatever it writes meanwhile, and whatever the order.

Besides the operations here, a builder has the pure operations of `ops.PureOps`, the registers of
`registers.RegisterFile` and the memory and control operations of `effects.Effects`.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.decode.instruction import Operand, OperandKind
from pytest_amdgpu.emulator.isa.ir import I1, I16, I32, I64, INT_OF, Value
from pytest_amdgpu.emulator.isa.sdwa import sdwa_insert
from pytest_amdgpu.emulator.isa.sources import SourceOperands


class Builder(SourceOperands):
    """What one instruction may do. See the module's documentation."""

    # ---- destinations -------------------------------------------------------------------------------------

    def dst(self, value: Value, i: int = 0, *, keep_high: bool | None = None, modifiers: bool = True) -> None:
        """Write destination operand `i`.

        Floats: `omod` and `clamp` apply unless `modifiers` is false; integer clamping is the semantics'
        affair. A vector register takes the lanes that EXEC enables; 64 bits go to a pair. 16 bits go to the
        half that op_sel bit 3 names; the other half is kept if `keep_high`, else (low half written) cleared;
        the default is what most instructions do: cleared on gfx9, kept from gfx10 on; a high-half write
        always keeps the low one. SDWA's dst_sel is applied. A scalar mask destination takes an I1 with lanes
        (its `ballot`), wave-wide; a scalar I1 is written as 0 or 1. Any other scalar destination takes a
        scalar value of its width.
        """
        operand = self.inst.destinations[i]
        if value.type.is_float and modifiers:
            value = self._output_modifiers(value)
        if operand.kind in (OperandKind.VGPR, OperandKind.AGPR):
            self._write_vector(self._vgpr_index(operand), value, keep_high)
            return
        if value.type is I1 and (value.lanes or operand.count == 2):
            self.dst_mask_bits(self.ballot(value), i)
            return
        if value.lanes:
            raise TypeError(f"{self.inst.name}: {value!r} has lanes, destination {operand} has not")
        if value.type.is_float:
            value = self.bitcast(value, INT_OF[value.type])
        if value.type is I64:
            self._write_scalar(operand, 0, self.lo32(value))
            self._write_scalar(operand, 1, self.hi32(value))
        else:
            self._write_scalar(operand, 0, self.zext(value, I32))

    def dst_dword(self, dword: int, value: Value, i: int = 0) -> None:
        """Write dword `dword` of destination `i`'s register tuple with an I32 (loads, v_readlane, s_load)."""
        operand = self.inst.destinations[i]
        if operand.kind in (OperandKind.VGPR, OperandKind.AGPR):
            self._set_vgpr(self._vgpr_index(operand) + dword, value)
        else:
            self._write_scalar(operand, dword, value)

    def dst_mask_bits(self, bits: Value, i: int = 0) -> None:
        """Write a wave-wide mask given as scalar I64 to scalar destination `i` (one SGPR in wave32)."""
        operand = self.inst.destinations[i]
        if operand.kind is OperandKind.EXEC:
            self.set_exec(bits)
            return
        self._write_scalar(operand, 0, self.lo32(bits))
        if self.wave_size == 64:
            self._write_scalar(operand, 1, self.hi32(bits))

    def dst_packed(self, low: Value, high: Value, i: int = 0) -> None:
        """Write both results of a packed operation: 16-bit halves of a dword or 32-bit dwords of a pair;
        clamp applies."""
        if self.mod("clamp") and low.type.is_float:
            low, high = self.clamp01(low), self.clamp01(high)
        register = self.dst_vgpr_index(i)
        if low.type.bits == 16:
            self.set_vgpr(register, self.combine32(low, high))
        else:
            self.set_vgpr(register, self.bitcast(low, I32))
            self.set_vgpr(register + 1, self.bitcast(high, I32))

    def _output_modifiers(self, value: Value) -> Value:
        omod = self.mod("omod")
        if omod:
            value = self.fmul(value, (1.0, 2.0, 4.0, 0.5)[omod])
        return self.clamp01(value) if self.mod("clamp") else value

    def _write_vector(self, register: int, value: Value, keep_high: bool | None) -> None:
        if value.type.bits == 64:
            self._set_vgpr(register, self.lo32(value))
            self._set_vgpr(register + 1, self.hi32(value))
            return
        if value.type is I1:
            raise TypeError(f"{self.inst.name}: {value!r} cannot be written to a vector register")
        value = self.bitcast(value, INT_OF.get(value.type, value.type))
        if "dst_sel" in self.inst.modifiers:
            self._set_vgpr(register, sdwa_insert(self, self.zext(value, I32), self._old_vgpr(register)))
            return
        if value.type is I16:
            word = self.zext(value, I32)
            old = self._old_vgpr(register)
            if self.mod("op_sel") >> 3 & 1:
                word = self.or_(self.shl(word, 16), self.and_(old, 0xFFFF))
            elif self.family.shader.half_results_keep_high if keep_high is None else keep_high:
                word = self.or_(word, self.and_(old, 0xFFFF0000))
            value = word
        self._set_vgpr(register, value)

    def _set_vgpr(self, register: int, value: Value) -> None:
        if self.gpr_index >> 3 & 1:
            self.set_vgpr_at(register, self._gpr_offset, value)
        else:
            self.set_vgpr(register, value)

    def _old_vgpr(self, register: int) -> Value:
        if self.gpr_index >> 3 & 1:
            return self.vgpr_at(register, self._gpr_offset)
        return self.vgpr(register)

    def _write_scalar(self, operand: Operand, dword: int, value: Value) -> None:
        kind = operand.kind
        if kind is OperandKind.SGPR:
            self.set_sgpr(operand.index + dword, value)
        elif kind is OperandKind.M0:
            self.set_m0(value)
        elif kind is OperandKind.EXEC:
            # Through the pending value, so that both halves of a pair can be written one after the other.
            bits = self.pending_exec()
            if operand.index + dword:
                self.set_exec(self.combine64(self.lo32(bits), value))
            else:
                self.set_exec(self.combine64(value, self.hi32(bits)))
        elif kind is not OperandKind.NULL:
            raise TypeError(f"{operand} of {self.inst.name} cannot be written")
