"""Places on compute units: order, capacity, masks, limits and who goes first."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pytest_amdgpu.emulator.compute_units import ComputeUnits, EngineMasks
from pytest_amdgpu.emulator.placement import Claim, Claimant, Limits, Needs, Placement
from pytest_amdgpu.families.hardware_ids import hardware_ids
from pytest_amdgpu.families.models import model
from pytest_amdgpu.families.registry import family

ANY = 1 << 20


def make_units(bitmaps: list[list[list[int]]] | None = None, *, in_pairs: bool = False) -> ComputeUnits:
    """Two engines of one array with units 0, 1 and 3 (2 is switched off), unless told otherwise."""
    return ComputeUnits(
        bitmaps or [[[0b1011], [0b1011]]],
        simds=4,
        waves_per_simd=2,
        lds_bytes=1000,
        vgpr_bytes=8000,
        in_pairs=in_pairs,
    )


def place(
    units: ComputeUnits,
    needs: Needs | int = 1,
    *,
    xccs: tuple[int, ...] = (0,),
    masks: EngineMasks | None = None,
    priority: int = 1,
    limits: Limits | None = None,
) -> Placement:
    needs = Needs(needs) if isinstance(needs, int) else needs
    return Placement(units, Claimant(xccs, lambda: masks, lambda: priority), needs, limits or Limits())


def take(placement: Placement, count: int, first: int = 0, remaining: int | None = None) -> Claim:
    claim = placement.claim(first, count, remaining=count if remaining is None else remaining)
    assert claim is not None
    return claim


def where(claim: Claim, units: ComputeUnits) -> list[tuple[int, ...]]:
    """XCC, engine, array and number of each workgroup's unit."""
    columns = [
        values[claim.units].tolist() for values in (units.xcc, units.engine, units.array, units.number)
    ]
    return list(zip(*columns, strict=True))


def test_work_is_dealt_over_engines_then_arrays_then_units() -> None:
    units = make_units([[[0b1011, 0b1011], [0b1011, 0b1011]]])
    claim = take(place(units), 6)
    assert where(claim, units) == [
        (0, 0, 0, 0),
        (0, 1, 0, 0),
        (0, 0, 1, 0),
        (0, 1, 1, 0),
        (0, 0, 0, 1),
        (0, 1, 0, 1),
    ]


def test_work_is_dealt_over_xccs_by_the_number_of_the_workgroup() -> None:
    units = make_units([[[0b11]], [[0b11]], [[0b11]]])
    placement = place(units, xccs=(0, 1, 2))
    assert [xcc for xcc, *_ in where(take(placement, 5, first=4), units)] == [1, 2, 0, 1, 2]


def test_the_least_loaded_units_are_next() -> None:
    units = make_units()
    take(place(units, 3), 2)
    second = take(place(units, 1), 4)
    assert sorted(where(second, units)) == [(0, 0, 0, 1), (0, 0, 0, 3), (0, 1, 0, 1), (0, 1, 0, 3)]


