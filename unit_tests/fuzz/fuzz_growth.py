"""Whether memory grows with the number of cases: what the process has, and how many blocks Python has.

Compared are the least of the second quarter of a run and the least of its last quarter. The first quarter
fills caches; a least value is not disturbed by what waits to be collected.
"""

from __future__ import annotations

import os
import sys
from array import array
from pathlib import Path

MOST_BYTES = 32 << 20
"""By so much the resident memory of the process may grow, whatever the number of cases."""
MOST_BLOCKS = 100_000
"""By so much the blocks of Python's allocator may grow, whatever the number of cases."""
FEWEST = 8
"""Cases below which there is no trend."""


class Growth:
    """The memory after each case."""

    def __init__(self) -> None:
        self._bytes = array("q")
        self._blocks = array("q")

    def note(self) -> None:
        """Take note of what there is now."""
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        self._bytes.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self._blocks.append(sys.getallocatedblocks())

    def __str__(self) -> str:
        return f"memory {self.bytes / (1 << 20):+.1f} MiB and {self.blocks:+} blocks"

    @property
    def bytes(self) -> int:
        """By how many bytes the resident memory has grown."""
        return _grown(self._bytes)

    @property
    def blocks(self) -> int:
        """By how many blocks Python's memory has grown."""
        return _grown(self._blocks)

    def problem(self) -> str | None:
        """Say what has grown too much, if anything has."""
        if self.bytes <= MOST_BYTES and self.blocks <= MOST_BLOCKS:
            return None
        return (
            f"memory grew by {self.bytes} bytes and {self.blocks} blocks of Python over"
            f" {len(self._bytes)} cases; {MOST_BYTES} bytes and {MOST_BLOCKS} blocks are allowed"
        )


def _grown(values: array[int]) -> int:
    """Return the difference between the least of the last and of the second quarter."""
    quarter = len(values) // 4
    if len(values) < FEWEST:
        return 0
    return min(values[-quarter:]) - min(values[quarter : 2 * quarter])
