"""The quarantine that outlives a run: read when one begins, written with `--amdgpu-quarantine=machine`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_amdgpu.plugin.leasing import machine_name
from pytest_amdgpu.plugin.options import QUARANTINE_CHOICES, is_worker
from pytest_amdgpu.plugin.plan import hosts_key

if TYPE_CHECKING:
    from pytest_amdgpu.devices.machine import Machine
    from pytest_amdgpu.plugin.remote.hosts import Hosts
    from pytest_amdgpu.plugin.session import GpuSession

HOW_TO_RELEASE = "release it with `python -m pytest_amdgpu devices --release {}`"


def in_quarantine(machine: Machine, directory: Path) -> dict[str, str]:
    """Return which devices earlier runs have put into quarantine, and why."""
    from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine

    quarantine = MachineQuarantine(directory)
    names = {device.id: machine_name(machine, device) for device in machine.devices}
    entries = {device_id: quarantine.entry(name) for device_id, name in names.items()}
    return {
        device_id: f"of the whole machine, {entry}; {HOW_TO_RELEASE.format(names[device_id])}"
        for device_id, entry in entries.items()
        if entry is not None
    }


def _write_elsewhere(config: pytest.Config, hosts: Hosts, device_id: str, reason: str) -> None:
    """Have a device of another host put into quarantine there: its worker may not be there any more."""
    from pytest_amdgpu.plugin.remote.host import lease_directory

    directory = lease_directory(config)
    for host in hosts.all:
        if host.contact.lost or (host.machine.software and directory is None):
            continue
        for device in host.machine.devices:
            if device.id == device_id:
                host.contact.quarantine(directory, machine_name(host.machine, device), reason)


def start(config: pytest.Config, session: GpuSession) -> None:
    """Take over what earlier runs have put into quarantine, and write down what this one does if it is to.

    A worker is told by its controller. Raises `pytest.UsageError` where there is no place for it: software
    GPUs are each process's own, unless a lease directory is named.
    """
    named: str | None = config.getoption("--amdgpu-lease-directory")
    writes = config.getoption("--amdgpu-quarantine") == QUARANTINE_CHOICES[1]
    machine = session.plan.machine
    hosts = config.stash.get(hosts_key, None)
    for host in () if hosts is None else hosts.all:
        for device_id, reason in host.quarantine.items():
            session.quarantine.add(device_id, f"on host {host.name}, {reason}")
    if named is None and machine.software:
        if writes:
            raise pytest.UsageError(
                "--amdgpu-quarantine=machine: software GPUs are each run's own, unless"
                " --amdgpu-lease-directory names a place for what runs are to know of each other's"
            )
        return
    from pytest_amdgpu.devices.leases import LeaseDirectory, LeaseError, default_directory
    from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine, MachineQuarantineError

    path = Path(named) if named else default_directory()
    quarantine = MachineQuarantine(path)
    names = {device.id: machine_name(machine, device) for device in machine.devices}
    if not is_worker(config):
        for device_id, reason in in_quarantine(machine, path).items():
            session.quarantine.add(device_id, reason)
    if not writes:
        return
    try:
        LeaseDirectory(path)
    except LeaseError as error:
        raise pytest.UsageError(f"--amdgpu-quarantine=machine: {error}") from error

    def write(device_id: str, reason: str) -> None:
        if device_id not in names:
            if hosts is not None:
                _write_elsewhere(config, hosts, device_id, reason)
            return
        try:
            quarantine.add(names[device_id], reason)
        except MachineQuarantineError as error:
            warnings.warn(pytest.PytestWarning(f"--amdgpu-quarantine=machine: {error}"), stacklevel=2)

    session.quarantine.listener = write
