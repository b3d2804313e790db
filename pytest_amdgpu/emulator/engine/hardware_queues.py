"""The slots that hardware has for compute queues (HQDs), and who has them.

A queue with work needs a slot. Where more queues have work than there are slots, the firmware (HWS, MES)
gives them the slots in turns: the waves of a queue that must leave are saved, and go on when it comes back.
The order here: higher priority first, and every quantum of waiting counts like one step of priority, so that
none waits for ever. How firmware weighs the two is not public.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

QUANTUM = 0.01
"""Seconds that a queue keeps its slot while others wait (amdkfd asks for a process quantum of 10 ms)."""


class HardwareQueues:
    """`count` slots, shared by all processes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lock = threading.Condition()
        self.holders: dict[Seat, float] = {}
        """Since when each seat is taken."""
        self.waiters: dict[Seat, float] = {}
        """Since when each seat is waited for."""

    def best_waiter(self) -> Seat | None:
        """Return who gets the next slot (called under the lock)."""
        return max(self.waiters, key=lambda seat: (seat.rank(), -self.waiters[seat]), default=None)


class Seat:
    """One queue's claim to a slot. All but the constructor are called in the queue's thread."""

    def __init__(self, queues: HardwareQueues, priority: Callable[[], int]) -> None:
        self._queues = queues
        self._priority = priority
        self._rank_when_taken = 0
        self.taken = False

    def rank(self) -> int:
        """Priority, and one more for each quantum that was waited (called under the lock)."""
        waited = time.monotonic() - self._queues.waiters[self]
        return self._priority() + int(waited / QUANTUM)

    def take(self, timeout: float) -> bool:
        """Stand in line, at most `timeout` seconds now; return whether a slot was got."""
        queues = self._queues
        with queues.lock:
            queues.waiters.setdefault(self, time.monotonic())
            if not self._is_next():
                queues.lock.wait(timeout)
            if not self._is_next():
                return False
            self._rank_when_taken = self.rank()
            del queues.waiters[self]
            queues.holders[self] = time.monotonic()
            self.taken = True
            return True

    def leave(self) -> None:
        """Give the slot up, or the place in line."""
        queues = self._queues
        if not self.taken and self not in queues.waiters:
            return
        with queues.lock:
            queues.holders.pop(self, None)
            queues.waiters.pop(self, None)
            self.taken = False
            queues.lock.notify_all()

    def must_yield(self) -> bool:
        """Whether another queue should have the slot now."""
        queues = self._queues
        if not queues.waiters:
            return False
        with queues.lock:
            best = queues.best_waiter()
            if best is None or len(queues.holders) < queues.count:
                return False
            if min(queues.holders, key=lambda seat: (seat._strength(), queues.holders[seat])) is not self:
                return False
            rank, strength = best.rank(), self._strength()
            return rank > strength or (rank == strength and self._quantum_is_over())

    def _is_next(self) -> bool:
        queues = self._queues
        return len(queues.holders) < queues.count and queues.best_waiter() is self

    def _quantum_is_over(self) -> bool:
        return time.monotonic() - self._queues.holders[self] >= QUANTUM

    def _strength(self) -> int:
        """How much others need to take the slot away: within the quantum, more than got it."""
        return self._priority() if self._quantum_is_over() else self._rank_when_taken
