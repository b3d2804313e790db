"""Where results arrive: starts the supervisor, and goes on without workers that it had to end."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_amdgpu.plugin.blame import (
    CHECK,
    EVIDENCE_SECTION,
    INFRA_PROPERTY,
    OPENING,
    QUARANTINE_PROPERTY,
    TIMEOUT_PROPERTY,
)
from pytest_amdgpu.plugin.options import HEARTBEAT, is_supervised, is_worker
from pytest_amdgpu.plugin.plan import hosts_key
from pytest_amdgpu.plugin.session import DeviceHangError, session_key
from pytest_amdgpu.plugin.watching import guarding
from pytest_amdgpu.plugin.watching.doubt import Doubt
from pytest_amdgpu.plugin.workers.replacing import replace_after_all, replace_no_worker
from pytest_amdgpu.supervisor.client import Connection, SupervisorGoneError, start
from pytest_amdgpu.supervisor.protocol import MAIN, THE_RUN, Said, Told, portions, shortened

if TYPE_CHECKING:
    from pytest_amdgpu.plugin.judging.gate import Gate
    from pytest_amdgpu.results.record import Record

SUPERVISOR_INPUT = "amdgpu_supervisor"
"""Under this name a worker of pytest-xdist is told the supervisor's address."""

_IN_THIS_PROCESS = (
    "usepdb",
    "trace",
    "setuponly",
    "setupplan",
    "setupshow",
    "showfixtures",
    "show_fixtures_per_test",
    "cacheshow",
    "stepwise",
)
"""Options of pytest that have no sense or do not work in a worker."""
_ARGUMENTS = 200
"""Arguments of a command line that are passed on; of more none."""
_END_PATIENCE = 2.0
"""Seconds that the supervisor gets to end."""
_STOP_PATIENCE = 5.0
"""Seconds after which workers that are killed at Ctrl-C are gone or lost, on a machine with much to do."""
_RESTARTS = 20
"""How often the one worker is replaced, of which each time is a failed test."""


def use_a_worker(config: pytest.Config, option: argparse.Namespace) -> None:
    """Let the tests of a supervised run run in a worker of pytest-xdist, if nothing speaks against it.

    The controller then never touches a GPU, and goes on when the worker must be killed.
    """
    if not (config.pluginmanager.hasplugin("xdist") and is_supervised(option)) or is_worker(config):
        return
    chosen = option.numprocesses is not None or option.tx or option.dist != "no" or option.distload
    # What tests print is wanted at once, which workers cannot do.
    live = getattr(option, "capture", None) == "no"
    if not (chosen or live or any(getattr(option, name, False) for name in _IN_THIS_PROCESS)):
        option.numprocesses = 1
        if option.maxworkerrestart is None:
            option.maxworkerrestart = str(_RESTARTS)


def register(config: pytest.Config, gate: Gate | None) -> None:
    """Start a supervisor, which judges the run if `gate` cannot.

    Raises `pytest.UsageError` if that cannot be.
    """
    try:
        supervision = Supervision(config)
        if gate is not None:
            gate.supervise(supervision)
        else:
            supervision.introduce(os.getpid(), None, {"arguments": []})
    except (OSError, SupervisorGoneError) as error:
        raise pytest.UsageError(f"amdgpu: the supervisor cannot be started: {error}") from error
    config.pluginmanager.register(supervision, "amdgpu_supervision")


def keep_deadlines(config: pytest.Config) -> None:
    """Keep deadlines in this process, if the run is supervised."""
    supervision: Supervision | None = config.pluginmanager.getplugin("amdgpu_supervision")
    if is_worker(config):
        address, name = config.workerinput.get(SUPERVISOR_INPUT), config.workerinput["workerid"]  # type: ignore[attr-defined]
    else:
        address, name = supervision.address if supervision is not None else None, MAIN
    if address is None:
        return
    from pytest_amdgpu.plugin.watching.deadlines import Deadlines
    from pytest_amdgpu.plugin.watching.heartbeat import ControllersHeartbeat, Heartbeat

    try:
        heartbeat: Heartbeat
        if config.pluginmanager.hasplugin("dsession"):
            heartbeat = ControllersHeartbeat(config, address)
        else:
            heartbeat = Deadlines(config, address, name)
    except SupervisorGoneError:
        # The controller has noticed it, too.
        return
    config.pluginmanager.register(heartbeat, HEARTBEAT)


