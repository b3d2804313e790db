"""Memory that one process exports is the same memory in another, on the same GPU and on a peer."""

from __future__ import annotations

import socket

import numpy as np
import pytest

pytestmark = pytest.mark.amdgpu(devices=2, relation="peers")

SIZE = 2 * 4096


def invert(device, end):
    """In the child: take the descriptor, write the inverse of the memory through an engine of the device."""
    _, (fd,), _, _ = socket.recv_fds(end, 1, 1)
    shared = device.import_buffer(fd)
    device.kernel.close(fd)
    inverse, semaphore = device.gtt(shared.size), device.timeline_semaphore()
    queue = device.sdma_queue()
    queue.copy(inverse, shared).signal(semaphore, 1).submit()
    semaphore.wait(1, timeout=20)
    inverse.array[:] = ~inverse.array
    queue.copy(shared, inverse).signal(semaphore, 2).submit()
    semaphore.wait(2, timeout=20)
    end.send(b"inverted")


@pytest.mark.parametrize("where", ["same", "peer"])
@pytest.mark.parametrize("location", ["vram", "gtt"])
def test_a_child_process_has_the_same_memory(amdgpu_devices, in_child, random_words, location, where):
    first, second = amdgpu_devices
    buffer = getattr(first, location)(SIZE)
    data = buffer.view(np.uint32)[:] = random_words(SIZE // 4)
    device = first if where == "same" else second
    # The child works with such a queue; a GPU that has none says so here.
    device.sdma_queue().close()
    end = in_child(device, invert)
    with buffer.export() as shared:
        socket.send_fds(end, [b"x"], [shared.fd])
    assert end.recv(20) == b"inverted"
    assert np.array_equal(buffer.view(np.uint32), ~data)


def test_a_peer_imports_in_the_same_process(actor_and_peer, rng):
    actor, peer = actor_and_peer
    buffer, taken = actor.vram(SIZE), peer.gtt(SIZE)
    buffer.array[:] = rng.integers(0, 256, SIZE, dtype=np.uint8)
    with buffer.export() as shared:
        imported = peer.import_buffer(shared)
    semaphore = peer.timeline_semaphore()
    peer.sdma_queue().copy(taken, imported).signal(semaphore, 1).submit()
    semaphore.wait(1, timeout=10)
    assert np.array_equal(taken.array, buffer.array)
