"""The kernels that the package ships for health checks: one for each target, and each does what it should."""

from __future__ import annotations

import pytest

from pytest_amdgpu.devices.health import check_work
from pytest_amdgpu.devices.health_kernels import NAME, SOURCE, health_kernel
from pytest_amdgpu.devices.patience import Patience
from pytest_amdgpu.driver.code_object import parse
from pytest_amdgpu.driver.compiler import compile_source
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.families.registry import FAMILIES


@pytest.mark.parametrize("target", [family.name for family in FAMILIES])
def test_every_target_has_a_kernel(target: str) -> None:
    code = health_kernel(target)
    assert code is not None
    parsed = parse(code)
    assert parsed.family.name == target
    assert list(parsed.kernels) == [NAME]


def test_what_is_shipped_is_what_the_source_says() -> None:
    """Of one target, because the compiler is slow; other versions of it may write other instructions."""
    ours = parse(compile_source(SOURCE, "gfx942"))
    shipped = parse(health_kernel("gfx942") or b"")
    assert shipped.kernels[NAME].arguments == ours.kernels[NAME].arguments


@pytest.mark.parametrize("name", ["gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1151", "gfx1201"])
def test_a_gpu_that_works_passes_again_and_again_and_keeps_nothing(name: str) -> None:
    kernel = EmulatedKernel([model(name)])
    with Device.open(kernel, discover(kernel)[0]) as device:
        assert check_work(device, Patience(10.0, on_cpu=True)) == []
        free = device.available_vram()
        assert check_work(device, Patience(10.0, on_cpu=True)) == []
        assert device.tracker.all() == []
        assert device.available_vram() == free
    kernel.shutdown()
