"""Decodes machine code and builds the values of one basic block.

A block ends at a branch, a barrier, the end of the program, an instruction that cannot be executed, before a
vector instruction that follows a write of EXEC, and after `MAX_INSTRUCTIONS`. Everything in it is relative to
its first byte, so that a block is found again by its bytes wherever the code is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.decode.instruction import FLAT_SCRATCH, OperandKind
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction, NotExecutable
from pytest_amdgpu.emulator.isa.ir import Graph, Value
from pytest_amdgpu.emulator.isa.python_source import Compiled
from pytest_amdgpu.emulator.isa.registers import Register
from pytest_amdgpu.emulator.isa.waves import slot
from pytest_amdgpu.families.shader_rules import FlatScratch

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.decode.instruction import Instruction
    from pytest_amdgpu.families.registry import Family

MAX_INSTRUCTIONS = 160
_SCALAR_ENCODINGS = ("SOP", "SMEM", "SMRD")


@dataclass(frozen=True)
class Target:
    """What code is translated for."""

    family: Family = field(compare=False)
    family_name: str
    wave_size: int
    flush_f32: bool
    flush_f16_f64: bool
    gpr_index: int = 0
    """Operands that M0 indexes (s_set_gpr_idx_on), as in `RegisterFile.gpr_index`."""


@dataclass(eq=False)
class Block:
    """A translated basic block; offsets count from its first byte."""

    graph: Graph
    wave_size: int
    code: bytes
    instructions: tuple[Instruction, ...]
    writes: dict[Register, Value]
    kind: str
    """How it ends: "fall", "branch", "jump", "end", "barrier", "yield", "mode" (MODE was written),
    "trap" or "illegal"."""
    next: int
    """Offset of what follows in the code."""
    target: int = 0
    """Offset of a branch's target."""
    operand: Value | None = None
    """Condition of a branch, address of a jump."""
    text: str = ""
    """Why it is illegal, which trap it is."""
    start: int = 0
    vector_reads: tuple[int, ...] = ()
    scalar_slots: tuple[int, ...] = ()
    """Positions in `Group.s` of the scalars that are read."""
    compiled: list[Compiled | None] = field(default_factory=lambda: [None] * 6)
    """Code by position in `numpy_emit.VARIANTS`, filled by the executor."""

    @property
    def last_offset(self) -> int:
        """Offset of the last instruction."""
        return self.instructions[-1].offset


def translate(target: Target, code: memoryview) -> Block:
    """Translate the block at the start of `code`; IllegalInstruction (offset as address) if nothing can be
    decoded. A block ends before an instruction that cannot be executed; one of its own stops the wave there.
    """
    from pytest_amdgpu.emulator.isa.decode.decoder import decoder
    from pytest_amdgpu.emulator.isa.semantics import SEMANTICS

    decode = decoder(target.family, target.wave_size).decode
    b = Builder(target.family, target.wave_size)
    b.gpr_index = target.gpr_index
    b.flush_f32, b.flush_f16_f64 = target.flush_f32, target.flush_f16_f64
    instructions: list[Instruction] = []
    offset = 0
    terminator: tuple[str, dict[str, Any]] = ("fall", {})
    while len(instructions) < MAX_INSTRUCTIONS:
        try:
            inst = decode(code, offset)
        except IllegalInstruction:
            if not instructions:
                raise
            break
        scalar = inst.encoding.startswith(_SCALAR_ENCODINGS)
        if b.exec_written and not scalar:
            break
        # Registers that are chosen at run time must be up to date in the group before, and are read again
        # after.
        alone = inst.name.startswith("v_movrel") or (target.gpr_index and not scalar)
        if alone and instructions:
            break
        parts = inst.halves or (inst,)
        missing = [part.name for part in parts if part.name not in SEMANTICS]
        if missing:
            if not instructions:
                instructions.append(inst)
                offset += inst.size
                terminator = ("illegal", {"reason": f"the emulator does not execute {missing[0]}"})
            break
        for part in parts:
            b.bind(part)
            try:
                SEMANTICS[part.name](b)
            except NotExecutable as error:
                if instructions:
                    return translate(target, code[:offset])
                reason = f"the emulator does not know {error}"
                return _finish(
                    Builder(target.family, target.wave_size),
                    bytes(code[: inst.size]),
                    (inst,),
                    "illegal",
                    {"reason": reason},
                )
            except Exception as error:
                error.add_note(f"while building {part.name} {[hex(word) for word in part.words]}")
                raise
        b.commit()
        instructions.append(inst)
        offset += inst.size
        if b.terminator is not None:
            terminator = b.terminator
            break
        if alone or _sets_flat_scratch(target.family, inst):
            break
    return _finish(b, bytes(code[:offset]), tuple(instructions), *terminator)


def _sets_flat_scratch(family: Family, inst: Instruction) -> bool:
    """Whether memory instructions that follow need the scalar registers as this one leaves them."""
    if family.shader.flat_scratch is not FlatScratch.SCALAR_REGISTERS:
        return False
    return any(
        operand.kind is OperandKind.SGPR
        and operand.index <= FLAT_SCRATCH + 1
        and operand.index + operand.count > FLAT_SCRATCH
        for operand in inst.destinations
    )


def _finish(
    b: Builder, code: bytes, instructions: tuple[Instruction, ...], kind: str, facts: dict[str, Any]
) -> Block:
    writes = {
        register: value
        for register, value in b.current.items()
        if not (value.op == "reg" and value.attributes == register)
    }
    reads = [value.attributes for value in b.graph.values() if value.op == "reg"]
    block = Block(b.graph, b.wave_size, code, instructions, writes, kind, len(code))
    block.vector_reads = tuple(index for register, index in reads if register == "v")
    block.scalar_slots = tuple(slot(register) for register in reads if register[0] != "v")
    if kind == "branch":
        block.target = facts["target"]
        block.operand = facts["condition"]
    elif kind == "jump":
        block.operand = facts["address"]
    elif kind == "trap":
        block.text = f"trap {facts['number']}: no trap handler is installed"
    elif kind == "illegal":
        block.text = facts["reason"]
    return block
