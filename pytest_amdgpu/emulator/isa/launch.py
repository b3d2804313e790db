"""The state in which the waves of a workgroup start (LLVM AMDGPU usage, "Initial Kernel Execution State")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.emulator.isa.decode.instruction import TTMP0
from pytest_amdgpu.emulator.isa.numpy_ops import uniform
from pytest_amdgpu.emulator.isa.waves import EXEC_SLOT, M0_SLOT, SCALAR_SLOTS, SCC_SLOT, VECTOR_SLOTS

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState

UNDEFINED = 0xBADC0DE5
"""What registers hold that nobody has set: hardware leaves there what an earlier wave left."""


class Launch:
    """The waves of consecutive workgroups, counted along x, then y, then z.

    `workgroup` is the number of each wave's workgroup, from 0 in this launch; `index` its position in the
    workgroup.
    """

    def __init__(self, state: DispatchState, first: int, count: int) -> None:
        self._state = state
        wave_size = state.wave_size
        numbers = np.arange(first, first + count)
        spans = [end - start for end, start in zip(state.workgroups, state.start, strict=True)]
        self.ids = [
            numbers % spans[0] + state.start[0],
            numbers // spans[0] % spans[1] + state.start[1],
            numbers // (spans[0] * spans[1]) + state.start[2],
        ]
        # Work-items per axis: fewer in workgroups that stick out of the grid.
        self.dims = [
            np.minimum(block, np.maximum(grid - ids * block, 0))
            for ids, block, grid in zip(self.ids, state.block, state.grid, strict=True)
        ]
        self.items = self.dims[0] * self.dims[1] * self.dims[2]
        self.waves_per_workgroup = -(-self.items // wave_size)
        self.workgroup = np.repeat(np.arange(count), self.waves_per_workgroup)
        starts = np.cumsum(self.waves_per_workgroup) - self.waves_per_workgroup
        self.index = np.arange(len(self.workgroup)) - starts[self.workgroup]
        self.count = len(self.workgroup)

    def _column(self, values: Any, dtype: Any = np.uint32) -> Any:
        """A value per workgroup as scalar register: a Python int if all waves agree."""
        return uniform(np.ascontiguousarray(values[self.workgroup]).astype(dtype)[:, None])

    def scalars(self, scratch_offsets: Any) -> list[Any]:
        """Scalar registers, M0, SCC, EXEC. `scratch_offsets` are bytes from the scratch base [waves, 1]."""
        state = self._state
        s: list[Any] = [UNDEFINED] * SCALAR_SLOTS
        enabled = state.rsrc2
        user = enabled >> 1 & 31
        s[:user] = (list(state.user_data) + [UNDEFINED] * user)[:user]
        position = user
        in_trap_registers = state.family.shader.workgroup_ids_in_trap_registers
        for axis in range(3):
            if enabled >> (7 + axis) & 1 and not in_trap_registers:
                s[position] = self._column(self.ids[axis])
                position += 1
        if enabled >> 10 & 1:
            s[position] = self._column(self.waves_per_workgroup)
            position += 1
        if enabled & 1 and not state.family.architected_flat_scratch:
            s[position] = uniform(scratch_offsets.astype(np.uint32))
        if in_trap_registers:
            s[TTMP0 + 9] = self._column(self.ids[0])
            s[TTMP0 + 7] = self._column(self.ids[1] | self.ids[2] << 16)
        s[M0_SLOT], s[SCC_SLOT] = UNDEFINED, False
        lanes = self.items[self.workgroup] - self.index * state.wave_size
        lanes = np.minimum(lanes, state.wave_size).astype(np.uint64)
        ones = np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - lanes)
        s[EXEC_SLOT] = uniform(ones[:, None])
        return s

    def vectors(self) -> list[Any]:
        """Vector registers: work-item ids in v0 to v2, or packed in v0 by 10 bits each; None where
        undefined."""
        state = self._state
        wave_size = state.wave_size
        v: list[Any] = [None] * VECTOR_SLOTS
        item = self.index[:, None] * wave_size + np.arange(wave_size)
        columns = [dims[self.workgroup][:, None] for dims in self.dims]
        ids = [item % columns[0], item // columns[0] % columns[1], item // (columns[0] * columns[1])]
        wanted = 1 + (state.rsrc2 >> 11 & 3)
        parts = [axis.astype(np.uint32) for axis in ids[:wanted]]
        if state.family.shader.packed_work_item_ids:
            packed = parts[0]
            for axis, part in enumerate(parts[1:], 1):
                packed = packed | part << np.uint32(10 * axis)
            parts = [packed]
        for index, part in enumerate(parts):
            v[index] = np.ascontiguousarray(part)
        return v
