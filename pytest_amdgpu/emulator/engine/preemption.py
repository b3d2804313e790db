"""A thread that can be preempted: evicted and restored, paused for a change, and stopped.

The thread gives way at checkpoints only. Where it does, it holds no view of memory, so that memory may be
unmapped until it goes on.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from pytest_amdgpu.emulator.engine.errors import EngineStuckError, QueueStoppedError

STOP_TIMEOUT = 10.0
"""Seconds within which a thread must reach a checkpoint; pieces of work between two take milliseconds."""


class EngineThread(threading.Thread):
    """A queue's thread, told apart from the client's."""


class Preemptible(ABC):
    """The thread of a queue. Public methods may be called from any thread, `checkpoint` from its own only."""

    def __init__(self, name: str, active: bool, wake: Callable[[], None]) -> None:
        """`wake` ends sleeps of the thread that are not on `condition`."""
        self.name = name
        self.condition = threading.Condition()
        """Guards what other threads change; the thread sleeps on it when it has nothing to do."""
        self.attention = not active
        """Whether the thread must come to a checkpoint."""
        self.resumed = False
        """Set when the thread goes on after it gave way."""
        self.halted: str | None = None
        """Why the queue will never run again."""
        self.lingers = False
        """Whether waves of a queue that has halted are still on the hardware, so that it can be preempted."""
        self.ended = False
        self.evicted = False
        self.active = active
        self._wake = wake
        self._parked = False
        self._stopping = False
        self._thread = EngineThread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; nothing runs before."""
        self._thread.start()

    def evict(self) -> None:
        """Make the thread give way, and wait until it has (not when an engine's thread calls)."""
        with self.condition:
            self.evicted = True
        self._make_give_way()

    def restore(self) -> None:
        """Let an evicted thread go on."""
        with self.condition:
            self.evicted = False
            self.condition.notify_all()

    def change(self, change: Callable[[], bool]) -> None:
        """Call `change` while the thread gives way; it returns whether the queue is active from now on."""
        with self.condition:
            self.active = False
        self._make_give_way()
        with self.condition:
            self.active = change()
            self.condition.notify_all()

    def stop(self) -> None:
        """Abandon what runs and join the thread; EngineStuckError after `STOP_TIMEOUT`."""
        with self.condition:
            self._stopping = self.attention = True
            self.condition.notify_all()
        self._wake()
        self._thread.join(STOP_TIMEOUT)
        if self._thread.is_alive():
            raise EngineStuckError(f"{self.name} did not stop within {STOP_TIMEOUT} s: {self.state()}")

    @abstractmethod
    def state(self) -> str:
        """Describe what the thread does."""

    def checkpoint(self) -> None:
        """Give way if asked to; raises QueueStoppedError to unwind a thread that is to end."""
        if self.attention:
            self._give_way()

    @abstractmethod
    def live(self) -> None:
        """Do the queue's work, in its thread, until an error or QueueStoppedError."""

    @abstractmethod
    def set_aside(self) -> None:
        """Take what runs off the hardware and save it, in the queue's thread: it gives way."""

    @abstractmethod
    def abandon(self) -> None:
        """Take what runs off the hardware, in the queue's thread: it ends."""

    def _main(self) -> None:
        try:
            self.live()
        except QueueStoppedError:
            pass
        finally:
            self.abandon()
            with self.condition:
                self.ended = True
                self.condition.notify_all()

    def _give_way(self) -> None:
        aside = False
        while True:
            with self.condition:
                if self._stopping:
                    raise QueueStoppedError
                if not self.evicted and self.active:
                    self.attention = self._parked = False
                    return
                if aside:
                    self._parked = self.resumed = True
                    self.condition.notify_all()
                    self.condition.wait()
            if not aside:
                self.set_aside()
                aside = True

    def _make_give_way(self) -> None:
        with self.condition:
            self.attention = True
            self.condition.notify_all()
        self._wake()
        if isinstance(threading.current_thread(), EngineThread):
            return
        deadline = time.monotonic() + STOP_TIMEOUT
        with self.condition:
            while not (self._parked or self.ended or (self.halted and not self.lingers)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self.condition.wait(left)
            else:
                return
        raise EngineStuckError(f"{self.name} could not be preempted within {STOP_TIMEOUT} s: {self.state()}")
