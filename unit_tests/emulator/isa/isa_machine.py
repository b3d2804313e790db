"""A bare machine for tests of the instruction set: memory, code, and a dispatch of workgroups on it.

It stands in for driver and engines, so that a failing test means decoder, semantics or executor.
"""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import private_segment
from elftools.elf.elffile import ELFFile

from pytest_amdgpu.driver.code_object import parse, relocate
from pytest_amdgpu.emulator.isa.dispatch import Dispatch, DispatchState
from pytest_amdgpu.emulator.memory import PAGE_SIZE, AddressSpace, BufferObject
from pytest_amdgpu.families.registry import family

FLOAT_MODE_IEEE = 0xF0 << 12
"""RSRC1: round to nearest even, denormals of all widths."""
DX10_CLAMP, IEEE_MODE = 1 << 21, 1 << 23

CORPUS = Path(__file__).parent / "corpus"
TARGETS = ("gfx908", "gfx90a", "gfx942", "gfx950", "gfx1010", "gfx1030", "gfx1100", "gfx1151", "gfx1200")
WAVE_SIZE = {target: 64 if target.startswith("gfx9") else 32 for target in TARGETS}
ALL_LEVELS = ("-O0", "-O1", "-O2", "-O3")


def levels(target: str, kernel: str) -> tuple[str, ...]:
    """Optimization levels to test: all for a target of each kind, one for others, which differs by kernel."""
    if target in ("gfx942", "gfx1100"):
        return ALL_LEVELS
    return (ALL_LEVELS[sum((target + kernel).encode()) % len(ALL_LEVELS)],)


USER_SGPR_SIZES = (4, 2, 2, 2, 2, 2, 1)
"""Of the descriptor's properties, bit by bit: segment buffer, dispatch, queue, kernarg, id, scratch, size."""
SEGMENT_BUFFER_BIT, DISPATCH_BIT, QUEUE_BIT, KERNARG_BIT, FLAT_SCRATCH_BIT = 0, 1, 2, 3, 5
AQL_PACKET = struct.Struct("<HHHHHHIIIIIQQQQ")
"""hsa_kernel_dispatch_packet_t: compilers read the size of workgroups from it."""
MANY_BLOCKS = 1 << 20


@dataclass(frozen=True)
class Memory:
    """An allocation: its GPU address and the bytes."""

    address: int
    data: npt.NDArray[np.uint8]


