"""Runs one block on a group of waves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.isa.numpy_backend import compile_block
from pytest_amdgpu.emulator.isa.numpy_emit import VARIANTS
from pytest_amdgpu.emulator.memory import PoisonConsumed, VmFault

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.translate import Block
    from pytest_amdgpu.emulator.isa.waves import Group

_PYTHON = frozenset((int, bool))


def execute(g: Group, block: Block) -> Any:
    """Run one block on a group in the variant that fits it."""
    s = g.s
    index: int = g.full
    if g.count > 1:
        index += 2
        for register in block.scalar_slots:
            if type(s[register]) not in _PYTHON:
                index += 2
                break
    code = block.compiled[index]
    if code is None:
        code = block.compiled[index] = compile_block(block, VARIANTS[index])
    g.code_base = g.pc
    try:
        return code.function(g, g.v, s)
    except (VmFault, PoisonConsumed, IllegalInstruction) as error:
        error.add_note(_where(g, block, code, error))
        raise
    except Exception as error:
        error.add_note(f"{_where(g, block, code, error)}\n{code.source}")
        raise


def _where(g: Group, block: Block, code: Any, error: BaseException) -> str:
    """Name the instruction in which an error came up."""
    trace = error.__traceback__
    offset = 0
    while trace is not None:
        if trace.tb_frame.f_code is code.code:
            offset = code.line_offsets[trace.tb_lineno - 1]
        trace = trace.tb_next
    inst = next((inst for inst in block.instructions if inst.offset == offset), block.instructions[-1])
    words = " ".join(f"{word:08x}" for word in inst.words)
    return f"at {g.pc + inst.offset:#x}: {inst.name} [{words}]"
