"""Which GPUs are there? Reads the topology that amdkfd publishes in sysfs.

Layout of the tree: drivers/gpu/drm/amd/amdkfd/kfd_topology.c. Nothing is opened and no state changes.
"""

from __future__ import annotations

import errno
import re
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

CAPABILITY_MEMORY_ECC = 0x100000
CAPABILITY_SRAM_ECC = 0x4000000
"""Bit of `capability` (HSA_CAP_SRAM_EDCSUPPORTED in kfd_topology.h)."""

CAPABILITY_SVM = 0x8000000
"""Bit of `capability` (HSA_CAP_SVMAPI_SUPPORTED in kfd_topology.h)."""

_FIRST_RENDER_MINOR, _MINORS = 128, 1 << 20
"""DRM numbers its render nodes from here on (drm_drv.c: 64 for each type of node), below 1 << MINORBITS."""

_KNOWN_KEYS = frozenset(
    (
        *PROPERTY_KEYS,
        *MEM_BANK_KEYS,
        *LINK_KEYS,
        *CACHE_KEYS,
        "cache_line_size",
        "processor_id_low",
        "node_to",
    )
)
"""Keys of topology files that this package reads."""

_READ_ATTEMPTS = 3
"""Times to read a topology that changes under the reader before giving up."""

_NUMBERS = {10: re.compile(r"[0-9]{1,20}", re.ASCII), 16: re.compile(r"(0x)?[0-9a-fA-F]{1,16}", re.ASCII)}


class Properties(dict[str, int]):
    """Keys and values of a file of the topology; asking for a key that it lacks raises `TopologyError`."""

    def __init__(self, path: str, values: Mapping[str, int]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> int:
        raise TopologyError(
            f"{self.path} has no {key}: the amdgpu driver is too old;"
            " update the kernel, or install amdgpu-dkms"
        )

    def positive(self, key: str) -> int:
        """Return a value that must not be 0; raises `TopologyError`."""
        value = self[key]
        if not value:
            raise TopologyError(f"{self.path}: {key} is 0")
        return value


@dataclass(frozen=True, slots=True)
class GpuNode:
    """One GPU as the topology describes it; sizes in bytes."""

    index: int
    """Number of the topology node. It changes between boots; `identity` and `unique_id` do not."""
    gpu_id: int
    name: str
    properties: Properties
    memory_banks: tuple[Properties, ...]
    nearest_target: bool = False
    """Whether an unknown stepping is taken for its nearest relative."""

    @property
    def family(self) -> Family:
        """The row of this GPU's gfx target, or of its nearest relative; raises `UnknownFamilyError`."""
        version = self.properties["gfx_target_version"]
        return nearest_family(version) if self.nearest_target else family_by_version(version)

    @property
    def target(self) -> str:
        """The gfx target, such as `gfx942` (the stepping is a hexadecimal digit: gfx90a)."""
        return target_name(self.properties["gfx_target_version"])

    @property
    def identity(self) -> str:
        """PCI address such as `0000:03:00.0`: `location_id` holds bus, device and function."""
        location = self.properties["location_id"]
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
            bank.get("size_in_bytes", 0)
            for bank in self.memory_banks
            if bank.get("heap_type") in (HEAP_PUBLIC, HEAP_PRIVATE)
        )

    @property
    def large_bar(self) -> bool:
        """Whether the CPU can see all of the VRAM."""
        return all(bank.get("heap_type") != HEAP_PRIVATE for bank in self.memory_banks)

    @property
    def hive_id(self) -> int:
        """Number of the hive, which GPUs that XGMI links have in common; 0 for none."""
        return self.properties.get("hive_id", 0)

    @property
    def sdma_engines(self) -> range:
        """Numbers of the SDMA engines that serve any memory; one where an old kernel does not tell."""
        return range(self.properties.get("num_sdma_engines", 1))

    @property
    def xgmi_engines(self) -> range:
        """Numbers of the SDMA engines that are for XGMI links; they follow the others."""
        # Not the length of the others: a file may say any number, and lengths have 64 bits.
        first = max(self.sdma_engines.stop, 0)
        return range(first, first + self.properties.get("num_sdma_xgmi_engines", 0))

    @property
    def memory_ecc(self) -> bool:
        """Whether the kernel tells of errors of the GPU's memory (HSA_CAP_MEM_EDCSUPPORTED)."""
        return bool(self.properties.get("capability", 0) & CAPABILITY_MEMORY_ECC)

    @property
    def sramecc(self) -> bool:
        """Whether the GPU's SRAMs have ECC on, which code objects may depend on."""
        return bool(self.properties.get("capability", 0) & CAPABILITY_SRAM_ECC)

    @property
    def shares_virtual_memory(self) -> bool:
        """Whether the kernel can let the GPU reach memory of the process at its own address (SVM)."""
        return bool(self.properties.get("capability", 0) & CAPABILITY_SVM)

    @property
    def render_path(self) -> str:
        """The GPU's render node; raises `DeviceOpenError` if the driver has made none."""
        minor = self.properties["drm_render_minor"]
        if not _FIRST_RENDER_MINOR <= minor < _MINORS:
            raise DeviceOpenError(
                f"{self.path}/properties has drm_render_minor {minor}, which is no render node's (they begin"
                f" at {_FIRST_RENDER_MINOR}): the driver has made none for this GPU, `dmesg` may say why"
            )
        return f"/dev/dri/renderD{minor}"


