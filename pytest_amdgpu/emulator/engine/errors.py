"""What makes an engine stop, besides the faults of `emulator.memory` and `emulator.isa`."""

from __future__ import annotations


class BadPacketError(Exception):
    """The engine cannot execute what it read: an unknown packet, a field or a register it must refuse."""


class QueueStoppedError(Exception):
    """Unwinds the thread of a queue that is being destroyed; never leaves the thread."""


class EngineStuckError(RuntimeError):
    """A queue's thread did not reach a point where it can be preempted in time (a bug of the emulator)."""
