"""Shapes of dispatches: defaults, partial workgroups, limits."""

from __future__ import annotations

import pytest
from made_kernels import MadeKernel

from pytest_amdgpu.driver.errors import LaunchError
from pytest_amdgpu.driver.launch import Launch, plan
from pytest_amdgpu.families.registry import family

GFX942, GFX1100 = family("gfx942"), family("gfx1100")


def planned(kernel: MadeKernel, grid: object, block: object = None, lds: int = 0) -> Launch:
    return plan(kernel, GFX942, grid, block, lds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grid", "block", "workgroups", "partial", "dimensions"),
    [
        (128, 64, (2, 1, 1), (64, 1, 1), 1),
        (130, 64, (3, 1, 1), (2, 1, 1), 1),
        (1, None, (1, 1, 1), (1, 1, 1), 1),
        ((10, 7), (4, 4), (3, 2, 1), (2, 3, 1), 2),
        ((3, 1, 5), (2, 1, 2), (2, 1, 3), (1, 1, 1), 3),
        ((5, 1, 1), (4, 2, 1), (2, 1, 1), (1, 1, 1), 2),
        ([8], [8], (1, 1, 1), (8, 1, 1), 1),
        (0xFFFFFFFF, 1024, (4194304, 1, 1), (1023, 1, 1), 1),
    ],
)
def test_shape(grid: object, block: object, workgroups: object, partial: object, dimensions: int) -> None:
    launch = planned(MadeKernel(), grid, block)
    assert (launch.workgroups, launch.partial, launch.dimensions) == (workgroups, partial, dimensions)


def test_default_block() -> None:
    assert planned(MadeKernel(), 1000).block == (64, 1, 1)
    assert planned(MadeKernel(required_block=(8, 4, 2)), (8, 8, 8)).block == (8, 4, 2)


def test_memory_of_a_launch() -> None:
    launch = planned(MadeKernel(group_segment_size=100, private_segment_size=36), 64, lds=28)
    assert (launch.group_segment, launch.private_segment) == (128, 36)
    assert planned(MadeKernel(uses_dynamic_stack=True), 64).private_segment == 1024
    deep = MadeKernel(uses_dynamic_stack=True, private_segment_size=5000)
    assert planned(deep, 64).private_segment == 5000


@pytest.mark.parametrize(
    ("kernel", "grid", "block", "lds", "text"),
    [
        (MadeKernel(), 0, None, 0, r"made: a grid of \(0,\): 0 is not in 1 to 4294967295"),
        (MadeKernel(), -4, None, 0, "-4 is not in 1"),
        (MadeKernel(), 1 << 32, None, 0, "4294967296 is not in 1"),
        (MadeKernel(), (), None, 0, "has 0 axes, not 1 to 3"),
        (MadeKernel(), (1, 1, 1, 1), None, 0, "has 4 axes"),
        (MadeKernel(), 64, 0, 0, r"a block of \(0,\)"),
        (MadeKernel(), 64, 1025, 0, "1025 is not in 1 to 1024"),
        (MadeKernel(), 64, (64, 32), 0, r"\(64, 32, 1\) is 2048 work-items; at most 1024"),
        (MadeKernel(max_block_size=256), 64, 257, 0, "257 work-items; at most 256"),
        (MadeKernel(required_block=(32, 1, 1)), 64, 64, 0, r"compiled for a block of \(32, 1, 1\)"),
        (MadeKernel(group_segment_size=65000), 64, None, 600, r"65000 \+ 600 bytes of LDS"),
        (MadeKernel(), 64, None, -1, r"0 \+ -1 bytes of LDS"),
        (MadeKernel(wave_size=32), 64, None, 0, "gfx942 has no waves of 32"),
    ],
    ids=[
        "empty",
        "negative",
        "huge",
        "no axis",
        "four axes",
        "empty block",
        "long block",
        "large block",
        "kernel's limit",
        "required block",
        "lds",
        "negative lds",
        "wave size",
    ],
)
def test_what_cannot_be_launched(
    kernel: MadeKernel, grid: object, block: object, lds: int, text: str
) -> None:
    with pytest.raises(LaunchError, match=text):
        planned(kernel, grid, block, lds)
