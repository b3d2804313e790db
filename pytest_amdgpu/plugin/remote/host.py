"""One host of a run over several, as the controller knows it: its GPUs, and what is asked of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.devices.machine import Machine
from pytest_amdgpu.plugin.options import INFRASTRUCTURE
from pytest_amdgpu.plugin.remote.host_contact import Contact
from pytest_amdgpu.plugin.remote.host_service import DONE, ERROR, TIMEOUT, WAITING, own_version

if TYPE_CHECKING:
    import execnet

    from pytest_amdgpu.plugin.watching.supervision import Supervision

_LOOK = "from pytest_amdgpu.plugin.remote.host_service import serve\nserve(channel)\n"
_TIMEOUT = 120.0
"""Seconds that a host has to tell which GPUs it has, and to answer about leases beyond those it may wait."""
_VARIABLES = {"PYTEST_AMDGPU_SOFTWARE": "software", "PYTEST_AMDGPU_BACKEND": "backend"}
"""Variables of a gateway (`env:NAME=value`) that decide for its host what an option decides for all."""


def lease_directory(config: pytest.Config) -> str | None:
    """Return what the lease directory is called on each host, None for the default of each."""
    named: str | None = config.getoption("--amdgpu-lease-directory")
    return None if named is None else str(Path(config.invocation_params.dir, named))


class Host:
    """A host of the run, as the controller knows it."""

    def __init__(
        self, name: str, key: str, gateway: execnet.Gateway, variables: Mapping[str, object]
    ) -> None:
        self.name, self.key = name, key
        self.variables = {
            _VARIABLES[one]: str(value) for one, value in variables.items() if one in _VARIABLES
        }
        self.has_directory = not gateway.spec.popen or bool(gateway.spec.chdir)
        """Whether its workers run in another directory than this process."""
        self.machine: Machine
        self.boot = ""
        """The `boot_id` of its machine."""
        self.locks: str | None = None
        self.environment: dict[str, Any] = {}
        self.quarantine: dict[str, str] = {}
        """Which of its devices no run is to use, and why."""
        self.is_this_machine = bool(gateway.spec.popen and not gateway.spec.via)
        """Whether its workers are processes of this machine, which the supervisor here can watch."""
        self._contact: Contact | None = None
        self._gateway = gateway
        self._channel = gateway.remote_exec(_LOOK)

    def ask(self, config: pytest.Config, options: Mapping[str, Any], paths: Sequence[str]) -> None:
        """Learn which GPUs the host has, and that it has `paths`, too; raises `pytest.UsageError`."""
        question = {
            "version": own_version(),
            "options": {**options, **self.variables},
            "models": [(Path(file).name, Path(file).read_text("utf-8")) for file in options["model_files"]],
            "lease_directory": lease_directory(config),
            "paths": paths,
            "environment": config.getoption("--amdgpu-verdict") is not None,
        }
        answer = self._answer(_TIMEOUT, question)
        if ERROR in answer:
            raise pytest.UsageError(f"--tx: host {self.name}: {answer[ERROR]}")
        try:
            self.machine = Machine.from_json(answer["machine"]).on_host(self.name)
            self.boot = answer["boot"]
            self.locks = answer["locks"]
            self.environment = answer.get("environment", {})
            ids = {device.local_id: device.id for device in self.machine.devices}
            self.quarantine = {ids[local]: reason for local, reason in answer["quarantine"].items()}
        except (KeyError, TypeError) as error:
            # Versions do not tell checkouts from each other.
            raise pytest.UsageError(
                f"--tx: host {self.name}: its pytest-amdgpu is not the one here, for its answer is another"
                f" one ({type(error).__name__}: {error}); install the same there"
            ) from error
        if self.environment:
            devices = self.environment["devices"]
            self.environment["devices"] = {
                device.id: devices[device.local_id]
                for device in self.machine.devices
                if device.local_id in devices
            }

    @property
    def has_named_software(self) -> bool:
        """Whether its software GPUs were asked for on it."""
        return "software" in self.variables

    @property
    def contact(self) -> Contact:
        """The line to it, from `meet` to `part`."""
        assert self._contact is not None
        return self._contact

    def meet(self, supervision: Supervision | None) -> None:
        """Stay in contact while workers run there; `supervision` has them watched by a supervisor there."""

        def told(message: list[Any]) -> None:
            if supervision is not None:
                supervision.hear(message)

        def unwatched(why: str) -> None:
            if supervision is not None:
                supervision.miss(f" on host {self.name}", why)

        self._contact = Contact(
            self.name, self._gateway, supervise=supervision is not None, told=told, unwatched=unwatched
        )

    def part(self) -> None:
        """Let it know that the run is over."""
        if self._contact is not None:
            self._contact.end()

    def lease(self, config: pytest.Config, names: Collection[str]) -> None:
        """Have leases taken there until the run ends, or end the run if that takes too long."""
        timeout: float = config.getoption("--amdgpu-lease-timeout")
        wish = {
            "names": sorted(names),
            "purpose": f"pytest in {config.invocation_params.dir}",
            "shared": config.getoption("--amdgpu-lease") == "shared",
            "timeout": timeout,
            "directory": lease_directory(config),
        }
        answer = self._answer(timeout + _TIMEOUT, wish)
        while WAITING in answer:
            terminal = config.pluginmanager.getplugin("terminalreporter")
            if terminal is not None:
                terminal.write_line(
                    f"amdgpu: waiting at most {timeout:g} s on {self.name} for {answer[WAITING]}"
                )
            answer = self._answer(timeout + _TIMEOUT)
        if ERROR in answer:
            raise pytest.UsageError(f"--amdgpu-lease-directory: host {self.name}: {answer[ERROR]}")
        if TIMEOUT in answer:
            pytest.exit(
                f"amdgpu: no test was run: host {self.name}: {answer[TIMEOUT]}", returncode=INFRASTRUCTURE
            )
        assert DONE in answer

    def _answer(self, timeout: float, question: object = None) -> dict[str, Any]:
        """Ask something, and wait for the next answer; without one the run ends."""
        try:
            if question is not None:
                # To a channel that was closed for an error nothing can be sent; the error is told below.
                with contextlib.suppress(OSError):
                    self._channel.send(json.dumps(question))
            answer: dict[str, Any] = json.loads(self._channel.receive(timeout))
        except (self._channel.RemoteError, self._channel.TimeoutError, EOFError, OSError) as error:
            last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            what = "does not answer any more" if self.boot else "does not tell its GPUs"
            hint = "" if self.boot else "; pytest-amdgpu must be installed there"
            pytest.exit(
                f"amdgpu: no test was run: host {self.name} {what} ({last[0]}){hint}",
                returncode=INFRASTRUCTURE,
            )
        return answer
