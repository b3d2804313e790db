"""Whether the process that the shell waits for is one that runs no test (supervisor/guard.py)."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
from types import FrameType

import pytest

from pytest_amdgpu.plugin.options import DEADLINES, NO_PHASE, decides

ADDRESS = pytest.StashKey[str]()
"""Where the supervisor is that the guard has started."""


def begin(config: pytest.Config) -> None:
    """Go on in a child, if this run is a gate and all of its process is pytest's.

    Before there is a conftest, so that none can leave. Raises `pytest.UsageError` if that cannot be.
    """
    options = config.known_args_namespace
    if not decides(options) or _why_not():
        return
    if options.amdgpu_verdict:
        # That of an earlier run must not be taken for this one's, whatever comes before the gate writes
        # its own. Who cannot remove it cannot write it either, and says so then.
        verdict = config.invocation_params.dir / options.amdgpu_verdict
        with contextlib.suppress(OSError):
            if verdict.is_file():
                verdict.unlink()
    from pytest_amdgpu.supervisor.client import SupervisorGoneError
    from pytest_amdgpu.supervisor.guard import run_in_child

    try:
        seconds = options.amdgpu_deadline or DEADLINES
        start, end = (None if math.isinf(seconds[name]) else seconds[name] for name in (NO_PHASE, "end"))
        # Nobody hears more of a run that only collects.
        config.stash[ADDRESS] = run_in_child(None if options.collectonly else start, end)
    except (OSError, SupervisorGoneError) as error:
        raise pytest.UsageError(f"amdgpu: pytest cannot be run in a child: {error}") from error


def warning(config: pytest.Config) -> str | None:
    """Say why a gate has no guard, if it has none."""
    if ADDRESS in config.stash:
        return None
    why = _why_not() or "the plugin was loaded by a conftest.py"
    return f"amdgpu: warning: a test that leaves the process chooses its exit status, for {why}"


def _why_not() -> str:
    if not _is_pytests_process():
        return "a program has called pytest.main()"
    if threading.active_count() > 1:
        return "there are threads, which a child would not have"
    return ""


def _is_pytests_process() -> bool:
    """Whether nobody but pytest called pytest, who would go on in the child with whatever comes next."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "_prepareconfig":
        frame = frame.f_back
    while frame is not None and frame.f_globals.get("__name__") == "_pytest.config":
        # `pytest` and `python -m pytest`; the name has an underscore from pytest 9.1 on.
        if frame.f_code.co_name in ("console_main", "_console_main"):
            return True
        frame = frame.f_back
    return False
