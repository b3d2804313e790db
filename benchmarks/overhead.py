"""What the plugin costs each test: one that uses a device, one that does not, and collection."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import measure

DEVICE_TARGET, COLLECTION_TARGET = 2.0, 1.3
"""Milliseconds that a test on a device may take longer, and how many times longer collection may."""
BARE = ("-p", "no:amdgpu", "-p", "no:cacheprovider")
PLUGIN = ("--amdgpu-backend=software", "--amdgpu-software=gfx1100", "-p", "no:cacheprovider")
VERDICT = (*PLUGIN, "--amdgpu-verdict=verdict.json")
GATE = (*VERDICT, "--amdgpu-gate")
DEVICE = "amdgpu_device"
TESTS = """import pytest
@pytest.fixture(scope="session", params=["device"])
def session_device(request): return request.param
@pytest.mark.parametrize("number", range({count}))
def test_it({fixture}number): pass
"""


@dataclass(frozen=True)
class Variant:
    """A run: options, and which fixture its tests use, if any."""

    name: str
    options: Sequence[str]
    fixture: str = ""

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit for what a test costs."""
        return self.fixture == DEVICE


BASE = Variant("bare pytest", BARE)
# Tests of a gate run in a worker, which costs something without the plugin, too.
WORKER = Variant("no plugin, but a worker", (*BARE, "-n1"))
# So does it to bring tests with the same parameter of a session's fixture together, which pytest does.
PARAMETER = Variant("no plugin, but a parameter", BARE, "session_device")
VARIANTS = (
    Variant("no device", PLUGIN),
    Variant("device", PLUGIN, DEVICE),
    # A gate is not green if no test uses a device, nor if a run only collects.
    Variant("no device, verdict", VERDICT),
    Variant("device, gate", GATE, DEVICE),
)


class Bench:
    """Runs of tests in one directory, with one cache of compiled modules."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def seconds(self, variant: Variant, count: int) -> float:
        """Return the CPU time that a run of so many tests takes in all its processes."""
        fixture = f"{variant.fixture}, " if variant.fixture else ""
        (self._directory / "test_many.py").write_text(TESTS.format(count=count, fixture=fixture))
        arguments = [*variant.options, "test_many.py"]
        return measure.run_pytest(self._directory, arguments, self._directory / "bytecode").cpu


def difference(bench: Bench, variants: Sequence[Variant], few: int, many: int, rounds: int) -> list[float]:
    """Return what `many` tests take longer than `few` in each variant, in seconds.

    Other jobs of the machine only ever add to CPU time: of the rounds, which alternate, the least counts.
    """
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for variant in variants:
            for count in (few, many):
                times.setdefault((variant.name, count), []).append(bench.seconds(variant, count))
    return [min(times[one.name, many]) - min(times[one.name, few]) for one in variants]


def report_tests(bench: Bench, few: int, many: int, rounds: int) -> None:
    """Print what a trivial test takes longer with the plugin."""
    shown = (WORKER, *VARIANTS)
    bare, *times = (
        seconds / (many - few) for seconds in difference(bench, [BASE, *shown], few, many, rounds)
    )
    for variant, seconds in zip(shown, times, strict=True):
        added = (seconds - bare) * 1e3
        measure.row(
            f"added to a test, {variant.name}",
            f"{added:+.3f} ms",
            f"<= {DEVICE_TARGET:g} ms" if variant.is_limited else "",
            added <= DEVICE_TARGET if variant.is_limited else None,
            f"{seconds / bare:.2f} x bare pytest, {bare * 1e3:.3f} ms",
        )


def report_collection(bench: Bench, count: int, rounds: int) -> None:
    """Print what collection takes: a run that does nothing else, less one that collects a single test."""
    shown = [
        dataclasses.replace(
            variant,
            name=variant.name.replace("gate", "verdict"),
            options=[*(one for one in variant.options if one != "--amdgpu-gate"), "--collect-only", "-qq"],
        )
        for variant in (BASE, PARAMETER, *VARIANTS)
    ]
    bare, *times = difference(bench, shown, 1, count, rounds)
    for variant, seconds in zip(shown[1:], times, strict=True):
        limited = variant.fixture != PARAMETER.fixture
        measure.row(
            f"collect {count}, {variant.name}",
            f"{seconds:.2f} s",
            f"<= {COLLECTION_TARGET:g} x" if limited else "",
            seconds <= COLLECTION_TARGET * bare if limited else None,
            f"{seconds / bare:.2f} x bare pytest, {bare:.2f} s",
        )


def main() -> None:
    """Print the rows."""
    quick = measure.is_quick(__doc__)
    few, many, collected, rounds = (2, 12, 50, 1) if quick else (100, 1100, 10_000, 7)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        # Fills the cache of compiled modules.
        bench.seconds(BASE, 1)
        bench.seconds(VARIANTS[-1], 1)
        print(f"a trivial test more, from runs of {few} and {many}; CPU time of all processes")
        report_tests(bench, few, many, rounds)
        print(f"collection of {collected} trivial tests, less the start of pytest (see startup.py); CPU time")
        report_collection(bench, collected, rounds)


if __name__ == "__main__":
    main()
