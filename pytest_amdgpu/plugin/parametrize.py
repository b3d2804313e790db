"""Each test that asks for GPUs becomes one test per selected device, or per group of devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_amdgpu.devices.groups import RELATIONS, choose_groups
from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.families.registry import UnknownFamilyError, family
from pytest_amdgpu.plugin.blame import NOT_APPLICABLE
from pytest_amdgpu.plugin.options import GROUP_MARKER, TARGETS_MARKER

if TYPE_CHECKING:
    from pytest_amdgpu.plugin.session import Plan

DEVICE_FIXTURE = "amdgpu_device"
GROUP_FIXTURE = "amdgpu_devices"
NO_DEVICE_IDS = ("no-device", "no-devices")
"""What stands in the id of a test for which there is no device, or no group."""
DEFAULT_COUNT = 2
"""Devices of a group whose test does not say how many it needs."""


@dataclass(frozen=True, slots=True)
class GroupWish:
    """What the marker of a test asks for."""

    count: int = DEFAULT_COUNT
    relation: str | None = None

    def __str__(self) -> str:
        named = {"peers": "that are peers", "hive": "of one hive", "same_family": "of one family"}
        return f"{self.count} devices {named[self.relation]}" if self.relation else f"{self.count} devices"


def parametrize_devices(metafunc: pytest.Metafunc, plan: Plan) -> None:
    """Parametrize a test function with the devices that its markers allow."""
    targets, wish = _wanted_targets(metafunc), _wanted_group(metafunc)
    selected = [device for device in plan.selected if targets is None or device.target in targets]
    if GROUP_FIXTURE in metafunc.fixturenames:
        pool = [device for device in plan.pool if targets is None or device.target in targets]
        _parametrize_groups(metafunc, selected, pool, wish or GroupWish(), _names(targets))
        return
    if wish is not None and wish != GroupWish(1):
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: {GROUP_MARKER} asks for {wish}, but the test does not use the"
            f" fixture {GROUP_FIXTURE}"
        )
    if selected:
        parameters = [pytest.param(device, id=device.id) for device in selected]
    else:
        # An empty list would make pytest skip without saying which device was missing.
        there = ", ".join(device.id for device in plan.selected)
        reason = f"{NOT_APPLICABLE}needs {_names(targets)}; selected is {there}"
        parameters = [pytest.param(None, id=NO_DEVICE_IDS[0], marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize(DEVICE_FIXTURE, parameters, indirect=True, scope="session")


def _parametrize_groups(
    metafunc: pytest.Metafunc,
    selected: list[DeviceInfo],
    pool: list[DeviceInfo],
    wish: GroupWish,
    targets: str,
) -> None:
    """Parametrize with groups, whose first device is what single-device fixtures are of."""
    groups = choose_groups(selected, pool, wish.count, wish.relation)
    if groups:
        parameters = [
            pytest.param(group[0], group, id="+".join(device.id for device in group)) for group in groups
        ]
    else:
        among = ", ".join(device.id for device in pool) or "none"
        reason = f"{NOT_APPLICABLE}needs {wish}{f' and {targets}' if targets else ''}; there are {among}"
        parameters = [pytest.param(None, None, id=NO_DEVICE_IDS[1], marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize((DEVICE_FIXTURE, GROUP_FIXTURE), parameters, indirect=True, scope="session")


def _names(targets: set[str] | None) -> str:
    return " or ".join(sorted(targets or ()))


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
        _check_target(target, metafunc.definition.nodeid)
    return set(marker.args)


def _wanted_group(metafunc: pytest.Metafunc) -> GroupWish | None:
    """Return what the innermost marker asks for, or None if there is no marker."""
    marker = metafunc.definition.get_closest_marker(GROUP_MARKER)
    if marker is None:
        return None
    where = f"{metafunc.definition.nodeid}: {GROUP_MARKER}"
    if marker.args:
        raise pytest.UsageError(f"{where} takes keywords only (devices, relation), not {marker.args!r}")
    unknown = sorted(set(marker.kwargs) - {"devices", "relation"})
    if unknown:
        raise pytest.UsageError(f"{where} does not know {', '.join(unknown)}; allowed are devices, relation")
    count = marker.kwargs.get("devices", DEFAULT_COUNT)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise pytest.UsageError(f"{where}: devices is a number of at least 1, not {count!r}")
    relation = marker.kwargs.get("relation")
    if relation is not None and relation not in RELATIONS:
        raise pytest.UsageError(f"{where}: relation is one of {', '.join(RELATIONS)}, not {relation!r}")
    return GroupWish(count, relation)


def _check_target(target: str, test: str) -> None:
    """Refuse a target that nobody knows: mistyped, it would keep the test from ever running."""
    try:
        family(target)
    except UnknownFamilyError as error:
        raise pytest.UsageError(f"{test}: {TARGETS_MARKER}: {error}") from error
