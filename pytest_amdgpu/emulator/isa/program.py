"""Finds the translated block for a program counter: fetches instructions, translates, and remembers by
content.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.isa.decode.decoder import has_decoder
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction, NotEmulatedError
from pytest_amdgpu.emulator.isa.translate import Block, Target, translate
from pytest_amdgpu.emulator.isa.waves import GPR_INDEX_SHIFT
from pytest_amdgpu.emulator.memory import Access, AddressSpace

if TYPE_CHECKING:
    from pytest_amdgpu.families.registry import Family

_KEY_MASK = 0xFF | 0x1F << GPR_INDEX_SHIFT
_PREFIX = 32
_LONGEST_INSTRUCTION = 20
"""Bytes: 8 of the encoding and a literal, or up to 12 more of image instructions on RDNA."""
_BLOCKS_KEPT = 4096

_lock = threading.Lock()
_blocks: dict[tuple[Target, bytes], list[Block]] = {}
"""All blocks ever translated in this process, by their first bytes; those with the same beginning follow each
other.
"""


def _find(target: Target, code: memoryview) -> Block:
    """Return the block at the start of `code`."""
    key = (target, bytes(code[:_PREFIX]))
    with _lock:
        for block in _blocks.get(key, ()):
            # A block that was cut short by undecodable code beyond its end would be cut differently
            # elsewhere; executing it again from the cut on is right all the same.
            if code[: len(block.code)] == block.code:
                return block
    block = translate(target, code)
    with _lock:
        if len(_blocks) > _BLOCKS_KEPT:
            _blocks.clear()
        _blocks.setdefault(key, []).append(block)
    return block


class Program:
    """The blocks of one dispatch by address. Code that changes while it runs is seen by the next dispatch
    only.
    """

    def __init__(self, family: Family, wave_size: int, memory: AddressSpace) -> None:
        self._family = family
        self._wave_size = wave_size
        self._memory = memory
        self._tables: dict[int, dict[int, Block]] = {}
        self.written: set[int] = set()
        """Vector registers that the blocks met so far write."""

    def table(self, mode: int) -> dict[int, Block]:
        """Return the blocks met so far by address, for a value of the MODE register; `fetch` fills it."""
        return self._tables.setdefault(mode & _KEY_MASK, {})

    def _code(self, pc: int) -> memoryview:
        """The code from an address to the end of its mapping, or a bit further where another follows."""
        mapping = self._memory.translate(pc, Access.EXECUTE)
        code = mapping.data[pc - mapping.start :].data
        if len(code) >= _LONGEST_INSTRUCTION:
            return code
        following = self._memory.find(mapping.end)
        if following is None or not following.executable:
            return code
        return memoryview(bytes(code) + bytes(following.data[:_LONGEST_INSTRUCTION].data))

    def _check_end(self, target: Target, pc: int, code: memoryview) -> None:
        """VmFault if an instruction goes on beyond the end of the executable memory."""
        try:
            whole = translate(target, memoryview(bytes(code) + bytes(_LONGEST_INSTRUCTION)))
        except IllegalInstruction:
            return
        if whole.instructions[0].size > len(code):
            self._memory.translate(pc + len(code), Access.EXECUTE)

    def fetch(self, pc: int, mode: int) -> Block:
        """Return the block at an address.

        Raises VmFault if it may not be executed, IllegalInstruction if it cannot be decoded, NotEmulatedError
        for a target whose encodings are not known, or where MODE rounds other than to nearest even.
        """
        code = self._code(pc)
        name = self._family.name
        if not has_decoder(name):
            raise NotEmulatedError(
                pc, (), f"software GPUs do not execute code for {name}: its encodings are not emulated"
            )
        if mode & 15:
            raise NotEmulatedError(pc, (), f"MODE {mode:#x}: only rounding to nearest even is emulated")
        target = Target(
            self._family,
            name,
            self._wave_size,
            # Denormals: 3 keeps them; LLVM AMDGPU usage, COMPUTE_PGM_RSRC1.FLOAT_MODE.
            flush_f32=mode >> 4 & 3 != 3,
            flush_f16_f64=mode >> 6 & 3 != 3,
            gpr_index=mode >> (GPR_INDEX_SHIFT + 1),
        )
        try:
            block = _find(target, code)
        except IllegalInstruction as error:
            if len(code) < _LONGEST_INSTRUCTION:
                self._check_end(target, pc, code)
            raise IllegalInstruction(pc + error.address, error.words, error.text) from None
        self.table(mode)[pc] = block
        self.written.update(index for kind, index in block.writes if kind == "v")
        return block
