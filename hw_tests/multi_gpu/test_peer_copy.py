"""SDMA engines copy between the memories of two GPUs, whichever of them does it, by each of its engines."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.asserts import assert_equal

pytestmark = pytest.mark.amdgpu(devices=2, relation="peers")

SIZE = 3 * 4096 + 5


@pytest.fixture
def finish():
    """Return a function that submits what a queue was given and waits until it is done."""

    def submit_and_wait(device, queue):
        semaphore = device.timeline_semaphore()
        queue.signal(semaphore, 1).submit()
        semaphore.wait(1, timeout=10)

    return submit_and_wait


@pytest.mark.parametrize("direction", ["to_peer", "from_peer"])
@pytest.mark.parametrize("size", [1, SIZE, 1 << 20])
def test_a_copy_between_two_gpus(actor_and_peer, finish, rng, direction, size):
    actor, peer = actor_and_peer
    own, other = actor.vram(size), peer.vram(size, peers=[actor])
    source, target = (own, other) if direction == "to_peer" else (other, own)
    source.array[:] = rng.integers(0, 256, size, dtype=np.uint8)
    target.fill(0)
    finish(actor, actor.sdma_queue(peer=peer).copy(target, source).queue)
    assert_equal(target, source)


def test_every_engine_reaches_the_peer(actor_and_peer, finish, rng):
    actor, peer = actor_and_peer
    source, target = peer.vram(SIZE, peers=[actor]), actor.vram(SIZE)
    for engine in (*actor.node.sdma_engines, *actor.node.xgmi_engines):
        source.array[:] = rng.integers(0, 256, SIZE, dtype=np.uint8)
        queue = actor.sdma_queue(engine=engine)
        finish(actor, queue.copy(target, source).queue)
        queue.close()
        assert_equal(target, source)


def test_both_gpus_copy_at_once(amdgpu_devices, rng):
    first, second = amdgpu_devices
    size, rounds = 1 << 18, 4
    sources = [device.vram(size) for device in amdgpu_devices]
    targets = [owner.vram(size, peers=[actor]) for actor, owner in ((first, second), (second, first))]
    semaphores = [device.timeline_semaphore() for device in amdgpu_devices]
    for source in sources:
        source.array[:] = rng.integers(0, 256, size, dtype=np.uint8)
    queues = [first.sdma_queue(peer=second), second.sdma_queue(peer=first)]
    for value in range(1, rounds + 1):
        for queue, target, source, semaphore in zip(queues, targets, sources, semaphores, strict=True):
            queue.copy(target, source).signal(semaphore, value).submit()
    for semaphore in semaphores:
        semaphore.wait(rounds, timeout=10)
    for target, source in zip(targets, sources, strict=True):
        assert_equal(target, source)


def test_access_is_given_by_mapping(amdgpu_devices):
    """Access is given by mapping, as often as one likes; both devices then have it at the same address."""
    first, second = amdgpu_devices
    assert first.can_reach(second)
    assert second.can_reach(first)
    buffer = first.vram(4096)
    for _ in range(2):
        buffer.map_to(second)
        buffer.map_to(first)
    buffer.free()


def test_the_link_says_what_it_is(actor_and_peer):
    actor, peer = actor_and_peer
    link = actor.link_to(peer)
    back = peer.link_to(actor)
    assert link.kind == back.kind
    assert link.kind == ("xgmi" if actor.node.hive_id == peer.node.hive_id != 0 else "pcie")
    assert link.weight == back.weight > 0
    assert 1 <= link.hops <= 4
    assert 0 <= link.min_bandwidth <= link.max_bandwidth
    assert set(link.engines) <= {*actor.node.sdma_engines, *actor.node.xgmi_engines}
