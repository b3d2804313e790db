"""What one run has of GPUs: the machine, the devices that tests use, and the kernel they are behind."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.devices.machine import Machine, NoUsableGpuError, find_machine
from pytest_amdgpu.devices.selection import DeviceSelectionError, select_devices
from pytest_amdgpu.devices.software import SoftwareSpecError
from pytest_amdgpu.kernel.protocol import Kernel
from pytest_amdgpu.plugin.options import choose_seed

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device

session_key = pytest.StashKey["GpuSession"]()
WORKER_INPUT = "amdgpu"
"""Under this name a pytest-xdist worker is told what the controller found."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is decided once per run, and the same in all its processes."""

    machine: Machine
    selected: tuple[DeviceInfo, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for a worker."""
        return {
            "machine": self.machine.to_json(),
            "selected": [device.id for device in self.selected],
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Undo `to_json`."""
        machine = Machine.from_json(values["machine"])
        selected = tuple(device for device in machine.devices if device.id in values["selected"])
        return cls(machine, selected, values["seed"])


class GpuSession:
    """The plan of a run, and this process's kernel."""

    def __init__(self, plan: Plan, kernel: Kernel | None = None, trace_path: str | None = None) -> None:
        self.plan = plan
        self.trace_path = trace_path
        self._kernel = kernel
        self._trace: IO[str] | None = None

    @functools.cached_property
    def kernel(self) -> Kernel:
        """The kernel that the devices are behind, traced if that is wanted."""
        kernel = self._kernel or self.plan.machine.open_kernel()
        if self.trace_path is None:
            return kernel
        from pytest_amdgpu.kernel.trace import TracingKernel

        self._trace = open(self.trace_path, "w", encoding="utf-8")  # noqa: SIM115 (closed with the session)
        return TracingKernel(kernel, self._trace)

    def open(self, info: DeviceInfo) -> Device:
        """Open a device that the plan selected; the caller closes it."""
        from pytest_amdgpu.driver.device import Device
        from pytest_amdgpu.driver.topology import discover

        for node in discover(self.kernel):
            if info.matches(node):
                return Device.open(self.kernel, node)
        raise LookupError(f"device {info.id} is gone from the topology")

    def close(self) -> None:
        """Close the trace."""
        if self._trace:
            self._trace.close()


def start_session(config: pytest.Config) -> GpuSession:
    """Find the GPUs and choose those that tests use, or take over what the controller found.

    Raises `pytest.UsageError` for options that nothing meets.
    """
    worker_input: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    trace_path: str | None = config.getoption("--amdgpu-trace")
    if worker_input is not None:
        plan = Plan.from_json(worker_input[WORKER_INPUT])
        return GpuSession(plan, trace_path=trace_path and f"{trace_path}.{worker_input['workerid']}")
    try:
        machine, kernel = find_machine(
            config.getoption("--amdgpu-backend"), config.getoption("--amdgpu-software")
        )
    except NoUsableGpuError as error:
        raise pytest.UsageError(f"--amdgpu-backend=hardware: {error}") from error
    except SoftwareSpecError as error:
        raise pytest.UsageError(f"--amdgpu-software: {error}") from error
    try:
        selected = select_devices(
            machine.devices,
            config.getoption("--amdgpu-device"),
            all_devices=config.getoption("--amdgpu-all-devices"),
        )
    except DeviceSelectionError as error:
        raise pytest.UsageError(f"--amdgpu-device: {error}") from error
    return GpuSession(Plan(machine, tuple(selected), choose_seed(config)), kernel, trace_path)