def discover(kernel: Kernel, *, nearest_target: bool = False) -> list[GpuNode]:
    """Return all GPUs that this process may use, in the numeric order of their nodes.

    With `nearest_target` a GPU with an unknown stepping can be opened as its nearest relative.

    Nodes that a container's device cgroup hides (their files answer EPERM) are left out, and so are
    CPUs (gpu_id 0). Raises `DeviceOpenError` if the topology keeps changing while it is read,
    `TopologyError` where a file makes no sense, and `KernelError` if there is none.
    """
    last = ""
    for _ in range(_READ_ATTEMPTS):
        generation = kernel.read_text(f"{TOPOLOGY}/generation_id")
        indices = numbers_of(kernel.listdir(f"{TOPOLOGY}/nodes"))
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


def numbers_of(names: list[str]) -> list[int]:
    """The numbers among the names in a directory, in their order."""
    return sorted(int(name) for name in names if _NUMBERS[10].fullmatch(name))


def _read_node(kernel: Kernel, index: int, nearest_target: bool) -> GpuNode | None:
    """Read one node; None if it is a CPU or hidden (then some of its files answer EPERM, some do not)."""
    path = f"{TOPOLOGY}/nodes/{index}"
    try:
        gpu_id = read_number(kernel, f"{path}/gpu_id")
        if gpu_id == 0:
            return None
        return GpuNode(
            index=index,
            gpu_id=gpu_id,
            name=_printable(kernel.read_text(f"{path}/name")),
            properties=read_properties(kernel, f"{path}/properties"),
            memory_banks=tuple(
                read_properties(kernel, f"{path}/mem_banks/{bank}/properties")
                for bank in numbers_of(kernel.listdir(f"{path}/mem_banks"))
            ),
            nearest_target=nearest_target,
        )
    except KernelError as error:
        if error.errno == errno.EPERM:
            return None
        raise


def _printable(text: str) -> str:
    """Return text on one line; what cannot be printed becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def parse_number(path: str, text: str, base: int = 10) -> int:
    """Return the number of at most 64 bits that `path` holds; raises `TopologyError`."""
    word = text.strip()
    if _NUMBERS[base].fullmatch(word) and (number := int(word, base)) < 1 << 64:
        return number
    kind = {10: "decimal", 16: "hexadecimal"}[base]
    raise TopologyError(f"{path}: {text[:80]!r} is not a {kind} number of 64 bits")


def read_number(kernel: Kernel, path: str, base: int = 10) -> int:
    """Read a file that holds one number; raises `TopologyError` and `KernelError`."""
    return parse_number(path, kernel.read_text(path), base)


def parse_properties(path: str, text: str) -> Properties:
    """Parse lines of `key value` with decimal values.

    Lines of keys that are not known here are left out if their value is something else, for they may be of
    a newer kernel. Raises `TopologyError` that names a bad line of a known key.
    """
    properties = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        try:
            properties[key] = parse_number(f"{path}: line {line[:80]!r}", value)
        except TopologyError:
            if key in _KNOWN_KEYS:
                raise
    return Properties(path, properties)


def read_properties(kernel: Kernel, path: str) -> Properties:
    """Read a file of `key value` lines; raises `TopologyError` and `KernelError`."""
    return parse_properties(path, kernel.read_text(path))
