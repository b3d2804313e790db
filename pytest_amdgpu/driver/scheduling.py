"""When and where the hardware runs a queue: its priority, pausing it, and its mask of compute units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_amdgpu.driver.arguments import whole_number
from pytest_amdgpu.driver.errors import CommandError

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.queue_memory import QueueMemory
    from pytest_amdgpu.driver.topology import GpuNode

HIGHEST_PRIORITY = 15
PRIORITIES = MappingProxyType({"low": 0, "normal": 7, "high": 11})
"""KFD's number of each HSA priority: libhsakmt's priority_map of what hsa_amd_queue_set_priority asks for
(older ROCr asked for 15 as "high"; newer keeps that for itself)."""

CuMask = int | Iterable[int]
"""Compute units: the bits of an integer, or their numbers."""

_WORD = 32


def priority_number(priority: int | str) -> int:
    """Return KFD's number, 0 to 15, of a priority given by number or name; raises `CommandError`."""
    if isinstance(priority, str):
        number = PRIORITIES.get(priority)
        if number is None:
            raise CommandError(
                f"unknown priority {priority!r}; there are {', '.join(PRIORITIES)}, or 0 to 15"
            )
        return number
    priority = whole_number(priority, f"a priority ({', '.join(PRIORITIES)}, or 0 to {HIGHEST_PRIORITY})")
    if not 0 <= priority <= HIGHEST_PRIORITY:
        raise CommandError(f"priority {priority} is not in the range 0 to {HIGHEST_PRIORITY}")
    return priority


def mask_words(node: GpuNode, mask: CuMask | None, xccs: Iterable[int]) -> list[int]:
    """Return a mask for SET_CU_MASK in words of 32 bits; None stands for all compute units.

    Units are numbered as amdkfd numbers them: over XCCs first, then shader engines, then arrays; where units
    are in pairs (WGP), 2n and 2n + 1 are one pair. `xccs` are those that the queue runs on. Raises
    `CommandError` for no unit at all, a unit that does not exist, half a pair, and an XCC without units,
    because what is dealt to it would never run.
    """
    count = node.compute_units
    bits = (1 << count) - 1 if mask is None else _bits(mask, count)
    if bits <= 0:
        raise CommandError(f"the mask {bits:#x} names no compute unit; work would never run")
    if bits >> count:
        raise CommandError(
            f"compute unit {bits.bit_length() - 1} does not exist; the GPU has {count}, numbered from 0"
        )
    step = 2 if node.family.units_in_pairs else 1
    if step == 2:
        for unit in range(0, count, 2):
            if bits >> unit & 3 in (1, 2):
                raise CommandError(
                    f"the mask has one of the compute units {unit} and {unit + 1}, which {node.target} has"
                    " in pairs: name both or none"
                )
    for xcc in xccs:
        units = range(xcc * step, count, step * node.num_xcc)
        if not any(bits >> unit & 1 for unit in units):
            raise CommandError(
                f"the mask has no compute unit of XCC {xcc} (those are {units[0]}, {units[1]}, ...); work is"
                " dealt to each XCC that the queue runs on, and would never run there"
            )
    return [bits >> low & 0xFFFFFFFF for low in range(0, count, _WORD)]


def _bits(mask: CuMask, count: int) -> int:
    if isinstance(mask, str) or not isinstance(mask, Iterable):
        return whole_number(mask, "a mask of compute units, where it is no list of their numbers,")
    bits = 0
    for given in mask:
        unit = whole_number(given, "the number of a compute unit")
        if not 0 <= unit < count:
            raise CommandError(f"compute unit {unit} does not exist; the GPU has {count}, numbered from 0")
        bits |= 1 << unit
    return bits


@dataclass(frozen=True, slots=True)
class SavedWaves:
    """What a preempted queue has in its context save area for one XCC, in bytes."""

    control_stack: int
    wave_state: int


class Schedulable(ABC):
    """The part of a queue that says when the hardware runs it."""

    device: Device
    name: str
    _memory: QueueMemory
    _priority: int
    _paused: bool

    @abstractmethod
    def check_open(self) -> None:
        """Raise `QueueClosedError` after `close`."""

    @property
    def priority(self) -> int:
        """Priority, 0 (lowest) to 15."""
        return self._priority

    @property
    def paused(self) -> bool:
        """Whether `pause` took the queue off the hardware."""
        return self._paused

    def set_priority(self, priority: int | str) -> None:
        """Change the priority: 0 to 15, or `low`, `normal`, `high`; raises `CommandError`.

        It decides among compute queues. amdkfd takes and keeps that of an SDMA queue, without effect.
        """
        self._update(priority_number(priority), self._paused)

    def pause(self) -> None:
        """Take the queue off the hardware: what runs is preempted and saved, what is submitted waits."""
        self._update(self._priority, True)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._update(self._priority, False)

    def _update(self, priority: int, paused: bool) -> None:
        self.check_open()
        memory = self._memory
        self.device.backend.update_queue(
            memory.hardware, memory.request, priority=priority, percentage=0 if paused else 100
        )
        self._priority, self._paused = priority, paused
