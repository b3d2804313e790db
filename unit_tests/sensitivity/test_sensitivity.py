"""Each hardware test fails on a GPU with the defect that it is there to find, and passes on one without."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from catches import CATCHES, FIRST
from forked_pytest import run_pytest
from injection import load_defects

pytestmark = pytest.mark.usefixtures("require_ziglang")
"""One of the hardware tests compiles a kernel."""

NODES = {f"{file}::{instance}": name for file, lines in CATCHES.items() for instance, name in lines.items()}
"""Every instance of the table with its defect."""


def run(nodes: Iterable[str], directory: Path, *options: str) -> tuple[set[str], set[str], str]:
    """Run instances of tests; return those that failed, those that passed, and the output."""
    report, output = directory / "report.xml", directory / "output.txt"
    ids = [f"hw_tests/{node}" for node in nodes]
    code = run_pytest([*options, f"--junitxml={report}", *ids], output)
    text = output.read_text()
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        pytest.fail(f"exit code {code}\n{text}")
    failed: set[str] = set()
    passed: set[str] = set()
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.attrib["classname"].removeprefix("hw_tests.").replace(".", "/") + ".py"
        node = f"{file}::{case.attrib['name']}"
        # An error of set-up or tear-down is not what a test found; a defect may well cause one, too.
        (failed if case.find("failure") is not None else passed).add(node)
    return failed, passed - failed, text


_TURNS = 2
"""A defect of order does nothing in a run where the machine lets an engine's thread come late by itself."""
CRASH = re.compile(r"the emulator failed|_defects\.py:\d+: \w+$", re.MULTILINE)
"""A run failed for the mistake of a defect and not for what that should break."""


@pytest.mark.parametrize("name", sorted(set(NODES.values())))
def test_a_defect_is_caught(name: str, tmp_path: Path) -> None:
    wanted = {node for node, defect in NODES.items() if defect == name}
    before = {FIRST[node] for node in wanted if node in FIRST}
    for _ in range(_TURNS):
        failed, passed, output = run([*before, *wanted], tmp_path, "-p", "injection", f"--defect={name}")
        assert not CRASH.search(output), output
        if (failed, passed) == (wanted, before):
            break
    assert (failed, passed) == (wanted, before), output


def test_without_a_defect_they_pass(tmp_path: Path) -> None:
    failed, passed, output = run([*FIRST.values(), *NODES], tmp_path)
    assert (failed, passed) == (set(), {*NODES, *FIRST.values()}), output


def test_every_hardware_test_has_a_defect(tmp_path: Path) -> None:
    output = tmp_path / "output.txt"
    code = run_pytest(["--collect-only", "-q", "hw_tests"], output)
    text = output.read_text()
    assert code == pytest.ExitCode.OK, text
    collected = {line.split("[")[0] for line in text.splitlines() if line.startswith("hw_tests/")}
    proven = {"hw_tests/" + node.split("[")[0] for node in NODES}
    assert collected - proven == set(), "these tests have no line in catches.py"


def test_every_defect_is_in_the_table() -> None:
    assert set(NODES.values()) == set(load_defects())
