"""What an AQL queue puts into its ring: dispatch packets, and PM4 behind the vendor packet."""

from __future__ import annotations

import ctypes
import struct

import pytest
from fake_kernel import FakeKernel
from made_kernels import MadeKernel

from pytest_amdgpu.driver import aql_packet
from pytest_amdgpu.driver.aql_queue import AqlQueue
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.layout import Packet

INVALID = 1


@pytest.fixture
def queue(device: Device) -> AqlQueue:
    made = device.compute_queue("aql", 8192)
    assert isinstance(made, AqlQueue)
    return made


def packets(queue: AqlQueue) -> list[Packet]:
    return list(aql_packets().decode_stream(queue.ring.pending_words()))


def pm4(queue: AqlQueue, packet: Packet) -> list[Packet]:
    """The packets of the indirect buffer behind a vendor packet."""
    code = (ctypes.c_uint32 * packet["size"]).from_address(packet["base"])
    return list(queue.packets.decode_stream(memoryview(code).cast("B").cast("I")))


def test_a_dispatch_packet(queue: AqlQueue) -> None:
    kernel = MadeKernel(group_segment_size=100, private_segment_size=40)
    queue.dispatch(kernel, (200, 6), block=(64, 2), dynamic_lds=28).submit()
    # The layout is that of hsa_kernel_dispatch_packet_t in hsa.h.
    fields = struct.unpack("<6H5I4Q", bytes(queue.ring.pending_words())[:64])
    # Type 2, barrier bit, acquire from and release to the system.
    assert fields[0] == 2 | 1 << 8 | 2 << 9 | 2 << 11
    assert fields[1] == 2
    assert fields[2:6] == (64, 2, 1, 0)
    assert fields[6:9] == (200, 6, 1)
    assert fields[9:11] == (40, 128)
    assert fields[11] == kernel.descriptor_address
    assert ctypes.string_at(fields[12], 24) == bytes(range(1, 25))
    assert fields[13:] == (0, 0)
    assert kernel.packed == [((), (200, 6, 1), (64, 2, 1), 28)]


def test_pointers_count_packets_and_the_doorbell_is_the_last_index(fake: FakeKernel, queue: AqlQueue) -> None:
    queue.dispatch(MadeKernel(), 64).submit()
    assert (queue.ring.write_pointer, fake.doorbells[-1][1]) == (1, 0)
    queue.dispatch(MadeKernel(), 64).dispatch(MadeKernel(), 64).submit()
    assert (queue.ring.write_pointer, fake.doorbells[-1][1]) == (3, 2)


def test_slots_are_invalid_until_they_are_written(queue: AqlQueue) -> None:
    assert set(queue._memory.ring.view("<u2")[::32]) == {INVALID}


def test_signal_runs_on_the_first_xcc_only(queue: AqlQueue, device: Device) -> None:
    semaphore = device.timeline_semaphore()
    queue.signal(semaphore, 1 << 40).submit()
    (packet,) = packets(queue)
    assert (packet.name, packet["barrier"]) == ("PM4_IB", 1)
    inside = pm4(queue, packet)
    if device.node.num_xcc > 1:
        predicate = inside.pop(0)
        assert (predicate.name, predicate["xcc_mask"]) == ("PRED_EXEC", 1)
        assert predicate["exec_count"] == sum(p.words for p in inside)
    value, event = inside
    assert (value["addr"], value["data"]) == (semaphore.address, 1 << 40)
    assert (event["addr"], event["int_ctxid"], event["int_sel"]) == (
        semaphore.slot_address,
        semaphore.event_id,
        2,
    )


def test_timestamp_runs_on_the_first_xcc_only(queue: AqlQueue, device: Device) -> None:
    buffer = device.gtt(64)
    queue.timestamp(buffer[8:]).submit()
    inside = pm4(queue, packets(queue)[0])
    assert (inside[0].name == "PRED_EXEC") == (device.node.num_xcc > 1)
    assert (inside[-1]["addr"], inside[-1]["data_sel"]) == (buffer.address + 8, 3)


def test_all_xccs_wait(queue: AqlQueue, device: Device) -> None:
    semaphore = device.timeline_semaphore()
    queue.wait(semaphore, 3).dispatch(MadeKernel(), 64).submit()
    wait, dispatch = packets(queue)
    inside = pm4(queue, wait)
    assert inside[0].name.startswith("WAIT_REG_MEM")
    assert (inside[0]["addr"], inside[0]["value"]) == (semaphore.address, 3)
    assert inside[-1].name == "ACQUIRE_MEM"
    assert dispatch["barrier"] == 1


