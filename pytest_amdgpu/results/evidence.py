"""Texts that failing tests left, for a page that is to need no other file."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_ROOM = 4 << 20
"""Bytes of texts that a page takes."""
FILE_ROOM = 32 << 10
"""Bytes of one text: of a longer one its end is taken."""


class Evidence:
    """Reads texts below one directory, until as much has been read as a page has room for.

    What a verdict names elsewhere, also through links, is not read: it may be from somebody else's run.
    """

    def __init__(self, directory: Path, room: int = PAGE_ROOM) -> None:
        self._directory = directory.resolve()
        self._room = room

    def text(self, path: str) -> str | None:
        """Return a text; None of what is no text, not there, not below the directory, or too much."""
        if self._room < FILE_ROOM or not path.endswith(".txt"):
            return None
        try:
            file = Path(os.path.realpath(self._directory / path))
            # Anything else than a file, such as a pipe, may be read without end.
            if not file.is_relative_to(self._directory) or not file.is_file():
                return None
            with open(file, "rb") as opened:
                left_out = max(file.stat().st_size - FILE_ROOM, 0)
                opened.seek(left_out)
                data = opened.read(FILE_ROOM)
        except (OSError, ValueError):
            # Of a file that is gone, or a name that none can have, there is the link.
            return None
        self._room -= len(data)
        text = data.decode("utf-8", "replace")
        return f"({left_out} bytes before this are left out)\n{text}" if left_out else text
