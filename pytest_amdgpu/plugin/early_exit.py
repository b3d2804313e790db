"""A gate's process that is left in the middle of the run does not say that all is well."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


def guard(config: pytest.Config, status: int, is_over: Callable[[], bool]) -> None:
    """Let `os._exit(0)` of this process, as long as the run is not over, exit with another status.

    A test may call it, or what it tests. Children that a test forks may leave as they like; so may this
    process after it was replaced by one (devices/renewal.py).
    """
    pid, leave = os.getpid(), os._exit

    def leave_with_status(number: int) -> None:
        leave(status if number == 0 and os.getpid() == pid and not is_over() else number)

    os._exit = leave_with_status  # type: ignore[assignment]
    config.add_cleanup(lambda: setattr(os, "_exit", leave))
