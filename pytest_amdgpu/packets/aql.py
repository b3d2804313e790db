"""AQL packets (64 bytes in a queue of type AQL), and the structures that they and their queue point to.

Sources: HSA runtime specification 1.2 (sections 2.9, 2.10) and hsa.h for the standard packets; ROCr for
AMD's vendor packet (AqlQueue::ExecutePM4 in amd_aql_queue.cpp), the signal (amd_hsa_signal.h) and the
queue (amd_hsa_queue.h).
"""

from __future__ import annotations

import enum
import functools
import struct
from dataclasses import replace

from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.compiler import Encoder
from pytest_amdgpu.packets.layout import Field, Layout, Packet, TruncatedPacketError, Words, pieces

PACKET_BYTES = 64
PACKET_WORDS = 16

_WORDS = struct.Struct("<16I")
_INDIRECT_BUFFER = 0xC002_3F00
_VENDOR_PM4_IB = 1
_DWORDS_AFTER_IB = 10


class PacketType(enum.IntEnum):
    """Bits 7..0 of the header."""

    VENDOR_SPECIFIC = 0
    INVALID = 1
    KERNEL_DISPATCH = 2
    BARRIER_AND = 3
    AGENT_DISPATCH = 4
    BARRIER_OR = 5


class FenceScope(enum.IntEnum):
    """Scope of an acquire or release fence."""

    NONE = 0
    AGENT = 1
    SYSTEM = 2


class SignalOffset(enum.IntEnum):
    """Byte offsets in `amd_signal_t` (64 bytes, aligned to 64), to which a completion signal points."""

    KIND = 0
    VALUE = 8
    EVENT_MAILBOX = 16
    EVENT_ID = 24
    START_TIMESTAMP = 32
    END_TIMESTAMP = 40
    QUEUE = 48


SIGNAL_BYTES = 64
SIGNAL_KIND_USER = 1


class QueueOffset(enum.IntEnum):
    """Byte offsets in `amd_queue_t`, which the command processor reads beside an AQL queue."""

    TYPE = 0
    FEATURES = 4
    BASE_ADDRESS = 8
    DOORBELL_SIGNAL = 16
    SIZE = 24
    ID = 32
    CAPABILITIES = 40
    WRITE_DISPATCH_ID = 56
    GROUP_SEGMENT_APERTURE_BASE_HI = 64
    PRIVATE_SEGMENT_APERTURE_BASE_HI = 68
    MAX_CU_ID = 72
    MAX_WAVE_ID = 76
    READ_DISPATCH_ID = 128
    READ_DISPATCH_ID_FIELD_BASE_BYTE_OFFSET = 136
    COMPUTE_TMPRING_SIZE = 140
    SCRATCH_RESOURCE_DESCRIPTOR = 144
    SCRATCH_BACKING_MEMORY_LOCATION = 160
    SCRATCH_BACKING_MEMORY_BYTE_SIZE = 168
    SCRATCH_WAVE64_LANE_BYTE_SIZE = 176
    QUEUE_PROPERTIES = 180
    QUEUE_INACTIVE_SIGNAL = 192


QUEUE_BYTES = 256
QUEUE_PROPERTY_IS_PTR64 = 2
QUEUE_PROPERTY_ENABLE_PROFILING = 8


def _field(name: str, bits: str, default: int | None = 0, **further: int) -> Field:
    return Field(name, pieces(bits), default, **further)


_HEADER = (
    # A packet that does not set `barrier` may overtake the packets before it.
    _field("barrier", "0[8]", 1),
    _field("acquire", "0[10:9]", FenceScope.SYSTEM),
    _field("release", "0[12:11]", FenceScope.SYSTEM),
)
_COMPLETION = _field("completion_signal", "14[31:0] 15[31:0]", multiple=64)
_DEPENDENCIES = tuple(
    _field(f"dep_signal{index}", f"{2 + 2 * index}[31:0] {3 + 2 * index}[31:0]", multiple=64)
    for index in range(5)
)


def _layout(name: str, kind: PacketType, required: str, *fields: Field) -> Layout:
    names = tuple(required.split())
    own = tuple(
        Field(field.name, field.pieces, None, field.zero_bits, field.multiple)
        if field.name in names
        else field
        for field in (*_HEADER, *fields)
    )
    return Layout("AQL", name, PACKET_WORDS, own, ((0, 0xFF, kind),), None, names)


