"""What SDMA commands put into the ring.

The dwords are those of tinygrad's AMD runtime as captured from it (SDMA 4.4.2 and 6.0), which runs on
hardware; GCR_REQ is after ROCr's amd_blit_sdma.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import (
    BufferBoundsError,
    CommandError,
    SemaphoreValueError,
    UseAfterFreeError,
    WaitTimeoutError,
)
from pytest_amdgpu.driver.sdma_queue import SdmaQueue
from pytest_amdgpu.driver.topology import discover

GCR_REQ = 17


@pytest.fixture
def queue(device: Device) -> SdmaQueue:
    return device.sdma_queue(4096)


def words(queue: SdmaQueue) -> list[int]:
    """All that was submitted and not read, without the invalidation of caches in front."""
    found = list(queue.ring.pending_words())
    return found[5:] if found[0] == GCR_REQ else found


def pair(address: int) -> list[int]:
    return [address & 0xFFFFFFFF, address >> 32]


def names(queue: SdmaQueue) -> list[str]:
    return [packet.name for packet in queue.packets.decode_stream(queue.ring.pending_words())]


def consume(queue: SdmaQueue) -> None:
    queue.ring._read_pointer[0] = queue.ring.write_pointer


def test_a_chain_reads_as_the_work(queue: SdmaQueue, device: Device) -> None:
    first, second = device.timeline_semaphore(), device.timeline_semaphore()
    source, target = device.gtt(5000), device.vram(5000)
    queue.wait(first, 3).copy(target, source).signal(second, 4).submit()
    newer = device.family.gfx_version[0] >= 10
    fence = 0x00030005 if newer else 0x00000005
    # Invalidate GLI, GLK, GLV, GL1 and GL2, write GL2 back; before the signal only write GL2 back.
    acquire = [17, 0, 0xC381 << 16, 0, 0] if newer else []
    release = [17, 0, 0x8000 << 16, 0, 0] if newer else []
    expected = [
        *(0xD0000008 & ~0x50000000 | 5 << 28, *pair(first.address), 3, 0xFFFFFFFF, 0x0FFF0004),
        *acquire,
        *(0x00000001, 4999, 0, *pair(source.address), *pair(target.address)),
        *release,
        *(fence, *pair(second.address), 4),
        *(fence, *pair(second.slot_address), second.event_id),
        *(0x00000006, second.event_id),
    ]
    assert words(queue)[: len(expected)] == expected


def test_every_submission_ends_on_eight_dwords(queue: SdmaQueue, device: Device) -> None:
    buffer = device.gtt(64)
    for count in range(1, 9):
        chain = queue.record()
        for _ in range(count):
            chain.timestamp(buffer)
        chain.submit()
        assert queue.ring.write_pointer % 32 == 0
    assert names(queue).count("TIMESTAMP_GET_GLOBAL") == 36


def test_the_doorbell_rings_with_bytes(fake: FakeKernel, queue: SdmaQueue, device: Device) -> None:
    queue.timestamp(device.gtt(64)).submit()
    assert fake.doorbells[-1][1] == queue.ring.write_pointer == 32


def test_a_copy_beyond_the_limit_of_a_packet_is_split(queue: SdmaQueue, device: Device) -> None:
    limit = device.family.sdma_copy_limit
    source, target = device.vram(3 * limit, cpu_visible=False), device.vram(3 * limit, cpu_visible=False)
    size = 2 * limit + 17
    queue.copy(target, source, size).submit()
    found = [
        (packet["src_addr"] - source.address, packet["dst_addr"] - target.address, packet["count"] + 1)
        for packet in queue.packets.decode_stream(queue.ring.pending_words())
        if packet.name == "COPY_LINEAR"
    ]
    assert found == [(0, 0, limit), (limit, limit, limit), (2 * limit, 2 * limit, 17)]


def test_a_fill_beyond_the_limit_of_a_packet_is_split(queue: SdmaQueue, device: Device) -> None:
    """Its count has 22 bits up to SDMA 5 and 30 from 6 on, whatever a copy's has (amdgpu's headers)."""
    limit = 4 << 20 if device.family.gfx_version[0] < 11 else 1 << 30
    target = device.vram(2 * limit + 8, cpu_visible=False)
    queue.fill(target, 0, width=4).submit()
    found = [
        (packet["dst_addr"] - target.address, packet["count"] + 1)
        for packet in queue.packets.decode_stream(queue.ring.pending_words())
        if packet.name == "CONSTANT_FILL"
    ]
    assert found == [(0, limit), (limit, limit), (2 * limit, 8)]


def test_slices_and_sizes(queue: SdmaQueue, device: Device) -> None:
    source, target = device.gtt(100), device.gtt(200)
    queue.copy(target[150:], source[10:20]).submit()
    packet = queue.packets.decode(words(queue))
    assert (packet["src_addr"], packet["dst_addr"], packet["count"]) == (
        source.address + 10,
        target.address + 150,
        9,
    )


OUTSIDE: dict[str, Callable[[SdmaQueue, Device], object]] = {
    "target too small": lambda queue, device: queue.copy(device.gtt(10), device.gtt(11)),
    "source too small": lambda queue, device: queue.copy(device.gtt(20), device.gtt(10), 11),
    "nothing": lambda queue, device: queue.copy(device.gtt(20), device.gtt(10), 0),
    "negative": lambda queue, device: queue.copy(device.gtt(20), device.gtt(10), -1),
    "fill": lambda queue, device: queue.fill(device.gtt(20), 0, 24),
    "slice": lambda queue, device: queue.copy(device.gtt(20)[16:], device.gtt(8)),
    "timestamp": lambda queue, device: queue.timestamp(device.gtt(20), 16),
}


@pytest.mark.parametrize("command", OUTSIDE.values(), ids=OUTSIDE)
def test_transfers_outside_a_buffer(
    queue: SdmaQueue, device: Device, command: Callable[[SdmaQueue, Device], object]
) -> None:
    with pytest.raises(BufferBoundsError, match=r"cannot transfer -?\d+ bytes: |a time stamp at byte 16 is"):
        command(queue, device)


@pytest.mark.parametrize(("width", "fillsize", "value"), [(1, 0, 0xAB), (2, 1, 0xABCD), (4, 2, 0xABCDEF01)])
def test_fill(queue: SdmaQueue, device: Device, width: int, fillsize: int, value: int) -> None:
    buffer = device.vram(64)
    queue.fill(buffer[8:], value, 32, width=width).submit()
    assert words(queue)[:5] == [11 | fillsize << 30, *pair(buffer.address + 8), value, 31]


BAD_FILLS: dict[str, tuple[int, int, int, str]] = {
    "width": (0, 8, 3, "values of 1, 2 or 4 bytes, not of 3"),
    "size": (0, 6, 4, "6 bytes at .* cannot be filled with values of 4 bytes"),
    "value": (256, 8, 1, "fill value 0x100 does not fit 1 bytes"),
    "negative value": (-1, 8, 4, "fill value -0x1 does not fit 4 bytes"),
}


@pytest.mark.parametrize(("value", "size", "width", "text"), BAD_FILLS.values(), ids=BAD_FILLS)
def test_fills_that_the_engine_cannot_do(
    queue: SdmaQueue, device: Device, value: int, size: int, width: int, text: str
) -> None:
    with pytest.raises(CommandError, match=text):
        queue.fill(device.gtt(64), value, size, width=width)


def test_an_unaligned_fill_is_refused(queue: SdmaQueue, device: Device) -> None:
    with pytest.raises(CommandError, match="cannot be filled"):
        queue.fill(device.gtt(64)[2:], 0, 8, width=4)


def test_a_64_bit_signal_writes_the_lower_half_first(queue: SdmaQueue, device: Device) -> None:
    semaphore = device.timeline_semaphore((1 << 32) - 1)
    queue.signal(semaphore, 0x5_00000003).submit()
    fences = [
        (packet["addr"] - semaphore.address, packet["data"])
        for packet in queue.packets.decode_stream(queue.ring.pending_words())
        if packet.name == "FENCE" and packet["addr"] != semaphore.slot_address
    ]
    assert fences == [(0, 3), (4, 5)]


def test_a_64_bit_wait_polls_the_upper_half_first(queue: SdmaQueue, device: Device) -> None:
    semaphore = device.timeline_semaphore()
    queue.wait(semaphore, 0x5_00000003).submit()
    polls = [
        (packet["addr"] - semaphore.address, packet["value"], packet["func"])
        for packet in queue.packets.decode_stream(queue.ring.pending_words())
        if packet.name == "POLL_MEM"
    ]
    assert polls == [(4, 5, 5), (0, 3, 5)]


def test_a_wait_for_what_has_happened_polls_nothing(queue: SdmaQueue, device: Device) -> None:
    # The engine compares halves: with 2**32 reached, polling the lower half for 7 would wait for ever.
    semaphore = device.timeline_semaphore(1 << 32)
    queue.wait(semaphore, 7).fill(device.gtt(4), 0).submit()
    assert "POLL_MEM" not in names(queue)


def test_a_step_that_a_32_bit_wait_could_miss_is_refused(queue: SdmaQueue, device: Device) -> None:
    semaphore = device.timeline_semaphore(5)
    queue.wait(semaphore, 9)
    for signal in (
        lambda: semaphore.signal(1 << 32),
        lambda: queue.signal(semaphore, 1 << 32),
    ):
        with pytest.raises(SemaphoreValueError, match=r"cannot step to 4294967296 while .* waits for 9"):
            signal()
    semaphore.signal(9)
    semaphore.signal(1 << 32)


def test_a_chain_sees_what_others_wrote_before_it(queue: SdmaQueue, device: Device) -> None:
    buffer = device.gtt(64)
    newer = device.family.gfx_version[0] >= 10
    queue.fill(buffer, 1).copy(buffer[32:], buffer, 4).submit()
    transfers = ["CONSTANT_FILL", "COPY_LINEAR"]
    assert [name for name in names(queue) if name != "NOP"] == ["GCR_REQ"] * newer + transfers


def test_timestamp(queue: SdmaQueue, device: Device) -> None:
    buffer = device.gtt(64)
    queue.timestamp(buffer, 32).submit()
    assert words(queue)[:3] == [0x0000020D, *pair(buffer.address + 32)]


def test_a_chain_that_was_not_submitted_leaves_no_trace(queue: SdmaQueue, device: Device) -> None:
    buffer = device.gtt(64)
    queue.record().fill(buffer, 1)
    with pytest.raises(BufferBoundsError):
        queue.record().fill(buffer, 2).copy(buffer, buffer, 65)
    queue.fill(buffer, 3).submit()
    fills = [packet["value"] for packet in queue.packets.decode_stream(words(queue)[:5])]
    assert fills == [3]


def test_a_chain_is_submitted_once(queue: SdmaQueue, device: Device) -> None:
    chain = queue.fill(device.gtt(64), 1)
    chain.submit()
    for again in (chain.submit, chain.finish):
        with pytest.raises(CommandError, match="was submitted; record"):
            again()


def test_freed_buffers_cannot_be_used(queue: SdmaQueue, device: Device) -> None:
    buffer = device.gtt(64)
    buffer.free()
    with pytest.raises(UseAfterFreeError):
        queue.fill(buffer, 0)


def test_a_chain_longer_than_the_ring_is_submitted_in_parts(
    fake: FakeKernel, queue: SdmaQueue, device: Device
) -> None:
    buffer = device.gtt(4096)
    seen: list[int] = []

    def execute(_address: int, _value: int) -> None:
        while not queue.ring.drained:
            pending = queue.ring.pending_words()
            for packet in queue.packets.decode_stream(pending):
                if packet.name == "COPY_LINEAR":
                    seen.append(packet["dst_addr"] - buffer.address)
            queue.ring._read_pointer[0] += len(pending) * 4

    fake.on_doorbell = execute
    chain = queue.record()
    for offset in range(1000):
        chain.copy(buffer[offset:], buffer, 1)
    chain.submit()
    assert seen == list(range(1000))
    assert len(fake.doorbells) > 10


def fill_often(queue: SdmaQueue, buffer: Buffer) -> None:
    for _ in range(200):
        queue.fill(buffer, 1).submit()


def test_a_full_ring_gives_up_and_says_where_it_is(queue: SdmaQueue, device: Device) -> None:
    queue.full_timeout = 0.001
    buffer = device.gtt(64)
    queue.wait(device.timeline_semaphore(), 1).submit()
    with pytest.raises(WaitTimeoutError, match=r"stayed full for 0.001 s\nsdma queue 0: .*POLL_MEM"):
        fill_often(queue, buffer)


@pytest.mark.parametrize("lead", [0, 1])
def test_a_recording_runs_through_an_indirect_packet(queue: SdmaQueue, device: Device, lead: int) -> None:
    buffer, semaphore = device.gtt(64), device.timeline_semaphore()
    recording = queue.record().fill(buffer, 7).signal(semaphore, 1).finish()
    for _ in range(lead):
        queue.fill(buffer, 1).submit()
    consume(queue)
    start = queue.ring.write_pointer
    recording.submit()
    recording.submit()
    index = start // 4
    for packet in queue.packets.decode_stream(queue.ring.pending_words()):
        index += packet.words
        if packet.name == "INDIRECT":
            assert index % 8 == 0, "INDIRECT must end on 8 dwords"
            assert packet["base"] % 32 == 0
            code = np.frombuffer(
                (np.ctypeslib.ctypes.c_uint32 * packet["size"]).from_address(packet["base"]), np.uint32
            )
            inner = [inside.name for inside in queue.packets.decode_stream(code)]
            assert "CONSTANT_FILL" in inner[:2]
            assert "TRAP" in inner
    assert names(queue).count("INDIRECT") == 2


def test_a_recording_can_be_part_of_a_chain(queue: SdmaQueue, device: Device) -> None:
    buffer, semaphore = device.gtt(64), device.timeline_semaphore()
    recording = queue.record().fill(buffer, 7).finish()
    queue.timestamp(buffer).run(recording).signal(semaphore, 1).submit()
    wanted = [name for name in names(queue) if name not in ("NOP", "GCR_REQ")]
    assert wanted == ["TIMESTAMP_GET_GLOBAL", "INDIRECT", "FENCE", "FENCE", "TRAP"]
    queue.run(recording).submit()


def test_a_recording_of_another_queue_is_refused(queue: SdmaQueue, device: Device) -> None:
    other = device.sdma_queue(4096)
    recording = other.record().fill(device.gtt(4), 0).finish()
    with pytest.raises(CommandError, match="a recording of sdma queue 1 cannot run on sdma queue 0"):
        queue.run(recording)


def test_a_freed_recording_is_not_submitted(queue: SdmaQueue, device: Device) -> None:
    recording = queue.record().fill(device.gtt(4), 0).finish()
    recording.free()
    for use in (recording.submit, recording.free, lambda: queue.run(recording)):
        with pytest.raises(UseAfterFreeError, match="recording for sdma queue 0, made at"):
            use()


def test_host_writes_to_vram_are_flushed_before_the_doorbell(fake: FakeKernel, device: Device) -> None:
    queue, semaphore = device.sdma_queue(4096), device.timeline_semaphore()
    queue.signal(semaphore, 1).submit()
    assert device.backend._hdp_flush is None
    device.vram(64)
    flushed = []
    fake.on_doorbell = lambda _address, _value: flushed.append(device.backend._hdp_flush[0])
    queue.signal(semaphore, 2).submit()
    assert flushed == [1]


def test_two_devices_use_their_own_generation() -> None:
    fake = FakeKernel("mi300x", "rx7900xtx")
    first, second = (Device.open(fake, node) for node in discover(fake))
    with first, second:
        assert first.sdma_queue(4096).acquire == b""
        assert second.sdma_queue(4096).acquire != b""
