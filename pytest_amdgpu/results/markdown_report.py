"""A run as markdown, for the step summary of a CI. Whatever a run says stands in code spans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import dirname

from pytest_amdgpu.results.rows import alike, counts, failing, other_reasons, repeat_command, words
from pytest_amdgpu.results.verdict_reader import VerdictFile

STEP_ROOM = 1 << 20
"""Bytes that GitHub takes as the summary of a step; of a longer one it shows nothing."""
_SHOWN = 50
"""Reasons and tests that are shown."""
_NAMED = 8
"""Devices that are named of those on which a test failed alike."""
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
    groups = alike(tests)
    if tests:
        yield ""
        yield f"### Failing tests ({len(tests)})"
        yield ""
    for records in groups[:_SHOWN]:
        first = records[0]
        if len(records) == 1:
            yield f"- {code(first.id)}: {words(first)}"
        else:
            where = ", ".join(code(", ".join(record.devices)) for record in records[:_NAMED])
            more = f" and {len(records) - _NAMED} more" if len(records) > _NAMED else ""
            yield f"- {code(first.name)}: {words(first)} on {where}{more}; the first:"
        if first.text:
            yield f"  - {code(first.text)}"
        if first.blame:
            yield f"  - {code(first.blame_text)}"
        yield f"  - to repeat: {code(repeat_command(file, first), None)}"
        if first.attachments:
            yield f"  - {len(first.attachments)} attachments: {code(dirname(first.attachments[0]), None)}"
    yield from _more(len(groups))


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
