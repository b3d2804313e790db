"""Checks of what callers give: wrong types and endless waits are refused by the name of what they are.

Submission is on the caller's clock, so code there asks only whether a value is of the one expected type, and
comes here with all others.
"""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.driver.errors import ArgumentTypeError, TimeoutValueError

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device

LONGEST_WAIT = 86400.0
"""Seconds: a day. What waits longer waits for ever, as far as anybody can tell."""


def whole_number(value: object, what: str) -> int:
    """Return an integer of any kind (also numpy's) as an int; `what` names it in the error's message.

    A bool is refused although it is an integer: it stands where another argument was meant. Raises
    `ArgumentTypeError`.
    """
    if type(value) is int:
        return value
    if not isinstance(value, bool):
        try:
            return operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise ArgumentTypeError(f"{what} is a whole number, not {shown(value)}")


def check_timeout(timeout: object) -> float:
    """Return a timeout in seconds; raises `TimeoutValueError` for one that does not end the wait."""
    if timeout is None:
        raise TimeoutValueError(
            f"waiting is bounded: a timeout is a number of seconds, up to {LONGEST_WAIT:g}, not None"
        )
    if isinstance(timeout, Real) and not isinstance(timeout, bool):
        try:
            seconds = float(timeout)
        except OverflowError:
            seconds = math.inf
        if 0 <= seconds <= LONGEST_WAIT:
            return seconds
    raise TimeoutValueError(
        f"a timeout is a number of seconds from 0 to {LONGEST_WAIT:g}, not {shown(timeout)}"
    )


def check_type(value: object, expected: type[Any] | tuple[type[Any], ...], what: str) -> None:
    """Raise `ArgumentTypeError` unless a value is of a type; `what` names it in the error's message."""
    if not isinstance(value, expected):
        raise ArgumentTypeError(f"{what}, not {shown(value)}")


def check_device(value: object, what: str) -> None:
    """Raise `ArgumentTypeError` unless a value is an open or closed `Device`."""
    from pytest_amdgpu.driver.device import Device

    check_type(value, Device, f"{what} is a Device")


def check_peers(peers: object) -> tuple[Device, ...]:
    """Return the devices of a list of peers; raises `ArgumentTypeError`."""
    try:
        devices: tuple[Device, ...] = tuple(peers)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(f"peers is a list of Devices, not {shown(peers)}") from None
    for device in devices:
        check_device(device, "each of peers")
    return devices


def shown(value: object) -> str:
    """Show a value and its type, in a line."""
    text = repr(value)
    return f"{text[:57] + '...' if len(text) > 60 else text} ({type(value).__name__})"
