"""The shape of a dispatch: grid and workgroup as the hardware wants them, checked against limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.driver.arguments import shown, whole_number
from pytest_amdgpu.driver.errors import ArgumentTypeError, LaunchError
from pytest_amdgpu.driver.kernel_metadata import KernelInfo

if TYPE_CHECKING:
    from pytest_amdgpu.driver.program import ProgramKernel
    from pytest_amdgpu.families.registry import Family

Triple = tuple[int, int, int]
Shape = int | Sequence[int]

DEFAULT_BLOCK = (64, 1, 1)
MAX_BLOCK = 1024
"""Work-items of a workgroup on all generations."""
MAX_GRID = 0xFFFFFFFF
"""Work-items per axis: the fields of dispatch packets have 32 bits."""
_DYNAMIC_STACK = 1024
"""Bytes of stack per work-item for kernels whose need the compiler does not know (HIP's default limit)."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a dispatch asks for; `grid` and `block` in work-items, memory in bytes."""

    grid: Triple
    block: Triple
    group_segment: int
    private_segment: int

    @property
    def workgroups(self) -> Triple:
        """Workgroups per axis, counting partial ones."""
        x, y, z = (-(-size // part) for size, part in zip(self.grid, self.block, strict=True))
        return x, y, z

    @property
    def partial(self) -> Triple:
        """Work-items per axis of the last workgroup."""
        x, y, z = (size % part or part for size, part in zip(self.grid, self.block, strict=True))
        return x, y, z

    @property
    def dimensions(self) -> int:
        """Number of axes, counting up to the last that is longer than 1."""
        used = [axis + 1 for axis in range(3) if self.grid[axis] > 1 or self.block[axis] > 1]
        return max(used, default=1)


def plan(kernel: ProgramKernel, family: Family, grid: Shape, block: Shape | None, dynamic_lds: int) -> Launch:
    """Check the shape of a dispatch and complete it.

    Without `block` the workgroup is the one that the kernel requires, or 64 work-items in a row. Raises
    `LaunchError` that names the kernel and the offending value.
    """
    info = getattr(kernel, "info", None)
    if not isinstance(info, KernelInfo):
        raise ArgumentTypeError(f'what is dispatched is a kernel, program["name"], not {shown(kernel)}')
    dynamic_lds = whole_number(dynamic_lds, "dynamic_lds, in bytes,")
    if block is None:
        block = info.required_block or DEFAULT_BLOCK
    launch = Launch(
        _triple(kernel, "grid", grid, MAX_GRID),
        _triple(kernel, "block", block, MAX_BLOCK),
        kernel.group_segment_size + dynamic_lds,
        max(kernel.private_segment_size, _DYNAMIC_STACK if kernel.uses_dynamic_stack else 0),
    )
    items = launch.block[0] * launch.block[1] * launch.block[2]
    limit = min(info.max_block_size, MAX_BLOCK)
    if items > limit:
        raise LaunchError(f"{kernel.name}: a block of {launch.block} is {items} work-items; at most {limit}")
    if info.required_block is not None and launch.block != info.required_block:
        raise LaunchError(
            f"{kernel.name}: was compiled for a block of {info.required_block}, not {launch.block}"
        )
    if dynamic_lds < 0 or launch.group_segment > family.lds_bytes:
        raise LaunchError(
            f"{kernel.name}: {kernel.group_segment_size} + {dynamic_lds} bytes of LDS;"
            f" a workgroup on {family.name} has 0 to {family.lds_bytes}"
        )
    if kernel.wave_size not in family.wave_sizes:
        raise LaunchError(f"{kernel.name}: {family.name} has no waves of {kernel.wave_size} work-items")
    return launch


def _triple(kernel: ProgramKernel, what: str, shape: Shape, limit: int) -> Triple:
    """Complete a shape given as a number or as one to three of them."""
    if isinstance(shape, Sequence) and not isinstance(shape, str | bytes | bytearray):
        axes = tuple(whole_number(size, f"{kernel.name}: an axis of a {what}") for size in shape)
    else:
        axes = (whole_number(shape, f"{kernel.name}: a {what}, where it is no tuple of up to three,"),)
    if not 1 <= len(axes) <= 3:
        raise LaunchError(f"{kernel.name}: a {what} of {axes} has {len(axes)} axes, not 1 to 3")
    for size in axes:
        if not 0 < size <= limit:
            raise LaunchError(f"{kernel.name}: a {what} of {axes}: {size} is not in 1 to {limit}")
    x, y, z = (*axes, 1, 1)[:3]
    return x, y, z
