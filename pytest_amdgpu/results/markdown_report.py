"""A run as markdown, for the step summary of a CI. Whatever a run says stands in code spans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import dirname

from pytest_amdgpu.results.rows import counts, failing, other_reasons, repeat_command, words
from pytest_amdgpu.results.verdict_reader import VerdictFile

STEP_ROOM = 1 << 20
"""Bytes that GitHub takes as the summary of a step; of a longer one it shows nothing."""
_SHOWN = 50
"""Reasons and tests that are shown."""
_LETTERS = 500
"""Letters of a text that are shown."""
_CUT = "- and more, for which there is no room here\n"


def markdown(file: VerdictFile, room: int = STEP_ROOM) -> str:
    """Return the report, which begins with the verdict, in at most so many bytes: its last lines may lack."""
    room -= len(_CUT)
    parts = []
    for line in _lines(file):
        room -= len(line.encode("utf-8", "replace")) + 1
        if room < 0:
            parts.append(_CUT)
            break
        parts.append(f"{line}\n")
    return "".join(parts)


def _lines(file: VerdictFile) -> Iterator[str]:
    yield f"## amdgpu verdict: {file.verdict.value}"
    yield ""
    if file.shortcoming:
        yield f"**Not whole:** {code(file.shortcoming)}"
        yield ""
    reasons = other_reasons(file)
    for reason in reasons[:_SHOWN]:
        yield f"- {code(reason)}"
    yield from _more(len(reasons))
    outcomes, rows = counts(file.records)
    if rows:
        yield ""
        yield f"| device | {' | '.join(outcomes)} |"
        yield f"|---|{'---:|' * len(outcomes)}"
        for device, numbers in rows:
            yield f"| {code(device).replace('|', chr(92) + '|')} | {' | '.join(map(str, numbers))} |"
    tests = failing(file.records)
    if tests:
        yield ""
        yield f"### Failing tests ({len(tests)})"
        yield ""
    for record in tests[:_SHOWN]:
        yield f"- {code(record.id)}: {words(record)}"
        if record.text:
            yield f"  - {code(record.text)}"
        if record.blame:
            yield f"  - {code(record.blame_text)}"
        yield f"  - to repeat: {code(repeat_command(file, record), None)}"
        if record.attachments:
            yield f"  - {len(record.attachments)} attachments: {code(dirname(record.attachments[0]), None)}"
    yield from _more(len(tests))


def _more(number: int) -> Iterator[str]:
    if number > _SHOWN:
        yield f"- and {number - _SHOWN} more"


def code(text: str, letters: int | None = _LETTERS) -> str:
    """Return a text as one code span, in which nothing but the end has a meaning; long ones are cut."""
    line = " ".join(text.split()) or " "
    if letters is not None and len(line) > letters:
        line = line[:letters] + "..."
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    gap = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{gap}{line}{gap}{fence}"
