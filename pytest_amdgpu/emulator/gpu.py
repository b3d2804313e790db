"""A software GPU as a device: identity, clock, and what all its users share."""

from __future__ import annotations

import errno
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.emulator.engine.hardware_queues import HardwareQueues
from pytest_amdgpu.emulator.links import NodeLinks, has_large_bar, hive_ids, machine_links
from pytest_amdgpu.emulator.memory import PAGE_SIZE
from pytest_amdgpu.emulator.refusal import Refusal
from pytest_amdgpu.emulator.smi import SmiEvents
from pytest_amdgpu.families.queue_sizes import QueueSizes, queue_sizes
from pytest_amdgpu.families.registry import Family

if TYPE_CHECKING:
    from pytest_amdgpu.abi.drm_info import AmdgpuInfoGpuvmFault
    from pytest_amdgpu.emulator.compute_units import ComputeUnits
    from pytest_amdgpu.emulator.injection.defect import Injected
    from pytest_amdgpu.emulator.memory import BufferObject
    from pytest_amdgpu.families.models import Model

FIRST_RENDER_MINOR = 128
MAX_QUEUES_PER_DEVICE = 4096
"""amdkfd's module parameter max_num_of_queues_per_device, default."""
_PAGE_TABLE_SHARE = 14
_MIN_PAGE_TABLE_RESERVE = 8 << 20
_VRAM_GRANULE = 2 << 20
"""VRAM_AVAILABILITY_ALIGN of amdgpu_amdkfd_gpuvm.c."""
_FIRST_DRM_OFFSET = 1 << 32
_FIRST_BUS = 3
_SMALL_BAR = 256 << 20
"""Size of the BAR for VRAM that GPUs have by default."""
_FIRST_SIMD_ID = 0x80001000


def make_gpus(models: Sequence[Model]) -> list[SoftwareGpu]:
    """Put GPUs of the given models into one machine."""
    gpus: list[SoftwareGpu] = []
    links, hives = machine_links(models), hive_ids(models)
    simd_id_base = _FIRST_SIMD_ID
    for index, model in enumerate(models):
        gpu = SoftwareGpu(
            model, index, simd_id_base=simd_id_base, hive_id=hives[index], links=links[index + 1]
        )
        while any(gpu.gpu_id == other.gpu_id for other in gpus):
            gpu.gpu_id = gpu.gpu_id % 0xFFFF + 1
        gpus.append(gpu)
        simd_id_base += model.properties["simd_count"] // model.properties["simd_per_cu"]
    return gpus


