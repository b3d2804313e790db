"""What the run has come to so far, and the verdict of it where pytest does not come to write one."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_amdgpu.supervisor.protocol import MAIN, THE_RUN, Said
from pytest_amdgpu.supervisor.watch import Watched


class Account:
    """What pytest has said of the run; it is taken apart only when somebody has to speak for pytest."""

    def __init__(self) -> None:
        self.verdict: str | None = None
        """The verdict's file, if there is to be one."""
        self.facts: dict[str, Any] = {}
        """What stands in it of the run."""
        self.over = False
        """Whether the run has ended, for whatever reason: nobody speaks any more."""
        self.status: int | None = None
        """The exit status of the verdict, when there is one."""
        self.spoken = False
        """Whether that is one which was written here."""
        self.troubles: list[str] = []
        """What stands against the run as a whole: what was seen here."""
        self.told: list[str] = []
        """And what pytest has said of it."""
        self._portions: list[tuple[str, list[Any]]] = []

    def take(self, kind: str, rest: list[Any]) -> None:
        """Take what is said of expected tests or of a result (Said.EXPECT, Said.RECORD)."""
        self._portions.append((kind, rest))

    def timeout(self, test: str, text: str) -> None:
        """Know that a test was killed."""
        self._portions.append(("timeout", [test, text]))

    def died(self, process: Watched) -> None:
        """Know that a process ends in whatever it is at."""
        if process.name == MAIN and process.test not in ("", THE_RUN):
            self._portions.append(("died", [process.test, process.phase]))

    def interrupted(self, process: Watched, text: str) -> None:
        """Know that a process is killed because somebody ends the run."""
        self.trouble(text)
        if process.test not in ("", THE_RUN):
            self._portions.append(("interrupted", [process.test, text]))

    def trouble(self, text: str) -> None:
        """Know what stands against the run as a whole."""
        if text not in self.troubles:
            self.troubles.append(text)

    def speak(self, processes: Iterable[Watched]) -> None:
        """Write the verdict that pytest did not come to write."""
        from pytest_amdgpu.results.record import Outcome, Trust
        from pytest_amdgpu.supervisor.last_word import Results

        self.over = self.spoken = True
        for process in processes:
            self.died(process)
        results = Results()
        for kind, rest in self._portions:
            if kind == Said.EXPECT:
                results.devices = tuple(rest[0])
                results.expect(rest[1])
            elif kind == Said.RECORD:
                results.take(rest[0])
            elif kind == "died":
                text = f"pytest's process died in {rest[1]} of it"
                results.was_running(rest[0], Outcome.CRASH, Trust.INFRA, text)
            elif kind == "interrupted":
                results.was_running(rest[0], Outcome.CRASH, Trust.INFRA, rest[1])
            else:
                results.was_running(rest[0], Outcome.TIMEOUT, Trust.CLEAN, rest[1])
        judgment = results.judge([*self.troubles, *self.told])
        self.status = judgment.exit_status
        lines = [f"\namdgpu verdict: {judgment.verdict.value}", *judgment.reasons[:20]]
        if self.verdict is not None:
            try:
                results.write(Path(self.verdict), self.facts, judgment)
            except OSError as error:
                lines.append(f"amdgpu: the verdict could not be written: {error}")
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
