"""A run goes on without a host that died or cannot be reached any more. Hooks of the controller's."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_amdgpu.plugin.blame import INFRA_PROPERTY, TIMEOUT_PROPERTY
from pytest_amdgpu.plugin.leasing import at_rest
from pytest_amdgpu.plugin.options import INFRASTRUCTURE, is_supervised
from pytest_amdgpu.plugin.plan import hosts_key
from pytest_amdgpu.plugin.remote.host_contact import HostLostError
from pytest_amdgpu.plugin.session import session_key

if TYPE_CHECKING:
    import execnet
    from xdist.workermanage import WorkerController

    from pytest_amdgpu.plugin.remote.host import Host
    from pytest_amdgpu.plugin.workers.device_scheduling import DeviceScheduling

PLUGIN = "amdgpu_host_loss"


class HostLoss:
    """Tells a lost host from a worker that died, and lets pytest-xdist not look for workers there."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._have_met = False
        self._nodes: list[WorkerController] = []
        self._told: set[str] = set()
        """Names of the hosts whose loss is known to all."""
        self._cut: set[WorkerController] = set()
        """Workers that lived on when their connection was lost."""

    @property
    def _distributed(self) -> Any:
        return self._config.pluginmanager.getplugin("dsession")

    # Between the plan, which finds the hosts, and pytest-xdist, which makes workers there.
    def pytest_sessionstart(self) -> None:
        """Begin to watch workers, and to see whether the hosts are there."""
        supervision = self._config.pluginmanager.getplugin("amdgpu_supervision")
        for host in self._hosts():
            supervise = is_supervised(self._config.option) and not host.is_this_machine
            host.meet(supervision if supervise else None)
            if host.contact.lost:
                self._end_before_tests(f"host {host.name} was lost: {host.contact.lost}")
        self._distributed._clone_node = self._clone
        self._have_met = True

    @pytest.hookimpl(wrapper=True, specname="pytest_sessionstart")
    def pytest_amdgpu_end_without_workers(self) -> Generator[None, object, object]:
        """End the run where pytest-xdist cannot make the first workers."""
        import execnet

        try:
            return (yield)
        except (execnet.HostNotFound, execnet.RemoteError, OSError, EOFError) as error:
            if not self._have_met:
                raise
            lost = [host for host in self._hosts() if host.contact.lost]
            self._end_before_tests(
                "; ".join(f"host {host.name} was lost: {host.contact.lost}" for host in lost)
                or f"a worker cannot be made: {type(error).__name__}: {error}"
            )

    @staticmethod
    def _end_before_tests(why: str) -> NoReturn:
        pytest.exit(f"amdgpu: no test was run: {why}", returncode=INFRASTRUCTURE)

    def pytest_xdist_newgateway(self, gateway: execnet.Gateway) -> None:
        """Know of a connection, on which pytest-xdist may send tests before there is a worker."""
        hosts = self._config.stash.get(hosts_key, None)
        if hosts is not None and (host := hosts.of(gateway.spec)) is not None:
            host.contact.reach(gateway)

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Know of a worker."""
        self._nodes.append(node)
        if (host := self._host(node)) is not None:
            host.contact.add(node.gateway)

    # First, because others ask what is in quarantine, and what the supervisor there has told.
    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: WorkerController, error: object) -> None:
        """Find out what a worker's end is due to."""
        host = self._host(node)
        if not error or host is None:
            return
        try:
            with at_rest(self._config):
                lived = host.contact.examine(node.gateway)
            if lived:
                self._cut.add(node)
        except HostLostError:
            self._tell(host)

    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Blame no test for the loss of its host."""
        text = self.loss(report.node)
        if text and all(name != TIMEOUT_PROPERTY for name, _ in report.user_properties):
            report.longrepr = text
            file, _, name = crashitem.partition("::")
            # pytest-xdist has the file for the test's name.
            report.location = (file, None, name)
            report.user_properties.append((INFRA_PROPERTY, HostLostError.__name__))

    def loss(self, node: WorkerController) -> str:
        """Return what to say of the test that a worker ran when its host or its connection was lost."""
        host = self._host(node)
        if host is not None and host.contact.lost:
            return f"host {host.name} was lost while it ran this test: {host.contact.lost}"
        if host is not None and node in self._cut:
            return (
                f"the connection to worker {node.gateway.id} was lost while it ran this test; host"
                f" {host.name} is there, and has ended the worker"
            )
        return ""

    def _clone(self, node: WorkerController | SimpleNamespace) -> None:
        """Have a worker in another one's place, in place of pytest-xdist's `DSession._clone_node`."""
        import execnet

        host = self._host(node)
        if host is None:
            type(self._distributed)._clone_node(self._distributed, node)
            return
        if not host.contact.lost:
            try:
                type(self._distributed)._clone_node(self._distributed, node)
                return
            except (execnet.HostNotFound, execnet.RemoteError, OSError, EOFError) as error:
                host.contact.lose(f"no other worker can be had there ({type(error).__name__}: {error})")
        self._tell(host)
        self._go_on_without(node)

    def _go_on_without(self, node: WorkerController | SimpleNamespace) -> None:
        """Let others do what is left, or end the run if there are none."""
        distributed, scheduling = self._distributed, self._scheduling
        if scheduling is not None:
            scheduling.expect_fewer()
        if scheduling is not None and scheduling.is_stranded and self._have_another():
            return
        if all(self._is_lost(one) for one in distributed._active_nodes - {node}):
            distributed.triggershutdown()

    def _have_another(self) -> bool:
        """Have a worker on a host that is not lost; return whether there is such a host."""
        for node in self._nodes:
            if not self._is_lost(node):
                like = SimpleNamespace(gateway=SimpleNamespace(spec=copy.copy(node.gateway.spec)))
                self._clone(like)
                return True
        return False

    def _tell(self, host: Host) -> None:
        """Let all know that a host is lost."""
        if host.name in self._told:
            return
        self._told.add(host.name)
        text = f"host {host.name} was lost: {host.contact.lost}"
        for device in host.machine.devices:
            self._config.stash[session_key].quarantine.add(device.id, text)
        if (gate := self._config.pluginmanager.getplugin("amdgpu_gate")) is not None:
            gate.blame_machine(text)
        self._distributed.report_line(f"\namdgpu: {text}")

    @property
    def _scheduling(self) -> DeviceScheduling | None:
        from pytest_amdgpu.plugin.workers.device_scheduling import DeviceScheduling

        scheduling = self._distributed.sched
        return scheduling if isinstance(scheduling, DeviceScheduling) else None

    def _is_lost(self, node: WorkerController) -> bool:
        host = self._host(node)
        return host is not None and bool(host.contact.lost)

    def _hosts(self) -> Iterator[Host]:
        hosts = self._config.stash.get(hosts_key, None)
        return iter(() if hosts is None else hosts.all)

    def _host(self, node: WorkerController | SimpleNamespace) -> Host | None:
        hosts = self._config.stash.get(hosts_key, None)
        return None if hosts is None else hosts.of(node.gateway.spec)
