"""What a gate's run lacks to prove anything: what should have run and did not, or on what it ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from pytest_amdgpu.plugin.judging import named_paths
from pytest_amdgpu.plugin.plan import hosts_key
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.results.must_run import Demand, DeviceNames, violations
from pytest_amdgpu.results.record import Outcome, Record

_NO_PARAMETERS = "got empty parameter set"
"""So begins why pytest skips a test whose list of parameters is empty: nobody wanted that."""


def lacking(config: pytest.Config, demands: Sequence[Demand], records: Sequence[Record]) -> Iterator[str]:
    """Yield what should have run and did not."""
    ran = [record for record in records if record.outcome.ran and record.devices]
    if not ran:
        yield "no test ran on any device"
    elif all(record.outcome.bad and record.expected for record in ran):
        # What is expected to fail proves nothing but that.
        yield "no test passed on any device"
    plan = config.stash[session_key].plan
    names = [DeviceNames(device.id, device.target, device.name) for device in plan.pool]
    yield from violations(demands, names, records)
    if config.getoption("--amdgpu-device"):
        used = {device for record in ran for device in record.devices}
        yield from (
            f"no test ran on {device.id}, which --amdgpu-device names"
            for device in plan.selected
            if device.id not in used
        )
    for record in records:
        if record.outcome is Outcome.SKIPPED and record.text.startswith(_NO_PARAMETERS):
            yield f"{record.id}: {record.text}"
    named = config.pluginmanager.getplugin(named_paths.PLUGIN)
    yield from named.not_run(records) if named is not None else ()
    check = config.pluginmanager.getplugin("amdgpu_expectation_check")
    yield from check.problems() if check is not None else ()


def unnamed_software(config: pytest.Config) -> str | None:
    """Return why a run uses software GPUs that nobody asked for by name, or None."""
    if any(map(config.getoption, ("--amdgpu-software", "--amdgpu-model"))):
        return None
    machines = [config.stash[session_key].plan.machine]
    hosts = config.stash.get(hosts_key, None)
    if hosts is not None:
        machines += [host.machine for host in hosts.all if not host.has_named_software]
    for machine in machines:
        if machine.software and machine.reason != "asked for":
            return f"{machine.reason}; software GPUs count only if they are asked for by name"
    return None
