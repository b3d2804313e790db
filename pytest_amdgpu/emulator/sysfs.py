"""The sysfs of a machine with software GPUs: KFD's topology, and what lies beside a render node.

Files and keys are those of amdkfd's kfd_topology.c (Linux 6.12). Everything is made when it is read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pytest_amdgpu.emulator.links import Link, NodeLinks, machine_links
from pytest_amdgpu.emulator.refusal import Refusal
from pytest_amdgpu.families.models import PROPERTY_KEYS

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.process import Machine
    from pytest_amdgpu.families.caches import Cache

File: TypeAlias = Callable[[], str]
Directory: TypeAlias = "Mapping[str, Node]"
Node: TypeAlias = "File | Directory | LazyDirectory"

_TOPOLOGY_PATHS = ("sys/devices/virtual/kfd/kfd/topology", "sys/class/kfd/kfd/topology")
_MODULE_PATH = "sys/module/amdgpu"
_MODULE_PARAMETERS = {
    "cwsr_enable": 1,
    "mes": 0,
    "no_system_mem_limit": "N",
    "noretry": -1,
    "sched_policy": 0,
}
"""Some of amdgpu's parameters, with the defaults of amdgpu_drv.c."""
_GPU_ONLY_KEYS = frozenset(
    PROPERTY_KEYS[PROPERTY_KEYS.index("max_engine_clk_fcompute") : PROPERTY_KEYS.index("num_xcc") + 1]
)
_CPU_CLOCK_MHZ = 2400


class LazyDirectory:
    """A directory that is made when somebody first looks into it; its files are made when they are read."""

    def __init__(self, make: Callable[[], Directory]) -> None:
        self._make = make
        self._made: Directory | None = None

    def made(self) -> Directory:
        """Return the directory."""
        if self._made is None:
            self._made = self._make()
        return self._made


