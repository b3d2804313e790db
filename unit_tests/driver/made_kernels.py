"""Kernels without code, to see how a dispatch sets them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_amdgpu.driver.kernel_metadata import KernelDescriptor, KernelInfo

Triple = tuple[int, int, int]


@dataclass(eq=False)
class MadeKernel:
    """Stands for `ProgramKernel`; `pack` writes the bytes 1, 2, 3... and notes what it was asked."""

    name: str = "made"
    entry_address: int = 0x7F12_3456_7800
    descriptor_address: int = 0x7F12_3456_0040
    wave_size: int = 64
    kernarg_size: int = 24
    group_segment_size: int = 0
    private_segment_size: int = 0
    uses_dynamic_stack: bool = False
    max_block_size: int = 1024
    required_block: Triple | None = None
    rsrc1: int = 0x00AF_0040
    rsrc2: int = 0x0000_0084
    rsrc3: int = 0
    properties: int = 1 << 3
    kernarg_preload: int = 0
    packed: list[tuple[Sequence[object], Triple, Triple, int]] = field(default_factory=list)

    @property
    def descriptor(self) -> KernelDescriptor:
        return KernelDescriptor(
            self.group_segment_size,
            self.private_segment_size,
            self.kernarg_size,
            self.entry_address - self.descriptor_address,
            self.rsrc3,
            self.rsrc1,
            self.rsrc2,
            self.properties,
            self.kernarg_preload,
        )

    @property
    def info(self) -> KernelInfo:
        return KernelInfo(
            self.name,
            self.descriptor,
            0,
            (),
            self.kernarg_size,
            self.group_segment_size,
            self.private_segment_size,
            self.wave_size,
            self.max_block_size,
            self.required_block,
            self.uses_dynamic_stack,
        )

    def pack(
        self,
        view: memoryview,
        args: Sequence[object],
        grid: Triple,
        block: Triple,
        dynamic_lds: int = 0,
        queue_address: int = 0,
    ) -> None:
        assert len(view) == self.kernarg_size
        view[:] = bytes(index % 256 for index in range(1, self.kernarg_size + 1))
        self.packed.append((args, grid, block, dynamic_lds))
