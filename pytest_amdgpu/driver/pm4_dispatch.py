"""A dispatch over PM4: the registers that the command processor would set up from an AQL packet.

Sources: LLVM's "User Guide for AMDGPU Backend" (kernel descriptor, order of user SGPRs, kernarg preload),
and for the registers the kernel's headers as cited in packets/register_tables.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.driver import aql_packet
from pytest_amdgpu.driver.commands import PAYLOAD_ALIGNMENT, encode
from pytest_amdgpu.driver.dispatch_template import DispatchTemplate, TemplateLink
from pytest_amdgpu.driver.errors import LaunchError
from pytest_amdgpu.packets.pm4 import CS_PARTIAL_FLUSH, pm4_packets
from pytest_amdgpu.packets.registers import compute_registers

if TYPE_CHECKING:
    from pytest_amdgpu.driver.launch import Launch
    from pytest_amdgpu.driver.program import ProgramKernel
    from pytest_amdgpu.driver.scratch import ScratchSetup
    from pytest_amdgpu.families.registry import Family

PRIVATE_SEGMENT_BUFFER = 1 << 0
DISPATCH_POINTER = 1 << 1
QUEUE_POINTER = 1 << 2
KERNARG_POINTER = 1 << 3
DISPATCH_ID = 1 << 4
FLAT_SCRATCH_INIT = 1 << 5
PRIVATE_SEGMENT_SIZE = 1 << 6
"""Kernel code properties: which user SGPRs a kernel wants, in the order in which they are laid out."""

_USER_SGPRS = 16
_PARTIAL_FLUSH_INDEX = 4


def template(
    family: Family, kernel: ProgramKernel, launch: Launch, queue_address: int, scratch: ScratchSetup
) -> DispatchTemplate:
    """Build the registers and packets of a dispatch; raises `LaunchError` for what PM4 cannot provide."""
    packets = pm4_packets(family.pm4)
    registers = compute_registers(family.registers)
    descriptor = kernel.descriptor
    sgprs = _UserSgprs(family, kernel, launch, queue_address, scratch)

    code = bytearray()

    def write(register: str, *values: int) -> None:
        code.extend(encode(packets.set_sh_reg(registers[register], *values)))

    code += encode(packets.acquire_before_dispatch())
    first = len(code)
    entry = kernel.entry_address >> 8
    scratch_base = scratch.address >> 8 if launch.private_segment else 0
    write(
        "COMPUTE_PGM_LO",
        entry & 0xFFFFFFFF,
        entry >> 32,
        0,
        0,
        scratch_base & 0xFFFFFFFF,
        scratch_base >> 32,
        _rsrc1(family, descriptor.rsrc1),
        _rsrc2(family, descriptor.rsrc2, launch),
    )
    # COMPUTE_PGM_LO, _HI, then the address of the dispatch packet for debuggers.
    packet_register = first + 8 + 2 * 4
    if "COMPUTE_PGM_RSRC3" in registers:
        write("COMPUTE_PGM_RSRC3", descriptor.rsrc3)
    write("COMPUTE_RESOURCE_LIMITS", 0)
    write("COMPUTE_TMPRING_SIZE", scratch.tmpring_size if launch.private_segment else 0)
    write("COMPUTE_RESTART_X", 0, 0, 0)
    threads = [full | partial << 16 for full, partial in zip(launch.block, launch.partial, strict=True)]
    write("COMPUTE_START_X", 0, 0, 0, *threads)
    user_data = len(code) + 8
    if sgprs.values:
        write("COMPUTE_USER_DATA_0", *sgprs.values)
    flags = {"compute_shader_en": 1, "force_start_at_000": 1}
    if launch.partial != launch.block:
        flags["partial_tg_en"] = 1
    if kernel.wave_size == 32:
        flags["cs_w32_en"] = 1
    initiator = registers.encode("COMPUTE_DISPATCH_INITIATOR", **flags)
    code += encode(packets.dispatch_direct(*launch.workgroups, initiator))
    code += encode(packets.event_write(CS_PARTIAL_FLUSH, _PARTIAL_FLUSH_INDEX))

    payload = bytes(kernel.kernarg_size)
    links = []
    if sgprs.kernarg is not None:
        links.append(TemplateLink(False, user_data + 4 * sgprs.kernarg, 0))
    if sgprs.packet is not None:
        payload += bytes(-len(payload) % PAYLOAD_ALIGNMENT)
        packet = len(payload)
        payload += aql_packet.kernel_dispatch(launch, kernel.descriptor_address)
        links.append(TemplateLink(False, user_data + 4 * sgprs.packet, packet))
        links.append(TemplateLink(False, packet_register, packet))
        links.append(TemplateLink(True, packet + aql_packet.KERNARG_ADDRESS, 0))
    return DispatchTemplate(
        code=bytes(code),
        payload=payload,
        links=tuple(links),
        kernarg_size=kernel.kernarg_size,
        grid=launch.grid,
        block=launch.block,
        preload=sgprs.preload and (user_data + 4 * sgprs.preload[0], *sgprs.preload[1:]),
        dispatch_id=None if sgprs.dispatch_id is None else user_data + 4 * sgprs.dispatch_id,
    )


class _UserSgprs:
    """The values of the user SGPRs in hardware order, and which of them are known only at submission.

    `kernarg`, `packet` and `dispatch_id` are the indices of the first SGPR of addresses and numbers;
    `preload` is the first SGPR of preloaded arguments with the bytes of the arguments that it takes.
    """

    def __init__(
        self,
        family: Family,
        kernel: ProgramKernel,
        launch: Launch,
        queue_address: int,
        scratch: ScratchSetup,
    ) -> None:
        wanted = kernel.descriptor.properties
        values: list[int] = []
        self.kernarg = self.packet = self.dispatch_id = None
        self.preload: tuple[int, int, int] | None = None
        if wanted & PRIVATE_SEGMENT_BUFFER:
            values += scratch.resource(family, kernel.wave_size)
        if wanted & DISPATCH_POINTER:
            self.packet = len(values)
            values += (0, 0)
        if wanted & QUEUE_POINTER:
            values += (queue_address & 0xFFFFFFFF, queue_address >> 32)
        if wanted & KERNARG_POINTER:
            self.kernarg = len(values)
            values += (0, 0)
        if wanted & DISPATCH_ID:
            self.dispatch_id = len(values)
            values += (0, 0)
        if wanted & FLAT_SCRATCH_INIT:
            values += (scratch.address & 0xFFFFFFFF, scratch.address >> 32)
        if wanted & PRIVATE_SEGMENT_SIZE:
            values.append(launch.private_segment)
        length, offset = kernel.descriptor.kernarg_preload & 0x7F, kernel.descriptor.kernarg_preload >> 7
        if length:
            # The kernel starts at its entry, whose prologue loads them again: that is right with and
            # without the firmware's help.
            self.preload = (len(values), 4 * offset, 4 * (offset + length))
            values += (0,) * length
        if len(values) > _USER_SGPRS:
            raise LaunchError(f"{kernel.name}: wants {len(values)} user SGPRs; there are {_USER_SGPRS}")
        self.values = values


def _rsrc1(family: Family, rsrc1: int) -> int:
    """COMPUTE_PGM_RSRC1 for a PM4 dispatch.

    Where saving a context goes wrong without it, waves run with the bit PRIV, as kfdtest's Dispatch.cpp and
    the firmware for AQL have it.
    """
    if family.kernel.cwsr_workaround:
        return rsrc1 | compute_registers(family.registers).encode("COMPUTE_PGM_RSRC1", priv=1)
    return rsrc1


def _rsrc2(family: Family, rsrc2: int, launch: Launch) -> int:
    """COMPUTE_PGM_RSRC2 with the size of LDS, which compilers leave to whoever dispatches."""
    field = compute_registers(family.registers).fields("COMPUTE_PGM_RSRC2")["lds_size"]
    units = -(-launch.group_segment // family.lds_granule)
    mask = (1 << field.width) - 1 << field.low
    return rsrc2 & ~mask | units << field.low
