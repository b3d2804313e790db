"""Waves that run together: a group has one program counter, its registers are arrays over its waves.

Arrays of registers are never changed in place, so groups may share them. When a group splits, the part that
leaves takes its rows of a register only when it first reads it; the part that stays keeps rows of departed
waves, masked by `alive`, until fewer than three quarters are alive. When groups join, a register that neither
has written since they split is found again instead of being put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.isa.lineage import Part, Rows, Source
from pytest_amdgpu.emulator.isa.numpy_ops import uniform
from pytest_amdgpu.emulator.isa.registers import Register

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.chunk import Chunk

M0_SLOT, SCC_SLOT, EXEC_SLOT = 128, 129, 130
SCALAR_SLOTS = 131
VECTOR_SLOTS = 512
GPR_INDEX_SHIFT = 27
"""MODE.GPR_IDX_EN of gfx9 (bit 27); which operands are indexed is kept in the bits above it."""
_DTYPES = [np.uint32] * 129 + [np.bool_, np.uint64]
QUANTUM = 512
"""Blocks that a group may run while others wait before it is put back."""
_WORK_ITEM_IDS = {0, 1, 2}
_DEEP = 12
"""So many splits and joins deep, registers are copied rather than remembered."""


def slot(register: Register) -> int:
    """Return the position of a scalar register in `Group.s`."""
    kind, index = register
    return {"s": index, "m0": M0_SLOT, "scc": SCC_SLOT, "exec": EXEC_SLOT}[kind]


class Group:
    """Waves with the same program counter. `waves` are their numbers in the chunk, ascending."""

    def __init__(
        self, chunk: Chunk, pc: int, waves: Rows, v: list[Any], s: list[Any], mode: int, source: Source
    ) -> None:
        self.chunk = chunk
        self.memory = chunk.memory
        self.constants = chunk.constants
        self.pc = pc
        self.code_base = pc
        self.v = v
        self.s = s
        self.mode = mode
        self.source = source
        self.penalty = 0
        """How often the group has been put back: those with less go first."""
        self.patience = QUANTUM
        """Blocks it may still run while others wait."""
        self.parked = False
        self._set_waves(waves)
        self.set_exec(s[EXEC_SLOT])

    def _set_waves(self, waves: Rows) -> None:
        self.waves = waves
        self.alive: npt.NDArray[np.bool_] | None = None
        self.count = len(waves)
        self.shape = (self.count, self.chunk.wave_size)
        self.lds_base = self.chunk.lds_bases[waves]
        first = int(waves[0])
        in_row = int(waves[-1]) - first + 1 == self.count
        self.chunk_rows: Any = slice(first, first + self.count) if in_row else waves
        """Which rows of an array over all waves of the chunk are the group's."""
        self.chunk_slots = waves[:, None]

    # ---- EXEC ---------------------------------------------------------------------------------------------

    def set_exec(self, bits: Any) -> None:
        """Set EXEC: a Python int, or an array [waves, 1] of uint64."""
        if type(bits) is not int:
            bits = uniform(bits)
        self.s[EXEC_SLOT] = bits
        self.full = type(bits) is int and bits == self.chunk.full_exec
        self._exec_lanes: Any = None
        self._exec_mask: Any = None
        self._active: Any = False

    @property
    def exec_lanes(self) -> Any:
        """EXEC as truth values [waves, lanes]."""
        if self._exec_lanes is None:
            self._exec_lanes = self.lanes(self.s[EXEC_SLOT])
        return self._exec_lanes

    @property
    def exec_mask(self) -> Any:
        """EXEC as 32-bit masks [waves, lanes], all ones where enabled."""
        if self._exec_mask is None:
            self._exec_mask = self.constants.wide_mask(self.exec_lanes, self.s[EXEC_SLOT], self.count)
        return self._exec_mask

    @property
    def active(self) -> Any:
        """Which lanes may touch memory, as truth values [waves, lanes]; None for all."""
        if self._active is False:
            if self.full and self.alive is None:
                self._active = None
            elif self.alive is None:
                self._active = self.exec_lanes
            else:
                self._active = self.exec_lanes & self.alive[:, None]
        return self._active

    # ---- what generated code calls ------------------------------------------------------------------------

    @property
    def lane_id(self) -> Any:
        """Each lane's number [waves, lanes]."""
        return self.constants.lane_id(self.count)

    @property
    def all_lanes(self) -> Any:
        """True in every lane."""
        return self.lanes(self.chunk.full_exec)

    def splat(self, value: Any) -> Any:
        """A scalar in every lane."""
        if type(value) is int:
            return self.constants.splat(value, self.count)
        return np.full(self.shape, value, np.asarray(value).dtype)

    def lanes(self, bits: Any) -> Any:
        """Bit `lane` of a mask as truth value [waves, lanes]."""
        if type(bits) is int:
            return self.constants.mask_lanes(bits, self.count)
        octets = np.ascontiguousarray(bits).view(np.uint8)
        return np.unpackbits(octets, axis=1, count=self.shape[1], bitorder="little").view(np.bool_)

    def ballot(self, condition: Any) -> Any:
        """The enabled lanes where `condition` holds, as mask."""
        bits = self.s[EXEC_SLOT]
        if self.count == 1:
            return int.from_bytes(np.packbits(condition, bitorder="little").tobytes(), "little") & bits
        if condition.all():
            return bits
        if not condition.any():
            return 0
        octets = np.packbits(condition, axis=1, bitorder="little")
        packed = octets.view(np.uint64 if self.shape[1] == 64 else np.uint32).astype(np.uint64)
        if self.full:
            return packed
        return packed & (np.uint64(bits) if type(bits) is int else bits)

    def register_at(self, index: int, offset: Any) -> Any:
        """Vector register `index + offset`; IllegalInstruction if there is none."""
        if type(offset) is int:
            if not 0 <= index + offset < VECTOR_SLOTS:
                raise IllegalInstruction(self.pc, (), f"vector register {index} + {offset:#x} does not exist")
            self.need((index + offset,))
            return self.v[index + offset]
        result = np.zeros(self.shape, np.uint32)
        for value in self._living_values(offset):
            rows = offset[:, 0] == value
            result[rows] = self.register_at(index, value)[rows]
        return result

    def set_register_at(self, index: int, offset: Any, value: Any) -> None:
        """Write vector register `index + offset` where EXEC enables."""
        for one in [offset] if type(offset) is int else self._living_values(offset):
            old = self.register_at(index, one)
            chosen = self.exec_lanes & (offset == one)
            self.v[index + one] = np.where(chosen, value, old).astype(np.uint32)

    def _living_values(self, scalar: Any) -> list[int]:
        """The different values of a scalar in waves that are still here."""
        values: list[int] = np.unique(scalar[self.living]).tolist()
        return values

    def gpr_index_mode(self, mask: int | None) -> None:
        """Switch indexing of vector registers by M0 on or off; see `GPR_INDEX_SHIFT`."""
        self.mode &= (1 << GPR_INDEX_SHIFT) - 1
        if mask is not None:
            self.mode |= (mask << 1 | 1) << GPR_INDEX_SHIFT

    def getreg(self, simm16: int) -> Any:
        """Read a field of a hardware register."""
        return self.chunk.getreg(self, simm16)

    def setreg(self, simm16: int, value: Any) -> None:
        """Write a field of a hardware register."""
        self.chunk.setreg(self, simm16, value)

    def clock(self, kind: str) -> int:
        """Read a counter."""
        return self.chunk.clock(kind)

    def message(self, simm16: int, m0: Any) -> None:
        """Send a message."""
        self.chunk.message(self, simm16, m0)

    # ---- splitting and joining ----------------------------------------------------------------------------

    @property
    def living(self) -> Rows:
        """Rows of the waves that are still here."""
        return np.arange(self.count) if self.alive is None else np.flatnonzero(self.alive)

    def need(self, indices: Iterable[int]) -> None:
        """Fetch registers that are still where the group came from."""
        v = self.v
        for index in indices:
            if v[index] is None:
                v[index] = self.source.get(index)

    def extract(self, rows: Rows) -> Group:
        """Make a group of the waves in `rows` and remove them here; they must not be all."""
        leaving = self._subset(rows, list(self.v))
        alive = self.alive.copy() if self.alive is not None else np.ones(self.count, np.bool_)
        alive[rows] = False
        self.alive = alive
        self._active = False
        left = int(alive.sum())
        if left * 4 < self.count * 3:
            staying = self._subset(np.flatnonzero(alive), self.v)
            self.v, self.s, self.source = staying.v, staying.s, staying.source
            self._set_waves(staying.waves)
            self.set_exec(self.s[EXEC_SLOT])
        return leaving

    def _subset(self, rows: Rows, registers: list[Any]) -> Group:
        s = [x if type(x) is int or type(x) is bool else uniform(x[rows]) for x in self.s]
        source = Source([Part(registers, self.source, rows, None)], len(rows))
        group = Group(self.chunk, self.pc, self.waves[rows], [None] * VECTOR_SLOTS, s, self.mode, source)
        group.penalty, group.parked = self.penalty, self.parked
        group.settle()
        return group

    def settle(self) -> None:
        """Copy what is remembered, once remembering has become deep."""
        if self.source.depth > _DEEP:
            # Registers that no block has written so far are undefined in all waves.
            self.need(self.chunk.written | _WORK_ITEM_IDS)
            self.source = Source((), self.count, self.chunk.undefined)

    @staticmethod
    def join(groups: Sequence[Group]) -> Group:
        """Make one group of several that have the same program counter and mode."""
        living = [group.living for group in groups]
        waves = np.concatenate([group.waves[rows] for group, rows in zip(groups, living, strict=True)])
        order = np.argsort(waves)
        position = np.empty(len(waves), np.intp)
        position[order] = np.arange(len(waves))
        parts, start = [], 0
        for group, rows in zip(groups, living, strict=True):
            parts.append(Part(list(group.v), group.source, rows, position[start : start + len(rows)]))
            start += len(rows)
        s = [
            _join_scalar(values, parts, len(waves), dtype)
            for values, dtype in zip(zip(*[group.s for group in groups], strict=True), _DTYPES, strict=True)
        ]
        first = groups[0]
        source = Source(parts, len(waves))
        joined = Group(first.chunk, first.pc, waves[order], [None] * VECTOR_SLOTS, s, first.mode, source)
        joined.penalty = max(group.penalty for group in groups)
        joined.parked = first.parked
        joined.settle()
        return joined


def _join_scalar(values: tuple[Any, ...], parts: Sequence[Part], count: int, dtype: Any) -> Any:
    first = values[0]
    if type(first) is int or type(first) is bool:
        for value in values:
            # Most scalars are the same objects as before the groups parted.
            if value is not first and (type(value) is not type(first) or value != first):
                break
        else:
            return first
    joined = np.empty((count, 1), dtype)
    for value, part in zip(values, parts, strict=True):
        joined[part.positions] = value if type(value) in (int, bool) else value[part.rows]
    return joined
