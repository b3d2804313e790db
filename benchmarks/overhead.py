"""What the plugin costs each test: one that uses a device, one that does not, and collection."""

from __future__ import annotations

import statistics
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
TESTS = """import pytest
@pytest.mark.parametrize("number", range({count}))
def test_it({fixture}number): pass
"""


@dataclass(frozen=True)
class Variant:
    """A run: options, and whether its tests use a device."""

    name: str
    options: Sequence[str]
    with_device: bool


BASE = Variant("bare pytest", BARE, with_device=False)
# Tests of a gate run in a worker, which costs something without the plugin, too.
WORKER = Variant("no plugin, but a worker", (*BARE, "-n1"), with_device=False)
VARIANTS = (
    Variant("no device", PLUGIN, with_device=False),
    Variant("device", PLUGIN, with_device=True),
    # A gate is not green if no test uses a device, nor if a run only collects.
    Variant("no device, verdict", VERDICT, with_device=False),
    Variant("device, gate", GATE, with_device=True),
)


class Bench:
    """Runs of tests in one directory, with one cache of compiled modules."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def seconds(self, variant: Variant, count: int) -> float:
        """Return the CPU time that a run of so many tests takes in all its processes."""
        fixture = "amdgpu_device, " if variant.with_device else ""
        (self._directory / "test_many.py").write_text(TESTS.format(count=count, fixture=fixture))
        arguments = [*variant.options, "test_many.py"]
        return measure.run_pytest(self._directory, arguments, self._directory / "bytecode").cpu


def per_test(bench: Bench, variants: Sequence[Variant], few: int, many: int, rounds: int) -> list[float]:
    """Return what one more test takes in each variant, in seconds: the median of rounds, which alternate."""
    slopes: list[list[float]] = [[] for _ in variants]
    for _ in range(rounds):
        for variant, found in zip(variants, slopes, strict=True):
            less, more = (bench.seconds(variant, count) for count in (few, many))
            found.append((more - less) / (many - few))
    return [statistics.median(found) for found in slopes]


def report_tests(bench: Bench, few: int, many: int, rounds: int) -> None:
    """Print what a trivial test takes longer with the plugin."""
    shown = (WORKER, *VARIANTS)
    bare, *times = per_test(bench, [BASE, *shown], few, many, rounds)
    for variant, seconds in zip(shown, times, strict=True):
        added = (seconds - bare) * 1e3
        limited = variant.with_device
        measure.row(
            f"added to a test, {variant.name}",
            f"{added:+.3f} ms",
            f"<= {DEVICE_TARGET:g} ms" if limited else "",
            added <= DEVICE_TARGET if limited else None,
            f"{seconds / bare:.2f} x bare pytest, {bare * 1e3:.3f} ms",
        )


def report_collection(bench: Bench, count: int, rounds: int) -> None:
    """Print what collection takes: a run that does nothing else, less one that collects a single test."""
    times: dict[str, list[float]] = {variant.name: [] for variant in (BASE, *VARIANTS)}
    for _ in range(rounds):
        for variant in (BASE, *VARIANTS):
            options = [option for option in variant.options if option != "--amdgpu-gate"]
            one = Variant(variant.name, [*options, "--collect-only", "-qq"], variant.with_device)
            times[variant.name].append(bench.seconds(one, count) - bench.seconds(one, 1))
    bare = statistics.median(times[BASE.name])
    for variant in VARIANTS:
        seconds = statistics.median(times[variant.name])
        measure.row(
            f"collect {count}, {variant.name.replace('gate', 'verdict')}",
            f"{seconds:.2f} s",
            f"<= {COLLECTION_TARGET:g} x",
            seconds <= COLLECTION_TARGET * bare,
            f"{seconds / bare:.2f} x bare pytest, {bare:.2f} s",
        )


def main() -> None:
    """Print the rows."""
    quick = measure.is_quick(__doc__)
    few, many, collected, rounds = (2, 12, 50, 1) if quick else (100, 1100, 10_000, 3)
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
