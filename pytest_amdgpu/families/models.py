"""Models of software GPUs: the topology of a real product, read from a file and checked.

A model file (families/data/*.toml, or a user's) gives every value with its source and says of each source
whether it was measured on hardware or derived. What belongs to one instance in one machine (place on
the bus, unique id, number of links) is not in the file; those properties are 0 in `Model.properties`.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_amdgpu.families.caches import Cache, CacheKind, cache_list
from pytest_amdgpu.families.registry import Family, UnknownFamilyError, family

DATA = Path(__file__).parent / "data"

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

_MEM_BANK_KEYS = ("heap_type", "size_in_bytes", "flags", "width", "mem_clk_max")
_CACHE_KEYS = ("level", "size", "line_size", "type", "cus")
_PCI_KEYS = ("vendor", "device", "subsystem_vendor", "subsystem_device", "revision", "class")
_LINK_KEYS = ("type", "weight", "min_bandwidth", "max_bandwidth", "flags")
_LINK_KINDS = ("cpu", "xgmi")
_IP_KEYS = ("gc", "sdma")
_DRM_KEYS = (
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


class ModelFileError(ValueError):
    """A model file is wrong; the message says file, key and reason."""

    def __init__(self, path: Path, key: str, reason: str) -> None:
        super().__init__(f"{path}: {key}: {reason}")
        self.path = path
        self.key = key


@dataclass(frozen=True)
class Model:
    """A product to make software GPUs of.

    `properties` are in the kernel's order, mem_banks and links hold the keys of their sysfs files that are
    not the machine's. `cu_bitmaps` are masks of active compute units by XCC, shader engine and shader
    array. `drm` holds fields of `drm_amdgpu_info_device` (those absent are 0; `cu_bitmap` and `device_id`
    follow from the rest). `evidence` says of each value `measured` or `derived`, by key path.
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

    @property
    def family(self) -> Family:
        """The row of the model's target."""
        return family(self.target)

    @property
    def gpu_counter_freq(self) -> int:
        """Frequency of the constant counter, in kHz."""
        return self.drm["gpu_counter_freq"]

    @property
    def cu_bitmap(self) -> list[list[int]]:
        """`cu_bitmap[4][4]` of drm_amdgpu_info_device: the first XCC only.

        The kernel folds engines beyond the fourth into further columns: [engine % 4][array + step *
        (engine / 4)] with a step of 1 on gfx9 (gfx_v9_0.c) and 2 on gfx10 and up (gfx_v11_0.c).
        """
        step = 1 if self.family.gfx_version[0] == 9 else 2
        folded = [[0] * 4 for _ in range(4)]
        for engine, arrays in enumerate(self.cu_bitmaps[0]):
            for array, mask in enumerate(arrays):
                folded[engine % 4][array + step * (engine // 4)] = mask
        return folded


class _File:
    """Reader of one model file: takes values out with their sources, and knows where it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.evidence: dict[str, str] = {}
        try:
            self.content = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ModelFileError(path, "file", str(error)) from error
        self.sources: dict[str, str] = {}
        for name, source in self.table("sources", self.content).items():
            if not isinstance(source, dict) or not source.get("text"):
                raise self.error(f"sources.{name}", "must be a table with kind and text")
            if source.get("kind") not in ("measured", "derived"):
                raise self.error(f"sources.{name}.kind", "must be measured or derived")
            self.sources[name] = str(source["kind"])

    def error(self, key: str, reason: str) -> ModelFileError:
        return ModelFileError(self.path, key, reason)

    def table(self, key: str, where: Mapping[str, object]) -> dict[str, object]:
        value = where.get(key.rpartition(".")[2])
        if not isinstance(value, dict):
            raise self.error(key, "is missing" if value is None else "must be a table")
        return value

    def tables(self, key: str) -> list[dict[str, object]]:
        value = self.content.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.error(key, f"must be one or more [[{key}]] tables")
        return value

    def text(self, key: str) -> str:
        value = self.content.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"must be a text, it is {value!r}")
        return value

    def sourced(self, key: str, value: object) -> object:
        """Take the value out of [value, source] and note what kind of source it has."""
        if not isinstance(value, list) or len(value) != 2:
            raise self.error(key, f"must be [value, source], it is {value!r}")
        if value[1] not in self.sources:
            raise self.error(key, f"names source {value[1]!r}; [sources] has {', '.join(self.sources)}")
        self.evidence[key] = self.sources[value[1]]
        return value[0]

    def number(self, key: str, value: object) -> int:
        number = self.sourced(key, value)
        if isinstance(number, bool) or not isinstance(number, int) or number < 0 or number >> 64:
            raise self.error(key, f"must be a number of 64 bits, it is {number!r}")
        return number

    def numbers(
        self, key: str, table: Mapping[str, object], known: Iterable[str], *, optional: bool = False
    ) -> dict[str, int]:
        """Take all of `known` out of a table, in that order; `optional` allows some to be absent."""
        known = tuple(known)
        for name in table:
            if name not in known:
                raise self.error(f"{key}.{name}", f"is unknown; known: {', '.join(known)}")
        for name in known:
            if name not in table and not optional:
                raise self.error(f"{key}.{name}", "is missing")
        return {name: self.number(f"{key}.{name}", table[name]) for name in known if name in table}

    def bitmaps(self, key: str, value: object) -> tuple[tuple[tuple[int, ...], ...], ...]:
        nested = self.sourced(key, value)
        try:
            result = tuple(tuple(tuple(array for array in engine) for engine in xcc) for xcc in nested)  # type: ignore[attr-defined]
        except TypeError:
            raise self.error(key, "must be masks nested by XCC, engine and array") from None
        masks = [mask for xcc in result for engine in xcc for mask in engine]
        if not masks or not all(isinstance(mask, int) and mask > 0 for mask in masks):
            raise self.error(key, "must be masks of at least one unit, nested by XCC, engine and array")
        if len({(len(xcc), len(engine)) for xcc in result for engine in xcc}) != 1:
            raise self.error(key, "must have the same number of engines and arrays everywhere")
        return result


def _check_consistency(file: _File, model: Model, slots: int) -> None:
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
        "gfx_target_version": (row.gfx_target_version, f"target {row.name}"),
        "wave_front_size": (row.wave_size, f"target {row.name}"),
        "lds_size_in_kb": (row.lds_bytes // 1024, f"target {row.name}"),
        "vendor_id": (model.pci["vendor"], "pci.vendor"),
        "device_id": (model.pci["device"], "pci.device"),
    }
    for key, (value, reason) in expected.items():
        if properties[key] != value:
            raise file.error(f"properties.{key}", f"is {properties[key]}, but {reason} makes it {value}")
    if not model.drm.get("gpu_counter_freq"):
        raise file.error("drm.gpu_counter_freq", "is missing or 0")


def load_model(path: Path) -> Model:
    """Read a model file; raises `ModelFileError` that says file, key and reason."""
    file = _File(path)
    content = file.content
    known = {"name", "target", "marketing_name", "asic_name", "sources", "ip_versions", "pci", "properties"}
    known |= {"mem_banks", "compute_units", "caches", "links", "drm"}
    for key in content:
        if key not in known:
            raise file.error(key, f"is unknown; known: {', '.join(sorted(known))}")
    target = file.text("target")
    try:
        family(target)
    except UnknownFamilyError as error:
        raise file.error("target", str(error)) from error

    versions = {}
    for key, value in file.table("ip_versions", content).items():
        if key not in _IP_KEYS or not isinstance(value, list) or [type(part) for part in value] != [int] * 3:
            raise file.error(f"ip_versions.{key}", f"must be one of {', '.join(_IP_KEYS)} with three numbers")
        versions[key] = (value[0], value[1], value[2])
    own = [key for key in PROPERTY_KEYS if key not in INSTANCE_KEYS]
    properties = file.numbers("properties", file.table("properties", content), own)
    banks = [
        file.numbers(f"mem_banks[{index}]", bank, _MEM_BANK_KEYS)
        for index, bank in enumerate(file.tables("mem_banks"))
    ]
    kinds = [
        CacheKind(**file.numbers(f"caches[{index}]", kind, _CACHE_KEYS))
        for index, kind in enumerate(file.tables("caches"))
    ]
    units = file.table("compute_units", content)
    slots = file.number("compute_units.slots", units.get("slots"))
    bitmaps = file.bitmaps("compute_units.bitmaps", units.get("bitmaps"))
    links = {}
    for kind in file.table("links", content):
        if kind not in _LINK_KINDS:
            raise file.error(f"links.{kind}", f"is unknown; known: {', '.join(_LINK_KINDS)}")
        links[kind] = file.numbers(
            f"links.{kind}", file.table(f"links.{kind}", file.table("links", content)), _LINK_KEYS
        )
    if "cpu" not in links:
        raise file.error("links.cpu", "is missing")
    model = Model(
        name=file.text("name"),
        target=target,
        marketing_name=file.text("marketing_name"),
        asic_name=file.text("asic_name"),
        properties={key: properties.get(key, 0) for key in PROPERTY_KEYS},
        mem_banks=tuple(banks),
        caches=cache_list(kinds, bitmaps, slots),
        links=links,
        pci=file.numbers("pci", file.table("pci", content), _PCI_KEYS),
        drm=file.numbers("drm", file.table("drm", content), _DRM_KEYS, optional=True),
        cu_bitmaps=bitmaps,
        ip_versions=versions,
        evidence=file.evidence,
    )
    _check_consistency(file, model, slots)
    return model


@functools.cache
def _load_known(path: Path) -> Model:
    return load_model(path)


def model_names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in DATA.glob("*.toml"))


def model(name_or_target: str) -> Model:
    """Return a model by name (`mi300x`) or by gfx target (`gfx942`); raises `UnknownModelError`."""
    names = model_names()
    if name_or_target in names:
        return _load_known(DATA / f"{name_or_target}.toml")
    known = [_load_known(DATA / f"{name}.toml") for name in names]
    for candidate in known:
        if candidate.target == name_or_target:
            return candidate
    listed = ", ".join(f"{candidate.name} ({candidate.target})" for candidate in known)
    raise UnknownModelError(f"unknown software GPU {name_or_target!r}; known: {listed}")
