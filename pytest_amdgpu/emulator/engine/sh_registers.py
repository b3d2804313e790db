"""The COMPUTE_* registers that PM4 packets program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.placement import Limits
from pytest_amdgpu.packets.registers import Registers

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.compute_units import EngineMasks

_REGISTER_INVALID = ExceptionCode.QUEUE_PACKET_DISPATCH_REGISTER_INVALID
_PER_XCC = ("COMPUTE_DISPATCH_SCRATCH_BASE_LO", "COMPUTE_DISPATCH_SCRATCH_BASE_HI")
"""What drivers program differently for each XCC: its share of the scratch memory, in order of the XCCs."""

_ENGINE_MASK = "COMPUTE_STATIC_THREAD_MGMT_SE"
_MOST_ENGINES = 9
_ALL_UNITS = 0xFFFFFFFF
"""The MQD's value of an engine's mask (init_mqd in amdkfd's kfd_mqd_manager_v9.c and its siblings)."""


class ShRegisters:
    """Register values of one queue; all but the scratch base are the same on every XCC."""

    def __init__(self, registers: Registers) -> None:
        self.layout = registers
        self._values: dict[str, int] = {}

    def write(self, offset: int, value: int, *, all_xccs: bool, first_xcc: bool) -> None:
        """Take a SET_SH_REG; BadPacketError for an index without register and for reserved bits."""
        name = self.layout.name(offset)
        if name is None:
            raise BadPacketError(
                f"{self.layout.column} has no COMPUTE register at SH index {offset:#x}", _REGISTER_INVALID
            )
        stray = self.layout.reserved(name, value)
        if stray:
            raise BadPacketError(
                f"{self.layout.describe(offset, value)}: bits {stray:#x} are reserved", _REGISTER_INVALID
            )
        if not all_xccs and name not in _PER_XCC:
            raise BadPacketError(f"a {name} that differs between XCCs is not emulated")
        if first_xcc:
            self._values[name] = value

    def value(self, name: str) -> int:
        """Return a register that must have been programmed; BadPacketError if it never was."""
        try:
            return self._values[name]
        except KeyError:
            raise BadPacketError(
                f"dispatch without {name}: nothing has programmed it on this queue"
            ) from None

    def value_or_zero(self, name: str) -> int:
        """Return a register that is 0 on a new queue (the MQD's value)."""
        return self._values.get(name, 0)

    def limits(self) -> Limits:
        """Return the limits of waves, none on a new queue."""
        fields = self.layout.decode("COMPUTE_RESOURCE_LIMITS", self.value_or_zero("COMPUTE_RESOURCE_LIMITS"))
        return Limits(fields["waves_per_sh"], fields["tg_per_cu"])

    def engine_masks(self, num_xcc: int) -> EngineMasks | None:
        """Return the masks of compute units, None if no packet has programmed any of them."""
        names = [f"{_ENGINE_MASK}{engine}" for engine in range(_MOST_ENGINES)]
        if not any(name in self._values for name in names):
            return None
        return (tuple(self._values.get(name, _ALL_UNITS) for name in names),) * num_xcc

    def fields(self, name: str) -> dict[str, int]:
        """Return a register that must have been programmed, taken apart."""
        return self.layout.decode(name, self.value(name))
