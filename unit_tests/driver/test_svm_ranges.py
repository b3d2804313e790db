"""Shared virtual memory and queries of an open device, on the emulated kernel with one GPU or two."""

from __future__ import annotations

import copy
import mmap
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import AllocationError, DeviceClosedError, SvmError, UseAfterFreeError
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

PAGE = mmap.PAGESIZE


@pytest.fixture
def kernel() -> Iterator[EmulatedKernel]:
    made = EmulatedKernel([model("mi300x"), model("rx7900xtx")])
    yield made
    made.shutdown()


@pytest.fixture
def devices(kernel: EmulatedKernel) -> Iterator[list[Device]]:
    opened = [Device.open(kernel, node) for node in discover(kernel)]
    yield opened
    for device in opened:
        device.close()


def pages(count: int) -> np.ndarray:
    return np.frombuffer(mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)


def test_sizes_are_rounded_up_to_pages(devices: list[Device]) -> None:
    shared = devices[0].svm(PAGE + 1)
    assert (shared.size, shared.location, shared.address % PAGE) == (2 * PAGE, "svm", 0)
    shared.free()
    with pytest.raises(UseAfterFreeError):
        shared.prefetch(None)


def test_peers_get_access(devices: list[Device]) -> None:
    shared = devices[0].svm(PAGE, peers=devices[1:])
    assert list(shared.attributes(*devices).access.values()) == ["yes", "yes"]
    alone = devices[0].svm(PAGE)
    assert list(alone.attributes(*devices).access.values()) == ["yes", "no"]
    alone.map_to(devices[1])
    assert list(alone.attributes(*devices).access.values()) == ["yes", "yes"]


def test_locations_come_back(devices: list[Device]) -> None:
    shared = devices[0].svm(PAGE)
    told = shared.attributes()
    assert (told.preferred, told.prefetched, told.granularity) == (None, None, 9)
    shared.prefer(devices[0])
    shared.prefetch(None)
    told = shared.attributes()
    assert (told.preferred, told.prefetched) == (devices[0].node.gpu_id, 0)


def test_freeing_takes_access_away_and_unmaps(devices: list[Device]) -> None:
    array = pages(2)
    shared = devices[0].svm(array)
    shared.free()
    again = devices[1].svm(array)
    assert list(again.attributes(*devices).access.values()) == ["no", "yes"]
    again.free()
    assert devices[0].leaks() == []


@pytest.mark.parametrize(
    "part", [slice(1, None), slice(100), slice(None, None, 2)], ids=["start", "end", "steps"]
)
def test_an_array_that_does_not_fill_its_pages_is_refused(part: slice, devices: list[Device]) -> None:
    with pytest.raises(AllocationError, match="it must be contiguous and fill whole pages of 4096 bytes"):
        devices[0].svm(pages(2)[part])


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_is_none_is_refused(size: int, devices: list[Device]) -> None:
    with pytest.raises(AllocationError, match="bytes of svm"):
        devices[0].svm(size)


def test_a_gpu_that_cannot_share_is_named(devices: list[Device]) -> None:
    properties = devices[1].node.properties
    properties["capability"] &= ~(1 << 27)
    with pytest.raises(SvmError, match=f"{devices[1].name} cannot share virtual memory"):
        devices[0].svm(PAGE, peers=devices[1:])


def test_a_refusal_of_the_kernel_names_what_was_asked(devices: list[Device]) -> None:
    shared = devices[0].svm(PAGE)
    with pytest.raises(SvmError, match="granularity 64 is not one from 0 to 63"):
        shared.set_granularity(64)
    stranger = copy.copy(devices[0])
    stranger.node = SimpleNamespace(gpu_id=0)
    with pytest.raises(SvmError, match="the kernel refuses ACCESS 0x0 for a svm buffer of 4096 bytes"):
        shared.allow(stranger)


def test_queries_have_units(devices: list[Device]) -> None:
    """100 MHz on MI300X and RX 7900 XTX (kfd_abi's dumps of DEV_INFO); ranges are the kernel's on 48 bits."""
    for device in devices:
        clocks, apertures = device.clocks(), device.apertures()
        assert clocks.gpu_hz == 100_000_000
        assert 0 < clocks.cpu_ns < clocks.system_ns + 10**12
        assert apertures.memory == (0x10000, 0x7FFF_FFFF_FFFF)
        assert apertures.shared == (1 << 48, 1 << 48 | 0xFFFF_FFFF)
        assert apertures.private == (2 << 48, 2 << 48 | 0xFFFF_FFFF)
        assert device.xnack_enabled() is False


@pytest.mark.parametrize("query", ["clocks", "apertures", "xnack_enabled"])
def test_a_closed_device_answers_nothing(query: str, devices: list[Device]) -> None:
    devices[0].close()
    with pytest.raises(DeviceClosedError):
        getattr(devices[0], query)()


def test_every_gpu_is_found_though_the_topology_changes() -> None:
    for seed in range(10):
        kernel = EmulatedKernel([model("mi300x"), model("rx7900xtx")], hostile=seed)
        for _ in range(20):
            assert [node.gpu_id for node in discover(kernel)] == [gpu.gpu_id for gpu in kernel.gpus]
        kernel.shutdown()
