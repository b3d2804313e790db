"""Scratch: the memory behind the private segments of a queue's waves.

Each queue has its own, because the hardware numbers the wave slots of each queue from 0. It grows when a
kernel needs more per work-item than any before it; older memory stays until the queue is closed,
since recordings may still point to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.driver.backend import PAGE, Location, MemoryRequest
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.errors import LaunchError
from pytest_amdgpu.packets.registers import compute_registers

if TYPE_CHECKING:
    from pytest_amdgpu.driver.queue import Queue
    from pytest_amdgpu.driver.topology import GpuNode
    from pytest_amdgpu.families.registry import Family

_LANES = 64
"""Work-items per wave to provide for; a wave of 32 uses half of it."""

_VRAM_SHARE = 8
"""Scratch takes at most this fraction of the VRAM; fewer waves run at once where that is not enough."""

_INDEX_STRIDE = {32: 2 << 21, 64: 3 << 21}
_SWIZZLE = 1 << 31


@dataclass(frozen=True, slots=True)
class ScratchSetup:
    """Scratch as registers and descriptors describe it; sizes in bytes."""

    address: int = 0
    size: int = 0
    lane_size: int = 0
    tmpring_size: int = 0
    """COMPUTE_TMPRING_SIZE."""

    def resource(self, family: Family, wave_size: int | None = None) -> tuple[int, int, int, int]:
        """The buffer resource through which kernels without architected flat scratch reach it.

        Without `wave_size` it is that of a queue's descriptor, in which the command processor fills in the
        lanes of each dispatch. Raises `LaunchError` for a GPU that has no such resource.
        """
        word3 = family.scratch.resource_word3
        if word3 is None:
            raise LaunchError(f"{family} sets up private memory by itself, there is no buffer resource of it")
        if wave_size is not None and family.scratch.lanes_by_dispatch:
            word3 |= _INDEX_STRIDE[wave_size]
        return self.address & 0xFFFFFFFF, self.address >> 32 | _SWIZZLE, self.size & 0xFFFFFFFF, word3


class Scratch:
    """The scratch memory of one queue."""

    def __init__(self, queue: Queue[Any]) -> None:
        self._queue = queue
        self.setup = ScratchSetup()
        self.buffers: list[Buffer] = []

    def require(self, lane_size: int, kernel: str) -> bool:
        """Provide `lane_size` bytes for each work-item; whether that made `setup` another one.

        Raises `LaunchError` if the hardware cannot give a wave so much.
        """
        if lane_size <= self.setup.lane_size:
            return False
        device = self._queue.device
        # Doubled at least, so that many kernels with slightly different needs do not each make a buffer.
        lane_size = max(1 << (lane_size - 1).bit_length(), 2 * self.setup.lane_size)
        setup = _plan(device.family, device.node, lane_size, kernel)
        backend = device.backend
        request = MemoryRequest(Location.VRAM, setup.size, cpu_visible=False)
        buffer = Buffer(backend, backend.allocate(request), setup.size)
        self.buffers.append(buffer)
        self.setup = ScratchSetup(buffer.address, setup.size, lane_size, setup.tmpring_size)
        return True


def _plan(family: Family, node: GpuNode, lane_size: int, kernel: str) -> ScratchSetup:
    """Choose how many waves get scratch at the same time, and the register value that says it."""
    registers = compute_registers(family.registers)
    fields = registers.fields("COMPUTE_TMPRING_SIZE")
    granule = family.scratch.wave_granule
    wave_size = -(-lane_size * _LANES // granule) * granule
    if wave_size // granule >> fields["wavesize"].width:
        raise LaunchError(
            f"{kernel}: {lane_size} bytes of private memory per work-item are {wave_size} per wave, more"
            f" than {family.name} can address"
        )
    properties = node.properties
    compute_units = properties["simd_count"] // properties.positive("simd_per_cu") // node.num_xcc
    waves = compute_units * properties["max_slots_scratch_cu"]
    engines = 1
    if family.scratch.waves_per_engine:
        engines = properties["array_count"] // properties.positive("simd_arrays_per_engine") // node.num_xcc
    affordable = node.vram_bytes // _VRAM_SHARE // node.num_xcc // wave_size
    largest = (1 << fields["waves"].width) - 1
    per_engine = min(waves // engines, affordable // engines, largest)
    if per_engine == 0:
        raise LaunchError(
            f"{kernel}: {lane_size} bytes of private memory per work-item do not fit a share of"
            f" 1/{_VRAM_SHARE} of the {node.vram_bytes} bytes of VRAM for even one wave"
        )
    size = per_engine * engines * wave_size * node.num_xcc
    size = -(-size // PAGE) * PAGE
    tmpring = registers.encode("COMPUTE_TMPRING_SIZE", waves=per_engine, wavesize=wave_size // granule)
    return ScratchSetup(0, size, lane_size, tmpring)
