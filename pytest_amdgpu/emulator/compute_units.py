"""The compute units of a software GPU and which waves are on them.

Every workgroup that runs has a place: a compute unit (from gfx10 on, in WGP mode, a pair of them) and a slot
of a SIMD for each wave. A unit takes no more than it has slots, LDS and vector registers for, whichever
queues its waves come from. `Placement` deals the workgroups of one dispatch.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.placement import Placement
    from pytest_amdgpu.families.models import Model

EngineMasks = tuple[tuple[int, ...], ...]
"""COMPUTE_STATIC_THREAD_MGMT_SE* by XCC and engine: bit `unit` for array 0, `16 + unit` for array 1, counting
the units that are switched on (mqd_symmetrically_map_cu_mask)."""

Rows = npt.NDArray[np.int64]

_ARRAY_BITS = 16
_WAIT = 1e-3
"""Seconds that a dispatch sleeps at most for a place, so that its queue can be preempted meanwhile."""


class Order(NamedTuple):
    """What a queue can reach, and in which order rows of units get work, for each of its XCCs."""

    reachable: npt.NDArray[np.bool_]
    rows: tuple[Rows, ...]


class ComputeUnits:
    """All units, in order of XCC, engine, array and number; arrays of rows hold one entry for each."""

    def __init__(
        self,
        bitmaps: Sequence[Sequence[Sequence[int]]],
        *,
        simds: int,
        waves_per_simd: int,
        lds_bytes: int,
        vgpr_bytes: int,
        in_pairs: bool,
    ) -> None:
        """`bitmaps` are masks of units by XCC, engine and array; the rest is per unit."""
        places = [
            (xcc, engine, array, number, ordinal)
            for xcc, engines in enumerate(bitmaps)
            for engine, arrays in enumerate(engines)
            for array, mask in enumerate(arrays)
            for ordinal, number in enumerate(bit for bit in range(mask.bit_length()) if mask >> bit & 1)
        ]
        columns = np.array(places, np.int64).T
        self.xcc, self.engine, self.array, self.number, self.ordinal = columns
        self.count = len(places)
        self.simds = simds
        self.slots = simds * waves_per_simd
        self.lds_bytes, self.vgpr_bytes = lds_bytes, vgpr_bytes
        self.in_pairs = in_pairs
        first, second = self.number[::2], self.number[1::2]
        self.pairable = in_pairs and np.array_equal(first | 1, second) and not (first & 1).any()
        """Whether every unit has its neighbour, so that workgroups in WGP mode have a place."""
        self.shader_array = np.unique(columns[:3], axis=1, return_inverse=True)[1].reshape(-1)
        """Number of each unit's shader array, over all XCCs."""
        self.deal_order = np.lexsort((self.engine, self.array, self.ordinal))
        """Rows in the order in which work is dealt: over engines first, then arrays, then units."""
        self.used = np.zeros((self.count, self.slots), np.bool_)
        self.busy = np.zeros(self.count, np.int64)
        """Waves on each unit: how many of its slots are used."""
        self.lds_used = np.zeros(self.count, np.int64)
        self.vgpr_used = np.zeros(self.count, np.int64)
        self.changed = threading.Condition()
        """Guards what is used; notified when places become free."""
        self._everything = np.ones(self.count, np.bool_)
        self._waiting: dict[Placement, int] = {}
        self._tickets = itertools.count()
        self._orders: dict[tuple[tuple[int, ...], int], Order] = {}
        self._enabled: dict[EngineMasks, npt.NDArray[np.bool_]] = {}

    @classmethod
    def of(cls, model: Model) -> ComputeUnits:
        """Make the units of a model."""
        properties, family = model.properties, model.family
        return cls(
            model.cu_bitmaps,
            simds=properties["simd_per_cu"],
            waves_per_simd=properties["max_waves_per_simd"],
            lds_bytes=family.lds_bytes,
            vgpr_bytes=family.context_save.vgpr_bytes,
            in_pairs=family.units_in_pairs,
        )

    def enabled(self, masks: EngineMasks | None) -> npt.NDArray[np.bool_]:
        """Which units the masks let a queue use; all without masks."""
        if masks is None:
            return self._everything
        found = self._enabled.get(masks)
        if found is None:
            bit = self.array * _ARRAY_BITS + self.ordinal
            words = np.array(
                [
                    masks[xcc][engine] if xcc < len(masks) and engine < len(masks[xcc]) else 0
                    for xcc, engine in zip(self.xcc.tolist(), self.engine.tolist(), strict=True)
                ],
                np.int64,
            )
            found = self._enabled[masks] = (words >> bit & 1).astype(np.bool_)
        return found

    def order(self, xccs: tuple[int, ...], step: int) -> Order:
        """How work is dealt on some of the XCCs, in rows of `step` units."""
        found = self._orders.get((xccs, step))
        if found is None:
            rows = self.deal_order[self.deal_order % step == 0] // step
            xcc_of = self.xcc[rows * step]
            found = self._orders[xccs, step] = Order(
                np.isin(self.xcc, xccs), tuple(rows[xcc_of == xcc] for xcc in xccs)
            )
        return found

    def kept_for_others(self, placement: Placement) -> npt.NDArray[np.bool_]:
        """Which units others go first on (called under the lock).

        Those are waiting dispatches of a higher pipe priority until all their workgroups have been launched,
        and of the same one those that have nothing running, in the order in which they came. Only what they
        could ever get is kept for them.
        """
        kept = ~self._everything
        own = self._waiting.get(placement)
        for other, ticket in self._waiting.items():
            if other is placement:
                continue
            first = other.pipe_priority > placement.pipe_priority
            if other.pipe_priority == placement.pipe_priority and other.starved:
                first = not placement.starved or own is None or ticket < own
            if first:
                kept |= other.claimable()
        return kept

    def wait_in_line(self, placement: Placement) -> None:
        """Remember that a dispatch wants more places (called under the lock)."""
        if placement not in self._waiting:
            self._waiting[placement] = next(self._tickets)

    def leave_line(self, placement: Placement) -> None:
        """Forget that a dispatch wants places (called under the lock)."""
        if self._waiting.pop(placement, None) is not None:
            self.changed.notify_all()

    def wait(self) -> None:
        """Sleep until places become free, for a moment at most."""
        with self.changed:
            self.changed.wait(_WAIT)

    def waves_on(self, row: int) -> int:
        """Return how many waves a unit has, for diagnosis and tests."""
        with self.changed:
            return int(self.busy[row])

    def describe(self) -> str:
        """Say how busy the units are."""
        with self.changed:
            busy = self.busy.copy()
        return f"{int(busy.sum())} waves on {int((busy > 0).sum())} of {self.count} compute units"


def pairs(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View values per unit as rows of two, which form a pair."""
    return values.reshape(-1, 2)
