"""What is expected of tests on one GPU: files about all GPUs, its generation, its target and its product."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, fsum, lgamma, log, log1p
from pathlib import Path

from pytest_amdgpu.families.family import generations
from pytest_amdgpu.results.expectation_file import Entry, ExpectationError, Kind, read_entries
from pytest_amdgpu.results.node_ids import parameters_start

EVERY_GPU = "all"
_FILE = re.compile(r"(?P<key>[\w.-]+)-(?P<kind>fails|flakes|skips)\.txt")
WORSE_THAN_ITS_RATE = 0.001
"""So unlikely must a flake's failures be at its rate that they count as a regression."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """The lines that are about one GPU and in force, from general to special.

    `lapsed` are those whose time has passed, or is still to come: of fails and flakes files they have no
    effect. What must not be run stays so, because it may take the machine along.
    """

    entries: tuple[Entry, ...]
    lapsed: tuple[Entry, ...] = ()

    def fails(self, test: str) -> Entry | None:
        """Return the most special line of a fails file about a test."""
        return self._last((Kind.FAILS,), test)

    def flake(self, test: str) -> Entry | None:
        """Return the most special line of a flakes file about a test."""
        return self._last((Kind.FLAKES,), test)

    def known(self, test: str) -> Entry | None:
        """Return the most special line of a fails or flakes file; of one key's files that of the flakes."""
        return self._last((Kind.FAILS, Kind.FLAKES), test)

    def skip(self, test: str) -> Entry | None:
        """Return the most special line of a skips file about a test."""
        return self._last((Kind.SKIPS,), test)

    def _last(self, kinds: Sequence[Kind], test: str) -> Entry | None:
        matching = (entry for entry in reversed(self.entries) if entry.kind in kinds and entry.matches(test))
        return next(matching, None)


def keys_of(target: str, product: str) -> tuple[str, ...]:
    """Return the names that files about a GPU begin with, from general to special.

    For gfx942 of an `AMD Instinct MI300X`: all, gfx9, gfx94x, gfx942, amd-instinct-mi300x.
    """
    return (EVERY_GPU, *generations(target), target, slug(product))


def slug(product: str) -> str:
    """Return a product's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", product.lower()).strip("-")


def expectation_files(directory: Path) -> dict[Path, tuple[str, Kind]]:
    """Return the expectation files of a directory, each with the key that it is for, and its kind.

    Raises `ExpectationError` if there is no such directory, or it holds a text file that is called
    otherwise: it would be silently ignored.
    """
    if not directory.is_dir():
        raise ExpectationError(f"{directory} is not a directory of expectation files")
    files = {}
    for path in sorted(directory.glob("*.txt")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ExpectationError(
                f"{path}: is not called KEY-fails.txt, KEY-flakes.txt or KEY-skips.txt, where KEY is"
                f" {EVERY_GPU}, a generation such as gfx9 or gfx94x, a target, or a product"
            )
        files[path] = match["key"], Kind(match["kind"])
    return files


def load_expectations(directory: Path, keys: Sequence[str], today: datetime.date) -> Expectations:
    """Read what the files of a directory say on this day for the keys of a GPU, in their order.

    Raises `ExpectationError`, and OSError for a file that cannot be read.
    """
    files = expectation_files(directory)
    mine = sorted(
        ((path, kind) for path, (key, kind) in files.items() if key in keys),
        key=lambda file: keys.index(files[file[0]][0]),
    )
    entries = [entry for path, kind in mine for entry in read_entries(path, kind)]
    lapsed = tuple(entry for entry in entries if has_lapsed(entry, today))
    return Expectations(
        tuple(entry for entry in entries if entry.kind is Kind.SKIPS or entry not in lapsed), lapsed
    )


def has_lapsed(entry: Entry, today: datetime.date) -> bool:
    """Whether a line expired before today, or is dated later: a clock that went back revives nothing."""
    notes = entry.notes
    return (notes.expires is not None and notes.expires < today) or (
        notes.date is not None and notes.date > today
    )


def bare_name(node_id: str, device_ids: Iterable[str]) -> str:
    """Return a test's id without the devices in it, under which files name it.

    `test_a.py::test_b[aql-sw-gfx942-0-64]` is `test_a.py::test_b[aql-64]`. Several devices of one test are
    joined by `+` in its id.
    """
    start = parameters_start(node_id)
    if start < 0:
        return node_id
    path, parameters = node_id[:start], node_id[start + 1 :]
    text = _devices_pattern(tuple(device_ids)).sub("", parameters.removesuffix("]"))
    return f"{path}[{text}]" if text else path


@functools.lru_cache(maxsize=8)
def _devices_pattern(device_ids: tuple[str, ...]) -> re.Pattern[str]:
    one = "|".join(map(re.escape, sorted(device_ids, key=len, reverse=True))) or r"(?!)"
    group = rf"(?:{one})(?:\+(?:{one}))*"
    return re.compile(rf"^{group}(?:-|$)|-{group}(?=-|$)")


def chance_of_failures(failed: int, runs: int, rate: float) -> float:
    """Return how likely at least `failed` of `runs` runs fail if each does at this rate (binomial tail)."""
    if rate in (0.0, 1.0):
        return float(failed == 0 or rate == 1.0)
    # By logarithms: the coefficients of some thousand runs are beyond what a float can hold.
    return fsum(
        exp(
            lgamma(runs + 1)
            - lgamma(k + 1)
            - lgamma(runs - k + 1)
            + k * log(rate)
            + (runs - k) * log1p(-rate)
        )
        for k in range(failed, runs + 1)
    )
