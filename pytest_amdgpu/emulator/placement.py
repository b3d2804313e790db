"""Places for the workgroups of one dispatch.

Workgroups are dealt to the XCCs in turn; each XCC deals its own over engines, arrays and units, to the least
loaded ones first, and in the order of their numbers: one that finds no place holds up those behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pytest_amdgpu.emulator.compute_units import ComputeUnits, EngineMasks, Rows, pairs
from pytest_amdgpu.families.shader_rules import Accumulation

if TYPE_CHECKING:
    from pytest_amdgpu.families.hardware_ids import IdField
    from pytest_amdgpu.families.registry import Family

_FULL = 1 << 40
"""A load that no unit has."""
_COMPUTE_ENGINE = 1
"""ME_ID of the compute micro engine."""


def vector_registers(family: Family, rsrc1: int, wave_size: int) -> int:
    """Return how many vector registers a wave has, by COMPUTE_PGM_RSRC1, with accumulation registers."""
    files = 2 if family.shader.accumulation is Accumulation.OWN_FILE else 1
    return ((rsrc1 & 63) + 1) * family.vgpr_granule[wave_size] * files


@dataclass(frozen=True, slots=True)
class Needs:
    """What one workgroup takes of a unit, or of a pair of units if `pair` (WGP mode). Sizes are in bytes."""

    waves: int
    lds_bytes: int = 0
    vgpr_bytes: int = 0
    pair: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """COMPUTE_RESOURCE_LIMITS of a dispatch; 0 means none.

    `waves_per_array` counts waves (Mesa, ac_get_compute_resource_limits), `groups_per_unit` workgroups on a
    unit at a time, as the name TG_PER_CU says.
    """

    waves_per_array: int = 0
    groups_per_unit: int = 0


@dataclass(frozen=True, slots=True)
class Claimant:
    """The queue that a dispatch belongs to: the XCCs that it runs on, its masks and its pipe priority."""

    xccs: tuple[int, ...]
    masks: Callable[[], EngineMasks | None]
    pipe_priority: Callable[[], int]


class Claim:
    """Places of consecutive workgroups: `rows` and `slots` [workgroups, waves] of their units."""

    def __init__(self, placement: Placement, rows: Rows, slots: Rows, *, counted: bool) -> None:
        self.count = len(rows)
        self._placement = placement
        self._rows = rows
        self._slots = slots
        self._held = np.full(self.count, counted)

    def release(self, ended: npt.NDArray[np.bool_] | None = None) -> None:
        """Give places back: those of the workgroups that `ended`, or all."""
        leaving = self._held if ended is None else self._held & ended
        if leaving.any():
            self._placement.give_back(self._rows[leaving], self._slots[leaving])
            self._held &= ~leaving

    @property
    def units(self) -> Rows:
        """The (first) unit of each workgroup, as a row of `ComputeUnits`."""
        return self._rows * self._placement.step

    @property
    def xccs(self) -> Rows:
        """The XCC of each workgroup."""
        xccs: Rows = self._placement.units.xcc[self.units]
        return xccs

    def register(self, fields: Mapping[str, IdField]) -> npt.NDArray[np.uint32]:
        """Return a hardware register [workgroups, waves] that has the given fields."""
        units, step = self._placement.units, self._placement.step
        unit_rows = self._rows[:, None] * step + self._slots // units.slots
        slot = self._slots % units.slots
        simd = slot % units.simds
        number = units.number[unit_rows]
        values = {
            "wave": slot // units.simds,
            "simd": simd << 1 | number & 1 if units.in_pairs else simd,
            "unit": number,
            "pair": number >> 1,
            "array": units.array[unit_rows],
            "engine": units.engine[unit_rows],
            "xcc": units.xcc[unit_rows],
            "workgroup": np.arange(self.count)[:, None],
            "me": np.int64(_COMPUTE_ENGINE),
        }
        result = np.zeros(self._slots.shape, np.int64)
        for name, field in fields.items():
            if name in values:
                result |= (values[name] & ((1 << field.width) - 1)) << field.low
        return result.astype(np.uint32)


class Placement:
    """Deals places to the workgroups of one dispatch. Methods are called in the queue's thread."""

    def __init__(self, units: ComputeUnits, claimant: Claimant, needs: Needs, limits: Limits) -> None:
        self.units = units
        self.step = 2 if needs.pair else 1
        """Units that a row stands for here."""
        self._claimant = claimant
        self._waves = min(needs.waves, units.slots * self.step)
        # What no unit could ever hold gets a whole one.
        self._lds = -(-min(needs.lds_bytes, units.lds_bytes * self.step) // self.step)
        self._vgprs = -(-min(needs.vgpr_bytes, units.vgpr_bytes * self.step) // self.step)
        self._limits = limits
        self._groups = np.zeros(units.count // self.step, np.int64)
        self._next = 0
        """Number of the first workgroup that has no place."""
        self._order = units.order(claimant.xccs, self.step)
        self._slot_order = np.arange(units.slots * self.step).reshape(self.step, -1).T.reshape(-1)
        """Slots in the order in which they are taken: those of a pair of units in turn."""

    @property
    def pipe_priority(self) -> int:
        """The queue's pipe priority."""
        return self._claimant.pipe_priority()

    @property
    def starved(self) -> bool:
        """Whether no workgroup has a place."""
        return not self._groups.any()

    def enabled(self) -> npt.NDArray[np.bool_]:
        """Which units the queue may use, of the XCCs that it runs on."""
        units = self.units
        on = units.enabled(self._claimant.masks())
        return on & self._order.reachable

    def claimable(self) -> npt.NDArray[np.bool_]:
        """Which units could have its workgroups if nothing else ran (called under the lock).

        None if the next workgroup, whose XCC its number decides, has no place even then: a dispatch that can
        never go on takes nothing from others by waiting.
        """
        allowed = self.enabled()
        room = self._room(allowed, empty=True)
        limit = self._limits.waves_per_array
        order = self._order.rows[self._next % len(self._order.rows)]
        if not room[order].any() or (limit and limit < self._waves):
            return np.zeros_like(allowed)
        return allowed & np.repeat(room > 0, self.step)

    def claim(self, first: int, count: int, *, remaining: int) -> Claim | None:
        """Take places for up to `count` workgroups from number `first` on; None if there is none.

        `remaining` workgroups from `first` on have no place yet: as long as there are more of them than get
        one, the dispatch stands in line.
        """
        units = self.units
        with units.changed:
            allowed = self.enabled() & ~units.kept_for_others(self)
            rows = self._deal(first, count, self._room(allowed))
            self._next = first + len(rows)
            if len(rows) < remaining:
                units.wait_in_line(self)
            else:
                units.leave_line(self)
            if not len(rows):
                return None
            return Claim(self, rows, self._take(rows), counted=True)

    def reclaim(self, first: int, count: int) -> Claim | None:
        """Take places for just these workgroups, which were preempted; None if there are not enough.

        Where the mask has become too narrow for all of them they share slots, because they are run together.
        """
        units = self.units
        with units.changed:
            enabled = self.enabled()
            rows = self._deal(first, count, self._room(enabled & ~units.kept_for_others(self)))
            if len(rows) == count:
                units.leave_line(self)
                return Claim(self, rows, self._take(rows), counted=True)
            most = self._deal(first, count, self._room(enabled, empty=True))
            if not len(most):
                return None
            if len(most) == count:
                self._next = first
                units.wait_in_line(self)
                return None
            slots = np.arange(count * self._waves) % (units.slots * self.step)
            return Claim(self, np.resize(most, count), slots.reshape(count, -1), counted=False)

    def leave(self) -> None:
        """Want no more places, for now or for good."""
        with self.units.changed:
            self.units.leave_line(self)

    def give_back(self, rows: Rows, slots: Rows) -> None:
        """Free places of workgroups."""
        with self.units.changed:
            self._view(self.units.used)[rows[:, None], slots] = False
            self._account(rows, slots, -1)
            self.units.changed.notify_all()

    def _view(self, values: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return values.reshape(self.units.count // self.step, -1)

    def _account(self, rows: Rows, slots: Rows, sign: int) -> None:
        units = self.units
        unit_rows = rows[:, None] * self.step + slots // units.slots
        units.busy += np.bincount(unit_rows.reshape(-1), minlength=units.count) * sign
        groups = np.bincount(rows, minlength=len(self._groups)) * sign
        self._groups += groups
        per_unit = np.repeat(groups, self.step)
        units.lds_used += per_unit * self._lds
        units.vgpr_used += per_unit * self._vgprs

    def _room(self, allowed: npt.NDArray[np.bool_], *, empty: bool = False) -> Rows:
        """How many more workgroups each row can take; with `empty`, if nothing else ran."""
        units, step = self.units, self.step
        free = np.full_like(units.busy, units.slots) if empty else units.slots - units.busy
        room: Rows = (pairs(free).sum(axis=1) if step == 2 else free) // self._waves
        for need, size, used in (
            (self._lds, units.lds_bytes, units.lds_used),
            (self._vgprs, units.vgpr_bytes, units.vgpr_used),
        ):
            if need:
                left = size - used if not empty else np.full_like(used, size)
                room = np.minimum(room, (pairs(left).min(axis=1) if step == 2 else left) // need)
        if self._limits.groups_per_unit:
            own = self._groups if not empty else np.zeros_like(self._groups)
            room = np.minimum(room, self._limits.groups_per_unit - own)
        usable = pairs(allowed).all(axis=1) if step == 2 else allowed
        return np.where(usable, np.maximum(room, 0), 0)

    def _deal(self, first: int, count: int, room: Rows) -> Rows:
        """Rows of the first workgroups of `count` that find a place."""
        xccs = self._claimant.xccs
        busy = self.units.busy
        load = -(-(pairs(busy).sum(axis=1) if self.step == 2 else busy) // self._waves)
        granted = count
        dealt = []
        for index, order in enumerate(self._order.rows):
            # Which of the workgroups come to this XCC: the first one, and every len(xccs)-th from there.
            start = (index - first) % len(xccs)
            wanted = -(-max(count - start, 0) // len(xccs))
            if not wanted:
                continue
            rows = self._sequence(order, room, load, wanted)
            if len(rows) < wanted:
                granted = min(granted, start + len(xccs) * len(rows))
            dealt.append((start, rows))
        result = np.empty(granted, np.int64)
        for start, rows in dealt:
            mine = result[start :: len(xccs)]
            mine[:] = rows[: len(mine)]
        return result

    def _sequence(self, order: Rows, room: Rows, load: Rows, wanted: int) -> Rows:
        """Rows of one XCC in the order in which they get workgroups, at most `wanted`."""
        room, load = room[order], load[order]
        if wanted == 1 and not self._limits.waves_per_array:
            best = int(np.argmin(np.where(room > 0, load, _FULL)))
            return order[best : best + 1] if room[best] > 0 else order[:0]
        rounds = 1
        while rounds < wanted and np.minimum(room, rounds).sum() < wanted:
            rounds *= 2
        times = np.minimum(room, rounds)
        position = np.repeat(np.arange(len(order)), times)
        turn = np.arange(len(position)) - np.repeat(np.cumsum(times) - times, times)
        sequence = np.argsort((load[position] + turn) * len(order) + position, kind="stable")
        rows: Rows = order[position[sequence]]
        if self._limits.waves_per_array:
            rows = self._within_arrays(rows)
        return rows[:wanted]

    def _within_arrays(self, rows: Rows) -> Rows:
        """Leave out what would bring a shader array over its limit of waves."""
        arrays = self.units.shader_array[:: self.step]
        most = self._limits.waves_per_array // self._waves
        own = np.bincount(arrays, self._groups).astype(np.int64)
        keep = np.ones(len(rows), np.bool_)
        for array in np.unique(arrays[rows]).tolist():
            places = np.flatnonzero(arrays[rows] == array)
            keep[places[max(most - int(own[array]), 0) :]] = False
        return rows[keep]

    def _take(self, rows: Rows) -> Rows:
        """Choose free slots of rows for workgroups and mark them used."""
        used = self._view(self.units.used)
        if len(rows) == 1:
            only: Rows = self._slot_order[~used[rows[0]][self._slot_order]][None, : self._waves]
            used[rows[0], only] = True
            self._account(rows, only, 1)
            return only
        unique, inverse, groups = np.unique(rows, return_inverse=True, return_counts=True)
        free = ~used[unique][:, self._slot_order]
        chosen = free & (np.cumsum(free, axis=1) <= (groups * self._waves)[:, None])
        row, place = np.nonzero(chosen)
        taken = self._slot_order[place]
        used[unique[row], taken] = True
        slots = np.empty((len(rows), self._waves), np.int64)
        slots[np.argsort(inverse, kind="stable")] = taken.reshape(-1, self._waves)
        self._account(rows, slots, 1)
        return slots
