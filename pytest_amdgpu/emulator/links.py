"""Which links the nodes of a machine have, after amdkfd's kfd_crat.c and kfd_topology.c (Linux 6.12).

Node 0 is the CPU, node i + 1 the GPU with index i. A GPU is linked to the CPU; the other way only over XGMI,
or if its whole VRAM is visible. GPUs of one model that have XGMI form hives, in the order in which they are
listed; GPUs of different hives, or of none, are peers across PCIe, over the CPU, if the VRAM is visible.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.families.models import Model

PCIE, XGMI = 2, 11
"""CRAT_IOLINK_TYPE_PCIEXPRESS and _XGMI."""
_NON_COHERENT = 1 << 1
"""CRAT_IOLINK_FLAGS_NON_COHERENT: PCIe from CPU to GPU and between GPUs (kfd_set_iolink_non_coherent)."""
_XGMI_WEIGHT, _INTRA_SOCKET_WEIGHT = 15, 13
"""KFD_CRAT_XGMI_WEIGHT, for each hop, and KFD_CRAT_INTRA_SOCKET_WEIGHT, between partitions of one device."""

_PRODUCTS_IN_HIVE = {"gfx908": 4, "gfx90a": 4}
"""Cards that an Infinity Fabric bridge joins at most (data sheets of MI100 and MI210)."""
_LARGEST_HIVE = 8
"""Modules on one baseboard (MI300X platform)."""

_ENGINES_BY_SOCKET = (
    (-1, 14, 12, 2, 4, 8, 10, 6),
    (14, -1, 2, 10, 8, 4, 6, 12),
    (10, 2, -1, 12, 14, 6, 4, 8),
    (2, 12, 10, -1, 6, 14, 8, 4),
    (4, 8, 14, 6, -1, 10, 12, 2),
    (8, 4, 6, 14, 12, -1, 2, 10),
    (10, 6, 4, 8, 12, 2, -1, 14),
    (6, 12, 8, 4, 2, 10, 14, -1),
)
"""The SDMA engine for the link from one socket (row) to another, with all eight there (rec_sdma_eng_map)."""
_ENGINES_FOR_TABLE = 14
"""XGMI engines that a GPU needs for the table to apply."""


@dataclass(frozen=True)
class Link:
    """One link; `model` holds type, weight, bandwidths (MB/s) and flags, `engines` the recommended ones."""

    source: int
    target: int
    model: Mapping[str, int]
    engines: int = 0

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
            "recommended_sdma_engine_id_mask": self.engines,
            "flags": self.model["flags"],
        }


@dataclass(frozen=True)
class NodeLinks:
    """Links that start at one node."""

    io: tuple[Link, ...]
    p2p: tuple[Link, ...]


@dataclass(frozen=True)
class _Place:
    """Where a GPU sits: which hive, which product (socket) in it, which device of the product."""

    model: Model = field(repr=False)
    hive: int
    hive_id: int
    socket: int
    sockets: int
    device: int

    @property
    def partitioned(self) -> bool:
        """Whether the devices of a product are partitions of one GPU rather than dies with links between."""
        return self.model.devices > 1 and self.model.links["xgmi"]["weight"] == _INTRA_SOCKET_WEIGHT


def has_large_bar(model: Model) -> bool:
    """Whether the CPU can see all of the VRAM: a bank of type 1 (FB public)."""
    return any(bank["heap_type"] == 1 for bank in model.mem_banks)


def is_linked_to_cpu(model: Model) -> bool:
    """Whether XGMI joins the GPU with the CPU."""
    return model.links["cpu"]["type"] == XGMI


def is_pcie_peer(owner: Model, *, large_bar: bool) -> bool:
    """Whether other GPUs reach an owner's BAR across PCIe (amdgpu_device_is_peer_accessible).

    A GPU that XGMI joins with the CPU has no such access to it; the rest is a matter of the BAR's size.
    """
    return large_bar and not is_linked_to_cpu(owner)


def hive_ids(models: Sequence[Model]) -> list[int]:
    """Return the hive of each GPU, 0 for none."""
    return [place.hive_id for place in _places(models)]


def machine_links(models: Sequence[Model]) -> list[NodeLinks]:
    """Return the links of every node, the CPU first."""
    places = _places(models)
    result = [NodeLinks(tuple(_from_cpu(models)), ())]
    for index, (model, place) in enumerate(zip(models, places, strict=True)):
        node = index + 1
        back = has_large_bar(model) or is_linked_to_cpu(model)
        # Both directions are given their engines together, so a link without the other has none.
        io = [Link(node, 0, model.links["cpu"], _engines(model, xgmi=False) if back else 0)]
        p2p = []
        for other, (peer, peer_place) in enumerate(zip(models, places, strict=True)):
            if other == index:
                continue
            if place.hive_id and place.hive_id == peer_place.hive_id:
                io.append(_xgmi(node, other + 1, place, peer_place))
            elif is_pcie_peer(peer, large_bar=has_large_bar(peer)):
                p2p.append(Link(node, other + 1, _across_cpu(model.links["cpu"], peer.links["cpu"])))
        result.append(NodeLinks(tuple(io), tuple(p2p)))
    return result


def _places(models: Sequence[Model]) -> list[_Place]:
    """Seat the GPUs: devices of one model fill products one after the other, and products hives."""
    seen: dict[str, int] = {}
    places = []
    for model in models:
        number = seen[model.name] = seen.get(model.name, -1) + 1
        product, device = divmod(number, model.devices)
        hive, socket = divmod(product, _PRODUCTS_IN_HIVE.get(model.target, _LARGEST_HIVE))
        places.append(_Place(model, hive, 0, socket, 0, device))
    members: dict[tuple[str, int], list[_Place]] = {}
    for place in places:
        members.setdefault((place.model.name, place.hive), []).append(place)
    result = []
    for place in places:
        hive_members = members[place.model.name, place.hive]
        if "xgmi" in place.model.links and len(hive_members) > 1:
            hive_id = zlib.crc32(f"hive {place.hive} {place.model.name}".encode()) | 1 << 32
            sockets = len({member.socket for member in hive_members})
            place = replace(place, hive_id=hive_id, sockets=sockets)
        result.append(place)
    return result


def _from_cpu(models: Sequence[Model]) -> list[Link]:
    links = []
    for node, model in enumerate(models, 1):
        properties = dict(model.links["cpu"])
        if not is_linked_to_cpu(model):
            if not has_large_bar(model):
                continue
            properties["flags"] |= _NON_COHERENT
        links.append(Link(0, node, properties, _engines(model, xgmi=False)))
    return links


def _xgmi(source: int, target: int, place: _Place, peer: _Place) -> Link:
    """Link two GPUs of a hive.

    Partitions (kfd_fill_gpu_xgmi_link_to_gpu without data of the TA): a link between sockets weighs a hop and
    both ways to it. Dies: those of one product are linked; of different products those with the same number,
    by a single lane group (the least bandwidth), so others are two hops away and have no links that count.
    """
    properties = dict(place.model.links["xgmi"])
    if place.socket != peer.socket:
        if place.partitioned:
            properties["weight"] = 2 * _INTRA_SOCKET_WEIGHT + _XGMI_WEIGHT
        elif place.device != peer.device:
            properties |= {"weight": 2 * _XGMI_WEIGHT, "min_bandwidth": 0, "max_bandwidth": 0}
        else:
            properties["max_bandwidth"] = properties["min_bandwidth"]
    return Link(source, target, properties, _xgmi_engines(place, peer))


def _xgmi_engines(place: _Place, peer: _Place) -> int:
    """Return the engines that are recommended between GPUs of a hive (kfd_set_recommended_sdma_engines)."""
    engines = place.model.properties["num_sdma_xgmi_engines"]
    if place.sockets == _LARGEST_HIVE and not place.partitioned and engines >= _ENGINES_FOR_TABLE:
        return 1 << _ENGINES_BY_SOCKET[place.socket][peer.socket]
    return _engines(place.model, xgmi=bool(engines))


def _engines(model: Model, *, xgmi: bool) -> int:
    """Return the mask of the engines of one class."""
    first = model.properties["num_sdma_engines"] if xgmi else 0
    count = model.properties["num_sdma_xgmi_engines" if xgmi else "num_sdma_engines"]
    return ((1 << count) - 1) << first


def _across_cpu(link: Mapping[str, int], peer: Mapping[str, int]) -> dict[str, int]:
    """Add up the links of two GPUs to the CPU (kfd_add_peer_prop).

    No engines are recommended. (The kernel lets some of these links inherit a mask from the order in which
    GPUs are probed; not modelled, and not verified.)
    """
    return {
        "type": PCIE,
        "weight": link["weight"] + peer["weight"],
        "min_bandwidth": min(link["min_bandwidth"], peer["min_bandwidth"]),
        "max_bandwidth": min(link["max_bandwidth"], peer["max_bandwidth"]),
        "flags": link["flags"] | _NON_COHERENT,
    }
