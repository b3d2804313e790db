"""A run leases the GPUs that its tests use, from before the first of them to its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.plugin.options import HEARTBEAT, INFRASTRUCTURE
from pytest_amdgpu.plugin.plan import Plan
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.results.node_ids import DeviceIds

if TYPE_CHECKING:
    from pytest_amdgpu.devices.lease_holder import Holder
    from pytest_amdgpu.devices.leases import Lease
    from pytest_amdgpu.devices.machine import Machine
    from pytest_amdgpu.plugin.watching.heartbeat import Heartbeat

_lease_key: pytest.StashKey[Lease] = pytest.StashKey()


def take_leases(config: pytest.Config, node_ids: Iterable[str]) -> None:
    """Wait until the devices that tests of these ids run on are free, and keep others off them.

    Software GPUs are each process's own; they are leased only in a directory that an option names. A run that
    waits too long ends with `INFRASTRUCTURE`, for none of its tests has failed.
    """
    kind: str = config.getoption("--amdgpu-lease")
    wanted: str | None = config.getoption("--amdgpu-lease-directory")
    plan = config.stash[session_key].plan
    if kind == "none" or (wanted is None and plan.machine.software) or _lease_key in config.stash:
        return
    names = lease_names(plan.machine, _used(plan, node_ids))
    if not names:
        return
    # Most runs end above, and do not pay for the import.
    from pytest_amdgpu.devices.leases import (
        LeaseDirectory,
        LeaseError,
        LeaseTimeoutError,
        default_directory,
    )

    timeout: float = config.getoption("--amdgpu-lease-timeout")

    def waiting(name: str, holders: Sequence[Holder]) -> None:
        by = "; ".join(map(str, holders)) or "a process that does not say who it is"
        terminal = config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(f"amdgpu: waiting at most {timeout:g} s for {name}, in use by {by}")

    purpose = f"pytest in {config.invocation_params.dir}"
    try:
        directory = LeaseDirectory(Path(wanted) if wanted else default_directory())
        with at_rest(config):
            config.stash[_lease_key] = directory.take(
                names, purpose, shared=kind == "shared", timeout=timeout, waiting=waiting
            )
    except LeaseError as error:
        raise pytest.UsageError(f"--amdgpu-lease-directory: {error}") from error
    except LeaseTimeoutError as error:
        pytest.exit(f"amdgpu: no test was run: {error}", returncode=INFRASTRUCTURE)


def release_leases(config: pytest.Config) -> None:
    """Let others have the devices."""
    if lease := config.stash.get(_lease_key, None):
        lease.release()


@contextlib.contextmanager
def at_rest(config: pytest.Config) -> Iterator[None]:
    """Let the supervisor not take this process for one that hangs, while it waits for who has a lease."""
    heartbeat: Heartbeat | None = config.pluginmanager.getplugin(HEARTBEAT)
    with contextlib.nullcontext() if heartbeat is None else heartbeat.rest():
        yield


class BusyError(RuntimeError):
    """Devices that no test of the run was made for are in use by others; the message says by whom."""


@contextlib.contextmanager
def borrowed(
    config: pytest.Config, tests: Iterable[pytest.Item], devices: Iterable[DeviceInfo]
) -> Iterator[None]:
    """Lease devices besides those of the run's tests for a while; raises `BusyError` rather than wait."""
    kind: str = config.getoption("--amdgpu-lease")
    wanted: str | None = config.getoption("--amdgpu-lease-directory")
    plan = config.stash[session_key].plan
    if kind == "none" or (wanted is None and plan.machine.software):
        yield
        return
    from pytest_amdgpu.devices.leases import (
        LeaseDirectory,
        LeaseError,
        LeaseTimeoutError,
        default_directory,
    )

    mine = _used(plan, (test.nodeid for test in tests))
    machine = plan.machine
    more = lease_names(machine, {device.id for device in devices}) - lease_names(machine, mine)
    purpose = f"pytest in {config.invocation_params.dir}, to run failing tests again"
    try:
        directory = LeaseDirectory(Path(wanted) if wanted else default_directory())
        lease = directory.take(more, purpose, shared=kind == "shared")
    except (LeaseError, LeaseTimeoutError) as error:
        raise BusyError(str(error)) from error
    with lease:
        yield


def machine_name(machine: Machine, device: DeviceInfo) -> str:
    """Return what a device is called in the lease directory: hardware by its PCI address.

    Under that every program of the machine knows it.
    """
    return device.local_id if machine.software else device.pci_address


def lease_names(machine: Machine, device_ids: Set[str]) -> set[str]:
    """Return what those of a machine's devices are called there that have these ids."""
    return {machine_name(machine, device) for device in machine.devices if device.id in device_ids}


def _used(plan: Plan, node_ids: Iterable[str]) -> set[str]:
    """The ids of the devices that tests are parametrized with."""
    return DeviceIds(device.id for device in plan.pool).found_in_any(node_ids)
