"""Error counters: files as the kernel's documentation shows them, and what has changed."""

from __future__ import annotations

import errno

from machine_kernels import FilesKernel, topology

from pytest_amdgpu.devices.counters import counted, read_counters
from pytest_amdgpu.driver.topology import discover

DEVICE = "/sys/class/drm/renderD128/device"
# Documentation/gpu/amdgpu/ras.rst and Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats.
FILES: dict[str, str | int] = {
    f"{DEVICE}/ras/umc_err_count": "ue: 0\nce: 1\nde: 2\n",
    f"{DEVICE}/ras/sdma_err_count": "ue: 3\nce: 0\n",
    f"{DEVICE}/ras/gfx_err_count": errno.EIO,
    f"{DEVICE}/ras/features": "feature mask: 0x3fff\n",
    f"{DEVICE}/aer_dev_correctable": "Bad DLLP 2\nRxErr 2\nBadTLP 0\nTOTAL_ERR_COR 2\n",
    f"{DEVICE}/aer_dev_fatal": "Undefined 0\nDLP 1\nTOTAL_ERR_FATAL 1\n",
    f"{DEVICE}/pcie_replay_count": "7\n",
}


def read(files: dict[str, str | int]) -> dict[str, int]:
    kernel = FilesKernel({**topology((90402, 0x300, 1)), **files})
    return read_counters(kernel, discover(kernel)[0])


def test_what_is_there_is_read() -> None:
    assert read(FILES) == {
        "PCIe correctable Bad DLLP": 2,
        "umc uncorrectable": 0,
        "umc correctable": 1,
        "umc deferred": 2,
        "sdma uncorrectable": 3,
        "sdma correctable": 0,
        "PCIe correctable RxErr": 2,
        "PCIe correctable BadTLP": 0,
        "PCIe fatal Undefined": 0,
        "PCIe fatal DLP": 1,
        "PCIe replays": 7,
    }


def test_a_kernel_that_logs_refusals_has_none_to_log() -> None:
    from pytest_amdgpu.devices.software import software_kernel

    kernel = software_kernel(["mi300x"])
    assert read_counters(kernel, discover(kernel)[0]) == {}
    assert kernel.log == []


def test_without_files_there_is_nothing() -> None:
    assert read({}) == {}
    assert read({f"{DEVICE}/pcie_replay_count": "many"}) == {}


def test_what_has_changed() -> None:
    before = {"umc correctable": 1, "gone": 1, "same": 4}
    assert counted(before, {"umc correctable": 5, "same": 4, "new": 3}) == ["umc correctable: 1 -> 5"]
