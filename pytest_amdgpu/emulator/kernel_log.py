"""The log of the emulated kernel."""

from __future__ import annotations

from collections.abc import Callable


class KernelLog(list[str]):
    """Lines, which only grow by `append`. Somebody may listen to them, from whichever thread they come."""

    listener: Callable[[str], None] | None = None

    def append(self, line: str) -> None:
        """Add a line."""
        super().append(line)
        if self.listener is not None:
            self.listener(line)
