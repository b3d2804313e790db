"""Kernels read and write the memory of another GPU, and count together with it."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.amdgpu(devices=2, relation="peers")

COUNT = 3000


def run(device, kernel, count, args):
    """Run a kernel and wait for it."""
    queue, semaphore = device.compute_queue(), device.timeline_semaphore()
    queue.dispatch(kernel, count, args).signal(semaphore, 1).submit()
    semaphore.wait(1, timeout=20)
    queue.close()


def test_a_kernel_reads_a_peers_memory(actor_and_peer, kernel_on, random_words):
    actor, peer = actor_and_peer
    source, target = peer.vram(4 * COUNT, peers=[actor]), actor.gtt(4 * COUNT)
    data = source.view(np.uint32)[:] = random_words(COUNT)
    run(actor, kernel_on(actor, "vector_add"), COUNT, [target, source, source, COUNT])
    assert np.array_equal(target.view(np.uint32), data * np.uint32(2))


def test_a_kernel_writes_a_peers_memory(actor_and_peer, kernel_on, random_words):
    actor, peer = actor_and_peer
    target = peer.vram(4 * COUNT + 4, peers=[actor])
    before = target.view(np.uint32)[:] = random_words(COUNT + 1)
    value = int(before[0]) ^ 0x5A5A5A5A
    run(actor, kernel_on(actor, "fill"), COUNT, [target, value, COUNT])
    assert (target.view(np.uint32)[:COUNT] == value).all()
    assert target.view(np.uint32)[COUNT] == before[COUNT]


@pytest.mark.parametrize("location", ["gtt", "vram"])
def test_two_gpus_count_together(amdgpu_devices, kernel_on, location):
    """Every ticket is given once, although both take them at the same time.

    The counter is memory that no cache keeps.
    """
    first, second = amdgpu_devices
    counter = getattr(first, location)(4096, uncached=True, peers=[second])
    counter.fill(0)
    tickets, work = [], []
    for device in amdgpu_devices:
        tickets.append(device.gtt(4 * COUNT))
        queue, semaphore = device.compute_queue(), device.timeline_semaphore()
        queue.dispatch(kernel_on(device, "peers", "shared_tickets"), COUNT, [tickets[-1], counter, COUNT])
        work.append((queue.signal(semaphore, 1), semaphore))
    for commands, _ in work:
        commands.submit()
    for _, semaphore in work:
        semaphore.wait(1, timeout=20)
    taken = np.sort(np.concatenate([buffer.view(np.uint32) for buffer in tickets]))
    assert np.array_equal(taken, np.arange(2 * COUNT))
    assert counter.view(np.uint32)[0] == 2 * COUNT
