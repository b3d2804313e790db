"""A dispatch of a grid to the emulated compute units: the entry of the engines into the instruction set."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.chunk import Chunk
    from pytest_amdgpu.emulator.memory import AddressSpace
    from pytest_amdgpu.emulator.placement import Placement
    from pytest_amdgpu.families.registry import Family

Triple = tuple[int, int, int]

LANES = 32768
"""Lanes that run together: numpy's cost per call is small beside the work, and registers stay in the
cache."""
_LIVE_CHUNKS = 16
_SLICE = 20_000
_PATIENCE = 100e-6
_LDS_LIMIT = 64 << 20


def _default_clock() -> int:
    return time.monotonic_ns() // 10


def _no_interrupt(number: int) -> None:
    """Drop a message that nobody listens to."""


@dataclass(frozen=True)
class DispatchState:
    """Everything that waves start from.

    `workgroups` is the end, per axis, of the workgroup ids that are launched (COMPUTE_DIM), `start` their
    beginning; `block` counts work-items of a workgroup, `grid` of all workgroups: workgroups that stick out
    have fewer work-items. Sizes are in bytes. `scratch_base` is the address of the private memory of the
    first wave, which has `scratch_wave_bytes`; `scratch_waves` waves have some (0: as many as fit into the
    mapping at `scratch_base`). `clock` is the GPU's constant-frequency counter, `interrupt` takes the payload
    of s_sendmsg(MSG_INTERRUPT). `placement` finds places on compute units; without it every workgroup runs
    on unit 0.
    """

    family: Family
    memory: AddressSpace
    entry: int
    rsrc1: int
    rsrc2: int
    rsrc3: int
    user_data: tuple[int, ...]
    initiator: int
    workgroups: Triple
    start: Triple
    block: Triple
    grid: Triple
    wave_size: int
    scratch_base: int
    scratch_wave_bytes: int
    lds_bytes: int
    num_xcc: int = 1
    scratch_waves: int = 0
    clock: Callable[[], int] = _default_clock
    interrupt: Callable[[int], None] = _no_interrupt
    placement: Placement | None = None


class Dispatch:
    """Runs a dispatch piece by piece.

    Some workgroups run together as a chunk. A chunk that does not come to its end within a slice is joined by
    the next one, so that workgroups may wait for each other as far as `_LIVE_CHUNKS`, the scratch memory and
    the places on compute units go.
    """

    def __init__(self, state: DispatchState) -> None:
        from pytest_amdgpu.emulator.isa.memory_access import MemoryAccess
        from pytest_amdgpu.emulator.isa.program import Program

        self.state = state
        self._program = Program(state.family, state.wave_size, state.memory)
        self._memory = MemoryAccess(state.memory)
        self._chunks: deque[Chunk] = deque()
        self._next = 0
        self._slice = _SLICE
        spans = [max(end - start, 0) for end, start in zip(state.workgroups, state.start, strict=True)]
        self._count = spans[0] * spans[1] * spans[2]
        items = state.block[0] * state.block[1] * state.block[2]
        waves = max(-(-items // state.wave_size), 1)
        per_chunk = LANES // (waves * state.wave_size)
        if state.lds_bytes:
            per_chunk = min(per_chunk, _LDS_LIMIT // state.lds_bytes)
        self._live = _LIVE_CHUNKS
        if state.scratch_wave_bytes:
            slots = state.scratch_waves or self._scratch_room()
            per_chunk = min(per_chunk, slots // waves)
            self._chunk_waves = max(per_chunk, 1) * waves
            self._live = max(min(_LIVE_CHUNKS, slots // self._chunk_waves), 1)
        else:
            self._chunk_waves = 0
        self._per_chunk = max(per_chunk, 1)
        self._free_slots = list(range(self._live))
        self._slot_of: dict[Chunk, int] = {}
        self.stalled = False
        """Whether the last `run` ran nothing, because no compute unit has room."""

    def _scratch_room(self) -> int:
        """Waves whose private memory fits into the mapping at the scratch base."""
        state = self.state
        mapping = state.memory.find(state.scratch_base)
        return (mapping.end - state.scratch_base) // state.scratch_wave_bytes if mapping is not None else 1

    def run(self, budget: int) -> bool:
        """Run about `budget` basic blocks; True when every wave has ended.

        Raises VmFault and IllegalInstruction of the first wave that meets one; the dispatch is then over.
        """
        self.stalled = False
        with np.errstate(all="ignore"):
            while budget > 0:
                if not self._chunks and not self._start():
                    if self._next >= self._count:
                        return True
                    self.stalled = True
                    return False
                chunk = self._chunks[0]
                if not self._place(chunk):
                    if not any(self._place(other) for other in self._chunks):
                        self.stalled = True
                        return False
                    self._chunks.rotate(-1)
                    continue
                used = max(chunk.run(min(budget, self._slice)), 1)
                budget -= used
                self._slice -= used
                if chunk.done:
                    self._chunks.popleft()
                    chunk.leave()
                    self._free_slots.append(self._slot_of.pop(chunk))
                    self._slice = _SLICE
                    continue
                if self._slice > 0 and not chunk.yielded:
                    continue
                self._slice = _SLICE
                chunk.leave(ended_only=True)
                self._start()
                if chunk.yielded and len(self._chunks) == 1:
                    # Whoever the waves wait for runs in another thread.
                    time.sleep(_PATIENCE)
                self._chunks.rotate(-1)
        return False

    def _start(self) -> bool:
        """Launch the next workgroups, if there are any and there is room; return whether there were."""
        from pytest_amdgpu.emulator.isa.chunk import Chunk

        if self._next >= self._count or not self._free_slots:
            return False
        remaining = self._count - self._next
        count = min(self._per_chunk, remaining)
        claim = None
        if self.state.placement is not None:
            claim = self.state.placement.claim(self._next, count, remaining=remaining)
            if claim is None:
                return False
            count = claim.count
        place = self._free_slots.pop()
        chunk = Chunk(
            self.state, self._program, self._memory, self._next, count, place * self._chunk_waves, claim
        )
        self._next += count
        self._slot_of[chunk] = place
        self._chunks.append(chunk)
        return True

    def suspend(self) -> None:
        """Leave the compute units, because the queue is preempted or ends; `run` takes places again."""
        for chunk in self._chunks:
            chunk.leave()
        if self.state.placement is not None:
            self.state.placement.leave()

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The workgroups that have been started and have not ended."""
        return tuple(self._chunks)

    def _place(self, chunk: Chunk) -> bool:
        """Give a chunk that was suspended a place again, if there is one."""
        placement = self.state.placement
        if placement is not None and chunk.claim is None:
            chunk.claim = placement.reclaim(chunk.first, chunk.count)
        return placement is None or chunk.claim is not None

    def describe(self) -> str:
        """Say where the waves are, for diagnosis."""
        lines = [chunk.describe() for chunk in self._chunks]
        waiting = self._count - self._next
        return "; ".join(lines) + (f"; {waiting} workgroups not started" if waiting else "")
