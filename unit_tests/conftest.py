"""Fixtures shared by the unit tests: tools that serve as independent oracles."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

REQUIRE_TOOLS = "AMDGPU_REQUIRE_TOOLS"
"""Environment variable: set to 1, a missing tool fails the test instead of skipping it (CI sets it)."""

LLVM_DIRECTORIES = sorted(
    Path("/usr/lib").glob("llvm-*/bin"), key=lambda path: int(path.parent.name[5:]), reverse=True
)


def find_tool(name: str) -> str | None:
    """Return the path of a tool: the newest versioned LLVM directory first, then `PATH`.

    Daemons are in a directory that is mostly not in the `PATH` of users.
    """
    if name == "llc" or name.startswith("llvm-"):
        for directory in LLVM_DIRECTORIES:
            if (directory / name).exists():
                return str(directory / name)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def missing(what: str) -> None:
    """Skip the test because `what` is not installed, or fail it where tools are required."""
    if os.environ.get(REQUIRE_TOOLS) == "1":
        pytest.fail(f"{what} is not installed, and {REQUIRE_TOOLS}=1 demands it")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """Return a function that gives the path of an oracle tool such as `gcc` or `llvm-mc`."""

    def require(name: str) -> str:
        path = find_tool(name)
        if path is None:
            missing(name)
        assert path is not None
        return path

    return require


@pytest.fixture(scope="session")
def require_ziglang() -> None:
    """Skip (or fail, where tools are required) unless the ziglang package, with its clang, is installed."""
    if importlib.util.find_spec("ziglang") is None:
        missing("the Python package ziglang")
