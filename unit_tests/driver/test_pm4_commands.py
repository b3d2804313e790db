"""What a PM4 queue puts into its ring: registers of a dispatch, order of user SGPRs, semaphores.

Register indices and initiators are those of tinygrad's AMD runtime (captured, runs on hardware) and of
the kernel's register headers; the order of user SGPRs is LLVM's ("Initial Kernel Execution State").
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence

import pytest
from fake_kernel import FakeKernel
from made_kernels import MadeKernel

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import LaunchError, SemaphoreValueError
from pytest_amdgpu.driver.pm4_queue import Pm4Queue
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.packets.layout import Packet

RSRC3 = {9: 0x22D, 10: 0x228, 11: 0x228, 12: 0x228}
"""By generation; gfx908 has no such register."""
USER_DATA = 0x240


@pytest.fixture
def queue(device: Device) -> Pm4Queue:
    made = device.compute_queue("pm4", 8192)
    assert isinstance(made, Pm4Queue)
    return made


def packets(queue: Pm4Queue) -> list[Packet]:
    return list(queue.packets.decode_stream(queue.ring.pending_words()))


def registers(stream: Sequence[Packet]) -> dict[int, int]:
    found = {}
    for packet in stream:
        if packet.name == "SET_SH_REG":
            found.update(enumerate(packet.data, packet["register"]))
    return found


def user_data(stream: Sequence[Packet], count: int) -> list[int]:
    written = registers(stream)
    assert USER_DATA + count not in written
    return [written[USER_DATA + index] for index in range(count)]


def pair(address: int) -> list[int]:
    return [address & 0xFFFFFFFF, address >> 32]


def address(low: int, high: int) -> int:
    return low | high << 32


def test_registers_of_a_dispatch(queue: Pm4Queue, device: Device) -> None:
    kernel = MadeKernel(rsrc3=0x7)
    queue.dispatch(kernel, (200, 6, 2), (1, 2, 3), block=(64, 2)).submit()
    stream = packets(queue)
    assert [packet.name for packet in stream if packet.name != "SET_SH_REG"] == [
        "ACQUIRE_MEM",
        "ACQUIRE_MEM",
        "DISPATCH_DIRECT",
        "EVENT_WRITE",
    ]
    written = registers(stream)
    assert address(written[0x20C], written[0x20D]) == kernel.entry_address >> 8
    # gfx11.0 needs PRIV (bit 20) for the context to be saved.
    gfx11 = device.family.gfx_version[:2] == (11, 0)
    assert written[0x212] == kernel.rsrc1 | (1 << 20 if gfx11 else 0)
    assert written[0x213] == kernel.rsrc2
    rsrc3 = RSRC3[device.family.gfx_version[0]]
    assert written.get(rsrc3) == (None if device.family.name == "gfx908" else 7)
    assert written[0x215] == written[0x218] == written[0x210] == written[0x211] == 0
    assert [written[0x21B + axis] for axis in range(3)] == [0, 0, 0]
    assert [written[0x204 + axis] for axis in range(3)] == [0, 0, 0]
    # 200 = 3 * 64 + 8: the fourth workgroup has 8 work-items; full axes give the full size.
    assert [written[0x207 + axis] for axis in range(3)] == [64 | 8 << 16, 2 | 2 << 16, 1 | 1 << 16]
    dispatch = next(packet for packet in stream if packet.name == "DISPATCH_DIRECT")
    # COMPUTE_SHADER_EN, PARTIAL_TG_EN, FORCE_START_AT_000.
    assert (dispatch["x"], dispatch["y"], dispatch["z"], dispatch["initiator"]) == (4, 3, 2, 0b111)
    assert stream[-1].raw == (0xC0004600, 0x407)
    assert kernel.packed == [((1, 2, 3), (200, 6, 2), (64, 2, 1), 0)]
    # On the other generation RSRC3's index is a CU mask: it must not be written.
    (wrong,) = set(RSRC3.values()) - {rsrc3}
    assert wrong not in written


def test_a_chain_sees_what_others_wrote_before_it(queue: Pm4Queue, device: Device) -> None:
    """SDMA and the host write past L2, so the first dispatch invalidates it, and the others need not."""
    semaphore = device.timeline_semaphore()
    kernel = MadeKernel()
    level = "gl2_inv" if device.family.gfx_version[0] >= 10 else "tc"

    def of_l2(stream: Sequence[Packet]) -> list[bool]:
        return [bool(packet.fields[level]) for packet in stream if packet.name == "ACQUIRE_MEM"]

    queue.dispatch(kernel, 64).dispatch(kernel, 64).submit()
    assert of_l2(packets(queue)) == [True, False, False]
    before = len(packets(queue))
    queue.wait(semaphore, 1).dispatch(kernel, 64).submit()
    assert of_l2(packets(queue)[before:]) == [True, False]


def test_initiator_of_full_workgroups(queue: Pm4Queue) -> None:
    queue.dispatch(MadeKernel(), 128).submit()
    assert packets(queue)[-2]["initiator"] == 0b101


def test_wave32_is_told(device: Device) -> None:
    if device.family.wave_sizes == (64,):
        with device.compute_queue("pm4") as queue, pytest.raises(LaunchError, match="no waves of 32"):
            queue.dispatch(MadeKernel(wave_size=32), 64)
        return
    with device.compute_queue("pm4") as queue:
        queue.dispatch(MadeKernel(wave_size=32), 64).submit()
        assert packets(queue)[-2]["initiator"] == 0x8005


@pytest.mark.parametrize(
    ("fixed", "dynamic", "units"), [(0, 0, 0), (1, 0, 1), (512, 0, 1), (512, 1, 2), (0, 65536, 128)]
)
def test_lds_goes_into_rsrc2(queue: Pm4Queue, device: Device, fixed: int, dynamic: int, units: int) -> None:
    if device.family.name == "gfx950":
        # Units of 1280 bytes there: 65536 are 51.2 of them.
        units = min(units, 1) if units < 128 else 52
    kernel = MadeKernel(group_segment_size=fixed)
    queue.dispatch(kernel, 64, dynamic_lds=dynamic).submit()
    assert registers(packets(queue))[0x213] == kernel.rsrc2 | units << 15
    assert kernel.packed[0][3] == dynamic


def test_kernel_arguments_are_where_the_pointer_says(queue: Pm4Queue) -> None:
    queue.dispatch(MadeKernel(), 64).dispatch(MadeKernel(), 64).submit()
    places = []
    for dispatch in range(2):
        half = packets(queue)[dispatch * len(packets(queue)) // 2 :]
        low, high = (
            packet.data[:2]
            for packet in half
            if packet.name == "SET_SH_REG" and packet["register"] == USER_DATA
        ).__next__()
        place = address(low, high)
        assert ctypes.string_at(place, 24) == bytes(range(1, 25))
        assert place % 64 == 0
        places.append(place)
    assert places[0] != places[1]


ALL_SGPRS = 0b1011111
"""Everything but the private segment buffer and flat scratch, which gfx942 and gfx1100 do not have."""


def test_order_of_user_sgprs(queue: Pm4Queue) -> None:
    kernel = MadeKernel(properties=0b1011110, private_segment_size=40, rsrc2=0x84 | 9 << 1)
    queue.dispatch(kernel, (100, 3), block=(32, 1)).dispatch(kernel, 64).submit()
    stream = packets(queue)
    values = user_data(stream[: len(stream) // 2], 9)
    packet, queue_pointer, kernarg = (address(*values[start : start + 2]) for start in (0, 2, 4))
    assert queue_pointer == queue.address
    assert ctypes.string_at(kernarg, 24) == bytes(range(1, 25))
    assert values[6:8] == [0, 0]
    assert values[8] == 40
    # The dispatch packet is complete: a kernel reads its sizes there.
    fields = struct.unpack("<6H5I4Q", ctypes.string_at(packet, 64))
    assert fields[0] & 0xFF == 2
    assert fields[1] == 2
    assert fields[2:5] == (32, 1, 1)
    assert fields[6:9] == (100, 3, 1)
    assert fields[9:11] == (40, 0)
    assert fields[11] == kernel.descriptor_address
    assert fields[12] == kernarg
    # Debuggers find it, too.
    written = registers(stream[: len(stream) // 2])
    assert address(written[0x20E], written[0x20F]) == packet
    assert user_data(stream[len(stream) // 2 :], 9)[6:8] == [1, 0]


def test_user_sgprs_of_generations_without_architected_flat_scratch() -> None:
    fake = FakeKernel("mi300x")
    path = next(path for path in fake.files if path.endswith("/1/properties"))
    fake.files[path] = fake.files[path].replace("gfx_target_version 90402", "gfx_target_version 90010")
    with Device.open(fake, discover(fake)[0]) as device, device.compute_queue("pm4") as queue:
        kernel = MadeKernel(properties=0b1101001, private_segment_size=40)
        queue.dispatch(kernel, 64).submit()
        values = user_data(packets(queue), 9)
        scratch = queue.scratch.setup
        assert values[:4] == list(scratch.resource(device.family, 64))
        assert ctypes.string_at(address(*values[4:6]), 24) == bytes(range(1, 25))
        assert values[6:8] == pair(scratch.address)
        assert values[8] == 40


def test_scratch_registers(queue: Pm4Queue) -> None:
    queue.dispatch(MadeKernel(private_segment_size=40), 64).submit()
    written = registers(packets(queue))
    setup = queue.scratch.setup
    assert address(written[0x210], written[0x211]) == setup.address >> 8
    assert written[0x218] == setup.tmpring_size != 0


def test_preloaded_arguments_are_in_sgprs_and_in_memory(queue: Pm4Queue) -> None:
    # Three dwords, from dword 1 of the arguments on.
    kernel = MadeKernel(kernarg_preload=3 | 1 << 7)
    queue.dispatch(kernel, 64).submit()
    values = user_data(packets(queue), 5)
    assert struct.pack("<3I", *values[2:]) == bytes(range(5, 17))
    assert ctypes.string_at(address(*values[:2]), 24) == bytes(range(1, 25))
    written = registers(packets(queue))
    assert address(written[0x20C], written[0x20D]) == kernel.entry_address >> 8


def test_more_user_sgprs_than_there_are(queue: Pm4Queue) -> None:
    with pytest.raises(LaunchError, match="made: wants 18 user SGPRs; there are 16"):
        queue.dispatch(MadeKernel(kernarg_preload=16), 64)


def test_a_kernel_without_arguments(queue: Pm4Queue) -> None:
    queue.dispatch(MadeKernel(kernarg_size=0, properties=0), 64).submit()
    assert USER_DATA not in registers(packets(queue))


def test_templates_do_not_leak_from_one_launch_to_another(queue: Pm4Queue) -> None:
    kernel = MadeKernel()
    for grid, block in ((64, None), (64, 32), ((64, 2), (32, 2)), (64, None), ([64], [16])):
        queue.dispatch(kernel, grid, block=block).submit()
    found = [(p["x"], p["y"]) for p in packets(queue) if p.name == "DISPATCH_DIRECT"]
    assert found == [(1, 1), (2, 1), (2, 1), (1, 1), (4, 1)]


def test_many_kernels(queue: Pm4Queue) -> None:
    for _ in range(600):
        queue.dispatch(MadeKernel(), 64)
    assert len(queue._templates) <= 256


def test_signal_is_complete(queue: Pm4Queue, device: Device) -> None:
    semaphore = device.timeline_semaphore()
    queue.signal(semaphore, 0x1_0000_0007).submit()
    value, event = packets(queue)
    # End of pipe with cache write back, 64-bit data.
    assert value.name == event.name == "RELEASE_MEM"
    assert (value["addr"], value["data"], value["data_sel"], value["int_sel"]) == (
        semaphore.address,
        0x1_0000_0007,
        2,
        0,
    )
    assert value.fields.get("tc_wb", 0) or value.fields.get("gl2_wb", 0)
    # Then the event's slot, and an interrupt with its id when that is written.
    assert (event["addr"], event["data"] & 0xFFFFFFFF) == (semaphore.slot_address, semaphore.event_id)
    assert (event["int_sel"], event["int_ctxid"]) == (2, semaphore.event_id)


def test_wait_compares_64_bits_where_the_generation_can(queue: Pm4Queue, device: Device) -> None:
    semaphore = device.timeline_semaphore()
    queue.wait(semaphore, 0x1_0000_0007).submit()
    waits = [(p.name, p["addr"] - semaphore.address, p["value"]) for p in packets(queue)[:-1]]
    if device.family.gfx_version[0] >= 10:
        assert waits == [("WAIT_REG_MEM64", 0, 0x1_0000_0007)]
    else:
        assert waits == [("WAIT_REG_MEM", 4, 1), ("WAIT_REG_MEM", 0, 7)]
        with pytest.raises(SemaphoreValueError, match="waits for 4294967303"):
            semaphore.signal(1 << 33)
    assert packets(queue)[-1].name == "ACQUIRE_MEM"


def test_a_wait_for_what_has_happened(queue: Pm4Queue, device: Device) -> None:
    semaphore = device.timeline_semaphore(1 << 32)
    queue.wait(semaphore, 7).submit()
    names = [packet.name for packet in packets(queue)]
    assert "WAIT_REG_MEM" not in names
    assert names[-1] == "ACQUIRE_MEM"


def test_timestamp_is_taken_at_the_end_of_the_pipe(queue: Pm4Queue, device: Device) -> None:
    buffer = device.gtt(64)
    queue.timestamp(buffer, 8).submit()
    (packet,) = packets(queue)
    assert (packet.name, packet["addr"], packet["data_sel"]) == ("RELEASE_MEM", buffer.address + 8, 3)


def test_a_recording_is_an_indirect_buffer_with_its_own_arguments(queue: Pm4Queue, device: Device) -> None:
    semaphore = device.timeline_semaphore()
    kernel = MadeKernel(properties=0b1010)
    recording = queue.record().wait(semaphore, 1).dispatch(kernel, 64).signal(semaphore, 2).finish()
    for _ in range(3):
        recording.submit()
    calls = packets(queue)
    assert [packet.name for packet in calls] == ["INDIRECT_BUFFER"] * 3
    assert calls[0].raw == calls[2].raw
    code = memoryview((ctypes.c_uint32 * calls[0]["size"]).from_address(calls[0]["base"])).cast("B").cast("I")
    inside = list(queue.packets.decode_stream(code))
    assert [p.name for p in inside if p.name != "SET_SH_REG"][-4:] == [
        "DISPATCH_DIRECT",
        "EVENT_WRITE",
        "RELEASE_MEM",
        "RELEASE_MEM",
    ]
    packet, kernarg = (address(*user_data(inside, 4)[start : start + 2]) for start in (0, 2))
    assert ctypes.string_at(kernarg, 24) == bytes(range(1, 25))
    assert struct.unpack("<Q", ctypes.string_at(packet + 40, 8)) == (kernarg,)
    assert len(kernel.packed) == 1


def test_the_end_of_the_ring_is_padded(device: Device) -> None:
    queue, buffer = device.compute_queue("pm4", 4096), device.gtt(64)
    seen = 0
    while queue.ring.write_pointer * 4 < 3 * 4096:
        queue.timestamp(buffer).dispatch(MadeKernel(), 64).submit()
        while not queue.ring.drained:
            pending = queue.ring.pending_words()
            for packet in queue.packets.decode_stream(pending):
                seen += packet.name == "DISPATCH_DIRECT"
            queue.ring._read_pointer[0] += len(pending)
    assert seen > 20
    queue.close()
