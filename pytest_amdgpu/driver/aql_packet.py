"""The AQL packets that the driver submits, as bytes with places for addresses that are known later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.packets.aql import PACKET_BYTES, aql_packets, to_bytes

if TYPE_CHECKING:
    from pytest_amdgpu.driver.launch import Launch

KERNARG_ADDRESS = 40
"""Byte of a dispatch packet where the address of the kernel arguments is."""
INDIRECT_BUFFER_ADDRESS = 8
"""Byte of a PM4 packet where the address of the indirect buffer is."""


def kernel_dispatch(launch: Launch, descriptor_address: int) -> bytes:
    """Return a dispatch packet that waits for all before it; its kernarg address is still 0."""
    block_x, block_y, block_z = launch.block
    grid_x, grid_y, grid_z = launch.grid
    return to_bytes(
        aql_packets().kernel_dispatch(
            block_x,
            grid_x,
            descriptor_address,
            0,
            dimensions=launch.dimensions,
            workgroup_size_y=block_y,
            workgroup_size_z=block_z,
            grid_size_y=grid_y,
            grid_size_z=grid_z,
            private_segment_size=launch.private_segment,
            group_segment_size=launch.group_segment,
        )
    )


def pm4_buffer(dwords: int) -> bytes:
    """Return a packet that runs PM4 when all before it is done; the address of the PM4 is still 0."""
    return to_bytes(aql_packets().pm4_ib(0, dwords))


def nothing(size: int) -> bytes:
    """Return `size` bytes of packets that do nothing: barriers that depend on nothing."""
    return to_bytes(aql_packets().barrier_and(barrier=0, acquire=0, release=0)) * (size // PACKET_BYTES)
