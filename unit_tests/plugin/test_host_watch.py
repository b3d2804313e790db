"""What ends workers of a host whose controller is gone; without ssh, by the code that runs there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import execnet
import pytest

from pytest_amdgpu.plugin.remote import host_service
from pytest_amdgpu.plugin.remote.host_watch import (
    END,
    EXAMINE,
    READY,
    UNWATCHED,
    WAS_ALIVE,
    WAS_GONE,
    WORKER,
    watch,
)


class Channel:
    """What a gateway gives to the code that it runs; after the last message it is silent or closed."""

    TimeoutError = execnet.TimeoutError

    def __init__(self, *messages: list[object], end: Exception) -> None:
        self.messages = [json.dumps(message) for message in messages]
        self.end = end
        self.said: list[list[Any]] = []
        self.lock = threading.Lock()

    def receive(self, timeout: float | None = None) -> str:
        if not self.messages:
            raise self.end
        return self.messages.pop(0)

    def send(self, text: str) -> None:
        with self.lock:
            self.said.append(json.loads(text))

    def heard(self, *kinds: str) -> list[Any]:
        return [message for message in self.said if message[0] in kinds]


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process
        process.kill()


class Exited(BaseException):
    pass


@pytest.mark.parametrize("end", [execnet.TimeoutError(), EOFError()], ids=["silent", "closed"])
@pytest.mark.parametrize("supervised", [True, False])
def test_a_host_ends_its_workers_when_the_controller_is_gone(
    worker: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, end: Exception, supervised: bool
) -> None:
    monkeypatch.setattr(host_service, "contact_lost", threading.Event())
    monkeypatch.setattr(host_service, "over", threading.Event())
    host_service.over.set()

    def leave(status: int) -> None:
        # The leases are asked to end after the worker has ended.
        assert host_service.contact_lost.is_set()
        assert worker.poll() == -9
        raise Exited

    monkeypatch.setattr("os._exit", leave)
    channel = Channel([supervised], [WORKER, worker.pid], end=end)
    # The zombie of this process's child counts as dead.
    with pytest.raises(Exited):
        watch(channel)
    ((_, address),) = channel.heard(READY)
    assert bool(address) == supervised
    assert channel.heard(UNWATCHED) == []


def test_whether_a_worker_lived_on_is_told_and_it_is_ended(worker: subprocess.Popen[bytes]) -> None:
    dead = subprocess.Popen(["true"])
    assert dead.wait() == 0
    messages = [[WORKER, dead.pid], [WORKER, worker.pid], [EXAMINE, dead.pid], [EXAMINE, worker.pid]]
    channel = Channel([False], *messages, [EXAMINE, worker.pid], [END], end=EOFError())
    watch(channel)
    assert channel.heard(WAS_ALIVE, WAS_GONE) == [[WAS_GONE], [WAS_ALIVE], [WAS_GONE]]
    assert worker.wait() == -9
