"""When a process of pytest is late, and what is done about it, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pytest_amdgpu.supervisor.protocol import THE_RUN, Limit

UNWINDING = 5.0
"""Seconds that a test has to fail, once the interrupt has arrived in it."""
NO_PHASE = "what pytest does between the phases"
"""Stands for a phase in messages."""


@dataclass(slots=True)
class Watched:
    """A process that runs tests, and what it is at. `due` is when the next step comes, if one does."""

    name: str
    pid: int
    test: str = ""
    phase: str = ""
    devices: tuple[str, ...] = ()
    begun: float = 0.0
    limit: Limit | None = None
    stops: int = 0
    """How often somebody wanted to end the run, as far as something was done to the process for it."""
    beats: bool = False
    """Whether its time counts from the last beat of its pulse."""
    due: float | None = None
    step: int = 0
    queues: dict[tuple[str, str], list[object]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    events: list[tuple[float, str]] = field(default_factory=list)
    """System management events of its GPUs, also in earlier tests, and when each was read."""
    unheard: dict[str, str] = field(default_factory=dict)
    """Of which devices there are none, and why."""


class Actions(Protocol):
    """What is done to a process that is late."""

    def look(self, process: Watched) -> None:
        """Begin to gather evidence without disturbing it; `Watch.seen` is called at the end."""

    def interrupt(self, process: Watched) -> None:
        """Ask Python to give up the test, or the run if `stops` says so."""

    def look_closer(self, process: Watched) -> None:
        """The same again, with the stack of Python."""

    def terminate(self, process: Watched) -> None:
        """Tell what is about to be killed, and ask the process to end."""

    def kill(self, process: Watched) -> None:
        """End it."""

    def give_up(self, process: Watched) -> None:
        """Take it for lost: the kernel does not let it die."""

    def is_alive(self, process: Watched) -> bool:
        """Whether there still is such a process."""

    def last_beat(self, process: Watched) -> float:
        """When the process last went on, by the clock of the watch; infinity while it need not."""

    def is_suspended(self, process: Watched) -> bool:
        """Whether somebody stopped the whole run, as Ctrl-Z does, so that it is not late."""


class Step(NamedTuple):
    """What is done to a process, and the seconds until the next step."""

    action: Callable[[Actions, Watched], None]
    patience: float


STEPS = (
    Step(lambda actions, process: actions.look(process), 0.4),
    Step(lambda actions, process: actions.interrupt(process), 0.5),
    Step(lambda actions, process: actions.look_closer(process), 0.4),
    Step(lambda actions, process: actions.terminate(process), 0.1),
    Step(lambda actions, process: actions.kill(process), 0.3),
    Step(lambda actions, process: actions.give_up(process), 0.0),
)
"""Of a process that cannot be looked at nor killed all time is used up, 1.7 s: the verdict has 2 s."""
_LOOK, _INTERRUPT, _LOOK_CLOSER, _TERMINATE, _KILL, _GIVE_UP = range(len(STEPS))
_LOOKS = (_LOOK, _LOOK_CLOSER)
_DYING = (_TERMINATE, _KILL)
_GLANCE = 0.05
"""Seconds between two looks at whether a process has died."""


class Watch:
    """All processes that run tests."""

    def __init__(self, clock: Callable[[], float], actions: Actions) -> None:
        """`clock` counts seconds as deadlines do."""
        self._clock = clock
        self._actions = actions
        self._processes: dict[str, Watched] = {}

    def __iter__(self) -> Iterator[Watched]:
        return iter(list(self._processes.values()))

    def __getitem__(self, name: str) -> Watched:
        return self._processes[name]

    def __contains__(self, name: str) -> bool:
        return name in self._processes

    def add(self, name: str, pid: int) -> Watched:
        """Watch a process."""
        self._processes[name] = Watched(name, pid)
        return self._processes[name]

    def remove(self, name: str) -> None:
        """Watch a process no more: it is gone."""
        self._processes.pop(name, None)

    def begin(self, name: str, test: str, phase: str, limit: Limit | None, devices: tuple[str, ...]) -> None:
        """Know that a phase of a test begins, and when it must have ended."""
        process = self._processes[name]
        if process.step > _TERMINATE or (process.stops and process.step):
            # It is being ended, and what is told of that stands.
            return
        process.begun = self._clock()
        process.test, process.phase, process.devices = test, phase, devices
        process.beats = False
        self._rearm(process, limit)

    def idle(self, name: str, limit: Limit | None) -> None:
        """Know that no test runs, and how long that may take from one beat of the pulse to the next."""
        self.begin(name, THE_RUN, NO_PHASE, limit, ())
        self._processes[name].beats = True

    def caught(self, name: str) -> None:
        """Know that the test is about to fail: give it time for that."""
        process = self._processes[name]
        if process.step in (_LOOK_CLOSER, _TERMINATE):
            # The closer look comes if that time is over.
            process.step, process.due = _LOOK_CLOSER, self._clock() + UNWINDING

    def late(self, name: str, limit: Limit | None) -> None:
        """Know that pytest was found between two phases, and how long that may take."""
        process = self._processes[name]
        if process.step in (_LOOK_CLOSER, _TERMINATE):
            process.phase, process.beats = "what follows the phase", True
            self._rearm(process, limit)

    def seen(self, name: str) -> None:
        """Know that evidence was gathered: nothing more is to be waited for."""
        process = self._processes.get(name)
        if process is None or (process.stops == 1 and process.step - 1 == _LOOK):
            # Who has heard himself that the run is to end, as of a terminal, needs the time.
            return
        if process.step - 1 in _LOOKS:
            process.due = self._clock()

    def stop(self, name: str, times: int) -> None:
        """Know how often somebody wanted to end the run: interrupt what runs, and so on."""
        process = self._processes[name]
        if times > process.stops:
            process.stops = times
            if process.step == _LOOK:
                process.limit, process.due = None, self._clock()

    def stopping(self, name: str, limit: Limit | None) -> None:
        """Know that a process heeds that."""
        process = self._processes[name]
        if process.step <= _TERMINATE:
            process.stops = max(1, process.stops)
            process.step = _LOOK
            self.begin(name, THE_RUN, "end", limit, ())

    @property
    def stops(self) -> bool:
        """Whether a process is being ended because somebody wanted to end the run."""
        return any(process.stops and process.limit is None and process.due is not None for process in self)

    def end(self, name: str, patience: float) -> None:
        """Terminate a process that is still there in `patience` seconds, without asking its tests."""
        process = self._processes[name]
        if process.step <= _TERMINATE:
            process.step, process.due, process.limit = _TERMINATE, self._clock() + patience, None

    def poll(self) -> float | None:
        """Do what is due; return the seconds until something is due again, or None."""
        for process in self:
            if process.due is None:
                continue
            dying = process.step - 1 in _DYING
            if (dying or process.due <= self._clock()) and not self._actions.is_alive(process):
                self.remove(process.name)
            elif process.due <= self._clock():
                self._step(process)
        now = self._clock()
        waits = [
            min(process.due - now, _GLANCE) if process.step - 1 in _DYING else process.due - now
            for process in self
            if process.due is not None
        ]
        return max(0.0, min(waits)) if waits else None

    def _step(self, process: Watched) -> None:
        if process.step == _LOOK and process.limit is not None:
            seconds, end = process.limit.seconds, self._time(process)
            if end > self._clock():
                self._rearm(process, Limit(end, seconds))
                return
        step = STEPS[process.step]
        process.step += 1
        process.due = self._clock() + step.patience
        step.action(self._actions, process)
        if process.step > _GIVE_UP:
            self.remove(process.name)

    def _time(self, process: Watched) -> float:
        """Return when the time of a process is over that seems to be late."""
        assert process.limit is not None
        beat = self._actions.last_beat(process)
        if math.isinf(beat) or self._actions.is_suspended(process):
            # It gets all its time again: the run may be continued at any moment from now on.
            return self._clock() + process.limit.seconds
        return beat + process.limit.seconds if process.beats else process.limit.end

    def _rearm(self, process: Watched, limit: Limit | None) -> None:
        process.limit, process.due = limit, limit.end if limit else None
        process.step = 0