@pytest.mark.parametrize(
    ("needs", "room"),
    [
        (Needs(1), 48),
        (Needs(3), 12),
        (Needs(8), 6),
        (Needs(1, lds_bytes=300), 18),
        (Needs(1, vgpr_bytes=3000), 12),
        (Needs(1, lds_bytes=ANY, vgpr_bytes=ANY), 6),
        (Needs(100), 6),
    ],
)
def test_a_unit_holds_what_it_has_room_for(needs: Needs, room: int) -> None:
    units = make_units()
    placement = place(units, needs)
    claim = take(placement, 100)
    assert claim.count == room
    assert set(Counter(where(claim, units)).values()) == {room // 6}
    assert placement.claim(room, 1, remaining=1) is None
    claim.release()
    assert not units.used.any()
    assert not units.lds_used.any()
    assert not units.vgpr_used.any()
    assert take(placement, 100).count == room


def test_places_are_freed_workgroup_by_workgroup() -> None:
    units = make_units()
    placement = place(units, 8)
    claim = take(placement, 6)
    claim.release(np.array([False, True, False, False, False, True]))
    again = take(placement, 6)
    assert where(again, units) == [where(claim, units)[index] for index in (1, 5)]
    claim.release()
    claim.release()
    again.release()
    assert not units.used.any()


def test_no_slot_is_given_twice() -> None:
    """Claims and releases at random, never more waves on a unit than slots."""
    units = make_units([[[0xFF, 0xFF], [0xFF, 0xF0]]] * 2, in_pairs=True)
    rng = np.random.default_rng(5)
    claims: list[Claim] = []
    for _ in range(300):
        needs = Needs(int(rng.integers(1, 9)), int(rng.integers(0, 400)), pair=bool(rng.integers(2)))
        claim = place(units, needs, xccs=(0, 1)).claim(0, int(rng.integers(1, 30)), remaining=0)
        if claim is not None:
            claims.append(claim)
        if len(claims) > 6 or claim is None:
            claims.pop(int(rng.integers(len(claims)))).release()
        slots = {(int(row), int(slot)) for held in claims for row, slot in held_slots(held)}
        assert len(slots) == sum(held._slots.size for held in claims) == units.used.sum()
        assert (units.lds_used <= 1000).all()
    for claim in claims:
        claim.release()
    assert not units.used.any()


def held_slots(claim: Claim) -> list[tuple[int, int]]:
    step, slots = claim._placement.step, claim._placement.units.slots
    rows = claim._rows[:, None] * step + claim._slots // slots
    return list(zip(rows.ravel().tolist(), (claim._slots % slots).ravel().tolist(), strict=True))


def test_a_mask_counts_units_that_are_switched_on() -> None:
    units = make_units()
    # Bit 2 of engine 1: its third unit, which is number 3.
    claim = take(place(units, masks=((0, 0b100),)), 20)
    assert set(where(claim, units)) == {(0, 1, 0, 3)}
    assert claim.count == 8


def test_the_second_array_is_in_the_upper_half() -> None:
    units = make_units([[[0b11, 0b11]]])
    assert set(where(take(place(units, masks=((1 << 17,),)), 2), units)) == {(0, 0, 1, 1)}


def test_a_mask_without_units_gives_no_place_and_keeps_nobody_out() -> None:
    units = make_units()
    placement = place(units, masks=((0, 0),), priority=2)
    assert placement.claim(0, 1, remaining=1) is None
    assert placement.reclaim(0, 1) is None
    assert take(place(units), 48).count == 48


def test_a_workgroup_whose_xcc_is_masked_out_keeps_nobody_out() -> None:
    units = make_units([[[0b11]], [[0b11]]])
    stuck = place(units, xccs=(0, 1), masks=((0b11,), (0,)))
    # The first workgroup runs and ends; the second one has no place for ever.
    claim = take(stuck, 2)
    assert where(claim, units) == [(0, 0, 0, 0)]
    claim.release()
    assert stuck.claim(1, 1, remaining=1) is None
    assert take(place(units, xccs=(0, 1)), 4).count == 4


@pytest.mark.parametrize("higher", [0, 1])
def test_limits_that_no_workgroup_fits_keep_nobody_out(higher: int) -> None:
    units = make_units()
    stuck = place(units, 2, limits=Limits(waves_per_array=1), priority=1 + higher)
    assert stuck.claim(0, 4, remaining=4) is None
    assert take(place(units), 4).count == 4


def test_half_a_pair_in_a_mask_keeps_nobody_out() -> None:
    units = make_units([[[0b1111]]], in_pairs=True)
    stuck = place(units, Needs(1, pair=True), masks=((0b0101,),))
    assert stuck.claim(0, 1, remaining=1) is None
    assert take(place(units, Needs(1, pair=True)), 2).count == 2


def test_a_pair_needs_both_units() -> None:
    units = make_units([[[0b1111]]], in_pairs=True)
    placement = place(units, Needs(10, pair=True), masks=((0b0111,),))
    claim = take(placement, 5)
    assert where(claim, units) == [(0, 0, 0, 0)]
    assert units.waves_on(0) + units.waves_on(1) == 10


def test_waves_per_array_are_limited() -> None:
    units = make_units()
    claim = take(place(units, 2, limits=Limits(waves_per_array=5)), 20)
    assert Counter(engine for _, engine, *_ in where(claim, units)) == {0: 2, 1: 2}


def test_workgroups_per_unit_are_limited() -> None:
    units = make_units()
    placement = place(units, limits=Limits(groups_per_unit=2))
    assert take(placement, 20).count == 12
    assert placement.claim(12, 1, remaining=8) is None
    assert take(place(units), 1).count == 1


def test_a_higher_pipe_priority_has_what_becomes_free() -> None:
    units = make_units()
    low, high = place(units, 8, priority=0), place(units, 8, priority=2)
    claim = take(low, 6, remaining=30)
    assert high.claim(0, 6, remaining=12) is None
    claim.release()
    assert low.claim(6, 6, remaining=24) is None
    claim = take(high, 6, remaining=12)
    claim.release()
    assert low.claim(6, 6, remaining=24) is None
    claim = take(high, 6, remaining=6)
    claim.release()
    assert take(low, 6, remaining=24).count == 6


def test_a_higher_priority_elsewhere_keeps_nobody_waiting() -> None:
    units = make_units()
    high = place(units, 8, masks=((1, 0),), priority=2)
    take(high, 1, remaining=5)
    assert where(take(place(units, 8, priority=0), 6), units)[0] != (0, 0, 0, 0)


def test_of_the_same_priority_who_has_nothing_goes_first() -> None:
    units = make_units()
    busy, starved = place(units, 8), place(units, 8)
    claim = take(busy, 6, remaining=30)
    assert starved.claim(0, 1, remaining=1) is None
    claim.release(np.arange(6) == 0)
    assert busy.claim(6, 1, remaining=24) is None
    assert take(starved, 1).count == 1
    claim.release(np.arange(6) == 1)
    assert take(busy, 1, remaining=24).count == 1


def test_who_leaves_the_line_keeps_nobody_waiting() -> None:
    units = make_units()
    claim = take(place(units, 8), 6)
    high = place(units, 8, priority=2)
    assert high.claim(0, 6, remaining=6) is None
    high.leave()
    claim.release()
    assert take(place(units, 8, priority=0), 6).count == 6


def test_preempted_workgroups_come_back_together_or_wait() -> None:
    units = make_units()
    placement, other = place(units, 8), place(units, 8)
    claim = take(other, 3)
    assert placement.reclaim(0, 4) is None
    claim.release()
    back = placement.reclaim(0, 4)
    assert back is not None
    assert len(set(where(back, units))) == 4


def test_preempted_workgroups_share_slots_under_a_mask_that_is_too_narrow() -> None:
    units = make_units()
    claim = place(units, 8, masks=((1, 0),)).reclaim(0, 4)
    assert claim is not None
    assert where(claim, units) == [(0, 0, 0, 0)] * 4
    claim.release()
    assert not units.used.any()


def test_hw_id_on_cdna() -> None:
    units = ComputeUnits.of(model("mi300x"))
    fields = hardware_ids(family("gfx942"))
    placement = place(units, 2, xccs=tuple(range(8)))
    claim = take(placement, 8 * 38)
    number = 3 * 8 + 6
    xcc = claim.register({name: field for name, field in fields.items() if field.register == 20})
    assert xcc[number].tolist() == [6, 6]
    hw_id = claim.register({name: field for name, field in fields.items() if field.register == 4})
    # The fourth workgroup of an XCC: engine 3, unit 0, waves on SIMDs 0 and 1; ME 1.
    base = 3 << 13 | (number & 15) << 16 | 1 << 30
    assert hw_id[number].tolist() == [base, base | 1 << 4]


def test_hw_id1_on_rdna() -> None:
    units = ComputeUnits.of(model("rx7900xtx"))
    fields = hardware_ids(family("gfx1100"))
    claim = take(place(units, Needs(34, pair=True)), 13)
    hw_id1 = claim.register({name: field for name, field in fields.items() if field.register == 23})
    # The thirteenth, with twelve arrays: engine 0, array 0, pair 1. Its waves go to the four SIMDs in turn,
    # whose bit 0 is the unit; the ninth wave of a SIMD has slot 8.
    assert hw_id1[12].tolist()[:5] == [1 << 10 | simd << 8 for simd in range(4)] + [1 << 10 | 1]
    assert hw_id1[12].tolist()[32:] == [1 << 10 | 8, 1 << 10 | 1 << 8 | 8]
    # The seventh: engine 0, array 1.
    assert hw_id1[6][0] == 1 << 16


def test_describe() -> None:
    units = make_units()
    take(place(units, 8), 2)
    assert units.describe() == "16 waves on 2 of 6 compute units"
