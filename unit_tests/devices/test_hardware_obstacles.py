"""Why a GPU cannot be used: each cause is told apart, and the message says what to do."""

from __future__ import annotations

import errno

import pytest
from machine_kernels import FilesKernel, pci_gpu, topology

from pytest_amdgpu.devices.backends import BackendError
from pytest_amdgpu.devices.hardware import Cause, examine_hardware
from pytest_amdgpu.devices.machine import NoUsableGpuError, find_machine
from pytest_amdgpu.driver.topology import TOPOLOGY

TWO_GPUS = topology((90402, 0x0300, 0xABC), (110000, 0x0400, 0))
USABLE = {"/dev/kfd": 0, "/dev/dri/renderD128": 0, "/dev/dri/renderD129": 0}


def _examine(kernel: FilesKernel):
    report = examine_hardware(kernel, group_of=lambda path: "render")
    assert kernel.open_fds == 0
    return report


def test_a_machine_without_any_gpu() -> None:
    report = _examine(FilesKernel(pci_gpu("0000:00:02.0", vendor=0x8086)))
    assert [obstacle.cause for obstacle in report.obstacles] == [Cause.NO_GPU]


def test_an_amd_device_that_is_no_gpu_is_none() -> None:
    report = _examine(FilesKernel(pci_gpu("0000:00:00.0", code=0x060000)))
    assert report.obstacles[0].cause is Cause.NO_GPU


@pytest.mark.parametrize("code", [0x030000, 0x038000, 0x120000], ids=["vga", "display", "accelerator"])
def test_a_gpu_without_driver(code: int) -> None:
    report = _examine(FilesKernel(pci_gpu("0000:03:00.0", code=code)))
    assert report.obstacles[0].cause is Cause.NO_DRIVER
    assert "0000:03:00.0" in report.obstacles[0].text
    assert "modprobe amdgpu" in report.obstacles[0].text


def test_a_gpu_that_the_driver_does_not_offer() -> None:
    report = _examine(FilesKernel(topology() | pci_gpu("0000:03:00.0")))
    assert report.obstacles[0].cause is Cause.NO_DRIVER


def test_a_topology_of_cpus_only() -> None:
    report = _examine(FilesKernel(topology()))
    assert report.obstacles[0].cause is Cause.NO_GPU


def test_a_container_that_has_no_device_node() -> None:
    report = _examine(FilesKernel(TWO_GPUS))
    assert report.obstacles[0].cause is Cause.HIDDEN
    assert "/dev/kfd is missing" in report.obstacles[0].text
    assert "--device=/dev/kfd" in report.obstacles[0].text


def test_a_cgroup_that_forbids_all_gpus() -> None:
    files = dict(TWO_GPUS)
    for index in (1, 2):
        files[f"{TOPOLOGY}/nodes/{index}/properties"] = errno.EPERM
    report = _examine(FilesKernel(files, USABLE))
    assert report.obstacles[0].cause is Cause.HIDDEN
    assert "nodes 1, 2" in report.obstacles[0].text


def test_a_cgroup_that_forbids_kfd() -> None:
    report = _examine(FilesKernel(TWO_GPUS, {**USABLE, "/dev/kfd": errno.EPERM}))
    assert report.obstacles[0].cause is Cause.HIDDEN


def test_a_user_outside_the_group() -> None:
    report = _examine(FilesKernel(TWO_GPUS, {**USABLE, "/dev/kfd": errno.EACCES}))
    assert report.nodes == ()
    assert report.obstacles[0].cause is Cause.NO_PERMISSION
    assert "usermod -aG render" in report.obstacles[0].text


def test_one_of_two_gpus_is_usable() -> None:
    report = _examine(FilesKernel(TWO_GPUS, {"/dev/kfd": 0, "/dev/dri/renderD129": 0}))
    assert [node.target for node in report.nodes] == ["gfx1100"]
    assert report.obstacles[0].cause is Cause.HIDDEN
    assert "0000:03:00.0 (gfx942)" in report.obstacles[0].text


def test_a_node_without_driver_behind_it() -> None:
    report = _examine(FilesKernel(TWO_GPUS, {**USABLE, "/dev/kfd": errno.ENXIO}))
    assert report.obstacles[0].cause is Cause.NO_DRIVER


def test_hardware_that_cannot_be_used_is_an_error_with_the_cause() -> None:
    kernel = FilesKernel(TWO_GPUS, {"/dev/kfd": errno.EACCES})
    with pytest.raises(NoUsableGpuError, match=r"no permission: .*group 'render'"):
        find_machine("hardware", "gfx942", lambda: _examine(kernel))


def test_auto_takes_hardware_if_there_is_any() -> None:
    machine = find_machine("auto", "gfx942", lambda: _examine(FilesKernel(TWO_GPUS, USABLE)))
    assert machine.backend == "hardware"
    assert [device.id for device in machine.devices] == ["gfx942-0000:03:00.0", "gfx1100-0000:04:00.0"]
    assert machine.notes == ()
    assert type(machine).from_json(machine.to_json()) == machine


def test_auto_takes_software_otherwise_and_says_why() -> None:
    machine = find_machine("auto", "gfx942,gfx1100:2", lambda: _examine(FilesKernel({})))
    assert machine.backend == machine.connect().source.kernel().name == "software"
    assert "no GPU" in machine.reason
    assert [device.id for device in machine.devices] == ["sw-gfx942-0", "sw-gfx1100-0", "sw-gfx1100-1"]
    assert type(machine).from_json(machine.to_json()) == machine


def test_software_is_taken_without_looking_for_hardware() -> None:
    def examine():
        raise AssertionError("looked")

    assert find_machine("software", "gfx1100", examine).reason == "asked for"


def test_an_unknown_backend_is_an_error() -> None:
    with pytest.raises(BackendError, match="'metal' is not one of auto, hardware, software, nor of those"):
        find_machine("metal", "gfx942")
