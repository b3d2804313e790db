"""Each test that asks for `amdgpu_device` becomes one test per selected device."""

from __future__ import annotations

import warnings

import pytest

from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.families.registry import UnknownFamilyError, family
from pytest_amdgpu.plugin.blame import NOT_APPLICABLE
from pytest_amdgpu.plugin.options import TARGETS_MARKER

DEVICE_FIXTURE = "amdgpu_device"


def parametrize_devices(metafunc: pytest.Metafunc, selected: tuple[DeviceInfo, ...]) -> None:
    """Parametrize a test function with the devices that its markers allow."""
    targets = _wanted_targets(metafunc)
    devices = [device for device in selected if targets is None or device.target in targets]
    if devices:
        parameters = [pytest.param(device, id=device.id) for device in devices]
    else:
        # An empty list would make pytest skip without saying which device was missing.
        there = ", ".join(device.id for device in selected)
        reason = f"{NOT_APPLICABLE}needs {' or '.join(sorted(targets or ()))}; selected is {there}"
        parameters = [pytest.param(None, id="no-device", marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize(DEVICE_FIXTURE, parameters, indirect=True, scope="session")


def _wanted_targets(metafunc: pytest.Metafunc) -> set[str] | None:
    """Return the targets that the innermost marker names, or None if there is no marker."""
    marker = metafunc.definition.get_closest_marker(TARGETS_MARKER)
    if marker is None:
        return None
    if marker.kwargs or not marker.args or not all(isinstance(target, str) for target in marker.args):
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: {TARGETS_MARKER} takes names of gfx targets, "
            f"not {marker.args!r} {marker.kwargs!r}"
        )
    for target in marker.args:
        _warn_if_unknown(target, metafunc.definition.nodeid)
    return set(marker.args)


def _warn_if_unknown(target: str, test: str) -> None:
    """Warn of a target that may be mistyped, or newer than this package."""
    try:
        family(target)
    except UnknownFamilyError as error:
        warnings.warn(pytest.PytestWarning(f"{test}: {TARGETS_MARKER}: {error}"), stacklevel=2)
