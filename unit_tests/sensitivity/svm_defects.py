"""What can be wrong with shared virtual memory, and with what a GPU tells of its clock and its addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from injection import defect

from pytest_amdgpu.abi.kfd import ProcessDeviceApertures, SvmAttribute, SvmAttributeType
from pytest_amdgpu.emulator import client, svm
from pytest_amdgpu.emulator.arena import borrow
from pytest_amdgpu.emulator.gpu import SoftwareGpu
from pytest_amdgpu.emulator.kfd import device_calls, svm_calls
from pytest_amdgpu.emulator.memory import PAGE_SIZE, Bytes
from pytest_amdgpu.emulator.process import ProcessDevice
from pytest_amdgpu.emulator.svm import SvmRange, SvmRanges


@defect
def pages_of_shared_memory_are_swapped(patch: pytest.MonkeyPatch) -> None:
    """For the GPU, the first two of them."""

    def swapped(address: int, size: int) -> Bytes:
        data = borrow(address, size).copy()
        first = data[:PAGE_SIZE].copy()
        data[:PAGE_SIZE] = data[PAGE_SIZE : 2 * PAGE_SIZE]
        data[PAGE_SIZE : 2 * PAGE_SIZE] = first
        return data

    patch.setattr(svm, "borrow", swapped)


@defect
def a_gpu_has_a_copy_of_shared_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(svm, "borrow", lambda address, size: borrow(address, size).copy())


@defect
def a_migration_loses_the_contents(patch: pytest.MonkeyPatch) -> None:
    migrate = SvmRanges.migrate

    def lose(self: SvmRanges, item: SvmRange) -> None:
        before = item.location
        migrate(self, item)
        if item.location != before:
            borrow(item.start, item.end - item.start)[:] = 0

    patch.setattr(SvmRanges, "migrate", lose)


@defect
def granularity_of_migration_stays_as_it_was(patch: pytest.MonkeyPatch) -> None:
    apply = svm_calls._apply

    def ignorant(item: SvmRange, attribute: SvmAttribute) -> None:
        if attribute.type != SvmAttributeType.GRANULARITY:
            apply(item, attribute)

    patch.setattr(svm_calls, "_apply", ignorant)


@defect
def buffers_can_be_shared_too(patch: pytest.MonkeyPatch) -> None:
    """The GPU keeps reaching them as buffers."""

    def all_valid(self: SvmRanges, start: int, end: int) -> Any:
        return client.regions(start, end)

    def map_nothing(self: SvmRanges, item: SvmRange, regions: Iterable[Any]) -> None:
        pass

    patch.setattr(SvmRanges, "require_valid", all_valid)
    patch.setattr(SvmRanges, "map", map_nothing)


@defect
def the_clock_is_twice_as_fast_as_it_says(patch: pytest.MonkeyPatch) -> None:
    clock = SoftwareGpu.clock
    patch.setattr(SoftwareGpu, "clock", lambda self: 2 * clock(self))


@defect
def scratch_lies_where_memory_is(patch: pytest.MonkeyPatch) -> None:
    apertures = device_calls.apertures

    def overlapping(device: ProcessDevice) -> ProcessDeviceApertures:
        told = apertures(device)
        told.scratch_base, told.scratch_limit = told.gpuvm_base + 1, told.gpuvm_limit - 1
        return told

    patch.setattr(device_calls, "apertures", overlapping)
