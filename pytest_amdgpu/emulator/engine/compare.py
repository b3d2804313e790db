"""The comparisons of polling packets: SDMA's POLL_REGMEM and PM4's WAIT_REG_MEM number them alike."""

from __future__ import annotations

import operator
from collections.abc import Callable

from pytest_amdgpu.emulator.engine.errors import BadPacketError

COMPARISONS: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
    ("always", lambda value, reference: True),
    ("<", operator.lt),
    ("<=", operator.le),
    ("==", operator.eq),
    ("!=", operator.ne),
    (">=", operator.ge),
    (">", operator.gt),
)
"""By function number 0 to 6, all unsigned (kernel packet headers: function 7 is reserved)."""


def comparison(function: int) -> tuple[str, Callable[[int, int], bool]]:
    """Return sign and test of a function number; BadPacketError for the reserved one."""
    if function >= len(COMPARISONS):
        raise BadPacketError(f"reserved comparison function {function}")
    return COMPARISONS[function]
