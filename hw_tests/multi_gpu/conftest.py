"""What tests of several GPUs share: kernels for any of them, and another process with a device of its own."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_amdgpu.plugin.session import session_key

OBJECTS = Path(__file__).parents[1] / "kernels" / "objects"


IDLE_TIMEOUT = 2.0
"""Seconds that queues get to become idle after a test."""


@pytest.fixture(autouse=True)
def give_back(amdgpu_devices: list[Any]) -> Iterator[None]:
    """Give back what a test makes of its devices; queues first, because they use each other's memory."""
    older = [resource for device in amdgpu_devices for resource in device.tracker.all()]
    yield
    for device in amdgpu_devices:
        device.reclaim_queues(IDLE_TIMEOUT, keep=older)
    for device in amdgpu_devices:
        device.reclaim(IDLE_TIMEOUT, keep=older)


@pytest.fixture(params=[(0, 1), (1, 0)], ids=["first", "second"])
def actor_and_peer(request: pytest.FixtureRequest, amdgpu_devices: list[Any]) -> tuple[Any, Any]:
    """Two devices: one that does the work, and the other; in both orders."""
    return tuple(amdgpu_devices[index] for index in request.param)


@pytest.fixture
def kernel_on() -> Callable[..., Any]:
    """Return a function that loads a kernel of `hw_tests/kernels` for a device."""

    def load(device: Any, source: str, name: str | None = None) -> Any:
        return device.load(OBJECTS / device.family.name / f"{source}.co")[name or source]

    return load


@pytest.fixture
def in_child(request: pytest.FixtureRequest) -> Iterator[Callable[..., socket.socket]]:
    """Return a function that runs `work(device, socket)` in a child process; returns the other end.

    The child has a connection to the kernel of its own, and opens there the same GPU as `device`.
    """
    machine = request.config.stash[session_key].plan.machine
    children: list[tuple[int, socket.socket]] = []

    def run(device: Any, work: Callable[[Any, socket.socket], None]) -> socket.socket:
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            # Newer Pythons warn of forks beside threads; the child uses nothing that those may hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            os._exit(_child(machine, device.node.gpu_id, theirs, work))
        theirs.close()
        ours.settimeout(30)
        children.append((pid, ours))
        return ours

    yield run
    for pid, end in children:
        end.close()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the child failed; see its traceback"


def _child(machine: Any, gpu_id: int, end: socket.socket, work: Callable[..., None]) -> int:
    """Do the work; return the exit code."""
    import traceback

    from pytest_amdgpu.driver.device import Device

    try:
        source = machine.connect().source
        kernel = source.kernel()
        nodes = source.discover(kernel, nearest_target=machine.nearest_target)
        node = next(node for node in nodes if node.gpu_id == gpu_id)
        with Device.open(kernel, node, source.open(kernel, node)) as device:
            work(device, end)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
