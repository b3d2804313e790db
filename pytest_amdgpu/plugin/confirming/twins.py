"""Copies of a test, to run it again: on its own devices, or on others of the same targets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest

from pytest_amdgpu.devices.groups import choose_groups
from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.plugin.needs import wish_of
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE, GROUP_FIXTURE

Devices = tuple[DeviceInfo, ...]

twin_of_key = pytest.StashKey[str]()
"""Of a copy: the id of the test that it is of, whose random numbers it draws."""


def devices_of(item: pytest.Item) -> Devices:
    """Return the devices that a test was made for; none if it uses none, or there were none for it."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    group: Devices | None = params.get(GROUP_FIXTURE)
    if group:
        return group
    device: DeviceInfo | None = params.get(DEVICE_FIXTURE)
    return (device,) if device is not None else ()


def name_of(devices: Sequence[DeviceInfo]) -> str:
    """Return what ids of tests call these devices."""
    return "+".join(device.id for device in devices)


def make_twin(item: pytest.Function, devices: Devices) -> pytest.Function:
    """Return a copy of a test for these devices, which shares no state of a run with it.

    It has the marks of the original, also those that were added after collection.
    """
    callspec = item.callspec
    params: dict[str, Any] = {**callspec.params, DEVICE_FIXTURE: devices[0]}
    if GROUP_FIXTURE in params:
        params[GROUP_FIXTURE] = devices
    old, new = name_of(devices_of(item)), name_of(devices)
    renamed = dataclasses.replace(
        callspec, params=params, _idlist=[new if part == old else part for part in callspec._idlist]
    )
    # How pytest makes tests of a function itself (_pytest/python.py, PyCollector._genfunctions).
    twin: pytest.Function = type(item).from_parent(
        item.parent,
        name=f"{item.originalname}[{renamed.id}]",
        callspec=renamed,
        fixtureinfo=item._fixtureinfo,
        keywords={renamed.id: True},
        originalname=item.originalname,
    )
    twin.own_markers[:] = item.own_markers
    twin.stash[twin_of_key] = item.nodeid
    return twin


def others(item: pytest.Item, pool: Sequence[DeviceInfo]) -> Iterator[Devices]:
    """Yield other devices of `pool` that the test could have run on, the most similar first.

    They have the same targets and what the test needs, and as a group the same relation. Groups without a
    common device come first.
    """
    mine = devices_of(item)
    targets = [device.target for device in mine]
    wish = wish_of(item)
    near = [device for device in pool if device.host == mine[0].host]
    pool = [device for device in near if not wish.needs.lacking(device)]
    found: Iterable[Devices] = ((device,) for device in pool)
    if len(mine) > 1:
        found = choose_groups(pool, pool, len(mine), wish.relation)
    fitting = [
        devices
        for devices in found
        if set(devices) != set(mine) and [device.target for device in devices] == targets
    ]

    def likeness(devices: Devices) -> tuple[int, int]:
        return len(set(devices) & set(mine)), -sum(map(_same, devices, mine))

    yield from sorted(fitting, key=likeness)


def _same(first: DeviceInfo, second: DeviceInfo) -> int:
    """Count in how much two devices of a target are alike."""
    kinds = [re.sub(r"-[^-]*$", "", device.id) for device in (first, second)]
    pairs = (
        kinds,
        (first.features, second.features),
        (first.name, second.name),
        (first.num_xcc, second.num_xcc),
        (first.vram_bytes, second.vram_bytes),
    )
    return sum(one == other for one, other in pairs)
