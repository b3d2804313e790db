"""What is decided once per run: on which GPUs of which machines its tests run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.devices.backends import BackendError
from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.devices.machine import Machine, NoUsableGpuError, find_machine
from pytest_amdgpu.devices.selection import DeviceSelectionError, select_devices
from pytest_amdgpu.devices.software import SoftwareSpecError, parse_software
from pytest_amdgpu.emulator.behaviour import DEFAULT_BEHAVIOUR
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.plugin import injection
from pytest_amdgpu.plugin.options import choose_seed, refuse_software_options

if TYPE_CHECKING:
    from pytest_amdgpu.plugin.remote.hosts import Hosts

hosts_key = pytest.StashKey["Hosts"]()
"""The connections to other hosts, in the controller of a run that has such."""
_plan_key = pytest.StashKey["Plan"]()


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is decided once per run, and the same in all its processes."""

    machine: Machine
    selected: tuple[DeviceInfo, ...]
    """Devices that tests run on."""
    pool: tuple[DeviceInfo, ...]
    """Devices that a test which needs several may have besides: all, unless the run is bound to some."""
    seed: int
    injected: tuple[str, ...] = ()
    """What software GPUs were told to do wrong, as the options say it."""
    elsewhere: tuple[DeviceInfo, ...] = ()
    """The devices of all hosts of the run, where there are several; else `machine` has all."""
    hosts: tuple[tuple[str, str], ...] = ()
    """Names and gateways of hosts."""
    host: str = ""
    """Name of the host that has `machine`; empty for that of the controller."""

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """All devices that there are for the run."""
        return self.elsewhere if self.hosts else self.machine.devices

    @property
    def uses_machine(self) -> bool:
        """Whether `machine` is one of the run's; the controller's is none where all workers are elsewhere."""
        return not self.hosts or bool(self.machine.devices)

    def on_host(self, name: str, machine: Machine) -> Plan:
        """Return it as a worker on a host needs it."""
        return dataclasses.replace(self, host=name, machine=machine)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for a worker."""
        return {
            "machine": self.machine.to_json(),
            "host": self.host,
            "elsewhere": [device.to_json() for device in self.elsewhere],
            "hosts": [list(host) for host in self.hosts],
            "selected": [device.id for device in self.selected],
            "pool": [device.id for device in self.pool],
            "seed": self.seed,
            "injected": list(self.injected),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Undo `to_json`."""
        machine = Machine.from_json(values["machine"])
        elsewhere = tuple(DeviceInfo.from_json(device) for device in values["elsewhere"])
        hosts = tuple((name, spec) for name, spec in values["hosts"])
        selected, pool = (
            tuple(device for device in (elsewhere if hosts else machine.devices) if device.id in values[key])
            for key in ("selected", "pool")
        )
        injected = tuple(values["injected"])
        return cls(machine, selected, pool, values["seed"], injected, elsewhere, hosts, values["host"])


def find_plan(config: pytest.Config) -> Plan:
    """Find the GPUs and choose those that tests use, once in a run; raises `pytest.UsageError`."""
    if _plan_key not in config.stash:
        config.stash[_plan_key] = _make_plan(config)
    return config.stash[_plan_key]


def _make_plan(config: pytest.Config) -> Plan:
    _check_compiler(config)
    options = {
        "backend": config.getoption("--amdgpu-backend"),
        "software": config.getoption("--amdgpu-software"),
        "model_files": config.getoption("--amdgpu-model"),
        "behaviour": config.getoption("--amdgpu-software-kernel") or DEFAULT_BEHAVIOUR,
        "nearest_target": config.getoption("--amdgpu-nearest-target"),
        "hostile": config.getoption("--amdgpu-hostile"),
    }
    hosts = _connect_hosts(config, options)
    if hosts is None or hosts.has_local:
        machine = _find_machine(options)
    else:
        machine = Machine("hardware", "none is used here", ())
    machines = [machine]
    if hosts is not None:
        hosts.refuse_one_machine_twice(machine)
        machines += [host.machine for host in hosts.all]
    if not any(one.software for one in machines):
        refuse_software_options(config, f"{machine.backend} GPUs ({machine.reason})")
    elsewhere = () if hosts is None else (*machine.devices, *hosts.devices)
    devices = machine.devices if hosts is None else elsewhere
    try:
        selected = select_devices(
            devices,
            config.getoption("--amdgpu-device"),
            all_devices=config.getoption("--amdgpu-all-devices"),
        )
    except DeviceSelectionError as error:
        raise pytest.UsageError(f"--amdgpu-device: {error}") from error
    injected: list[str] = config.getoption("--amdgpu-inject")
    injection.check(injected, machines)
    pool = selected if config.getoption("--amdgpu-device") else devices
    named = () if hosts is None else tuple((host.name, host.key) for host in hosts.all)
    seed = choose_seed(config)
    return Plan(machine, tuple(selected), tuple(pool), seed, tuple(injected), elsewhere, named)


def _check_compiler(config: pytest.Config) -> None:
    """Refuse a compiler that is not there, before tests fail by it one by one."""
    if option := config.getoption("--amdgpu-compiler"):
        from pytest_amdgpu.driver.compiler import CompilerError, find_compiler

        try:
            find_compiler(option)
        except CompilerError as error:
            raise pytest.UsageError(str(error)) from error


def _find_machine(options: Mapping[str, Any]) -> Machine:
    try:
        return find_machine(**options)
    except NoUsableGpuError as error:
        raise pytest.UsageError(f"--amdgpu-backend={options['backend']}: {error}") from error
    except BackendError as error:
        raise pytest.UsageError(f"--amdgpu-backend: {error}") from error
    except SoftwareSpecError as error:
        raise pytest.UsageError(f"--amdgpu-software: {error}") from error
    except ModelFileError as error:
        raise pytest.UsageError(f"--amdgpu-model: {error}") from error


def _connect_hosts(config: pytest.Config, options: Mapping[str, Any]) -> Hosts | None:
    """Connect to the hosts of the run, if it has other ones than this machine."""
    if not config.getoption("tx", None):
        return None
    from pytest_amdgpu.plugin.remote import hosts

    if files := options["model_files"]:
        # Hosts are sent what they hold, and would tell other names.
        try:
            parse_software(None, files, nearest_target=options["nearest_target"])
        except ModelFileError as error:
            raise pytest.UsageError(f"--amdgpu-model: {error}") from error
    connected = hosts.connect(config, options)
    if connected is not None:
        config.stash[hosts_key] = connected
    return connected
