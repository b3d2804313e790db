"""One quarantine for all processes of a run on this machine: each asks for it at the set-up of each test.

Workers on other hosts are told when they begin, and are sent no tests of a device in quarantine.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pytest_amdgpu.plugin.options import is_worker
from pytest_amdgpu.plugin.session import SHARED_QUARANTINE_INPUT, session_key


def register(config: pytest.Config) -> None:
    """Let the workers of a run that has some share the quarantine with its controller."""
    if not is_worker(config):
        config.pluginmanager.register(SharedQuarantine(config), "amdgpu_shared_quarantine")


class SharedQuarantine:
    """Has the file, from the first worker to the end of the run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._directory: Path | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of this machine where the file is."""
        if node.gateway.spec.popen and not node.gateway.spec.via:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="pytest-amdgpu-run-"))
                self._file.touch()
                self._config.stash[session_key].quarantine.share(self._file)
            node.workerinput[SHARED_QUARANTINE_INPUT] = str(self._file)

    def pytest_unconfigure(self) -> None:
        """Remove the file; all workers have ended."""
        if self._directory is not None:
            self._config.stash[session_key].quarantine.share_no_more()
            shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _file(self) -> Path:
        assert self._directory is not None
        return self._directory / "quarantine"
