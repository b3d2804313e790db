"""What can go wrong with where and when a GPU runs waves: places, masks, priorities, preemption, turns."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from injection import defect, shorten_waits

from pytest_amdgpu.driver import compute_queue, queue, scheduling
from pytest_amdgpu.emulator.engine import placing
from pytest_amdgpu.emulator.engine.hardware_queues import Seat
from pytest_amdgpu.emulator.engine.pm4 import Pm4Queue
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.wave_save import SavedWaves
from pytest_amdgpu.emulator.placement import Claim


@defect
def every_wave_says_it_is_on_the_first_unit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Claim, "register", lambda self, fields: np.zeros((self.count, 1), np.uint32))


@defect
def a_mask_of_units_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueueThread, "set_engine_masks", lambda self, masks: None)


@defect
def the_first_mask_of_units_stays(patch: pytest.MonkeyPatch) -> None:
    restrict = QueueThread.set_engine_masks

    def once(self: QueueThread, masks: Any) -> None:
        if self.context.engine_masks is None:
            restrict(self, masks)

    patch.setattr(QueueThread, "set_engine_masks", once)


@defect
def any_mask_of_units_is_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compute_queue, "mask_words", lambda node, mask, xccs: [0xFFFFFFFF])


def _update(patch: pytest.MonkeyPatch, runs: Any) -> None:
    update = QueueThread.update

    def other(
        self: QueueThread, ring_address: int, ring_size: int, *, priority: int = 7, active: bool = True
    ) -> None:
        update(self, ring_address, ring_size, priority=priority, active=runs(priority, active))

    patch.setattr(QueueThread, "update", other)


@defect
def a_paused_queue_goes_on(patch: pytest.MonkeyPatch) -> None:
    _update(patch, lambda priority, active: True)


@defect
def a_queue_of_the_highest_priority_stands_still(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    _update(patch, lambda priority, active: active and priority < 15)


@defect
def lds_is_lost_when_waves_are_preempted(patch: pytest.MonkeyPatch) -> None:
    save = Shaders.save

    def forget(self: Shaders) -> None:
        save(self)
        for flight in self._flights:
            for chunk in flight.runnable.chunks:
                chunk.lds.data[:] = 0

    patch.setattr(Shaders, "save", forget)


@defect
def preempted_waves_are_not_saved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shaders, "save", Shaders.suspend)


@defect
def an_idle_queue_has_saved_waves(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pm4Queue, "saved_waves", lambda self: (SavedWaves(20, 4096),))


@defect
def queues_never_give_up_their_slot(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    patch.setattr(Seat, "must_yield", lambda self: False)


@defect
def the_lowest_priority_goes_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(placing, "_PIPE_PRIORITIES", placing._PIPE_PRIORITIES[::-1])


@defect
def the_highest_priority_keeps_all_others_out(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    take = Seat.take

    def jealous(self: Seat, timeout: float) -> bool:
        if any(seat._priority() > self._priority() for seat in self._queues.holders):
            time.sleep(timeout)
            return False
        return take(self, timeout)

    patch.setattr(Seat, "take", jealous)


@defect
def any_priority_is_taken(patch: pytest.MonkeyPatch) -> None:
    for module in (queue, scheduling):
        patch.setattr(module, "priority_number", lambda priority: 7)
