"""Signs of life for the supervisor: the process goes on, also where no test runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator
from time import monotonic  # tests put other clocks into the module
from typing import Any

import pytest
from _pytest.outcomes import Failed

from pytest_amdgpu.plugin.options import DEADLINES, NO_PHASE
from pytest_amdgpu.supervisor.client import Client
from pytest_amdgpu.supervisor.protocol import MAIN, THE_RUN, Limit


class DeadlineError(Failed):
    """Ends what takes too long. Like `pytest.fail` it is no `Exception` of Python's."""

    __module__ = "builtins"  # as pytest does with its own: reports then name it without a path


class Heartbeat:
    """Any process of pytest that is watched."""

    def __init__(self, config: pytest.Config, address: str, name: str) -> None:
        """Raises `SupervisorGoneError`."""
        self._seconds: dict[str, float] = config.getoption("--amdgpu-deadline") or DEADLINES
        self._client = Client(address, name, self._seconds[NO_PHASE], self._fail)
        self._text = ""
        """What to say if the phase is late."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Keep the deadline of what comes after the last test."""
        return (yield from self._beside_tests("end"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Say that the run comes to its end by itself."""
        self._client.stopping(self._limit("end"))

    @contextlib.contextmanager
    def rest(self) -> Iterator[None]:
        """Wait for something that takes its time, and be late in nothing."""
        self._client.rest()
        try:
            yield
        finally:
            self._client.go_on()

    def close(self) -> None:
        """Come to an end in order."""
        self._client.close()

    def _begin_beside_tests(self, phase: str) -> None:
        self._client.begin(THE_RUN, phase, self._limit(phase))

    def _beside_tests(self, phase: str) -> Generator[None, object, object]:
        self._begin_beside_tests(phase)
        try:
            return (yield)
        finally:
            self._client.idle()

    def _limit(self, phase: str) -> Limit | None:
        seconds = self._seconds[phase]
        self._text = f"Timeout: {phase} took longer than {seconds:g} s (--amdgpu-deadline)"
        return None if math.isinf(seconds) else Limit(monotonic() + seconds, seconds)

    def _fail(self, in_phase: bool) -> None:
        __tracebackhide__ = True
        if not in_phase:
            raise DeadlineError(
                f"Timeout: pytest and its plugins did not go on for {self._seconds[NO_PHASE]:g} s"
                f" between the phases of tests (--amdgpu-deadline={NO_PHASE}=...)"
            )
        raise DeadlineError(self._text)


class ControllersHeartbeat(Heartbeat):
    """The controller of pytest-xdist, which goes on as long as its loop takes what workers say.

    It asks for that every two seconds at least, also if there is nothing.
    """

    def __init__(self, config: pytest.Config, address: str) -> None:
        """Raises `SupervisorGoneError`."""
        super().__init__(config, address, MAIN)
        queue = config.pluginmanager.getplugin("dsession").queue
        get, beat = queue.get, self._client.beat

        def get_and_beat(*args: Any, **kwargs: Any) -> object:
            beat()
            return get(*args, **kwargs)

        queue.get = get_and_beat
