"""Models of software GPUs: the topology of a real product, read from a file and checked.

A model file (families/data/*.toml, or a user's) gives every value with its source and says of each source
whether it was measured on hardware or derived. What belongs to one instance in one machine (place on
the bus, unique id, number of links) is not in the file; those properties are 0 in `Model.properties`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_amdgpu.families import model_ranges
from pytest_amdgpu.families.caches import ENTRY_BITS, Cache, CacheKind, cache_list
from pytest_amdgpu.families.model_file import ModelFile
from pytest_amdgpu.families.model_ranges import IP_VERSION, MAX_SDMA_QUEUES
from pytest_amdgpu.families.registry import (
    Family,
    UnknownFamilyError,
    family_by_version,
    nearest_family,
    target_version,
)

DATA = Path(__file__).parent / "data"

MAX_DEVICES = 8
"""Devices that one product can be divided into: the dies of an MI300X, each by itself."""

PROPERTY_KEYS = (
    "cpu_cores_count",
    "simd_count",
    "mem_banks_count",
    "caches_count",
    "io_links_count",
    "p2p_links_count",
    "cpu_core_id_base",
    "simd_id_base",
    "max_waves_per_simd",
    "lds_size_in_kb",
    "gds_size_in_kb",
    "num_gws",
    "wave_front_size",
    "array_count",
    "simd_arrays_per_engine",
    "cu_per_simd_array",
    "simd_per_cu",
    "max_slots_scratch_cu",
    "gfx_target_version",
    "vendor_id",
    "device_id",
    "location_id",
    "domain",
    "drm_render_minor",
    "hive_id",
    "num_sdma_engines",
    "num_sdma_xgmi_engines",
    "num_sdma_queues_per_engine",
    "num_cp_queues",
    "max_engine_clk_fcompute",
    "local_mem_size",
    "fw_version",
    "capability",
    "debug_prop",
    "sdma_fw_version",
    "unique_id",
    "num_xcc",
    "max_engine_clk_ccompute",
)
"""Keys of a node's `properties` file in the order of node_show in amdkfd (kfd_topology.c, Linux 6.12)."""

INSTANCE_KEYS = (
    "io_links_count",
    "p2p_links_count",
    "simd_id_base",
    "location_id",
    "domain",
    "drm_render_minor",
    "hive_id",
    "unique_id",
)
"""Properties that the machine gives to an instance of a model; 0 in `Model.properties`."""

MEM_BANK_KEYS = ("heap_type", "size_in_bytes", "flags", "width", "mem_clk_max")
CACHE_KEYS = ("level", "size", "line_size", "type", "cus")
PCI_KEYS = ("vendor", "device", "subsystem_vendor", "subsystem_device", "revision", "class")
LINK_KEYS = ("type", "weight", "min_bandwidth", "max_bandwidth", "flags")
_LINK_KINDS = ("cpu", "xgmi")
_IP_KEYS = ("gc", "sdma")
DRM_KEYS = (
    "chip_rev",
    "external_rev",
    "family",
    "num_shader_engines",
    "num_shader_arrays_per_engine",
    "gpu_counter_freq",
    "max_engine_clock",
    "max_memory_clock",
    "cu_active_number",
    "enabled_rb_pipes_mask",
    "num_rb_pipes",
    "num_hw_gfx_contexts",
    "pcie_gen",
    "pcie_num_lanes",
    "ids_flags",
    "virtual_address_offset",
    "virtual_address_max",
    "high_va_offset",
    "high_va_max",
    "virtual_address_alignment",
    "pte_fragment_size",
    "gart_page_size",
    "vram_type",
    "vram_bit_width",
    "wave_front_size",
    "num_shader_visible_vgprs",
    "num_cu_per_sh",
    "num_tcc_blocks",
    "min_engine_clock",
    "min_memory_clock",
    "tcp_cache_size",
    "num_sqc_per_wgp",
    "sqc_data_cache_size",
    "sqc_inst_cache_size",
    "gl1c_cache_size",
    "gl2c_cache_size",
    "mall_size",
)
"""Fields of drm_amdgpu_info_device that a model says; the file may leave out those that are 0."""


class UnknownModelError(ValueError):
    """No model of this name or target; the message lists the known ones."""


