"""What a failing test leaves for people to look at: a folder of files, whose name tells the test."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

_LETTERS = 100
"""Of a name, so that with what is put behind it every file system takes it (most take 255 bytes)."""


def safe_name(text: str, default: str = "unnamed") -> str:
    """Return a text as a name of a file that is harmless in shells, archives and addresses."""
    return re.sub(r"[^A-Za-z0-9.+=-]+", "_", text).strip("._-")[:_LETTERS] or default


def folder_name(test: str) -> str:
    """Return the name of a test's folder: its id as far as names go, and a number made of the whole id."""
    return f"{safe_name(test)}-{hashlib.sha256(test.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


class AttachmentFolders:
    """The folders of a run's failing tests, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._written: dict[str, dict[str, bytes]] = {}

    def __contains__(self, test: str) -> bool:
        return test in self._written

    def add(self, test: str, files: Sequence[tuple[str, bytes]]) -> list[Path]:
        """Write files into the folder of a test, and return those that are new; raises OSError.

        The first ones replace what an earlier run left there. A file that the test has already is not written
        again; another one of the same name gets a number.
        """
        folder = self.directory / folder_name(test)
        if test not in self._written:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            self._written[test] = {}
        written = self._written[test]
        paths = []
        for wanted, data in files:
            digest = hashlib.sha256(data).digest()
            name, number = wanted, 1
            while name in written and written[name] != digest:
                number += 1
                stem, dot, suffix = wanted.rpartition(".")
                name = f"{stem}-{number}{dot}{suffix}" if dot else f"{wanted}-{number}"
            if name not in written:
                paths.append(_write(folder / name, data))
                written[name] = digest
        return paths


def _write(path: Path, data: bytes) -> Path:
    try:
        path.write_bytes(data)
    except OSError:
        # Half of a file would be taken for all of it.
        path.unlink(missing_ok=True)
        raise
    return path
