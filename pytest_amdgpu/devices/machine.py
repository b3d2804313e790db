"""The machine that a run uses: its hardware or software GPUs, and why the one or the other."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_amdgpu.devices.hardware import HardwareReport, examine_hardware
from pytest_amdgpu.devices.identity import DeviceInfo, hardware_devices, software_devices
from pytest_amdgpu.devices.renewal import continue_in_child
from pytest_amdgpu.devices.software import parse_software, software_kernel, software_model
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.behaviour import DEFAULT_BEHAVIOUR
from pytest_amdgpu.kernel.linux import LinuxKernel
from pytest_amdgpu.kernel.protocol import Kernel

BACKENDS = ("auto", "hardware", "software")


class NoUsableGpuError(RuntimeError):
    """Hardware was demanded and cannot be used; the message says which of the causes it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The GPUs of a run.

    `software` refers to the model of each software GPU (`software_model`); it is empty on hardware.
    `software_kernel` is the kernel that software GPUs have, as in `EmulatedKernel`.
    """

    backend: str
    reason: str
    devices: tuple[DeviceInfo, ...]
    software: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    software_kernel: str = DEFAULT_BEHAVIOUR
    nearest_target: bool = False
    """Whether unknown steppings run as their nearest relatives."""
    hostile: int | None = None
    """Seed of the hostile timing that software GPUs have, if they have."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for another process."""
        return {**dataclasses.asdict(self), "devices": [device.to_json() for device in self.devices]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Machine:
        """Undo `to_json`."""
        return cls(
            backend=values["backend"],
            reason=values["reason"],
            devices=tuple(DeviceInfo.from_json(device) for device in values["devices"]),
            software=tuple(values["software"]),
            notes=tuple(values["notes"]),
            software_kernel=values["software_kernel"],
            nearest_target=values["nearest_target"],
            hostile=values["hostile"],
        )

    def connect(self) -> Connection:
        """Return this process's way to the GPUs; each process needs its own."""
        if not self.software:
            return Connection(LinuxKernel(), [], continue_in_child, needs_fork=True)
        kernel = software_kernel(self.software, self.software_kernel, hostile=self.hostile)
        return Connection(kernel, kernel.log, kernel.shutdown, needs_fork=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """A kernel, and how to become a process to it that has done nothing yet.

    `log` grows with what the kernel says to its log, where that can be read. After a fault the kernel
    serves a process no more; see `renewal`. `needs_fork` tells that `renew` returns in another process.
    """

    kernel: Kernel
    log: Sequence[str]
    renew: Callable[[], None]
    needs_fork: bool


def find_machine(
    backend: str,
    software: str | None,
    examine: Callable[[], HardwareReport] | None = None,
    model_files: Sequence[str] = (),
    behaviour: str = DEFAULT_BEHAVIOUR,
    *,
    nearest_target: bool = False,
    hostile: int | None = None,
) -> Machine:
    """Decide for hardware or software GPUs, and list them.

    `auto` takes hardware if any of it can be used. `examine` replaces the look at this machine. With
    `nearest_target` GPUs of unknown steppings run as their nearest relatives. `hostile` is the seed of
    hostile timing for software GPUs, which also changes their order. Raises `NoUsableGpuError` where
    `hardware` is demanded, `SoftwareSpecError` for a text that names no software GPUs, `ModelFileError` for a
    wrong file.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    # Parsed in any case: a wrong option is an error also where it is not needed.
    models = parse_software(software, model_files, nearest_target=nearest_target)
    if hostile is not None:
        random.Random(hostile).shuffle(models)
    if backend == "software":
        return _software_machine(models, "asked for", behaviour, nearest_target, hostile)
    report = examine() if examine else examine_hardware(LinuxKernel(), nearest_target=nearest_target)
    notes = tuple(str(obstacle) for obstacle in report.obstacles)
    if report.nodes:
        reason = "asked for" if backend == "hardware" else "/dev/kfd is usable"
        devices = tuple(hardware_devices(report.nodes))
        return Machine("hardware", reason, devices, notes=notes, nearest_target=nearest_target)
    if backend == "hardware":
        raise NoUsableGpuError("; ".join(notes))
    reason = f"no usable hardware, {'; '.join(notes)}"
    return _software_machine(models, reason, behaviour, nearest_target, hostile)


def _software_machine(
    models: list[str], reason: str, behaviour: str, nearest_target: bool, hostile: int | None
) -> Machine:
    kernel = software_kernel(models, behaviour, hostile=hostile)
    nodes = discover(kernel, nearest_target=nearest_target)
    devices = tuple(software_devices(nodes, [software_model(name) for name in models]))
    kernel.shutdown()
    return Machine(
        "software",
        reason,
        devices,
        software=tuple(models),
        software_kernel=behaviour,
        nearest_target=nearest_target,
        hostile=hostile,
    )