class Killed(NamedTuple):
    """What the supervisor said of a worker that it was about to kill."""

    test: str
    phase: str
    devices: list[str]
    text: str
    evidence: str

    @property
    def in_check(self) -> bool:
        """Whether it was the opening or the check of a device that did not end."""
        return self.phase.startswith((OPENING, CHECK))


class Supervision:
    """The controller of pytest-xdist, or the only process, as the supervisor's other side."""

    def __init__(self, config: pytest.Config) -> None:
        """Raises OSError, `SupervisorGoneError`."""
        self.troubles: list[str] = []
        """What went wrong with the supervisor, or outside of tests."""
        self._lost = False
        self._stopped = threading.Event()
        self._config = config
        self._lock = threading.Lock()
        self._killed: dict[str, Killed] = {}
        self._doubt = Doubt(config)
        config.pluginmanager.register(self._doubt, "amdgpu_doubt")
        self._nodes: dict[str, Any] = {}
        self._ended = threading.Event()
        self.exit_status: int | None = None
        """Of the verdict, if there is one and it decides."""
        self._process: subprocess.Popen[bytes] | None = None
        if guarding.ADDRESS in config.stash:
            self.address = config.stash[guarding.ADDRESS]
        else:
            self.address, self._process = start()
        self._connection: Connection | None = Connection(self.address)

    def introduce(self, pid: int, verdict: Path | None, facts: Mapping[str, Any]) -> None:
        """Say who sees the results, and what is to be written if it cannot."""
        if len(facts["arguments"]) > _ARGUMENTS:
            facts = {**facts, "arguments": []}
        self._say(Said.CONTROLLER, pid, str(verdict) if verdict else None, facts)

    def untold(self) -> dict[str, str]:
        """Return what to say of tests whose workers were killed, and of which pytest-xdist said nothing."""
        self._heed()
        with self._lock:
            return {killed.test: f"{killed.text}, which was {name}" for name, killed in self._killed.items()}

    def expect(self, devices: Sequence[str], ids: Iterable[str]) -> None:
        """Pass on which results are expected."""
        for portion in portions(ids):
            self._say(Said.EXPECT, list(devices), portion)

    def trouble(self, text: str) -> None:
        """Pass on what stands against the run as a whole."""
        self._say(Said.TROUBLE, shortened(text))

    def take(self, record: Record) -> None:
        """Pass on what became of a test."""
        values = record.to_json()
        texts = {name: shortened(values[name]) for name in ("id", "name", "text", "expected")}
        self._say(Said.RECORD, {**values, **texts})

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of this machine the address, and listen for what is said of workers."""
        hosts = self._config.stash.get(hosts_key, None)
        host = None if hosts is None else hosts.of(node.gateway.spec)
        if host is None or host.is_this_machine:
            node.workerinput[SUPERVISOR_INPUT] = self.address
        else:
            node.workerinput[SUPERVISOR_INPUT] = host.contact.supervisor
        if not self._nodes:
            threading.Thread(target=self._listen, name="amdgpu supervision", daemon=True).start()
        self._nodes[node.gateway.id] = node

    def hear(self, message: list[Any]) -> None:
        """Take in what the supervisor of another host says."""
        with self._lock:
            kind, *rest = message
            self._take(kind, rest)

    def miss(self, where: str, why: object) -> None:
        """Know that nobody watches the workers here any more, or those `where` says."""
        self.troubles.append(f"from some point on nobody watched that tests end{where}: {why}")
        print(f"amdgpu: {self.troubles[-1]}", file=sys.stderr)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Have workers end, or be ended, before pytest-xdist waits for them, which it does for long."""
        if self._nodes and excinfo.errisinstance(KeyboardInterrupt):
            self._say(Said.STOP, 1)
            self._stopped.wait(_STOP_PATIENCE)

    # First, because others see the report as it is made here.
    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """Say of a test whose worker was killed at its deadline that it timed out, and what was seen."""
        if sched.tests_finished:
            replace_no_worker(self._config)
        killed = self.killed(report.node)
        if killed is None or killed.test != shortened(crashitem):
            return
        report.longrepr = killed.text
        file, _, name = crashitem.partition("::")
        # pytest-xdist has the file for the test's name.
        report.location = (file, None, name)
        report.user_properties.append((TIMEOUT_PROPERTY, killed.phase))
        if killed.in_check:
            report.user_properties.append((INFRA_PROPERTY, DeviceHangError.__name__))
        for device in killed.devices:
            if (reason := self._config.stash[session_key].quarantine.reason(device)) is not None:
                report.user_properties.append((QUARANTINE_PROPERTY, [device, reason]))
        if killed.evidence:
            report.sections.append((EVIDENCE_SECTION, killed.evidence))

    # Last, because others may let the test run again. pytest wants a name that begins so.
    @pytest.hookimpl(optionalhook=True, trylast=True, specname="pytest_handlecrashitem")
    def pytest_amdgpu_replace_if_more_is_left(self, sched: Any) -> None:
        """Let the worker be replaced after all, if somebody has found work for another one."""
        if not sched.tests_finished:
            replace_after_all(self._config)

    def killed(self, node: Any) -> Killed | None:
        """Return, once, what the supervisor said of a worker that it killed; None if it has not."""
        # What is told before a worker is killed may not have been read yet.
        self._heed()
        with self._lock:
            killed = self._killed.pop(node.gateway.id, None)
        if killed is not None:
            self._doubt.killed(killed.devices, killed.test, killed.phase if killed.in_check else "")
        return killed

    def close(self) -> None:
        """End the supervisor, unless it has still to do with a process; it then ends by itself."""
        self._ended.set()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(self.exit_status)
        if self._process is None:
            # The guard waits for it.
            return
        try:
            self._process.wait(_END_PATIENCE)
        except subprocess.TimeoutExpired:
            # Nobody waits for it any more, and subprocess need not warn of that.
            self._process.returncode = 0

    def _say(self, *message: Any) -> None:
        if self._connection is not None:
            try:
                self._connection.say(*message)
            except SupervisorGoneError as error:
                self._lose(error)

    def _lose(self, error: SupervisorGoneError) -> None:
        if not self._ended.is_set() and not self._lost:
            self._lost = True
            self.miss("", error)

    def _listen(self) -> None:
        """Wait for messages: nothing wakes pytest-xdist when a worker neither runs nor dies."""
        connection = self._connection
        while connection is not None and not self._ended.is_set() and not self._lost:
            try:
                select.select([connection.socket], [], [], 1.0)
            except (OSError, ValueError):
                # It was closed meanwhile.
                return
            self._heed()

    def _heed(self) -> None:
        with self._lock:
            if self._connection is None:
                return
            try:
                for kind, *rest in self._connection.told():
                    self._take(kind, rest)
            except SupervisorGoneError as error:
                self._lose(error)

    def _take(self, kind: str, rest: list[Any]) -> None:
        if kind == Told.KILLING:
            name, *values = rest
            killed = Killed(*values)
            if killed.test == THE_RUN:
                if (text := f"{name}: {killed.text}") not in self.troubles:
                    self.troubles.append(text)
            else:
                self._killed[name] = killed
        elif kind == Told.STOPPED:
            self._stopped.set()
        elif kind == Told.QUARANTINE:
            self._config.stash[session_key].quarantine.add(*rest)
        elif kind == Told.LOST:
            name = rest[0]
            if name in self._killed:
                killed = self._killed[name]
                self._killed[name] = killed._replace(
                    text=f"{killed.text} and does not die: the device is lost"
                )
            self._drop(self._nodes[name])

    def _drop(self, node: Any) -> None:
        """Let pytest-xdist go on as if a worker had died that the kernel does not let die."""
        gateway = node.gateway
        if not gateway.spec.popen or gateway.spec.via:
            from pytest_amdgpu.plugin.remote.host_contact import cut

            # What waits for it here is not it, but its connection.
            cut(gateway)
            return
        # At the end of the run execnet would wait for it, and has no way to be told not to.
        gateway._group._gateways.remove(gateway)
        # Its death may come yet, and is no news then.
        node._down = True
        node.notify_inproc("errordown", node=node, error="it was killed, and the kernel does not let it die")
