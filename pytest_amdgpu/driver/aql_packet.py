"""AQL packets as bytes: kernel dispatch, AMD's vendor packet that carries PM4, and one that does nothing.

Layout: HSA Platform System Architecture 1.2, section 2.9, and for the vendor packet ROCr's
amd_gpu_pm4.h and amd_aql_queue.cpp (ExecutePM4).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_amdgpu.driver.launch import Launch

PACKET_SIZE = 64

KERNARG_ADDRESS = 40
"""Byte of a dispatch packet where the address of the kernel arguments is."""
INDIRECT_BUFFER_ADDRESS = 8
"""Byte of a PM4 packet where the address of the indirect buffer is."""

_VENDOR, INVALID, _DISPATCH, _BARRIER_AND = 0, 1, 2, 3
_BARRIER_BIT = 1 << 8
_SYSTEM_SCOPES = 2 << 9 | 2 << 11
"""Acquire from and release to everybody, the host included."""
_ORDERED = _BARRIER_BIT | _SYSTEM_SCOPES

_FORMAT_PM4_IB = 1
_DWORDS_LEFT = 10

_KERNEL_DISPATCH = struct.Struct("<HHHHHHIIIIIQQQQ")
_PM4_IB = struct.Struct("<HH4II32xQ")
_NOTHING = struct.Struct("<H62x").pack(_BARRIER_AND)


def kernel_dispatch(launch: Launch, descriptor_address: int) -> bytes:
    """Return a dispatch packet that waits for all before it; its kernarg address is still 0."""
    return _KERNEL_DISPATCH.pack(
        _DISPATCH | _ORDERED,
        launch.dimensions,
        *launch.block,
        0,
        *launch.grid,
        launch.private_segment,
        launch.group_segment,
        descriptor_address,
        0,
        0,
        0,
    )


def pm4_buffer(jump: tuple[int, int, int, int]) -> bytes:
    """Return a packet that runs an INDIRECT_BUFFER, `jump`, when all before it is done."""
    return _PM4_IB.pack(_VENDOR | _ORDERED, _FORMAT_PM4_IB, *jump, _DWORDS_LEFT, 0)


def nothing(size: int) -> bytes:
    """Return `size` bytes of packets that do nothing: barriers that depend on nothing."""
    return _NOTHING * (size // PACKET_SIZE)
