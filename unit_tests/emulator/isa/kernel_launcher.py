"""Runs kernels of code objects on the instruction-set emulator alone: no driver, no engines."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import private_segment
from elftools.elf.elffile import ELFFile

from pytest_amdgpu.driver.code_object import parse, relocate
from pytest_amdgpu.driver.kernarg import KernargLayout
from pytest_amdgpu.emulator.isa.chunk import Chunk
from pytest_amdgpu.emulator.isa.dispatch import Dispatch, DispatchState
from pytest_amdgpu.emulator.isa.memory_access import MemoryAccess
from pytest_amdgpu.emulator.isa.program import Program
from pytest_amdgpu.emulator.isa.waves import Group
from pytest_amdgpu.emulator.memory import PAGE_SIZE, AddressSpace, BufferObject
from pytest_amdgpu.families.registry import family

Triple = tuple[int, int, int]
ENOUGH = 1 << 20
DYNAMIC_STACK_BYTES = 4096


@dataclass(frozen=True)
class GpuArray:
    """An array in GPU memory."""

    address: int
    array: npt.NDArray[Any]


class Runner:
    """An address space with memory, and kernels loaded into it."""

    def __init__(self, target: str) -> None:
        self.family = family(target)
        self.space = AddressSpace()
        self._next = 0x7F00_0000_0000

    def map(self, size: int, *, writable: bool = True, executable: bool = True) -> GpuArray:
        """Map zeroed bytes with unmapped pages around them."""
        data = np.zeros(-(-max(size, 1) // PAGE_SIZE) * PAGE_SIZE, np.uint8)
        address = self._next
        self.space.map(address, BufferObject(data, writable=writable, executable=executable))
        self._next += data.size + 16 * PAGE_SIZE
        return GpuArray(address, data)

    def array(self, values: npt.NDArray[Any], *, writable: bool = True) -> GpuArray:
        """Map a copy of an array; `.array` is the copy as the GPU sees it."""
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        memory = self.map(raw.size, writable=writable)
        memory.array[: raw.size] = raw
        return GpuArray(memory.address, memory.array[: raw.size].view(values.dtype).reshape(values.shape))

    def load(self, code_object: bytes) -> Loaded:
        """Load a code object."""
        return Loaded(self, code_object)


class Loaded:
    """A code object in memory."""

    def __init__(self, runner: Runner, code_object: bytes) -> None:
        self._runner = runner
        self._code = parse(code_object)
        memory = runner.map(self._code.image_size)
        for segment in self._code.segments:
            memory.array[segment.address : segment.address + len(segment.data)] = np.frombuffer(
                segment.data, np.uint8
            )
        relocate(memory.array.data, self._code.relocations, memory.address, self._code.name)
        self._base = memory.address

    def state(
        self, kernel: str, args: Sequence[Any], grid: Triple, block: Triple, **changes: Any
    ) -> DispatchState:
        """Return the start state of a dispatch; `grid` counts work-items."""
        runner = self._runner
        info = self._code.kernels[kernel]
        descriptor = info.descriptor
        kernarg = runner.map(max(info.kernarg_size, 16))
        # There is no queue here that the argument could point to; kernels at -O0 list it without using it.
        known = tuple(argument for argument in info.arguments if argument.kind != "hidden_queue_ptr")
        KernargLayout(replace(info, arguments=known), shared_base=1 << 48, private_base=2 << 48).pack_into(
            kernarg.array.data, list(args), grid, block
        )
        packet = runner.map(64)
        struct.pack_into("<HHHHHHIII", packet.array.data, 0, 2, 3, *block, 0, *grid)
        words: list[int] = []
        wave_size = info.wave_size
        lane_bytes = info.private_segment_size + (DYNAMIC_STACK_BYTES if info.uses_dynamic_stack else 0)
        wave_bytes = -(-lane_bytes * wave_size // 1024) * 1024
        waves = -(-block[0] * block[1] * block[2] // wave_size) * 32
        scratch = runner.map(wave_bytes * waves)
        segment = private_segment.descriptor(runner.family, wave_size, scratch.address, wave_bytes * waves)
        # Enabled by bits 0 to 6 of the descriptor's properties, in this order.
        sources = (
            (sum(word << 32 * i for i, word in enumerate(segment)), 4),
            (packet.address, 2),
            (0, 2),
            (kernarg.address, 2),
            (7, 2),
            (scratch.address, 2),
            (0, 1),
        )
        for bit, (value, count) in enumerate(sources):
            if descriptor.properties >> bit & 1:
                words += [value >> 32 * i & 0xFFFFFFFF for i in range(count)]
        workgroups = tuple(-(-size // full) for size, full in zip(grid, block, strict=True))
        facts: dict[str, Any] = {
            "family": runner.family,
            "memory": runner.space,
            "entry": self._base + info.entry_address,
            "rsrc1": descriptor.rsrc1,
            "rsrc2": descriptor.rsrc2,
            "rsrc3": descriptor.rsrc3,
            "user_data": tuple(words) + (0,) * (16 - len(words)),
            "initiator": 1,
            "workgroups": workgroups,
            "start": (0, 0, 0),
            "block": block,
            "grid": grid,
            "wave_size": wave_size,
            "scratch_base": scratch.address if wave_bytes else 0,
            "scratch_wave_bytes": wave_bytes,
            "lds_bytes": info.group_segment_size,
            "num_xcc": 1,
        }
        facts.update(changes)
        return DispatchState(**facts)

    def run(
        self, kernel: str, args: Sequence[Any], grid: int | Triple, block: int | Triple, **changes: Any
    ) -> None:
        """Run a kernel to its end; `changes` replace fields of the start state."""
        grid = (grid, 1, 1) if isinstance(grid, int) else grid
        block = (block, 1, 1) if isinstance(block, int) else block
        dispatch = Dispatch(self.state(kernel, args, grid, block, **changes))
        if not dispatch.run(ENOUGH):
            raise TimeoutError(f"{kernel} still runs after {ENOUGH} blocks: {dispatch.describe()}")


def bare_chunk(runner: Runner, waves: int, wave_size: int = 32, **changes: Any) -> Group:
    """A group of waves that have not run: workgroups of one wave, no memory, MODE keeps denormals."""
    facts: dict[str, Any] = {
        "family": runner.family,
        "memory": runner.space,
        "entry": 0,
        "rsrc1": 0xF0 << 12,
        "rsrc2": 0,
        "rsrc3": 0,
        "user_data": (),
        "initiator": 1,
        "workgroups": (waves, 1, 1),
        "start": (0, 0, 0),
        "block": (wave_size, 1, 1),
        "grid": (waves * wave_size, 1, 1),
        "wave_size": wave_size,
        "scratch_base": 0,
        "scratch_wave_bytes": 0,
        "lds_bytes": 0,
    }
    state = DispatchState(**(facts | changes))
    program = Program(state.family, wave_size, runner.space)
    chunk = Chunk(state, program, MemoryAccess(runner.space), 0, waves)
    return chunk.groups[0]


def assemble(llvm_mc: str, target: str, source: str) -> bytes:
    """Assemble instructions with llvm-mc."""
    command = [llvm_mc, "-triple=amdgcn-amd-amdhsa", f"-mcpu={target}", "-filetype=obj"]
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    text: bytes = ELFFile(io.BytesIO(done.stdout)).get_section_by_name(".text").data()
    return text


class Bench:
    """Runs assembled code: user SGPRs from s0 on, then the workgroup id along x, work-item ids in v0."""

    def __init__(self, llvm_mc: str, target: str) -> None:
        self.runner = Runner(target)
        self.wave_size = self.runner.family.wave_size
        self._llvm_mc = llvm_mc

    def code(self, source: str, **rights: bool) -> GpuArray:
        """Assemble and map code."""
        text = assemble(self._llvm_mc, self.runner.family.name, source)
        memory = self.runner.map(len(text), **rights)
        memory.array[: len(text)] = np.frombuffer(text, np.uint8)
        return memory

    def start(
        self,
        source: str | GpuArray,
        user: Sequence[int] = (),
        groups: int = 1,
        block: int | None = None,
        **changes: Any,
    ) -> Dispatch:
        """Return a dispatch of workgroups along x."""
        code = self.code(source) if isinstance(source, str) else source
        block = self.wave_size if block is None else block
        facts: dict[str, Any] = {
            "family": self.runner.family,
            "memory": self.runner.space,
            "entry": code.address,
            "rsrc1": 0xF0 << 12,
            "rsrc2": len(user) << 1 | 1 << 7,
            "rsrc3": 0,
            "user_data": tuple(user) + (0,) * (16 - len(user)),
            "initiator": 1,
            "workgroups": (groups, 1, 1),
            "start": (0, 0, 0),
            "block": (block, 1, 1),
            "grid": (groups * block, 1, 1),
            "wave_size": self.wave_size,
            "scratch_base": 0,
            "scratch_wave_bytes": 0,
            "lds_bytes": 0,
        }
        return Dispatch(DispatchState(**(facts | changes)))

    def run(self, *args: Any, **keywords: Any) -> None:
        """Run a dispatch to its end."""
        dispatch = self.start(*args, **keywords)
        if not dispatch.run(ENOUGH):
            raise TimeoutError(f"still running after {ENOUGH} blocks: {dispatch.describe()}")


def pair(address: int) -> tuple[int, int]:
    """An address as two user SGPRs."""
    return address & 0xFFFFFFFF, address >> 32
