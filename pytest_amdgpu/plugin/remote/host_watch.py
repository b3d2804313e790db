"""Runs on another host beside its workers: a supervisor's other side there, and who ends workers left behind.

Both sides say something at least each second, so that each knows when the other one is gone, also where the
connection stays open. A message is a list of JSON whose first element says what it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.devices.leases import LeaseDirectory, LeaseError, default_directory
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine, MachineQuarantineError
from pytest_amdgpu.plugin.remote import host_service
from pytest_amdgpu.supervisor.client import Connection, SupervisorGoneError, start
from pytest_amdgpu.supervisor.process_state import is_alive, is_exiting, started
from pytest_amdgpu.supervisor.protocol import Said

if TYPE_CHECKING:
    import execnet

BEAT = 1.0
"""Seconds between two signs of life."""
SILENCE = 60.0
"""Seconds without a sign of life after which the other side is gone."""
READY, TOLD, UNWATCHED, TROUBLE = "ready", "told", "unwatched", "trouble"
WAS_ALIVE, WAS_GONE = "was alive", "was gone"
"""What this side says: the supervisor's address or None; what the supervisor told; why there is none any
more; what could not be done; and of a process that was to be looked at, whether it was still there."""
BEATS, WORKER, EXAMINE, QUARANTINE, END = "beat", "worker", "examine", "quarantine", "end"
"""What the controller says: that it is there (so does this side); the pid of a worker; the pid of one whose
connection ended; lease directory, device and reason of a quarantine of this machine; that the run is over."""
_ENDING = 0.5
"""Seconds after the end of its connection within which a process that died is seen to be at its end."""
_DYING = 2.0
"""Seconds that it then has to be gone."""
_END_PATIENCE = 2.0
"""Seconds that the supervisor gets to end."""
_GLANCE = 0.02
_LEASES_END = 10.0
"""Seconds that leases have to be given back when the controller is gone."""


def watch(channel: execnet.Channel) -> None:
    """Watch until the run ends; if the controller is gone before that, end this process with all it has."""
    (supervise,) = json.loads(channel.receive())
    if not _Watch(channel, supervise=supervise).run():
        host_service.contact_lost.set()
        host_service.over.wait(_LEASES_END)
        os._exit(1)


class _Watch:
    def __init__(self, channel: execnet.Channel, *, supervise: bool) -> None:
        self._channel = channel
        self._workers: dict[int, int] = {}
        """When each worker started, by its pid: another process may come to have the same."""
        self._over = threading.Event()
        self._reading = threading.Lock()
        self._supervisor: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        address = None
        if supervise:
            try:
                address, self._process = start()
                self._supervisor = Connection(address)
                self._supervisor.say(Said.CONTROLLER, os.getpid(), None, {"arguments": []})
            except (OSError, SupervisorGoneError) as error:
                self._say(UNWATCHED, str(error))
        self._say(READY, address)

    def run(self) -> bool:
        """Do what the controller asks for; return whether it said that the run is over."""
        relay = threading.Thread(target=self._relay, name="amdgpu relay")
        relay.start()
        try:
            return self._serve()
        finally:
            self._over.set()
            # First, for who has given a device back must not use it.
            for pid in list(self._workers):
                self._kill(pid)
            if self._supervisor is not None:
                # Which also wakes the other thread.
                self._supervisor.close()
            relay.join()
            self._let_the_supervisor_end()

    def _let_the_supervisor_end(self) -> None:
        """Wait a little; it goes on for as long as it has to do with a process that does not die."""
        if self._process is not None:
            try:
                self._process.wait(_END_PATIENCE)
            except subprocess.TimeoutExpired:
                # Nobody waits for it any more, and subprocess need not warn of that.
                self._process.returncode = 0

    def _serve(self) -> bool:
        while True:
            try:
                kind, *rest = json.loads(self._channel.receive(SILENCE))
            except (EOFError, self._channel.TimeoutError):
                return False
            if kind == WORKER:
                self._workers[rest[0]] = started(rest[0])
            elif kind == EXAMINE:
                self._examine(rest[0])
            elif kind == QUARANTINE:
                self._quarantine(*rest)
            elif kind == END:
                return True

    def _quarantine(self, directory: str | None, name: str, reason: str) -> None:
        path = Path(directory) if directory else default_directory()
        try:
            LeaseDirectory(path)
            MachineQuarantine(path).add(name, reason)
        except (LeaseError, MachineQuarantineError) as error:
            self._say(TROUBLE, f"--amdgpu-quarantine=machine: {error}")

    def _examine(self, pid: int) -> None:
        """Say whether a worker is alive although its connection ended, and end it then."""
        alive = self._lives_on(pid)
        self._kill(pid)
        # What was told before it died comes first.
        self._pass_on()
        self._say(WAS_ALIVE if alive else WAS_GONE)

    def _lives_on(self, pid: int) -> bool:
        """Whether a process is not about to end."""
        end = time.monotonic() + _ENDING
        while (alive := self._is_alive(pid) and not is_exiting(pid)) and time.monotonic() < end:
            time.sleep(_GLANCE)
        return alive

    def _is_alive(self, pid: int) -> bool:
        return pid in self._workers and is_alive(pid, self._workers[pid])

    def _kill(self, pid: int) -> None:
        """End a worker, and wait a little until what it used is free."""
        end = time.monotonic() + _DYING
        if self._is_alive(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self._is_alive(pid) and time.monotonic() < end:
            time.sleep(_GLANCE)
        self._workers.pop(pid, None)

    def _relay(self) -> None:
        """Pass on what the supervisor says, and say that this host is there."""
        while not self._over.is_set():
            try:
                self._say(BEATS)
                self._wait()
                self._pass_on()
            except (OSError, ValueError):
                # The connection ended, which the other thread learns, too, or that to the supervisor.
                return

    def _wait(self) -> None:
        if self._supervisor is None:
            self._over.wait(BEAT)
        else:
            select.select([self._supervisor.socket], [], [], BEAT)

    def _pass_on(self) -> None:
        with self._reading:
            if self._supervisor is None:
                return
            try:
                for message in self._supervisor.told():
                    self._say(TOLD, *message)
            except SupervisorGoneError as error:
                if not self._over.is_set():
                    self._supervisor = None
                    self._say(UNWATCHED, str(error))

    def _say(self, *message: Any) -> None:
        self._channel.send(json.dumps(message))
