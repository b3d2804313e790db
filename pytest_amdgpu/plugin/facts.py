"""What a verdict says of the run besides its results."""

from __future__ import annotations

import datetime
import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_amdgpu.plugin.session import GpuSession, Plan

_PACKAGES = ("pytest-amdgpu", "pytest", "pytest-xdist", "pytest-timeout", "numpy")


def of_software(config: pytest.Config) -> dict[str, Any]:
    """Return what is known before GPUs are looked for."""
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "arguments": [str(argument) for argument in config.invocation_params.args],
        "directory": str(config.invocation_params.dir),
        "rootdir": str(config.rootpath),
        "environment": {
            "host": socket.gethostname(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in _PACKAGES},
            **_rocm(),
        },
    }


def of_machine(plan: Plan) -> dict[str, Any]:
    """Return which GPUs there are and which are used."""
    selected = {device.id for device in plan.selected}
    return {
        "seed": plan.seed,
        "backend": plan.machine.backend,
        "backend_reason": plan.machine.reason,
        **({"injected": list(plan.injected)} if plan.injected else {}),
        "devices": [
            {**device.to_json(), "selected": device.id in selected} for device in plan.machine.devices
        ],
    }


def of_driver(session: GpuSession) -> dict[str, Any]:
    """Return what belongs into the environment besides `of_software`: driver, firmware, boards."""
    from pytest_amdgpu.devices.fingerprint import fingerprint

    plan = session.plan
    return fingerprint(session.kernel, plan.pool, nearest_target=plan.machine.nearest_target)


def _rocm() -> dict[str, str]:
    """The version of the ROCm installation, where there is one."""
    file = Path(os.environ.get("ROCM_PATH") or "/opt/rocm", ".info", "version")
    try:
        return {"rocm": file.read_text(errors="replace").strip()}
    except OSError:
        return {}
