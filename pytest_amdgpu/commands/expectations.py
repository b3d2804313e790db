"""Work on the files of `--amdgpu-expectations`."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_amdgpu.results.expectation_file import ExpectationError
from pytest_amdgpu.results.expectation_update import update, write_texts
from pytest_amdgpu.results.expectations import bare_name
from pytest_amdgpu.results.lint import lint
from pytest_amdgpu.results.observations import environment_of, observe
from pytest_amdgpu.results.verdict_reader import read_verdict

_DEVICE = re.compile(
    r"(?:sw-gfx[0-9a-f]+(?:\+[a-z-]+)*-\d+|gfx[0-9a-f]+-[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d)"
)
"""The id of a device inside that of a test."""


def lint_lines(directory: Path, tests: Path | None) -> Iterator[str]:
    """Yield what is wrong with a directory's files; `tests` holds what `pytest --collect-only -q` printed.

    Raises `ExpectationError`, OSError.
    """
    names = None
    if tests is not None:
        names = set(collected_names(tests.read_text(encoding="utf-8", errors="replace")))
        if not names:
            raise ExpectationError(
                f"{tests}: names no test; the output of `pytest --collect-only -q` is wanted"
            )
    return lint(directory, datetime.date.today(), names)


def collected_names(text: str) -> Iterator[str]:
    """Yield the names of the tests in the output of a collection, without their devices."""
    for line in text.splitlines():
        if "::" in line and not line.startswith(" "):
            yield bare_name(line.strip(), _DEVICE.findall(line))


def update_lines(directory: Path, results: Sequence[Path], *, mixed: bool, dry_run: bool) -> Iterator[str]:
    """Bring the files of a directory up to date with files of --amdgpu-verdict; yield what to print of it.

    `dry_run` changes nothing and shows how the files would change. Raises `ExpectationError`,
    `ObservationError`, `VerdictFileError`, OSError.
    """
    runs = [read_verdict(path) for path in results]
    observations = observe(runs, mixed=mixed)
    products = {target: name for run in runs for target, name in run.products.items()}
    seen_with = " or ".join(dict.fromkeys(map(environment_of, runs)))
    found = update(directory, observations, products, datetime.date.today(), seen_with)
    if dry_run:
        for path, text in found.texts.items():
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            yield from difflib.unified_diff(
                old.splitlines(), text.splitlines(), str(path), str(path), lineterm=""
            )
    else:
        write_texts(found.texts)
    yield from found.notes
    if not found.texts:
        yield "no line has to change"
