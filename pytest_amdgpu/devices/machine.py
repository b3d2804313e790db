"""The machine that a run uses: its hardware or software GPUs, and why the one or the other."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.devices.backends import OWN_BACKENDS, BackendError, check_backend, load_backend
from pytest_amdgpu.devices.hardware import HardwareReport, examine_hardware
from pytest_amdgpu.devices.identity import (
    DeviceInfo,
    backend_devices,
    hardware_devices,
    software_devices,
)
from pytest_amdgpu.devices.message_log import MessageLog
from pytest_amdgpu.devices.renewal import continue_in_child
from pytest_amdgpu.devices.software import parse_software, software_kernel, software_model
from pytest_amdgpu.driver.kfd_source import KfdSource
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.behaviour import DEFAULT_BEHAVIOUR
from pytest_amdgpu.kernel.linux import LinuxKernel

if TYPE_CHECKING:
    from pytest_amdgpu.driver.backend import BackendSource


class NoUsableGpuError(RuntimeError):
    """Hardware was demanded and cannot be used; the message says which of the causes it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The GPUs of a run. `backend` is `hardware`, `software` or the name of an entry point.

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

    @property
    def is_private(self) -> bool:
        """Whether each process has GPUs of its own, so that none can be in use by another one."""
        return bool(self.software)

    def on_host(self, name: str) -> Machine:
        """Return it with its devices as they are called in a run of several hosts."""
        return dataclasses.replace(self, devices=tuple(device.on_host(name) for device in self.devices))

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
        if self.backend not in OWN_BACKENDS:
            return Connection(load_backend(self.backend), [], _nothing, needs_fork=False)
        if not self.software:
            return Connection(KfdSource(LinuxKernel()), MessageLog(), continue_in_child, needs_fork=True)
        kernel = software_kernel(self.software, self.software_kernel, hostile=self.hostile)
        return Connection(KfdSource(kernel), kernel.log, kernel.shutdown, needs_fork=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Connection:
    """A way to GPUs, and how to become a process to their kernel that has done nothing yet.

    `log` grows with what the kernel says to its log, where that can be read. After a fault the kernel
    serves a process no more; see `renewal`. `needs_fork` tells that `renew` returns in another process.
    """

    source: BackendSource
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
    `hardware` is demanded or another backend has no GPU, `BackendError` for a backend that there is not or
    that does not work, `SoftwareSpecError` for a text that names no software GPUs, `ModelFileError` for a
    wrong file.
    """
    check_backend(backend)
    # Parsed in any case: a wrong option is an error also where it is not needed.
    models = parse_software(software, model_files, nearest_target=nearest_target)
    if backend not in OWN_BACKENDS:
        return _other_machine(backend, nearest_target)
    if hostile is not None:
        random.Random(hostile).shuffle(models)
    if backend == "software":
        return _software_machine(models, "asked for", behaviour, nearest_target, hostile)
    report = examine() if examine else examine_hardware(LinuxKernel(), nearest_target=nearest_target)
    notes = tuple(str(obstacle) for obstacle in report.obstacles)
    if report.nodes:
        reason = "asked for" if backend == "hardware" else "/dev/kfd is usable"
        devices = tuple(hardware_devices(report.nodes, LinuxKernel()))
        return Machine("hardware", reason, devices, notes=notes, nearest_target=nearest_target)
    if backend == "hardware":
        raise NoUsableGpuError("; ".join(notes))
    return _software_machine(models, "; ".join(notes), behaviour, nearest_target, hostile)


def _other_machine(backend: str, nearest_target: bool) -> Machine:
    source = load_backend(backend)
    try:
        nodes = source.discover(source.kernel(), nearest_target=nearest_target)
    except Exception as error:
        raise BackendError(
            f"the backend {backend} cannot list its GPUs: {type(error).__name__}: {error}"
        ) from error
    if not nodes:
        raise NoUsableGpuError(f"the backend {backend} finds no GPU")
    devices = tuple(backend_devices(nodes, backend))
    return Machine(backend, "asked for", devices, nearest_target=nearest_target)


def _nothing() -> None:
    """Do what a kernel needs that keeps nothing against a process."""


def _software_machine(
    models: list[str], reason: str, behaviour: str, nearest_target: bool, hostile: int | None
) -> Machine:
    kernel = software_kernel(models, behaviour, hostile=hostile)
    nodes = discover(kernel, nearest_target=nearest_target)
    devices = tuple(software_devices(nodes, [software_model(name) for name in models], kernel))
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
