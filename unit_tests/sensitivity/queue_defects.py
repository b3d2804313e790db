"""What a command processor and its queues can do wrong: rings, waits, signals, order, caches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from injection import defect, shorten_waits

from pytest_amdgpu.emulator.engine import aql
from pytest_amdgpu.emulator.engine.caches import Maintenance
from pytest_amdgpu.emulator.engine.command_processor import CommandProcessor
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.engine.shader_memory import ShaderMemory
from pytest_amdgpu.emulator.engine.shaders import Shaders
from pytest_amdgpu.emulator.engine.stream import DwordQueue
from pytest_amdgpu.emulator.memory import AddressSpace
from pytest_amdgpu.packets.aql import PACKET_WORDS
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
    read = aql.read_dwords
    first: dict[int, list[int]] = {}

    def stale(memory: AddressSpace, address: int, count: int) -> list[int]:
        words = read(memory, address, count)
        return first.setdefault(address, words) if count == PACKET_WORDS else words

    patch.setattr(aql, "read_dwords", stale)


@defect
def the_read_pointer_runs_ahead(patch: pytest.MonkeyPatch) -> None:
    """An SDMA ring is reported empty as soon as its doorbell rings."""
    shorten_waits(patch)
    ring = QueueThread.ring_doorbell

    def empty(self: QueueThread, value: int) -> None:
        self.memory.write_u64(self.context.rptr_address, value)
        ring(self, value)

    patch.setattr(QueueThread, "ring_doorbell", empty)


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


@defect
def dispatches_are_not_ordered(patch: pytest.MonkeyPatch) -> None:
    """CS_PARTIAL_FLUSH and the barrier bit are ignored, and the newest dispatch runs first."""
    drain, launch = Shaders.drain, Shaders.launch

    def newest_first(self: Shaders, *arguments: Any) -> None:
        launch(self, *arguments)
        self._flights.insert(0, self._flights.pop())

    def drain_unless(waiting_for: str) -> Callable[[Shaders], None]:
        def maybe(self: Shaders) -> None:
            current = getattr(getattr(self._queue, "interpreter", None), "current", None)
            if current is not None and current.name != waiting_for:
                drain(self)

        return maybe

    patch.setattr(Shaders, "launch", newest_first)
    patch.setattr(Shaders, "drain", drain_unless("EVENT_WRITE"))


def _maintain(patch: pytest.MonkeyPatch, change: Callable[[Maintenance], Maintenance]) -> None:
    maintain = ShaderMemory.maintain
    patch.setattr(ShaderMemory, "maintain", lambda self, maintenance: maintain(self, change(maintenance)))


@defect
def caches_are_not_written_back(patch: pytest.MonkeyPatch) -> None:
    _maintain(patch, lambda maintenance: maintenance._replace(write_back=False))


@defect
def caches_are_not_invalidated(patch: pytest.MonkeyPatch) -> None:
    _maintain(patch, lambda maintenance: maintenance._replace(invalidate=False))
