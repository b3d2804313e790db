"""GPUs whose stepping is unknown: refused by name, or run as their nearest relative where that is wished."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from machine_kernels import FilesKernel, topology

from pytest_amdgpu.devices.hardware import Cause, HardwareReport, examine_hardware
from pytest_amdgpu.devices.machine import Machine, find_machine
from pytest_amdgpu.devices.software import parse_software, software_kernel
from pytest_amdgpu.driver.code_object import CodeObjectError
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import NearestTargetWarning
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.families.models import DATA, load_model
from pytest_amdgpu.families.registry import UnknownFamilyError

OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"
USABLE = {"/dev/kfd": 0, "/dev/dri/renderD128": 0, "/dev/dri/renderD129": 0}


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A model of gfx1202, which there is not: an R9700 of another stepping."""
    text = (DATA / "r9700.toml").read_text()
    for pattern, replacement in (
        ('target = "gfx1201"', 'target = "gfx1202"'),
        ('name = "r9700"', 'name = "unknown"'),
        (r"gfx_target_version = \[120001,", "gfx_target_version = [120002,"),
    ):
        text, count = re.subn(pattern, replacement, text)
        assert count == 1
    path = tmp_path / "unknown.toml"
    path.write_text(text)
    return path


@pytest.fixture
def kernel(model_file: Path) -> Iterator[EmulatedKernel]:
    made = software_kernel(parse_software(None, [str(model_file)], nearest_target=True))
    yield made
    made.shutdown()


def test_a_model_of_an_unknown_stepping_needs_the_wish(model_file: Path) -> None:
    with pytest.raises(ModelFileError, match=r"target: unknown gfx target 'gfx1202'.*; known: .*gfx1201"):
        load_model(model_file)
    found = load_model(model_file, nearest_target=True)
    assert (found.target, found.family.name) == ("gfx1202", "gfx1201")
    model_file.write_text(model_file.read_text().replace("gfx1202", "gfx1304"))
    with pytest.raises(ModelFileError, match=r"target: unknown gfx target 'gfx1304'.*none of them is a near"):
        load_model(model_file, nearest_target=True)


def test_the_driver_refuses_it_by_name(kernel: EmulatedKernel) -> None:
    (node,) = discover(kernel)
    assert node.target == "gfx1202"
    with pytest.raises(UnknownFamilyError, match=r"'gfx1202' \(gfx_target_version 120002\); known: "):
        Device.open(kernel, node)


def test_the_driver_runs_code_of_the_relative_with_a_warning(kernel: EmulatedKernel) -> None:
    (node,) = discover(kernel, nearest_target=True)
    assert (node.target, node.stand_in) == ("gfx1202", "gfx1201")
    with pytest.warns(NearestTargetWarning, match=r"\(gfx1202\) has an unknown stepping and runs as gfx1201"):
        device = Device.open(kernel, node)
    with device:
        assert device.family.name == "gfx1201"
        values, done = device.gtt(4 * 64), device.timeline_semaphore()
        kernel_of_relative = device.load(OBJECTS / "gfx1201" / "fill.co")["fill"]
        device.compute_queue().dispatch(kernel_of_relative, 64, [values, 7, 64]).signal(done, 1).submit()
        done.wait(1, timeout=5)
        assert (values.view(np.uint32) == 7).all()
        with pytest.raises(CodeObjectError, match=r"is for gfx1200, but gfx1202-.* runs as gfx1201"):
            device.load(OBJECTS / "gfx1200" / "fill.co")


def test_a_warning_that_is_an_error_leaves_nothing_open(kernel: EmulatedKernel) -> None:
    (node,) = discover(kernel, nearest_target=True)
    # The run's own filter makes an error of it.
    with pytest.raises(NearestTargetWarning):
        Device.open(kernel, node)
    with pytest.warns(NearestTargetWarning):
        Device.open(kernel, node).close()


def _examine(*, nearest_target: bool, version: int = 110004) -> HardwareReport:
    files = topology((version, 0x0300, 1), (90402, 0x0400, 2))
    return examine_hardware(FilesKernel(files, USABLE), nearest_target=nearest_target)


def test_hardware_with_an_unknown_stepping_is_an_obstacle_that_names_the_option() -> None:
    report = _examine(nearest_target=False)
    assert [node.target for node in report.nodes] == ["gfx942"]
    (obstacle,) = report.obstacles
    assert obstacle.cause is Cause.UNKNOWN_TARGET
    assert re.search(
        r"0000:03:00\.0 \(gfx1104\): unknown gfx target 'gfx1104'.*nearest relative is gfx1103;"
        " --amdgpu-nearest-target lets it run as that$",
        obstacle.text,
    )


def test_hardware_runs_as_its_relative_where_that_is_wished() -> None:
    report = _examine(nearest_target=True)
    assert not report.obstacles
    machine = find_machine("auto", None, lambda: report, nearest_target=True)
    assert [(device.id, device.stand_in) for device in machine.devices] == [
        ("gfx1104-0000:03:00.0", "gfx1103"),
        ("gfx942-0000:04:00.0", ""),
    ]
    assert machine.nearest_target
    assert Machine.from_json(machine.to_json()) == machine


@pytest.mark.parametrize("nearest_target", [False, True])
def test_hardware_of_an_unknown_generation_is_refused_in_any_case(nearest_target: bool) -> None:
    report = _examine(nearest_target=nearest_target, version=130000)
    (obstacle,) = report.obstacles
    assert obstacle.cause is Cause.UNKNOWN_TARGET
    assert obstacle.text.endswith("none of them is a near relative")


def test_hardware_whose_packets_are_not_public_runs_only_where_that_is_wished() -> None:
    (obstacle,) = _examine(nearest_target=False, version=120500).obstacles
    assert obstacle.cause is Cause.UNKNOWN_TARGET
    assert obstacle.text.endswith(
        "(gfx1250): the packets of gfx1250 are not public in full; --amdgpu-nearest-target lets it run with"
        " those of its relatives"
    )
    assert [node.target for node in _examine(nearest_target=True, version=120500).nodes] == [
        "gfx1250",
        "gfx942",
    ]
