"""Runs the waves of some workgroups to their end.

Waves with the same program counter run as one group. Of several groups the one with the lowest program
counter goes first, so that waves that parted meet again; a group that has run long while others waited is put
back, so that a loop that waits for another wave ends.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa import hwreg
from pytest_amdgpu.emulator.isa.decode.instruction import FLAT_SCRATCH
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction, NotEmulatedError
from pytest_amdgpu.emulator.isa.gather import Store
from pytest_amdgpu.emulator.isa.lane_constants import LaneConstants
from pytest_amdgpu.emulator.isa.launch import UNDEFINED, Launch
from pytest_amdgpu.emulator.isa.lineage import Source
from pytest_amdgpu.emulator.isa.numpy_backend import compile_block
from pytest_amdgpu.emulator.isa.numpy_emit import VARIANTS
from pytest_amdgpu.emulator.isa.program import Program
from pytest_amdgpu.emulator.isa.translate import Block
from pytest_amdgpu.emulator.isa.waves import QUANTUM, Group
from pytest_amdgpu.emulator.memory import PoisonConsumed, VmFault
from pytest_amdgpu.families.shader_rules import FlatScratch

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState
    from pytest_amdgpu.emulator.isa.memory_access import MemoryAccess
    from pytest_amdgpu.emulator.placement import Claim

MSG_INTERRUPT, MSG_DEALLOC_VGPRS = 1, 3
_UNDEFINED_ADDRESS = UNDEFINED << 32 | UNDEFINED


class Chunk:
    """The running state of consecutive workgroups."""

    def __init__(
        self,
        state: DispatchState,
        program: Program,
        memory: MemoryAccess,
        first: int,
        count: int,
        scratch_slot: int = 0,
        claim: Claim | None = None,
    ) -> None:
        self.state = state
        self.claim = claim
        """Places of the workgroups; None while they are preempted (or if places do not matter)."""
        self.memory = memory
        self.wave_size = state.wave_size
        self.full_exec = (1 << state.wave_size) - 1
        self.lds_bytes = state.lds_bytes
        # A guard keeps items that begin in one workgroup's LDS from reaching into the next one's.
        stride = self._lds_stride = (state.lds_bytes + 15) // 8 * 8
        self.lds = Store(np.full(max(count * stride, 8) // 4, UNDEFINED, np.uint32).view(np.uint8))
        self.scratch_lane_bytes = state.scratch_wave_bytes // state.wave_size
        self._program = program
        self.first, self.count = first, count
        self.constants = LaneConstants(state.wave_size)
        self.undefined = np.full((1, state.wave_size), UNDEFINED, np.uint32)
        self.written = program.written
        launch = Launch(state, first, count)
        self._workgroup = launch.workgroup
        self._index = launch.index
        self.lds_bases = (launch.workgroup * stride).astype(np.int64)[:, None]
        self._living = launch.waves_per_workgroup.copy()
        self._arrived = np.zeros(count, np.int64)
        self.scratch_start = state.scratch_base + scratch_slot * state.scratch_wave_bytes
        self.scratch_bytes = launch.count * state.scratch_wave_bytes
        self.scratch_area: tuple[int, Any] | None = None
        """The scratch memory as `scratch.ScratchMemory` sees it, and for which version of the address
        space.
        """
        slots = (np.arange(launch.count) + scratch_slot).astype(np.uint64)[:, None]
        self._scratch_offsets = slots * np.uint64(state.scratch_wave_bytes)
        self._flat_scratch = np.full((launch.count, 1), _UNDEFINED_ADDRESS, np.uint64)
        self._ready: list[Group] = []
        self._parked: list[Group] = []
        self.yielded = False
        """Whether `run` ended early because the only group that can run asked for patience."""
        if launch.count:
            mode = state.rsrc1 >> 12 & 0xFF
            if state.family.shader.clamp_and_ieee_in_mode:
                # Elsewhere other things are in their places.
                mode |= (state.rsrc1 >> 21 & 1) << 8 | (state.rsrc1 >> 23 & 1) << 9
            self._ready.append(
                Group(
                    self,
                    state.entry,
                    np.arange(launch.count),
                    launch.vectors(),
                    launch.scalars(self._scratch_offsets),
                    mode,
                    Source((), launch.count, self.undefined),
                )
            )

    # ---- what groups ask for ------------------------------------------------------------------------------

    def getreg(self, g: Group, simm16: int) -> Any:
        """Read a field of a hardware register."""
        return hwreg.read(g, simm16)

    def setreg(self, g: Group, simm16: int, value: Any) -> None:
        """Write a field of a hardware register."""
        hwreg.write(g, simm16, value)

    def clock(self, kind: str) -> int:
        """Read a counter: "cycles" counts nanoseconds, "realtime" the GPU's constant-frequency clock."""
        return time.perf_counter_ns() if kind == "cycles" else self.state.clock()

    def message(self, g: Group, simm16: int, m0: Any) -> None:
        """s_sendmsg."""
        number = simm16 & self.state.family.shader.message_mask
        if number == MSG_INTERRUPT:
            values = [m0] * len(g.living) if type(m0) is int else m0[g.living, 0].tolist()
            for value in values:
                self.state.interrupt(value & 0x7FFFFF)
        elif number != MSG_DEALLOC_VGPRS:
            raise IllegalInstruction(g.pc, (), f"message {simm16:#x} is not emulated")

    def scratch_bases(self, g: Group) -> Any:
        """Address of each wave's private memory [waves, 1]."""
        return self._scratch_offsets[g.waves] + np.uint64(self.state.scratch_base)

    def flat_scratch(self, g: Group) -> Any:
        """FLAT_SCRATCH of each wave [waves, 1]; None where hardware sets it up."""
        kind = self.state.family.shader.flat_scratch
        if kind is FlatScratch.ARCHITECTED:
            return None
        if kind is FlatScratch.HARDWARE_REGISTERS:
            return self._flat_scratch[g.waves]
        low, high = (np.asarray(g.s[FLAT_SCRATCH + half], np.uint64) for half in range(2))
        return high << np.uint64(32) | low

    def set_flat_scratch(self, g: Group, value: Any, *, high: bool) -> None:
        """Write half of the FLAT_SCRATCH hardware register of a group's waves."""
        rows = g.living
        halves = self._flat_scratch.view(np.uint32)
        halves[g.waves[rows], int(high)] = value if type(value) is int else value[rows, 0]

    def place_register(self, g: Group, number: int) -> Any:
        """A hardware register that names the places of a group's waves [waves, 1]; see `hardware_ids`."""
        if self.claim is None:
            return np.zeros((1, 1), np.uint32)
        fields = self.state.family.hardware_ids
        values = self.claim.register({name: f for name, f in fields.items() if f.register == number})
        return values[self._workgroup[g.waves], self._index[g.waves] % values.shape[1]][:, None]

    def xccs(self) -> list[int]:
        """The XCC of each workgroup."""
        if self.claim is None:
            return [0] * self.count
        found: list[int] = self.claim.xccs.tolist()
        return found

    def position(self, wave: int) -> tuple[int, int]:
        """Workgroup of a wave, from 0 in the chunk, and position in it."""
        return int(self._workgroup[wave]), int(self._index[wave])

    def lds_of(self, workgroup: int) -> bytes:
        """The LDS of a workgroup."""
        start = workgroup * self._lds_stride
        return self.lds.data[start : start + self.lds_bytes].tobytes()

    def leave(self, *, ended_only: bool = False) -> None:
        """Give up the places of all workgroups, or of those that have ended."""
        if self.claim is not None:
            self.claim.release(self._living == 0 if ended_only else None)
            if not ended_only:
                self.claim = None

    # ---- scheduling ---------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether every wave has ended."""
        return not self._ready and not self._parked

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of waves that have not ended."""
        return (*self._ready, *self._parked)

    def run(self, budget: int) -> int:
        """Run up to about `budget` blocks, less if all that can run waits (s_sleep); return how many were
        run."""
        used = 0
        self.yielded = False
        while used < budget and self._ready and not self.yielded:
            group = self._take()
            try:
                used += self._run_group(group, budget - used)
            except (VmFault, PoisonConsumed, IllegalInstruction):
                # Its waves are halted, with what they had at the beginning of the block.
                self._ready.append(group)
                raise
        if not self._ready and self._parked:
            raise RuntimeError(f"no wave can go on: {self.describe()}")
        return used

    def _take(self) -> Group:
        """Remove the group that goes next, with all that wait at the same place."""
        ready = self._ready
        if len(ready) == 1:
            return ready.pop()
        best = min(ready, key=lambda group: (group.penalty, group.pc))
        same = [group for group in ready if group.pc == best.pc and group.mode == best.mode]
        if len(same) == 1:
            ready.remove(best)
            return best
        self._ready = [group for group in ready if group.pc != best.pc or group.mode != best.mode]
        return Group.join(same)

    def _run_group(self, g: Group, budget: int) -> int:
        """Run a group until it parts, parks, ends, passes others or has used its turn; return the blocks
        run."""
        used = 0
        others = self._others(g)
        turn = budget if others is None else min(budget, g.patience)
        table = self._program.table(g.mode)
        while used < turn:
            pc = g.pc
            block = table.get(pc)
            if block is None:
                block = self._program.fetch(pc, g.mode)
            v = g.v
            for index in block.vector_reads:
                if v[index] is None:
                    v[index] = g.source.get(index)
            result = self._execute(g, block)
            used += 1
            kind = block.kind
            if kind == "fall":
                g.pc = pc + block.next
            elif kind == "branch":
                if type(result) is bool or result is None:
                    g.pc = pc + (block.next if result is False else block.target)
                else:
                    self._branch(g, result, pc + block.target, pc + block.next)
                    others = self._others(g)
                    turn = min(turn, used + g.patience)
            elif kind == "end":
                self._end(g)
                return used
            elif kind == "barrier":
                g.pc = pc + block.next
                if not self._barrier(g):
                    return used
            elif kind == "jump":
                self._jump(g, result)
                others = self._others(g)
            elif kind == "mode":
                g.pc = pc + block.next
                table = self._program.table(g.mode)
            elif kind == "yield":
                g.pc = pc + block.next
                g.penalty += 1
                self.yielded = others is None
                break
            else:
                self._illegal(g, block)
            if others is not None and g.pc >= others:
                break
        if others is not None:
            g.patience -= used
            if g.patience <= 0:
                g.penalty += 1
                g.patience = QUANTUM
        self._ready.append(g)
        return used

    def _others(self, g: Group) -> int | None:
        """The lowest program counter of groups that do not stand back behind this one."""
        return min((group.pc for group in self._ready if group.penalty <= g.penalty), default=None)

    def _execute(self, g: Group, block: Block) -> Any:
        """Run one block on a group in the variant that fits it."""
        s = g.s
        index: int = g.full
        if g.count > 1:
            index += 2
            for register in block.scalar_slots:
                if type(s[register]) not in _PYTHON:
                    index += 2
                    break
        code = block.compiled[index]
        if code is None:
            code = block.compiled[index] = compile_block(block, VARIANTS[index])
        g.code_base = g.pc
        try:
            return code.function(g, g.v, s)
        except (VmFault, PoisonConsumed, IllegalInstruction) as error:
            error.add_note(self._where(g, block, code, error))
            raise
        except Exception as error:
            error.add_note(f"{self._where(g, block, code, error)}\n{code.source}")
            raise

    def _where(self, g: Group, block: Block, code: Any, error: BaseException) -> str:
        """Name the instruction in which an error came up."""
        trace = error.__traceback__
        offset = 0
        while trace is not None:
            if trace.tb_frame.f_code is code.code:
                offset = code.line_offsets[trace.tb_lineno - 1]
            trace = trace.tb_next
        inst = next((inst for inst in block.instructions if inst.offset == offset), block.instructions[-1])
        words = " ".join(f"{word:08x}" for word in inst.words)
        return f"at {g.pc + inst.offset:#x}: {inst.name} [{words}]"

    def _branch(self, g: Group, condition: Any, target: int, following: int) -> None:
        """Go on where each wave's condition says; part if they differ."""
        taken = condition[:, 0]
        if g.alive is not None:
            living = np.flatnonzero(g.alive)
            decisions = taken[living]
            rows = living[decisions]
            count = len(living)
        else:
            rows = np.flatnonzero(taken)
            count = len(taken)
        if len(rows) == count:
            g.pc = target
            return
        if len(rows) == 0:
            g.pc = following
            return
        if 2 * len(rows) > count:
            others = np.flatnonzero(~taken if g.alive is None else ~taken & g.alive)
            leaving = g.extract(others)
            leaving.pc, g.pc = following, target
        else:
            leaving = g.extract(rows)
            leaving.pc, g.pc = target, following
        self._ready.append(leaving)

    def _jump(self, g: Group, address: Any) -> None:
        """Go on at each wave's address; part if they differ."""
        if type(address) is int:
            g.pc = address
            return
        living = g.living
        waves, targets = g.waves[living], address[living, 0]
        places = np.unique(targets).tolist()
        for place in places[1:]:
            leaving = g.extract(np.searchsorted(g.waves, waves[targets == place]))
            leaving.pc = place
            self._ready.append(leaving)
        g.pc = places[0]

    # ---- barriers and ends --------------------------------------------------------------------------------

    def _workgroups(self, g: Group) -> Any:
        """Workgroup of each living wave."""
        waves = g.waves if g.alive is None else g.waves[g.alive]
        return self._workgroup[waves]

    def _barrier(self, g: Group) -> bool:
        """Arrive at a barrier; return whether the group goes on at once."""
        np.add.at(self._arrived, self._workgroups(g), 1)
        complete = self._arrived == self._living
        if complete[self._workgroups(g)].all() and not self._parked:
            self._arrived[complete] = 0
            return True
        g.parked = True
        self._parked.append(g)
        self._release()
        return False

    def _end(self, g: Group) -> None:
        np.subtract.at(self._living, self._workgroups(g), 1)
        if self._parked:
            self._release()

    def _release(self) -> None:
        """Let waves go on whose workgroup is complete at its barrier."""
        complete = (self._arrived == self._living) & (self._arrived > 0)
        if not complete.any():
            return
        for g in self._parked[:]:
            living = g.living
            free = living[complete[self._workgroup[g.waves[living]]]]
            if len(free) == len(living):
                self._parked.remove(g)
                leaving = g
            elif len(free):
                leaving = g.extract(free)
            else:
                continue
            leaving.parked = False
            self._ready.append(leaving)
        self._arrived[complete] = 0

    def _illegal(self, g: Group, block: Block) -> None:
        inst = block.instructions[-1]
        raise NotEmulatedError(g.pc + inst.offset, inst.words, f"{inst.name}: {block.text}")

    def describe(self) -> str:
        """Say where the waves are, for diagnosis."""
        lines = [
            f"{len(group.living)} waves {'at a barrier before' if group.parked else 'at'} {group.pc:#x}"
            for group in self._ready + self._parked
        ]
        return ", ".join(lines) or "all waves have ended"


_PYTHON = frozenset((int, bool))
