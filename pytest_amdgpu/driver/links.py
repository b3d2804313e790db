"""How GPUs are connected: the links that the topology lists, and what they mean for peers and engines.

Layout of the files: iolink_show in drivers/gpu/drm/amd/amdkfd/kfd_topology.c. A GPU's `io_links` lead to the
CPU and over XGMI to the GPUs of its hive, its `p2p_links` over PCIe to GPUs whose memory it can reach.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.driver.topology import TOPOLOGY, GpuNode, numbers_of, read_properties
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = {2: "pcie", 11: "xgmi"}
_HOP_WEIGHT = {"pcie": 20, "xgmi": 15}
"""What a way to the CPU, and a hop of XGMI, add to a link's weight (kfd_crat.c)."""
_DIRECTORIES = ("io_links", "p2p_links")


@dataclass(frozen=True, slots=True)
class Link:
    """A link from one node of the topology to another; bandwidths in MB/s, 0 where the kernel knows none."""

    source: int
    target: int
    kind: str
    """`xgmi`, `pcie`, or `type N` for others."""
    weight: int
    min_bandwidth: int
    max_bandwidth: int
    engine_mask: int
    """SDMA engines of the source that are recommended for it, by bit; 0 where the kernel recommends none."""

    @property
    def hops(self) -> int:
        """Links in a row that the weight stands for; PCIe peers have two, over the CPU."""
        return max(1, round(self.weight / _HOP_WEIGHT.get(self.kind, self.weight or 1)))

    @property
    def engines(self) -> tuple[int, ...]:
        """Numbers of the recommended SDMA engines."""
        return tuple(bit for bit in range(self.engine_mask.bit_length()) if self.engine_mask >> bit & 1)


def read_links(kernel: Kernel, node: GpuNode) -> list[Link]:
    """Return the links that start at a GPU, those to the CPU among them.

    Links of a GPU that a container's device cgroup hides answer EPERM (iolink_show); they are left out.
    """
    links = []
    for directory in _DIRECTORIES:
        path = f"{TOPOLOGY}/nodes/{node.index}/{directory}"
        try:
            entries = numbers_of(kernel.listdir(path))
        except KernelError as error:
            # Kernels before 6.0 have no p2p_links.
            if error.errno != errno.ENOENT:
                raise
            continue
        for entry in entries:
            try:
                properties = read_properties(kernel, f"{path}/{entry}/properties")
            except KernelError as error:
                if error.errno != errno.EPERM:
                    raise
                continue
            links.append(_link(properties))
    return links


def find_link(kernel: Kernel, source: GpuNode, target: GpuNode) -> Link | None:
    """Return the lightest link from one GPU to another, None if there is none."""
    links = [link for link in read_links(kernel, source) if link.target == target.index]
    return min(links, key=lambda link: link.weight, default=None)


def why_unreachable(kernel: Kernel, owner: GpuNode, peer: GpuNode) -> str:
    """Say why a GPU cannot reach memory of another one, and what could be done about it."""
    if owner.gpu_id == peer.gpu_id:
        return "they are one device, and no link leads from it to itself"
    if not owner.large_bar and find_link(kernel, peer, owner) is None:
        return (
            f"they are in no common hive, and the PCI BAR of {owner.identity} shows only a part of its"
            " memory: enable Resizable BAR (Above 4G Decoding) in the firmware"
        )
    if find_link(kernel, peer, owner) is None:
        return (
            f"the topology has no link from {peer.identity} to {owner.identity}: PCIe peer access needs"
            " a kernel with CONFIG_HSA_AMD_P2P, and a root complex and IOMMU that let it pass"
        )
    return "although the topology has a link between them"


def _link(values: Mapping[str, int]) -> Link:
    return Link(
        source=values["node_from"],
        target=values["node_to"],
        kind=_KINDS.get(values["type"], f"type {values['type']}"),
        weight=values["weight"],
        min_bandwidth=values.get("min_bandwidth", 0),
        max_bandwidth=values.get("max_bandwidth", 0),
        # Printed since interface 1.17, which can also make a queue of an engine by its number.
        engine_mask=values.get("recommended_sdma_engine_id_mask", 0),
    )
