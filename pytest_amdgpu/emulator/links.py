"""Which links the nodes of a machine have, after amdkfd's kfd_crat.c and kfd_topology.c.

Node 0 is the CPU, node i + 1 the GPU with index i. A GPU is linked to the CPU by PCIe; the other way only if
its whole VRAM is visible. GPUs of one model that have XGMI form a hive of direct links; other GPUs whose VRAM
is visible are peers across PCIe, over the CPU.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.families.models import Model

NO_SDMA_MASK = 0


@dataclass(frozen=True)
class Link:
    """One link; `model` holds type, weight, bandwidths (MB/s) and flags."""

    source: int
    target: int
    model: Mapping[str, int]

    def properties(self) -> dict[str, int]:
        """Lines of the link's `properties` file, in the kernel's order."""
        return {
            "type": self.model["type"],
            "version_major": 0,
            "version_minor": 0,
            "node_from": self.source,
            "node_to": self.target,
            "weight": self.model["weight"],
            "min_latency": 0,
            "max_latency": 0,
            "min_bandwidth": self.model["min_bandwidth"],
            "max_bandwidth": self.model["max_bandwidth"],
            "recommended_transfer_size": 0,
            "recommended_sdma_engine_id_mask": NO_SDMA_MASK,
            "flags": self.model["flags"],
        }


@dataclass(frozen=True)
class NodeLinks:
    """Links that start at one node."""

    io: tuple[Link, ...]
    p2p: tuple[Link, ...]


def has_large_bar(model: Model) -> bool:
    """Whether the CPU can see all of the VRAM: a bank of type 1 (FB public)."""
    return any(bank["heap_type"] == 1 for bank in model.mem_banks)


def hive_ids(models: Sequence[Model]) -> list[int]:
    """Return the hive of each GPU, 0 for none: GPUs of one model with XGMI, if there are several."""
    names = [model.name for model in models]
    return [
        zlib.crc32(f"hive {model.name}".encode()) | 1 << 32
        if "xgmi" in model.links and names.count(model.name) > 1
        else 0
        for model in models
    ]


def machine_links(models: Sequence[Model]) -> list[NodeLinks]:
    """Return the links of every node, the CPU first."""
    hives = hive_ids(models)
    cpu = [Link(0, node, model.links["cpu"]) for node, model in enumerate(models, 1) if has_large_bar(model)]
    result = [NodeLinks(tuple(cpu), ())]
    for index, model in enumerate(models):
        io = [Link(index + 1, 0, model.links["cpu"])]
        p2p = []
        for other, peer in enumerate(models):
            if other == index:
                continue
            if hives[index] and hives[index] == hives[other]:
                io.append(Link(index + 1, other + 1, model.links["xgmi"]))
            elif has_large_bar(peer):
                across = dict(model.links["cpu"])
                across["weight"] += peer.links["cpu"]["weight"]
                across["max_bandwidth"] = min(across["max_bandwidth"], peer.links["cpu"]["max_bandwidth"])
                p2p.append(Link(index + 1, other + 1, across))
        result.append(NodeLinks(tuple(io), tuple(p2p)))
    return result
