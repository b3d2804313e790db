"""How far a run has come: tests, rate, time left, and what runs where.

In a terminal it stands in the empty rest of the line that pytest is writing, and goes before pytest goes on
with that line. Elsewhere, as in the log of a CI, it is a line of its own once in a while. Where workers run
the tests it also goes on while none of them reports anything, and names the tests that take long.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TextIO

import pytest

from pytest_amdgpu.plugin.session import session_key

MODES = ("auto", "on", "off")
PAUSE = 30.0
"""Seconds at least between two lines in a log."""
_NAMED = 3
"""Tests that take long that are named."""
_REDRAW = 0.2
"""Seconds at least between two states of the line in a terminal."""
_NARROWEST = 30
"""Columns that are worth writing to."""
_ERASE = "\x1b[K"
"""To the end of the line (ECMA-48, EL)."""


def register(config: pytest.Config) -> None:
    """Show progress where that is wanted: `auto` leaves quiet runs and those without capture alone."""
    mode: str = config.getoption("--amdgpu-progress")
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if mode == "off" or terminal is None or hasattr(config, "workerinput") or config.option.collectonly:
        return
    if mode == "auto" and (config.option.verbose < 0 or config.getoption("capture", None) == "no"):
        return
    progress = Progress(config, terminal, always=mode == "on")
    config.pluginmanager.register(progress, "amdgpu_progress")
    if (distributed := config.pluginmanager.getplugin("dsession")) is not None:
        _tick_while_idle(distributed.queue, progress)


def _tick_while_idle(events: queue.Queue[object], progress: Progress) -> None:
    """Let `progress` go on while pytest-xdist waits for events of workers, which it does 2 s at a time.

    So nobody else writes meanwhile, and it ends when the tests do.
    """
    get = events.get

    def get_or_tick(block: bool = True, timeout: float | None = None) -> object:
        try:
            return get(block, timeout)
        except queue.Empty:
            progress.tick()
            raise

    events.get = get_or_tick  # type: ignore[method-assign]


class Estimate:
    """Counts tests, and tells rate and time left. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = 0
        self.done = 0
        self._clock = clock
        self._begun: float | None = None
        self._running: dict[str, float] = {}
        """When each began, the oldest first."""
        self._last: list[str] = []

    def start(self, test: str) -> None:
        """Know that a test runs."""
        now = self._clock()
        if self._begun is None:
            self._begun = now
        self._running[test] = now

    def end(self, test: str) -> None:
        """Know that a test has ended."""
        if test in self._running:
            del self._running[test]
            self._last = [test]
            self.done += 1

    @property
    def running(self) -> bool:
        """Whether any test runs."""
        return bool(self._running)

    def text(self, devices: Iterable[str]) -> str:
        """Return the state in one line, with the devices in use and the test that began last.

        Between two tests, it is the one that has ended. Tests that take long are named first, and how long.
        """
        now = self._clock()
        parts = [f"{self.done}/{self.total}"]
        seconds = now - self._begun if self._begun is not None else 0.0
        if self.done and seconds > 0:
            rate = self.done / seconds
            parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each")
            parts.append(f"{duration((self.total - self.done) / rate)} left")
        tests = list(self._running) or self._last
        used = [device for device in devices if any(device in test for test in tests)]
        if used:
            parts.append("on " + ", ".join(used))
        named = [
            f"{_short(test)} for {duration(now - begun)}"
            for test, begun in self._running.items()
            if now - begun >= PAUSE
        ][:_NAMED] or [_short(test) for test in tests[-1:]]
        more = len(tests) - len(named)
        return ", ".join([*parts, *named]) + (f" and {more} more" if more else "")


def _short(test: str) -> str:
    return test.rpartition("::")[2]


def duration(seconds: float) -> str:
    """Return seconds as minutes and seconds, or hours and minutes: 0:07, 12:30, 2h05."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    return f"{minutes}:{rest:02}" if minutes < 100 else f"{minutes // 60}h{minutes % 60:02}"


class Progress:
    """Sees tests begin and end, in the process that has the terminal.

    It shows nothing of runs that use no device, unless `always`.
    """

    def __init__(self, config: pytest.Config, terminal: pytest.TerminalReporter, *, always: bool) -> None:
        self._config = config
        self._terminal = terminal
        self._wanted = always
        self._estimate = Estimate()
        self._in_place = terminal.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._shown = False
        self._devices: list[str] = []
        self._next = 0.0 if self._in_place else time.monotonic() + PAUSE

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Know how many tests there are."""
        self._expect([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Know how many tests there are, where only workers collect."""
        self._expect(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logstart(self, nodeid: str) -> Generator[None, object, object]:
        """Know that a test begins."""
        self._estimate.start(nodeid)
        self._erase()
        result = yield
        if self._in_place:
            self._show()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, object, object]:
        """Make room for what pytest writes of a phase, and know how a test ended."""
        last = report.when == "teardown" or str(report.when) == "???"
        if last:
            self._estimate.end(report.nodeid)
        self._erase()
        result = yield
        # Between two tests a line of its own is in nobody's way.
        if self._in_place or last:
            self._show()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None, object, object]:
        """Make room: pytest may end the line."""
        self._erase()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Make room for good."""
        self._erase()
        return (yield)

    def tick(self) -> None:
        """Show how far it is although no test began or ended."""
        if self._estimate.running:
            self._erase()
            self._show()

    def _expect(self, tests: Sequence[str]) -> None:
        self._estimate.total = max(self._estimate.total, len(tests))
        self._devices = [device.id for device in self._config.stash[session_key].plan.pool]
        self._wanted = self._wanted or any(device in test for test in tests for device in self._devices)

    def _show(self) -> None:
        now = time.monotonic()
        if now < self._next or not self._wanted:
            return
        text = self._estimate.text(self._devices)
        writer = self._config.get_terminal_writer()
        if not self._in_place:
            self._next = now + PAUSE
            if writer.width_of_current_line:
                self._terminal.ensure_newline()
            if writer.width_of_current_line:
                # Dots of several workers, or of a file whose name was written further above.
                writer.line()
            self._terminal.write_line(f"amdgpu: {text}")
            # Nobody else may write for a long time.
            self._terminal.flush()
            return
        # The last column stays free, because there terminals differ in where the cursor is afterwards.
        room = writer.fullwidth - writer.width_of_current_line - 3
        if room < _NARROWEST:
            return
        self._next = now + _REDRAW
        # Names may hold letters of any width.
        text = f"  {text}".encode("ascii", "replace").decode()[:room]
        self._write(f"{text}\x1b[{len(text)}D")
        self._shown = True

    def _erase(self) -> None:
        if self._shown:
            self._write(_ERASE)
            self._shown = False

    def _write(self, text: str) -> None:
        """Write behind the back of pytest, which counts the columns that it has written."""
        file: TextIO = self._config.get_terminal_writer()._file
        file.write(text)
        file.flush()
