"""What changed between the results of two runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_amdgpu.results.comparison import Comparison, compare
from pytest_amdgpu.results.verdict_reader import read_verdict

SAME, WORSE, UNUSABLE = 0, 1, 2
"""Exit status: nothing got worse; something did, or a run is not whole; a file cannot be used."""


def compared(before: Path, after: Path) -> Comparison:
    """Compare two files of `--amdgpu-verdict`; raises `VerdictFileError` and OSError."""
    return compare(read_verdict(before), read_verdict(after))


def lines(comparison: Comparison) -> Iterator[str]:
    """Yield what to print."""
    for text in comparison.shortcomings:
        yield f"warning: {text}"
    before, after = comparison.verdicts
    if before is not after:
        yield f"verdict: {before.value} -> {after.value}"
    for change, tests in comparison.changes.items():
        yield f"{change.value} ({len(tests)}):"
        yield from (f"    {test}" for test in tests)
    if comparison.durations:
        yield f"other durations ({len(comparison.durations)}):"
        yield from (f"    {text}" for text in comparison.durations)
    if comparison.environment:
        yield f"other environment ({len(comparison.environment)}):"
        yield from (f"    {key}: {old} -> {new}" for key, old, new in comparison.environment)
    if not comparison.changes and not comparison.shortcomings and before is after:
        yield "the results are the same"
