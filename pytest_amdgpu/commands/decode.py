"""A file of packets as text, one line a packet."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from pytest_amdgpu.families.registry import Family, family
from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.listing import listing
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.registers import compute_registers
from pytest_amdgpu.packets.sdma import sdma_packets

ENGINES = ("sdma", "pm4", "aql")

_DWORD = re.compile(r"(0x)?[0-9a-fA-F]{1,8}", re.ASCII)
_ADDRESS = re.compile(r"^\s*(0x)?[0-9a-fA-F]+:", re.ASCII | re.MULTILINE)


class DecodeError(ValueError):
    """A file holds no dwords; the message says file and place."""


def lines(path: Path, target: str, engine: str) -> Iterator[str]:
    """Yield the packets of a file as text, each with its index in dwords.

    Where no packet of the target begins, the last line says so. Raises `DecodeError` for a file that
    holds no dwords, `UnknownFamilyError`, `OSError`.
    """
    row = family(target)
    registers = compute_registers(row.registers) if engine == "pm4" else None
    yield from listing(_codec(row, engine), read_dwords(path), registers=registers)


def _codec(row: Family, engine: str) -> Codec:
    if engine == "sdma":
        return sdma_packets(row.sdma)
    return pm4_packets(row.pm4) if engine == "pm4" else aql_packets()


def read_dwords(path: Path) -> list[int]:
    """Read little-endian dwords, or text of hexadecimal dwords parted by space or commas.

    In text, what stands before a colon at the beginning of a line is an address, and not read.
    """
    content = path.read_bytes()
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text and text.strip():
        words = _ADDRESS.sub("", text).replace(",", " ").split()
        for word in words:
            if not _DWORD.fullmatch(word):
                raise DecodeError(f"{path}: {word!r} is not a hexadecimal number of 32 bits")
        return [int(word, 16) for word in words]
    if not content:
        raise DecodeError(f"{path}: the file is empty; it must hold at least one dword")
    if len(content) % 4:
        raise DecodeError(f"{path}: {len(content)} bytes are not whole dwords")
    return list(struct.unpack(f"<{len(content) // 4}I", content))
