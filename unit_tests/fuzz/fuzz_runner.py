"""Runs the cases of a fuzz target: each from a seed of its own, bounded in time, with what it leaked.

A case is done by `Target.case(rng)`, which returns what came of it. Any exception that leaves it is a
failure, and so are a case that takes too long and threads, descriptors or memory that it left behind. Over
the whole run, memory may not grow (`fuzz_growth`).
"""

from __future__ import annotations

import gc
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

from fuzz_growth import Growth

SHARED_MEMORY = "software-gpu-memory"
"""What /proc/self/maps calls the memory of software GPUs."""


class Hang(BaseException):
    """A case takes too long; no handler of the tested code may catch it."""


@dataclass(frozen=True)
class Done:
    """What a case came to: kinds of outcome, and of how many inputs offered how many were taken up."""

    kinds: list[str]
    offered: int = 1
    taken: int = 1


class Target(Protocol):
    """Something to throw input at."""

    name: str
    limit: float
    """Seconds that a case may take: far more than it needs, because the machine may be busy."""
    unit: str
    """What an input is that was taken up, for the report."""

    def case(self, rng: random.Random) -> Done:
        """Do one case and return what came of it; raises for a failure."""

    def close(self) -> None:
        """Give back what all cases share."""


class NamelessRefusal(AssertionError):
    """A refusal that does not say what is wrong."""


@dataclass
class Failure:
    """A case that failed, or the whole run."""

    repeat: str
    text: str


@dataclass
class Report:
    """What came of the cases of a target."""

    target: str
    unit: str
    cases: int = 0
    offered: int = 0
    taken: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    growth: Growth = field(default_factory=Growth)

    def __str__(self) -> str:
        rate = self.taken / self.seconds if self.seconds else 0.0
        lines = [
            f"{self.target}: {self.taken} {self.unit} of {self.offered} inputs offered in {self.cases} cases,"
            f" {self.seconds:.1f} s, {rate:.0f} a second, slowest case {self.slowest * 1e3:.0f} ms,"
            f" {self.growth}, {len(self.failures)} failures"
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


def run(
    target: Target, seed: int, *, cases: int | None = None, inputs: int = 0, first: int = 0, worst: int = 10
) -> Report:
    """Do cases of a seed from number `first` on: `cases`, or as many as it takes until `inputs` are taken up.

    Gives up after `worst` failures.
    """
    report = Report(target.name, target.unit)
    command = f"python unit_tests/fuzz/fuzz.py {target.name} --seed {seed}"
    begun = time.monotonic()
    died: list[str] = []
    hook, threading.excepthook = threading.excepthook, lambda args: died.append(_text(args.exc_value))
    # What was there before is not looked through again whenever a case collects its garbage.
    gc.freeze()
    try:
        while report.cases < cases if cases is not None else report.taken < inputs:
            index = first + report.cases
            failure = _case(target, random.Random(f"{target.name} {seed} {index}"), report)
            if died:
                failure = (failure or "") + "a thread died\n" + "\n".join(died)
                died.clear()
            if failure is not None:
                report.failures.append(Failure(f"{command} --first {index} --cases 1", failure))
                if len(report.failures) >= worst:
                    break
    finally:
        threading.excepthook = hook
        gc.unfreeze()
    report.seconds = time.monotonic() - begun
    too_much = report.growth.problem()
    if too_much is not None:
        report.failures.append(Failure(f"{command} --first {first} --cases {report.cases}", too_much))
    return report


def _case(target: Target, rng: random.Random, report: Report) -> str | None:
    """Do a case and enter it into the report; returns the text of its failure."""
    before = held()
    begun = time.monotonic()
    failure = None
    try:
        with time_limit(target.limit):
            done = target.case(rng)
        report.outcomes.update(done.kinds)
        report.offered += done.offered
        report.taken += done.taken
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        failure = _text(error)
    report.slowest = max(report.slowest, time.monotonic() - begun)
    report.cases += 1
    report.growth.note()
    after = held()
    if failure is None and after != before:
        failure = f"left behind: {before} before, {after} after"
    return failure


def _text(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)) if error is not None else ""
