"""Runs pytest with the plugin on tests that a test writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run pytest in a process of its own, on software GPUs unless told otherwise.

    Other plugins of the environment stay out, because they cost time and are not what is tested.
    """

    def run_pytest(*arguments: str, backend: str = "software", xdist: bool = False) -> pytest.RunResult:
        others = ["hypothesispytest", *([] if xdist else ["xdist"])]
        disabled = [part for name in others for part in ("-p", f"no:{name}")]
        return pytester.runpytest_subprocess(
            *disabled, f"--amdgpu-backend={backend}", *arguments, timeout=100
        )

    return run_pytest
