"""What a device tells of itself while it is open, with units."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clocks:
    """Clocks read at one time."""

    gpu_ticks: int
    """The GPU's constant counter, which timestamps of queues are in."""
    gpu_hz: int
    """Ticks of it per second."""
    cpu_ns: int
    """CLOCK_MONOTONIC_RAW in ns."""
    system_ns: int
    """CLOCK_BOOTTIME in ns."""


@dataclass(frozen=True, slots=True)
class Apertures:
    """Address ranges of a GPU, in bytes: each a base and a limit, which belongs to the range."""

    shared: tuple[int, int]
    """Where shaders see LDS."""
    private: tuple[int, int]
    """Where shaders see scratch."""
    memory: tuple[int, int]
    """Where memory can be mapped."""
