"""The list of refusals is true: each named test exists, and nothing is named twice for one rule."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from refusals import RULES

EMULATOR = Path(__file__).parents[1]
PLACES = ("kfd", "engine/test_engine_queue.py", "engine/test_engine_sdma.py", "engine/test_engine_aql.py")
"""Where tests of the list are, below `EMULATOR`."""


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """Every test of `PLACES`, as instances and as functions."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *PLACES],
        cwd=EMULATOR,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = re.findall(r"^(?:unit_tests/emulator/)?((?:kfd|engine)/\S.*::.+)$", run.stdout, re.M)
    return {*lines, *(line.split("[")[0] for line in lines)}


def test_every_named_test_exists(collected: set[str]) -> None:
    named = {node for rule in RULES for node in rule.tests}
    assert named - collected == set()


def test_every_rule_has_a_test_or_a_reason() -> None:
    assert [rule for rule in RULES if bool(rule.tests) == bool(rule.impossible)] == []


def test_no_rule_is_listed_twice() -> None:
    counts = Counter((rule.section, rule.rule) for rule in RULES)
    assert [name for name, count in counts.items() if count > 1] == []
