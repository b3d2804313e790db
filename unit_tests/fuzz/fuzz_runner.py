"""Runs the cases of a fuzz target: each from a seed of its own, bounded in time, with what it leaked.

A case is done by `Target.case(rng)`, which returns the kind of its outcome. Any exception that leaves it is a
failure, and so are a case that takes too long and threads, descriptors or memory that it left behind.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

SHARED_MEMORY = "software-gpu-memory"
"""What /proc/self/maps calls the memory of software GPUs."""


class Hang(BaseException):
    """A case takes too long; no handler of the tested code may catch it."""


class Target(Protocol):
    """Something to throw input at."""

    name: str
    limit: float
    """Seconds that a case may take."""
    per_case: int
    """How many inputs a case consists of."""

    def case(self, rng: random.Random) -> str | list[str]:
        """Do one case and return the kind of its outcome, or those of its parts; raises for a failure."""

    def close(self) -> None:
        """Give back what all cases share."""


class NamelessRefusal(AssertionError):
    """A refusal that does not say what is wrong."""


@dataclass
class Failure:
    """A case that failed."""

    repeat: str
    text: str


@dataclass
class Report:
    """What came of the cases of a target."""

    target: str
    cases: int = 0
    inputs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.inputs / self.seconds if self.seconds else 0.0
        lines = [
            f"{self.target}: {self.inputs} inputs in {self.cases} cases, {self.seconds:.1f} s, {rate:.0f} a"
            f" second, slowest case {self.slowest * 1e3:.0f} ms, {len(self.failures)} failures"
        ]
        lines += [f"  {count:8} {kind}" for kind, count in self.outcomes.most_common()]
        lines += [f"FAILED, repeat with: {failure.repeat}\n{failure.text}" for failure in self.failures]
        return "\n".join(lines)


def outcome(act: Callable[[], object], *refusals: type[BaseException]) -> str:
    """Do something and return "accepted" or the name of the refusal, which must say something.

    A note must say something behind its title, too.
    """
    try:
        act()
    except refusals as error:
        notes = getattr(error, "__notes__", [])
        if not str(error).strip() or not all(note.rpartition(": ")[2].strip() for note in notes):
            raise NamelessRefusal(f"{error!r} does not say what is wrong") from error
        return type(error).__name__
    return "accepted"


def held() -> dict[str, int]:
    """Count what a case may not leave behind."""
    maps = Path("/proc/self/maps").read_text(errors="replace")
    return {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "mappings of software GPUs": maps.count(SHARED_MEMORY),
    }


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hang in the main thread after so many seconds."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(target: Target, seed: int, cases: int, first: int = 0, worst: int = 10) -> Report:
    """Do the cases `first` to `first + cases` of a seed; gives up after `worst` failures."""
    report = Report(target.name)
    begun = time.monotonic()
    died: list[str] = []
    hook, threading.excepthook = threading.excepthook, lambda args: died.append(_text(args.exc_value))
    try:
        for index in range(first, first + cases):
            failure = _case(target, random.Random(f"{target.name} {seed} {index}"), report)
            if died:
                failure = (failure or "") + "a thread died\n" + "\n".join(died)
                died.clear()
            if failure is not None:
                repeat = (
                    f"python unit_tests/fuzz/fuzz.py {target.name} --seed {seed} --first {index} --cases 1"
                )
                report.failures.append(Failure(repeat, failure))
                if len(report.failures) >= worst:
                    break
    finally:
        threading.excepthook = hook
    report.seconds = time.monotonic() - begun
    return report


def _case(target: Target, rng: random.Random, report: Report) -> str | None:
    """Do a case and enter it into the report; returns the text of its failure."""
    before = held()
    begun = time.monotonic()
    failure = None
    try:
        with time_limit(target.limit):
            kinds = target.case(rng)
        report.outcomes.update([kinds] if isinstance(kinds, str) else kinds)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        failure = _text(error)
    report.slowest = max(report.slowest, time.monotonic() - begun)
    report.cases += 1
    report.inputs += target.per_case
    after = held()
    if failure is None and after != before:
        failure = f"left behind: {before} before, {after} after"
    return failure


def _text(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)) if error is not None else ""
