"""What compute units can do wrong: launches, identifiers, LDS, barriers, scratch, EXEC, arithmetic."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from injection import defect, shorten_waits

from pytest_amdgpu.emulator.isa import numpy_lower
from pytest_amdgpu.emulator.isa.chunk import Chunk
from pytest_amdgpu.emulator.isa.dispatch import Dispatch, DispatchState
from pytest_amdgpu.emulator.isa.ir import F32, F64
from pytest_amdgpu.emulator.isa.launch import Launch
from pytest_amdgpu.emulator.isa.memory_access import MemoryAccess
from pytest_amdgpu.emulator.isa.waves import EXEC_SLOT, Group
from pytest_amdgpu.emulator.memory import VmFault


def _after(patch: pytest.MonkeyPatch, owner: type, change: Any) -> None:
    """Call `change(object)` whenever an object was made."""
    make = owner.__init__  # type: ignore[misc]

    def init(self: Any, *arguments: Any, **keywords: Any) -> None:
        make(self, *arguments, **keywords)
        change(self)

    patch.setattr(owner, "__init__", init)


@defect
def a_dispatch_leaves_out_its_last_workgroup(patch: pytest.MonkeyPatch) -> None:
    def change(dispatch: Any) -> None:
        dispatch._count -= 1

    _after(patch, Dispatch, change)


@defect
def workgroups_are_always_whole(patch: pytest.MonkeyPatch) -> None:
    """Workgroups that stick out of the grid run all their work-items."""
    make = Launch.__init__

    def init(self: Launch, state: DispatchState, first: int, count: int) -> None:
        grid = tuple(-(-size // block) * block for size, block in zip(state.grid, state.block, strict=True))
        object.__setattr__(state, "grid", grid)
        make(self, state, first, count)

    patch.setattr(Launch, "__init__", init)


@defect
def workgroup_ids_y_and_z_are_swapped(patch: pytest.MonkeyPatch) -> None:
    def change(launch: Any) -> None:
        launch.ids[1], launch.ids[2] = launch.ids[2], launch.ids[1]

    _after(patch, Launch, change)


@defect
def work_item_ids_begin_at_one(patch: pytest.MonkeyPatch) -> None:
    vectors = Launch.vectors

    def shifted(self: Launch) -> list[Any]:
        found = vectors(self)
        found[0] = found[0] + np.uint32(1)
        return found

    patch.setattr(Launch, "vectors", shifted)


@defect
def workgroups_share_their_lds(patch: pytest.MonkeyPatch) -> None:
    def change(group: Any) -> None:
        group.lds_base = np.zeros_like(group.lds_base)

    _after(patch, Group, change)


@defect
def lds_is_not_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryAccess, "store_lds", lambda self, *arguments: None)


@defect
def barriers_hold_nobody_up(patch: pytest.MonkeyPatch) -> None:
    """Each wave runs to its end before the next one begins."""

    def one_by_one(chunk: Any) -> None:
        for group in list(chunk._ready):
            for row in range(group.count - 1, 0, -1):
                chunk._ready.append(group.extract(np.array([row])))

    _after(patch, Chunk, one_by_one)
    patch.setattr(Chunk, "_take", lambda self: self._ready.pop())
    patch.setattr(Chunk, "_others", lambda self, group: None)
    patch.setattr(Chunk, "_barrier", lambda self, group: True)


@defect
def waves_read_the_scratch_of_the_first(patch: pytest.MonkeyPatch) -> None:
    load = MemoryAccess.load_scratch

    def shared(self: MemoryAccess, *arguments: Any) -> list[Any]:
        return [np.broadcast_to(item[:1], item.shape).copy() for item in load(self, *arguments)]

    patch.setattr(MemoryAccess, "load_scratch", shared)


@defect
def stores_go_one_lane_too_far(patch: pytest.MonkeyPatch) -> None:
    """What the last lane stores is stored behind it once more."""
    store = MemoryAccess.store_global

    def further(
        self: MemoryAccess, group: Any, address: Any, where: Any, values: tuple[Any, ...], width: int
    ) -> None:
        store(self, group, address, where, values, width)
        lanes = np.broadcast_to(np.asarray(address, np.uint64), group.shape)
        last = lanes.max() if group.active is None else lanes[group.active].max()
        size = width * len(values)
        self.space.write(int(last) + size, self.space.read(int(last), size))

    patch.setattr(MemoryAccess, "store_global", further)


@defect
def lanes_that_are_off_store_too(patch: pytest.MonkeyPatch) -> None:
    """To where the first lane that is on stores."""
    store = MemoryAccess.store_global

    def all_lanes(
        self: MemoryAccess, group: Any, address: Any, where: Any, values: tuple[Any, ...], width: int
    ) -> None:
        store(self, group, address, where, values, width)
        active = group.active
        if where is None and active is not None and active.any() and not active.all():
            lanes = np.broadcast_to(np.asarray(address, np.uint64), group.shape)
            off = tuple(np.argwhere(~active)[-1])
            data = b"".join(
                int(np.broadcast_to(value, group.shape)[off]).to_bytes(4, "little")[:width]
                for value in values
            )
            self.space.write(int(lanes[active][0]), data)

    patch.setattr(MemoryAccess, "store_global", all_lanes)


@defect
def all_lanes_leave_a_loop_with_the_first(patch: pytest.MonkeyPatch) -> None:
    """When some lanes of a wave are switched off, all are."""
    set_exec = Group.set_exec

    def together(self: Group, bits: Any) -> None:
        before, after = (np.asarray(value, np.uint64) for value in (self.s[EXEC_SLOT], bits))
        fewer = (after & ~before == 0) & (after != before)
        changed = np.where(fewer, np.uint64(0), after)
        set_exec(self, changed if changed.ndim else int(changed))

    patch.setattr(Group, "set_exec", together)


@defect
def an_integer_product_loses_its_top_bit(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(numpy_lower.LANES, "mul", "({a} * {b}) & {t}(0x7fffffff)")


@defect
def an_integer_sum_loses_its_top_bit(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(
        numpy_lower.LANES, "add", "({a} + {b}) & {t}(-1 % (1 << 64) >> 1 if {t} is u8 else 0x7fffffff)"
    )


@defect
def f32_multiplies_and_adds_are_not_fused(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(numpy_lower.FMA, F32, "{a} * {b} + {c}")


@defect
def f64_multiplies_and_adds_are_not_fused(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(numpy_lower.FMA, F64, "{a} * {b} + {c}")


@defect
def f64_is_computed_as_f32(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(numpy_lower.FMA, F64, "fma64({a}, {b}, {c}).astype(f4).astype(f8)")


@defect
def atomics_lose_updates(patch: pytest.MonkeyPatch) -> None:
    """Of lanes that add to one place at once only one counts."""

    def racing(
        self: MemoryAccess, group: Any, op: str, address: Any, where: Any, value: Any, *_: Any
    ) -> None:
        assert op == "add"
        (old,) = self.load_global(group, address, where, 1, 4, False)
        self.store_global(group, address, where, (old + np.asarray(value, np.uint32),), 4)

    patch.setattr(MemoryAccess, "atomic_global", racing)


@defect
def atomics_return_the_new_value(patch: pytest.MonkeyPatch) -> None:
    atomic = MemoryAccess.atomic_global

    def new(self: MemoryAccess, group: Any, op: str, address: Any, where: Any, value: Any, *rest: Any) -> Any:
        return atomic(self, group, op, address, where, value, *rest) + np.asarray(value, np.uint32)

    patch.setattr(MemoryAccess, "atomic_global", new)


@defect
def atomics_of_64_bits_look_at_the_low_half(patch: pytest.MonkeyPatch) -> None:
    atomic = MemoryAccess.atomic_global

    def low(self: MemoryAccess, group: Any, op: str, address: Any, where: Any, value: Any, *rest: Any) -> Any:
        half = np.asarray(value, np.uint64) & np.uint64(0xFFFFFFFF)
        return atomic(self, group, op, address, where, half, *rest)

    patch.setattr(MemoryAccess, "atomic_global", low)


@defect
def compare_and_swap_always_swaps(patch: pytest.MonkeyPatch) -> None:
    atomic = MemoryAccess.atomic_global

    def swap(
        self: MemoryAccess,
        group: Any,
        op: str,
        address: Any,
        where: Any,
        value: Any,
        compare: Any,
        *rest: Any,
    ) -> Any:
        return atomic(self, group, "swap", address, where, value, None, *rest)

    patch.setattr(MemoryAccess, "atomic_global", swap)


@defect
def reads_of_what_is_not_mapped_give_zero(patch: pytest.MonkeyPatch) -> None:
    """And no fault is reported."""
    shorten_waits(patch)
    load = MemoryAccess.load_global

    def quiet(self: MemoryAccess, group: Any, *arguments: Any) -> list[Any]:
        try:
            return load(self, group, *arguments)
        except VmFault:
            return [np.zeros(group.shape, np.uint32)] * arguments[2]

    patch.setattr(MemoryAccess, "load_global", quiet)


@defect
def writes_to_what_is_not_mapped_are_dropped(patch: pytest.MonkeyPatch) -> None:
    """And no fault is reported."""
    shorten_waits(patch)
    store = MemoryAccess.store_global

    def quiet(self: MemoryAccess, group: Any, *arguments: Any) -> None:
        with suppress(VmFault):
            store(self, group, *arguments)

    patch.setattr(MemoryAccess, "store_global", quiet)
