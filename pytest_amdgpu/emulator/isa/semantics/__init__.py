"""What every instruction does, written once over the builder for all generations and back ends.

`SEMANTICS` maps LLVM's mnemonics (lower case, without encoding suffix) to functions of a `Builder`. The
rows are in modules by group; `names` has the other generations' names. An instruction that is not here is not
implemented: the executor raises `IllegalInstruction` for it.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.semantics import (
    compare,
    control,
    convert,
    division,
    dot_packed,
    lane,
    lds,
    memory,
    relative,
    scalar,
    scalar_float,
    vector_float,
    vector_int,
)
from pytest_amdgpu.emulator.isa.semantics.names import aliases
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table

_MODULES = (
    scalar,
    scalar_float,
    control,
    vector_int,
    vector_float,
    division,
    compare,
    convert,
    dot_packed,
    lane,
    lds,
    memory,
    relative,
)


def _join() -> Table:
    table: Table = {}
    for module in _MODULES:
        twice = table.keys() & module.TABLE.keys()
        if twice:
            raise ValueError(f"{module.__name__} repeats {sorted(twice)}")
        table.update(module.TABLE)
    for name, meaning in aliases().items():
        if name in table:
            raise ValueError(f"{name} is both a row and an alias")
        table[name] = table[meaning]
    return table


SEMANTICS: Table = _join()
"""Mnemonic to the function that builds its meaning."""

__all__ = ["SEMANTICS", "Semantic"]
