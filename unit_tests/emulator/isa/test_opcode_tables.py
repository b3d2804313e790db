"""The opcode tables on disk are what the generator makes of LLVM's answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import make_opcode_tables

# The whole comparison is `tools/make_opcode_tables.py --check`; these are quick and reach most of the code.
LAYOUTS = ("SOPK", "VOP1", "SMEM", "DS", "FLAT_GLOBAL", "MUBUF", "VOP3P", "VOPD")


@pytest.mark.parametrize("target", make_opcode_tables.TARGETS, ids=lambda target: target.cpu)
def test_tables_are_reproducible(
    target: make_opcode_tables.Target, require_tool: Callable[[str], str]
) -> None:
    require_tool("llvm-mc-22")
    generated = make_opcode_tables.table_rows(target, LAYOUTS)
    on_disk = target.generation.rows()
    assert generated
    for name, rows in generated.items():
        assert rows == list(on_disk[name].values()), name
