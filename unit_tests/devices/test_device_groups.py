"""Groups of devices: how many there are, in which order, and that related ones are found."""

from __future__ import annotations

import pytest

from pytest_amdgpu.devices.groups import RELATIONS, choose_groups
from pytest_amdgpu.devices.identity import DeviceInfo


def device(name: str, target: str = "gfx942", hive: int = 0, reaches: str = "") -> DeviceInfo:
    """A device that is called by a letter, and reaches others by theirs."""
    return DeviceInfo(
        id=name,
        target=target,
        name="chip",
        gpu_id=ord(name),
        pci_address=name,
        unique_id=0,
        vram_bytes=1,
        num_xcc=1,
        hive_id=hive,
        reaches=tuple(map(ord, reaches)),
    )


def names(selected: str, pool: list[DeviceInfo], count: int = 2, relation: str | None = None) -> list[str]:
    chosen = [one for one in pool if one.id in selected]
    return ["".join(member.id for member in group) for group in choose_groups(chosen, pool, count, relation)]


ANY = [device(name) for name in "abcd"]


@pytest.mark.parametrize(
    ("selected", "count", "groups"),
    [
        ("a", 2, ["ab"]),
        ("d", 2, ["ad"]),
        ("abcd", 2, ["ab", "bc", "cd", "ad"]),
        ("abcd", 3, ["abc", "bcd", "acd", "abd"]),
        ("abcd", 4, ["abcd"]),
        ("abcd", 1, ["a", "b", "c", "d"]),
        ("abcd", 5, []),
    ],
)
def test_each_selected_device_is_with_the_next_ones(selected: str, count: int, groups: list[str]) -> None:
    assert names(selected, ANY, count) == groups


def test_peers_must_reach_each_other() -> None:
    pool = [device("a", reaches="bc"), device("b", reaches=""), device("c", reaches="ab")]
    assert names("abc", pool, relation="peers") == ["ac"]


def test_a_first_choice_that_leads_nowhere_is_taken_back() -> None:
    # a and b are peers, but nobody is a peer of both; a, c and d are a group.
    pool = [
        device("a", reaches="bcd"),
        device("b", reaches="a"),
        device("c", reaches="ad"),
        device("d", reaches="ac"),
    ]
    assert names("a", pool, 3, "peers") == ["acd"]
    assert names("b", pool, 3, "peers") == []


def test_a_hive_is_not_a_hive_of_none() -> None:
    pool = [device("a"), device("b"), device("c", hive=7), device("d", hive=8), device("e", hive=7)]
    assert names("abcde", pool, relation="hive") == ["ce"]


def test_a_family_is_a_target() -> None:
    pool = [device("a", "gfx90a"), device("b"), device("c", "gfx1100"), device("d")]
    assert names("abcd", pool, relation="same_family") == ["bd"]


def test_the_relations_are_these() -> None:
    assert set(RELATIONS) == {"peers", "hive", "same_family"}
