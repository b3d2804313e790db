"""Options of models: what each changes, and which models cannot have it."""

from __future__ import annotations

import pytest

from pytest_amdgpu.families.models import Model, model, model_names
from pytest_amdgpu.families.variants import OPTIONS, VariantError, variant


def changed_fields(original: Model, other: Model) -> set[str]:
    fields = set(original.__dataclass_fields__) - {"name", "options"}
    return {name for name in fields if getattr(original, name) != getattr(other, name)}


def changed_properties(original: Model, other: Model) -> dict[str, int]:
    return {key: value for key, value in other.properties.items() if value != original.properties[key]}


def test_a_variant_is_named_after_its_options_in_one_order() -> None:
    one, other = (
        variant(model("mi300x"), names) for names in (["no-sdma", "small-bar"], ["small-bar", "no-sdma"])
    )
    assert one == other
    assert one.name == "mi300x+small-bar+no-sdma"
    assert one.options == ("small-bar", "no-sdma")
    assert variant(model("mi300x"), []) is model("mi300x")


@pytest.mark.parametrize("name", ["rx7900xtx", "mi300x", "mi250x", "mi300x-cpx"])
def test_small_bar_makes_the_bank_private_and_nothing_else(name: str) -> None:
    small = variant(model(name), ["small-bar"])
    assert changed_fields(model(name), small) == {"mem_banks"}
    # HSA_MEM_HEAP_TYPE_FB_PRIVATE of kfd_crat.h is 2.
    assert [dict(bank) for bank in small.mem_banks] == [
        {**bank, "heap_type": 2} for bank in model(name).mem_banks
    ]


@pytest.mark.parametrize("name", model_names())
def test_no_sdma_takes_all_engines_and_nothing_else(name: str) -> None:
    bare = variant(model(name), ["no-sdma"])
    assert changed_fields(model(name), bare) == {"properties"}
    assert set(changed_properties(model(name), bare).values()) == {0}
    assert bare.properties["num_sdma_engines"] == bare.properties["num_sdma_xgmi_engines"] == 0
    assert bare.properties["num_sdma_queues_per_engine"] > 0


def test_apu_has_system_memory_and_says_so() -> None:
    apu = variant(model("rx7900xtx"), ["apu"])
    assert changed_fields(model("rx7900xtx"), apu) == {"mem_banks", "drm"}
    # AMDGPU_IDS_FLAGS_FUSION and AMDGPU_VRAM_TYPE_LPDDR5 of amdgpu_drm.h, as Strix Halo has them.
    for key, value in (("ids_flags", 1), ("vram_type", 12)):
        assert apu.drm[key] == model("strixhalo").drm[key] == value
    assert [(bank["heap_type"], bank["size_in_bytes"]) for bank in apu.mem_banks] == [(1, 1 << 34)]


# Of an MI300X in CPX mode, as its sysfs prints them (ROCm/k8s-device-plugin, testdata/topo-mi300-cpx).
MEASURED_CPX = {
    "simd_count": 152,
    "array_count": 4,
    "caches_count": 80,
    "num_xcc": 1,
    "num_sdma_engines": 2,
    "num_sdma_xgmi_engines": 0,
    "num_sdma_queues_per_engine": 8,
    "num_cp_queues": 24,
    "cu_per_simd_array": 10,
    "simd_arrays_per_engine": 1,
}


def test_the_rule_of_partitions_gives_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_amdgpu.families.variants.model_names", list)
    derived, measured = variant(model("mi300x"), ["cpx"]), model("mi300x-cpx")
    assert {key: derived.properties[key] for key in MEASURED_CPX} == MEASURED_CPX
    # The two were measured on machines with different firmware and CPUs.
    assert set(changed_properties(derived, measured)) <= {
        *("fw_version", "sdma_fw_version", "capability", "max_engine_clk_ccompute")
    }
    for name in ("mem_banks", "caches", "cu_bitmaps", "drm", "devices"):
        assert getattr(derived, name) == getattr(measured, name), name
    assert derived.links["xgmi"] == measured.links["xgmi"]


def test_a_measured_partition_is_taken_where_there_is_one() -> None:
    cpx = variant(model("mi300x"), ["cpx"])
    assert changed_fields(model("mi300x-cpx"), cpx) == set()
    assert cpx.name == "mi300x+cpx"


@pytest.mark.parametrize(
    ("option", "devices", "dies", "engines"),
    # 16 SDMA instances, divided by devices; two of each device's are for PCIe.
    [("dpx", 2, 4, (2, 6)), ("qpx", 4, 2, (2, 2)), ("cpx", 8, 1, (2, 0))],
)
def test_partitions_of_a_gpu_of_eight_dies(
    option: str, devices: int, dies: int, engines: tuple[int, int]
) -> None:
    whole, part = model("mi350x"), variant(model("mi350x"), [option])
    assert part.devices == devices
    assert part.properties["num_xcc"] == len(part.cu_bitmaps) == dies
    assert part.properties["simd_count"] * devices == whole.properties["simd_count"]
    assert part.properties["array_count"] * devices == whole.properties["array_count"]
    assert part.properties["caches_count"] == len(part.caches)
    assert part.drm["cu_active_number"] * devices == whole.drm["cu_active_number"]
    assert part.mem_banks[0]["size_in_bytes"] * devices == whole.mem_banks[0]["size_in_bytes"]
    names = ("num_sdma_engines", "num_sdma_xgmi_engines")
    assert tuple(part.properties[name] for name in names) == engines


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("strixhalo", ["small-bar"], "cannot have option 'small-bar': its VRAM is memory of the system"),
        ("rx7900xtx", ["apu", "small-bar"], r"rx7900xtx\+apu cannot have option 'small-bar': its VRAM is"),
        ("strixhalo", ["apu"], "cannot have option 'apu': it is an APU already; strixhalo can have no-sdma$"),
        ("mi300x", ["apu"], "cannot have option 'apu': an APU of this generation has another shape"),
        (
            "rx7900xtx",
            ["cpx"],
            "'cpx': each of its devices is one die; rx7900xtx can have apu, small-bar, no",
        ),
        ("mi250x", ["cpx"], "'cpx': each of its devices is one die"),
        ("mi300x", ["dpx", "cpx"], r"mi300x\+dpx cannot have option 'cpx': it is divided already"),
        (
            "mi300x",
            ["fast"],
            r"unknown option 'fast' of mi300x; known: dpx \(divided .*; mi300x can have dpx, ",
        ),
        ("mi300x", [""], "unknown option '' of mi300x"),
        ("mi300x", ["cpx", "cpx"], "option 'cpx' of mi300x is there 2 times"),
    ],
)
def test_an_option_that_cannot_be_had_is_told_with_those_that_can(
    name: str, options: list[str], message: str
) -> None:
    with pytest.raises(VariantError, match=message):
        variant(model(name), options)


def test_options_that_a_variant_has_already_are_refused() -> None:
    for option, message in (
        ("small-bar", "its BAR is small already"),
        ("no-sdma", "has no SDMA queue already"),
    ):
        once = variant(model("mi300x"), [option])
        with pytest.raises(VariantError, match=message):
            variant(once, [option])


def test_every_option_is_explained() -> None:
    assert all(option.meaning for option in OPTIONS)
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)
