"""Models against numbers measured on hardware, and what their files may not say."""

import contextlib
import random
import re

import pytest

from pytest_amdgpu.abi.drm_info import AmdgpuInfoDevice
from pytest_amdgpu.families.caches import CacheKind, cache_list
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.families.models import (
    DATA,
    INSTANCE_KEYS,
    PROPERTY_KEYS,
    UnknownModelError,
    load_model,
    model,
    model_names,
)
from pytest_amdgpu.families.queue_sizes import queue_sizes

# What the sysfs of these machines prints.
MEASURED = {
    "mi300x": {
        "simd_count": 1216,
        "caches_count": 626,
        "array_count": 32,
        "num_xcc": 8,
        "gfx_target_version": 90402,
        "num_sdma_xgmi_engines": 14,
        "capability": 746037888,
        "debug_prop": 1511,
        "num_cp_queues": 24,
    },
    "mi100": {
        "simd_count": 480,
        "caches_count": 217,
        "array_count": 8,
        "num_xcc": 1,
        "gfx_target_version": 90008,
        "num_sdma_xgmi_engines": 6,
        "capability": 749970048,
        "debug_prop": 1494,
        "num_cp_queues": 24,
    },
    "mi210": {
        "simd_count": 416,
        "caches_count": 217,
        "array_count": 8,
        "num_xcc": 1,
        "gfx_target_version": 90010,
        "num_sdma_xgmi_engines": 3,
        "capability": 746037888,
        "debug_prop": 470,
        "num_cp_queues": 24,
    },
    "mi300x-cpx": {
        "simd_count": 152,
        "caches_count": 80,
        "array_count": 4,
        "num_xcc": 1,
        "gfx_target_version": 90402,
        "num_sdma_xgmi_engines": 0,
        "capability": 2893521536,
        "debug_prop": 1511,
        "num_cp_queues": 24,
    },
    "mi350x": {
        "simd_count": 1024,
        "array_count": 32,
        "num_xcc": 8,
        "lds_size_in_kb": 160,
        "gfx_target_version": 90500,
        "num_sdma_xgmi_engines": 14,
        "capability": 2889327232,
        "debug_prop": 1494,
    },
    "r9700": {
        "simd_count": 128,
        "array_count": 8,
        "simd_arrays_per_engine": 2,
        "cu_per_simd_array": 8,
        "gfx_target_version": 120001,
        "fw_version": 3010,
    },
    "rx7900xtx": {
        "simd_count": 192,
        "caches_count": 206,
        "array_count": 12,
        "num_xcc": 1,
        "gfx_target_version": 110000,
        "num_sdma_xgmi_engines": 0,
        "capability": 671588992,
        "debug_prop": 1495,
        "num_cp_queues": 8,
    },
}


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_model_has_the_measured_properties(name):
    found = model(name)
    assert {key: found.properties[key] for key in MEASURED[name]} == MEASURED[name]
    assert all(found.evidence[f"properties.{key}"] == "measured" for key in MEASURED[name])


@pytest.mark.parametrize("name", model_names())
def test_model_is_complete(name):
    found = model(name)
    assert found.name == name
    assert tuple(found.properties) == PROPERTY_KEYS
    assert all(found.properties[key] == 0 for key in INSTANCE_KEYS)
    assert found.family.name == found.target
    assert model(found.target).target == found.target
    fields = {field[0] for field in AmdgpuInfoDevice._fields_}
    assert set(found.drm) <= fields
    assert {"cpu"} <= set(found.links) <= {"cpu", "xgmi"}
    assert set(found.evidence.values()) <= {"measured", "derived"}
    assert found.gpu_counter_freq == 100_000
    units = sum(mask.bit_count() for row in found.cu_bitmap for mask in row)
    assert units * found.properties["num_xcc"] == found.drm["cu_active_number"]
    assert found.properties["simd_count"] == found.drm["cu_active_number"] * found.properties["simd_per_cu"]


