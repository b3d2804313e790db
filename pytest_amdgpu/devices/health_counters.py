"""What a GPU and its kernel count of damage: errors, resets, and memory that is free.

Errors are those of `counters.py`. Resets: AMDGPU_INFO_VRAM_LOST_COUNTER of amdgpu_kms.c.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl
from pytest_amdgpu.abi.drm_info import InfoQuery
from pytest_amdgpu.devices.counters import read_counters

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.topology import GpuNode
    from pytest_amdgpu.kernel.protocol import Kernel

VRAM_TOLERANCE = 64 << 20
"""Bytes of VRAM that may be taken although nothing is allocated: the kernel keeps page tables and caches."""
RESETS = "resets that lost VRAM"


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one time; what the kernel does not have is left out."""

    counts: Mapping[str, int]
    free_vram: int | None
    """Bytes, None while something of this process's is out on the GPU."""


class Changes(NamedTuple):
    """What is different from an earlier time: `damage` that the GPU is to blame for, and the rest."""

    damage: list[str]
    notes: list[str]


def read(kernel: Kernel, device: Device) -> Reading:
    """Read what there is; raises `KernelError` where the GPU does not answer."""
    counts = {**read_counters(kernel, device.node), RESETS: _lost_vram(kernel, device.node)}
    return Reading(counts, None if device.tracker.all() else device.available_vram())


def changes(before: Reading, now: Reading, *, exclusive: bool) -> Changes:
    """Compare two times. `exclusive` says that nobody else can have the memory that is missing."""
    found = Changes([], [])
    for name, count in now.counts.items():
        old = before.counts.get(name, count)
        if count > old:
            (found.damage if _is_damage(name) else found.notes).append(f"{name}: {old} -> {count}")
    if before.free_vram is not None and now.free_vram is not None:
        missing = before.free_vram - now.free_vram
        if missing > VRAM_TOLERANCE:
            text = f"{missing >> 20} MiB of VRAM less are free than at the start, and this process has none"
            (found.damage if exclusive else found.notes).append(text)
    return found


def _is_damage(name: str) -> bool:
    """Whether errors of this name do harm; others were corrected, or nobody has met them yet."""
    return name.endswith(" uncorrectable") or name.startswith("PCIe fatal ")


def _lost_vram(kernel: Kernel, node: GpuNode) -> int:
    told = ctypes.c_uint32()
    query = AmdgpuInfo(
        return_pointer=ctypes.addressof(told),
        return_size=ctypes.sizeof(told),
        query=InfoQuery.VRAM_LOST_COUNTER,
    )
    render = kernel.open(node.render_path, os.O_RDWR | os.O_CLOEXEC)
    try:
        kernel.ioctl(render, DrmIoctl.AMDGPU_INFO, query)
    finally:
        kernel.close(render)
    return told.value
