"""Runs pytest with the plugin on tests that a test writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

TWO_UNLIKE = "gfx942,gfx1100"
"""One GPU with 64 lanes per wave and several dies, one with 32 lanes and one die."""


@pytest.fixture(autouse=True)
def outside_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run of pytest take itself for a worker because the tests here run in one."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run pytest in a process of its own, on two software GPUs unless told otherwise (None: the default).

    Other plugins of the environment stay out, because they cost time and are not what is tested.
    """

    def run_pytest(
        *arguments: str, backend: str = "software", software: str | None = TWO_UNLIKE, xdist: bool = False
    ) -> pytest.RunResult:
        others = ["hypothesispytest", *([] if xdist else ["xdist"])]
        disabled = [part for name in others for part in ("-p", f"no:{name}")]
        gpus = (
            []
            if software is None or backend not in ("auto", "software")
            else [f"--amdgpu-software={software}"]
        )
        return pytester.runpytest_subprocess(
            *disabled, f"--amdgpu-backend={backend}", *gpus, *arguments, timeout=100
        )

    return run_pytest
