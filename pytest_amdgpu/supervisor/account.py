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
        self.troubles: list[str] = []
        self._portions: list[tuple[str, list[Any]]] = []

    def take(self, kind: str, rest: list[Any]) -> None:
        """Take what is said of expected tests or of a result (Said.EXPECT, Said.RECORD)."""
        self._portions.append((kind, rest))

    def timeout(self, test: str, text: str) -> None:
        """Know that a test was killed."""
        self._portions.append(("timeout", [test, text]))

    def trouble(self, text: str) -> None:
        """Know what stands against the run as a whole."""
        if text not in self.troubles:
            self.troubles.append(text)

    def speak(self, processes: Iterable[Watched]) -> None:
        """Write the verdict that pytest did not come to write."""
        from pytest_amdgpu.results.record import Outcome, Trust
        from pytest_amdgpu.supervisor.last_word import Results

        self.over = True
        results = Results()
        for kind, rest in self._portions:
            if kind == Said.EXPECT:
                results.devices = tuple(rest[0])
                results.expect(rest[1])
            elif kind == Said.RECORD:
                results.take(rest[0])
            else:
                results.was_running(rest[0], Outcome.TIMEOUT, Trust.CLEAN, rest[1])
        for process in processes:
            if process.name == MAIN and process.test not in ("", THE_RUN):
                text = f"pytest's process died in {process.phase} of it"
                results.was_running(process.test, Outcome.CRASH, Trust.INFRA, text)
        judgment = results.judge(self.troubles)
        lines = [f"\namdgpu verdict: {judgment.verdict.value}", *judgment.reasons[:20]]
        if self.verdict is not None:
            try:
                results.write(Path(self.verdict), self.facts, judgment)
            except OSError as error:
                lines.append(f"amdgpu: the verdict could not be written: {error}")
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
