"""In a worker: passes on why nothing could be collected, which pytest-xdist keeps to itself.

To its controller a worker that was asked for a file that does not exist looks like one that found no tests.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

REFUSAL_OUTPUT = "amdgpu_refusal"
"""Under this name a worker says it, in lines."""


class Refusals:
    """Tells the controller of a `pytest.UsageError` in collection."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Keep what is wrong for the end."""
        try:
            return (yield)
        except pytest.UsageError as error:
            # Of each thing that is not there, the line after the first says where it was looked for.
            lines = [str(text).partition("\n")[0] for text in error.args]
            self._config.workeroutput[REFUSAL_OUTPUT] = lines  # type: ignore[attr-defined]
            raise
