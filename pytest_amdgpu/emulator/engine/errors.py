"""What makes an engine stop, besides the faults of `emulator.memory` and `emulator.isa`."""

from __future__ import annotations

from pytest_amdgpu.abi.kfd_debug import ExceptionCode


class BadPacketError(Exception):
    """The engine cannot execute what it read: an unknown packet, a field or a register it must refuse.

    `code` is what hardware reports to amdkfd (`enum kfd_dbg_trap_exception_code`, 16 to 23).
    """

    def __init__(self, text: str, code: ExceptionCode = ExceptionCode.QUEUE_PACKET_UNSUPPORTED) -> None:
        super().__init__(text)
        self.code = code


class QueueStoppedError(Exception):
    """Unwinds the thread of a queue that is being destroyed; never leaves the thread."""


class EngineStuckError(RuntimeError):
    """A queue's thread did not reach a point where it can be preempted in time (a bug of the emulator)."""
