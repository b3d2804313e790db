"""The file of `--amdgpu-verdict`: a run as JSON, whole at every moment.

Its form is `verdict_schema.json`; `schema` counts up when a reader would have to change.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_amdgpu.results.record import Record
from pytest_amdgpu.results.verdict import Judgment

SCHEMA = 1


def verdict_json(
    judgment: Judgment, records: Sequence[Record], facts: Mapping[str, Any], *, complete: bool
) -> dict[str, Any]:
    """Return the content of the file. `facts` are what the run knew before its first test."""
    counts = Counter(record.outcome.value for record in records)
    return {
        "schema": SCHEMA,
        "complete": complete,
        "verdict": judgment.verdict.value,
        "exit_status": judgment.exit_status,
        "reasons": list(judgment.reasons),
        "counts": dict(sorted(counts.items())),
        **facts,
        "tests": [record.to_json() for record in records],
    }


def _text(content: Mapping[str, Any]) -> str:
    """Return the content as JSON, with a line for each test: the encoder in C does not indent."""
    head = json.dumps({key: value for key, value in content.items() if key != "tests"}, indent=1)
    tests = ",\n  ".join(map(json.dumps, content["tests"]))
    return head.removesuffix("\n}") + f',\n "tests": [\n  {tests}\n ]\n}}\n'


def write_verdict(path: Path, content: Mapping[str, Any]) -> None:
    """Put the content in place of what was there, at once; raises OSError, and then nothing has changed."""
    if path.exists() and not path.is_file():
        # A superuser could put a file in the place of /dev/null.
        raise FileExistsError(errno.EEXIST, "Not a regular file", str(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(_text(content))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        # Where it cannot be written it cannot always be removed, and the first error is the one to tell.
        with contextlib.suppress(OSError):
            draft.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
