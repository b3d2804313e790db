"""Which GPUs are there? Reads the topology that amdkfd publishes in sysfs.

Layout of the tree: drivers/gpu/drm/amd/amdkfd/kfd_topology.c. Nothing is opened and no state changes.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_amdgpu.driver.errors import DeviceOpenError, TopologyError
from pytest_amdgpu.families.models import CACHE_KEYS, LINK_KEYS, MEM_BANK_KEYS, PROPERTY_KEYS
from pytest_amdgpu.families.registry import Family, family_by_version, nearest_family, target_name
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

TOPOLOGY = "/sys/devices/virtual/kfd/kfd/topology"

HEAP_PUBLIC = 1
"""`heap_type` of VRAM that the CPU can see whole (kfd_crat.h: framebuffer public)."""
HEAP_PRIVATE = 2
"""`heap_type` of VRAM behind a small BAR."""

CAPABILITY_SRAM_ECC = 0x4000000
"""Bit of `capability` (HSA_CAP_SRAM_EDCSUPPORTED in kfd_topology.h)."""

_FIRST_RENDER_MINOR = 128
"""DRM numbers its render nodes from here on (drm_drv.c: 64 for each type of node)."""

_KNOWN_KEYS = frozenset(
    (*PROPERTY_KEYS, *MEM_BANK_KEYS, *LINK_KEYS, *CACHE_KEYS, "cache_line_size", "processor_id_low")
)
"""Keys of topology files that this package reads."""

_READ_ATTEMPTS = 3
"""Times to read a topology that changes under the reader before giving up."""


@dataclass(frozen=True, slots=True)
class GpuNode:
    """One GPU as the topology describes it; sizes in bytes."""

    index: int
    """Number of the topology node. It changes between boots; `identity` and `unique_id` do not."""
    gpu_id: int
    name: str
    properties: Mapping[str, int]
    memory_banks: tuple[Mapping[str, int], ...]
    nearest_target: bool = False
    """Whether an unknown stepping is taken for its nearest relative."""

    @property
    def family(self) -> Family:
        """The row of this GPU's gfx target, or of its nearest relative; raises `UnknownFamilyError`."""
        version = self._needed("gfx_target_version")
        return nearest_family(version) if self.nearest_target else family_by_version(version)

    @property
    def target(self) -> str:
        """The gfx target, such as `gfx942` (the stepping is a hexadecimal digit: gfx90a)."""
        return target_name(self._needed("gfx_target_version"))

    @property
    def identity(self) -> str:
        """PCI address such as `0000:03:00.0`: `location_id` holds bus, device and function."""
        location = self._needed("location_id")
        domain = self.properties.get("domain", 0)
        return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"

    @property
    def stand_in(self) -> str:
        """The target that this GPU is taken for because its own is unknown; empty if it is known."""
        return self.family.name if self.family.name != self.target else ""

    @property
    def path(self) -> str:
        """Its directory in sysfs."""
        return f"{TOPOLOGY}/nodes/{self.index}"

    @property
    def description(self) -> str:
        """What messages call it."""
        return f"the GPU at {self.identity} ({self.target})"

    @property
    def unique_id(self) -> int:
        """Serial number of the GPU; 0 where the product has none."""
        return self.properties.get("unique_id", 0)

    @property
    def num_xcc(self) -> int:
        """Accelerated compute dies of this partition; kernels before 6.5 print none, meaning one."""
        return self.properties.get("num_xcc", 0) or 1

    @property
    def vram_bytes(self) -> int:
        """Size of all VRAM banks."""
        return sum(
            bank["size_in_bytes"]
            for bank in self.memory_banks
            if bank["heap_type"] in (HEAP_PUBLIC, HEAP_PRIVATE)
        )

    @property
    def large_bar(self) -> bool:
        """Whether the CPU can see all of the VRAM."""
        return all(bank["heap_type"] != HEAP_PRIVATE for bank in self.memory_banks)

    @property
    def sdma_engines(self) -> int:
        """SDMA engines of all kinds that queues can be made on; 0 where a virtual function got none.

        Where an old kernel does not print the number there is taken to be one.
        """
        properties = self.properties
        return properties.get("num_sdma_engines", 1) + properties.get("num_sdma_xgmi_engines", 0)

    @property
    def sramecc(self) -> bool:
        """Whether the GPU's SRAMs have ECC on, which code objects may depend on."""
        return bool(self.properties.get("capability", 0) & CAPABILITY_SRAM_ECC)

    @property
    def render_path(self) -> str:
        """The GPU's render node; raises `DeviceOpenError` if the driver has made none."""
        minor = self._needed("drm_render_minor")
        if minor < _FIRST_RENDER_MINOR:
            raise DeviceOpenError(
                f"{self.path}/properties has drm_render_minor {minor}, which is no render node's (they begin"
                f" at {_FIRST_RENDER_MINOR}): the driver has made none for this GPU, `dmesg` may say why"
            )
        return f"/dev/dri/renderD{minor}"

    def _needed(self, key: str) -> int:
        try:
            return self.properties[key]
        except KeyError:
            raise DeviceOpenError(
                f"{self.path}/properties has no {key}: the amdgpu driver is too old; update the kernel, or"
                " install amdgpu-dkms"
            ) from None


