"""AQL packets against bytes laid out by hand from hsa.h and ROCr's structures."""

import struct

import pytest

from pytest_amdgpu.packets.aql import (
    PACKET_BYTES,
    FenceScope,
    QueueOffset,
    SignalOffset,
    aql_packets,
    to_bytes,
)
from pytest_amdgpu.packets.layout import TruncatedPacketError, UnknownPacketError


def test_kernel_dispatch_is_hsa_kernel_dispatch_packet():
    words = aql_packets().kernel_dispatch(
        64,
        1000,
        0x7FED_0000_1040,
        0x7FED_0000_2000,
        dimensions=2,
        workgroup_size_y=4,
        workgroup_size_z=1,
        grid_size_y=33,
        grid_size_z=1,
        private_segment_size=128,
        group_segment_size=4096,
        completion_signal=0x7FED_0000_3040,
    )
    # header: type 2, barrier bit 8, acquire 10:9, release 12:11; setup: dimensions 1:0
    header = 2 | 1 << 8 | 2 << 9 | 2 << 11
    expected = struct.pack(
        "<HHHHHHIIIIIQQQQ",
        header,
        2,
        64,
        4,
        1,
        0,
        1000,
        33,
        1,
        128,
        4096,
        0x7FED_0000_1040,
        0x7FED_0000_2000,
        0,
        0x7FED_0000_3040,
    )
    assert len(expected) == PACKET_BYTES
    assert to_bytes(words) == expected


@pytest.mark.parametrize(("method", "kind"), [("barrier_and", 3), ("barrier_or", 5)])
def test_barrier_is_hsa_barrier_packet(method, kind):
    signals = [0x40, 0x80, 0, 0x1_0000_0040, 0xC0]
    words = getattr(aql_packets(), method)(
        **{f"dep_signal{index}": signal for index, signal in enumerate(signals)},
        completion_signal=0x100,
        acquire=FenceScope.AGENT,
        release=FenceScope.NONE,
        barrier=0,
    )
    assert to_bytes(words) == struct.pack("<HHI5QQQ", kind | 1 << 9, 0, 0, *signals, 0, 0x100)


def test_agent_dispatch_is_hsa_agent_dispatch_packet():
    words = aql_packets().agent_dispatch(0x8001, return_address=8, arg0=1, arg1=2, arg2=3, arg3=1 << 63)
    header = 4 | 1 << 8 | 2 << 9 | 2 << 11
    assert to_bytes(words) == struct.pack("<HHIQ4QQQ", header, 0x8001, 0, 8, 1, 2, 3, 1 << 63, 0, 0)


def test_vendor_packet_carries_the_jump_of_pm4():
    # ROCr, AqlQueue::ExecutePM4: header, vendor format 1, the four dwords of INDIRECT_BUFFER, 10, 8 reserved.
    words = aql_packets().pm4_ib(0x7FED_0000_4000, 100, completion_signal=0x40)
    # PACKET3(PACKET3_INDIRECT_BUFFER 0x3f, 2), INDIRECT_BUFFER_VALID 23
    jump = (0xC002_3F00, 0x0000_4000, 0x0000_7FED, 0x0080_0064)
    header = 0 | 1 << 8 | 2 << 9 | 2 << 11
    assert to_bytes(words) == struct.pack("<HH4II8IQ", header, 1, *jump, 10, *[0] * 8, 0x40)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((6,), "AQL has no packet of type 6"),
        ((0x00020000,), r"vendor packet of format 2, only 1 \(PM4 IB\) is known"),
        (
            (0x00010000, 0xC0001000),
            "PM4_IB at dword 0: dword 1 is 0xc0001000, its bits 0xffffffff must be 0xc0023f00",
        ),
        ((0x00010000, 0xC0023F00, 0, 0, 0, 9), "PM4_IB at dword 0: dword 5 is 0x00000009"),
    ],
)
def test_foreign_packet_is_refused(words, message):
    with pytest.raises(UnknownPacketError, match=message):
        aql_packets().decode(words + (0,) * (16 - len(words)))


def test_every_packet_is_laid_out_by_hand_here():
    tested = {"KERNEL_DISPATCH", "BARRIER_AND", "BARRIER_OR", "AGENT_DISPATCH", "PM4_IB", "INVALID"}
    assert set(aql_packets().layouts) == tested


def test_invalid_packet_is_a_packet():
    # What a slot holds that has not been written yet; the processor waits there.
    assert str(aql_packets().decode_bytes(struct.pack("<I60x", 1))) == "INVALID"


def test_cut_packet_is_refused():
    with pytest.raises(TruncatedPacketError, match="needs 16 dwords, 15 are left"):
        aql_packets().decode_bytes(bytes(68), 8)


def test_alignment_that_hsa_demands_is_checked():
    for name, alignment in (("kernel_object", 64), ("kernarg_address", 16), ("completion_signal", 64)):
        arguments = {"kernel_object": 0, "kernarg_address": 0, name: alignment // 2}
        with pytest.raises(ValueError, match=f"{name} = .* is not a multiple of {alignment}"):
            aql_packets().kernel_dispatch(workgroup_size_x=1, grid_size_x=1, **arguments)


def test_offsets_are_those_of_rocr():
    # amd_signal_s: kind 8, value 8, mailbox 8, event id 4, reserved 4, two time stamps 8 each, queue 8.
    assert list(SignalOffset) == [0, 8, 16, 24, 32, 40, 48]
    # amd_queue_v2_s: hsa_queue_t of 40 bytes, caps, 3 reserved, write id, two apertures, max cu, max wave,
    # legacy id 8, lock 4, 9 reserved, read id; the values of write and read id are known from drivers.
    assert (QueueOffset.WRITE_DISPATCH_ID, QueueOffset.READ_DISPATCH_ID) == (0x38, 0x80)
    sizes = {
        QueueOffset.READ_DISPATCH_ID: 8,
        QueueOffset.READ_DISPATCH_ID_FIELD_BASE_BYTE_OFFSET: 4,
        QueueOffset.COMPUTE_TMPRING_SIZE: 4,
        QueueOffset.SCRATCH_RESOURCE_DESCRIPTOR: 16,
        QueueOffset.SCRATCH_BACKING_MEMORY_LOCATION: 8,
        QueueOffset.SCRATCH_BACKING_MEMORY_BYTE_SIZE: 8,
        QueueOffset.SCRATCH_WAVE64_LANE_BYTE_SIZE: 4,
        QueueOffset.QUEUE_PROPERTIES: 4,
        QueueOffset.QUEUE_INACTIVE_SIGNAL - 8: 8,  # scratch_max_use_index
    }
    position = QueueOffset.READ_DISPATCH_ID
    for offset, size in sizes.items():
        assert offset == position
        position += size
