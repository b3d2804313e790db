"""The GPUs of a machine, all the names and numbers that programs know them by, and who uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_amdgpu.devices.hardware import examine_hardware
from pytest_amdgpu.devices.identity import hardware_devices
from pytest_amdgpu.devices.leases import LeaseDirectory, default_directory
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine
from pytest_amdgpu.kernel.protocol import Kernel

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
)


class NoDevicesError(RuntimeError):
    """No GPU can be used; the message says why."""


class ReleaseError(RuntimeError):
    """A device that is to be released is not in quarantine."""


def lines(kernel: Kernel, lease_directory: Path | None = None) -> Iterator[str]:
    """Yield a table of the usable GPUs, and what stands in the way of others; raises `NoDevicesError`.

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
    for number, (node, device) in enumerate(zip(report.nodes, hardware_devices(report.nodes), strict=True)):
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
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield from obstacles


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
