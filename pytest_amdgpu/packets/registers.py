"""COMPUTE_* registers of a dispatch: `compute_registers("gfx11").encode("COMPUTE_PGM_RSRC1", vgprs=3)`."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pytest_amdgpu.packets.register_tables import COLUMNS, FIELDS, OFFSETS, USER_DATA_COUNT

SH_BASE = 0x2C00
"""Absolute dword address of SH-relative index 0 (PACKET3_SET_SH_REG_START in soc15d.h and nvd.h)."""


@dataclass(frozen=True, slots=True)
class BitField:
    """Bits `[low + width - 1 : low]` of a register."""

    name: str
    low: int
    width: int


class Registers:
    """COMPUTE_* registers of one generation, by full name such as `COMPUTE_PGM_LO`."""

    def __init__(self, column: str, offsets: dict[str, int], fields: dict[str, dict[str, BitField]]) -> None:
        self.column = column
        self.offsets = offsets
        self._fields = fields
        self._names = {offset: name for name, offset in reversed(offsets.items())}

    def __contains__(self, register: str) -> bool:
        return register in self.offsets

    def __getitem__(self, register: str) -> int:
        """SH-relative dword index, as SET_SH_REG wants it; `ValueError` where the generation lacks it."""
        try:
            return self.offsets[register]
        except KeyError:
            raise ValueError(f"{self.column} has no register {register}") from None

    def name(self, offset: int) -> str | None:
        """Name of the register at an SH-relative index, None for an index without a COMPUTE_* register."""
        return self._names.get(offset)

    def fields(self, register: str) -> dict[str, BitField]:
        """Bit fields of a register, empty for one that holds a plain value."""
        self[register]
        return self._fields.get(register, {})

    def encode(self, register: str, **values: int) -> int:
        """Build a register value from fields; those not named are 0.

        Raises `ValueError` that names register, field, value and width.
        """
        fields = self.fields(register)
        result = 0
        for name, value in values.items():
            field = fields.get(name)
            if field is None:
                raise ValueError(f"{self.column} {register} has no field {name}; it has {', '.join(fields)}")
            if value < 0 or value >> field.width:
                raise ValueError(
                    f"{self.column} {register}: {name} = {value:#x} does not fit {field.width} bits"
                )
            result |= value << field.low
        return result

    def decode(self, register: str, value: int) -> dict[str, int]:
        """Take a register value apart; a register that holds a plain value gives `{"value": ...}`."""
        fields = self.fields(register)
        if not fields:
            return {"value": value}
        return {name: value >> field.low & ((1 << field.width) - 1) for name, field in fields.items()}

    def reserved(self, register: str, value: int) -> int:
        """Bits of a value that no field of the register owns."""
        fields = self.fields(register)
        if not fields:
            return 0
        defined = 0
        for field in fields.values():
            defined |= ((1 << field.width) - 1) << field.low
        return value & ~defined

    def describe(self, offset: int, value: int) -> str:
        """Text of a register write for diagnostics; fields that are 0 are left out."""
        register = self.name(offset)
        if register is None:
            return f"SH register {offset:#x} = {value:#x}"
        if not self.fields(register):
            return f"{register} = {value:#x}"
        parts = [f"{name}={field:#x}" for name, field in self.decode(register, value).items() if field]
        stray = self.reserved(register, value)
        if stray:
            parts.append(f"reserved bits {stray:#x}")
        return f"{register} = {value:#x} ({', '.join(parts) or 'all 0'})"


def _parse_fields(text: str) -> dict[str, BitField]:
    result = {}
    for part in text.split(","):
        name, bits = part.split()
        high, _, low = bits.partition(":")
        result[name] = BitField(name, int(low or high), int(high) - int(low or high) + 1)
    return result


@functools.cache
def compute_registers(column: str) -> Registers:
    """Return the registers of a generation (`Family.registers`); `ValueError` names the known ones."""
    if column not in COLUMNS:
        raise ValueError(f"unknown register generation {column!r}; known: {', '.join(COLUMNS)}")
    offsets = {}
    for line in OFFSETS.split("\n"):
        if line:
            name, *indices = line.split()
            text = indices[COLUMNS.index(column)]
            if text != "-":
                offsets[f"COMPUTE_{name}"] = int(text, 16)
    first = offsets["COMPUTE_USER_DATA_0"]
    offsets |= {f"COMPUTE_USER_DATA_{index}": first + index for index in range(USER_DATA_COUNT)}
    fields: dict[str, dict[str, BitField]] = {}
    for register, columns, text in FIELDS:
        if column in columns.split():
            fields.setdefault(f"COMPUTE_{register}", {}).update(_parse_fields(text))
    return Registers(column, offsets, fields)