def test_bitmap_folds_engines_beyond_the_fourth():
    # gfx_v11_0.c puts engine 4 and 5 of a 7900 XTX into columns 2 and 3 of rows 0 and 1.
    assert model("rx7900xtx").cu_bitmap == [[255] * 4, [255] * 4, [255, 255, 0, 0], [255, 255, 0, 0]]
    assert [row[1:] for row in model("mi300x").cu_bitmap] == [[0, 0, 0]] * 4


# One XCC of an MI308X: units by slot, and its cache list, both as its sysfs prints them.
MI308_BITMAPS = [[[0b0000011111], [0b0000101111], [0b0000011111], [0b0000101111]]]
MI308_FIRST_LEVEL = [0, 1, 2, 3, 4, 10, 11, 12, 13, 15, 20, 21, 22, 23, 24, 30, 31, 32, 33, 35]
MI308_PAIRS = [
    *[(0, "11"), (2, "11"), (4, "1"), (10, "11"), (12, "11"), (15, "1")],
    *[(20, "11"), (22, "11"), (24, "1"), (30, "11"), (32, "11"), (35, "1")],
]
MI308_SHARED = ["11111", "11111", "111101", "11111"]


def test_cache_list_is_that_of_a_real_machine():
    kinds = [CacheKind(1, 32, 0, 9, 1), CacheKind(1, 64, 0, 10, 2), CacheKind(2, 4096, 0, 9, 10)]
    caches = cache_list(kinds, MI308_BITMAPS, slots=10)
    by_kind = {kind: [cache for cache in caches if cache.kind is kind] for kind in kinds}
    assert [cache.first_slot for cache in by_kind[kinds[0]]] == MI308_FIRST_LEVEL
    assert [
        (cache.first_slot, "".join(map(str, cache.sibling_map)).rstrip("0")) for cache in by_kind[kinds[1]]
    ] == MI308_PAIRS
    (shared,) = by_kind[kinds[2]]
    flags = "".join(map(str, shared.sibling_map))
    assert [flags[start : start + 32].rstrip("0") for start in range(0, len(flags), 32)] == MI308_SHARED


def test_cache_properties_are_in_the_order_of_the_kernel():
    found = model("mi300x").caches[0].properties(0x80001000)
    assert list(found) == [
        *["processor_id_low", "level", "size", "cache_line_size", "cache_lines_per_tag"],
        *["association", "latency", "type", "sibling_map"],
    ]
    assert found["processor_id_low"] == 0x80001000
    assert found["sibling_map"] == "1" + ",0" * 31


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("gfx908", "mi100"),
        ("gfx90a", "mi210"),
        ("gfx942", "mi300x"),
        ("gfx950", "mi350x"),
        ("gfx1010", "rx5700xt"),
        ("gfx1030", "rx6900xt"),
        ("gfx1100", "rx7900xtx"),
        ("gfx1151", "strixhalo"),
        ("gfx1200", "rx9060xt"),
        ("gfx1201", "r9700"),
    ],
)
def test_a_target_stands_for_its_first_model(target, name):
    assert model(target).name == name


def test_products_of_several_devices():
    assert {name: model(name).devices for name in model_names() if model(name).devices > 1} == {
        "mi250x": 2,
        "mi300x-cpx": 8,
    }
    # What amdkfd gives a partition is its share of the memory.
    whole, part = model("mi300x").mem_banks[0], model("mi300x-cpx").mem_banks[0]
    assert part["size_in_bytes"] * 8 == whole["size_in_bytes"]


# Sizes of the save area by sysfs on an R9700 (kernel with commit 71776e0965f9); the others by hand from
# kfd_queue.c of Linux 6.12, with the change for gfx1151 of commit b42f3bf9536c.
SAVE_AREAS = {
    "mi210": (36864, 63508480, 63639552),
    "mi250x": (36864, 67170304, 67301376),
    "mi300x-cpx": (12288, 23203840, 23252992),
    "mi350x": (12288, 22687744, 181829632),
    "rx5700xt": (16384, 13942784, 13983744),
    "rx6900xt": (28672, 27881472, 27963392),
    "rx7900xtx": (40960, 46047232, 46145536),
    "strixhalo": (16384, 19185664, 19226624),
    "rx9060xt": (16384, 15351808, 15384576),
    "rx9070xt": (28672, 30699520, 30765056),
    "r9700": (28672, 30699520, 30765056),
}


