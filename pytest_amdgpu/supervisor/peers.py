"""The processes of pytest that are connected to the supervisor, and how they are told something."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from pytest_amdgpu.supervisor import process_state
from pytest_amdgpu.supervisor.protocol import Pulse, encode
from pytest_amdgpu.supervisor.smi_events import Listener
from pytest_amdgpu.supervisor.watch import Watched


class Peer:
    """A process of pytest, as it is connected."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.name = ""
        """Of the worker that it is; empty if it runs no tests."""
        self.stacks = ""
        self.started = 0
        self.pulse: Pulse | None = None
        self.ended = False
        self.status: int | None = None
        self.listeners: dict[str, Listener] = {}
        """To the events of its devices."""

    def tell(self, *message: Any) -> None:
        """Send, if the other side still reads; the last part is shortened until all fits."""
        while True:
            try:
                data = encode(*message)
                break
            except ValueError:
                message = (*message[:-1], message[-1][: len(message[-1]) // 2])
        with contextlib.suppress(OSError):
            self.connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class Peers(list[Peer]):
    """All of them."""

    controller: Peer | None = None
    """The one that sees the results, while it is there."""
    guard: Peer | None = None
    """The one that waits for the controller's process, while it does not know of its end."""
    guard_pid = 0
    controller_pid = 0
    controller_started = 0

    def of(self, process: Watched) -> Peer | None:
        """Return the connection of a process that is watched, if there still is one."""
        return next((peer for peer in self if peer.name == process.name), None)

    def tell_controller(self, *message: Any) -> None:
        """Tell the controller, if it is there."""
        if self.controller is not None:
            self.controller.tell(*message)

    def controller_is_alive(self) -> bool:
        """Whether the process of the controller is there."""
        return process_state.is_alive(self.controller_pid, self.controller_started)
