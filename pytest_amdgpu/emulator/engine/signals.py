"""HSA signals as the command processor uses them: waiting for their value and completing them.

Layout of amd_signal_t from ROCr's amd_hsa_signal.h, 64 bytes: kind s64 at 0, value s64 at 8, address of the
event mailbox u64 at 16, event id u32 at 24, start and end time stamp u64 at 32 and 40.
"""

from __future__ import annotations

from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.queue import QueueThread

_VALUE = 8
_MAILBOX = 16
_EVENT_ID = 24
_START = 32
_END = 40
_ALIGNMENT = 64
_WRAP = 1 << 64


def check_signal(handle: int) -> None:
    """Refuse a handle that cannot be the address of a signal."""
    if handle % _ALIGNMENT:
        raise BadPacketError(f"signal {handle:#x} is not a multiple of {_ALIGNMENT}")


def signal_value(queue: QueueThread, handle: int) -> int:
    """Load the value of a signal."""
    return queue.memory.read_u64(handle + _VALUE)


def complete_signal(queue: QueueThread, handle: int, times: tuple[int, int] | None = None) -> None:
    """Decrement a signal; then, if it names an event, write the event's mailbox and interrupt.

    `times` are stored before the decrement, for whoever waits for it to read.
    """
    memory = queue.memory
    if times is not None:
        memory.write_u64(handle + _START, times[0])
        memory.write_u64(handle + _END, times[1])
    with memory.atomic_lock:
        memory.write_u64(handle + _VALUE, (memory.read_u64(handle + _VALUE) - 1) % _WRAP)
    memory.notify()
    mailbox = memory.read_u64(handle + _MAILBOX)
    if mailbox:
        event_id = memory.read_u32(handle + _EVENT_ID)
        memory.write_u64(mailbox, event_id)
        queue.context.host.interrupt(event_id, "eop")
