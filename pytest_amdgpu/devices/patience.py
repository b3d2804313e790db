"""How long work may take. Where threads of this process do it, what they wait for a core does not count."""

from __future__ import annotations

import os
import time
from pathlib import Path

_SHARE = 10
"""Of the wall time this part counts in any case: a process that never gets a core does not wait for ever."""


class Patience:
    """Seconds for a piece of work, from now on. `on_cpu` says that threads of this process do the work."""

    def __init__(self, seconds: float, *, on_cpu: bool = False) -> None:
        self._seconds = seconds
        self._begun = time.monotonic()
        self.on_cpu = on_cpu
        self._delays = _delays() if on_cpu else {}

    @property
    def left(self) -> float:
        """Seconds left; not more than 0 if they are over."""
        spent = time.monotonic() - self._begun
        if self.on_cpu and spent >= self._seconds:
            now = _delays()
            waited = sum(delay - self._delays.get(thread, 0.0) for thread, delay in now.items())
            spent = max(spent - waited, spent / _SHARE)
        return self._seconds - spent


def _delays() -> dict[str, float]:
    """Return of each thread of this process how many seconds it could have run and had no core.

    The second number of schedstat, in nanoseconds (Documentation/scheduler/sched-stats.rst of Linux); a
    kernel without it lets all time count.
    """
    delays = {}
    for thread in os.listdir("/proc/self/task"):
        try:
            numbers = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            # The thread has ended since, or the kernel does not count.
            continue
        delays[thread] = int(numbers[1]) / 1e9
    return delays
