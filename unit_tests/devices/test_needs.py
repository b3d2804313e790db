"""What tests need of a device: which have it, what the others lack, and features of software GPUs."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_amdgpu.devices.features import FEATURES
from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.devices.machine import find_machine
from pytest_amdgpu.devices.needs import Needs, NeedsError, check_words, choose_devices, parse_size, size_text
from pytest_amdgpu.families.registry import UnknownFamilyError

GIB = 1 << 30


def device(name: str, target: str = "gfx942", vram: int = 16 * GIB, features: str = "") -> DeviceInfo:
    return DeviceInfo(
        id=name,
        target=target,
        name="chip",
        gpu_id=1,
        pci_address=name,
        unique_id=0,
        vram_bytes=vram,
        num_xcc=1,
        features=tuple(features.split()),
    )


@pytest.mark.parametrize(
    ("needs", "lack"),
    [
        (Needs(), ""),
        (Needs(targets=("gfx90a", "gfx942")), ""),
        (Needs(targets=("gfx90a", "gfx908")), "is no gfx90a or gfx908"),
        (Needs(kinds=("gfx9",)), ""),
        (Needs(kinds=("gfx94x",)), ""),
        (Needs(kinds=("CDNA3",)), ""),
        (Needs(kinds=("CDNA",)), ""),
        (Needs(kinds=("RDNA", "CDNA4")), "is no RDNA or CDNA4"),
        (Needs(kinds=("gfx95x",)), "is no gfx95x"),
        (Needs(features=("sdma", "xgmi")), ""),
        (Needs(features=("sdma", "apu")), "is not known to be an APU (apu)"),
        (Needs(vram=16 * GIB), ""),
        (Needs(vram=16 * GIB + 1), "has 16 GiB of VRAM, less than 16 GiB"),
        (
            Needs(("gfx90a",), ("RDNA4",), ("several_xccs",), 64 * GIB),
            "is no gfx90a, is no RDNA4, has one XCC (several_xccs), has 16 GiB of VRAM, less than 64 GiB",
        ),
    ],
)
def test_what_a_device_lacks(needs: Needs, lack: str) -> None:
    assert needs.lacking(device("a", features="sdma xgmi")) == lack


def test_a_gpu_of_an_unknown_stepping_counts_as_its_relative() -> None:
    unknown = dataclasses.replace(device("a", "gfx1202"), stand_in="gfx1201")
    assert Needs(kinds=("RDNA4",)).lacking(unknown) == ""
    assert Needs(targets=("gfx1201",)).lacking(unknown) == "is no gfx1201"


POOL = [device("a", "gfx90a"), device("b", "gfx1100"), device("c", "gfx1100")]


@pytest.mark.parametrize(
    ("selected", "pool", "target", "chosen"),
    [
        # The selected ones, each with what it lacks.
        ("abc", "abc", "gfx1100", ["a: is no gfx1100", "b", "c"]),
        ("ab", "abc", "gfx1100", ["a: is no gfx1100", "b"]),
        # None of them will do: the first of the machine that does.
        ("a", "abc", "gfx1100", ["b"]),
        # The run is bound to what was selected.
        ("a", "a", "gfx1100", ["a: is no gfx1100"]),
        ("a", "abc", "gfx942", ["a: is no gfx942"]),
    ],
)
def test_devices_are_chosen_by_need(selected: str, pool: str, target: str, chosen: list[str]) -> None:
    mine, all_of_them = ([one for one in POOL if one.id in ids] for ids in (selected, pool))
    found = choose_devices(Needs(targets=(target,)), mine, all_of_them)
    assert [f"{one.id}: {lack}" if lack else one.id for one, lack in found] == chosen


@pytest.mark.parametrize(
    ("software", "there", "not_there"),
    [
        ("mi300x", "ecc large_bar sdma several_xccs sram_ecc svm xgmi_sdma xnack", "apu p2p xgmi"),
        ("mi300x:2", "p2p xgmi", "apu"),
        ("mi300x-cpx", "p2p xgmi xnack", "several_xccs xgmi_sdma"),
        ("mi210", "xnack", "several_xccs"),
        ("mi100", "sdma", "xnack"),
        ("gfx1100,gfx1201", "large_bar p2p sdma", "ecc xgmi xnack"),
        ("gfx1100+small-bar+no-sdma", "svm", "large_bar sdma"),
        ("strixhalo", "apu large_bar", "ecc"),
        ("rx7900xtx+apu", "apu", "ecc"),
    ],
)
def test_features_that_the_kernel_tells(software: str, there: str, not_there: str) -> None:
    features = set(find_machine("software", software).devices[0].features)
    assert features >= set(there.split())
    assert not features & set(not_there.split())
    assert features <= set(FEATURES)


def test_features_travel_to_workers() -> None:
    found = find_machine("software", "mi300x").devices[0]
    assert DeviceInfo.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("text", "size"), [("1KiB", 1024), ("16GiB", 16 * GIB), ("2 TiB", 2 << 40), ("512 MiB", 1 << 29)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "16", "16GB", "1.5GiB", "-1GiB", "GiB", "16  GiB", "1" * 10 + "GiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(NeedsError, match="is not a size such as 16GiB, with KiB, MiB, GiB or TiB"):
        parse_size(text)


def test_sizes_as_text() -> None:
    assert [size_text(size) for size in (0, 1023, 1024, 192 * GIB, 3 << 39)] == [
        "0 bytes",
        "1023 bytes",
        "1 KiB",
        "192 GiB",
        "1.5 TiB",
    ]


def test_unknown_words_are_refused_with_the_known_ones() -> None:
    check_words(["gfx942"], ["gfx9", "RDNA3.5"], ["xgmi"])
    with pytest.raises(UnknownFamilyError, match=r"unknown gfx target 'gfx9999'; known: .*gfx942"):
        check_words(["gfx9999"], [], [])
    with pytest.raises(NeedsError, match=r"unknown family or generation 'cdna3'; known: gfx9, .*CDNA3"):
        check_words([], ["cdna3"], [])
    with pytest.raises(NeedsError, match=r"unknown feature 'xglmi'; known: apu, .*xgmi"):
        check_words([], [], ["xglmi"])
