"""Devices in the ids of tests."""

from __future__ import annotations

import pytest

from pytest_amdgpu.results.node_ids import DeviceIds, devices_in

IDS = DeviceIds(
    ["sw-gfx942-1", "sw-gfx942-10", "sw-gfx942+no-sdma-0", "gfx942-0000:03:00.0", "far/sw-gfx942-1"]
)


@pytest.mark.parametrize(
    ("parameters", "devices"),
    [
        ("[sw-gfx942-1]", ["sw-gfx942-1"]),
        ("[sw-gfx942-10]", ["sw-gfx942-10"]),
        ("[sw-gfx942-1-0]", ["sw-gfx942-1"]),
        ("[aql-sw-gfx942-1-4096]", ["sw-gfx942-1"]),
        ("[sw-gfx942-10+sw-gfx942-1]", ["sw-gfx942-10", "sw-gfx942-1"]),
        ("[sw-gfx942+no-sdma-0+sw-gfx942-1-x]", ["sw-gfx942+no-sdma-0", "sw-gfx942-1"]),
        ("[gfx942-0000:03:00.0]", ["gfx942-0000:03:00.0"]),
        ("[far/sw-gfx942-1]", ["far/sw-gfx942-1"]),
        ("[sw-gfx942-100]", []),
        ("[sw-gfx942-1x]", []),
        ("", []),
    ],
)
def test_devices_are_found_whole(parameters: str, devices: list[str]) -> None:
    for file in ("test_sw-gfx942-1.py", "[sw-gfx942-1]/test_a.py"):
        assert list(IDS.found_in(f"tests/{file}::test_it{parameters}")) == devices


def test_without_devices_none_is_found() -> None:
    assert devices_in("test_a.py::test_b[sw-gfx942-1]", ()) == ()
    assert DeviceIds([]).found_in("test_a.py::test_b[sw-gfx942-1]") == ()
