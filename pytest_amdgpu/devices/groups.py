"""Which devices a test gets that needs several: as many as it wants, related as it wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_amdgpu.devices.identity import DeviceInfo


def _are_peers(first: DeviceInfo, second: DeviceInfo) -> bool:
    return second.gpu_id in first.reaches and first.gpu_id in second.reaches


def _share_hive(first: DeviceInfo, second: DeviceInfo) -> bool:
    return first.hive_id == second.hive_id != 0


def _share_family(first: DeviceInfo, second: DeviceInfo) -> bool:
    return first.target == second.target


RELATIONS: dict[str, Callable[[DeviceInfo, DeviceInfo], bool]] = {
    "peers": _are_peers,
    "hive": _share_hive,
    "same_family": _share_family,
}
"""What each two devices of a group must be to each other: able to reach each other's memory, linked by XGMI,
of one gfx target."""


def choose_groups(
    selected: Sequence[DeviceInfo], pool: Sequence[DeviceInfo], count: int, relation: str | None
) -> list[tuple[DeviceInfo, ...]]:
    """Return a group of `count` devices of `pool` for each selected one, no group twice.

    Devices of a group are of one host, and in the order of `pool`. Neighbours there are preferred, so that on
    a machine with unlike GPUs each is with another one. Selected devices without enough related ones have no
    group.
    """
    related = RELATIONS[relation] if relation else lambda first, second: True

    def fits(first: DeviceInfo, second: DeviceInfo) -> bool:
        return first.host == second.host and related(first, second)

    order = {device.id: position for position, device in enumerate(pool)}
    groups: dict[frozenset[str], tuple[DeviceInfo, ...]] = {}
    for device in selected:
        start = order[device.id] + 1
        group = _complete([device], [*pool[start:], *pool[: start - 1]], count, fits)
        if group is not None:
            in_order = tuple(sorted(group, key=lambda member: order[member.id]))
            groups.setdefault(frozenset(member.id for member in group), in_order)
    return list(groups.values())


def _complete(
    group: list[DeviceInfo],
    rest: Sequence[DeviceInfo],
    count: int,
    fits: Callable[[DeviceInfo, DeviceInfo], bool],
) -> list[DeviceInfo] | None:
    """Add devices of `rest` until there are `count`; None if there is no way to do so."""
    missing = count - len(group)
    if missing == 0:
        return group
    candidates = [device for device in rest if all(fits(member, device) for member in group)]
    for position in range(len(candidates) - missing + 1):
        found = _complete([*group, candidates[position]], candidates[position + 1 :], count, fits)
        if found is not None:
            return found
    return None
