"""Where tests run: the end of each phase's time is told to the supervisor, and its interrupt fails the test.

The timeouts of pytest-timeout are kept in the same way, in place of its own timers.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from time import monotonic  # tests put other clocks into the module
from typing import TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.emulator.kernel_log import KernelLog
from pytest_amdgpu.plugin.blame import EVIDENCE_SECTION, LATE_OUTPUT, TIMEOUT_PROPERTY
from pytest_amdgpu.plugin.options import INFRASTRUCTURE, is_worker
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE, GROUP_FIXTURE
from pytest_amdgpu.plugin.session import DeviceHangError, GpuSession, session_key
from pytest_amdgpu.plugin.watching.heartbeat import DeadlineError, Heartbeat
from pytest_amdgpu.supervisor.client import SupervisorGoneError
from pytest_amdgpu.supervisor.protocol import Limit, QueuePlace, Told

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.queue import Queue

_PHASES = {"setup": ("setup", "set-up"), "call": ("test", "call"), "teardown": ("teardown", "tear-down")}
"""By pytest's name of a phase: its name in --amdgpu-deadline, and in messages."""


class Deadlines(Heartbeat):
    """Keeps the deadlines of the tests that run in this process, and watches the queues that they make."""

    def __init__(self, config: pytest.Config, address: str, name: str) -> None:
        """Raises `SupervisorGoneError`."""
        super().__init__(config, address, name)
        self._config = config
        self._session: GpuSession = config.stash[session_key]
        self._timer: tuple[float, float] | None = None
        """When pytest-timeout's time is over, and the seconds of it."""
        self._phase = ""
        self._begun: tuple[str, str, Limit | None, Sequence[str]]
        """The phase that began last: test, name, limit, devices."""
        self._interrupted = False
        self._is_beside_tests = False
        self._waits_between = is_worker(config)
        self._smi_events: dict[str, int] = {}
        """A descriptor of the events of each device."""
        self._session.queue_watcher = self._session.device_watcher = self
        if isinstance(self._session.kernel_log, KernelLog):
            self._session.kernel_log.listener = self._client.log

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        """Have the deadline of no test between tests; a worker may wait there for the next one."""
        self._client.beat()
        try:
            return (yield)
        finally:
            self._client.idle()
            if self._waits_between:
                self._client.rest()

    # Outside of tests, where conftests can hang as well.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Keep the deadline of collection."""
        return (yield from self._beside_tests("collection"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Wait for the first test."""
        if self._waits_between:
            self._client.rest()
        try:
            return (yield)
        finally:
            self._client.beat()

    # Registered last, these have all of a phase inside, but for what asks to be first: waiting for devices.
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep the deadline of set-up."""
        self._heed()
        return (yield from self._within(item, "setup"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep the deadline of the test."""
        return (yield from self._within(item, "call"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep the deadline of tear-down."""
        return (yield from self._within(item, "teardown"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say in the report of a phase that was late that it was, and what was seen of the process.

        A child that a test has forked ends here: it came back into pytest, and would run further tests, too.
        """
        if os.getpid() != self._session.pid:
            print(f"amdgpu: a child that {item.nodeid} forked came back into pytest", file=sys.__stderr__)
            os._exit(INFRASTRUCTURE)
        report = yield
        if self._interrupted:
            self._interrupted = False
            if report.passed or (report.skipped and not hasattr(report, "wasxfail")):
                # The test has swallowed the exception.
                report.outcome, report.longrepr = "failed", self._text
            report.user_properties.append((TIMEOUT_PROPERTY, report.when))
            if evidence := self._heed().get(item.nodeid):
                report.sections.append((EVIDENCE_SECTION, evidence))
        return report

    # The hooks by which pytest-timeout lets others keep the time.
    # --------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool:
        """Keep the time that an item's mark, an option or the configuration says."""
        self._timer = (monotonic() + settings.timeout, settings.timeout)
        if self._phase:
            self._arm(item, self._phase)
        return True

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_cancel_timer(self) -> bool:
        """Keep it no more."""
        self._timer = None
        return True

    def pytest_exception_interact(self) -> None:
        """Let a look at what went wrong take all the time it wants."""
        if self._config.getoption("usepdb", False):
            self._client.rest()

    def pytest_enter_pdb(self) -> None:
        """Let a debugger take all the time it wants."""
        self._timer = None
        self._client.rest()

    # What queues there are, for who looks from outside.
    # --------------------------------------------------------------------------------------------------------

    def queue_made(self, queue: Queue[Any]) -> None:
        """Say where a queue is."""
        device = queue.device
        place = QueuePlace(
            queue.name, device.name, queue.kind.value, device.family.name, *queue.place, queue.UNIT
        )
        self._client.queue(place)

    def queue_closed(self, queue: Queue[Any]) -> None:
        """Say that it is there no more."""
        self._client.queue_gone(queue.name, queue.device.name)

    def device_opened(self, device: Device) -> None:
        """Let the supervisor hear the system management events of a device."""
        from pytest_amdgpu.driver.errors import DeviceOpenError
        from pytest_amdgpu.driver.smi_events import listen

        try:
            fd = self._smi_events[device.name] = listen(device.kernel, device.node)
        except (OSError, DeviceOpenError) as error:
            # The device may be gone, and whoever uses it will see that.
            self._client.no_smi_events(device.name, str(error))
            return
        self._client.smi_events(device.name, fd)

    def device_closing(self, device: Device) -> None:
        """Keep nothing of it; what the kernel tells the supervisor is not affected on hardware."""
        if (fd := self._smi_events.pop(device.name, None)) is not None:
            device.kernel.close(fd)

    @contextlib.contextmanager
    def device_alone(self, device_id: str, what: str) -> Iterator[None]:
        """Let the supervisor know that what hangs now is the device, and not the test. Deadlines stay."""
        test, word, limit, devices = self._begun
        self._client.begin(test, f"{what}{device_id}", limit, [device_id])
        try:
            yield
        except DeadlineError as error:
            raise DeviceHangError(f"{what}{device_id}: {error.msg}") from error
        self._client.begin(test, word, limit, devices)

    def close(self) -> None:
        """Come to an end in order."""
        self._session.queue_watcher = self._session.device_watcher = None
        if isinstance(self._session.kernel_log, KernelLog):
            self._session.kernel_log.listener = None
        super().close()

    def _within(self, item: pytest.Item, phase: str) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self._phase = phase
        self._arm(item, phase)
        try:
            result = yield
        except BaseException:
            self._client.over()
            raise
        finally:
            self._phase = ""
        if self._client.over():
            # It was late, and came to its end before it could be interrupted.
            self._fail(True)
        return result

    def collection_goes_on(self) -> None:
        """Let what follows tests that were run at the end of collection have all its time again."""
        self._begin_beside_tests("collection")

    def _beside_tests(self, phase: str) -> Generator[None, object, object]:
        self._is_beside_tests = True
        try:
            return (yield from super()._beside_tests(phase))
        finally:
            self._is_beside_tests = False

    def _arm(self, item: pytest.Item, phase: str) -> None:
        name, word = _PHASES[phase]
        now = monotonic()
        seconds = self._seconds[name]
        end = now + seconds
        self._text = f"Timeout: {word} took longer than {seconds:g} s (--amdgpu-deadline)"
        # A timer that has run out is over: what ends the test must still have its time.
        if self._timer is not None and (phase == "call" or now < self._timer[0] < end):
            end, seconds = self._timer
            self._text = f"Timeout (>{seconds}s) from pytest-timeout."
        limit = None if math.isinf(end) else Limit(end, seconds)
        self._begun = (item.nodeid, word, limit, _devices(item))
        self._client.begin(*self._begun)

    def _fail(self, in_phase: bool) -> None:
        __tracebackhide__ = True
        self._interrupted = in_phase
        if self._is_beside_tests and not self._phase and is_worker(self._config):
            self._config.workeroutput[LATE_OUTPUT] = self._text  # type: ignore[attr-defined]
        super()._fail(in_phase)

    def _heed(self) -> dict[str, str]:
        """Take in what the supervisor said; return the evidence by test."""
        evidence = {}
        try:
            for kind, *rest in self._client.told():
                if kind == Told.EVIDENCE:
                    evidence[rest[0]] = rest[1]
                elif kind == Told.QUARANTINE:
                    self._session.quarantine.add(*rest)
        except SupervisorGoneError:
            # The controller knows it, too, and says so.
            pass
        return evidence


def _devices(item: pytest.Item) -> list[str]:
    """Return the ids of the devices that an item is parametrized with."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    group = params.get(GROUP_FIXTURE) or (params.get(DEVICE_FIXTURE),)
    return [device.id for device in group if device is not None]
