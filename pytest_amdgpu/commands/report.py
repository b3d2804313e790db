"""Reports of a run from its verdict file: markdown for a CI, a page of HTML for people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_amdgpu.results.evidence import Evidence
from pytest_amdgpu.results.html_report import html
from pytest_amdgpu.results.markdown_report import STEP_ROOM, markdown
from pytest_amdgpu.results.verdict_reader import read_verdict

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Variable in which GitHub names the file that a step's summary is appended to."""


class ReportError(RuntimeError):
    """A report has no place to go."""


def write_reports(verdict: Path, earlier: Sequence[Path], page: Path | None, summary: str | None) -> None:
    """Write the reports that are asked for; markdown on standard output if none is.

    `summary` is a file, `-` for standard output, or `auto` for the summary of this step of a GitHub workflow.
    The earlier results are shown by the time at which they began. Raises `VerdictFileError`, `ReportError`,
    OSError.
    """
    file = read_verdict(verdict)
    past = sorted(map(read_verdict, earlier), key=lambda one: one.started)
    if summary == "auto":
        target = os.environ.get(STEP_SUMMARY)
        if not target:
            raise ReportError(f"--markdown auto: ${STEP_SUMMARY} is not set; name a file, or - to print it")
        # What other commands of the step wrote counts, too.
        written = os.path.getsize(target) if os.path.exists(target) else 0
        _write(Path(target), markdown(file, STEP_ROOM - written), "a")
    elif summary == "-" or (summary is None and page is None):
        print(markdown(file), end="")
    elif summary is not None:
        _write(Path(summary), markdown(file))
    if page is not None:
        way = os.path.relpath(verdict.absolute().parent, page.absolute().parent)
        evidence = Evidence(verdict.parent)
        _write(page, html(file, past, way, evidence.text))


def _write(path: Path, text: str, mode: str = "w") -> None:
    """Write a text, also one with halves of letters in it; raises OSError, which names the file."""
    try:
        with open(path, mode, encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
