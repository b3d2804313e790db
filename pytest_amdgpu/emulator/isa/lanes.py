"""Which lanes of a group a memory instruction concerns, and their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.isa.waves import Group

Lanes = npt.NDArray[np.bool_]


def active_lanes(g: Group, where: Any) -> Lanes | None:
    """The lanes that take part; None for all."""
    active: Lanes | None = g.active
    if where is None or where is True:
        return active
    lanes: Lanes = np.broadcast_to(where, g.shape)
    return lanes if active is None else lanes & active


def chosen(value: Any, lanes: Any, shape: tuple[int, int]) -> Any:
    """The values of some lanes; a single value serves all."""
    if lanes is None or np.ndim(value) == 0:
        return value
    return np.broadcast_to(value, shape)[lanes]


def flat(value: Any, lanes: Any, shape: tuple[int, int], dtype: Any) -> Any:
    """The values of some lanes as a flat array."""
    whole = np.broadcast_to(np.asarray(value, dtype), shape)
    return (whole if lanes is None else whole[lanes]).reshape(-1)


def spread(found: list[Any], lanes: Lanes, shape: tuple[int, int]) -> list[Any]:
    """Values of some lanes in an array of all, 0 elsewhere."""
    results = []
    for items in found:
        result = np.zeros(shape, np.uint32)
        result[lanes] = items
        results.append(result)
    return results
