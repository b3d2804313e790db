"""Groups of waves part and meet again without mixing up registers. Oracle: a list of registers per wave."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from kernel_launcher import Runner, bare_chunk

from pytest_amdgpu.emulator.isa.launch import UNDEFINED
from pytest_amdgpu.emulator.isa.waves import Group

WAVES, LANES, REGISTERS = 24, 32, 6


class Reference:
    """What each wave's registers should be."""

    def __init__(self, group: Group) -> None:
        self.vectors = {wave: [np.full(LANES, UNDEFINED, np.uint32)] * REGISTERS for wave in range(WAVES)}
        self.scalars = {wave: [UNDEFINED] * REGISTERS for wave in range(WAVES)}
        for wave in range(WAVES):
            self.vectors[wave][0] = group.v[0][wave]

    def check(self, group: Group) -> None:
        rows = group.living
        group.need(range(REGISTERS))
        for register in range(REGISTERS):
            scalar = np.broadcast_to(group.s[register], (group.count, 1))
            for row, wave in zip(rows.tolist(), group.waves[rows].tolist(), strict=True):
                assert (group.v[register][row] == self.vectors[wave][register]).all()
                assert scalar[row, 0] == self.scalars[wave][register]

    def write(self, group: Group, register: int, value: Any, scalar: Any) -> None:
        group.v[register] = value
        group.s[register] = scalar
        for row, wave in zip(group.living.tolist(), group.waves[group.living].tolist(), strict=True):
            self.vectors[wave][register] = value[row]
            self.scalars[wave][register] = scalar if isinstance(scalar, int) else int(scalar[row, 0])


@pytest.mark.parametrize("seed", range(8))
def test_random_splits_and_joins(seed: int) -> None:
    chooser, generator = random.Random(seed), np.random.default_rng(seed)
    first = bare_chunk(Runner("gfx1100"), WAVES)
    first.chunk.written.update(range(REGISTERS))
    reference, groups = Reference(first), [first]
    for _ in range(120):
        action = chooser.random()
        group = chooser.choice(groups)
        if action < 0.35 and len(group.living) > 1:
            leaving = chooser.sample(group.living.tolist(), chooser.randint(1, len(group.living) - 1))
            groups.append(group.extract(np.array(sorted(leaving))))
        elif action < 0.55 and len(groups) > 1:
            some = chooser.sample(groups, chooser.randint(2, len(groups)))
            groups = [other for other in groups if other not in some] + [Group.join(some)]
        elif action < 0.65:
            group.need([chooser.randrange(REGISTERS)])
        else:
            value = generator.integers(0, 1 << 32, group.shape, dtype=np.uint32)
            column = generator.integers(0, 3, (group.count, 1), dtype=np.uint32)
            scalar = chooser.choice([column, chooser.randrange(5)]) if group.count > 1 else 7
            reference.write(group, chooser.randrange(REGISTERS), value, scalar)
        assert sorted(np.concatenate([g.waves[g.living] for g in groups]).tolist()) == list(range(WAVES))
    for group in groups:
        reference.check(group)
        assert all(type(x) in (int, bool) for x in group.s) or group.count > 1


def test_untouched_registers_are_not_copied() -> None:
    group = bare_chunk(Runner("gfx1100"), WAVES)
    ids = group.v[0]
    other = group.extract(np.arange(5))
    other.need([0])
    assert Group.join([other, group]).source.get(0) is ids


def test_departed_waves_stay_until_a_quarter_has_left() -> None:
    group = bare_chunk(Runner("gfx1100"), WAVES)
    group.extract(np.arange(6))
    assert (group.count, len(group.living)) == (WAVES, 18)
    group.extract(np.array([10]))
    assert (group.count, group.alive) == (17, None)
