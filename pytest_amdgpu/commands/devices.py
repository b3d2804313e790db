"""The GPUs of a machine, all the names and numbers that programs know them by, and who uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_amdgpu.devices.hardware import examine_hardware
from pytest_amdgpu.devices.identity import hardware_devices
from pytest_amdgpu.devices.leases import LeaseDirectory, LeaseTimeoutError, default_directory
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine
from pytest_amdgpu.driver.errors import DriverError
from pytest_amdgpu.driver.resources import attempt
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

_HEAD = (
    "device",
    "name",
    "KFD node",
    "PCI address",
    "render node",
    "unique id",
    "HIP/ROCR",
    "holder",
    "quarantine",
    "health",
)
_PURPOSE = "python -m pytest_amdgpu devices --check"


class NoDevicesError(RuntimeError):
    """No GPU can be used; the message says why."""


class UnhealthyError(RuntimeError):
    """GPUs do not work; the message says which, and why."""


class ReleaseError(RuntimeError):
    """A device that is to be released is not in quarantine."""


def lines(kernel: Kernel, lease_directory: Path | None = None, *, check: bool = False) -> Iterator[str]:
    """Yield a table of the usable GPUs, and what stands in the way of others; raises `NoDevicesError`.

    `check` lets each GPU that nobody has leased work for a moment; `UnhealthyError` ends the table if one
    does not do it right, or cannot be used.

    HIP and ROCr count GPUs in the order of their KFD nodes; the number is that without ROCR_VISIBLE_DEVICES
    and HIP_VISIBLE_DEVICES.
    """
    report = examine_hardware(kernel)
    obstacles = [f"cannot be used, {obstacle}" for obstacle in report.obstacles]
    if not report.nodes:
        raise NoDevicesError("; ".join(obstacles))
    path = lease_directory or default_directory()
    # Looking makes no directory: without one nothing is leased.
    leases = LeaseDirectory(path) if path.is_dir() else None
    quarantine = MachineQuarantine(path)
    rows = [_HEAD]
    unhealthy = [*obstacles] if check else []
    for number, (node, device) in enumerate(zip(report.nodes, hardware_devices(report.nodes), strict=True)):
        health = _health(kernel, node, path) if check else "not checked"
        if health not in ("works", "in use", "not checked"):
            unhealthy.append(f"{device.id}: {health}")
        rows.append(
            (
                device.id,
                device.name,
                str(node.index),
                node.identity,
                node.render_path.removeprefix("/dev/dri/"),
                f"{node.unique_id:#x}" if node.unique_id else "-",
                str(number),
                _holder(leases, node.identity),
                str(quarantine.entry(node.identity) or "-"),
                health,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from obstacles
    if unhealthy:
        raise UnhealthyError("; ".join(unhealthy))


def _health(kernel: Kernel, node: GpuNode, lease_directory: Path) -> str:
    """Let a GPU work, if it is free, and say in a word or more what came of it."""
    # Who only looks does not pay for the import.
    from pytest_amdgpu.devices.health import LIMIT, check_work
    from pytest_amdgpu.devices.patience import Patience
    from pytest_amdgpu.driver.device import Device

    try:
        lease = LeaseDirectory(lease_directory).take([node.identity], _PURPOSE, timeout=0.0)
    except LeaseTimeoutError:
        return "in use"
    with lease:
        try:
            device = Device.open(kernel, node)
        except (DriverError, KernelError) as error:
            return f"cannot be opened: {error}"
        problems: list[Exception | str] = [*check_work(device, Patience(LIMIT))]
        errors: list[Exception] = []
        attempt(errors, device.close)
        problems += errors
    return "; ".join(map(str, problems)) or "works"


def release(kernel: Kernel, name: str, lease_directory: Path | None = None) -> str:
    """Take a device out of the machine's quarantine, and return what to say of it.

    `name` is its id, or its PCI address; by that a GPU can be released that is gone. Raises `ReleaseError`
    and `MachineQuarantineError`.
    """
    path = lease_directory or default_directory()
    known = {device.id: device.pci_address for device in hardware_devices(examine_hardware(kernel).nodes)}
    quarantine = MachineQuarantine(path)
    if not quarantine.release(known.get(name, name)):
        there = ", ".join(quarantine.names()) or "none"
        raise ReleaseError(f"{name} is not in quarantine in {path}; there are {there}")
    return f"{name} is out of quarantine"


def _holder(leases: LeaseDirectory | None, name: str) -> str:
    holders = leases.holders(name) if leases is not None else None
    if holders is None:
        return "-"
    return "; ".join(map(str, holders)) or "a process that does not say who it is"
