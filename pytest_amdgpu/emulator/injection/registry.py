"""All defects that a software GPU can be told to have, and what `--amdgpu-inject=help` says of them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pytest_amdgpu.emulator.injection.calls import CallNeverReturns, ProcessKilled, ProcessStopped
from pytest_amdgpu.emulator.injection.corruption import CorruptByte
from pytest_amdgpu.emulator.injection.defect import Defect
from pytest_amdgpu.emulator.injection.devices import DeviceGone, Reset
from pytest_amdgpu.emulator.injection.flaky import Flaky
from pytest_amdgpu.emulator.injection.options import COMMON, Option
from pytest_amdgpu.emulator.injection.queues import (
    DelayFence,
    DropFence,
    FaultInQueue,
    LoseInterrupt,
    WedgeQueue,
)

DEFECTS: dict[str, type[Defect]] = {
    defect.name: defect
    for defect in (
        WedgeQueue,
        LoseInterrupt,
        CorruptByte,
        DropFence,
        DelayFence,
        FaultInQueue,
        Reset,
        DeviceGone,
        CallNeverReturns,
        ProcessStopped,
        ProcessKilled,
        Flaky,
    )
}
"""By name. Another one is a class in a module of this package and a line here."""

_WIDTH = 100


def describe_defects() -> str:
    """Return the list of all defects with their options, for people."""
    lines = [
        "--amdgpu-inject=DEFECT[:OPTION=VALUE,...]@DEVICE lets a software GPU fail. It can be repeated.",
        "DEVICE is the id of a device, a target (all of it), or all. It happens from the first test on, in",
        "each process of the run for itself.",
    ]
    for name, defect in DEFECTS.items():
        lines += ["", name, *_paragraph(f"{defect.summary}. Occasion: {defect.occasion}.", 4)]
        lines += [line for option in defect.options for line in _option(option)]
        common = (
            f"{option.name}={option.default}"
            for option in defect.all_options()
            if option.name in defect.defaults
        )
        if other := ", ".join(common):
            lines += _paragraph(f"Defaults of its own: {other}.", 4)
    lines += ["", "Options of all defects:", *(line for option in COMMON for line in _option(option))]
    return "\n".join(lines)


def _option(option: Option) -> Iterator[str]:
    default = f" Default: {option.default}." if option.default else ""
    yield from _paragraph(f"{option.name}: {option.summary}; {option.allowed}.{default}", 8)


def _paragraph(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent, break_on_hyphens=False
    )
