"""Variants of a model: what a machine, a firmware setting or a hypervisor makes of the same product.

`rx7900xtx+small-bar` is the model `rx7900xtx` with the option `small-bar`. An option changes facts that the
kernel publishes, as the named function of Linux 6.12 would compute them; all else follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_amdgpu.families.caches import CacheKind, cache_list
from pytest_amdgpu.families.models import Model, model, model_names

SEPARATOR = "+"
"""Stands before each option of a model."""

HEAP_PUBLIC, HEAP_PRIVATE = 1, 2
"""`heap_type` of VRAM that the CPU sees whole, and of VRAM behind a smaller BAR (kfd_crat.h)."""
_FUSION = 1
"""AMDGPU_IDS_FLAGS_FUSION of amdgpu_drm.h: the GPU is a part of an APU."""
_APU_MEMORY = 16 << 30
"""What an APU in a machine with 32 GiB lets its GPU have: half, as TTM limits it."""
_XGMI = 11
"""`type` of a link (HSA_IOLINK_TYPE_XGMI of kfd_crat.h)."""
_PARTITION_WEIGHT, _PARTITION_BANDWIDTH = 13, 819200


class VariantError(ValueError):
    """An option that there is not, or that a model cannot have; the message lists those that it can."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option of models: `refuse` says why a model cannot have it, if so; `apply` makes the variant."""

    name: str
    meaning: str
    refuse: Callable[[Model], str]
    apply: Callable[[Model], Model]


def _is_apu(original: Model) -> bool:
    return bool(original.drm.get("ids_flags", 0) & _FUSION)


def _heap(original: Model, heap_type: int) -> tuple[Mapping[str, int], ...]:
    return tuple({**bank, "heap_type": heap_type} for bank in original.mem_banks)


def _refuse_small_bar(original: Model) -> str:
    if _is_apu(original):
        return "its VRAM is memory of the system, with no BAR before it"
    if all(bank["heap_type"] == HEAP_PRIVATE for bank in original.mem_banks):
        return "its BAR is small already"
    return ""


def _small_bar(original: Model) -> Model:
    # One bank of the whole size, private (kfd_crat.c, kfd_create_vcrat_image_gpu). Links towards such a GPU,
    # what AMDGPU_INFO says of visible VRAM, and refusals follow from the heap.
    return replace(original, mem_banks=_heap(original, HEAP_PRIVATE))


def _refuse_apu(original: Model) -> str:
    if _is_apu(original):
        return "it is an APU already"
    if not original.family.kernel.graphics:
        return "an APU of this generation has another shape and other links (the MI300A)"
    return ""


def _apu(original: Model) -> Model:
    # One public bank as large as TTM lets system memory be used (amdgpu_amdkfd_get_local_mem_info with
    # apu_prefer_gtt); LPDDR5 is type 12 of amdgpu_drm.h.
    (bank, *_) = original.mem_banks
    drm = {**original.drm, "ids_flags": original.drm.get("ids_flags", 0) | _FUSION, "vram_type": 12}
    memory = {**bank, "heap_type": HEAP_PUBLIC, "size_in_bytes": _APU_MEMORY}
    return replace(
        original,
        properties={**original.properties, "mem_banks_count": 1},
        mem_banks=(memory,),
        drm=drm,
    )


def _refuse_no_sdma(original: Model) -> str:
    return "" if _sdma_engines(original.properties) else "it has no SDMA queue already"


def _sdma_engines(properties: Mapping[str, int]) -> int:
    return properties["num_sdma_engines"] + properties["num_sdma_xgmi_engines"]


def _no_sdma(original: Model) -> Model:
    # The engines of a device are its instances divided by its partitions and rounded down
    # (kfd_get_num_sdma_engines in kfd_device.c), so a virtual function with fewer instances than partitions
    # leaves none. The number of queues of each engine stays what it is.
    gone = {"num_sdma_engines": 0, "num_sdma_xgmi_engines": 0}
    return replace(original, properties={**original.properties, **gone})


