"""What a failure is blamed on: the table of the documentation, and the counts as text."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from pytest_amdgpu.results import confirmation
from pytest_amdgpu.results.confirmation import Blame, Count, Repeats, blame, counts_text, parse_counts

DOCS = Path(__file__).parents[2] / "docs" / "gate.md"


def repeats(results: str) -> Repeats:
    """Runs of which each letter says what became: F failed, P passed, U could not be run."""
    return Repeats("d", results.count("F"), results.count("F") + results.count("P"), results.count("U"))


@pytest.mark.parametrize(
    ("same", "other", "blamed"),
    [
        ("F", None, Blame.REGRESSION),
        ("FF", "FF", Blame.REGRESSION),
        ("", "F", Blame.REGRESSION),
        ("F", "U", Blame.REGRESSION),
        ("U", "F", Blame.REGRESSION),
        ("P", None, Blame.FLAKY),
        ("FP", "FF", Blame.FLAKY),
        ("P", "P", Blame.FLAKY),
        ("P", "F", Blame.FLAKY),
        ("P", "U", Blame.FLAKY),
        ("FF", "FP", Blame.FLAKY),
        ("U", "FP", Blame.FLAKY),
        ("F", "P", Blame.DEVICE_SUSPECT),
        ("FFF", "PPP", Blame.DEVICE_SUSPECT),
        ("U", "P", Blame.DEVICE_SUSPECT),
        ("FU", "P", Blame.DEVICE_SUSPECT),
        ("U", "U", Blame.MACHINE),
        # The test may have broken the only device; one run elsewhere does not tell a flake from a device.
        ("U", None, None),
        ("", "P", None),
        ("", "U", None),
        ("", None, None),
    ],
)
def test_what_a_failure_is_blamed_on(same: str, other: str | None, blamed: Blame | None) -> None:
    assert blame(repeats(same), None if other is None else repeats(other)) is blamed


def test_a_failure_that_passes_here_never_clears_what_is_tested() -> None:
    """Two words take a failure from the gate's regressions: they may not follow from a run that passed."""
    runs = ["".join(run) for size in range(4) for run in itertools.product("FPU", repeat=size)]
    for same, other in itertools.product(runs, [None, *runs]):
        if blame(repeats(same), None if other is None else repeats(other)) in (
            Blame.DEVICE_SUSPECT,
            Blame.MACHINE,
        ):
            assert "P" not in same
            assert other is not None
            assert "F" not in other


def test_counts_are_told_and_read_back() -> None:
    counts = (Count("sw-gfx942-0", 2, 2), Count("a+b", 0, 1))
    assert counts_text(counts) == "failed 1+1 of 2 on sw-gfx942-0, 0 of 1 on a+b"
    assert counts_text((Count("d", 1, 1),)) == "failed 1 of 1 on d"
    assert parse_counts(", ".join(map(str, counts))) == counts
    assert parse_counts("") == ()
    with pytest.raises(ValueError, match="'sw 1' is no count such as 'sw-gfx942-0 1/2'"):
        parse_counts("sw 1")


def test_the_documentation_has_the_same_table() -> None:
    def rows(text: str) -> list[str]:
        return re.findall(r"^\|.*(?:regression|flaky|device suspect|machine) \|$", text, re.MULTILINE)

    assert rows(confirmation.__doc__ or "")
    assert set(rows(confirmation.__doc__ or "")) <= set(rows(DOCS.read_text()))
