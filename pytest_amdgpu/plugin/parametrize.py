"""Each test that asks for GPUs becomes one test per device that it needs, or per group of devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pytest_amdgpu.devices.groups import choose_groups
from pytest_amdgpu.devices.needs import choose_devices
from pytest_amdgpu.plugin.blame import NOT_APPLICABLE
from pytest_amdgpu.plugin.needs import DEFAULT_COUNT, Wish, wish_of
from pytest_amdgpu.plugin.options import GROUP_MARKER, TARGETS_MARKER
from pytest_amdgpu.results.node_ids import DeviceIds

if TYPE_CHECKING:
    from pytest_amdgpu.devices.identity import DeviceInfo
    from pytest_amdgpu.plugin.plan import Plan

DEVICE_FIXTURE = "amdgpu_device"
GROUP_FIXTURE = "amdgpu_devices"
IMPOSTOR_FIXTURE = "_amdgpu_impostor"
"""Lets a test fail whose id wrongly says that it runs on a device."""
NO_GROUP_ID = "no-devices"
"""What stands in the id of a test for which there is no group."""


def parametrize_devices(metafunc: pytest.Metafunc, plan: Plan) -> None:
    """Parametrize a test function with the devices that its markers ask for.

    A selected device that is not what is asked for has a test, too, which is not applicable, so that every
    result says of each device why.
    """
    _refuse_marked_parameters(metafunc)
    wish = wish_of(metafunc.definition)
    if GROUP_FIXTURE in metafunc.fixturenames:
        _parametrize_groups(metafunc, plan, wish)
        return
    if wish.is_of_group:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: {GROUP_MARKER} asks for {wish.group}, but the test does not use"
            f" the fixture {GROUP_FIXTURE}"
        )
    parameters = []
    for device, lack in choose_devices(wish.needs, plan.selected, plan.pool):
        marks = [_not_applicable(f"{device.id}: {lack}")] if lack else []
        parameters.append(pytest.param(device, id=device.id, marks=marks))
    metafunc.parametrize(DEVICE_FIXTURE, parameters, indirect=True, scope="session")


def refuse_idle_markers(metafunc: pytest.Metafunc) -> None:
    """Refuse markers of a test function that uses no GPU: they would do nothing, and nobody would notice.

    Those of a class or module stay: they are for the tests there that use one.
    """
    for marker in metafunc.definition.own_markers:
        if marker.name in (GROUP_MARKER, TARGETS_MARKER):
            raise pytest.UsageError(
                f"{metafunc.definition.nodeid}: {marker.name} does nothing, because the test uses no GPU: let"
                f" it name {DEVICE_FIXTURE}, {GROUP_FIXTURE} or a fixture that uses one, or drop the marker"
            )


def refuse_impostors(items: Iterable[pytest.Item], plan: Plan) -> None:
    """Let tests fail that use no GPU although their ids say so, by a parameter of their own.

    What runs where is known by ids, and such a test would count as one that ran on the device.
    """
    ids = DeviceIds(device.id for device in plan.pool)
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        if DEVICE_FIXTURE not in names and IMPOSTOR_FIXTURE not in names and ids.found_in(item.nodeid):
            names.insert(0, IMPOSTOR_FIXTURE)


def _refuse_marked_parameters(metafunc: pytest.Metafunc) -> None:
    """Refuse markers of a single parameter (`pytest.param(..., marks=...)`): devices are chosen before."""
    for parametrized in metafunc.definition.iter_markers("parametrize"):
        values = parametrized.args[1] if len(parametrized.args) > 1 else parametrized.kwargs.get("argvalues")
        # What can be read only once is pytest's.
        for value in values if isinstance(values, list | tuple) else ():
            for mark in getattr(value, "marks", ()):
                if getattr(mark, "name", None) in (GROUP_MARKER, TARGETS_MARKER):
                    raise pytest.UsageError(
                        f"{metafunc.definition.nodeid}: {mark.name} of one parameter does nothing, because"
                        " the test's devices are chosen for all of them: mark the function, or write two"
                    )


def _parametrize_groups(metafunc: pytest.Metafunc, plan: Plan, wish: Wish) -> None:
    """Parametrize with groups, whose first device is what single-device fixtures are of."""
    groups = _groups(plan, wish)
    if groups:
        parameters = [
            pytest.param(group[0], group, id="+".join(device.id for device in group)) for group in groups
        ]
    else:
        lacks = {device.id: wish.needs.lacking(device) for device in plan.pool}
        among = ", ".join(name for name, lack in lacks.items() if not lack) or "none"
        others = "".join(f"; {name}: {lack}" for name, lack in lacks.items() if lack)
        # An empty list would make pytest skip without saying what was missing.
        mark = _not_applicable(f"needs {wish.group}; there are {among}{others}")
        parameters = [pytest.param(None, None, id=NO_GROUP_ID, marks=[mark])]
    metafunc.parametrize((DEVICE_FIXTURE, GROUP_FIXTURE), parameters, indirect=True, scope="session")


def _groups(plan: Plan, wish: Wish) -> list[tuple[DeviceInfo, ...]]:
    """Return the groups with a selected device; if there is none, the first one of the machine."""
    pool = [device for device in plan.pool if not wish.needs.lacking(device)]
    selected = [device for device in plan.selected if device in pool]
    count = wish.count or DEFAULT_COUNT
    return (
        choose_groups(selected, pool, count, wish.relation)
        or choose_groups(pool, pool, count, wish.relation)[:1]
    )


def _not_applicable(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=NOT_APPLICABLE + reason)