class Machine:
    """Memory of one target, and kernels run on it."""

    def __init__(self, target: str, wave_size: int | None = None) -> None:
        self.family = family(target)
        self.wave_size = wave_size or WAVE_SIZE[target]
        self.space = AddressSpace()
        self._next = 0x7000_0000_0000

    def allocate(self, size: int) -> Memory:
        """Map fresh zeroed memory of at least `size` bytes; unmapped pages lie around it."""
        pages = -(-max(size, 1) // PAGE_SIZE)
        data = np.zeros(pages * PAGE_SIZE, np.uint8)
        address = self._next
        self.space.map(address, BufferObject(data))
        self._next += (pages + 16) * PAGE_SIZE
        return Memory(address, data[: max(size, 1)])

    def upload(self, array: npt.NDArray[np.generic]) -> Memory:
        """Map memory that holds a copy of `array`."""
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        memory = self.allocate(raw.size)
        memory.data[:] = raw
        return memory

    def _wave_bytes(self, lane_bytes: int) -> int:
        return -(-lane_bytes * self.wave_size // 1024) * 1024

    def private_memory(self, lane_bytes: int, groups: int, block: int) -> Memory:
        """Private memory for all waves of a dispatch."""
        return self.allocate(self._wave_bytes(lane_bytes) * groups * -(-block // self.wave_size))

    def run(
        self,
        entry: int,
        user_data: Sequence[int],
        *,
        groups: int,
        block: int = 64,
        rsrc1: int = FLOAT_MODE_IEEE | DX10_CLAMP | IEEE_MODE,
        rsrc2: int | None = None,
        scratch_lane_bytes: int = 0,
        lds_bytes: int = 0,
        scratch: Memory | None = None,
    ) -> None:
        """Run workgroups of `block` work-items along x to their end; `scratch` is `private_memory`."""
        if rsrc2 is None:
            rsrc2 = len(user_data) << 1 | 1 << 7
        if scratch is None:
            scratch = self.private_memory(scratch_lane_bytes, groups, block)
        state = DispatchState(
            family=self.family,
            memory=self.space,
            entry=entry,
            rsrc1=rsrc1 | 63,
            rsrc2=rsrc2,
            rsrc3=0,
            user_data=tuple(user_data) + (0,) * (16 - len(user_data)),
            initiator=1,
            workgroups=(groups, 1, 1),
            start=(0, 0, 0),
            block=(block, 1, 1),
            grid=(groups * block, 1, 1),
            wave_size=self.wave_size,
            scratch_base=scratch.address if scratch_lane_bytes else 0,
            scratch_wave_bytes=self._wave_bytes(scratch_lane_bytes),
            lds_bytes=lds_bytes,
            num_xcc=1,
        )
        if not Dispatch(state).run(MANY_BLOCKS):
            raise TimeoutError(f"the program at {entry:#x} has not ended after {MANY_BLOCKS} blocks")


class Loaded:
    """A code object on a machine."""

    def __init__(self, machine: Machine, code_object: bytes) -> None:
        self.machine = machine
        self.code = parse(code_object)
        self.memory = machine.allocate(self.code.image_size)
        for segment in self.code.segments:
            self.memory.data[segment.address : segment.address + len(segment.data)] = np.frombuffer(
                segment.data, np.uint8
            )
        relocate(self.memory.data.data, self.code.relocations, self.memory.address, self.code.name)

    def launch(self, kernel: str, arguments: Sequence[int], *, groups: int, block: int = 64) -> None:
        """Run a kernel whose arguments are pointers and 32-bit numbers, placed by their sizes."""
        info = self.code.kernels[kernel]
        assert info.wave_size == self.machine.wave_size, f"{kernel} is compiled for waves of {info.wave_size}"
        explicit = [argument for argument in info.arguments if not argument.hidden]
        kernarg = self.machine.allocate(info.kernarg_size + 256)
        for argument, value in zip(explicit, arguments, strict=True):
            raw = value.to_bytes(argument.size, "little")
            kernarg.data[argument.offset : argument.offset + argument.size] = np.frombuffer(raw, np.uint8)
        descriptor = info.descriptor
        packet = self.machine.allocate(AQL_PACKET.size)
        sizes = (block, 1, 1, 0, groups * block, 1, 1)
        AQL_PACKET.pack_into(
            packet.data.data, 0, 2, 1, *sizes, 0, info.group_segment_size, 0, kernarg.address, 0, 0
        )
        lane_bytes = max(info.private_segment_size, 16384 * info.uses_dynamic_stack)
        scratch = self.machine.private_memory(lane_bytes, groups, block)
        family, wave_size = self.machine.family, self.machine.wave_size
        segment = private_segment.descriptor(family, wave_size, scratch.address, scratch.data.size)
        values = {
            SEGMENT_BUFFER_BIT: sum(word << 32 * i for i, word in enumerate(segment)),
            FLAT_SCRATCH_BIT: scratch.address,
            DISPATCH_BIT: packet.address,
            QUEUE_BIT: self.machine.allocate(PAGE_SIZE).address,
            KERNARG_BIT: kernarg.address,
        }
        user_data: list[int] = []
        for bit, size in enumerate(USER_SGPR_SIZES):
            if descriptor.properties >> bit & 1:
                value = values.get(bit, 0)
                user_data += [value >> 32 * i & 0xFFFFFFFF for i in range(size)]
        self.machine.run(
            self.memory.address + info.entry_address,
            user_data,
            groups=groups,
            block=block,
            rsrc1=descriptor.rsrc1,
            rsrc2=descriptor.rsrc2,
            scratch_lane_bytes=lane_bytes,
            scratch=scratch,
            lds_bytes=info.group_segment_size,
        )


def assemble(
    require_tool: Callable[[str], str], target: str, source: str, *, features: str = ""
) -> tuple[bytes, dict[str, int]]:
    """Assemble with llvm-mc: the text section and where its labels are."""
    command = [require_tool("llvm-mc"), "-triple=amdgcn-amd-amdhsa", f"-mcpu={target}", "-filetype=obj"]
    command.append(f"-mattr={features}")
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    elf = ELFFile(io.BytesIO(done.stdout))
    symbols = {
        symbol.name: symbol["st_value"] for symbol in elf.get_section_by_name(".symtab").iter_symbols()
    }
    return elf.get_section_by_name(".text").data(), symbols


def float32_bits(value: float) -> int:
    """The bits of a number rounded to f32."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def bits_float32(bits: int) -> float:
    """The number that f32 bits stand for."""
    return float(struct.unpack("<f", struct.pack("<I", bits & 0xFFFFFFFF))[0])
