"""Errors that a GPU and its PCIe link have counted, to be compared before and after.

Files beside the render node: `ras/BLOCK_err_count` with lines such as `ue: 0` (uncorrectable), `ce: 0`
(correctable) and, in newer kernels, `de: 0` (deferred) (amdgpu_ras.c, Documentation/gpu/amdgpu/ras.rst);
`pcie_replay_count` (amdgpu_device.c); `aer_dev_*` of the PCI core with lines `NAME COUNT`
(Documentation/ABI/testing/sysfs-bus-pci-devices-aer_stats). A GPU has those that its product has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

_RAS = re.compile(r"(?P<block>\w+)_err_count")
_RAS_LINE = re.compile(r"(\w+): (\d{1,20})")
_KINDS = {"ue": "uncorrectable", "ce": "correctable", "de": "deferred"}
_AER = ("aer_dev_correctable", "aer_dev_nonfatal", "aer_dev_fatal")
_AER_LINE = re.compile(r"^(.+) (\d{1,20})$", re.MULTILINE)
_REPLAYS = "pcie_replay_count"


def read_counters(kernel: Kernel, node: GpuNode) -> dict[str, int]:
    """Return what is counted by names that say it; what is not there or cannot be read is left out."""
    try:
        path = f"/sys/class/drm/{os.path.basename(node.render_path)}/device"
    except DeviceOpenError:
        return {}
    found = {}
    # Only what is there is read: a software GPU's kernel logs what it refuses.
    there = _names(kernel, path)
    for name in sorted(_names(kernel, f"{path}/ras")) if "ras" in there else ():
        if match := _RAS.fullmatch(name):
            for kind, count in _RAS_LINE.findall(_text(kernel, f"{path}/ras/{name}")):
                found[f"{match['block']} {_KINDS.get(kind, kind)}"] = int(count)
    for name in sorted(there & set(_AER)):
        for kind, count in _AER_LINE.findall(_text(kernel, f"{path}/{name}")):
            # The last line is the sum of the others.
            if not kind.startswith("TOTAL_ERR"):
                found[f"PCIe {name.removeprefix('aer_dev_')} {kind}"] = int(count)
    replays = _text(kernel, f"{path}/{_REPLAYS}").strip() if _REPLAYS in there else ""
    if replays.isdecimal() and len(replays) <= 20:
        found["PCIe replays"] = int(replays)
    return found


def counted(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return what has changed, one line each: name, old and new count."""
    return [
        f"{name}: {before[name]} -> {count}"
        for name, count in after.items()
        if name in before and before[name] != count
    ]


def _names(kernel: Kernel, path: str) -> set[str]:
    try:
        return set(kernel.listdir(path))
    except KernelError:
        return set()


def _text(kernel: Kernel, path: str) -> str:
    try:
        return kernel.read_text(path)
    except KernelError:
        return ""
