"""Hooks of pytest-xdist; registered only where that plugin is."""

from __future__ import annotations

from typing import Any

from pytest_amdgpu.plugin.session import WORKER_INPUT, session_key


class XdistHooks:
    """Runs in the controller."""

    def pytest_configure_node(self, node: Any) -> None:
        """Send a worker what was found here: workers that looked for themselves could find different GPUs."""
        node.workerinput[WORKER_INPUT] = node.config.stash[session_key].plan.to_json()
