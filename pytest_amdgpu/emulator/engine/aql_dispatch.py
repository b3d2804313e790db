"""From an AQL kernel dispatch packet and its kernel descriptor to the state in which waves start.

Sources: HSA System Architecture 2.9 (packet), LLVM's "User Guide for AMDGPU Backend" (kernel descriptor,
order of user SGPRs, kernarg preload), ROCr's amd_hsa_queue.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.engine.dispatch import (
    CODE_ALIGNMENT,
    MAX_WORKGROUP,
    USER_SGPRS,
    Scratch,
    Triple,
    scratch,
)
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.placing import placement
from pytest_amdgpu.emulator.engine.queue_descriptor import QueueDescriptor
from pytest_amdgpu.emulator.engine.shader_memory import shader_memory
from pytest_amdgpu.emulator.placement import Limits
from pytest_amdgpu.packets.layout import Packet
from pytest_amdgpu.packets.registers import compute_registers

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState

_DESCRIPTOR = struct.Struct("<III4xq20xIIIHH4x")
_DESCRIPTOR_ALIGNMENT = 64
_PRELOAD_PROLOGUE = 256
"""Code in front of a kernel with preloaded arguments, for firmware that does not preload; skipped (LLVM)."""
_KERNARG_ALIGNMENT = 16

# Kernel code properties.
_PRIVATE_SEGMENT_BUFFER = 1 << 0
_DISPATCH_POINTER = 1 << 1
_QUEUE_POINTER = 1 << 2
_KERNARG_POINTER = 1 << 3
_DISPATCH_ID = 1 << 4
_FLAT_SCRATCH_INIT = 1 << 5
_PRIVATE_SEGMENT_SIZE = 1 << 6
_WAVE32 = 1 << 10

_INDEX_STRIDE_MASK = 3 << 21
"""Lanes over which scratch is swizzled, 3 for 64."""
_INDEX_STRIDE_32 = 2 << 21

_FORCE_START_AT_000 = 1 << 2
_CS_W32_EN = 1 << 15
_SHADER_EN = 1 << 0


@dataclass(frozen=True, slots=True)
class KernelDispatch:
    """What a kernel dispatch packet asks for."""

    dimensions: int
    block: Triple
    grid: Triple
    private_bytes: int
    group_bytes: int
    kernel_object: int
    kernarg_address: int

    @classmethod
    def of(cls, packet: Packet) -> KernelDispatch:
        """Read the fields of a decoded packet."""
        return cls(
            packet["dimensions"],
            (packet["workgroup_size_x"], packet["workgroup_size_y"], packet["workgroup_size_z"]),
            (packet["grid_size_x"], packet["grid_size_y"], packet["grid_size_z"]),
            packet["private_segment_size"],
            packet["group_segment_size"],
            packet["kernel_object"],
            packet["kernarg_address"],
        )

    def __str__(self) -> str:
        return (
            f"kernel {self.kernel_object:#x} grid {self.grid} block {self.block} group {self.group_bytes}"
            f" private {self.private_bytes} kernarg {self.kernarg_address:#x}"
        )


@dataclass(frozen=True, slots=True)
class KernelDescriptor:
    """The 64 bytes that a kernel object handle points to."""

    group_bytes: int
    private_bytes: int
    kernarg_bytes: int
    entry_offset: int
    rsrc3: int
    rsrc1: int
    rsrc2: int
    properties: int
    preload: int


def refusal(code: ExceptionCode, text: str) -> BadPacketError:
    """Return the error for what hardware reports with an exception code of its own."""
    return BadPacketError(f"{text} (KFD exception {code.value}, {code.name})", code)


def _ceil(value: int, unit: int) -> int:
    return -(-value // unit)


def aql_state(
    context: QueueContext, queue: QueueDescriptor, packet: KernelDispatch, packet_address: int, index: int
) -> DispatchState:
    """Build the start state of a kernel dispatch packet.

    `packet_address` is where it lies in the ring, `index` its dispatch id. Raises BadPacketError, with the
    exception code that hardware would report, for what the command processor refuses.
    """
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState

    family = context.gpu.family
    registers = compute_registers(family.registers)
    _check_sizes(packet)
    kernel = _read_descriptor(context, packet)
    wave_size = 32 if kernel.properties & _WAVE32 else 64
    if wave_size not in family.wave_sizes:
        raise refusal(
            ExceptionCode.QUEUE_PACKET_DISPATCH_CODE_INVALID,
            f"kernel {packet.kernel_object:#x} wants waves of {wave_size}, {family} has {family.wave_sizes}",
        )
    rsrc2 = _with_lds(context, kernel.rsrc2, packet)
    private = Scratch(0, 0, 0)
    if packet.private_bytes or registers.decode("COMPUTE_PGM_RSRC2", rsrc2)["scratch_en"]:
        private = scratch(context, registers, queue.scratch_location, queue.tmpring_size, context.gpu.num_xcc)
        room = private.wave_bytes if private.base and private.waves else 0
        if not room or room < packet.private_bytes * wave_size:
            raise BadPacketError(
                f"a wave needs {packet.private_bytes} bytes of private memory for each of {wave_size}"
                f" work-items; the queue's descriptor provides {room} per wave at {private.base:#x}"
            )
    entry = packet.kernel_object + kernel.entry_offset
    if kernel.preload & 0x7F:
        entry += _PRELOAD_PROLOGUE
    if entry % CODE_ALIGNMENT:
        raise refusal(
            ExceptionCode.QUEUE_PACKET_DISPATCH_CODE_INVALID,
            f"code of kernel {packet.kernel_object:#x} at {entry:#x} is not a multiple of {CODE_ALIGNMENT}",
        )
    lds_bytes = _ceil(packet.group_bytes, family.lds_granule) * family.lds_granule
    return DispatchState(
        family=family,
        memory=shader_memory(context.memory),
        entry=entry,
        rsrc1=kernel.rsrc1,
        rsrc2=rsrc2,
        rsrc3=kernel.rsrc3,
        user_data=_user_data(context, queue, packet, kernel, packet_address, index),
        initiator=_SHADER_EN | _FORCE_START_AT_000 | (_CS_W32_EN if wave_size == 32 else 0),
        workgroups=(
            _ceil(packet.grid[0], packet.block[0]),
            _ceil(packet.grid[1], packet.block[1]),
            _ceil(packet.grid[2], packet.block[2]),
        ),
        start=(0, 0, 0),
        block=packet.block,
        grid=packet.grid,
        wave_size=wave_size,
        scratch_base=private.base,
        scratch_wave_bytes=private.wave_bytes,
        scratch_waves=private.waves,
        lds_bytes=lds_bytes,
        num_xcc=context.gpu.num_xcc,
        clock=context.gpu.clock,
        interrupt=lambda payload: context.host.interrupt(payload, "sq"),
        placement=placement(
            context,
            rsrc1=kernel.rsrc1,
            block=packet.block,
            wave_size=wave_size,
            lds_bytes=lds_bytes,
            xccs=tuple(range(context.gpu.num_xcc)),
            limits=Limits(),
        ),
    )


def misuses(context: QueueContext, packet: KernelDispatch) -> list[str]:
    """Say what hardware takes although it is a bug of the driver."""
    kernel = _read_descriptor(context, packet)
    found = []
    if packet.group_bytes < kernel.group_bytes:
        found.append(
            f"the packet gives {packet.group_bytes} bytes of LDS to a kernel with {kernel.group_bytes}"
        )
    if packet.private_bytes < kernel.private_bytes:
        found.append(
            f"the packet gives {packet.private_bytes} bytes of private memory to a kernel with"
            f" {kernel.private_bytes}"
        )
    if packet.kernarg_address % _KERNARG_ALIGNMENT:
        found.append(
            f"kernel arguments at {packet.kernarg_address:#x}, not a multiple of {_KERNARG_ALIGNMENT}"
        )
    return found


def _check_sizes(packet: KernelDispatch) -> None:
    if not 1 <= packet.dimensions <= 3:
        raise refusal(ExceptionCode.QUEUE_PACKET_DISPATCH_DIM_INVALID, f"{packet.dimensions} dimensions")
    if 0 in packet.grid:
        raise refusal(ExceptionCode.QUEUE_PACKET_DISPATCH_DIM_INVALID, f"grid {packet.grid} is empty")
    block = packet.block
    if 0 in block or block[0] * block[1] * block[2] > MAX_WORKGROUP:
        raise refusal(
            ExceptionCode.QUEUE_PACKET_DISPATCH_WORK_GROUP_SIZE_INVALID,
            f"workgroup {block} is empty or exceeds {MAX_WORKGROUP} work-items",
        )
    for axis in range(packet.dimensions, 3):
        if packet.grid[axis] != 1 or block[axis] != 1:
            raise refusal(
                ExceptionCode.QUEUE_PACKET_DISPATCH_DIM_INVALID,
                f"grid {packet.grid} and workgroup {block} of a dispatch of {packet.dimensions} dimensions",
            )


def _read_descriptor(context: QueueContext, packet: KernelDispatch) -> KernelDescriptor:
    if packet.kernel_object == 0 or packet.kernel_object % _DESCRIPTOR_ALIGNMENT:
        raise refusal(
            ExceptionCode.QUEUE_PACKET_DISPATCH_CODE_INVALID,
            f"kernel object {packet.kernel_object:#x} is no address of a descriptor",
        )
    return KernelDescriptor(*_DESCRIPTOR.unpack(context.memory.read(packet.kernel_object, _DESCRIPTOR.size)))


def _with_lds(context: QueueContext, rsrc2: int, packet: KernelDispatch) -> int:
    family = context.gpu.family
    if packet.group_bytes > family.lds_bytes:
        raise refusal(
            ExceptionCode.QUEUE_PACKET_DISPATCH_GROUP_SEGMENT_SIZE_INVALID,
            f"{packet.group_bytes} bytes of LDS, a workgroup has at most {family.lds_bytes}",
        )
    field = compute_registers(family.registers).fields("COMPUTE_PGM_RSRC2")["lds_size"]
    mask = (1 << field.width) - 1 << field.low
    return rsrc2 & ~mask | _ceil(packet.group_bytes, family.lds_granule) << field.low


def _user_data(
    context: QueueContext,
    queue: QueueDescriptor,
    packet: KernelDispatch,
    kernel: KernelDescriptor,
    packet_address: int,
    index: int,
) -> tuple[int, ...]:
    """Return the user SGPRs in hardware order, padded with zeros to all 16."""
    wanted = kernel.properties
    values: list[int] = []

    def pair(value: int) -> None:
        values.extend((value & 0xFFFFFFFF, value >> 32))

    if wanted & _PRIVATE_SEGMENT_BUFFER:
        *words, word3 = queue.scratch_descriptor
        if context.gpu.family.scratch.lanes_by_dispatch:
            word3 = word3 & ~_INDEX_STRIDE_MASK | (
                _INDEX_STRIDE_32 if wanted & _WAVE32 else _INDEX_STRIDE_MASK
            )
        values.extend((*words, word3))
    if wanted & _DISPATCH_POINTER:
        pair(packet_address)
    if wanted & _QUEUE_POINTER:
        pair(queue.address)
    if wanted & _KERNARG_POINTER:
        pair(packet.kernarg_address)
    if wanted & _DISPATCH_ID:
        pair(index)
    if wanted & _FLAT_SCRATCH_INIT:
        if context.gpu.family.architected_flat_scratch:
            raise refusal(
                ExceptionCode.QUEUE_PACKET_DISPATCH_CODE_INVALID,
                f"kernel {packet.kernel_object:#x} wants flat scratch in user SGPRs,"
                f" which {context.gpu.family} sets up by itself",
            )
        pair(queue.scratch_location)
    if wanted & _PRIVATE_SEGMENT_SIZE:
        values.append(packet.private_bytes)
    length, offset = kernel.preload & 0x7F, kernel.preload >> 7
    address = packet.kernarg_address + 4 * offset
    values.extend(context.memory.read_u32(address + 4 * dword) for dword in range(length))
    count = compute_registers(context.gpu.family.registers).decode("COMPUTE_PGM_RSRC2", kernel.rsrc2)[
        "user_sgpr"
    ]
    if len(values) > min(count, USER_SGPRS):
        raise refusal(
            ExceptionCode.QUEUE_PACKET_DISPATCH_CODE_INVALID,
            f"kernel {packet.kernel_object:#x} wants {len(values)} user SGPRs but has {count}",
        )
    return tuple(values + [0] * (USER_SGPRS - len(values)))
