"""The controller's line to a host while tests run: whether it is there, and what its supervisor says."""

from __future__ import annotations

import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_amdgpu.plugin.remote import gateway_repairs, host_watch
from pytest_amdgpu.plugin.remote.host_watch import (
    BEAT,
    BEATS,
    END,
    EXAMINE,
    QUARANTINE,
    TOLD,
    TROUBLE,
    UNWATCHED,
    WAS_ALIVE,
    WORKER,
)

if TYPE_CHECKING:
    import execnet

_WATCH = "from pytest_amdgpu.plugin.remote.host_watch import watch\nwatch(channel)\n"


class HostLostError(RuntimeError):
    """The host does not answer any more; the message says what is known of it."""


class Contact:
    """One host. `lost` says why it can no longer be used, and is empty as long as it can be.

    `told` is called, in another thread, with each message of the supervisor there, and `unwatched` with the
    reason if there is none.
    """

    def __init__(
        self,
        name: str,
        gateway: execnet.Gateway,
        *,
        supervise: bool,
        told: Callable[[list[Any]], None],
        unwatched: Callable[[str], None],
    ) -> None:
        self.lost = ""
        self.supervisor: str | None = None
        """The address of the supervisor there."""
        self._name, self._told, self._unwatched = name, told, unwatched
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._answers: queue.Queue[list[Any]] = queue.Queue()
        self._gateways = [gateway]
        self._heard = time.monotonic()
        self._channel = gateway.remote_exec(_WATCH)
        self._channel.setcallback(self._take, endmarker=None)
        self._say([supervise])
        threading.Thread(target=self._mind, name="amdgpu host", daemon=True).start()
        # One that does not answer is silent, or its connection ends.
        with contextlib.suppress(HostLostError):
            self.supervisor = self._answer()[1]

    def reach(self, gateway: execnet.Gateway) -> None:
        """Have one more connection there."""
        with self._lock:
            self._gateways.append(gateway)
        if self.lost:
            cut(gateway)

    def add(self, gateway: execnet.Gateway) -> None:
        """Have a worker at the other end of a connection."""
        self._say([WORKER, gateway._rinfo().pid])

    def quarantine(self, directory: str | None, name: str, reason: str) -> None:
        """Put a device into the quarantine of its machine, by the name of its lease."""
        self._say([QUARANTINE, directory, name, reason])

    def examine(self, gateway: execnet.Gateway) -> bool:
        """Return whether a worker whose connection ended was alive; then it no longer is.

        All that the supervisor has told of it is there afterwards. Raises `HostLostError`.
        """
        self._say([EXAMINE, gateway._rinfo().pid])
        return bool(self._answer()[0] == WAS_ALIVE)

    def lose(self, why: str) -> None:
        """Use the host no more: all connections to it end."""
        with self._lock:
            if self.lost or self._over.is_set():
                return
            self.lost = why
            gateways = list(self._gateways)
        self._over.set()
        self._answers.put([])
        for gateway in gateways:
            cut(gateway)

    def end(self) -> None:
        """Come to an end in order."""
        with self._lock:
            self._over.set()
        self._say([END])

    def _answer(self) -> list[Any]:
        answer = self._answers.get() if not self.lost else []
        if self.lost:
            raise HostLostError(self.lost)
        return answer

    def _take(self, text: str | None) -> None:
        """Take in a message; None is the end of the connection."""
        self._heard = time.monotonic()
        if text is None:
            self.lose(f"the connection to it ended{self._error()}")
            return
        kind, *rest = message = json.loads(text)
        if kind == TOLD:
            self._told(rest)
        elif kind == UNWATCHED:
            self._unwatched(rest[0])
        elif kind == TROUBLE:
            print(f"amdgpu: host {self._name}: {rest[0]}", file=sys.stderr)
        elif kind != BEATS:
            self._answers.put(message)

    def _error(self) -> str:
        try:
            self._channel.waitclose(0)
        except self._channel.RemoteError as error:
            return f" ({str(error).strip().splitlines()[-1]})"
        except (OSError, EOFError):
            pass
        return ""

    def _mind(self) -> None:
        """Say that this side is there, and notice that the other one is not."""
        while not self._over.wait(BEAT):
            self._say([BEATS])
            silence = time.monotonic() - self._heard
            if silence > host_watch.SILENCE:
                self.lose(f"it has not answered for {silence:.0f} s")

    def _say(self, message: list[Any]) -> None:
        # That a connection has ended is told by its other direction.
        with contextlib.suppress(OSError):
            self._channel.send(json.dumps(message))


def cut(gateway: execnet.Gateway) -> None:
    """End the connection of a gateway, or of the proxy that it goes through, whoever still answers there."""
    if gateway.spec.via:
        with contextlib.suppress(KeyError):
            cut(gateway._group[gateway.spec.via])
    else:
        gateway_repairs.end(gateway._io)
