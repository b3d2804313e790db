"""What can be wrong between GPUs: access to a peer's memory, links, engines by number, shared memory."""

from __future__ import annotations

import dataclasses
import errno

import pytest
from injection import defect

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.driver.backend import Allocation
from pytest_amdgpu.driver.kfd_memory import KfdMemory
from pytest_amdgpu.emulator import dmabuf
from pytest_amdgpu.emulator.arena import Arena, HostMemory
from pytest_amdgpu.emulator.gpu import SoftwareGpu
from pytest_amdgpu.emulator.kfd import dmabuf_calls, memory_calls
from pytest_amdgpu.emulator.links import Link
from pytest_amdgpu.emulator.memory import BufferObject, Location
from pytest_amdgpu.emulator.process import ProcessDevice
from pytest_amdgpu.emulator.refusal import Refusal


@defect
def a_peers_memory_is_a_copy(patch: pytest.MonkeyPatch) -> None:
    """VRAM of another GPU is mapped as it was, at another place."""
    map_on = memory_calls._map_on

    def map_copy(device: ProcessDevice, bo: BufferObject) -> None:
        gpu_id = device.gpu.gpu_id
        if bo.location is Location.VRAM and gpu_id != bo.home and gpu_id not in bo.mappings:
            bo.mappings[gpu_id] = device.space.map(bo.va, dataclasses.replace(bo, data=bo.data.copy()))
        else:
            map_on(device, bo)

    patch.setattr(memory_calls, "_map_on", map_copy)


@defect
def engines_by_number_cannot_be_had(patch: pytest.MonkeyPatch) -> None:
    take = SoftwareGpu.take_sdma_queue

    def refuse(self: SoftwareGpu, queue_type: QueueType, engine: int) -> tuple[int, int]:
        if queue_type is QueueType.SDMA_BY_ENG_ID:
            raise Refusal(errno.ENOMEM, "engines cannot be chosen")
        return take(self, queue_type, engine)

    patch.setattr(SoftwareGpu, "take_sdma_queue", refuse)


@defect
def peers_are_forgotten_when_memory_is_freed(patch: pytest.MonkeyPatch) -> None:
    map_to = KfdMemory.map_to

    def forget(self: KfdMemory, allocation: Allocation, gpu_ids: list[int]) -> None:
        map_to(self, allocation, gpu_ids)
        del allocation.mapped_gpus[1:]

    patch.setattr(KfdMemory, "map_to", forget)


@defect
def the_way_back_weighs_more(patch: pytest.MonkeyPatch) -> None:
    properties = Link.properties

    def heavier(self: Link) -> dict[str, int]:
        values = properties(self)
        values["weight"] += self.source > self.target
        return values

    patch.setattr(Link, "properties", heavier)


@defect
def another_process_gets_a_copy(patch: pytest.MonkeyPatch) -> None:
    map_shared = dmabuf.map_shared

    def copy(fd: int, size: int, offset: int) -> HostMemory:
        memory = Arena().allocate(size)
        memory.view()[:] = map_shared(fd, size, offset).view()
        return memory

    patch.setattr(dmabuf, "map_shared", copy)


@defect
def imported_memory_is_a_copy(patch: pytest.MonkeyPatch) -> None:
    imported = dmabuf_calls.imported

    def copy(bo: BufferObject, gpu_id: int, va: int) -> BufferObject:
        made = imported(bo, gpu_id, va)
        made.data = bo.data * 0
        return made

    patch.setattr(dmabuf_calls, "imported", copy)
