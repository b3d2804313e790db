"""One GPU signals a semaphore, another waits for it and then sees what the first has done."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import WaitTimeoutError

pytestmark = pytest.mark.amdgpu(devices=2, relation="peers")

COUNT = 2000
ROUNDS = 4


@pytest.fixture
def semaphore(actor_and_peer):
    """A semaphore of the first that the second reaches."""
    actor, peer = actor_and_peer
    made = actor.timeline_semaphore()
    made.map_to(peer)
    return made


def test_a_kernel_sees_what_a_peers_engine_wrote_since(actor_and_peer, semaphore, kernel_on):
    """The kernel runs on one GPU, in whose caches the other's memory may be from the last time."""
    actor, peer = actor_and_peer
    source, target = actor.vram(4 * COUNT, peers=[peer]), peer.gtt(4 * COUNT)
    zeros = peer.gtt(4 * COUNT)
    zeros.fill(0)
    sdma, compute = actor.sdma_queue(), peer.compute_queue()
    kernel = kernel_on(peer, "vector_add")
    for value in range(1, 2 * ROUNDS, 2):
        compute.wait(semaphore, value).dispatch(kernel, COUNT, [target, source, zeros, COUNT])
        compute.signal(semaphore, value + 1).submit()
        sdma.wait(semaphore, value - 1).fill(source, value, width=4).signal(semaphore, value).submit()
        semaphore.wait(value + 1, timeout=20)
        assert (target.view(np.uint32) == value).all()


def test_a_peers_engine_takes_what_a_kernel_wrote(actor_and_peer, semaphore, kernel_on):
    actor, peer = actor_and_peer
    target, taken = actor.vram(4 * COUNT, peers=[peer]), peer.gtt(4 * COUNT)
    compute, sdma = actor.compute_queue(), peer.sdma_queue(peer=actor)
    kernel = kernel_on(actor, "fill")
    for value in range(1, 2 * ROUNDS, 2):
        sdma.wait(semaphore, value).copy(taken, target).signal(semaphore, value + 1).submit()
        compute.dispatch(kernel, COUNT, [target, value, COUNT]).signal(semaphore, value).submit()
        semaphore.wait(value + 1, timeout=20)
        assert (taken.view(np.uint32) == value).all()


def test_a_peer_waits_for_the_signal(actor_and_peer, semaphore):
    """The peer's copy is submitted long before the value that it waits for is there."""
    actor, peer = actor_and_peer
    source, taken = actor.gtt(4096, uncached=True, peers=[peer]), peer.gtt(4096)
    source.fill(1)
    taken.fill(0)
    begun = peer.timeline_semaphore()
    queue = peer.sdma_queue().signal(begun, 1)
    queue.wait(semaphore, 1).copy(taken, source).signal(semaphore, 2).submit()
    begun.wait(1, timeout=10)
    with pytest.raises(WaitTimeoutError):
        semaphore.wait(2, timeout=0.1)
    actor.sdma_queue().fill(source, 7).signal(semaphore, 1).submit()
    semaphore.wait(2, timeout=10)
    assert (taken.array == 7).all()


@pytest.mark.amdgpu(devices=3, relation="peers")
def test_a_ring_of_gpus_passes_data_on(amdgpu_devices, random_words):
    """Each GPU takes what its neighbour has, when that is there: the last has what the first began with."""
    buffers = [
        device.vram(4 * COUNT, peers=[other for other in amdgpu_devices if other is not device])
        for device in amdgpu_devices
    ]
    semaphore = amdgpu_devices[0].timeline_semaphore()
    for device in amdgpu_devices[1:]:
        semaphore.map_to(device)
    data = buffers[0].view(np.uint32)[:] = random_words(COUNT)
    for place in reversed(range(1, len(amdgpu_devices))):
        device, before = amdgpu_devices[place], amdgpu_devices[place - 1]
        queue = (
            device.sdma_queue(peer=before).wait(semaphore, place - 1).copy(buffers[place], buffers[place - 1])
        )
        queue.signal(semaphore, place).submit()
    semaphore.wait(len(amdgpu_devices) - 1, timeout=20)
    assert np.array_equal(buffers[-1].view(np.uint32), data)
