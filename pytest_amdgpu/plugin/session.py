"""What one run has of GPUs: the machine, the devices that tests use, and the kernel they are behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_amdgpu.devices import sigbus
from pytest_amdgpu.devices.backends import OWN_BACKENDS
from pytest_amdgpu.devices.counters import read_counters
from pytest_amdgpu.devices.error_watch import ErrorWatch
from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.devices.quarantine import Quarantine
from pytest_amdgpu.kernel.protocol import Kernel
from pytest_amdgpu.kernel.trace import TracingKernel
from pytest_amdgpu.plugin import injection
from pytest_amdgpu.plugin.blame import OPENING
from pytest_amdgpu.plugin.plan import Plan, find_plan

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.queue import QueueWatcher
    from pytest_amdgpu.emulator.kernel import EmulatedKernel
    from pytest_amdgpu.plugin.health import Health

session_key = pytest.StashKey["GpuSession"]()
WORKER_INPUT = "amdgpu"
"""Under this name a pytest-xdist worker is told what the controller found."""
QUARANTINE_INPUT = "amdgpu_quarantine"
"""Under this name it is told which devices are in quarantine: pairs of id and reason."""
SHARED_QUARANTINE_INPUT = "amdgpu_shared_quarantine"
"""Under this name a worker on the controller's machine is told the file that has the quarantine of all."""


class DeviceLostError(RuntimeError):
    """An earlier test left the GPU in a state that this process cannot get it out of."""


class DeviceGoneError(RuntimeError):
    """A GPU that was there when the run began is no longer in the topology."""


class QuarantinedError(RuntimeError):
    """The device failed before, and a test on it would say nothing about what it tests."""


class DeviceHangError(RuntimeError):
    """A device could not be opened or checked in time."""


class DeviceWatcher(Protocol):
    """Is told of devices that are open; with own backends only, behind which there is a kernel."""

    def device_opened(self, device: Device) -> None:
        """Know that a device is open."""

    def device_closing(self, device: Device) -> None:
        """Know that it is about to be closed."""

    def device_alone(self, device_id: str, what: str) -> AbstractContextManager[None]:
        """Know that what hangs now is a device, with which `what` is done; raises `DeviceHangError`."""


