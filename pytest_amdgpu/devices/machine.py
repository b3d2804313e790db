"""The machine that a run uses: its hardware or software GPUs, and why the one or the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_amdgpu.devices.hardware import HardwareReport, examine_hardware
from pytest_amdgpu.devices.identity import DeviceInfo, hardware_devices, software_devices
from pytest_amdgpu.devices.renewal import continue_in_child
from pytest_amdgpu.devices.software import parse_software, software_kernel, software_model
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.kernel.linux import LinuxKernel
from pytest_amdgpu.kernel.protocol import Kernel

BACKENDS = ("auto", "hardware", "software")


class NoUsableGpuError(RuntimeError):
    """Hardware was demanded and cannot be used; the message says which of the causes it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """The GPUs of a run.

    `software` names the model of each software GPU or the file that it is from; it is empty on hardware.
    """

    backend: str
    reason: str
    devices: tuple[DeviceInfo, ...]
    software: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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
        )

    def connect(self) -> Connection:
        """Return this process's way to the GPUs; each process needs its own."""
        if not self.software:
            return Connection(LinuxKernel(), [], continue_in_child, needs_fork=True)
        kernel = software_kernel(self.software)
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
    examine: Callable[[], HardwareReport] = lambda: examine_hardware(LinuxKernel()),
    model_files: Sequence[str] = (),
) -> Machine:
    """Decide for hardware or software GPUs, and list them.

    `auto` takes hardware if any of it can be used. Raises `NoUsableGpuError` where `hardware` is
    demanded, `SoftwareSpecError` for a text that names no software GPUs, `ModelFileError` for a wrong file.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    # Parsed in any case: a wrong option is an error also where it is not needed.
    models = parse_software(software, model_files)
    if backend == "software":
        return _software_machine(models, "asked for")
    report = examine()
    notes = tuple(str(obstacle) for obstacle in report.obstacles)
    if report.nodes:
        reason = "asked for" if backend == "hardware" else "/dev/kfd is usable"
        devices = tuple(hardware_devices(report.nodes, LinuxKernel()))
        return Machine("hardware", reason, devices, notes=notes)
    if backend == "hardware":
        raise NoUsableGpuError("; ".join(notes))
    return _software_machine(models, f"no usable hardware, {'; '.join(notes)}")


def _software_machine(models: list[str], reason: str) -> Machine:
    kernel = software_kernel(models)
    products = [software_model(reference).marketing_name for reference in models]
    devices = tuple(software_devices(discover(kernel), products, kernel))
    kernel.shutdown()
    return Machine("software", reason, devices, software=tuple(models))
