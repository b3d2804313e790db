"""What a GPU can do besides its target, as far as the kernel tells before it is opened for work.

From the topology of amdkfd (kfd_topology.c), and whether it is an APU from DEV_INFO of its render node
(AMDGPU_IDS_FLAGS_FUSION of amdgpu_drm.h), which the topology does not tell.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl
from pytest_amdgpu.abi.drm_info import AmdgpuInfoDevice, InfoQuery
from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.driver.links import Link
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

_FUSION = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What features are read from: a node, its links to other GPUs, and flags of DEV_INFO."""

    node: GpuNode
    links: Sequence[Link]
    flags: int


@dataclass(frozen=True, slots=True)
class Feature:
    """How to see a feature, and what to say of a GPU without it."""

    is_there: Callable[[Seen], bool]
    lacking: str


FEATURES = MappingProxyType(
    {
        "apu": Feature(lambda seen: bool(seen.flags & _FUSION), "is not known to be an APU"),
        "ecc": Feature(lambda seen: seen.node.memory_ecc, "the kernel tells of no errors of its memory"),
        "gws": Feature(lambda seen: bool(seen.node.properties.get("num_gws", 0)), "has no global wave sync"),
        "large_bar": Feature(lambda seen: seen.node.large_bar, "the CPU sees only a part of its VRAM"),
        "p2p": Feature(lambda seen: bool(seen.links), "reaches no other GPU's memory"),
        "sdma": Feature(
            lambda seen: bool(seen.node.sdma_engines or seen.node.xgmi_engines), "has no SDMA engine"
        ),
        "several_xccs": Feature(lambda seen: seen.node.num_xcc > 1, "has one XCC"),
        "sram_ecc": Feature(lambda seen: seen.node.sramecc, "its SRAMs have no ECC on"),
        "svm": Feature(lambda seen: seen.node.shares_virtual_memory, "the kernel shares no virtual memory"),
        "xgmi": Feature(
            lambda seen: any(link.kind == "xgmi" for link in seen.links), "has no XGMI link to another GPU"
        ),
        "xgmi_sdma": Feature(lambda seen: bool(seen.node.xgmi_engines), "has no SDMA engine for XGMI links"),
        "xnack": Feature(
            lambda seen: seen.node.family.kernel.xnack_per_process,
            "a process cannot have its page faults retried",
        ),
    }
)
"""By the word that tests use."""


def features_of(node: GpuNode, links: Sequence[Link], kernel: Kernel | None) -> tuple[str, ...]:
    """Return the words of all that a GPU has.

    `links` lead to other GPUs. Without a `kernel` to ask, what the topology does not tell is left out.
    """
    seen = Seen(node, links, _flags(node, kernel) if kernel is not None else 0)
    return tuple(word for word, feature in FEATURES.items() if feature.is_there(seen))


def _flags(node: GpuNode, kernel: Kernel) -> int:
    """Ask the render node for `ids_flags`; 0 if it does not answer, for much can be tested without."""
    told = AmdgpuInfoDevice()
    query = AmdgpuInfo(
        return_pointer=ctypes.addressof(told), return_size=ctypes.sizeof(told), query=InfoQuery.DEV_INFO
    )
    try:
        fd = kernel.open(node.render_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            kernel.ioctl(fd, DrmIoctl.AMDGPU_INFO, query)
        finally:
            kernel.close(fd)
    except (KernelError, DeviceOpenError):
        return 0
    return int(told.ids_flags)
