"""What a verdict says of the run besides its results."""

from __future__ import annotations

import datetime
import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.plugin.plan import hosts_key

if TYPE_CHECKING:
    import pytest

    from pytest_amdgpu.plugin.plan import Plan
    from pytest_amdgpu.plugin.session import GpuSession

_PACKAGES = ("pytest-amdgpu", "pytest", "pytest-xdist", "pytest-timeout", "numpy")


def of_software(config: pytest.Config) -> dict[str, Any]:
    """Return what is known before GPUs are looked for."""
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "arguments": [str(argument) for argument in config.invocation_params.args],
        "directory": str(config.invocation_params.dir),
        "rootdir": str(config.rootpath),
        "environment": environment(),
    }


def environment() -> dict[str, Any]:
    """Return what this process runs in."""
    return {
        "host": socket.gethostname(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        **_rocm(),
    }


def of_machine(plan: Plan) -> dict[str, Any]:
    """Return which GPUs there are and which are used."""
    selected = {device.id for device in plan.selected}
    return {
        "seed": plan.seed,
        "backend": plan.machine.backend,
        "backend_reason": plan.machine.reason,
        **({"injected": list(plan.injected)} if plan.injected else {}),
        "devices": [{**device.to_json(), "selected": device.id in selected} for device in plan.devices],
    }


def of_driver(session: GpuSession) -> dict[str, Any]:
    """Return what belongs into the environment besides `of_software`: driver, firmware, boards."""
    from pytest_amdgpu.devices.fingerprint import fingerprint

    plan = session.plan
    local = [device for device in plan.pool if not device.host]
    return fingerprint(session.kernel, local, nearest_target=plan.machine.nearest_target)


def of_hosts(config: pytest.Config, here: dict[str, Any]) -> dict[str, Any]:
    """Add to the environment here, where a run is over several hosts, those of the others.

    `devices` has the devices of all; `hosts` what there is besides, by the names of the hosts.
    """
    hosts = config.stash.get(hosts_key, None)
    if hosts is None:
        return here
    others = {
        host.name: {
            "backend": host.machine.backend,
            "backend_reason": host.machine.reason,
            **host.environment,
        }
        for host in hosts.all
    }
    devices = {id_: known for other in others.values() for id_, known in other.pop("devices").items()}
    return {**here, "devices": here["devices"] | devices, "hosts": others}


def _rocm() -> dict[str, str]:
    """The version of the ROCm installation, where there is one."""
    file = Path(os.environ.get("ROCM_PATH") or "/opt/rocm", ".info", "version")
    try:
        return {"rocm": file.read_text(errors="replace").strip()}
    except OSError:
        return {}