def discover(kernel: Kernel, *, nearest_target: bool = False) -> list[GpuNode]:
    """Return all GPUs that this process may use, in the numeric order of their nodes.

    With `nearest_target` a GPU with an unknown stepping can be opened as its nearest relative.

    Nodes that a container's device cgroup hides (their files answer EPERM) are left out, and so are
    CPUs (gpu_id 0). Raises `DeviceOpenError` if the topology keeps changing while it is read or says
    nonsense, and `KernelError` if there is none.
    """
    last = ""
    for _ in range(_READ_ATTEMPTS):
        generation = kernel.read_text(f"{TOPOLOGY}/generation_id")
        indices = sorted(int(name) for name in kernel.listdir(f"{TOPOLOGY}/nodes") if name.isdecimal())
        try:
            nodes = [_read_node(kernel, index, nearest_target) for index in indices]
        except KernelError as error:
            # A node that vanished between the listing and the reading is a change, too.
            if error.errno != errno.ENOENT:
                raise
            last = f"; the last one failed: {error}"
            continue
        if kernel.read_text(f"{TOPOLOGY}/generation_id") == generation:
            return [node for node in nodes if node is not None]
        last = ""
    raise DeviceOpenError(
        f"the topology in {TOPOLOGY} changed during each of {_READ_ATTEMPTS} readings{last}"
    )


def _read_node(kernel: Kernel, index: int, nearest_target: bool) -> GpuNode | None:
    """Read one node; None if it is a CPU or hidden (then some of its files answer EPERM, some do not)."""
    path = f"{TOPOLOGY}/nodes/{index}"
    try:
        gpu_id = _number(kernel.read_text(f"{path}/gpu_id").strip(), f"{path}/gpu_id")
        if gpu_id == 0:
            return None
        banks = sorted((name for name in kernel.listdir(f"{path}/mem_banks") if name.isdecimal()), key=int)
        return GpuNode(
            index=index,
            gpu_id=gpu_id,
            name=kernel.read_text(f"{path}/name").strip(),
            properties=read_properties(kernel, f"{path}/properties"),
            memory_banks=tuple(
                {"heap_type": 0, "size_in_bytes": 0}
                | read_properties(kernel, f"{path}/mem_banks/{bank}/properties")
                for bank in banks
            ),
            nearest_target=nearest_target,
        )
    except KernelError as error:
        if error.errno == errno.EPERM:
            return None
        raise


def read_properties(kernel: Kernel, path: str) -> dict[str, int]:
    """Read a file of `key value` lines; raises `KernelError`, and `TopologyError` as `parse_properties`."""
    return parse_properties(kernel.read_text(path), path)


def parse_properties(text: str, path: str = "a topology file") -> dict[str, int]:
    """Parse `key value` lines with decimal values.

    Lines of keys that are not known here are left out if their value is something else, for they may be of
    a newer kernel. Raises `TopologyError` that names a bad line of a known key, and the file.
    """
    properties = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        try:
            properties[key] = int(value)
        except ValueError:
            if key in _KNOWN_KEYS:
                raise TopologyError(f"{path}: line {line!r} is not a key and a decimal number") from None
    return properties


def _number(text: str, path: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TopologyError(f"{path}: {text!r} is not a decimal number") from None
