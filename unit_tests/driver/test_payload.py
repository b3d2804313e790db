"""Where arguments and indirect buffers are put: segments reused in turn, and what is too large for them."""

from __future__ import annotations

import ctypes

import pytest
from fake_kernel import FakeKernel
from made_kernels import MadeKernel

from pytest_amdgpu.driver import queue as queue_module
from pytest_amdgpu.driver.compute_queue import ComputeQueue
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import CommandError, QueueClosedError, WaitTimeoutError
from pytest_amdgpu.packets.aql import aql_packets

ARENA = 16384
SEGMENT = ARENA // 4


@pytest.fixture
def queue(device: Device, monkeypatch: pytest.MonkeyPatch) -> ComputeQueue:
    monkeypatch.setattr(queue_module, "ARENA_SIZE", ARENA)
    return device.compute_queue("aql", 1 << 16)


def kernargs(queue: ComputeQueue) -> list[int]:
    return [
        packet["kernarg_address"]
        for packet in aql_packets().decode_stream(queue.ring.pending_words())
        if packet.name == "KERNEL_DISPATCH"
    ]


def reach_marks(fake: FakeKernel, queue: ComputeQueue) -> None:
    def reach() -> None:
        queue._progress._word[0] = queue._mark
        fake.signal(queue._progress.event_id)

    fake.on_wait = reach


def test_arguments_follow_one_another(queue: ComputeQueue) -> None:
    for _ in range(10):
        queue.dispatch(MadeKernel(), 64).submit()
    places = kernargs(queue)
    assert [place - places[0] for place in places] == list(range(0, 640, 64))


def test_a_segment_is_reused_when_its_mark_is_reached(fake: FakeKernel, queue: ComputeQueue) -> None:
    reach_marks(fake, queue)
    kernel = MadeKernel(kernarg_size=512)
    for _ in range(100):
        queue.dispatch(kernel, 64).submit()
    places = kernargs(queue)
    per_segment = (SEGMENT - 256) // 512
    first = places[0]
    expected = [first + segment * SEGMENT + 512 * slot for segment in range(4) for slot in range(per_segment)]
    assert places[: len(expected)] == expected
    assert places[len(expected)] == first
    assert queue._mark >= 100 // per_segment - 1


def test_a_segment_in_use_is_waited_for_and_not_overwritten(fake: FakeKernel, queue: ComputeQueue) -> None:
    queue.full_timeout = 0.001
    kernel = MadeKernel(kernarg_size=512)

    def fill_all() -> None:
        for _ in range(100):
            queue.dispatch(kernel, 64).submit()

    with pytest.raises(WaitTimeoutError, match="end of work of aql queue 0"):
        fill_all()
    assert len(set(kernargs(queue))) == len(kernargs(queue)) == 4 * ((SEGMENT - 256) // 512)


def test_marks_are_reached_in_their_order_wherever_a_segment_ends(
    fake: FakeKernel, queue: ComputeQueue
) -> None:
    """The mark of `wait_idle` points to memory, too, and may itself begin the next segment."""
    values: list[int] = []
    note = queue._progress.note_signal
    queue._progress.note_signal = lambda value, *rest: (values.append(value), note(value, *rest))[1]
    reach_marks(fake, queue)
    fake.on_doorbell = lambda _address, value: queue.ring._read_pointer.__setitem__(0, value + 1)
    for step in range(60):
        for _ in range(step % 7 + 1):
            queue.dispatch(MadeKernel(), 64).submit()
        queue.wait_idle(60)
        assert values == sorted(values)
        assert values[-1] == queue._mark


def test_what_no_segment_holds_gets_memory_of_its_own(fake: FakeKernel, queue: ComputeQueue) -> None:
    reach_marks(fake, queue)
    kernel = MadeKernel(kernarg_size=512)
    objects = len(fake.objects)
    chain = queue.record()
    for _ in range(20):
        chain.dispatch(kernel, 64)
    chain.submit()
    places = kernargs(queue)
    assert [place - places[0] for place in places] == list(range(0, 20 * 512, 512))
    assert all(ctypes.string_at(place, 2) == b"\1\2" for place in places)
    assert len(fake.objects) == objects + 2  # the arena, and this
    queue.wait_idle(60)
    assert len(fake.objects) == objects + 1


def test_a_chain_longer_than_the_ring_keeps_its_arguments(fake: FakeKernel, device: Device) -> None:
    queue = device.compute_queue("aql", 4096)
    seen = []

    def execute(_address: int, _value: int) -> None:
        while not queue.ring.drained:
            pending = queue.ring.pending_words()
            for packet in aql_packets().decode_stream(pending):
                if packet.name == "KERNEL_DISPATCH":
                    seen.append(packet["kernarg_address"])
            queue.ring._read_pointer[0] += len(pending) // 16

    fake.on_doorbell = execute
    chain = queue.record()
    for _ in range(300):
        chain.dispatch(MadeKernel(), 64)
    chain.submit()
    assert len(set(seen)) == 300
    queue.close()


@pytest.mark.parametrize("in_chain", [False, True])
def test_a_recording_longer_than_the_ring(fake: FakeKernel, device: Device, in_chain: bool) -> None:
    queue = device.compute_queue("aql", 4096)
    fake.on_doorbell = lambda _address, _value: queue.ring._read_pointer.__setitem__(
        0, queue.ring.write_pointer
    )
    chain = queue.record()
    for _ in range(100):
        chain.dispatch(MadeKernel(), 64)
    recording = chain.finish()
    if in_chain:
        queue.run(recording).submit()
    else:
        recording.submit()
    assert 100 <= queue.ring.write_pointer < 130
    queue.close()
    with pytest.raises(QueueClosedError):
        recording.submit()
    recording.free()


def test_a_command_longer_than_a_part_is_refused(device: Device) -> None:
    queue = device.compute_queue("pm4", 4096)
    chain = queue.record().dispatch(MadeKernel(), 64)
    with pytest.raises(CommandError, match=r"a command of \d+ bytes does not fit the ring of pm4 queue 0"):
        list(chain.parts(100))
