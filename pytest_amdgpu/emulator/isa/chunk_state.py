"""What the waves of some workgroups share and ask for: LDS, private memory, places, hardware registers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa import hwreg
from pytest_amdgpu.emulator.isa.decode.instruction import FLAT_SCRATCH
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.isa.gather import Store
from pytest_amdgpu.emulator.isa.lane_constants import LaneConstants
from pytest_amdgpu.emulator.isa.launch import UNDEFINED
from pytest_amdgpu.families.shader_rules import FlatScratch

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState
    from pytest_amdgpu.emulator.isa.launch import Launch
    from pytest_amdgpu.emulator.isa.memory_access import MemoryAccess
    from pytest_amdgpu.emulator.isa.waves import Group
    from pytest_amdgpu.emulator.placement import Claim

MSG_INTERRUPT, MSG_DEALLOC_VGPRS = 1, 3
_UNDEFINED_ADDRESS = UNDEFINED << 32 | UNDEFINED


class ChunkState:
    """The state of consecutive workgroups besides the registers of their waves."""

    def __init__(
        self,
        state: DispatchState,
        launch: Launch,
        memory: MemoryAccess,
        first: int,
        count: int,
        scratch_slot: int,
        claim: Claim | None,
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
        self.first, self.count = first, count
        self.constants = LaneConstants(state.wave_size)
        self.undefined = np.full((1, state.wave_size), UNDEFINED, np.uint32)
        self._workgroup = launch.workgroup
        self._index = launch.index
        self.lds_bases = (launch.workgroup * stride).astype(np.int64)[:, None]
        self._living = launch.waves_per_workgroup.copy()
        """Waves of each workgroup that have not ended."""
        self.scratch_start = state.scratch_base + scratch_slot * state.scratch_wave_bytes
        self.scratch_bytes = launch.count * state.scratch_wave_bytes
        self.scratch_area: tuple[int, Any] | None = None
        """The scratch memory as `scratch.ScratchMemory` sees it, and for which version of the address
        space.
        """
        slots = (np.arange(launch.count) + scratch_slot).astype(np.uint64)[:, None]
        self._scratch_offsets = slots * np.uint64(state.scratch_wave_bytes)
        self._flat_scratch = np.full((launch.count, 1), _UNDEFINED_ADDRESS, np.uint64)

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
