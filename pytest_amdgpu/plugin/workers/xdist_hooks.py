"""Hooks of pytest-xdist; registered only where that plugin is in use."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.devices.lease_holder import boot_id
from pytest_amdgpu.plugin.blame import INFRA_PROPERTY, QUARANTINE_PROPERTY
from pytest_amdgpu.plugin.confirming.crash_trial import died_in_trial
from pytest_amdgpu.plugin.leasing import at_rest, lease_names, take_leases
from pytest_amdgpu.plugin.plan import Plan, find_plan, hosts_key
from pytest_amdgpu.plugin.report import REPEAT_INPUT, command_of, reproduction
from pytest_amdgpu.plugin.session import (
    QUARANTINE_INPUT,
    WORKER_INPUT,
    GpuSession,
    QuarantinedError,
    session_key,
)
from pytest_amdgpu.plugin.workers.device_locks import LOCKS_INPUT, DeviceLocks
from pytest_amdgpu.plugin.workers.leaving import LEAVING_INPUT, LEAVING_OUTPUT, Leaving
from pytest_amdgpu.plugin.workers.refusals import Refusals
from pytest_amdgpu.plugin.workers.schedule_parts import Task
from pytest_amdgpu.results.node_ids import DeviceIds

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from pytest_amdgpu.plugin.remote.host import Host
    from pytest_amdgpu.plugin.workers.device_scheduling import DeviceScheduling

_OWN_MODE = "load"
"""The mode of `--dist` whose scheduler is replaced: the default of `-n`."""
_BREAKING_MODES = {
    "loadgroup": "ends with an internal error, or never, if a worker dies",
    "loadscope": "runs a test that kills its worker again and again",
    "loadfile": "runs a test that kills its worker again and again",
}
"""What was seen of other modes of pytest-xdist 3.8.0."""
_RESTARTS_PER_WORKER = 4
"""As pytest-xdist has it for -n; with --tx it restarts workers without end unless told otherwise."""
_SHOWN = 20
"""Tests that a list in the summary names."""


def register(config: pytest.Config) -> None:
    """Take part in a run of several processes, as the controller or as a worker."""
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.pluginmanager.register(Refusals(config), "amdgpu_refusals")
        if directory := worker_input[LOCKS_INPUT]:
            timeout: float = config.getoption("--amdgpu-lease-timeout")
            config.pluginmanager.register(DeviceLocks(Path(directory), timeout), "amdgpu_locks")
        if worker_input[LEAVING_INPUT]:
            config.pluginmanager.register(Leaving(config), "amdgpu_leaving")
    elif config.getoption("dist") != "no" and config.getoption("tx") and not config.option.collectonly:
        from pytest_amdgpu.plugin.remote import host_loss, hosts

        config.pluginmanager.register(XdistHooks(config), "amdgpu_xdist")
        if hosts.are_used(config):
            config.pluginmanager.register(host_loss.HostLoss(config), host_loss.PLUGIN)


def number_of_workers(config: pytest.Config) -> int | None:
    """Return how many workers `-n auto` means, or None if somebody else has an opinion.

    On hardware it is one for each selected GPU; software GPUs need no more than there are cores for.
    """
    others = config.hook.pytest_xdist_auto_num_workers.get_hookimpls()
    own = ("xdist.plugin", "pytest_amdgpu.plugin")
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ or any(
        getattr(one.plugin, "__name__", "") not in own for one in others
    ):
        return None
    plan = find_plan(config)
    return len(os.sched_getaffinity(0)) if plan.machine.is_private else len(plan.selected)


class _Needs:
    """Tells what tests need by their ids."""

    def __init__(self, plan: Plan) -> None:
        self._ids = DeviceIds(device.id for device in plan.pool)
        self._hosts = {device.id: device.host for device in plan.pool} if plan.hosts else {}

    def __call__(self, node_id: str) -> Task:
        devices = self._ids.found_in(node_id)
        return Task(devices, self._hosts.get(devices[0]) if devices else None)


class XdistHooks:
    """Runs in the controller."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._locks: str | None = None
        self._leased = False
        self._scheduling: DeviceScheduling | None = None
        self._deaths: list[str] = []
        """What to say of each worker that died and of no test."""
        if config.option.maxworkerrestart is None and not config.option.numprocesses:
            from xdist.workermanage import parse_tx_spec_config

            config.option.maxworkerrestart = str(_RESTARTS_PER_WORKER * len(parse_tx_spec_config(config)))

    @property
    def _session(self) -> GpuSession:
        return self._config.stash[session_key]

    def pytest_report_header(self) -> list[str]:
        """Tell the hosts; warn of modes that do not survive the death of a worker."""
        lines = []
        for host in self._hosts:
            machine = host.machine
            lines.append(f"amdgpu: host {host.name} ({host.key}): {machine.backend} GPUs ({machine.reason})")
            if machine.backend == "hardware":
                lines += [f"amdgpu: host {host.name}: cannot be used, {note}" for note in machine.notes]
        mode = self._config.getoption("dist")
        if mode not in _BREAKING_MODES:
            return lines
        return [
            *lines,
            f"amdgpu: warning: --dist={mode} {_BREAKING_MODES[mode]}; --dist={_OWN_MODE} does not",
        ]

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Send a worker what was found here: workers that looked for themselves could find different GPUs."""
        plan, host = self._session.plan, self._host(node)
        if host is not None:
            plan, locks = plan.on_host(host.name, host.machine), host.locks
        else:
            if self._locks is None and not plan.machine.is_private:
                self._locks = tempfile.mkdtemp(prefix="pytest-amdgpu-locks-")
            locks = self._locks
        node.workerinput |= {
            WORKER_INPUT: plan.to_json(),
            QUARANTINE_INPUT: [list(entry) for entry in self._session.quarantine],
            LOCKS_INPUT: locks,
            REPEAT_INPUT: list(command_of(self._config, self._session.plan)),
            LEAVING_INPUT: self._config.getoption("dist") == _OWN_MODE,
        }

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> DeviceScheduling | None:
        """Give tests to workers by their devices, unless another mode was asked for."""
        if config.getoption("dist") != _OWN_MODE:
            return None
        from pytest_amdgpu.plugin.workers.device_scheduling import DeviceScheduling

        plan = self._session.plan
        machines = [plan.machine, *(host.machine for host in self._hosts)]
        self._scheduling = DeviceScheduling(
            config,
            log,
            need=_Needs(plan),
            host=lambda node: host.name if (host := self._host(node)) else "",
            exclusive={one.id for machine in machines if not machine.is_private for one in machine.devices},
            before=self._withdraw_quarantined,
        )
        return self._scheduling

    def pytest_xdist_node_collection_finished(self, node: WorkerController, ids: Sequence[str]) -> None:
        """Lease the GPUs of the tests, which only workers collect."""
        take_leases(node.config, ids)
        if node.config.getoption("--amdgpu-lease") == "none" or self._leased:
            return
        self._leased = True
        plan = self._session.plan
        used = DeviceIds(device.id for device in plan.pool).found_in_any(ids)
        # Software GPUs of two hosts that are one machine can have one name, and one lease.
        taken = {(boot_id(), name) for name in lease_names(plan.machine, used)} if self._hosts else set()
        for host in self._hosts:
            if host.machine.is_private and node.config.getoption("--amdgpu-lease-directory") is None:
                continue
            names = {(host.boot, name) for name in lease_names(host.machine, used)} - taken
            taken |= names
            if names:
                with at_rest(node.config):
                    host.lease(node.config, {name for _, name in names})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Know what a worker runs."""
        if self._scheduling is not None:
            self._scheduling.mark_test_begun(nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Know that a worker will report no more of a test."""
        if self._scheduling is not None:
            self._scheduling.mark_test_reported(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Put a device in quarantine, if a worker says so."""
        for name, value in report.user_properties:
            if name == QUARANTINE_PROPERTY and isinstance(value, list | tuple):
                device_id, reason = value
                self._session.quarantine.add(str(device_id), str(reason))

    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Tell how to repeat a test that its worker died of."""
        report.sections.append(("amdgpu", "\n".join(self._reproduction(crashitem))))

    def pytest_testnodedown(self, node: WorkerController, error: object) -> None:
        """Replace a worker that left, and note the death of one that no test's report will tell."""
        if not error and self._scheduling is not None and node.workeroutput.get(LEAVING_OUTPUT):
            self._replace(node)
        if died_in_trial(self._config, node):
            return
        if error and self._scheduling is not None and self._scheduling.running(node) is None:
            collected = self._scheduling.has_collected(node)
            when = "while it ran no test" if collected else "before it had collected tests"
            self._deaths.append(f"{node.gateway.id} died {when}: {error}")

    def _replace(self, node: WorkerController) -> None:
        """Have another worker, if there is something to do, as pytest-xdist has after a crash."""
        assert self._scheduling is not None
        distributed: Any = self._config.pluginmanager.getplugin("dsession")
        if self._scheduling.let_go(node) and not distributed.shouldstop:
            distributed.shuttingdown = False
            distributed._clone_node(node)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let a run fail that lost tests, or workers for which no test is to blame."""
        deaths = self._unexplained()
        if session.exitstatus == pytest.ExitCode.OK and (self._not_run() or deaths):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        gate = self._config.pluginmanager.getplugin("amdgpu_gate")
        if gate is not None:
            for death in deaths:
                gate.blame_machine(death)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode
    ) -> None:
        """Name tests that were not run, and workers that died between tests."""
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            # Whoever stopped the run knows that it is not whole.
            return
        for title, lines in (
            ("workers that died and of no test", self._unexplained()),
            ("tests that were not run", self._not_run()),
        ):
            if lines:
                terminalreporter.section(f"amdgpu: {title}", red=True)
            for line in lines[:_SHOWN]:
                terminalreporter.line(line)
            if len(lines) > _SHOWN:
                terminalreporter.line(f"... and {len(lines) - _SHOWN} more")

    def pytest_unconfigure(self) -> None:
        """Remove the locks; all workers have ended."""
        if self._locks is not None:
            shutil.rmtree(self._locks, ignore_errors=True)

    @property
    def _hosts(self) -> list[Host]:
        hosts = self._config.stash.get(hosts_key, None)
        return [] if hosts is None else hosts.all

    def _host(self, node: WorkerController) -> Host | None:
        """Return the host of a worker, or None if it is this machine."""
        hosts = self._config.stash.get(hosts_key, None)
        return None if hosts is None else hosts.of(node.gateway.spec)

    def _not_run(self) -> list[str]:
        return [] if self._scheduling is None else self._scheduling.left()

    def _unexplained(self) -> list[str]:
        """The deaths of workers, in a run that has to do with devices at all."""
        ids = [] if self._scheduling is None else self._scheduling.ids
        devices = DeviceIds(device.id for device in self._session.plan.pool)
        return self._deaths if devices.found_in_any(ids) else []

    def _withdraw_quarantined(self, scheduling: DeviceScheduling) -> None:
        """Report the tests of devices in quarantine that no worker has been sent yet."""
        for device_id, reason in self._session.quarantine:
            for node_id in scheduling.withdraw(device_id):
                error = QuarantinedError(f"{device_id} is in quarantine: {reason}")
                self._report_not_run(node_id, error)

    def _report_not_run(self, node_id: str, error: QuarantinedError) -> None:
        """Report a test as failed at set-up, with the tear-down that ends each test."""
        file = node_id.partition("::")[0]
        text = f"{type(error).__name__}: {error}"
        failed = pytest.TestReport(
            nodeid=node_id,
            location=(file, None, node_id),
            keywords={},
            outcome="failed",
            longrepr=text,
            when="setup",
            sections=[("amdgpu", "\n".join(self._reproduction(node_id)))],
            user_properties=[(INFRA_PROPERTY, type(error).__name__)],
        )
        ended = pytest.TestReport(
            nodeid=node_id,
            location=(file, None, node_id),
            keywords={},
            outcome="passed",
            longrepr=None,
            when="teardown",
            user_properties=failed.user_properties,
        )
        for report in (failed, ended):
            self._config.hook.pytest_runtest_logreport(report=report)

    def _reproduction(self, node_id: str) -> list[str]:
        plan = self._session.plan
        by_id = {device.id: device for device in plan.pool}
        devices = [by_id[one] for one in DeviceIds(by_id).found_in(node_id)]
        for host in self._hosts:
            if any(device.host == host.name for device in devices):
                plan = plan.on_host(host.name, host.machine)
        return list(reproduction(self._config, plan, devices, node_id))
