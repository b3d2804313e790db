"""Registers of a wave as the values of a basic block, and the operations that look across lanes.

Within a block a register is whatever value was last assigned to it. A vector register that was written is
`blend(new, old)`: `new` in the lanes that EXEC enables, `old` in the others. Lane-wise operations drop the
blend, because disabled lanes of their result are never stored; operations that look across lanes keep it.
EXEC does not change within the part of a block that uses it: the translator ends the block before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.isa.decode.instruction import VCC
from pytest_amdgpu.emulator.isa.ir import I1, I32, I64, INT_OF, Graph, Type, Value
from pytest_amdgpu.emulator.isa.ops import PureOps

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.decode.instruction import Instruction
    from pytest_amdgpu.families.registry import Family

Register = tuple[str, int]
"""("v", index) with AGPRs from 256 on, ("s", index), ("m0", 0), ("scc", 0) or ("exec", 0)."""

SCC: Register = ("scc", 0)
EXEC: Register = ("exec", 0)
M0: Register = ("m0", 0)
_TYPES = {"v": I32, "s": I32, "m0": I32, "scc": I1, "exec": I64}


class RegisterFile(PureOps):
    """Reads give the state before the instruction; writes take effect when the translator commits it."""

    inst: Instruction

    def __init__(self, family: Family, wave_size: int) -> None:
        self.family = family
        self.wave_size = wave_size
        self.graph = Graph()
        self.current: dict[Register, Value] = {}
        self.write_mask: Value | None = None
        """Set by DPP: an I1 with lanes; other lanes of vector destinations stay as they are."""
        self._pending: dict[Register, Value] = {}
        self.gpr_index = 0
        """Operands that M0 indexes since s_set_gpr_idx_on: bit 0 to 2 sources, bit 3 the destination."""

    # ---- plumbing -----------------------------------------------------------------------------------------

    def _read(self, register: Register) -> Value:
        value = self.current.get(register)
        if value is None:
            kind = register[0]
            value = self.graph.value("reg", _TYPES[kind], attributes=register, lanes=kind == "v")
            self.current[register] = value
        return value

    def _write(self, register: Register, value: Value) -> None:
        expected = _TYPES[register[0]]
        if value.type is not expected or (value.lanes and register[0] != "v"):
            raise TypeError(f"{self.inst.name}: {value!r} written to {register}, which is {expected!r}")
        self._pending[register] = value

    def commit(self) -> None:
        """Let the writes of the instruction take effect."""
        self.current.update(self._pending)
        self._pending.clear()

    # ---- vector registers ---------------------------------------------------------------------------------

    def vgpr(self, index: int) -> Value:
        """Vector register `index` (AGPRs count from 256) as I32 with lanes."""
        return self._read(("v", index))

    def set_vgpr(self, index: int, value: Value) -> None:
        """Write a vector register (I32; a scalar is broadcast) in the lanes that EXEC enables."""
        register = ("v", index)
        old = self._read(register)
        if value.op == "blend":
            value = value.args[0]
        if self.write_mask is not None:
            value = self.select(self.write_mask, value, old)
        base = old.args[1] if old.op == "blend" else old
        self._write(register, self.graph.value("blend", I32, value, base, lanes=True))

    def vgpr_at(self, index: int, offset: Value) -> Value:
        """Vector register `index + offset` (scalar I32): v_movrels. The instruction is a block of its own."""
        return self.graph.value("vgpr_at", I32, offset, attributes=(index,), lanes=True)

    def set_vgpr_at(self, index: int, offset: Value, value: Value) -> None:
        """Write vector register `index + offset` (scalar I32) in the lanes that EXEC enables: v_movreld.

        The instruction is a block of its own.
        """
        if value.op == "blend":
            value = value.args[0]
        self.graph.effect("set_vgpr_at", offset, value, offset=self.inst.offset, index=index)

    def writelane(self, index: int, value: Value, lane: Value) -> None:
        """Write lane `lane` (scalar I32, modulo the wave size) of a vector register with a scalar I32,
        whatever EXEC is."""
        register = ("v", index)
        lane = self.and_(lane, self.wave_size - 1)
        self._write(
            register, self.graph.value("writelane", I32, self._read(register), value, lane, lanes=True)
        )

    def lane_id(self) -> Value:
        """Each lane's number as I32."""
        return self.graph.value("lane_id", I32, lanes=True)

    # ---- scalar registers ---------------------------------------------------------------------------------

    def sgpr(self, index: int, type_: Type = I32) -> Value:
        """Scalar register `index`, or the pair from it for a 64-bit type."""
        low = self._read(("s", index))
        if type_.bits == 64:
            return self.bitcast(self.combine64(low, self._read(("s", index + 1))), type_)
        return self.bitcast(low, type_)

    def set_sgpr(self, index: int, value: Value) -> None:
        """Write scalar register `index` with a scalar value, the pair from it if the value has 64 bits."""
        if value.type.is_float:
            value = self.bitcast(value, INT_OF[value.type])
        if value.type is I64:
            self._write(("s", index), self.lo32(value))
            self._write(("s", index + 1), self.hi32(value))
        else:
            self._write(("s", index), value)

    def scc(self) -> Value:
        """The scalar condition code as scalar I1."""
        return self._read(SCC)

    def set_scc(self, value: Value) -> None:
        """Write the scalar condition code (scalar I1)."""
        self._write(SCC, value)

    def m0(self) -> Value:
        """M0 as scalar I32."""
        return self._read(M0)

    def set_m0(self, value: Value) -> None:
        """Write M0 (scalar I32)."""
        self._write(M0, value)

    def vcc(self) -> Value:
        """VCC as scalar I64; in wave32 the high half is zero."""
        if self.wave_size == 32:
            return self.zext(self._read(("s", VCC)), I64)
        return self.sgpr(VCC, I64)

    def set_vcc(self, bits: Value) -> None:
        """Write VCC (scalar I64); in wave32 only VCC_LO."""
        self._write(("s", VCC), self.lo32(bits))
        if self.wave_size == 64:
            self._write(("s", VCC + 1), self.hi32(bits))

    def exec(self) -> Value:
        """EXEC as scalar I64; in wave32 the high half is zero."""
        return self._read(EXEC)

    def pending_exec(self) -> Value:
        """EXEC including what this instruction has written."""
        return self._pending.get(EXEC) or self.exec()

    def set_exec(self, bits: Value) -> None:
        """Write EXEC (scalar I64); in wave32 the high half is dropped."""
        if self.wave_size == 32:
            bits = self.zext(self.lo32(bits), I64)
        self._write(EXEC, bits)

    @property
    def exec_written(self) -> bool:
        """Whether an instruction of the block has written EXEC."""
        value = self.current.get(EXEC)
        return value is not None and value.op != "reg"

    # ---- across lanes -------------------------------------------------------------------------------------

    def ballot(self, condition: Value) -> Value:
        """The lanes that EXEC enables and where the I1 `condition` holds, as scalar I64, bit = lane."""
        if condition.type is not I1:
            raise TypeError(f"ballot of {condition!r}: not i1")
        if not condition.lanes:
            return self.select(condition, self.exec(), self.const(I64, 0))
        if condition.op == "lanes":
            return self.and_(condition.args[0], self.exec())
        return self.graph.value("ballot", I64, condition, lanes=False)

    def lanes(self, bits: Value) -> Value:
        """Bit `lane` of a scalar I64 for each lane, as I1."""
        if bits.type is not I64 or bits.lanes:
            raise TypeError(f"{bits!r} is not a scalar i64")
        return self._known_lanes(bits) or self.graph.value("lanes", I1, bits, lanes=True)

    def _known_lanes(self, bits: Value) -> Value | None:
        """The lanes of a mask that was computed from lanes within this block, without going through bits."""
        if bits.op == "ballot":
            return bits.args[0]
        if bits.is_const and bits.bits in (0, (1 << self.wave_size) - 1, I64.mask):
            return self.const(I1, 1 if bits.bits else 0)
        if bits.op == "reg" and bits.attributes == EXEC:
            return self.const(I1, 1)
        if bits.op == "zext" and bits.args[0].op == "lo32" and self.wave_size == 32:
            return self._known_lanes(bits.args[0].args[0])
        if bits.op in ("and", "or", "xor"):
            a, b = (self._known_lanes(arg) for arg in bits.args)
            if a is not None or b is not None:
                a = a if a is not None else self.lanes(bits.args[0])
                b = b if b is not None else self.lanes(bits.args[1])
                return self._lanewise(bits.op, I1, a, b)
        return None

    def readlane(self, value: Value, lane: Value) -> Value:
        """Lane `lane` (scalar I32, modulo the wave size) of an I32, as scalar; disabled lanes can be read."""
        if not value.lanes:
            return value
        lane = self.and_(lane, self.wave_size - 1)
        while value.op == "writelane" and lane.is_const and value.args[2].is_const:
            old, written, place = value.args
            if place is lane:
                return written
            value = old
        return self.graph.value("readlane", value.type, value, lane, lanes=False)

    def readfirstlane(self, value: Value) -> Value:
        """The I32 of the lowest lane that EXEC enables, of lane 0 if it enables none; as scalar."""
        if not value.lanes:
            return value
        return self.graph.value("readfirstlane", value.type, value, lanes=False)

    def lane_permute(
        self,
        value: Value,
        index: Value,
        direction: str = "pull",
        *,
        out_of_range_zero: bool = False,
        disabled: str = "zero",
    ) -> Value:
        """Move an I32 between lanes.

        "pull": each lane gets the value of lane `index` (I32, with lanes). The index is taken modulo the wave
        size, or with `out_of_range_zero` an index of the wave size or more gives 0. `disabled` says what a
        source lane that EXEC disables gives: "zero" (ds_bpermute) or "read" (its register, as v_permlane with
        fetch-inactive, ds_swizzle). "push" (ds_permute): each enabled lane sends its value to lane `index`
        modulo the wave size; the highest sender wins; a lane to which nobody sends gets 0.
        """
        if value.type is not I32 or index.type is not I32:
            raise TypeError(f"lane_permute of {value!r} by {index!r}: not i32")
        if direction == "push":
            return self.graph.value("permute_push", I32, value, index, lanes=True)
        if direction != "pull" or disabled not in ("zero", "read"):
            raise ValueError(f"lane_permute: direction {direction!r}, disabled {disabled!r}")
        active = self.const(I1, 1) if disabled == "read" else self.permute_active(index)
        result = self.graph.value("permute_pull", I32, value, index, lanes=True)
        if out_of_range_zero:
            active = self.and_(active, self.ult(index, self.wave_size))
        return self.select(active, result, self.const(I32, 0))

    def permute_active(self, index: Value) -> Value:
        """For each lane, whether EXEC enables lane `index` (I32, modulo the wave size)."""
        return self.graph.value("permute_active", I1, index, lanes=True)