class GpuSession:
    """The plan of a run, and this process's kernel and open devices."""

    def __init__(self, plan: Plan, config: pytest.Config) -> None:
        """Raises `pytest.UsageError` if calls should be recorded in a file that cannot be written."""
        self.plan = plan
        self._connection = plan.machine.connect()
        self.kernel_log = self._connection.log
        kernel = self._connection.source.kernel()
        self._trace = _start_trace(kernel, config)
        self.kernel: Kernel = self._trace or kernel
        self._is_worker = _worker_input(config) is not None
        self._open: list[Device] = []
        self.pid = os.getpid()
        """The process that tests run in."""
        self.lost = ""
        """Why the kernel lets this process use the GPUs no more, or empty."""
        self.errors = ErrorWatch(self._read_counters)
        """Which errors its devices count."""
        self.quarantine = Quarantine()
        self.queue_watcher: QueueWatcher | None = None
        """Whom each device tells of its queues."""
        self.device_watcher: DeviceWatcher | None = None
        """Who is told of devices that are opened and closed."""
        self.health: Health | None = None
        """Who checks devices, if anybody."""

    @property
    def software_kernel(self) -> EmulatedKernel:
        """The kernel of software GPUs; TypeError where the GPUs are not such."""
        from pytest_amdgpu.emulator.kernel import EmulatedKernel

        kernel = self._connection.source.kernel()
        if not isinstance(kernel, EmulatedKernel):
            raise TypeError(f"the {self.plan.machine.backend} GPUs of this run are no software GPUs")
        return kernel

    def open(self, info: DeviceInfo) -> Device:
        """Open a device that the plan selected; `close` is the caller's to call."""
        from pytest_amdgpu.driver.device import Device

        source = self._connection.source
        for node in source.discover(self.kernel, nearest_target=self.plan.machine.nearest_target):
            if info.matches(node):
                if node.memory_ecc:
                    sigbus.hold_back()
                device = Device.open(self.kernel, node, source.open(self.kernel, node))
                device.name = info.id
                device.queue_watcher = self.queue_watcher
                self._open.append(device)
                self._tell_opened(device)
                return device
        raise DeviceGoneError(f"device {info.id} is gone from the topology")

    def device_alone(self, device_id: str, what: str) -> AbstractContextManager[None]:
        """Do something with a device for which no test is to blame; raises `DeviceHangError` when late."""
        watcher = self.device_watcher
        return nullcontext() if watcher is None else watcher.device_alone(device_id, what)

    def open_for_tests(self, info: DeviceInfo) -> Device:
        """Open a device as `open` does; raises `QuarantinedError` where it is in quarantine.

        Where devices are checked, one that cannot be opened goes into quarantine, too.
        """
        self.check_quarantine(info.id)
        try:
            with self.device_alone(info.id, OPENING):
                return self.open(info)
        except Exception as error:
            if self.health is not None:
                self.health.cannot_open(info.id, error)
            raise

    def _read_counters(self, device: Device) -> dict[str, int]:
        # What other backends speak through need not have files.
        return read_counters(self.kernel, device.node) if self.plan.machine.backend in OWN_BACKENDS else {}

    def close(self, device: Device) -> None:
        """Close a device; errors as from `Device.close`."""
        self._open.remove(device)
        try:
            self._tell_closing(device)
        finally:
            device.close()

    def renew(self, reason: str) -> None:
        """After a fault: become a new process to the kernel, and open all devices anew.

        That is not needed where only a queue stopped. Else the run goes on in another process of the machine.
        A worker of pytest-xdist cannot do that on hardware; it goes on in a secondary process of the
        kernel's, which may not register user memory. Where the kernel has none the GPUs are lost to it:
        `check` says so to each further test.
        """
        from pytest_amdgpu.driver.kfd_process import connection

        sigbus.discard()
        connected = connection(self.kernel)
        if connected is not None and not connected.spoiled:
            self._open_anew(lambda: None)
        elif self._can_be_replaced:
            self._open_anew(self._replace)
        elif connected is not None and connected.can_be_left:
            self._open_anew(lambda: None)
        else:
            self.lost = (
                f"{reason}; the kernel lets this process use the GPU no more, and a worker of pytest-xdist "
                "cannot be exchanged: run such tests without -n"
            )
            self._open_anew(None)

    @property
    def _can_be_replaced(self) -> bool:
        """Whether the run can go on in another process."""
        return not (self._is_worker and self._connection.needs_fork)

    def _replace(self) -> None:
        self._connection.renew()
        self.pid = os.getpid()
        self._connection.source.renew(self.kernel)

    def _open_anew(self, between: Callable[[], None] | None) -> None:
        """Close all devices, call `between`, and open them again; or only close them if that is None."""
        from pytest_amdgpu.driver.resources import attempt

        errors: list[Exception] = []
        for device in self._open:
            attempt(errors, partial(self._tell_closing, device))
            attempt(errors, device.close)
        if between is not None:
            between()
            for device in self._open:
                attempt(errors, partial(self._reopen, device))
        if errors:
            raise ExceptionGroup("the GPUs were opened anew, but not without trouble", errors)

    def _reopen(self, device: Device) -> None:
        device.reopen(self._connection.source.open(self.kernel, device.node))
        self._tell_opened(device)

    def _tell_opened(self, device: Device) -> None:
        if self.device_watcher is not None and self.plan.machine.backend in OWN_BACKENDS:
            self.device_watcher.device_opened(device)

    def _tell_closing(self, device: Device) -> None:
        if self.device_watcher is not None:
            self.device_watcher.device_closing(device)

    def check(self, devices: Iterable[Device]) -> None:
        """Raise `DeviceLostError` if tests can no longer run here, `QuarantinedError` if not on a device."""
        __tracebackhide__ = True
        if self.lost:
            raise DeviceLostError(self.lost)
        for device in devices:
            self.check_quarantine(device.name)

    def check_quarantine(self, device_id: str) -> None:
        """Raise `QuarantinedError` if a device is in quarantine."""
        __tracebackhide__ = True
        if (reason := self.quarantine.reason(device_id)) is not None:
            raise QuarantinedError(f"{device_id} is in quarantine: {reason}")

    def end(self) -> None:
        """End the trace."""
        if self._trace:
            try:
                self._trace.stop()
            except OSError as error:
                print(
                    f"amdgpu: --amdgpu-trace: the record ends before the run does: {error}", file=sys.stderr
                )


def start_session(config: pytest.Config) -> GpuSession:
    """Find the GPUs and choose those that tests use, or take over what the controller found.

    Raises `pytest.UsageError` for options that nothing meets.
    """
    worker_input = _worker_input(config)
    plan = find_plan(config) if worker_input is None else Plan.from_json(worker_input[WORKER_INPUT])
    session = GpuSession(plan, config)
    if worker_input is not None:
        for device_id, reason in worker_input[QUARANTINE_INPUT]:
            session.quarantine.add(device_id, reason)
        if (file := worker_input.get(SHARED_QUARANTINE_INPUT)) is not None:
            session.quarantine.share(Path(file))
    if plan.injected and plan.machine.software:
        injecting = injection.Injecting(session, plan.injected)
        config.pluginmanager.register(injecting, injection.PLUGIN)
    return session


def _start_trace(kernel: Kernel, config: pytest.Config) -> TracingKernel | None:
    """Record the calls of `kernel`, if that is wanted; each worker has a file of its own."""
    path: str | None = config.getoption("--amdgpu-trace")
    if path is None:
        return None
    worker_input = _worker_input(config)
    if worker_input is not None:
        path += f".{worker_input['workerid']}"
    try:
        return TracingKernel(kernel, open(path, "w", encoding="utf-8"))
    except OSError as error:
        raise pytest.UsageError(f"--amdgpu-trace: {error}") from error


def _worker_input(config: pytest.Config) -> Mapping[str, Any] | None:
    """Return what the controller of pytest-xdist sent, or None outside a worker."""
    worker_input: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    return worker_input