@dataclass(frozen=True)
class Model:
    """A product to make software GPUs of, `devices` of them from one.

    `properties` are in the kernel's order, mem_banks and links hold the keys of their sysfs files that are
    not the machine's. `cu_bitmaps` are masks of active compute units by XCC, shader engine and shader
    array. `drm` holds fields of `drm_amdgpu_info_device` (those absent are 0; `cu_bitmap` and `device_id`
    follow from the rest). `evidence` says of each value `measured` or `derived`, by key path. `options` are
    those of a variant (see variants.py), which its name shows, too.
    """

    name: str
    target: str
    marketing_name: str
    asic_name: str
    properties: Mapping[str, int]
    mem_banks: tuple[Mapping[str, int], ...]
    caches: tuple[Cache, ...]
    links: Mapping[str, Mapping[str, int]]
    pci: Mapping[str, int]
    drm: Mapping[str, int]
    cu_bitmaps: tuple[tuple[tuple[int, ...], ...], ...]
    ip_versions: Mapping[str, tuple[int, int, int]]
    evidence: Mapping[str, str] = field(repr=False)
    devices: int = 1
    options: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        """The row of the model's target, or of its nearest relative."""
        return nearest_family(target_version(self.target))

    @property
    def gpu_counter_freq(self) -> int:
        """Frequency of the constant counter, in kHz."""
        return self.drm["gpu_counter_freq"]

    @property
    def bitmap_step(self) -> int:
        """Columns of `cu_bitmap` for each engine."""
        return self.family.kernel.cu_bitmap_step

    @property
    def cu_bitmap(self) -> list[list[int]]:
        """`cu_bitmap[4][4]` of drm_amdgpu_info_device: the first XCC only.

        The kernel folds engines beyond the fourth into further columns: [engine % 4][array + step *
        (engine / 4)] with a step of 1 on gfx9 (gfx_v9_0.c) and 2 on gfx10 and up (gfx_v11_0.c).
        """
        step = self.bitmap_step
        folded = [[0] * 4 for _ in range(4)]
        for engine, arrays in enumerate(self.cu_bitmaps[0]):
            for array, mask in enumerate(arrays):
                folded[engine % 4][array + step * (engine // 4)] = mask
        return folded


def _check_consistency(file: ModelFile, model: Model, slots: int) -> None:
    properties, row = model.properties, model.family
    masks = [mask for xcc in model.cu_bitmaps for engine in xcc for mask in engine]
    units = sum(mask.bit_count() for mask in masks)
    if max(masks) >> max(slots, properties["cu_per_simd_array"]):
        raise file.error("compute_units.bitmaps", f"has units beyond the {slots} slots")
    expected = {
        "simd_count": (units * properties["simd_per_cu"], f"{units} units in compute_units.bitmaps"),
        "array_count": (len(masks), "the arrays in compute_units.bitmaps"),
        "simd_arrays_per_engine": (len(model.cu_bitmaps[0][0]), "compute_units.bitmaps"),
        "num_xcc": (len(model.cu_bitmaps), "compute_units.bitmaps"),
        "cu_per_simd_array": (slots, "compute_units.slots"),
        "mem_banks_count": (len(model.mem_banks), "the [[mem_banks]] tables"),
        "caches_count": (len(model.caches), "the [[caches]] tables and compute_units"),
        "gfx_target_version": (target_version(model.target), f"target {model.target}"),
        "wave_front_size": (row.wave_size, f"target {row.name}"),
        "lds_size_in_kb": (row.lds_bytes // 1024, f"target {row.name}"),
        "vendor_id": (model.pci["vendor"], "pci.vendor"),
        "device_id": (model.pci["device"], "pci.device"),
    }
    for key, (value, reason) in expected.items():
        if properties[key] != value:
            raise file.error(f"properties.{key}", f"is {properties[key]}, but {reason} makes it {value}")
    if "gpu_counter_freq" not in model.drm:
        raise file.error("drm.gpu_counter_freq", "is missing")
    _check_address_ranges(file, model.drm)
    engines = properties["num_sdma_engines"] + properties["num_sdma_xgmi_engines"]
    if engines and not properties["num_sdma_queues_per_engine"]:
        raise file.error("properties.num_sdma_queues_per_engine", f"is 0, but there are {engines} engines")
    if model.ip_versions["sdma"][0] != int(row.sdma.partition(".")[0]):
        raise file.error("ip_versions.sdma", f"is not one of SDMA {row.sdma}, which {row.name} has")
    if engines * properties["num_sdma_queues_per_engine"] > MAX_SDMA_QUEUES:
        raise file.error(
            "properties.num_sdma_queues_per_engine",
            f"makes more than {MAX_SDMA_QUEUES} queues of {engines} engines; amdkfd has no more",
        )
    step = model.bitmap_step
    if len(model.cu_bitmaps[0]) > 16 // step or len(model.cu_bitmaps[0][0]) > step:
        raise file.error(
            "compute_units.bitmaps", f"has more than {16 // step} engines of {step} arrays in an XCC"
        )


def _check_address_ranges(file: ModelFile, drm: Mapping[str, int]) -> None:
    """Refuse a GPU without addresses. The higher range may be absent, but not half of it."""
    for first, last, may_be_absent in (
        ("virtual_address_offset", "virtual_address_max", False),
        ("high_va_offset", "high_va_max", True),
    ):
        start, end = drm.get(first, 0), drm.get(last, 0)
        if start >= end and not (may_be_absent and start == end == 0):
            shown = f"is {end:#x}" if last in drm else "is missing"
            raise file.error(f"drm.{last}", f"{shown}, but must be above {first}, {start:#x}")


def load_model(path: Path, *, nearest_target: bool = False) -> Model:
    """Read a model file; raises `ModelFileError` that says file, key and reason.

    With `nearest_target` a model of an unknown stepping is like its nearest relative.
    """
    file = ModelFile(path)
    content = file.content
    known = {"name", "target", "marketing_name", "asic_name", "sources", "ip_versions", "pci", "properties"}
    known |= {"mem_banks", "compute_units", "caches", "links", "drm", "devices"}
    for key in content:
        if key not in known:
            raise file.error(key, f"is unknown; known: {', '.join(sorted(known))}")
    target = file.text("target")
    try:
        (nearest_family if nearest_target else family_by_version)(target_version(target))
    except UnknownFamilyError as error:
        raise file.error("target", str(error)) from error

    versions = {}
    for key, value in file.table("ip_versions", content).items():
        if key not in _IP_KEYS:
            raise file.error(f"ip_versions.{key}", f"is unknown; known: {', '.join(_IP_KEYS)}")
        if not isinstance(value, list) or [type(part) for part in value] != [int] * 3:
            raise file.error(f"ip_versions.{key}", f"must be three numbers, it is {value!r}")
        if not all(0 <= part <= IP_VERSION for part in value):
            raise file.error(f"ip_versions.{key}", f"must be numbers from 0 to {IP_VERSION}, it is {value!r}")
        versions[key] = (value[0], value[1], value[2])
    for key in _IP_KEYS:
        if key not in versions:
            raise file.error(f"ip_versions.{key}", "is missing")
    own = [key for key in PROPERTY_KEYS if key not in INSTANCE_KEYS]
    properties = file.numbers("properties", file.table("properties", content), own, model_ranges.PROPERTIES)
    banks = [
        file.numbers(f"mem_banks[{index}]", bank, MEM_BANK_KEYS, model_ranges.MEM_BANKS)
        for index, bank in enumerate(file.tables("mem_banks"))
    ]
    kinds = [
        CacheKind(**file.numbers(f"caches[{index}]", kind, CACHE_KEYS))
        for index, kind in enumerate(file.tables("caches"))
    ]
    for index, kind in enumerate(kinds):
        if kind.level not in (1, 2, 3) or not 1 <= kind.cus <= ENTRY_BITS:
            raise file.error(f"caches[{index}]", f"needs level 1, 2 or 3 and 1 to {ENTRY_BITS} cus")
    units = file.table("compute_units", content)
    for key in units:
        if key not in ("slots", "bitmaps"):
            raise file.error(f"compute_units.{key}", "is unknown; known: slots, bitmaps")
    slots = file.number("compute_units.slots", units.get("slots"), 1, ENTRY_BITS)
    bitmaps = file.bitmaps("compute_units.bitmaps", units.get("bitmaps"))
    for index, kind in enumerate(kinds):
        # Its place in the list is that of the first unit that shares it.
        if kind.level > 1 and not bitmaps[0][0][0] & ((1 << kind.cus) - 1):
            raise file.error(f"caches[{index}]", f"its {kind.cus} cus have no unit in the first array")
    links = {}
    link_tables = file.table("links", content)
    for name in link_tables:
        if name not in _LINK_KINDS:
            raise file.error(f"links.{name}", f"is unknown; known: {', '.join(_LINK_KINDS)}")
        links[name] = file.numbers(f"links.{name}", file.table(f"links.{name}", link_tables), LINK_KEYS)
    if "cpu" not in links:
        raise file.error("links.cpu", "is missing")
    model = Model(
        name=file.name("name"),
        target=target,
        marketing_name=file.text("marketing_name"),
        asic_name=file.text("asic_name"),
        properties={key: properties.get(key, 0) for key in PROPERTY_KEYS},
        mem_banks=tuple(banks),
        caches=cache_list(kinds, bitmaps, slots),
        links=links,
        pci=file.numbers("pci", file.table("pci", content), PCI_KEYS, model_ranges.PCI),
        drm=file.numbers("drm", file.table("drm", content), DRM_KEYS, model_ranges.DRM, optional=True),
        cu_bitmaps=bitmaps,
        ip_versions=versions,
        evidence=file.evidence,
        devices=file.number("devices", content["devices"], 1, MAX_DEVICES) if "devices" in content else 1,
    )
    _check_consistency(file, model, slots)
    return model


@functools.cache
def _load_known(path: Path) -> Model:
    return load_model(path)


def model_names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in DATA.glob("*.toml"))


def model_path(name: str) -> Path:
    """Return the file of a model that comes with the package."""
    return DATA / f"{name}.toml"


def models_of_target(target: str) -> list[Model]:
    """Return the models of a gfx target, by name; no other file is parsed."""
    line = f'\ntarget = "{target}"\n'
    return [_load_known(model_path(name)) for name in model_names() if line in model_path(name).read_text()]


def model(name_or_target: str) -> Model:
    """Return a model by name (`mi300x`), or the first of a gfx target (`gfx942`).

    Raises `UnknownModelError`.
    """
    names = model_names()
    if name_or_target in names:
        return _load_known(model_path(name_or_target))
    of_target = models_of_target(name_or_target)
    if of_target:
        return of_target[0]
    known = (_load_known(model_path(name)) for name in names)
    listed = ", ".join(f"{candidate.name} ({candidate.target})" for candidate in known)
    raise UnknownModelError(f"unknown software GPU {name_or_target!r}; known: {listed}")
