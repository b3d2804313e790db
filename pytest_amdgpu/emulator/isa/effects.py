"""Memory and control operations of the builder.

Vector memory operations touch memory only in the lanes that EXEC enables and where `where` (I1 with lanes)
holds; loads give 0 in other lanes. Elements have `width` bytes: 1, 2 or 4; narrower than 4 there is one
element, zero-extended or (`signed`) sign-extended to I32. Wider data is several dwords at consecutive
addresses. Addresses may be scalar or have lanes. An access that the page tables refuse stops the wave with a
VmFault, before any lane has stored. Lanes that store to the same address do so in lane order, waves in wave
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_amdgpu.emulator.isa.ir import I1, I32, I64, Value
from pytest_amdgpu.emulator.isa.registers import RegisterFile

_INTEGER_ATOMICS = ("add", "sub", "rsub", "smin", "umin", "smax", "umax", "and", "or", "xor", "inc", "dec")
ATOMIC_OPS = frozenset(
    ("swap", "cmpswap", *_INTEGER_ATOMICS, "fadd", "fmin", "fmax", "pk_add_f16", "pk_add_bf16")
)
"""Names of atomic operations. inc: old >= value ? 0 : old + 1. dec: old == 0 or old > value ? value : old -
1. rsub: value - old. pk_add: two halves in an I32.
"""

_ADDRESS_TYPES = {"global": I64, "flat": I64, "lds": I32, "scratch": I32, "buffer": I64}


class Effects(RegisterFile):
    """Operations with a place in program order."""

    terminator: tuple[str, dict[str, Any]] | None = None
    """How the block ends, if this instruction ends it: kind and facts (for the translator)."""

    # ---- vector memory ------------------------------------------------------------------------------------

    def load(
        self,
        space: str,
        address: Value,
        count: int = 1,
        *,
        width: int = 4,
        signed: bool = False,
        where: Value | None = None,
    ) -> list[Value]:
        """Load `count` elements per lane from `space`: "global", "flat" (address decides), "lds",
        "scratch" or "buffer" (the address is a `buffer_place`).

        Global and flat addresses are I64. LDS addresses are I32, bytes from the start of the workgroup's LDS;
        reads out of its range give 0. Scratch addresses are I32, bytes from the start of the lane's private
        memory. Returns I32 values with lanes, in order of address.
        """
        self._check_access(space, address, width, count)
        effect = self.graph.effect(
            "load",
            address,
            self._where(where),
            offset=self.inst.offset,
            space=space,
            count=count,
            width=width,
            signed=signed,
        )
        return [self.graph.result(effect, I32, True) for _ in range(count)]

    def store(
        self,
        space: str,
        address: Value,
        values: Sequence[Value],
        *,
        width: int = 4,
        where: Value | None = None,
    ) -> None:
        """Store elements (I32 each, of which the low `width` bytes) at consecutive addresses of each lane."""
        self._check_access(space, address, width, len(values))
        for value in values:
            if value.type is not I32:
                raise TypeError(f"{self.inst.name} stores {value!r}, which is not i32")
        data = [value.args[0] if value.op == "blend" else value for value in values]
        self.graph.effect(
            "store", address, self._where(where), *data, offset=self.inst.offset, space=space, width=width
        )

    def atomic(
        self,
        space: str,
        op: str,
        address: Value,
        value: Value,
        *,
        compare: Value | None = None,
        ret: bool = True,
        where: Value | None = None,
    ) -> Value | None:
        """Read-modify-write of a naturally aligned I32, I64, F32 or F64 (the type of `value`) per lane, in
        lane order.

        `op` is one of `ATOMIC_OPS`; cmpswap stores `value` where memory equals `compare`. Returns what memory
        held before (same type, with lanes), or None without `ret`.
        """
        if op not in ATOMIC_OPS:
            raise ValueError(f"{self.inst.name}: no atomic operation {op!r}")
        if (op == "cmpswap") is not (compare is not None):
            raise ValueError(f"{self.inst.name}: cmpswap and nothing else takes a compare value")
        self._check_access(space, address, 4, 1)
        args = [arg.args[0] if arg is not None and arg.op == "blend" else arg for arg in (value, compare)]
        effect = self.graph.effect(
            "atomic",
            address,
            self._where(where),
            *args,
            offset=self.inst.offset,
            space=space,
            op=op,
            type=value.type,
            ret=ret,
        )
        return self.graph.result(effect, value.type, True) if ret else None

    def buffer_place(
        self, descriptor: Sequence[Value], scalar_offset: Value, offset: Value, index: Value | None
    ) -> Value:
        """The address of an element of a buffer, for `load`, `store` and `atomic` on the space "buffer".

        `descriptor` has four scalar I32, `scalar_offset` is a scalar I32, `offset` (bytes) and `index` are
        I32 with or without lanes. Items out of the descriptor's range load 0 and are not stored.
        """
        args = (*descriptor, scalar_offset, offset) + (() if index is None else (index,))
        return self.graph.value("buffer_place", I64, *args, lanes=True)

    def load_global(
        self, address: Value, count: int = 1, width: int = 4, signed: bool = False
    ) -> list[Value]:
        """`load` from global memory."""
        return self.load("global", address, count, width=width, signed=signed)

    def store_global(self, address: Value, values: Sequence[Value], width: int = 4) -> None:
        """`store` to global memory."""
        self.store("global", address, values, width=width)

    def load_flat(self, address: Value, count: int = 1, width: int = 4, signed: bool = False) -> list[Value]:
        """`load` by flat address."""
        return self.load("flat", address, count, width=width, signed=signed)

    def store_flat(self, address: Value, values: Sequence[Value], width: int = 4) -> None:
        """`store` by flat address."""
        self.store("flat", address, values, width=width)

    def load_lds(self, address: Value, count: int = 1, width: int = 4, signed: bool = False) -> list[Value]:
        """`load` from LDS."""
        return self.load("lds", address, count, width=width, signed=signed)

    def store_lds(self, address: Value, values: Sequence[Value], width: int = 4) -> None:
        """`store` to LDS."""
        self.store("lds", address, values, width=width)

    def load_scratch(
        self, address: Value, count: int = 1, width: int = 4, signed: bool = False
    ) -> list[Value]:
        """`load` from private memory."""
        return self.load("scratch", address, count, width=width, signed=signed)

    def store_scratch(self, address: Value, values: Sequence[Value], width: int = 4) -> None:
        """`store` to private memory."""
        self.store("scratch", address, values, width=width)

    def _check_access(self, space: str, address: Value, width: int, count: int) -> None:
        if space not in _ADDRESS_TYPES:
            raise ValueError(f"{self.inst.name}: no memory space {space!r}")
        if address.type is not _ADDRESS_TYPES[space]:
            raise TypeError(f"{self.inst.name}: {space} address {address!r} is not {_ADDRESS_TYPES[space]!r}")
        if width not in (1, 2, 4) or count < 1 or (width < 4 and count > 1):
            raise ValueError(f"{self.inst.name}: cannot access {count} elements of {width} bytes")

    def _where(self, where: Value | None) -> Value | None:
        if where is None or (where.is_const and where.bits):
            return None
        if where.type is not I1:
            raise TypeError(f"{self.inst.name}: predicate {where!r} is not i1")
        return where

    # ---- scalar memory ------------------------------------------------------------------------------------

    def load_scalar(
        self, address: Value, count: int = 1, *, width: int = 4, signed: bool = False
    ) -> list[Value]:
        """Load `count` dwords (or one element of 1 or 2 bytes) at a scalar I64 address; scalar I32 values.

        Dword loads ignore the two low bits of the address, as the scalar cache does.
        """
        if address.type is not I64 or address.lanes:
            raise TypeError(f"{self.inst.name}: address {address!r} is not a scalar i64")
        effect = self.graph.effect(
            "load_scalar", address, offset=self.inst.offset, count=count, width=width, signed=signed
        )
        return [self.graph.result(effect, I32, False) for _ in range(count)]

    # ---- state of the wave --------------------------------------------------------------------------------

    def pc_after(self) -> Value:
        """The address of the instruction that follows, as scalar I64."""
        return self.pc_at(self.inst.offset + self.inst.size)

    def pc_at(self, offset: int) -> Value:
        """The address of an offset in the code (offsets as in `Instruction.offset`), as scalar I64."""
        return self.graph.value("pc", I64, attributes=(offset,), lanes=False)

    def hwreg(self, simm16: int) -> Value:
        """s_getreg_b32: the field of a hardware register that `simm16` names (id, offset, size), as scalar
        I32."""
        effect = self.graph.effect("getreg", offset=self.inst.offset, simm16=simm16 & 0xFFFF)
        return self.graph.result(effect, I32, False)

    def set_hwreg(self, simm16: int, value: Value) -> None:
        """s_setreg_b32: write the field of a hardware register that `simm16` names; ends the block."""
        self.graph.effect("setreg", value, offset=self.inst.offset, simm16=simm16 & 0xFFFF)
        self._end("mode")

    def gpr_index_mode(self, mask: int | None) -> None:
        """s_set_gpr_idx_on, _mode (bits of the operands that M0[7:0] indexes) and _off (None); ends the
        block.

        The semantics write M0; from the next instruction on `src`, `src_dword`, `dst` and `dst_dword` of
        vector instructions take their registers relative to it.
        """
        self.graph.effect("gpr_index_mode", offset=self.inst.offset, mask=mask)
        self._end("mode")

    def clock(self, kind: str) -> Value:
        """A counter as scalar I64: "cycles" (s_memtime) or "realtime" (s_memrealtime, 100 MHz)."""
        if kind not in ("cycles", "realtime"):
            raise ValueError(f"no clock {kind!r}")
        effect = self.graph.effect("clock", offset=self.inst.offset, clock=kind)
        return self.graph.result(effect, I64, False)

    # ---- control ------------------------------------------------------------------------------------------

    def _end(self, kind: str, **facts: Any) -> None:
        if self.terminator is not None:
            raise ValueError(f"{self.inst.name} ends its block twice")
        self.terminator = (kind, facts)

    def branch(self, target_offset: int, condition: Value | None = None) -> None:
        """Go on at `target_offset` (usually `inst.branch_target`), if the scalar I1 `condition` holds."""
        if condition is not None and (condition.type is not I1 or condition.lanes):
            raise TypeError(f"{self.inst.name}: condition {condition!r} is not a scalar i1")
        if condition is not None and condition.is_const:
            if not condition.bits:
                return
            condition = None
        self._end("branch", target=target_offset, condition=condition)

    def jump(self, address: Value) -> None:
        """Go on at a scalar I64 address (s_setpc, s_swappc)."""
        self._end("jump", address=address)

    def end_program(self) -> None:
        """End the wave."""
        self._end("end")

    def barrier(self) -> None:
        """Wait until every wave of the workgroup that has not ended is here."""
        self._end("barrier")

    def wait(self) -> None:
        """Wait for outstanding memory operations: nothing to do, they complete in order."""

    def sleep(self) -> None:
        """Give other waves a turn."""
        self._end("yield")

    def message(self, simm16: int) -> None:
        """s_sendmsg: MSG_INTERRUPT raises the queue's interrupt with M0; deallocation of registers is
        nothing."""
        self.graph.effect("message", self.m0(), offset=self.inst.offset, simm16=simm16 & 0xFFFF)

    def trap(self, number: int) -> None:
        """s_trap: without a trap handler the queue stops with an error that names the trap."""
        self._end("trap", number=number)

    def illegal(self, reason: str) -> None:
        """The instruction cannot be executed: the queue stops, and `reason` is reported with encoding and
        address."""
        self._end("illegal", reason=reason)
