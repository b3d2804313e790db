from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kfd_client import Client, StubEngine

from pytest_amdgpu.emulator.engine.context import QueueContext


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[StubEngine]:
    """Replace the engines of queues by stubs, listed in the order of creation."""
    made: list[StubEngine] = []

    def create(context: QueueContext) -> StubEngine:
        made.append(StubEngine(context))
        return made[-1]

    monkeypatch.setattr("pytest_amdgpu.emulator.kfd.queue.create_queue", create)
    return made


@pytest.fixture
def make_client() -> Iterator[Callable[..., Client]]:
    """Return a factory of clients that are shut down after the test."""
    clients: list[Client] = []

    def make(*models: str, **options: Any) -> Client:
        clients.append(Client(models or ("rx7900xtx",), **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., Client], engines: list[StubEngine]) -> Client:
    """A client of one RX 7900 XTX whose queues have stub engines."""
    return make_client()


@pytest.fixture
def two_gpus(make_client: Callable[..., Client], engines: list[StubEngine]) -> Client:
    """A client of an MI300X and an RX 7900 XTX whose queues have stub engines."""
    return make_client("mi300x", "rx7900xtx")
