"""Which GPUs are there? Reads the topology that amdkfd publishes in sysfs.

Layout of the tree: drivers/gpu/drm/amd/amdkfd/kfd_topology.c. Nothing is opened and no state changes.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.families.registry import Family, family_by_version
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

TOPOLOGY = "/sys/devices/virtual/kfd/kfd/topology"

HEAP_PUBLIC = 1
"""`heap_type` of VRAM that the CPU can see whole (kfd_crat.h: framebuffer public)."""
HEAP_PRIVATE = 2
"""`heap_type` of VRAM behind a small BAR."""

CAPABILITY_SRAM_ECC = 0x4000000
"""Bit of `capability` (HSA_CAP_SRAM_EDCSUPPORTED in kfd_topology.h)."""

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

    @property
    def family(self) -> Family:
        """The row of this GPU's gfx target; raises `UnknownFamilyError`."""
        return family_by_version(self.properties["gfx_target_version"])

    @property
    def target(self) -> str:
        """The gfx target, such as `gfx942` (the stepping is a hexadecimal digit: gfx90a)."""
        version = self.properties["gfx_target_version"]
        return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"

    @property
    def identity(self) -> str:
        """PCI address such as `0000:03:00.0`: `location_id` holds bus, device and function."""
        location = self.properties["location_id"]
        domain = self.properties.get("domain", 0)
        return f"{domain:04x}:{location >> 8 & 0xFF:02x}:{location >> 3 & 0x1F:02x}.{location & 7}"

    @property
    def unique_id(self) -> int:
        """Serial number of the GPU; 0 where the product has none."""
        return self.properties.get("unique_id", 0)

    @property
    def num_xcc(self) -> int:
        """Accelerated compute dies of this partition; kernels before 6.5 print none, meaning one."""
        return self.properties.get("num_xcc", 0) or 1

    @property
    def compute_units(self) -> int:
        """Compute units of all XCCs."""
        return self.properties["simd_count"] // self.properties["simd_per_cu"]

    @property
    def shader_engines(self) -> int:
        """Shader engines of each XCC (the kernel prints the arrays of all XCCs)."""
        return self.properties["array_count"] // self.num_xcc // self.arrays_per_engine

    @property
    def arrays_per_engine(self) -> int:
        """Shader arrays of each engine."""
        return self.properties["simd_arrays_per_engine"]

    @property
    def units_per_array(self) -> int:
        """Compute units of each array, those included that are switched off."""
        return self.properties["cu_per_simd_array"]

    @property
    def waves_per_unit(self) -> int:
        """Waves that a compute unit holds at most."""
        return self.properties["simd_per_cu"] * self.properties["max_waves_per_simd"]

    @property
    def hardware_queues(self) -> int:
        """Compute queues that the hardware serves at once; the scheduler gives more of them turns."""
        return self.properties["num_cp_queues"]

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
    def sramecc(self) -> bool:
        """Whether the GPU's SRAMs have ECC on, which code objects may depend on."""
        return bool(self.properties.get("capability", 0) & CAPABILITY_SRAM_ECC)

    @property
    def render_path(self) -> str:
        """The GPU's render node."""
        return f"/dev/dri/renderD{self.properties['drm_render_minor']}"


def discover(kernel: Kernel) -> list[GpuNode]:
    """Return all GPUs that this process may use, in the numeric order of their nodes.

    Nodes that a container's device cgroup hides (their files answer EPERM) are left out, and so are
    CPUs (gpu_id 0). Raises `DeviceOpenError` if the topology keeps changing while it is read, and
    `KernelError` if there is none.
    """
    for _ in range(_READ_ATTEMPTS):
        generation = kernel.read_text(f"{TOPOLOGY}/generation_id")
        names = kernel.listdir(f"{TOPOLOGY}/nodes")
        try:
            nodes = [_read_node(kernel, index) for index in sorted(int(name) for name in names)]
        except KernelError as error:
            # A node that vanished between the listing and the reading is a change, too.
            if error.errno != errno.ENOENT:
                raise
            continue
        if kernel.read_text(f"{TOPOLOGY}/generation_id") == generation:
            return [node for node in nodes if node is not None]
    raise DeviceOpenError(f"the topology in {TOPOLOGY} changed during each of {_READ_ATTEMPTS} readings")


def _read_node(kernel: Kernel, index: int) -> GpuNode | None:
    """Read one node; None if it is a CPU or hidden."""
    path = f"{TOPOLOGY}/nodes/{index}"
    try:
        gpu_id = int(kernel.read_text(f"{path}/gpu_id"))
        if gpu_id == 0:
            return None
        properties = parse_properties(kernel.read_text(f"{path}/properties"))
    except KernelError as error:
        if error.errno == errno.EPERM:
            return None
        raise
    banks = sorted(kernel.listdir(f"{path}/mem_banks"), key=int)
    return GpuNode(
        index=index,
        gpu_id=gpu_id,
        name=kernel.read_text(f"{path}/name").strip(),
        properties=properties,
        memory_banks=tuple(
            parse_properties(kernel.read_text(f"{path}/mem_banks/{bank}/properties")) for bank in banks
        ),
    )


def parse_properties(text: str) -> dict[str, int]:
    """Parse a file of `key value` lines with decimal values; raises `ValueError` naming a bad line."""
    properties = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if not key:
            continue
        try:
            properties[key] = int(value)
        except ValueError:
            raise ValueError(f"line {line!r} of a topology file is not a key and a decimal number") from None
    return properties
