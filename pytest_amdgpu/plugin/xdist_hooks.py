"""Hooks of pytest-xdist; registered only where that plugin is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_amdgpu.plugin.leasing import take_leases
from pytest_amdgpu.plugin.session import WORKER_INPUT, session_key


class XdistHooks:
    """Runs in the controller."""

    def pytest_configure_node(self, node: Any) -> None:
        """Send a worker what was found here: workers that looked for themselves could find different GPUs."""
        node.workerinput[WORKER_INPUT] = node.config.stash[session_key].plan.to_json()

    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """Lease the GPUs of the tests, which only workers collect."""
        take_leases(node.config, ids)
