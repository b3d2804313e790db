"""What a schedule is made of: tests in batches, workers with queues, and what workers are told."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Task:
    """What a test needs: devices, and the host that has them. None: any host will do."""

    devices: tuple[str, ...] = ()
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Let a worker run these tests after those that it has."""

    worker: str
    items: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class End:
    """Let a worker run what it has, and end."""

    worker: str


Order: TypeAlias = Send | End


class State(enum.Enum):
    """How far a test is."""

    PENDING = "in a batch"
    SENT = "in the queue of a worker"
    RUNNING = "begun by the worker"
    DONE = "there is, or will be, a report"


@dataclass(slots=True)
class Item:
    """A test, as far as it is known."""

    task: Task
    state: State = State.PENDING
    deaths: int = 0
    """How many workers died with it as their next test."""


@dataclass(slots=True)
class Batch:
    """Tests of the same needs, which stay together: those of a device, of a group of devices, of none."""

    task: Task
    items: deque[int]
    worker: str | None = None


@dataclass(slots=True)
class Worker:
    """A worker, and the tests that it was sent and has not ended."""

    name: str
    host: str
    queue: deque[int] = field(default_factory=deque)
    ending: bool = False
    seconds: float | None = None
    """How long its tests take."""

    @property
    def waits(self) -> bool:
        """Whether it has a test that it does not run before it knows the next one."""
        return len(self.queue) == 1 and not self.ending
