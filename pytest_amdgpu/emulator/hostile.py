"""Hostile timing: what real machines do now and then, done often, so that a driver that counts on luck fails.

Everything here is allowed to a kernel: queues are taken off the hardware and come back later, a doorbell
that is rung meanwhile is lost (the write pointer in memory is what counts then), interrupts arrive late and
several become one, a wait is interrupted by a signal, the topology has changed between two looks, nodes are
numbered with gaps behind several CPUs, and gpu_ids are any numbers. What is decided, and in which order per
kind of decision, follows from the seed; the moments depend on the host's scheduler.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.process import Process

_EVICTION = 0.2
_DOORBELL_LOST = 0.5
_INTERRUPT_LATE = 0.3
_WAIT_INTERRUPTED = 0.2
_TOPOLOGY_CHANGES = 0.3
"""Probabilities per doorbell, eviction, interrupt, sleep of a wait, and pair of looks at the topology."""
_LONGEST_DELAY = 3e-3
"""Seconds; long against a packet, short against a test."""
_MOST_CPU_NODES = 4


class Hostility:
    """The decisions of one hostile kernel."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._lock = threading.Lock()
        self._streams: dict[str, random.Random] = {}
        self._pending: set[tuple[int, int]] = set()
        self.generation = self._stream("generation").randrange(1, 1 << 16)
        """What `generation_id` says of the topology."""
        self._settled = False
        self.topology_incomplete = False
        """Whether a GPU has not shown up yet: the next look at `generation_id` tells that it has now."""

    def _stream(self, kind: str) -> random.Random:
        return self._streams.setdefault(kind, random.Random(f"{self.seed} {kind}"))

    def _happens(self, kind: str, probability: float) -> bool:
        with self._lock:
            return self._stream(kind).random() < probability

    def _delay(self, kind: str) -> float:
        with self._lock:
            return self._stream(kind).uniform(0, _LONGEST_DELAY)

    def gpu_ids(self, count: int) -> list[int]:
        """Return as many different ids of GPUs: 16 bits, not 0."""
        return self._stream("gpu_id").sample(range(1, 1 << 16), count)

    def node_numbers(self, gpus: int) -> tuple[list[int], list[int]]:
        """Return the numbers of the CPU nodes (the first ones) and, rising, those of the GPUs."""
        choose = self._stream("nodes")
        cpus = choose.randrange(1, _MOST_CPU_NODES + 1)
        return list(range(cpus)), sorted(choose.sample(range(cpus, cpus + 2 * gpus), gpus))

    def shuffled(self, names: Sequence[str]) -> list[str]:
        """Return the names of a directory in any order, as readdir may."""
        with self._lock:
            return self._stream("readdir").sample(names, len(names))

    def look_at_generation(self) -> int:
        """Return the topology's number, which may have changed since the last look; then it is quiet."""
        with self._lock:
            if self.topology_incomplete:
                self.topology_incomplete, self._settled = False, True
                self.generation += 1
            elif self._settled:
                self._settled = False
            else:
                self.topology_incomplete = self._stream("topology").random() < _TOPOLOGY_CHANGES
            return self.generation

    def interrupts_wait(self) -> bool:
        """Whether a signal comes before the wait goes to sleep."""
        return self._happens("signal", _WAIT_INTERRUPTED)

    def evicts(self, queue: Queue) -> bool:
        """Perhaps take a queue off the hardware for a while; True if its doorbell is lost now."""
        if not self._happens("eviction", _EVICTION):
            return False
        process = queue.device.process
        with process.lock:
            if queue.device.evicted or process.queues.get(queue.id) is not queue:
                return False
            queue.engine.evict()
        self._later("eviction delay", lambda: _restore(process, queue))
        return self._happens("doorbell", _DOORBELL_LOST)

    def delivers_late(self, process: Process, event: object, deliver: Callable[[], None]) -> bool:
        """Perhaps deliver an interrupt later, by `deliver`; interrupts of an event that come meanwhile join.

        Returns False if it is to be delivered now.
        """
        key = (id(process), id(event))
        with self._lock:
            if key in self._pending:
                return True
            if self._stream("interrupt").random() >= _INTERRUPT_LATE:
                return False
            self._pending.add(key)

        def arrive() -> None:
            with self._lock:
                self._pending.discard(key)
            deliver()

        self._later("interrupt delay", arrive)
        return True

    def _later(self, kind: str, action: Callable[[], None]) -> None:
        timer = threading.Timer(self._delay(kind), action)
        timer.daemon = True
        timer.start()


def _restore(process: Process, queue: Queue) -> None:
    """Put a queue back, unless its process has lost it or the GPU for good."""
    with process.lock:
        if process.queues.get(queue.id) is queue:
            queue.restore()
