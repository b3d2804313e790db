"""How pytest-xdist replaces the worker that died just now, for callers in the hooks that tell them so.

Its `DSession.worker_errordown` calls pytest_testnodedown, then pytest_handlecrashitem and
pytest_runtest_logreport if a test was running, then replaces the worker by `_clone_node`.
"""

from __future__ import annotations

from typing import Any

import pytest


class _NoWorker:
    """In the place of `_clone_node`, for once."""

    def __init__(self, distributed: Any) -> None:
        self._distributed = distributed
        self.before = distributed._clone_node

    def __call__(self, node: Any) -> Any:
        self._distributed._clone_node = self.before
        return node


def replace_no_worker(config: pytest.Config) -> None:
    """Let the worker not be replaced.

    Else it is also where nothing is left to do, and the run waits for the new one to come up and end.
    """
    distributed = _distributed(config)
    # Once, however many say so: it is undone once, too.
    if not isinstance(distributed._clone_node, _NoWorker):
        distributed._clone_node = _NoWorker(distributed)


def replace_after_all(config: pytest.Config) -> None:
    """Undo `replace_no_worker`."""
    distributed = _distributed(config)
    if isinstance(distributed._clone_node, _NoWorker):
        distributed._clone_node = distributed._clone_node.before


def forgive_death(config: pytest.Config) -> None:
    """Let the death not count among those after which no more workers are started."""
    _distributed(config)._failed_nodes_count -= 1


def nothing_is_left(config: pytest.Config) -> bool:
    """Whether there are no tests that a worker which had none could be needed for."""
    return not _distributed(config).sched.has_pending


def is_stopping(config: pytest.Config) -> bool:
    """Whether the run is to end before all tests have run."""
    return bool(_distributed(config).shouldstop)


def _distributed(config: pytest.Config) -> Any:
    return config.pluginmanager.getplugin("dsession")