def _text(properties: Mapping[str, int | str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in properties.items())


def _cache_text(cache: Cache, simd_id_base: int) -> str:
    return _text(cache.properties(simd_id_base))


def _constant(text: str) -> File:
    return lambda: text


class Sysfs:
    """Answers reads of files and directories below `/sys`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._root: Directory | None = None
        self._gone = 0
        """GPUs that had left when the root was made."""
        gpus, hostility = machine.gpus, machine.hostility
        self._cpu_numbers, gpu_numbers = [0], [gpu.node for gpu in gpus]
        if hostility is not None:
            self._cpu_numbers, gpu_numbers = hostility.node_numbers(len(gpus))
        self._numbers = [0, *gpu_numbers]
        """What the nodes are called that `machine_links` counts, the CPU first."""

    def listdir(self, path: str) -> list[str]:
        """List a directory; raises Refusal."""
        node = self._find(path)
        if callable(node):
            raise Refusal(errno.ENOTDIR, "a file")
        hostility, names = self._machine.hostility, list(node)
        if hostility is None:
            return names
        if hostility.topology_incomplete and path.rstrip("/").endswith("topology/nodes"):
            names.pop()
        return hostility.shuffled(names)

    def read_text(self, path: str) -> str:
        """Read a file; raises Refusal."""
        node = self._find(path)
        if not callable(node):
            raise Refusal(errno.EISDIR, "a directory")
        return node()

    def _find(self, path: str) -> File | Directory:
        gone = sum(gpu.gone for gpu in self._machine.gpus)
        if self._root is None or gone != self._gone:
            self._root, self._gone = self._make_root(), gone
        node: Node = self._root
        for name in path.split("/"):
            if name in ("", "."):
                continue
            if callable(node):
                raise Refusal(errno.ENOTDIR, f"{name!r} is looked for below a file")
            directory = node.made() if isinstance(node, LazyDirectory) else node
            if name not in directory:
                raise Refusal(
                    errno.ENOENT, f"no {name!r} here, only {', '.join(sorted(directory)) or 'nothing'}"
                )
            node = directory[name]
        return node.made() if isinstance(node, LazyDirectory) else node

    def _make_root(self) -> Directory:
        gpus = self._machine.gpus
        topology = self._topology()
        drm: dict[str, Node] = {}
        for gpu in gpus:
            if gpu.gone:
                continue
            device = LazyDirectory(partial(self._drm_device, gpu))
            drm[f"renderD{gpu.render_minor}"] = drm[f"card{gpu.index}"] = {"device": device}
        root: dict[str, Node] = {}
        places: dict[str, Directory] = dict.fromkeys(_TOPOLOGY_PATHS, topology)
        places |= {"sys/class/drm": drm, _MODULE_PATH: {"parameters": _parameters()}}
        for path, directory in places.items():
            *parents, last = path.split("/")
            place = root
            for parent in parents:
                place = place.setdefault(parent, {})  # type: ignore[assignment]
            place[last] = directory
        return root

    def _topology(self) -> Directory:
        gpus = self._machine.gpus
        links = machine_links([gpu.model for gpu in gpus])
        nodes: dict[str, Node] = {
            str(number): LazyDirectory(
                partial(self._cpu_node, links[0] if number == 0 else NodeLinks((), ()))
            )
            for number in self._cpu_numbers
        }
        for gpu, number in zip(gpus, self._numbers[1:], strict=True):
            if not gpu.gone:
                nodes[str(number)] = LazyDirectory(partial(self._gpu_node, gpu, links[gpu.node]))
        platform = {"platform_oem": 0, "platform_id": 0, "platform_rev": 0}
        return {
            "generation_id": self._generation,
            "system_properties": _constant(_text(platform)),
            "nodes": nodes,
        }

    def _generation(self) -> str:
        hostility = self._machine.hostility
        return (
            f"{hostility.look_at_generation() if hostility else 1 + len(self._machine.gpus) + self._gone}\n"
        )

    def _links(self, links: Sequence[Link]) -> Directory:
        directory: dict[str, Node] = {}
        for index, link in enumerate(links):
            ends = {"node_from": self._numbers[link.source], "node_to": self._numbers[link.target]}
            directory[str(index)] = {"properties": _constant(_text(link.properties() | ends))}
        return directory

    def _cpu_node(self, links: NodeLinks) -> Directory:
        values = {
            "cpu_cores_count": os.cpu_count() or 1,
            "mem_banks_count": 1,
            "io_links_count": len(links.io),
            "max_engine_clk_ccompute": _CPU_CLOCK_MHZ,
        }
        own = {key: values.get(key, 0) for key in PROPERTY_KEYS if key not in _GPU_ONLY_KEYS}
        properties = self._with_queue_sizes(own, 0, 0)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        bank = {"heap_type": 0, "size_in_bytes": memory, "flags": 0, "width": 64, "mem_clk_max": 0}
        return {
            "gpu_id": _constant("0\n"),
            "name": _constant("\n"),
            "properties": _constant(_text(properties)),
            "mem_banks": {"0": {"properties": _constant(_text(bank))}},
            "caches": {},
            "io_links": self._links(links.io),
            "p2p_links": self._links(links.p2p),
        }

    def _gpu_node(self, gpu: SoftwareGpu, links: NodeLinks) -> Directory:
        return {
            "gpu_id": _constant(f"{gpu.gpu_id}\n"),
            "name": _constant(f"{gpu.model.asic_name}\n"),
            "properties": _constant(
                _text(
                    self._with_queue_sizes(
                        gpu.properties, gpu.queue_sizes.cwsr_size, gpu.queue_sizes.ctl_stack_size
                    )
                )
            ),
            "mem_banks": {
                str(index): {
                    "properties": _constant(_text(bank)),
                    "used_memory": lambda: f"{gpu.vram_resident}\n",
                }
                for index, bank in enumerate(gpu.model.mem_banks)
            },
            # Hundreds, which few look at.
            "caches": LazyDirectory(partial(_caches, gpu)),
            "io_links": self._links(links.io),
            "p2p_links": self._links(links.p2p),
        }

    def _with_queue_sizes(
        self, properties: Mapping[str, int], cwsr_size: int, ctl_stack_size: int
    ) -> Mapping[str, int]:
        """Add the sizes that newer kernels print, behind `num_cp_queues`."""
        if not self._machine.behaviour.queue_sizes_in_sysfs:
            return properties
        result: dict[str, int] = {}
        for key, value in properties.items():
            result[key] = value
            if key == "num_cp_queues":
                result |= {"cwsr_size": cwsr_size, "ctl_stack_size": ctl_stack_size}
        return result

    def _drm_device(self, gpu: SoftwareGpu) -> Directory:
        pci = gpu.model.pci
        return {
            "vendor": _constant(f"{pci['vendor']:#06x}\n"),
            "device": _constant(f"{pci['device']:#06x}\n"),
            "subsystem_vendor": _constant(f"{pci['subsystem_vendor']:#06x}\n"),
            "subsystem_device": _constant(f"{pci['subsystem_device']:#06x}\n"),
            "revision": _constant(f"{pci['revision']:#04x}\n"),
            "class": _constant(f"{pci['class']:#08x}\n"),
            "unique_id": _constant(f"{gpu.unique_id:016x}\n"),
            "uevent": _constant(f"DRIVER=amdgpu\nPCI_SLOT_NAME={gpu.pci_address}\n"),
            "fw_version": {
                f"{name}_fw_version": _constant(f"{gpu.properties[key]:#010x}\n")
                for name, key in (("mec", "fw_version"), ("sdma", "sdma_fw_version"))
            },
            "mem_info_vram_total": _constant(f"{gpu.vram_size}\n"),
            "mem_info_vram_used": lambda: f"{gpu.vram_resident}\n",
            "mem_info_vis_vram_total": _constant(f"{gpu.visible_vram_size}\n"),
        }


def _parameters() -> Directory:
    return {name: _constant(f"{value}\n") for name, value in _MODULE_PARAMETERS.items()}


def _caches(gpu: SoftwareGpu) -> Directory:
    base = gpu.properties["simd_id_base"]
    return {
        str(index): {"properties": partial(_cache_text, cache, base)}
        for index, cache in enumerate(gpu.model.caches)
    }
