"""What a GPU and its kernel count of damage: resets, memory and link errors, and memory that is free.

Sources: AMDGPU_INFO_VRAM_LOST_COUNTER of amdgpu_kms.c; `ras/*_err_count` ("ue: N", "ce: N", by
amdgpu_ras_sysfs_read in amdgpu_ras.c); `aer_dev_*`, whose line TOTAL_ERR_* is the sum (aer.c of PCI).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl
from pytest_amdgpu.abi.drm_info import InfoQuery
from pytest_amdgpu.kernel.protocol import KernelError

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.topology import GpuNode
    from pytest_amdgpu.kernel.protocol import Kernel

VRAM_TOLERANCE = 64 << 20
"""Bytes of VRAM that may be taken although nothing is allocated: the kernel keeps page tables and caches."""
RESETS = "resets that lost VRAM"
_AER = {"aer_dev_fatal": True, "aer_dev_nonfatal": False, "aer_dev_correctable": False}
"""Files of link errors, and whether one is damage."""
_RAS_DAMAGE = "ue"
"""Uncorrectable; `ce` were corrected, and `de` not met by anybody yet."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters at one time; what the kernel does not have is left out."""

    counts: Mapping[str, int]
    damage: frozenset[str]
    """Names of counts any increase of which is damage."""
    free_vram: int | None
    """Bytes, None while something of this process's is out on the GPU."""


class Changes(NamedTuple):
    """What is different from an earlier time: `damage` that the GPU is to blame for, and the rest."""

    damage: list[str]
    notes: list[str]


def read_counters(kernel: Kernel, device: Device) -> Counters:
    """Read what there is; raises `KernelError` where the GPU does not answer."""
    counts: dict[str, int] = {}
    damage: set[str] = set()
    for name, count, is_damage in _files(kernel, device.node):
        counts[name] = count
        if is_damage:
            damage.add(name)
    counts[RESETS] = _lost_vram(kernel, device.node)
    free = None if device.tracker.all() else device.available_vram()
    return Counters(counts, frozenset(damage), free)


def changes(before: Counters, now: Counters, *, exclusive: bool) -> Changes:
    """Compare two times. `exclusive` says that nobody else can have the memory that is missing."""
    found = Changes([], [])
    for name, count in now.counts.items():
        more = count - before.counts.get(name, 0)
        if more > 0:
            (found.damage if name in now.damage else found.notes).append(f"{more} more {name}")
    if before.free_vram is not None and now.free_vram is not None:
        missing = before.free_vram - now.free_vram
        if missing > VRAM_TOLERANCE:
            text = f"{missing >> 20} MiB of VRAM less are free than at the start, and this process has none"
            (found.damage if exclusive else found.notes).append(text)
    return found


def _files(kernel: Kernel, node: GpuNode) -> Iterator[tuple[str, int, bool]]:
    directory = f"/sys/class/drm/{os.path.basename(node.render_path)}/device"
    there = kernel.listdir(directory)
    for file in sorted(kernel.listdir(f"{directory}/ras")) if "ras" in there else ():
        if file.endswith("_err_count"):
            for line in _lines(kernel, f"{directory}/ras/{file}"):
                kind, colon, count = line.partition(":")
                if colon and count.strip().isdecimal():
                    yield f"{file.removesuffix('_err_count')} {kind} errors", int(count), kind == _RAS_DAMAGE
    for file, is_damage in _AER.items():
        for line in _lines(kernel, f"{directory}/{file}") if file in there else ():
            name, _, count = line.rpartition(" ")
            if name.startswith("TOTAL_ERR_") and count.isdecimal():
                yield f"PCIe errors ({file})", int(count), is_damage


def _lines(kernel: Kernel, path: str) -> list[str]:
    """Read a file; nothing where that is not possible, as for blocks whose error counting is off."""
    try:
        return kernel.read_text(path).splitlines()
    except KernelError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES):
            raise
        return []


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
