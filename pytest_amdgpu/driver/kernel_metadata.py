"""Kernels of a code object: descriptor, arguments and resources.

Sources of facts: LLVM's "User Guide for AMDGPU Backend", sections "Kernel Descriptor" and "Code Object
V5 Metadata".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DESCRIPTOR_SIZE = 64
_DESCRIPTOR = struct.Struct("<IIIIq20xIIIHH4x")

PROPERTY_WAVE32 = 1 << 10
PROPERTY_DYNAMIC_STACK = 1 << 11


@dataclass(frozen=True, slots=True)
class KernelDescriptor:
    """The 64 bytes at `<kernel>.kd` that a dispatch packet points to. Sizes are in bytes."""

    group_segment_fixed_size: int
    private_segment_fixed_size: int
    kernarg_size: int
    entry_offset: int
    """Bytes from the descriptor to the first instruction (signed)."""
    rsrc3: int
    rsrc1: int
    rsrc2: int
    properties: int
    """KERNEL_CODE_PROPERTIES: which user SGPRs are wanted (bits 0 to 6), wave32 (10), dynamic stack (11)."""
    kernarg_preload: int

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview, offset: int = 0) -> KernelDescriptor:
        """Read a descriptor from `data` at `offset`; raises struct.error if it does not lie within."""
        group, private, kernarg, _, entry, rsrc3, rsrc1, rsrc2, properties, preload = _DESCRIPTOR.unpack_from(
            data, offset
        )
        return cls(group, private, kernarg, entry, rsrc3, rsrc1, rsrc2, properties, preload)


@dataclass(frozen=True, slots=True)
class KernelArgument:
    """One argument in the kernarg segment: offset and size in bytes, and LLVM's `.value_kind`."""

    name: str
    offset: int
    size: int
    kind: str

    @property
    def hidden(self) -> bool:
        """Whether the compiler added it, so that the driver and not the test provides its value."""
        return self.kind.startswith("hidden_")


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """What a code object says about one kernel. Addresses are bytes from the start of the image."""

    name: str
    descriptor: KernelDescriptor
    descriptor_address: int
    arguments: tuple[KernelArgument, ...]
    kernarg_size: int
    group_segment_size: int
    private_segment_size: int
    wave_size: int
    max_block_size: int
    required_block: tuple[int, int, int] | None
    uses_dynamic_stack: bool

    @property
    def entry_address(self) -> int:
        """Where the first instruction lies."""
        return self.descriptor_address + self.descriptor.entry_offset

    @property
    def signature(self) -> str:
        """The arguments that a caller passes, with kind, size and offset."""
        shown = ", ".join(
            f"{argument.name}: {argument.kind} of {argument.size} bytes at {argument.offset}"
            for argument in self.arguments
            if not argument.hidden
        )
        return f"{self.name}({shown})"


def parse_kernels(
    metadata: Mapping[str, Any], symbols: Mapping[str, int], image: memoryview
) -> dict[str, KernelInfo]:
    """Read all kernels that the metadata names. Raises KeyError, TypeError, ValueError or struct.error."""
    kernels: dict[str, KernelInfo] = {}
    for entry in metadata["amdhsa.kernels"]:
        info = _parse_kernel(entry, symbols, image)
        kernels[info.name] = info
    return kernels


def _parse_kernel(entry: Mapping[str, Any], symbols: Mapping[str, int], image: memoryview) -> KernelInfo:
    name, symbol = entry[".name"], entry[".symbol"]
    if symbol not in symbols:
        raise ValueError(f"kernel {name}: symbol {symbol} of its descriptor is not defined")
    address = symbols[symbol]
    if address % DESCRIPTOR_SIZE or address + DESCRIPTOR_SIZE > len(image):
        raise ValueError(f"kernel {name}: no descriptor can lie at {address:#x} of {len(image):#x} bytes")
    descriptor = KernelDescriptor.unpack(image, address)
    entry_address = address + descriptor.entry_offset
    if entry_address % 256 or not 0 <= entry_address < len(image):
        raise ValueError(f"kernel {name}: no code can lie at {entry_address:#x} of {len(image):#x} bytes")
    arguments = tuple(
        KernelArgument(
            argument.get(".name", f"arg{index}"),
            argument[".offset"],
            argument[".size"],
            argument[".value_kind"],
        )
        for index, argument in enumerate(entry.get(".args", ()))
    )
    kernarg_size = entry[".kernarg_segment_size"]
    for argument in arguments:
        if argument.offset + argument.size > kernarg_size:
            raise ValueError(f"kernel {name}: argument {argument.name} lies outside its {kernarg_size} bytes")
    required = entry.get(".reqd_workgroup_size")
    return KernelInfo(
        name=name,
        descriptor=descriptor,
        descriptor_address=address,
        arguments=arguments,
        kernarg_size=kernarg_size,
        group_segment_size=entry[".group_segment_fixed_size"],
        private_segment_size=entry[".private_segment_fixed_size"],
        wave_size=entry[".wavefront_size"],
        max_block_size=entry[".max_flat_workgroup_size"],
        required_block=tuple(required) if required else None,
        uses_dynamic_stack=bool(entry.get(".uses_dynamic_stack", False)),
    )
