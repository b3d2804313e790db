"""What must have run for a gate to be green: the file of `--amdgpu-must-run`.

[[must_run]]
device = "gfx942"      a target, a generation (gfx9, gfx94x), an id of a device, a product, or "all"
devices = 2            so many of them must have run tests (default 1)
count = 100            so many tests must have run on each (default 1)
tests = ["hw_tests/sdma/.*"]   of each of these at least one must have run on each; regular expressions for
                               whole names, without the device
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_amdgpu.results.expectations import EVERY_GPU, keys_of
from pytest_amdgpu.results.record import Record
from pytest_amdgpu.results.rows import counted

_TABLE = "must_run"
_KEYS = ("device", "devices", "count", "tests")


class MustRunError(ValueError):
    """A file that is no contract; the message says file, key and what is allowed."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What must have run on the devices that `device` stands for."""

    device: str
    devices: int = 1
    count: int = 1
    tests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceNames:
    """What a demand may call a device of the run."""

    id: str
    target: str
    product: str

    def answers_to(self, name: str) -> bool:
        """Whether the device is one that `name` stands for."""
        return name in (self.id, self.product, *keys_of(self.target, self.product))


def read_contract(path: Path) -> tuple[Demand, ...]:
    """Read a file; raises `MustRunError`, and OSError if it cannot be read."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MustRunError(f"{path}: {error}") from error
    tables = content.pop(_TABLE, None)
    if content:
        raise MustRunError(f"{path}: {next(iter(content))!r} is unknown; there are only [[{_TABLE}]] tables")
    if not isinstance(tables, list) or not tables:
        raise MustRunError(f"{path}: has no [[{_TABLE}]] table, so nothing would have to run")
    return tuple(_demand(table, f"{path}: {_TABLE}[{index}]") for index, table in enumerate(tables))


def _demand(table: Any, place: str) -> Demand:
    if not isinstance(table, dict):
        raise MustRunError(f"{place}: is not a table")
    for key in table:
        if key not in _KEYS:
            raise MustRunError(f"{place}.{key}: is unknown; known: {', '.join(_KEYS)}")
    device = table.get("device", EVERY_GPU)
    if not isinstance(device, str) or not device:
        raise MustRunError(f"{place}.device: {device!r} is not a name")
    numbers = {key: table.get(key, 1) for key in ("devices", "count")}
    for key, value in numbers.items():
        if type(value) is not int or value < 1:
            raise MustRunError(f"{place}.{key}: {value!r} is not a number from 1 on")
    tests = table.get("tests", [])
    if not isinstance(tests, list) or not all(isinstance(text, str) for text in tests):
        raise MustRunError(f"{place}.tests: {tests!r} is not a list of regular expressions")
    for text in tests:
        try:
            re.compile(text)
        except re.error as error:
            raise MustRunError(f"{place}.tests: {text!r} is no regular expression: {error}") from error
    return Demand(device, numbers["devices"], numbers["count"], tuple(tests))


def violations(
    demands: Sequence[Demand], devices: Sequence[DeviceNames], records: Sequence[Record]
) -> Iterator[str]:
    """Yield what was demanded and did not run."""
    ran: dict[str, list[Record]] = {device.id: [] for device in devices}
    for record in records:
        if record.outcome.ran:
            for device in record.devices:
                ran[device].append(record)
    for demand in demands:
        yield from _violations(demand, devices, ran)


def _violations(
    demand: Demand, devices: Sequence[DeviceNames], ran: Mapping[str, Sequence[Record]]
) -> Iterator[str]:
    used = [device.id for device in devices if device.answers_to(demand.device) and ran[device.id]]
    if len(used) < demand.devices:
        which = "" if demand.device == EVERY_GPU else f" ({demand.device})"
        unknown = not any(device.answers_to(demand.device) for device in devices)
        there = ", ".join(f"{device.id} ({device.target})" for device in devices)
        why = f": no device is called that, there are {there}" if unknown and devices else ""
        yield f"tests must run on {counted(demand.devices, 'device')}{which}, and ran on {len(used)}{why}"
    for device in used:
        records = ran[device]
        if len(records) < demand.count:
            yield f"{counted(demand.count, 'test')} must run on {device}, and {len(records)} did"
        for text in demand.tests:
            pattern = re.compile(text)
            if not any(pattern.fullmatch(record.name) for record in records):
                yield f"a test named {text!r} must run on {device}, and none did"
