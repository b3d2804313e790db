"""Where waves run: a kernel reads the place it has, and a mask of compute units confines it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import CommandError
from pytest_amdgpu.families.hardware_ids import XCC_ID, hardware_ids

NAPS = 4
UNIT_NAMES = ("xcc", "engine", "array", "pair", "unit")
"""What tells compute units apart, or pairs of them where a pair (WGP) works together."""

Place = dict[str, int]


@pytest.fixture(params=["pm4", "aql"])
def queue(request, make_queue) -> Any:
    return make_queue(request.param)


@pytest.fixture
def places(amdgpu_device, suite_kernel, gtt_buffer) -> Callable[[Any, int], list[Place]]:
    """Return a function that runs work-groups of one wave on a queue and returns the place of each."""
    kernel = suite_kernel("place")
    fields = hardware_ids(amdgpu_device.family)

    def run(queue: Any, groups: int) -> list[Place]:
        ids = gtt_buffer(8 * groups)
        ids.array[:] = 0xFF
        wave = kernel.wave_size
        queue.dispatch(kernel, groups * wave, [ids, NAPS], block=wave).submit()
        queue.wait_idle(timeout=10)
        return [
            {name: field.of(xcc if field.register == XCC_ID else place) for name, field in fields.items()}
            for place, xcc in ids.view(np.uint32).reshape(-1, 2).tolist()
        ]

    return run


def units_of(places: Iterable[Place]) -> set[tuple[int, ...]]:
    """The different compute units, or pairs of them, among places."""
    return {tuple(place[name] for name in UNIT_NAMES if name in place) for place in places}


def first_units(device: Any, skip: int = 0) -> list[int]:
    """The first compute unit of each XCC, or its first pair, after as many as `skip` says."""
    count = device.node.num_xcc * (2 if device.family.units_in_pairs else 1)
    return list(range(skip * count, (skip + 1) * count))


def group_count(queue: Any) -> int:
    """Twice as many work-groups as the queue's XCCs have compute units."""
    node = queue.device.node
    return 2 * node.compute_units // node.num_xcc * len(queue.xccs)


def test_waves_spread_over_the_compute_units(queue, places):
    node = queue.device.node
    found = units_of(places(queue, group_count(queue)))
    units = node.compute_units // node.num_xcc * len(queue.xccs)
    if node.family.units_in_pairs:
        units //= 2
    assert units // 2 < len(found) <= units


def test_a_place_is_one_that_the_gpu_has(queue, places):
    node = queue.device.node
    found = places(queue, group_count(queue))
    engines = {place["engine"] for place in found}
    assert len(engines) == node.shader_engines
    assert max(place["array"] for place in found) < node.arrays_per_engine
    assert {place.get("xcc", 0) for place in found} == set(queue.xccs)
    assert max(place["wave"] for place in found) < node.properties["max_waves_per_simd"]
    assert max(place["simd"] for place in found) < 4


def test_a_mask_confines_waves(amdgpu_device, queue, places):
    queue.set_cu_mask(first_units(amdgpu_device))
    assert len(units_of(places(queue, 64))) == len(queue.xccs)


def test_disjoint_masks_have_nothing_in_common(amdgpu_device, make_queue, places):
    node = amdgpu_device.node
    first, second = first_units(amdgpu_device), first_units(amdgpu_device, skip=1)
    found = []
    for mask in (first, second, [*first, *second]):
        with amdgpu_device.compute_queue(cu_mask=mask) as queue:
            found.append(units_of(places(queue, 64)))
    assert found[0].isdisjoint(found[1])
    assert len(found[0]) == len(found[1]) == node.num_xcc
    assert found[2] == found[0] | found[1]


def test_a_mask_can_be_taken_back(amdgpu_device, queue, places):
    queue.set_cu_mask(first_units(amdgpu_device))
    narrow = units_of(places(queue, 64))
    queue.set_cu_mask(None)
    wide = units_of(places(queue, group_count(queue)))
    assert narrow < wide


def test_a_mask_without_units_is_refused(amdgpu_device, queue):
    with pytest.raises(CommandError, match="names no compute unit"):
        queue.set_cu_mask(0)
    count = amdgpu_device.node.compute_units
    with pytest.raises(CommandError, match=f"compute unit {count} does not exist"):
        queue.set_cu_mask([count])
