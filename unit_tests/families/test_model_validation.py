"""What a model file may not say, level by level: the message has the file, the key and the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_amdgpu.abi.drm_info import AmdgpuInfoDevice
from pytest_amdgpu.families import model_ranges
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.families.models import DATA, DRM_KEYS, Model, load_model


@pytest.fixture(scope="module")
def good_text() -> str:
    return (DATA / "mi300x.toml").read_text()


def load(text: str | bytes, directory: Path) -> Model:
    path = directory / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_model(path)


def refusal(text: str | bytes, directory: Path) -> str:
    """What is said of a file, without its path."""
    with pytest.raises(ModelFileError) as caught:
        load(text, directory)
    path, _, said = str(caught.value).partition(": ")
    assert path == str(directory / "mine.toml")
    assert said.startswith(f"{caught.value.key}: ")
    return said


def test_a_good_file_is_good(good_text: str, tmp_path: Path) -> None:
    assert load(good_text, tmp_path).name == "mi300x"


# Value of a line of the good file, and what must be said of it.
VALUES = [
    (
        "name",
        '"two words"',
        "name: must be letters, digits, and . _ - after the first of them, it is 'two words'",
    ),
    ("name", '"a+b"', "name: must be letters, digits"),
    ("name", '"a,b"', "name: must be letters, digits"),
    ("name", '"a:2"', "name: must be letters, digits"),
    ("name", '"../x"', "name: must be letters, digits"),
    ("name", '""', "name: must be a text, it is ''"),
    ("name", "nan", "name: must be a text, it is nan"),
    ("target", '"gfx"', "target: 'gfx' is not a gfx target; known: gfx908, "),
    ("target", "942", "target: must be a text, it is 942"),
    (
        "marketing_name",
        r'"two\nlines"',
        r"marketing_name: must be one line of printable characters, it is 'two\n",
    ),
    ("asic_name", r'"\u0007"', "asic_name: must be one line of printable characters"),
    ("text", "7", "sources.dump.text: must be a text, it is 7"),
    ("text", '""', "sources.dump.text: must be a text, it is ''"),
    ("kind", '"guessed"', "sources.dump.kind: must be measured or derived, it is 'guessed'"),
    ("kind", "[1]", "sources.dump.kind: must be measured or derived, it is [1]"),
    ("gc", "[9, 4, -3]", "ip_versions.gc: must be numbers from 0 to 255, it is [9, 4, -3]"),
    ("gc", "[9, 4, 256]", "ip_versions.gc: must be numbers from 0 to 255, it is [9, 4, 256]"),
    ("gc", "[9, 4, true]", "ip_versions.gc: must be three numbers, it is [9, 4, True]"),
    ("gc", "nan", "ip_versions.gc: must be three numbers, it is nan"),
    ("vendor", '[0x11002, "dump"]', "pci.vendor: must be a number of 16 bits, it is 69634"),
    ("revision", '[256, "host"]', "pci.revision: must be a number of 8 bits, it is 256"),
    ("class", '[-1, "host"]', "pci.class: must be a number of 24 bits, it is -1"),
    ("simd_count", '[nan, "dump"]', "properties.simd_count: must be a number of 32 bits, it is nan"),
    ("simd_count", '[1216.0, "dump"]', "properties.simd_count: must be a number of 32 bits, it is 1216.0"),
    ("simd_count", '["1216", "dump"]', "properties.simd_count: must be a number of 32 bits, it is '1216'"),
    ("simd_count", '[true, "dump"]', "properties.simd_count: must be a number of 32 bits, it is True"),
    (
        "simd_count",
        '[4294967296, "dump"]',
        "properties.simd_count: must be a number of 32 bits, it is 4294967296",
    ),
    ("simd_count", "[1216]", "properties.simd_count: must be [value, source], it is [1216]"),
    ("simd_count", "2024-01-01", "properties.simd_count: must be [value, source], it is datetime.date"),
    ("simd_count", "{a = 1}", "properties.simd_count: must be [value, source], it is {'a': 1}"),
    ("simd_count", "[1216, 7]", "properties.simd_count: names source 7; [sources] has dump, "),
    ("simd_count", '[1216, ["dump"]]', "properties.simd_count: names source ['dump']; [sources] has dump, "),
    ("simd_per_cu", '[0, "dump"]', "properties.simd_per_cu: must be a number from 1 to 16, it is 0"),
    (
        "max_waves_per_simd",
        '[0, "dump"]',
        "properties.max_waves_per_simd: must be a number from 1 to 64, it is 0",
    ),
    (
        "max_slots_scratch_cu",
        '[0, "dump"]',
        "properties.max_slots_scratch_cu: must be a number from 1 to 1024",
    ),
    (
        "local_mem_size",
        f'[{1 << 64}, "dump"]',
        "properties.local_mem_size: must be a number of 64 bits, it is",
    ),
    (
        "num_sdma_queues_per_engine",
        '[1000000, "dump"]',
        "properties.num_sdma_queues_per_engine: makes more than 128 queues of 16 engines; amdkfd has no more",
    ),
    (
        "num_sdma_queues_per_engine",
        '[0, "dump"]',
        "properties.num_sdma_queues_per_engine: is 0, but there are 16 engines",
    ),
    ("num_cp_queues", '[0, "dump"]', "properties.num_cp_queues: must be a number from 1 to 1024, it is 0"),
    ("sdma", "[6, 0, 0]", "ip_versions.sdma: is not one of SDMA 4.4, which gfx942 has"),
    (
        "gfx_target_version",
        '[90403, "dump"]',
        "properties.gfx_target_version: is 90403, but target gfx942 makes",
    ),
    ("heap_type", '[3, "kernel"]', "mem_banks[0].heap_type: must be a number from 1 to 2, it is 3"),
    (
        "size_in_bytes",
        '[0, "rocminfo"]',
        "mem_banks[0].size_in_bytes: must be a number from 67108864 to 1407374883",
    ),
    (
        "size_in_bytes",
        f'[{1 << 60}, "rocminfo"]',
        "mem_banks[0].size_in_bytes: must be a number from 67108864",
    ),
    ("slots", '[33, "dump"]', "compute_units.slots: must be a number from 1 to 32, it is 33"),
    ("slots", '[10, "dump"]\nspare = 1', "compute_units.spare: is unknown; known: slots, bitmaps"),
    ("level", '[4, "mi308"]', "caches[0]: needs level 1, 2 or 3"),
    ("weight", '[4294967296, "mi308"]', "links.cpu.weight: must be a number of 32 bits"),
    (
        "gpu_counter_freq",
        '[0, "dump"]',
        "drm.gpu_counter_freq: must be a number from 1 to 4294967295, it is 0",
    ),
    ("family", f'[{1 << 32}, "kernel"]', "drm.family: must be a number of 32 bits"),
    (
        "virtual_address_max",
        '[0, "kernel"]',
        "drm.virtual_address_max: is 0x0, but must be above virtual_address_offset, 0x10000",
    ),
    (
        "virtual_address_max",
        '[0x10000, "kernel"]',
        "drm.virtual_address_max: is 0x10000, but must be above virtual_address_offset, 0x10000",
    ),
    (
        "high_va_max",
        '[0, "kernel"]',
        "drm.high_va_max: is 0x0, but must be above high_va_offset, 0xffff800000000000",
    ),
    ("high_va_max", f'[{1 << 64}, "kernel"]', "drm.high_va_max: must be a number of 64 bits"),
]


@pytest.mark.parametrize(("key", "value", "message"), VALUES, ids=[f"{row[0]}={row[1]}" for row in VALUES])
def test_a_value(key: str, value: str, message: str, good_text: str, tmp_path: Path) -> None:
    text, count = re.subn(rf"(?m)^{key} = .*$", lambda _: f"{key} = {value}", good_text, count=1)
    assert count == 1
    assert message in refusal(text, tmp_path)


# A table of the good file, and a key in it that is not known or is missing.
TABLES = [
    ("[sources.dump]", "sources.dump: must be a table with kind and text, and nothing else"),
    ("[ip_versions]", "ip_versions.extra: is unknown; known: gc, sdma"),
    ("[pci]", "pci.extra: is unknown; known: vendor, device, "),
    ("[properties]", "properties.extra: is unknown; known: cpu_cores_count, "),
    ("[[mem_banks]]", "mem_banks[0].extra: is unknown; known: heap_type, size_in_bytes, "),
    ("[compute_units]", "compute_units.extra: is unknown; known: slots, bitmaps"),
    ("[[caches]]", "caches[0].extra: is unknown; known: level, size, "),
    ("[links.cpu]", "links.cpu.extra: is unknown; known: type, weight, "),
    ("[drm]", "drm.extra: is unknown; known: chip_rev, "),
]


@pytest.mark.parametrize(("table", "message"), TABLES)
def test_an_unknown_key_at_every_level(table: str, message: str, good_text: str, tmp_path: Path) -> None:
    text = good_text.replace(table, f'{table}\nextra = [1, "dump"]', 1)
    assert message in refusal(text, tmp_path)


def test_an_unknown_key_at_the_top_and_a_table_that_is_none(good_text: str, tmp_path: Path) -> None:
    assert refusal(f"extra = 1\n{good_text}", tmp_path).startswith(
        "extra: is unknown; known: asic_name, caches"
    )
    without = re.sub(r"(?s)\[pci\].*?\n\n", "\n", good_text, count=1)
    assert refusal(without, tmp_path) == "pci: is missing"
    assert refusal(f"pci = 7\n{without}", tmp_path) == "pci: must be a table"
    banks = re.sub(r"(?s)\[\[mem_banks\]\].*?\n\n", "\n", good_text, count=1)
    assert refusal(banks, tmp_path) == "mem_banks: must be one or more [[mem_banks]] tables"
    assert (
        refusal(f"mem_banks = [1]\n{banks}", tmp_path)
        == "mem_banks: must be one or more [[mem_banks]] tables"
    )


def test_a_gpu_without_an_end_of_its_addresses(good_text: str, tmp_path: Path) -> None:
    text = re.sub(r"(?m)^virtual_address_max = .*$", "", good_text, count=1)
    reason = "is missing, but must be above virtual_address_offset, 0x10000"
    assert refusal(text, tmp_path) == f"drm.virtual_address_max: {reason}"


def test_a_gpu_without_higher_addresses(good_text: str, tmp_path: Path) -> None:
    text = re.sub(r"(?m)^high_va_(offset|max) = .*$", "", good_text, count=2)
    assert "high_va_max" not in load(text, tmp_path).drm


@pytest.mark.parametrize("key", ["gc", "sdma"])
def test_a_version_that_is_missing(key: str, good_text: str, tmp_path: Path) -> None:
    text = re.sub(rf"(?m)^{key} = .*$", "", good_text, count=1)
    assert refusal(text, tmp_path) == f"ip_versions.{key}: is missing"


def test_more_engines_than_the_kernel_has_bits_for(good_text: str, tmp_path: Path) -> None:
    # cu_bitmap of drm_amdgpu_info_device is 4 by 4: on gfx9 sixteen engines of one array.
    engines = ", ".join(["[0x1ff, 0x3ff]"] * 2)
    text = re.sub(r'(?s)bitmaps = \[\[.*?\], "kernel"\]', f'bitmaps = [[[{engines}]], "dump"]', good_text)
    for key, value in (
        ("simd_count", 4 * 38),
        ("array_count", 4),
        ("simd_arrays_per_engine", 2),
        ("num_xcc", 1),
    ):
        text = re.sub(rf"(?m)^{key} = \[\d+,", f"{key} = [{value},", text)
    caches = re.search(r"but the \[\[caches\]\] .* makes it (\d+)", refusal(text, tmp_path))
    assert caches
    text = re.sub(r"(?m)^caches_count = \[\d+,", f"caches_count = [{caches[1]},", text)
    assert refusal(text, tmp_path) == "compute_units.bitmaps: has more than 16 engines of 1 arrays in an XCC"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "file: is not UTF-8 text, see line 1: "),
        (b'name = "x"\n# caf\xe9\n', "file: is not UTF-8 text, see line 2: "),
        (b'name = "x"\ntarget = \n', "file: is not TOML: Invalid value (at line 2, column 10)"),
        (b"name = 1\nname = 2\n", "file: is not TOML: Cannot overwrite a value (at line 2, column 9)"),
        (b"a = " + b"[" * 100_000, "file: its arrays or tables are nested too deeply"),
        (b"a = " + b"9" * 10_000, "file: is not TOML: "),
        (b"\x00", "file: is not TOML: "),
        (b"", "sources: is missing"),
    ],
    ids=["utf-16", "latin-1", "syntax", "twice", "nested", "digits", "nul", "empty"],
)
def test_what_is_no_toml(content: bytes, message: str, tmp_path: Path) -> None:
    assert message in refusal(content, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "file: is a directory or device; name a file of TOML"),
        ("/dev/null", "file: is a directory or device; name a file of TOML"),
        ("none.toml", "file: No such file or directory"),
        ("none/none.toml", "file: No such file or directory"),
        ("file/none.toml", "file: Not a directory"),
        ("x" * 300, "file: File name too long"),
    ],
)
def test_what_is_no_file(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / name
    with pytest.raises(ModelFileError, match=f"^{re.escape(f'{path}: {message}')}$"):
        load_model(path)


def test_wide_fields_are_those_of_the_structure() -> None:
    """The structure itself is checked against the C compiler (unit_tests/abi)."""
    sizes = {name: getattr(AmdgpuInfoDevice, name).size for name in DRM_KEYS}
    for name, size in sizes.items():
        most = model_ranges.DRM.get(name, model_ranges.NUMBER)[1]
        assert most == (1 << 8 * size) - 1, name