_KERNEL_DISPATCH = replace(
    _layout(
        "KERNEL_DISPATCH",
        PacketType.KERNEL_DISPATCH,
        "workgroup_size_x grid_size_x kernel_object kernarg_address",
        _field("dimensions", "0[17:16]", 3),
        _field("workgroup_size_x", "1[15:0]"),
        _field("workgroup_size_y", "1[31:16]", 1),
        _field("workgroup_size_z", "2[15:0]", 1),
        _field("grid_size_x", "3[31:0]"),
        _field("grid_size_y", "4[31:0]", 1),
        _field("grid_size_z", "5[31:0]", 1),
        _field("private_segment_size", "6[31:0]"),
        _field("group_segment_size", "7[31:0]"),
        _field("kernel_object", "8[31:0] 9[31:0]", multiple=64),
        _field("kernarg_address", "10[31:0] 11[31:0]", multiple=16),
        _COMPLETION,
    ),
    frequent=(
        "workgroup_size_y",
        "workgroup_size_z",
        "grid_size_y",
        "grid_size_z",
        "private_segment_size",
        "group_segment_size",
        "completion_signal",
    ),
)
_BARRIER_AND = _layout("BARRIER_AND", PacketType.BARRIER_AND, "", *_DEPENDENCIES, _COMPLETION)
_BARRIER_OR = _layout("BARRIER_OR", PacketType.BARRIER_OR, "", *_DEPENDENCIES, _COMPLETION)
_AGENT_DISPATCH = _layout(
    "AGENT_DISPATCH",
    PacketType.AGENT_DISPATCH,
    "type",
    _field("type", "0[31:16]"),
    _field("return_address", "2[31:0] 3[31:0]"),
    *(_field(f"arg{index}", f"{4 + 2 * index}[31:0] {5 + 2 * index}[31:0]") for index in range(4)),
    _COMPLETION,
)
_INVALID = Layout("AQL", "INVALID", PACKET_WORDS, (), ((0, 0xFF, PacketType.INVALID),))


def _pm4_ib() -> Layout:
    layout = _layout(
        "PM4_IB",
        PacketType.VENDOR_SPECIFIC,
        "base size",
        Field("base", pieces("2[31:2] 3[31:0]", 2), None, 2),
        _field("size", "4[19:0]"),
        _field("valid", "4[23]", 1),
        _COMPLETION,
    )
    fixed = (
        (0, 0xFFFF_00FF, PacketType.VENDOR_SPECIFIC | _VENDOR_PM4_IB << 16),
        (1, 0xFFFF_FFFF, _INDIRECT_BUFFER),
        (5, 0xFFFF_FFFF, _DWORDS_AFTER_IB),
    )
    return Layout("AQL", "PM4_IB", PACKET_WORDS, layout.fields, fixed, None, layout.required)


class AqlPackets(Codec):
    """AQL packets as 16 dwords each.

    Every builder takes `barrier` (1), `acquire` and `release` (FenceScope.SYSTEM) by name. In a queue
    the dword 0 is written last, for it makes the packet valid.
    """

    kernel_dispatch: Encoder
    """kernel_dispatch(workgroup_size_x, grid_size_x, kernel_object, kernarg_address, *, dimensions=3,
    workgroup_size_y=1, ..., private_segment_size=0, group_segment_size=0, completion_signal=0)"""
    barrier_and: Encoder
    """barrier_and(*, dep_signal0=0, ..., dep_signal4=0, completion_signal=0)"""
    barrier_or: Encoder
    """barrier_or(*, dep_signal0=0, ..., dep_signal4=0, completion_signal=0)"""
    agent_dispatch: Encoder
    """agent_dispatch(type, *, return_address=0, arg0=0, ..., arg3=0, completion_signal=0)"""
    pm4_ib: Encoder
    """pm4_ib(base, size, *, completion_signal=0): runs `size` dwords of PM4 at `base`"""

    def __init__(self) -> None:
        super().__init__(
            "AQL", [_KERNEL_DISPATCH, _BARRIER_AND, _BARRIER_OR, _AGENT_DISPATCH, _pm4_ib(), _INVALID]
        )

    def key(self, header: int) -> int:
        """Packet type."""
        return header & 0xFF

    def describe_header(self, header: int) -> str:
        """Say which packet type, and which vendor format, a dword 0 has."""
        kind = header & 0xFF
        if kind == PacketType.VENDOR_SPECIFIC:
            return f"AQL vendor packet of format {header >> 16}, only {_VENDOR_PM4_IB} (PM4 IB) is known"
        return f"AQL has no packet of type {kind}"

    def decode_bytes(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Packet:
        """Decode the packet in 64 bytes; errors as from `decode`."""
        if len(data) - offset < PACKET_BYTES:
            raise TruncatedPacketError("AQL packet", PACKET_WORDS, (len(data) - offset) // 4)
        return self.decode(_WORDS.unpack_from(data, offset))


def to_bytes(words: Words) -> bytes:
    """Return the 64 bytes of a packet."""
    return _WORDS.pack(*words)


@functools.cache
def aql_packets() -> AqlPackets:
    """Return the AQL packets, which are the same on all generations."""
    return AqlPackets()
