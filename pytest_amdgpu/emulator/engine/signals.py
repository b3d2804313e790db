"""HSA signals as the command processor uses them: waiting for their value and completing them."""

from __future__ import annotations

from pytest_amdgpu.emulator.engine.errors import BadPacketError
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.engine.shader_memory import CommandMemory
from pytest_amdgpu.packets.aql import SIGNAL_BYTES, SignalOffset

_WRAP = 1 << 64


def check_signal(handle: int) -> None:
    """Refuse a handle that cannot be the address of a signal."""
    if handle % SIGNAL_BYTES:
        raise BadPacketError(f"signal {handle:#x} is not a multiple of {SIGNAL_BYTES}")


def signal_value(memory: CommandMemory, handle: int) -> int:
    """Load the value of a signal."""
    return memory.read_u64(handle + SignalOffset.VALUE)


def complete_signal(
    queue: QueueThread, memory: CommandMemory, handle: int, times: tuple[int, int] | None = None
) -> None:
    """Decrement a signal; then, if it names an event, write the event's mailbox and interrupt.

    `times` are stored before the decrement, for whoever waits for it to read.
    """
    if times is not None:
        memory.write_u64(handle + SignalOffset.START_TIMESTAMP, times[0])
        memory.write_u64(handle + SignalOffset.END_TIMESTAMP, times[1])
    with memory.atomic_lock:
        memory.write_u64(
            handle + SignalOffset.VALUE, (memory.read_u64(handle + SignalOffset.VALUE) - 1) % _WRAP
        )
    queue.memory.notify()
    mailbox = memory.read_u64(handle + SignalOffset.EVENT_MAILBOX)
    if mailbox % 8:
        raise BadPacketError(f"signal {handle:#x}: its event mailbox {mailbox:#x} is not a multiple of 8")
    if mailbox:
        event_id = memory.read_u32(handle + SignalOffset.EVENT_ID)
        memory.write_u64(mailbox, event_id)
        queue.context.host.interrupt(event_id, "eop")
