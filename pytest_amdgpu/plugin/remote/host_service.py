"""What a run asks of another host: which GPUs it has, what they may depend on, and to lease them.

Runs there, in a process of its own beside the workers. One line of JSON goes either way for each question.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.devices.backends import BackendError
from pytest_amdgpu.devices.lease_holder import Holder, boot_id
from pytest_amdgpu.devices.leases import (
    Lease,
    LeaseDirectory,
    LeaseError,
    LeaseTimeoutError,
    default_directory,
)
from pytest_amdgpu.devices.machine import Machine, NoUsableGpuError, find_machine
from pytest_amdgpu.devices.software import SoftwareSpecError
from pytest_amdgpu.families.model_file import ModelFileError
from pytest_amdgpu.plugin.machine_wide import in_quarantine

if TYPE_CHECKING:
    import execnet

ERROR, TIMEOUT, WAITING, DONE = "error", "timeout", "waiting", "done"
"""The keys of answers about leases."""
contact_lost, over = threading.Event(), threading.Event()
"""Set when the controller is gone although its connection is not, and when nothing is leased any more."""
_GLANCE = 1.0
"""Seconds between two looks at the former."""


def serve(channel: execnet.Channel) -> None:
    """Answer until the run ends; then the leases are given back, and the locks of devices removed."""
    try:
        with tempfile.TemporaryDirectory(prefix="pytest-amdgpu-", ignore_cleanup_errors=True) as directory:
            _serve(channel, Path(directory))
    finally:
        over.set()


def _serve(channel: execnet.Channel, directory: Path) -> None:
    """Answer questions; `directory` has what workers need besides, as long as there are some."""
    question = _next(channel)
    if obstacle := _obstacle(question):
        channel.send(json.dumps({ERROR: obstacle}))
        return
    options = {**question["options"], "model_files": _write(question["models"], directory)}
    try:
        machine = find_machine(**options)
    except (NoUsableGpuError, BackendError, SoftwareSpecError, ModelFileError) as error:
        channel.send(json.dumps({ERROR: str(error)}))
        return
    locks = None
    if not machine.is_private:
        locks = directory / "locks"
        locks.mkdir()
    lease: Lease | None = None
    try:
        found = {
            "machine": machine.to_json(),
            "boot": boot_id(),
            "locks": locks and str(locks),
            "quarantine": _quarantined(machine, question["lease_directory"]),
        }
        if question["environment"]:
            found["environment"] = _environment(machine)
        channel.send(json.dumps(found))
        while True:
            # An EOFError of it is the end of the run.
            lease = _take(_next(channel), channel)
    except EOFError:
        return
    finally:
        if lease is not None:
            lease.release()


def _write(models: Sequence[tuple[str, str]], directory: Path) -> list[str]:
    """Write model files of the controller, by their names and contents; return their paths here."""
    paths = []
    for number, (name, text) in enumerate(models):
        # Two may have one name.
        path = directory / f"model-{number}" / name
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
        paths.append(str(path))
    return paths


def _quarantined(machine: Machine, named: str | None) -> dict[str, str]:
    """Return which devices no run of this machine is to use, and why."""
    if machine.software and named is None:
        return {}
    return in_quarantine(machine, Path(named) if named else default_directory())


def _next(channel: execnet.Channel) -> Any:
    """Return the next question; raises EOFError when the controller is gone or has come to its end."""
    while not contact_lost.is_set():
        with contextlib.suppress(channel.TimeoutError):
            return json.loads(channel.receive(_GLANCE))
    raise EOFError


def own_version() -> str:
    """Return the version of this package."""
    return version("pytest-amdgpu")


def _obstacle(question: Mapping[str, Any]) -> str:
    """Return why no worker can do here what the controller wants, or nothing."""
    own, other = own_version(), question.get("version", "of an earlier version")
    if own != other:
        python = f"Python {platform.python_version()} in {os.path.realpath(sys.executable)}"
        return f"pytest-amdgpu is {own} there ({python}), and {other} here; install {other} there"
    if absent := [path for path in question["paths"] if not os.path.exists(path)]:
        return (
            f"{', '.join(absent)} is not there; --rsyncdir=DIRECTORY sends it to all hosts, or let it be"
            " under the same name there"
        )
    return ""


def _environment(machine: Machine) -> dict[str, Any]:
    from pytest_amdgpu.devices.fingerprint import fingerprint
    from pytest_amdgpu.plugin.judging import facts

    kernel = machine.connect().source.kernel()
    devices = fingerprint(kernel, machine.devices, nearest_target=machine.nearest_target)
    return {**facts.environment(), **devices}


def _take(wish: Mapping[str, Any], channel: execnet.Channel) -> Lease | None:
    """Take leases as asked for, and tell how it went."""
    timeout: float = wish["timeout"]

    def waiting(name: str, holders: Sequence[Holder]) -> None:
        by = "; ".join(map(str, holders)) or "a process that does not say who it is"
        channel.send(json.dumps({WAITING: f"{name}, in use by {by}"}))

    try:
        directory = LeaseDirectory(Path(wish["directory"]) if wish["directory"] else default_directory())
        lease = directory.take(
            wish["names"], wish["purpose"], shared=wish["shared"], timeout=timeout, waiting=waiting
        )
    except LeaseError as error:
        channel.send(json.dumps({ERROR: str(error)}))
    except LeaseTimeoutError as error:
        channel.send(json.dumps({TIMEOUT: str(error)}))
    else:
        channel.send(json.dumps({DONE: sorted(wish["names"])}))
        return lease
    return None