def _parts(option: str, dies: int) -> int:
    """Return into how many devices a mode divides `dies` XCCs; 0 if it cannot.

    The conditions are those of __aqua_vanjaram_is_valid_mode (aqua_vanjaram.c).
    """
    possible = {"dpx": dies % 4 == 0, "qpx": dies // 4 >= 2 and dies % 4 == 0, "cpx": dies > 1}[option]
    return {"dpx": 2, "qpx": 4, "cpx": dies}[option] if possible else 0


def _refuse_partition(option: str, original: Model) -> str:
    dies = original.properties["num_xcc"]
    if original.devices > 1 or dies == 1:
        return "each of its devices is one die" if dies == 1 else "it is divided already"
    return "" if _parts(option, dies) else f"its {dies} dies cannot be divided so"


def _partition(option: str, original: Model) -> Model:
    """Return one of the equal devices that a mode makes of a GPU, with its share of the memory (NPS1).

    Each has the dies of the first. Numbers as in the measured model mi300x-cpx: engines by
    kfd_get_num_sdma_engines (instances divided by devices, at most two of them for PCIe), the links between
    devices of one GPU by kfd_fill_gpu_xgmi_link_to_gpu (kfd_crat.c).
    """
    if f"{original.name}-{option}" in model_names():
        return model(f"{original.name}-{option}")
    properties, dies = original.properties, original.properties["num_xcc"]
    parts = _parts(option, dies)
    bitmaps = original.cu_bitmaps[: dies // parts]
    kinds: list[CacheKind] = list(dict.fromkeys(cache.kind for cache in original.caches))
    caches = cache_list(kinds, bitmaps, properties["cu_per_simd_array"])
    units = sum(mask.bit_count() for xcc in bitmaps for engine in xcc for mask in engine)
    engines = _sdma_engines(properties) // parts
    changed = {
        "num_xcc": dies // parts,
        "simd_count": units * properties["simd_per_cu"],
        "array_count": properties["array_count"] // parts,
        "caches_count": len(caches),
        "num_sdma_engines": min(engines, 2),
        "num_sdma_xgmi_engines": engines - min(engines, 2),
    }
    link = {"type": _XGMI, "weight": _PARTITION_WEIGHT, "flags": 1}
    speed = dict.fromkeys(("min_bandwidth", "max_bandwidth"), _PARTITION_BANDWIDTH)
    return replace(
        original,
        properties={**properties, **changed},
        mem_banks=tuple(
            {**bank, "size_in_bytes": bank["size_in_bytes"] // parts} for bank in original.mem_banks
        ),
        caches=caches,
        links={**original.links, "xgmi": {**link, **speed}},
        drm={**original.drm, "cu_active_number": units},
        cu_bitmaps=bitmaps,
        devices=parts,
    )


def _partition_option(name: str, meaning: str) -> Option:
    return Option(
        name,
        meaning,
        lambda original: _refuse_partition(name, original),
        lambda original: _partition(name, original),
    )


OPTIONS = (
    _partition_option("dpx", "divided into two devices"),
    _partition_option("qpx", "divided into four devices"),
    _partition_option("cpx", "divided into one device for each XCC"),
    Option("apu", "a part of an APU, its memory that of the system", _refuse_apu, _apu),
    Option("small-bar", "the CPU sees only 256 MiB of VRAM", _refuse_small_bar, _small_bar),
    Option("no-sdma", "no SDMA queue is left for it", _refuse_no_sdma, _no_sdma),
)
"""All options, in the order in which they are applied and named."""


def variant(original: Model, names: Sequence[str]) -> Model:
    """Return a model with options, by their names in any order; raises `VariantError`."""
    known = {option.name: option for option in OPTIONS}
    for name in names:
        if name not in known:
            listed = ", ".join(f"{option.name} ({option.meaning})" for option in OPTIONS)
            raise VariantError(
                f"unknown option {name!r} of {original.name}; known: {listed}; {_possible(original)}"
            )
        if names.count(name) > 1:
            raise VariantError(f"option {name!r} of {original.name} is there {names.count(name)} times")
    changed = original
    for option in OPTIONS:
        if option.name not in names:
            continue
        reason = option.refuse(changed)
        if reason:
            raise VariantError(
                f"{changed.name} cannot have option {option.name!r}: {reason}; {_possible(changed)}"
            )
        name = f"{changed.name}{SEPARATOR}{option.name}"
        changed = replace(option.apply(changed), name=name, options=(*changed.options, option.name))
    return changed


def _possible(original: Model) -> str:
    possible = [option.name for option in OPTIONS if not option.refuse(original)]
    return f"{original.name} can have {', '.join(possible) or 'none'}"
