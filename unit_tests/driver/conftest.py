"""A device on a kernel of plain memory, for tests of the driver."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover

MODELS = ("mi300x", "rx7900xtx")
ALL_MODELS = (
    "mi100",
    "mi210",
    "mi300x",
    "mi350x",
    "rx5700xt",
    "rx6900xt",
    "rx7900xtx",
    "strixhalo",
    "rx9060xt",
    "r9700",
)
"""One of each generation."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of what a ring holds on every generation, the others on one of each driver path."""
    chosen = any(mark.args[0] == "fake" for mark in metafunc.definition.iter_markers("parametrize"))
    if "fake" in metafunc.fixturenames and not chosen:
        whole = metafunc.module.__name__.endswith("_commands")
        metafunc.parametrize("fake", ALL_MODELS if whole else MODELS, indirect=True)


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> FakeKernel:
    return FakeKernel(request.param)


@pytest.fixture
def device(fake: FakeKernel) -> Iterator[Device]:
    """An open device; at the end nothing of it may be left in the kernel."""
    opened = Device.open(fake, discover(fake)[0])
    yield opened
    fake.forgive()
    # Nothing executes on this kernel, so waiting for queues would only take time.
    for queue in opened.queues():
        queue.discard()
        queue.close()
    opened.close()
    # Tracebacks of expected errors may still hold arrays, which hold their memory.
    if fake.held()["mappings"]:
        gc.collect()
    assert not any(fake.held().values()), fake.held()
