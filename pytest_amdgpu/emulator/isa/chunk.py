"""Runs the waves of some workgroups to their end.

Waves with the same program counter run as one group. Of several groups the one with the lowest program
counter goes first, so that waves that parted meet again; a group that has run long while others waited is put
back, so that a loop that waits for another wave ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.chunk_state import ChunkState
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction, NotEmulatedError
from pytest_amdgpu.emulator.isa.execute import execute
from pytest_amdgpu.emulator.isa.launch import Launch
from pytest_amdgpu.emulator.isa.lineage import Source
from pytest_amdgpu.emulator.isa.program import Program
from pytest_amdgpu.emulator.isa.waves import QUANTUM, Group
from pytest_amdgpu.emulator.memory import PoisonConsumed, VmFault

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState
    from pytest_amdgpu.emulator.isa.memory_access import MemoryAccess
    from pytest_amdgpu.emulator.isa.translate import Block
    from pytest_amdgpu.emulator.placement import Claim


class Chunk(ChunkState):
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
        launch = Launch(state, first, count)
        super().__init__(state, launch, memory, first, count, scratch_slot, claim)
        self._program = program
        self.written = program.written
        self._arrived = np.zeros(count, np.int64)
        """Waves of each workgroup that wait at its barrier."""
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
            result = execute(g, block)
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
