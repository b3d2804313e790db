"""The dispatches of one queue that are in flight.

Hardware goes on reading packets while shaders run, and runs the dispatches of a queue side by side until a
packet orders them. So does this: `launch` only queues, and shaders run in slices whenever the queue waits
(`advance`) or must wait for them (`drain`). A packet that relies on an order it did not ask for finds
its data not yet written, as it may on hardware.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pytest_amdgpu.emulator.engine.hardware_queues import Seat
from pytest_amdgpu.emulator.engine.queue import EXECUTING, QueueThread
from pytest_amdgpu.emulator.engine.shader_memory import shader_memory
from pytest_amdgpu.emulator.engine.wave_save import SavedWaves, save_waves

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.chunk import Chunk
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState

_IN_FLIGHT = 16
"""Dispatches side by side; one more waits for an older one, as it does when the wave slots are taken."""
_SLICE = 0.01
"""Seconds that one dispatch should run before others, and an eviction, have their turn."""
_FIRST_BUDGET = 64
_LARGEST_BUDGET = 1 << 20


class Runnable(Protocol):
    """A dispatch of the instruction-set emulator."""

    stalled: bool
    """Whether the last `run` ran nothing, because no compute unit has room."""

    def run(self, budget: int) -> bool:
        """Run about `budget` basic blocks; True when all waves have ended."""

    def suspend(self) -> None:
        """Leave the compute units until `run` is called again."""

    @property
    def chunks(self) -> Sequence[Chunk]:
        """The workgroups that run."""


def _start(state: DispatchState) -> Runnable:
    from pytest_amdgpu.emulator.isa.dispatch import Dispatch

    return Dispatch(state)


@dataclass(eq=False)
class _Flight:
    runnable: Runnable
    text: str
    done: Callable[[], None] | None
    budget: int = _FIRST_BUDGET


class Shaders:
    """Launches dispatches and shares the time of the queue's thread between them."""

    def __init__(self, queue: QueueThread) -> None:
        self._queue = queue
        self.memory = shader_memory(queue.memory)
        self._flights: list[_Flight] = []
        self._running = False
        """Whether waves may have run since they were saved."""
        self.saved = (SavedWaves(),) * queue.context.gpu.num_xcc
        """What the last preemption saved, by XCC."""

    def launch(self, state: DispatchState, text: str, done: Callable[[], None] | None = None) -> None:
        """Start a dispatch; `done` is called in the queue's thread when its last wave has ended."""
        while len(self._flights) >= _IN_FLIGHT:
            self._queue.checkpoint()
            self.advance()
        self._flights.append(_Flight(_start(state), text, done))

    def advance(self) -> bool:
        """Run a slice of every dispatch; False if there is none."""
        if self._flights:
            self._queue.checkpoint()
        flights = list(self._flights)
        self._running = True
        stalled = bool(flights)
        for flight in flights:
            self._queue.activity(f"running {flight.text}")
            begun = time.monotonic()
            with self.memory.running():
                ended = flight.runnable.run(flight.budget)
            took = time.monotonic() - begun
            if flight.runnable.stalled:
                units = self._queue.context.gpu.units.describe()
                self._queue.activity(f"waiting for room on compute units ({units}) for {flight.text}")
            else:
                stalled = False
            if took < _SLICE / 2:
                flight.budget = min(2 * flight.budget, _LARGEST_BUDGET)
            elif took > 2 * _SLICE:
                flight.budget = max(flight.budget // 2, 1)
            if ended:
                self._flights.remove(flight)
                self._queue.memory.notify()
                if flight.done is not None:
                    flight.done()
            self._queue.checkpoint()
        if stalled:
            self._queue.context.gpu.units.wait()
        if flights and not self._flights:
            self._queue.activity(EXECUTING)
            self.memory.idle()
        return bool(flights)

    def seat(self) -> Seat:
        """Make the queue's claim to one of the GPU's slots for compute queues."""
        context = self._queue.context
        return Seat(context.gpu.hardware_queues, lambda: context.priority)

    def save(self) -> None:
        """Take the waves off the compute units into the context save area, because the queue is preempted."""
        if self._running:
            self._running = False
            chunks = [chunk for flight in self._flights for chunk in flight.runnable.chunks]
            self.saved = save_waves(self._queue.context, chunks)
        self.suspend()

    def suspend(self) -> None:
        """Take the waves off the compute units."""
        for flight in self._flights:
            flight.runnable.suspend()

    def drain(self) -> None:
        """Run until no dispatch is in flight."""
        while self._flights:
            self.advance()