class SoftwareGpu:
    """One GPU of the machine; `index` counts from 0 over all GPUs of one emulated kernel.

    `properties` are the model's with what belongs to this instance filled in, in the kernel's order.
    """

    def __init__(
        self, model: Model, index: int, *, simd_id_base: int, hive_id: int, links: NodeLinks
    ) -> None:
        self.model = model
        self.index = index
        self.node = index + 1
        self.family: Family = model.family
        self.render_minor = FIRST_RENDER_MINOR + index
        self.bus = _FIRST_BUS + index
        self.pci_address = f"0000:{self.bus:02x}:00.0"
        # A hash of place and device like the kernel's, so that an id never equals an index.
        self.gpu_id = (zlib.crc32(f"{self.pci_address} {model.name}".encode()) & 0x7FFF) << 1 | 1
        self.unique_id = zlib.crc32(model.name.encode()) << 32 | zlib.crc32(self.pci_address.encode())
        self.properties: Mapping[str, int] = {
            **model.properties,
            "io_links_count": len(links.io),
            "p2p_links_count": len(links.p2p),
            "simd_id_base": simd_id_base,
            "hive_id": hive_id,
            "location_id": self.bus << 8,
            "domain": 0,
            "drm_render_minor": self.render_minor,
            "unique_id": self.unique_id,
        }
        self.num_xcc = self.properties["num_xcc"]
        self.queue_sizes: QueueSizes = queue_sizes(self.properties, self.family)
        self.vram_size = sum(bank["size_in_bytes"] for bank in model.mem_banks)
        self.large_bar = has_large_bar(model)
        self._units: ComputeUnits | None = None
        self.hardware_queues = HardwareQueues(self.properties["num_cp_queues"])
        self.vram_used: int = 0
        """Bytes that amdkfd counts as allocated of the GPU's own memory."""
        self._vram_rounded: int = 0
        self.queue_count = 0
        self.vram_losses: int = 0
        """Resets that cleared VRAM."""
        self.scheduler_hangs = False
        """Whether HWS or MES answers no more, until a reset."""
        self.smi = SmiEvents(self)
        self.last_fault: AmdgpuInfoGpuvmFault | None = None
        self.injected: Injected | None = None
        """The defects that it was told to have, if it ever was."""
        self.gone = False
        """Whether it has left the machine."""
        self.mmap_objects: dict[int, BufferObject] = {}
        """Buffer objects by the offset at which the render node maps them."""
        self._next_drm_offset = _FIRST_DRM_OFFSET
        self._sdma_queues: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<SoftwareGpu {self.index} {self.model.name} {self.pci_address} gpu_id {self.gpu_id}>"

    @property
    def units(self) -> ComputeUnits:
        """Its compute units, made when the first dispatch asks for them."""
        if self._units is None:
            from pytest_amdgpu.emulator.compute_units import ComputeUnits

            with self._lock:
                if self._units is None:
                    self._units = ComputeUnits.of(self.model)
        return self._units

    def clock(self, raw_ns: int | None = None) -> int:
        """Return the constant-frequency counter (of `counter_khz`), now or at a raw monotonic time."""
        if raw_ns is None:
            raw_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        return raw_ns * self.counter_khz // 1_000_000

    @property
    def counter_khz(self) -> int:
        """Frequency of the counter, in kHz."""
        return self.model.gpu_counter_freq

    @property
    def vram_reserve(self) -> int:
        """Return what the kernel keeps for page tables: 1/16384 of VRAM, at least 8 MiB."""
        return max(self.vram_size >> _PAGE_TABLE_SHARE, _MIN_PAGE_TABLE_RESERVE)

    @property
    def vram_free(self) -> int:
        """Bytes of VRAM that can still be allocated."""
        return self.vram_size - self.vram_reserve - self.vram_used

    @property
    def vram_granule(self) -> int:
        """What AVAILABLE_MEMORY counts whole ones of: 2 MiB, but pages where VRAM is system memory."""
        return PAGE_SIZE if self.prefers_gtt else _VRAM_GRANULE

    @property
    def vram_available(self) -> int:
        """Bytes that are left if each buffer takes whole granules (amdgpu_amdkfd_get_available_memory)."""
        return self.vram_size - self.vram_reserve - self._vram_rounded

    def charge(self, size: int) -> None:
        """Count a buffer of `size` bytes as memory of the GPU (amdgpu_amdkfd_reserve_mem_limit)."""
        self.vram_used += size
        self._vram_rounded += self._rounded(size)

    def discharge(self, size: int) -> None:
        """Count a buffer no more."""
        self.vram_used -= size
        self._vram_rounded -= self._rounded(size)

    def _rounded(self, size: int) -> int:
        return -(-size // self.vram_granule) * self.vram_granule

    @property
    def prefers_gtt(self) -> bool:
        """Whether what is allocated as VRAM is system memory (`apu_prefer_gtt` of amdgpu_ttm_init).

        So it is on an APU whose part set aside for the GPU is smaller than what TTM lets it have of the rest;
        a model of an APU says as its memory what TTM lets it have.
        """
        return self.is_apu

    @property
    def vram_resident(self) -> int:
        """Bytes of buffers that lie in VRAM, as amdgpu and not amdkfd counts."""
        return 0 if self.prefers_gtt else self.vram_used

    @property
    def visible_vram_size(self) -> int:
        """Bytes of VRAM that lie in the PCI BAR."""
        return self.vram_size if self.large_bar else min(self.vram_size, _SMALL_BAR)

    @property
    def sdma_engines(self) -> tuple[int, int]:
        """How many SDMA engines serve PCIe and how many serve XGMI."""
        return self.properties["num_sdma_engines"], self.properties["num_sdma_xgmi_engines"]

    @property
    def uses_mes(self) -> bool:
        """Whether the scheduler is MES rather than HWS."""
        return self.family.kernel.mes

    @property
    def is_apu(self) -> bool:
        """Whether it shares the CPU's memory: AMDGPU_IDS_FLAGS_FUSION of amdgpu_drm.h."""
        return bool(self.model.drm.get("ids_flags", 0) & 1)

    @property
    def debugger_needs_all_units(self) -> bool:
        """Whether a debugger masks compute units itself."""
        return self.family.kernel.cwsr_workaround

    @property
    def gws_is_a_buffer(self) -> bool:
        """Whether global wave sync is hardware that a buffer object stands for (pqm_set_gws of amdkfd)."""
        return self.family.kernel.gws_is_a_buffer

    @property
    def max_queues_per_process(self) -> int:
        """How many queues a process may have at a time."""
        return self.family.kernel.max_queues

    def next_drm_offset(self, size: int) -> int:
        """Return a fake offset for mmap on the render node that no other buffer object has."""
        with self._lock:
            offset = self._next_drm_offset
            self._next_drm_offset += size
            return offset

    def take_sdma_queue(self, queue_type: QueueType, engine: int) -> tuple[int, int]:
        """Reserve an SDMA queue and return engine and queue number; ENOMEM when there is none.

        Types SDMA and SDMA_XGMI are dealt round robin over the engines of their class, SDMA_BY_ENG_ID takes
        the first free queue of `engine`.
        """
        pcie, xgmi = self.sdma_engines
        engines = {
            QueueType.SDMA: range(pcie),
            QueueType.SDMA_XGMI: range(pcie, pcie + xgmi),
            QueueType.SDMA_BY_ENG_ID: range(engine, engine + 1),
        }[queue_type]
        with self._lock:
            for queue in range(self.properties["num_sdma_queues_per_engine"]):
                for candidate in engines:
                    if (candidate, queue) not in self._sdma_queues:
                        self._sdma_queues.add((candidate, queue))
                        return candidate, queue
        raise Refusal(errno.ENOMEM, f"no free SDMA queue of type {queue_type.name} on {self!r}")

    def give_sdma_queue(self, place: tuple[int, int]) -> None:
        """Return a reserved SDMA queue."""
        with self._lock:
            self._sdma_queues.remove(place)
