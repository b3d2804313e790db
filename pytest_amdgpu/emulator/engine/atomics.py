"""Read-modify-write on memory, as the L2 cache does it for SDMA's ATOMIC and PM4's ATOMIC_MEM.

Both packets carry an operation of the TC encoding (AMD's public MEC packet headers, `TC_OP`; the same
numbers on gfx9 to gfx12): bits [4:0] what to do, bit 5 set for 64-bit operands, bit 6 set when the old
value is not returned.
"""

from __future__ import annotations

from collections.abc import Callable

from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.shader_memory import CommandMemory
from pytest_amdgpu.emulator.memory import AddressSpace

_WIDE = 0x20
_CODE = 0x1F
COMPARE_AND_SWAP = 0x08
ADD_64 = _WIDE | 0x0F

_Operation = Callable[[int, int, int, int], int]
"""(old, source, compare, sign bit) -> new value, to be cut to the width."""


def _signed(value: int, sign: int) -> int:
    return value - 2 * sign if value & sign else value


_OPERATIONS: dict[int, tuple[str, _Operation]] = {
    0x07: ("SWAP", lambda old, src, cmp, sign: src),
    COMPARE_AND_SWAP: ("CMPSWAP", lambda old, src, cmp, sign: src if old == cmp else old),
    0x0F: ("ADD", lambda old, src, cmp, sign: old + src),
    0x10: ("SUB", lambda old, src, cmp, sign: old - src),
    0x11: ("SMIN", lambda old, src, cmp, sign: min(old, src, key=lambda value: _signed(value, sign))),
    0x12: ("UMIN", lambda old, src, cmp, sign: min(old, src)),
    0x13: ("SMAX", lambda old, src, cmp, sign: max(old, src, key=lambda value: _signed(value, sign))),
    0x14: ("UMAX", lambda old, src, cmp, sign: max(old, src)),
    0x15: ("AND", lambda old, src, cmp, sign: old & src),
    0x16: ("OR", lambda old, src, cmp, sign: old | src),
    0x17: ("XOR", lambda old, src, cmp, sign: old ^ src),
    0x18: ("INC", lambda old, src, cmp, sign: 0 if old >= src else old + 1),
    0x19: ("DEC", lambda old, src, cmp, sign: src if old == 0 or old > src else old - 1),
}


def atomic(memory: AddressSpace | CommandMemory, address: int, op: int, source: int, compare: int) -> int:
    """Do the operation and return the old value.

    Raises BadPacketError for an operation that no integer atomic has and for an unaligned address, and
    VmFault.
    """
    known = _OPERATIONS.get(op & _CODE)
    if known is None:
        raise BadPacketError(f"atomic operation {op:#x} is none of the integer ones of the TC encoding")
    name, operation = known
    size = 8 if op & _WIDE else 4
    if address % size:
        raise BadPacketError(f"atomic {name} of {size * 8} bits at unaligned address {address:#x}")
    mask = (1 << 8 * size) - 1
    read, write = (memory.read_u64, memory.write_u64) if size == 8 else (memory.read_u32, memory.write_u32)
    with memory.atomic_lock:
        old = read(address)
        write(address, operation(old, source & mask, compare & mask, (mask + 1) >> 1) & mask)
    return old


def compare_succeeds(op: int, old: int, compare: int) -> bool:
    """Whether a looping compare-and-swap is done; other operations always are."""
    mask = (1 << (64 if op & _WIDE else 32)) - 1
    return op & _CODE != COMPARE_AND_SWAP or old == compare & mask
