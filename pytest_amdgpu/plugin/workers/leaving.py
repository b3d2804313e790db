"""A worker that the kernel lets use the GPUs no more, as after a memory fault, makes room for another one.

Where the controller has the scheduler of this package, that worker runs the tests which are left.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_amdgpu.plugin.session import session_key

LEAVING_INPUT = "amdgpu_may_leave"
"""Under this name a worker is told whether another one will take its place."""
LEAVING_OUTPUT = "amdgpu_leaves"
"""Under this name it says that it did."""


class Leaving:
    """Lets a worker end after the test that made it useless."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def _leaves(self) -> bool:
        return bool(self._config.stash[session_key].lost)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run no further test, if none on a GPU can run here."""
        result = yield
        if self._leaves:
            item.session.shouldstop = self._config.stash[session_key].lost
        return result

    def pytest_sessionfinish(self) -> None:
        """Tell the controller that the run is not to stop."""
        if self._leaves:
            # pytest-xdist has put in there before what the session says.
            output = self._config.workeroutput  # type: ignore[attr-defined]
            output |= {LEAVING_OUTPUT: True, "shouldstop": False}
