"""From registers and a dispatch packet to the state in which waves start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.placing import placement
from pytest_amdgpu.emulator.engine.sh_registers import ShRegisters
from pytest_amdgpu.emulator.engine.shader_memory import shader_memory
from pytest_amdgpu.packets.registers import Registers

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState

MAX_WORKGROUP = 1024
"""Work-items of a workgroup, all generations."""
CODE_ALIGNMENT = 256
"""COMPUTE_PGM_LO holds the address without its low 8 bits."""
USER_SGPRS = 16
_WORKGROUP_INVALID = ExceptionCode.QUEUE_PACKET_DISPATCH_WORK_GROUP_SIZE_INVALID

_AXES = "XYZ"
Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Scratch:
    """The private memory of a queue's waves: `waves` times `wave_bytes` at `base`."""

    base: int
    wave_bytes: int
    waves: int


def scratch(
    context: QueueContext, registers: Registers, base: int, tmpring_size: int, num_xcc: int
) -> Scratch:
    """Read a COMPUTE_TMPRING_SIZE value.

    Its wave count is for one XCC up to gfx10, and for one shader engine from gfx11 on (ROCr, AqlQueue's
    FillComputeTmpRingSize); there it is taken as the whole, which uses less of it than hardware would.
    """
    fields = registers.decode("COMPUTE_TMPRING_SIZE", tmpring_size)
    wave_bytes = fields["wavesize"] * context.gpu.family.scratch.wave_granule
    return Scratch(base, wave_bytes, fields["waves"] * num_xcc)


def check_workgroup(block: Triple) -> None:
    """Refuse workgroups that no compute unit can hold."""
    if 0 in block:
        raise BadPacketError(f"workgroup of {block} work-items: a dimension is 0", _WORKGROUP_INVALID)
    if block[0] * block[1] * block[2] > MAX_WORKGROUP:
        raise BadPacketError(f"workgroup of {block} work-items exceeds {MAX_WORKGROUP}", _WORKGROUP_INVALID)


def pm4_state(
    context: QueueContext, registers: ShRegisters, dims: Triple, initiator: int, xccs: tuple[int, ...]
) -> DispatchState:
    """Build the start state of DISPATCH_DIRECT from the registers of the queue, whose waves go to `xccs`.

    `dims` counts workgroups, or work-items if the initiator says so. Raises BadPacketError for what would
    hang or corrupt: registers never programmed, an empty or too large workgroup, no scratch for a kernel
    that uses it.
    """
    from pytest_amdgpu.emulator.isa.dispatch import DispatchState

    family = context.gpu.family
    layout = registers.layout
    stray = layout.reserved("COMPUTE_DISPATCH_INITIATOR", initiator)
    flags = layout.decode("COMPUTE_DISPATCH_INITIATOR", initiator)
    if stray:
        raise BadPacketError(f"dispatch initiator {initiator:#x}: bits {stray:#x} are reserved")
    if not flags["compute_shader_en"]:
        raise BadPacketError(f"dispatch initiator {initiator:#x} does not enable the compute shader (bit 0)")
    threads = [registers.fields(f"COMPUTE_NUM_THREAD_{axis}") for axis in _AXES]
    block = _triple([thread["num_thread_full"] for thread in threads])
    check_workgroup(block)
    start = _triple([registers.value_or_zero(f"COMPUTE_START_{axis}") for axis in _AXES])
    if flags["force_start_at_000"]:
        start = (0, 0, 0)
    if flags["use_thread_dimensions"]:
        workgroups = _triple([-(-size // full) for size, full in zip(dims, block, strict=True)])
        partial = [size % full for size, full in zip(dims, block, strict=True)]
    else:
        workgroups = dims
        partial = [thread["num_thread_partial"] for thread in threads]
    grid = list(_triple([count * full for count, full in zip(workgroups, block, strict=True)]))
    if flags["partial_tg_en"]:
        for axis in range(3):
            grid[axis] -= (block[axis] - partial[axis]) % block[axis]
    rsrc2 = registers.value("COMPUTE_PGM_RSRC2")
    resources = layout.decode("COMPUTE_PGM_RSRC2", rsrc2)
    private = scratch(
        context,
        layout,
        _pair(registers.value_or_zero, "COMPUTE_DISPATCH_SCRATCH_BASE") << 8,
        registers.value_or_zero("COMPUTE_TMPRING_SIZE"),
        len(xccs),
    )
    if resources["scratch_en"] and not private.wave_bytes * private.waves:
        raise BadPacketError(
            "the kernel uses scratch (RSRC2.SCRATCH_EN), but COMPUTE_TMPRING_SIZE provides none"
        )
    lds_bytes = resources["lds_size"] * family.lds_granule
    if lds_bytes > family.lds_bytes:
        raise BadPacketError(
            f"RSRC2 asks for {lds_bytes} bytes of LDS, a workgroup has at most {family.lds_bytes}",
            ExceptionCode.QUEUE_PACKET_DISPATCH_GROUP_SEGMENT_SIZE_INVALID,
        )
    rsrc1 = registers.value("COMPUTE_PGM_RSRC1")
    wave_size = 32 if flags.get("cs_w32_en") else 64
    return DispatchState(
        family=family,
        memory=shader_memory(context.memory),
        entry=_pair(registers.value, "COMPUTE_PGM") << 8,
        rsrc1=rsrc1,
        rsrc2=rsrc2,
        rsrc3=registers.value_or_zero("COMPUTE_PGM_RSRC3"),
        user_data=tuple(registers.value_or_zero(f"COMPUTE_USER_DATA_{index}") for index in range(USER_SGPRS)),
        initiator=initiator,
        workgroups=workgroups,
        start=start,
        block=block,
        grid=_triple(grid),
        wave_size=wave_size,
        scratch_base=private.base,
        scratch_wave_bytes=private.wave_bytes,
        scratch_waves=private.waves,
        lds_bytes=lds_bytes,
        num_xcc=len(xccs),
        clock=context.gpu.clock,
        interrupt=lambda payload: context.host.interrupt(payload, "sq"),
        placement=placement(
            context,
            rsrc1=rsrc1,
            block=block,
            wave_size=wave_size,
            lds_bytes=lds_bytes,
            xccs=xccs,
            limits=registers.limits(),
            masks=registers.engine_masks(context.gpu.num_xcc),
        ),
    )


def _triple(values: list[int]) -> Triple:
    x, y, z = values
    return x, y, z


def _pair(value: Callable[[str], int], name: str) -> int:
    return value(f"{name}_LO") | value(f"{name}_HI") << 32