@pytest.mark.parametrize("name", sorted(SAVE_AREAS))
def test_queue_sizes_of_the_models(name):
    sizes = queue_sizes(model(name).properties)
    assert (sizes.ctl_stack_size, sizes.cwsr_size, sizes.cwsr_mapping_size) == SAVE_AREAS[name]


def test_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(
        UnknownModelError, match=r"'mi400'; known: mi100 \(gfx908\), mi210 \(gfx90a\), mi250x "
    ):
        model("mi400")


@pytest.fixture(scope="module")
def good_text():
    return (DATA / "rx7900xtx.toml").read_text()


# What is changed in a good file, and what the error must say.
CHANGES = [
    ("", "[broken", r"file: is not TOML: .*line 1, column"),
    (
        r'^target = "gfx1100"',
        'target = "gfx1106"',
        r"target: unknown gfx target 'gfx1106' .*; known: .*; its nearest relative is gfx1103",
    ),
    (r'^target = "gfx1100"', 'target = "gfx"', "target: 'gfx' is not a gfx target; known: gfx908, gfx90a, "),
    (r"^name = .*$", "", "name: must be a text, it is None"),
    (r"^marketing_name = .*$", "marketing_name = 7", "marketing_name: must be a text, it is 7"),
    (r'^kind = "measured"$', 'kind = "guessed"', "sources.dump.kind: must be measured or derived"),
    (
        r"^simd_count = .*$",
        'simd_count = [190, "dump"]',
        "properties.simd_count: is 190, but 96 units .* makes it 192",
    ),
    (
        r"^simd_count = .*$",
        "simd_count = 192",
        r"properties.simd_count: must be \[value, source\], it is 192",
    ),
    (r"^simd_count = .*$", 'simd_count = [192, "web"]', "properties.simd_count: names source 'web'"),
    (
        r"^simd_count = .*$",
        'simd_count = [-1, "dump"]',
        "properties.simd_count: must be a number of 32 bits, it is -1",
    ),
    (r"^simd_count = .*$", 'simd_count = [true, "dump"]', "properties.simd_count: must be a number"),
    (r"^simd_count = .*$", "", "properties.simd_count: is missing"),
    (r"^simd_count", "simd_counts", "properties.simd_counts: is unknown; known: cpu_cores_count"),
    (
        r"^caches_count = .*$",
        'caches_count = [205, "dump"]',
        "properties.caches_count: is 205, but .* makes it 206",
    ),
    (
        r'^wave_front_size = \[32, "dump"\]\narray',
        'wave_front_size = [64, "dump"]\narray',
        "but target gfx1100 makes it 32",
    ),
    (
        r"^lds_size_in_kb = .*$",
        'lds_size_in_kb = [160, "dump"]',
        "lds_size_in_kb: is 160, but target gfx1100",
    ),
    (
        r"^num_xcc = .*$",
        'num_xcc = [2, "dump"]',
        "properties.num_xcc: is 2, but compute_units.bitmaps makes it 1",
    ),
    (
        r"^device_id = .*$",
        'device_id = [1, "dump"]',
        "properties.device_id: is 1, but pci.device makes it 29772",
    ),
    (r"^slots = .*$", 'slots = [7, "dump"]', "properties.cu_per_simd_array: is 8, but compute_units.slots"),
    (r"0xff, 0xff\], \[0xff", "0xff], [0xff", "compute_units.bitmaps: must have the same number of engines"),
    (r"0xff", '"x"', "compute_units.bitmaps: must be masks of 1 to 32 units"),
    (
        r"^bitmaps = \[\[",
        "bitmaps = [[[1,2],",
        r"compute_units.bitmaps: must be masks nested|must be \[value",
    ),
    (r"^gpu_counter_freq = .*$", "", "drm.gpu_counter_freq: is missing"),
    (r"^gpu_counter_freq", "gpu_frequency", "drm.gpu_frequency: is unknown"),
    (r"^\[links.cpu\]", "[links.nvlink]", "links.nvlink: is unknown; known: cpu, xgmi"),
    (r"^gc = .*$", "gc = [11, 0]", r"ip_versions.gc: must be three numbers, it is \[11, 0\]"),
    (r"^cus = .*$", 'cus = [0, "kernel"]', r"caches\[0\]: needs level 1, 2 or 3 and 1 to 32 cus"),
    (r"^slots = .*$", 'slots = [99, "dump"]', "compute_units.slots: must be a number from 1 to 32, it is 99"),
    (r"^\[drm\]", "[extra]", "extra: is unknown; known: "),
    (r"^asic_name", 'devices = [9, "dump"]\nasic_name', "devices: must be a number from 1 to 8, it is 9"),
    (r"^heap_type = .*$", "", r"mem_banks\[0\].heap_type: is missing"),
    (r"^\[compute_units\]", "[compute_unit]", "compute_unit: is unknown"),
]


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"), CHANGES, ids=[change[1] or change[0] for change in CHANGES]
)
def test_wrong_file_is_refused_with_file_key_and_reason(pattern, replacement, message, good_text, tmp_path):
    path = tmp_path / "mine.toml"
    text = re.sub(pattern, lambda _: replacement, good_text, count=1, flags=re.MULTILINE)
    assert text != good_text
    path.write_text(text)
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load_model(tmp_path / "none.toml")


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000], ids=["digits", "depth"])
def test_what_python_cannot_read_is_refused(value, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(f"devices = {value}")
    with pytest.raises(ModelFileError, match=r"mine\.toml: file: .*([Ll]imit|nested too deeply)"):
        load_model(path)


def test_a_long_value_is_shortened(good_text, tmp_path):
    path = tmp_path / "mine.toml"
    for value, shown in (
        ("0x" + "1" * 5000, "a number too long to print"),
        ('"' + "x" * 999 + '"', "'x{99}[.]{3}"),
    ):
        path.write_text(re.sub(r"^slots = .*$", f'slots = [{value}, "dump"]', good_text, flags=re.MULTILINE))
        with pytest.raises(ModelFileError, match=f"compute_units.slots: must be .*, it is {shown}$"):
            load_model(path)


def test_a_shared_cache_without_a_unit_is_refused(good_text, tmp_path):
    path = tmp_path / "mine.toml"
    before, level, shared = good_text.replace("[[0xff, 0xff], [0xff", "[[0xfe, 0xff], [0xff", 1).partition(
        "level = [2"
    )
    path.write_text(before + level + re.sub(r"^cus = \[\d+", "cus = [1", shared, count=1, flags=re.MULTILINE))
    with pytest.raises(ModelFileError, match=r"caches\[\d\]: its 1 cus have no unit in the first array"):
        load_model(path)


def test_units_beyond_the_slots_are_refused(good_text, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(good_text.replace("[[0xff, 0xff], [0xff", "[[0x17f, 0xff], [0xff", 1))
    with pytest.raises(ModelFileError, match=r"compute_units\.bitmaps: has units beyond the 8 slots"):
        load_model(path)


def test_random_damage_is_refused_or_harmless(good_text, tmp_path):
    rng = random.Random(7)
    path = tmp_path / "mine.toml"
    values = ["0", "-1", "1e9", '"x"', "[]", "{}", "true", "99999999999999999999", "[1, 2]", "[[1], 'dump']"]
    lines = good_text.splitlines()
    refused = 0
    for _ in range(150):
        damaged = list(lines)
        number = rng.randrange(len(lines))
        key, equals, rest = lines[number].partition(" = ")
        value = rng.choice(values)
        damaged[number] = f"{key} = {rng.choice([value, f'[{value}, {rest[-8:-2]}'])}" if equals else value
        path.write_text("\n".join(damaged))
        with contextlib.suppress(ModelFileError):
            load_model(path)
            continue
        refused += 1
    assert refused > 100
