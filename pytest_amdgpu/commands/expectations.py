"""Work on the files of `--amdgpu-expectations`."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path

from pytest_amdgpu.results.expectations import bare_name
from pytest_amdgpu.results.lint import lint

_DEVICE = re.compile(
    r"(?:sw-gfx[0-9a-f]+(?:\+[a-z-]+)*-\d+|gfx[0-9a-f]+-[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d)"
)
"""The id of a device inside that of a test."""


def lint_lines(directory: Path, tests: Path | None) -> Iterator[str]:
    """Yield what is wrong with a directory's files; `tests` holds what `pytest --collect-only -q` printed.

    Raises `ExpectationError`, OSError.
    """
    names = None if tests is None else set(collected_names(tests.read_text()))
    return lint(directory, datetime.date.today(), names)


def collected_names(text: str) -> Iterator[str]:
    """Yield the names of the tests in the output of a collection, without their devices."""
    for line in text.splitlines():
        if "::" in line and not line.startswith(" "):
            yield bare_name(line.strip(), _DEVICE.findall(line))
