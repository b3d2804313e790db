"""Machines with variants of models, as the emulated kernel shows them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator

import pytest

from pytest_amdgpu.abi import drm_info
from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl
from pytest_amdgpu.abi.drm_info import InfoQuery
from pytest_amdgpu.devices.software import parse_software, software_kernel
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import NoSdmaQueueError, SmallBarError
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel

NODES = "/sys/devices/virtual/kfd/kfd/topology/nodes"

Machine = Callable[[str], EmulatedKernel]


@pytest.fixture
def machine() -> Iterator[Machine]:
    made: list[EmulatedKernel] = []

    def make(software: str) -> EmulatedKernel:
        made.append(software_kernel(parse_software(software)))
        return made[-1]

    yield make
    for kernel in made:
        kernel.shutdown()


def vram_sizes(kernel: EmulatedKernel) -> tuple[int, int]:
    """What AMDGPU_INFO says of all and of visible VRAM."""
    fd = kernel.open("/dev/dri/renderD128", os.O_RDWR)
    answer = drm_info.AmdgpuInfoVramGtt()
    query = AmdgpuInfo(
        return_pointer=ctypes.addressof(answer),
        return_size=ctypes.sizeof(answer),
        query=InfoQuery.VRAM_GTT,
    )
    kernel.ioctl(fd, DrmIoctl.AMDGPU_INFO, query)
    kernel.close(fd)
    return int(answer.vram_size), int(answer.vram_cpu_accessible_size)


@pytest.mark.parametrize(("option", "visible"), [("", 25753026560), ("+small-bar", 256 << 20)])
def test_a_small_bar_in_sysfs_and_queries(option: str, visible: int, machine: Machine) -> None:
    kernel = machine(f"rx7900xtx{option}")
    assert vram_sizes(kernel) == (25753026560, visible)
    beside = "/sys/class/drm/renderD128/device"
    assert int(kernel.read_text(f"{beside}/mem_info_vis_vram_total")) == visible
    assert int(kernel.read_text(f"{beside}/mem_info_vram_total")) == 25753026560
    # The GPU is linked to the CPU; the other way only if the CPU sees all of its memory.
    assert kernel.listdir(f"{NODES}/1/io_links") == ["0"]
    assert kernel.listdir(f"{NODES}/0/io_links") == ([] if option else ["0"])


def test_a_peer_behind_a_small_bar_has_no_link_towards_it(machine: Machine) -> None:
    kernel = machine("rx7900xtx+small-bar,rx9070xt")
    assert kernel.listdir(f"{NODES}/1/p2p_links") == ["0"]
    assert kernel.listdir(f"{NODES}/2/p2p_links") == []


def test_the_driver_copies_through_vram_behind_a_small_bar(machine: Machine) -> None:
    kernel = machine("rx7900xtx+small-bar")
    with Device.open(kernel, discover(kernel)[0]) as device:
        source, through, back = device.gtt(4096), device.vram(4096), device.gtt(4096)
        source.array[:] = 0x5A
        done = device.timeline_semaphore()
        device.sdma_queue().copy(through, source).copy(back, through).signal(done, 1).submit()
        done.wait(1, timeout=60)
        assert (back.array == 0x5A).all()
        with pytest.raises(SmallBarError, match=r"0000:03:00\.0 \(gfx1100\)"):
            through.read()
        with pytest.raises(SmallBarError):
            device.vram(4096, cpu_visible=True)


def test_the_driver_names_the_missing_sdma_queues(machine: Machine) -> None:
    kernel = machine("mi300x+no-sdma")
    with Device.open(kernel, discover(kernel)[0]) as device:
        with pytest.raises(
            NoSdmaQueueError, match=r"num_sdma_engines .* are 0 in /sys/.*/nodes/1/properties"
        ):
            device.sdma_queue()
        with pytest.raises(NoSdmaQueueError):
            device.sdma_queue(engine=0)
        device.compute_queue()


def test_partitions_of_one_gpu_are_devices_of_a_hive(machine: Machine) -> None:
    kernel = machine("mi350x+cpx")
    nodes = discover(kernel)
    assert [node.num_xcc for node in nodes] == [1] * 8
    assert len({node.properties["hive_id"] for node in nodes}) == 1
    assert nodes[0].properties["hive_id"]
