"""Which devices a wish means, and what a wish that means none says."""

from __future__ import annotations

import pytest

from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.devices.selection import DeviceSelectionError, select_devices
from pytest_amdgpu.devices.software import DEFAULT_SOFTWARE, MAX_GPUS, SoftwareSpecError, parse_software


def _device(target: str, address: str, unique_id: int = 0) -> DeviceInfo:
    return DeviceInfo(
        id=f"{target}-{address}",
        target=target,
        name="chip",
        gpu_id=1,
        pci_address=address,
        unique_id=unique_id,
        vram_bytes=1 << 34,
        num_xcc=1,
    )


DEVICES = [
    _device("gfx942", "0000:03:00.0", 0x1234ABCD),
    _device("gfx1100", "0000:04:00.0"),
    _device("gfx942", "0001:05:00.0"),
]


@pytest.mark.parametrize(
    ("wishes", "all_devices", "expected"),
    [
        ([], False, [0]),
        ([], True, [0, 1, 2]),
        (["gfx942-0001:05:00.0"], False, [2]),
        (["0000:04:00.0"], False, [1]),
        (["0x1234abcd"], False, [0]),
        (["000000001234abcd"], False, [0]),
        (["gfx942"], False, [0]),
        (["gfx942"], True, [0, 2]),
        (["2"], False, [2]),
        (["gfx1100", "0", "gfx1100"], False, [0, 1]),
    ],
)
def test_wishes(wishes: list[str], all_devices: bool, expected: list[int]) -> None:
    chosen = select_devices(DEVICES, wishes, all_devices=all_devices)
    assert chosen == [DEVICES[index] for index in expected]


@pytest.mark.parametrize("wish", ["gfx90a", "3", "-1", "", "gfx942-0000:09:00.0", "9" * 5000])
def test_a_wish_that_nothing_meets_lists_what_there_is(wish: str) -> None:
    with pytest.raises(DeviceSelectionError) as caught:
        select_devices(DEVICES, ["gfx942", wish], all_devices=True)
    assert repr(wish) in str(caught.value)
    assert all(device.id in str(caught.value) for device in DEVICES)


def test_software_gpus_are_named_by_target_or_model() -> None:
    assert parse_software("gfx942, rx7900xtx:2") == ["mi300x", "rx7900xtx", "rx7900xtx"]
    assert parse_software(None) == parse_software(DEFAULT_SOFTWARE)


def test_a_product_of_several_devices_makes_all_of_them() -> None:
    assert parse_software("mi250x:2, mi300x-cpx") == ["mi250x"] * 4 + ["mi300x-cpx"] * 8


@pytest.mark.parametrize(
    ("text", "offending"),
    [
        ("gfx7", "'gfx7'"),
        ("", "''"),
        ("gfx942,", "''"),
        ("gfx942:0", "'0' in 'gfx942:0'"),
        ("gfx942:", "'' in 'gfx942:'"),
        ("gfx942:x", "'x'"),
        ("gfx942:" + "9" * 5000, "is not a number of GPUs"),
        ("gfx942:-1", "'-1' in 'gfx942:-1'"),
        ("gfx942:1.5", "'1.5' in 'gfx942:1.5'"),
        ("gfx942:2:2", "'2:2' in 'gfx942:2:2'"),
        ("+small-bar", "unknown software GPU ''"),
        ("gfx942+cpx:9", f"72 software GPUs; the most are {MAX_GPUS}"),
        (f"gfx942:{MAX_GPUS + 1}", f"'{MAX_GPUS + 1}'"),
        (f"gfx942:{MAX_GPUS},gfx1100", f"{MAX_GPUS + 1} software GPUs"),
    ],
)
def test_a_wrong_software_spec_names_the_wrong_part(text: str, offending: str) -> None:
    with pytest.raises(SoftwareSpecError) as caught:
        parse_software(text)
    assert offending in str(caught.value)


def test_an_unknown_software_gpu_lists_the_known_ones() -> None:
    with pytest.raises(SoftwareSpecError, match=r"mi300x \(gfx942\)"):
        parse_software("gfx7")
