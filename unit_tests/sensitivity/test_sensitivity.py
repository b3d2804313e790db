"""Each hardware test fails on a GPU with the defect that it is there to find, and passes on one without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from catches import CATCHES, FIRST
from injection import load_defects

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NODES = {f"{file}::{instance}": name for file, lines in CATCHES.items() for instance, name in lines.items()}
"""Every instance of the table with its defect."""

TIMEOUT = 100


def pytest_child(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on both software GPUs in a process of its own."""
    return subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"),
            *("--amdgpu-backend=software", "--amdgpu-all-devices", *arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def run(nodes: Iterable[str], report: Path, *options: str) -> tuple[set[str], set[str], str]:
    """Run instances of tests; return those that failed, those that passed, and the output."""
    ids = [f"hw_tests/{node}" for node in nodes]
    child = pytest_child(*options, f"--junitxml={report}", *ids)
    output = child.stdout + child.stderr
    if child.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        pytest.fail(output)
    failed, passed = set(), set()
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.attrib["classname"].removeprefix("hw_tests.").replace(".", "/") + ".py"
        node = f"{file}::{case.attrib['name']}"
        # An error of set-up or tear-down is not what a test found; a defect may well cause one, too.
        (failed if case.find("failure") is not None else passed).add(node)
    return failed, passed - failed, output


@pytest.mark.parametrize("name", sorted(set(NODES.values())))
def test_a_defect_is_caught(name: str, tmp_path: Path) -> None:
    wanted = {node for node, defect in NODES.items() if defect == name}
    before = {FIRST[node] for node in wanted if node in FIRST}
    failed, passed, output = run(
        [*before, *wanted], tmp_path / "report.xml", "-p", "injection", f"--defect={name}"
    )
    assert (failed, passed) == (wanted, before), output


def test_without_a_defect_they_pass(tmp_path: Path) -> None:
    failed, passed, output = run([*FIRST.values(), *NODES], tmp_path / "report.xml")
    assert (failed, passed) == (set(), {*NODES, *FIRST.values()}), output


def test_every_hardware_test_has_a_defect() -> None:
    child = pytest_child("--collect-only", "-q", "hw_tests")
    assert child.returncode == 0, child.stdout + child.stderr
    collected = {line.split("[")[0] for line in child.stdout.splitlines() if line.startswith("hw_tests/")}
    proven = {"hw_tests/" + node.split("[")[0] for node in NODES}
    assert collected - proven == set(), "these tests have no line in catches.py"


def test_every_defect_is_in_the_table() -> None:
    assert set(NODES.values()) == set(load_defects())
