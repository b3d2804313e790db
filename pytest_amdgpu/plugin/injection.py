"""Lets software GPUs fail on request: `--amdgpu-inject` and what the fixture `amdgpu_inject` does."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_amdgpu.devices.machine import Machine
from pytest_amdgpu.devices.selection import DeviceSelectionError, matching_devices

if TYPE_CHECKING:
    from pytest_amdgpu.devices.identity import DeviceInfo
    from pytest_amdgpu.emulator.injection.defect import Defect
    from pytest_amdgpu.emulator.injection.spec import Injection
    from pytest_amdgpu.plugin.plan import Plan
    from pytest_amdgpu.plugin.session import GpuSession

HELP = "help"
ALL = "all"
"""Names every device of the machine."""
PLUGIN = "amdgpu_injection"


def describe() -> str:
    """Return what `--amdgpu-inject=help` prints."""
    from pytest_amdgpu.emulator.injection.registry import describe_defects

    return describe_defects()


def check(texts: Sequence[str], machines: Sequence[Machine]) -> None:
    """Raise `pytest.UsageError` for what cannot be injected into the GPUs of a run's machines."""
    devices = [device for machine in machines for device in machine.devices]
    for text in texts:
        _, named = _parse(text, devices)
        for machine in machines:
            others = [device.id for device in named if device in machine.devices]
            if others and not machine.software:
                raise pytest.UsageError(
                    f"--amdgpu-inject: {text!r}: only software GPUs fail on request"
                    f" (--amdgpu-backend=software), {', '.join(others)} are {machine.backend} GPUs"
                )


def named_devices(name: str, devices: Sequence[DeviceInfo]) -> list[DeviceInfo]:
    """Return the devices of a name: all, or as --amdgpu-device has it. Raises ValueError."""
    if name == ALL:
        return list(devices)
    try:
        return matching_devices(devices, name)
    except DeviceSelectionError as error:
        raise ValueError(f"{error}, their targets, and {ALL}") from None


def injection_options(plan: Plan, hosts: Collection[str] | None = None) -> list[str]:
    """Return the options that inject the same; of a run over several hosts also only those of some hosts.

    There numbers and targets mean something else.
    """
    if hosts is None or not plan.hosts:
        return [f"--amdgpu-inject={text}" for text in plan.injected]
    return [
        f"--amdgpu-inject={what}@{device.id}"
        for what, _, name in (text.rpartition("@") for text in plan.injected)
        for device in named_devices(name, plan.devices)
        if device.host in hosts
    ]


def _here(devices: Sequence[DeviceInfo], plan: Plan) -> list[DeviceInfo]:
    """Return those of the host that this process runs on."""
    return [device for device in devices if device.host == plan.host]


def start(session: GpuSession, config: pytest.Config) -> Injecting:
    """Return this process's part in it, which is made where there is none yet."""
    injecting = config.pluginmanager.getplugin(PLUGIN)
    if not isinstance(injecting, Injecting):
        injecting = Injecting(session)
        config.pluginmanager.register(injecting, PLUGIN)
    return injecting


class Injecting:
    """Gives the GPUs of this process their defects, and tells them which test runs."""

    def __init__(self, session: GpuSession, texts: Sequence[str] = ()) -> None:
        self._session = session
        self._texts = texts

    def inject(self, injection: Injection, devices: Sequence[DeviceInfo]) -> list[Defect]:
        """Let devices have a defect."""
        kernel = self._session.software_kernel
        gpus = {gpu.gpu_id: gpu for gpu in kernel.gpus}
        return [kernel.injections.add(injection, gpus[device.gpu_id]) for device in devices]

    def remove(self, defects: Sequence[Defect]) -> None:
        """Undo `inject`."""
        for defect in defects:
            self._session.software_kernel.injections.remove(defect)

    def begin(self, item: pytest.Item) -> None:
        """Take note that a test begins."""
        self._session.software_kernel.injections.begin_test(item.nodeid)
        self._session.software_kernel.injections.begin_phase("setup")

    # First, because other plugins run tests in it. In the controller of pytest-xdist none run.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Inject what the command line asks for."""
        if not session.config.pluginmanager.hasplugin("dsession"):
            for text in self._texts:
                injection, devices = _parse(text, self._session.plan.devices)
                self.inject(injection, _here(devices, self._session.plan))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Begin a test."""
        __tracebackhide__ = True
        self.begin(item)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Begin the second phase."""
        __tracebackhide__ = True
        self._session.software_kernel.injections.begin_phase("call")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Begin the last phase, and end the test."""
        __tracebackhide__ = True
        self._session.software_kernel.injections.begin_phase("teardown")
        try:
            return (yield)
        finally:
            self._session.software_kernel.injections.end_test()


def inject_by_hand(
    session: GpuSession,
    item: pytest.Item,
    own: DeviceInfo | None,
    name: str,
    device: str | None,
    options: Mapping[str, object],
) -> tuple[Injecting, list[Defect]]:
    """Inject a defect for a test; without a name of a device into the test's own, `own`.

    Raises ValueError for a wrong name, option or device.
    """
    from pytest_amdgpu.emulator.injection.spec import make_injection

    injection = make_injection(name, {option: str(value) for option, value in options.items()})
    if device is not None:
        named = named_devices(device, session.plan.devices)
        devices = _here(named, session.plan)
        if not devices:
            there = ", ".join(one.id for one in named)
            raise ValueError(f"{there}: of another host than that on which {item.nodeid} runs")
    elif own is not None:
        devices = [own]
    else:
        raise ValueError(f"{item.nodeid} runs on no device: say into which to inject (device=...)")
    known = item.config.pluginmanager.hasplugin(PLUGIN)
    injecting = start(session, item.config)
    if not known:
        injecting.begin(item)
    return injecting, injecting.inject(injection, devices)


def _parse(text: str, devices: Sequence[DeviceInfo]) -> tuple[Injection, list[DeviceInfo]]:
    from pytest_amdgpu.emulator.injection.spec import InjectionError, parse_injection

    try:
        injection, name = parse_injection(text)
        return injection, named_devices(name, devices)
    except InjectionError as error:
        raise pytest.UsageError(f"--amdgpu-inject: {error}") from error
    except ValueError as error:
        raise pytest.UsageError(f"--amdgpu-inject: {text!r}: {error}") from error
