"""The opcode table of a generation: the rows of its module, over those of the generation it is based on.

A module of `tables/` has ROWS, text by layout name, one row a line (`table.py` explains the notation). A
module that also has BASE, the name of another module, lists only what differs: rows that are new or replace
the base's row of the same opcode, and `<opcode> -` for rows that the base has alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache

REMOVED = "-"

Rows = Mapping[str, Mapping[int, str]]
"""By layout name and opcode, unparsed."""


def parse_rows(text: str) -> dict[int, str]:
    """Rows by opcode, unparsed."""
    return {int(line[: line.index(" ")], 16): line for line in text.splitlines() if line}


@cache
def table_rows(table: str) -> Rows:
    """All rows of a module of `tables/`, which is imported when first needed."""
    module = importlib.import_module(f"pytest_amdgpu.emulator.isa.decode.tables.{table}")
    given = {name: parse_rows(text) for name, text in module.ROWS.items()}
    base = getattr(module, "BASE", None)
    if base is None:
        return given
    found = {}
    for name in {**table_rows(base), **given}:
        merged = {**table_rows(base).get(name, {}), **given.get(name, {})}
        kept = {op: row for op, row in sorted(merged.items()) if not row.endswith(f" {REMOVED}")}
        if kept:
            found[name] = kept
    return found
