"""Runs over several hosts: the gateways of `--tx` that are not plain processes of this machine.

A host is what workers share: a machine, and the environment that decides which of its GPUs they see. It is
told from others by the text of its gateway, without the id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.devices.lease_holder import boot_id
from pytest_amdgpu.devices.machine import Machine
from pytest_amdgpu.plugin.options import INFRASTRUCTURE
from pytest_amdgpu.plugin.remote import gateway_repairs
from pytest_amdgpu.plugin.remote.host import Host
from pytest_amdgpu.plugin.remote.remote_arguments import RemoteArguments

if TYPE_CHECKING:
    import execnet

    from pytest_amdgpu.devices.identity import DeviceInfo

_END_TIMEOUT = 10.0
"""Seconds after which a connection that does not end is killed."""
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_WITHOUT_EFFECT = ("id=", "execmodel=", "nice=", "dont_write_bytecode")
"""Parts of a gateway's text that do not make it another host."""


def key_of(spec: object) -> str:
    """Return what tells the host of a gateway from others; empty for a plain process of this machine."""
    parts = [part for part in str(spec).split("//") if not part.startswith(_WITHOUT_EFFECT)]
    return "" if parts == ["popen"] else "//".join(parts)


def connect(config: pytest.Config, options: Mapping[str, Any]) -> Hosts | None:
    """Ask all hosts of a run which GPUs they have; None if it is of this machine only.

    Raises `pytest.UsageError`; ends the run where a host cannot be reached.
    """
    if not are_used(config):
        return None
    specs = gateways(config)
    # What pytest-xdist makes them otherwise lets them serve one worker only.
    config.option.px = [px if "execmodel=" in px else f"execmodel=thread//{px}" for px in config.option.px]
    arguments = RemoteArguments(config)
    _translate_arguments(config, arguments)
    gateway_repairs.use(config)
    hosts = Hosts(config, specs)
    config.add_cleanup(hosts.end)
    for host in hosts.all:
        paths = arguments.must_be_there() if host.has_directory else []
        host.ask(config, options, paths)
    return hosts


def _translate_arguments(config: pytest.Config, arguments: RemoteArguments) -> None:
    """Let pytest-xdist give workers in other directories these arguments, as long as the run lasts."""
    from xdist import workermanage

    own = workermanage.make_reltoroot
    workermanage.make_reltoroot = arguments

    def undo() -> None:
        workermanage.make_reltoroot = own

    config.add_cleanup(undo)


def are_used(config: pytest.Config) -> bool:
    """Whether the run has other hosts than this machine."""
    return any(map(key_of, gateways(config)))


def gateways(config: pytest.Config) -> list[str]:
    """Return the texts of the gateways that --tx names, if the run is distributed over those."""
    if not config.getoption("tx", []) or config.option.numprocesses:
        return []
    from xdist.workermanage import parse_tx_spec_config

    return list(parse_tx_spec_config(config))


class Hosts:
    """All hosts of a run, and the connections to them, which end with the run."""

    def __init__(self, config: pytest.Config, specs: Sequence[str]) -> None:
        """Connect; raises `pytest.UsageError` for gateways that cannot be told apart or not be made."""
        import execnet

        self._group = execnet.Group()
        self.all: list[Host] = []
        self.has_local = not all(map(key_of, specs))
        """Whether plain processes of this machine take part."""
        by_key: dict[str, execnet.XSpec] = {}
        for spec in specs:
            if key := key_of(spec):
                by_key.setdefault(key, execnet.XSpec(spec))
        names = {key: name_of(spec, number) for number, (key, spec) in enumerate(by_key.items())}
        for gateway in by_key.values():
            if gateway.via and not gateway.chdir:
                raise pytest.UsageError(
                    f"--tx: {gateway}: add chdir=DIRECTORY; without it pytest-xdist takes a worker behind a"
                    " proxy for one of this machine"
                )
        for key, name in names.items():
            if not _NAME.fullmatch(name):
                raise pytest.UsageError(
                    f"--tx: {by_key[key]}: a host cannot be called {name!r}; allowed are letters, digits,"
                    " '_', '.' and '-'"
                )
            if list(names.values()).count(name) > 1:
                raise pytest.UsageError(f"--tx: {by_key[key]}: two hosts are called {name}; add id=NAME")
        for proxy in config.option.px:
            self._connect(execnet.XSpec(proxy))
        for key, gateway in by_key.items():
            self.all.append(Host(names[key], key, self._connect(gateway), gateway.env))

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        """The devices of all hosts."""
        return tuple(device for host in self.all for device in host.machine.devices)

    def refuse_one_machine_twice(self, here: Machine) -> None:
        """Raise `pytest.UsageError` where a GPU is one of two hosts, or of one and this machine, `here`.

        Each would wait for the other's lease of it.
        """
        known: dict[tuple[str, str], str] = {}
        for name, boot, machine in (
            ("this machine", boot_id(), here),
            *((f"host {host.name}", host.boot, host.machine) for host in self.all),
        ):
            for device in () if machine.is_private else machine.devices:
                other = known.setdefault((boot, device.pci_address), name)
                if other != name:
                    raise pytest.UsageError(
                        f"--tx: {name} and {other} are one machine: both have the GPU {device.pci_address};"
                        " give their gateways the same text, but for the id, to have several workers there"
                    )

    def end(self) -> None:
        """Let the hosts give their leases back, and end the connections."""
        for host in self.all:
            host.part()
        self._group.terminate(_END_TIMEOUT)

    def of(self, spec: object) -> Host | None:
        """Return the host that a gateway is on, or None for this machine."""
        key = key_of(spec)
        return next((host for host in self.all if host.key == key), None)

    def _connect(self, spec: execnet.XSpec) -> execnet.Gateway:
        import execnet

        try:
            gateway = self._group.makegateway(spec)
            # Where ssh is there and Python is not, execnet 2.1.2 takes it for one.
            gateway._rinfo()
            return gateway
        except (execnet.HostNotFound, execnet.RemoteError, OSError, EOFError, ValueError) as error:
            pytest.exit(
                f"amdgpu: no test was run: no connection to {spec}: {type(error).__name__}: {error}",
                returncode=INFRASTRUCTURE,
            )


def name_of(spec: execnet.XSpec, number: int) -> str:
    """Return the name of a host: the gateway's id, its address, or a number."""
    if spec.id is not None:
        return str(spec.id)
    if spec.ssh:
        words = [word for word in str(spec.ssh).split() if not word.startswith("-")]
        return words[-1].rpartition("@")[2]
    if spec.socket:
        return str(spec.socket).replace(":", "-")
    return str(spec.via) if spec.via else f"host{number}"
