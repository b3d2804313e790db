"""What a command processor and its queues can do wrong: rings, waits, signals, order, caches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from injection import defect, shorten_waits

from pytest_amdgpu.emulator.engine import aql, stream
from pytest_amdgpu.emulator.engine.caches import Maintenance
from pytest_amdgpu.emulator.engine.command_processor import CommandProcessor
from pytest_amdgpu.emulator.engine.pm4 import Pm4Queue
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.engine.sdma import SdmaQueue
from pytest_amdgpu.emulator.engine.shader_memory import ShaderMemory
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.stream import DwordQueue
from pytest_amdgpu.emulator.memory import AddressSpace
from pytest_amdgpu.packets.aql import PACKET_WORDS, aql_packets
from pytest_amdgpu.packets.layout import Packet


@defect
def a_ring_keeps_what_it_held_first(patch: pytest.MonkeyPatch) -> None:
    """After the ring wrapped, the engine reads what was there the first time."""
    shorten_waits(patch)
    fetch = DwordQueue._fetch
    first_lap: dict[tuple[int, int], int] = {}

    def stale(self: DwordQueue, limit: int, wanted: int) -> list[int]:
        words = fetch(self, limit, wanted)
        size = self.context.ring_size // 4
        for index in range(len(words)):
            place = id(self), (self.position + index) % size
            words[index] = first_lap.setdefault(place, words[index])
        return words

    patch.setattr(DwordQueue, "_fetch", stale)


@defect
def an_aql_slot_keeps_its_first_packet(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    read = stream.read_dwords
    first: dict[int, list[int]] = {}

    def stale(memory: AddressSpace, address: int, count: int) -> list[int]:
        words = read(memory, address, count)
        return first.setdefault(address, words) if count == PACKET_WORDS else words

    patch.setattr(aql, "read_dwords", stale)


def _run_ahead(patch: pytest.MonkeyPatch, kind: type[QueueThread]) -> None:
    """Report a ring as empty as soon as its doorbell rings."""
    shorten_waits(patch)
    ring = QueueThread.ring_doorbell

    def empty(self: QueueThread, value: int) -> None:
        context, limit = self.context, self.limit_of(value)
        if kind is Pm4Queue and isinstance(self, kind):
            self.memory.write_u32(context.rptr_address, limit % (context.ring_size // self.unit))
        elif isinstance(self, kind):
            self.memory.write_u64(context.rptr_address, limit)
        ring(self, value)

    patch.setattr(QueueThread, "ring_doorbell", empty)


@defect
def the_read_pointer_of_sdma_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    _run_ahead(patch, SdmaQueue)


@defect
def the_read_pointer_of_pm4_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    _run_ahead(patch, Pm4Queue)


@defect
def the_read_index_of_aql_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    _run_ahead(patch, aql.AqlQueue)


@defect
def every_third_doorbell_is_lost(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    ring = QueueThread.ring_doorbell
    count = 0

    def lossy(self: QueueThread, value: int) -> None:
        nonlocal count
        count += 1
        if count % 3:
            ring(self, value)

    patch.setattr(QueueThread, "ring_doorbell", lossy)


@defect
def only_one_queue_runs_at_a_time(patch: pytest.MonkeyPatch) -> None:
    """A queue that waits holds up all others."""
    shorten_waits(patch)
    turn = threading.Lock()
    run = DwordQueue.run

    def alone(self: DwordQueue, limit: int) -> None:
        while not turn.acquire(timeout=0.01):
            self.checkpoint()
        try:
            run(self, limit)
        finally:
            turn.release()

    patch.setattr(DwordQueue, "run", alone)


@defect
def a_wait_compares_for_equality(patch: pytest.MonkeyPatch) -> None:
    """Greater or equal is taken for equal, by all engines."""
    shorten_waits(patch)
    from pytest_amdgpu.emulator.engine import command_processor, compare, sdma

    def comparison(function: int) -> Any:
        return compare.comparison(3 if function == 5 else function)

    for module in (command_processor, sdma):
        patch.setattr(module, "comparison", comparison)


@defect
def a_command_processor_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    patch.setattr(CommandProcessor, "_wait_reg_mem", lambda self, packet: None)


@defect
def a_command_processor_waits_for_low_halves_only(patch: pytest.MonkeyPatch) -> None:
    wait = CommandProcessor._wait_reg_mem

    def low_only(self: CommandProcessor, packet: Packet) -> None:
        if packet.name.endswith("64"):
            for name in ("mask", "value"):
                packet.fields[name] &= 0xFFFFFFFF
        elif packet["addr"] & 4:
            return
        wait(self, packet)

    patch.setattr(CommandProcessor, "_wait_reg_mem", low_only)


@defect
def a_release_writes_one_too_many(patch: pytest.MonkeyPatch) -> None:
    release = CommandProcessor._release_mem

    def changed(self: CommandProcessor, packet: Packet) -> None:
        if packet["data_sel"] == 2:
            packet.fields["data"] += 1
        release(self, packet)

    patch.setattr(CommandProcessor, "_release_mem", changed)


@defect
def a_release_writes_32_bits_only(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    store = CommandProcessor._store

    def narrow(self: CommandProcessor, address: int, size: int, value: int) -> None:
        store(self, address, 4, value)

    patch.setattr(CommandProcessor, "_store", narrow)


@defect
def an_end_of_pipe_interrupt_is_lost(patch: pytest.MonkeyPatch) -> None:
    release = CommandProcessor._release_mem

    def silent(self: CommandProcessor, packet: Packet) -> None:
        packet.fields["int_sel"] = 0
        release(self, packet)

    patch.setattr(CommandProcessor, "_release_mem", silent)


@defect
def an_indirect_buffer_of_pm4_runs_once(patch: pytest.MonkeyPatch) -> None:
    indirect = CommandProcessor._indirect_buffer
    seen: set[int] = set()

    def once(self: CommandProcessor, packet: Packet) -> None:
        if packet["base"] not in seen:
            seen.add(packet["base"])
            indirect(self, packet)

    patch.setattr(CommandProcessor, "_indirect_buffer", once)


def _run_newest_first(patch: pytest.MonkeyPatch) -> None:
    """Of dispatches that nothing orders the newest runs first, so that a missing order shows."""
    launch = Shaders.launch

    def newest_first(self: Shaders, *arguments: Any) -> None:
        launch(self, *arguments)
        self._flights.insert(0, self._flights.pop())

    patch.setattr(Shaders, "launch", newest_first)


@defect
def a_partial_flush_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    _run_newest_first(patch)
    patch.setattr(CommandProcessor, "_event_write", lambda self, packet: None)


@defect
def the_barrier_bit_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """Of AQL kernel dispatches."""
    _run_newest_first(patch)

    class Decoder:
        def decode(self, words: list[int]) -> Packet:
            packet = aql_packets().decode(words)
            if packet.name == "KERNEL_DISPATCH":
                packet.fields["barrier"] = 0
            return packet

    patch.setattr(aql, "aql_packets", Decoder)


@defect
def an_aql_dispatch_runs_once_only(patch: pytest.MonkeyPatch) -> None:
    """A dispatch with arguments that were seen before is completed at once."""
    dispatch = aql.AqlQueue._kernel_dispatch
    seen: set[int] = set()

    def once(self: aql.AqlQueue, index: int, packet: Packet) -> None:
        if packet["kernarg_address"] in seen:
            self._complete(index, packet, 0)
        else:
            seen.add(packet["kernarg_address"])
            dispatch(self, index, packet)

    patch.setattr(aql.AqlQueue, "_kernel_dispatch", once)


def _maintain(patch: pytest.MonkeyPatch, change: Callable[[Maintenance], Maintenance]) -> None:
    maintain = ShaderMemory.maintain
    patch.setattr(ShaderMemory, "maintain", lambda self, maintenance: maintain(self, change(maintenance)))


@defect
def caches_are_not_written_back(patch: pytest.MonkeyPatch) -> None:
    _maintain(patch, lambda maintenance: maintenance._replace(write_back=False))


@defect
def caches_are_not_invalidated(patch: pytest.MonkeyPatch) -> None:
    _maintain(patch, lambda maintenance: maintenance._replace(invalidate=False))
