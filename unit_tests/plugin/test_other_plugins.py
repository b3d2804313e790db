"""Beside other plugins, which look at options early, and let tests that killed their worker run again.

What is imitated are pytest-cov, which decides in `pytest_load_initial_conftests` whether it measures in
workers, and pytest-rerunfailures, which asks the scheduler for its configuration and for another run.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gate_cases import GATE, REGRESSION, verdict

OTHER = """
import pytest

class Other:
    def pytest_configure_node(self, node): print("other: a worker")
    def pytest_handlecrashitem(self, crashitem, report, sched):
        assert not sched.config.option.collectonly
        report.outcome = "rerun"
        sched.mark_test_pending(crashitem)

def pytest_load_initial_conftests(early_config):
    print("other: workers", early_config.known_args_namespace.numprocesses)

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Other())
"""


def test_options_are_seen_early_and_crashed_tests_run_again(
    run: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        other=OTHER,
        test_it="""
        import os
        from pathlib import Path
        def test_passes(amdgpu_device): pass
        def test_crashes(amdgpu_device):
            # The last test: pytest-xdist would not replace the worker.
            if not Path("crashed").exists():
                Path("crashed").touch()
                os._exit(1)
        """,
    )
    pytester.syspathinsert()
    result = run(*GATE, "-p", "other", xdist=True)
    result.stdout.fnmatch_lines_random(["other: workers 1", "other: a worker", "*2 passed, 1 rerun in *"])
    assert result.ret == REGRESSION
    (crashed,) = (test for test in verdict()["tests"] if "crashes" in test["id"])
    assert (crashed["outcome"], crashed["trust"]) == ("crash", "flaky")
    assert crashed["text"].startswith("rerun after: worker 'gw0' crashed while running")
