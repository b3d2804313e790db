"""From the mask of SET_CU_MASK to the masks of shader engines in a queue's descriptor.

As mqd_symmetrically_map_cu_mask in kfd_mqd_manager.c does it: the bits are dealt over XCCs first, then
engines, then arrays, then units (pairs of units from gfx10 on). Bits beyond the number of units count for
nothing, and units that the mask is too short for are off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.compute_units import EngineMasks
    from pytest_amdgpu.families.models import Model

_UNITS_PER_ARRAY = 16


def engine_masks(model: Model, mask: Sequence[int]) -> EngineMasks:
    """Map a mask of 32-bit words to masks by XCC and engine."""
    bits = sum(word << 32 * index for index, word in enumerate(mask))
    arrays = [array for engines in model.cu_bitmaps for engine in engines for array in engine]
    count = min(32 * len(mask), sum(array.bit_count() for array in arrays))
    return tuple(_masks_of_xcc(model, bits, count, xcc) for xcc in range(len(model.cu_bitmaps)))


def _masks_of_xcc(model: Model, bits: int, count: int, xcc: int) -> tuple[int, ...]:
    engines = model.cu_bitmaps[xcc]
    step = 2 if model.family.units_in_pairs else 1
    masks = [0] * len(engines)
    bit = xcc
    for unit in range(0, _UNITS_PER_ARRAY, step):
        for array in range(len(engines[0])):
            for engine, arrays in enumerate(engines):
                if arrays[array].bit_count() <= unit:
                    continue
                enabled = (1 << step) - 1
                if bits >> bit & enabled:
                    masks[engine] |= enabled << (unit + _UNITS_PER_ARRAY * array)
                bit += step * len(model.cu_bitmaps)
                if bit >= count:
                    return tuple(masks)
    return tuple(masks)