def test_the_queue_describes_itself(fake: FakeKernel, queue: AqlQueue, device: Device) -> None:
    """Offsets of amd_queue_t, from ROCr's amd_hsa_queue.h."""
    page = queue._memory.pointers
    (created,) = fake.queues.values()
    assert struct.unpack_from("<Q", page.read(), 8) == (created.ring_base_address,)
    assert struct.unpack_from("<I", page.read(), 24) == (8192 // 64,)
    assert struct.unpack_from("<II", page.read(), 64) == (1 << 16, 2 << 16)
    assert struct.unpack_from("<I", page.read(), 136) == (0x80,)
    assert struct.unpack_from("<I", page.read(), 180)[0] & 2


def test_scratch_is_described_before_the_dispatch_that_needs_it(
    fake: FakeKernel, queue: AqlQueue, device: Device
) -> None:
    waits = 0

    def finish() -> None:
        nonlocal waits
        waits += 1
        queue._progress._word[0] = queue._mark

    fake.on_wait = finish
    queue.dispatch(MadeKernel(private_segment_size=40), 64).submit()
    page, setup = queue._memory.pointers, queue.scratch.setup
    assert waits == 0
    assert struct.unpack_from("<I", page.read(), 140) == (setup.tmpring_size,)
    assert struct.unpack_from("<QQ", page.read(), 160) == (setup.address, setup.size)
    assert struct.unpack_from("<I", page.read(), 176) == (64,)
    # More of it is another buffer: dispatches that use the old one must have ended.
    queue.dispatch(MadeKernel(private_segment_size=100), 64).submit()
    assert waits == 1
    assert struct.unpack_from("<Q", page.read(), 160) == (queue.scratch.setup.address,)


def test_scratch_of_generations_without_architected_flat_scratch_has_a_resource() -> None:
    fake = FakeKernel("mi300x")
    path = next(path for path in fake.files if path.endswith("/1/properties"))
    fake.files[path] = fake.files[path].replace("gfx_target_version 90402", "gfx_target_version 90010")
    with Device.open(fake, discover(fake)[0]) as device, device.compute_queue("aql") as queue:
        queue.record().dispatch(MadeKernel(private_segment_size=40), 64)
        resource = struct.unpack_from("<4I", queue._memory.pointers.read(), 144)
        assert resource == queue.scratch.setup.resource(device.family)


def test_a_foreign_indirect_buffer_is_not_followed(queue: AqlQueue, device: Device) -> None:
    queue._put(aql_packet.pm4_buffer(4))
    assert queue.state().endswith("PM4_IB barrier=1 acquire=2 release=2 base=0 size=4 valid=1")


def test_a_recording_is_its_packets(queue: AqlQueue, device: Device) -> None:
    semaphore = device.timeline_semaphore()
    kernel = MadeKernel()
    recording = queue.record().dispatch(kernel, 64).signal(semaphore, 1).finish()
    recording.submit()
    recording.submit()
    first, second, third, fourth = packets(queue)
    assert first.raw == third.raw
    assert second.raw == fourth.raw
    assert ctypes.string_at(first["kernarg_address"], 24) == bytes(range(1, 25))
    assert pm4(queue, second)[-1].name == "RELEASE_MEM"
    assert len(kernel.packed) == 1


def test_a_recording_without_memory(queue: AqlQueue) -> None:
    recording = queue.record().dispatch(MadeKernel(kernarg_size=0, properties=0), 64).finish()
    recording.submit()
    assert packets(queue)[0].name == "KERNEL_DISPATCH"
    recording.free()


def test_the_end_of_the_ring_is_padded_with_packets_that_do_nothing(device: Device) -> None:
    with device.compute_queue("aql", 4096) as queue:
        names = []
        for _ in range(60):
            queue.dispatch(MadeKernel(), 64).dispatch(MadeKernel(), 64).dispatch(MadeKernel(), 64).submit()
            while not queue.ring.drained:
                pending = queue.ring.pending_words()
                names += [packet.name for packet in aql_packets().decode_stream(pending)]
                queue.ring._read_pointer[0] += len(pending) // 16
        assert names.count("KERNEL_DISPATCH") == 180
        assert 0 < names.count("BARRIER_AND") < 10


def test_on_one_xcc_nothing_is_predicated() -> None:
    fake = FakeKernel("rx7900xtx")
    with Device.open(fake, discover(fake)[0]) as device, device.compute_queue("aql") as queue:
        queue.signal(device.timeline_semaphore(), 1).submit()
        assert pm4(queue, packets(queue)[0])[0].name == "RELEASE_MEM"
