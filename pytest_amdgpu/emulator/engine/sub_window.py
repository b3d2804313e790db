"""SDMA's copy of a rectangle or cuboid between two linear surfaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_amdgpu.emulator.engine import transfer
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.memory import AddressSpace

_LARGEST_ELEMENT = 4
"""Elements are 1 to 16 bytes: 1 << elementsize."""


def copy_sub_window(memory: AddressSpace, fields: Mapping[str, int], checkpoint: Callable[[], None]) -> None:
    """Copy the rows of a COPY_SUB_WINDOW packet in ascending order.

    Coordinates and pitches are in elements; pitches, slice pitches and the rectangle hold value - 1.
    Raises BadPacketError for a rectangle wider than a pitch, VmFault with the bytes before it copied.
    """
    if fields["elementsize"] > _LARGEST_ELEMENT:
        raise BadPacketError(f"COPY_SUB_WINDOW: reserved elementsize {fields['elementsize']}")
    element = 1 << fields["elementsize"]
    width, height, depth = (fields[f"rect_{axis}"] + 1 for axis in "xyz")
    for side in ("src", "dst"):
        pitch = fields[f"{side}_pitch"] + 1
        if fields[f"{side}_x"] + width > pitch:
            raise BadPacketError(
                f"COPY_SUB_WINDOW: columns {fields[f'{side}_x']} to {fields[f'{side}_x'] + width} exceed"
                f" the {side} pitch of {pitch} elements"
            )

    def row(side: str, y: int, z: int) -> int:
        line = (fields[f"{side}_z"] + z) * (fields[f"{side}_slice_pitch"] + 1)
        line += (fields[f"{side}_y"] + y) * (fields[f"{side}_pitch"] + 1)
        return fields[f"{side}_addr"] + (line + fields[f"{side}_x"]) * element

    for z in range(depth):
        for y in range(height):
            transfer.copy(memory, row("src", y, z), row("dst", y, z), width * element, checkpoint)
