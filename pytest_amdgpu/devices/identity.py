"""What a run knows of a GPU before it opens it, and the name that never changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pytest_amdgpu.devices.features import features_of
from pytest_amdgpu.driver.links import read_links
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.families.models import Model, models_of_target
from pytest_amdgpu.kernel.protocol import Kernel

HOST_END = "/"
"""Stands between the name of a host and the id of a device."""


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One GPU of a machine.

    `id` is what tests are parametrized with: `gfx942-0000:03:00.0` by PCI address on hardware, with the
    backend's name before it if another package found the GPU, and
    `sw-gfx942-0` or `sw-gfx942+no-sdma-0`, counted by target and options, for software GPUs. It does not
    depend on the order of discovery.
    """

    id: str
    target: str
    name: str
    gpu_id: int
    pci_address: str
    unique_id: int
    vram_bytes: int
    num_xcc: int
    stand_in: str = ""
    """The target that it is taken for because its own is unknown."""
    hive_id: int = 0
    """Number of the hive, 0 for none."""
    reaches: tuple[int, ...] = ()
    """gpu_ids of the GPUs whose memory it can be given access to."""
    host: str = ""
    """The host that has it, where a run uses several; its name and a slash are before the id."""
    features: tuple[str, ...] = ()
    """Words of `features.FEATURES`."""

    def __hash__(self) -> int:
        # pytest asks for it several times for each test.
        return hash(self.id)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for another process."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DeviceInfo:
        """Undo `to_json`."""
        return cls(**{**values, "reaches": tuple(values["reaches"]), "features": tuple(values["features"])})

    def on_host(self, name: str) -> DeviceInfo:
        """Return it as it is called in a run of several hosts."""
        return dataclasses.replace(self, id=f"{name}{HOST_END}{self.id}", host=name)

    @property
    def local_id(self) -> str:
        """What its own host calls it."""
        return self.id.removeprefix(f"{self.host}{HOST_END}")

    def matches(self, node: GpuNode) -> bool:
        """Whether this is that node of the topology, seen by whichever process."""
        return (self.pci_address, self.target) == (node.identity, node.target)


def hardware_devices(nodes: Sequence[GpuNode], kernel: Kernel | None = None) -> list[DeviceInfo]:
    """Describe the GPUs of a machine; the kernel tells which reach each other, and their features."""
    gpu_ids = _gpu_ids(nodes)
    return [
        _info(node, f"{node.target}-{node.identity}", product_name(node), gpu_ids, kernel) for node in nodes
    ]


def backend_devices(nodes: Sequence[GpuNode], backend: str) -> list[DeviceInfo]:
    """Describe the GPUs that a backend of another package found."""
    return [_info(node, f"{backend}-{node.target}-{node.identity}", product_name(node)) for node in nodes]


def software_devices(
    nodes: Sequence[GpuNode], models: Sequence[Model], kernel: Kernel | None = None
) -> list[DeviceInfo]:
    """Describe software GPUs of the given models, numbered by target and options."""
    gpu_ids = _gpu_ids(nodes)
    seen: dict[str, int] = {}
    devices = []
    for node, made_of in zip(nodes, models, strict=True):
        kind = "+".join((f"sw-{node.target}", *made_of.options))
        number = seen.setdefault(kind, 0)
        seen[kind] += 1
        devices.append(_info(node, f"{kind}-{number}", made_of.marketing_name, gpu_ids, kernel))
    return devices


def product_name(node: GpuNode) -> str:
    """Return what the product is called, or the kernel's name of the chip if no model file knows it."""
    for known in models_of_target(node.target):
        if known.properties["device_id"] == node.properties.get("device_id"):
            return known.marketing_name
    return node.name


def _gpu_ids(nodes: Sequence[GpuNode]) -> dict[int, int]:
    """Return the gpu_id of each node by its index."""
    return {node.index: node.gpu_id for node in nodes}


def _info(
    node: GpuNode,
    device_id: str,
    product: str,
    gpu_ids: Mapping[int, int] = MappingProxyType({}),
    kernel: Kernel | None = None,
) -> DeviceInfo:
    links = []
    if kernel is not None and len(gpu_ids) > 1:
        links = [link for link in read_links(kernel, node) if link.target in gpu_ids]
    return DeviceInfo(
        id=device_id,
        target=node.target,
        name=product,
        gpu_id=node.gpu_id,
        pci_address=node.identity,
        unique_id=node.unique_id,
        vram_bytes=node.vram_bytes,
        num_xcc=node.num_xcc,
        stand_in=node.stand_in if node.nearest_target else "",
        hive_id=node.hive_id,
        reaches=tuple(sorted({gpu_ids[link.target] for link in links})),
        features=features_of(node, links, kernel),
    )
