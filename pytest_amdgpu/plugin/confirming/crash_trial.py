"""A test that its worker died of is run again by workers that come after it: `--amdgpu-confirm`.

The worker that takes the place of the dead one runs the test before it tells which tests it has collected;
until then it is given none. Over a channel of its own it says on which devices each run begins and what came
of it, so that another one can go on if it dies, too. What came out follows the report of the crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.plugin.blame import (
    IMPROVEMENT_TEXT,
    INFRA_PROPERTY,
    TIMEOUT_PROPERTY,
)
from pytest_amdgpu.plugin.confirming.confirm_report import tell
from pytest_amdgpu.plugin.confirming.twins import name_of
from pytest_amdgpu.plugin.options import HEARTBEAT, is_worker
from pytest_amdgpu.plugin.plan import hosts_key
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.plugin.workers.replacing import (
    forgive_death,
    is_stopping,
    nothing_is_left,
    replace_after_all,
    replace_no_worker,
)
from pytest_amdgpu.results.node_ids import DeviceIds
from pytest_amdgpu.results.trial import Attempt, Result, Trial

if TYPE_CHECKING:
    from pytest_amdgpu.devices.identity import DeviceInfo

PLUGIN = "amdgpu_crash_trials"
_TRIAL_INPUT = "amdgpu_trial"
"""Under this name a worker is told which test it runs again first, what is known, and the channel."""
_MODE = "load"
"""The mode of `--dist` in which a worker is given no tests before it has told that it collected some."""
_BEGINS, _STATE = "begins", "state"
"""First words of what it says: the devices that a run begins on; the trial."""
_MOST_LOST = 2
"""Workers that may end before they come to run the test again."""


def register(config: pytest.Config, wanted: int | None) -> None:
    """Take part in such runs, as the controller or as a worker."""
    if is_worker(config):
        if (task := config.workerinput.get(_TRIAL_INPUT)) is not None:  # type: ignore[attr-defined]
            config.pluginmanager.register(_HeldTrial(config, *task), "amdgpu_held_trial")
    elif config.pluginmanager.hasplugin("dsession") and config.getoption("dist") == _MODE:
        config.pluginmanager.register(CrashTrials(config, wanted), PLUGIN)


def died_in_trial(config: pytest.Config, node: Any) -> bool:
    """Whether a worker died of a test that it ran again."""
    trials: CrashTrials | None = config.pluginmanager.getplugin(PLUGIN)
    return trials is not None and node.gateway.id in trials.explained


@dataclass(slots=True)
class _Open:
    """A trial that is not over: of which crash, and what the worker that holds it is at."""

    trial: Trial
    crash: pytest.TestReport
    holder: str = ""
    runs_on: str = ""
    lost: int = 0


class CrashTrials:
    """The controller's side. `wanted` is how often each test is run again, None: as often as needed."""

    def __init__(self, config: pytest.Config, wanted: int | None) -> None:
        self._config, self._wanted = config, wanted
        self._pool = {device.id: device for device in config.stash[session_key].plan.pool}
        self._ids = DeviceIds(self._pool)
        self._open: dict[str, _Open] = {}
        self._known: set[str] = set()
        self._messages: SimpleQueue[tuple[str, list[Any]]] = SimpleQueue()
        self.explained: set[str] = set()
        """Workers that died of a test which they ran again."""

    # Last, so that others have said whether it was a timeout, or expected.
    @pytest.hookimpl(optionalhook=True, trylast=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Begin a trial of a test that its worker died of, if nothing else explains that."""
        devices = self._devices(crashitem)
        properties = dict(report.user_properties)
        explained = INFRA_PROPERTY in properties or str(report.longrepr).startswith(IMPROVEMENT_TEXT)
        if not devices or not report.failed or explained or crashitem in self._known:
            return
        if is_stopping(self._config) or (self._wanted is None and not self._has_others(devices)):
            return
        self._known.add(crashitem)
        trial = Trial(name_of(devices), self._wanted, killed=TIMEOUT_PROPERTY in properties)
        self._open[crashitem] = _Open(trial, report)
        replace_after_all(self._config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a new worker a trial that nobody holds, if it is where the devices are."""
        hosts = self._config.stash.get(hosts_key, None)
        host = None if hosts is None else hosts.of(node.gateway.spec)
        for test, trial in self._open.items():
            if not trial.holder and self._devices(test)[0].host == (host.name if host else ""):
                trial.holder = node.gateway.id
                channel = node.gateway.newchannel()
                channel.setcallback(partial(self._hear, test))
                node.workerinput[_TRIAL_INPUT] = [test, trial.trial.to_json(), channel]
                return

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_node_collection_finished(self, node: Any) -> None:
        """Know that a worker is done with its trial."""
        self._settle(node)

    # Registered late, and so before those who ask what the worker died of; behind who knows of lost hosts.
    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Know that a worker holds a trial no more, because it died or because the run ends."""
        if self._settle(node, error) and error:
            forgive_death(self._config)
            if not self._open and nothing_is_left(self._config):
                replace_no_worker(self._config)

    # First, because verdict and JUnit file are written then.
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Tell of trials that nobody was left for."""
        for test in list(self._open):
            self._conclude(test, "no worker was left to run it again")

    def _hear(self, test: str, message: list[Any]) -> None:
        # In another thread, but before it is told that the worker is down.
        self._messages.put((test, message))

    def _settle(self, node: Any, error: object = None) -> bool:
        """Take in what a worker said of its trial, and is its end; return whether it had one."""
        self._take_messages()
        test = next((test for test, one in self._open.items() if one.holder == node.gateway.id), None)
        if test is None:
            return False
        open_ = self._open[test]
        open_.holder = ""
        if error and open_.runs_on:
            self.explained.add(node.gateway.id)
            open_.trial.attempts.append(Attempt(open_.runs_on, *self._end(node, error)))
            open_.runs_on = ""
        elif open_.trial.next_turn() is not None:
            open_.lost += 1
        if open_.trial.next_turn() is None:
            self._conclude(test)
        elif open_.lost >= _MOST_LOST or not error:
            self._conclude(test, f"worker {node.gateway.id} ended without running it again")
        return True

    def _take_messages(self) -> None:
        while True:
            try:
                test, (kind, content) = self._messages.get_nowait()
            except Empty:
                return
            if (open_ := self._open.get(test)) is None:
                continue
            if kind == _BEGINS:
                open_.runs_on = content
            else:
                open_.trial, open_.runs_on = Trial.from_json(content), ""

    def _end(self, node: Any, error: object) -> tuple[Result, str]:
        """Say what it means for a test that a worker died of running it again."""
        host_loss = self._config.pluginmanager.getplugin("amdgpu_host_loss")
        if host_loss is not None and (loss := host_loss.loss(node)):
            return Result.UNUSABLE, loss
        supervision = self._config.pluginmanager.getplugin("amdgpu_supervision")
        if supervision is not None and (killed := supervision.killed(node)) is not None:
            return Result.UNUSABLE if killed.in_check else Result.FAILED, killed.text
        why = next(iter(str(error).strip().splitlines()), "")
        return Result.FAILED, f"worker {node.gateway.id!r} died: {why}"

    def _conclude(self, test: str, note: str = "") -> None:
        """Report what came out, with the tear-down that the test did not have."""
        open_ = self._open.pop(test)
        trial = open_.trial
        if note:
            trial.notes.append(note)
        report = pytest.TestReport(
            nodeid=test,
            location=open_.crash.location,
            keywords={},
            outcome="passed",
            longrepr=None,
            when="teardown",
        )
        # By that pytest's writer of JUnit files knows that it belongs to the crash.
        report.node = open_.crash.node  # type: ignore[attr-defined]
        suspects = {*self._ids.found_in(f"[{trial.own}]")} - {*self._ids.found_in(f"[{trial.chosen}]")}
        tell(self._config, report, trial, suspects.pop() if len(suspects) == 1 else None)
        self._config.hook.pytest_runtest_logreport(report=report)

    def _devices(self, test: str) -> list[DeviceInfo]:
        return [self._pool[one] for one in self._ids.found_in(test)]

    def _has_others(self, devices: Sequence[DeviceInfo]) -> bool:
        """Whether there may be other devices for a test: more of its targets than it has."""
        of_host = (device for device in self._pool.values() if device.host == devices[0].host)
        there = Counter(device.target for device in of_host)
        mine = Counter(device.target for device in devices)
        return any(there[target] > mine[target] for target in mine)


class _HeldTrial:
    """A worker's side."""

    def __init__(self, config: pytest.Config, test: str, trial: dict[str, Any], channel: Any) -> None:
        self._config, self._test, self._trial, self._channel = config, test, trial, channel

    # First, because after it pytest-xdist tells that tests were collected, and gives some.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Run the test again; what comes after that has the time of a collection."""
        from pytest_amdgpu.plugin.confirming.rerun import Reruns

        item = next((item for item in session.items if item.nodeid == self._test), None)
        if isinstance(item, pytest.Function):
            reruns = Reruns(self._config, item, None, Trial.from_json(self._trial))
            reruns.begins = lambda devices: self._channel.send([_BEGINS, devices])
            reruns.changed = lambda trial: self._channel.send([_STATE, trial.to_json()])
            reruns.hold()
            deadlines = self._config.pluginmanager.getplugin(HEARTBEAT)
            if deadlines is not None:
                deadlines.collection_goes_on()
