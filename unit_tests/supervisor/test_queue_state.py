"""Queues of a process as they are read from its memory: here this process's own, with rings made by hand."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest

from pytest_amdgpu.supervisor.protocol import QueuePlace
from pytest_amdgpu.supervisor.queue_state import describe

RING = 256
NOP = 0x0
"""An SDMA NOP is its header: operation 0 in bits 7:0, count of dwords that follow in bits 29:16."""
FENCE = (0x5, 0x1000, 0x7F, 42)
"""SDMA_OP_FENCE = 5: address, then the value (sdma packets of vega10_sdma_pkt_open.h)."""


KEPT: list[Memory] = []
"""Memory that a place refers to by its address."""


class Memory:
    """A ring with its pointers. The pointers count bytes, as SDMA's do, unless told otherwise."""

    def __init__(self, *words: int, read: int = 0, write: int | None = None) -> None:
        self.ring = (ctypes.c_uint32 * (RING // 4))(*words)
        self.pointers = (ctypes.c_uint64 * 2)(read, 4 * len(words) if write is None else write)

    def place(self, kind: str = "sdma", target: str = "gfx942", unit: int = 1) -> QueuePlace:
        KEPT.append(self)
        ring, pointers = ctypes.addressof(self.ring), ctypes.addressof(self.pointers)
        return QueuePlace(f"{kind} queue 3", "sw-0", kind, target, ring, RING, pointers, pointers + 8, unit)


def lines(*places: QueuePlace) -> list[str]:
    return list(describe(os.getpid(), places))


def test_packets_that_wait_and_those_before_them() -> None:
    memory = Memory(NOP, *FENCE, NOP, NOP, *FENCE, NOP, read=28)
    head, *packets = lines(memory.place())
    assert head == "sdma queue 3 on sw-0: write pointer 0x30, read pointer 0x1c, at the read pointer:"
    assert [line.split()[:2] for line in packets] == [
        ["7:", "FENCE"],
        ["11:", "NOP"],
        ["read", "before:"],
        ["1:", "FENCE"],
        ["5:", "NOP"],
        ["6:", "NOP"],
    ]
    assert packets[0].endswith("FENCE addr=0x7f00001000 data=0x2a")


def test_a_queue_that_has_read_all() -> None:
    head, *rest = lines(Memory(NOP, *FENCE, read=20).place())
    assert head.endswith("read pointer 0x14, all read")
    assert [line.split()[1] for line in rest] == ["before:", "NOP", "FENCE"]


def test_an_unused_queue() -> None:
    assert lines(Memory().place()) == ["sdma queue 3 on sw-0: write pointer 0x0, read pointer 0x0, all read"]


def test_a_ring_that_was_filled_before() -> None:
    """What was overwritten is not decoded, and what wraps ends at the end of the ring."""
    memory = Memory(*FENCE, read=10 * RING + RING - 8, write=11 * RING + 16)
    memory.ring[RING // 4 - 2 :] = [NOP, NOP]
    head, *packets = lines(memory.place())
    assert head.endswith("at the read pointer:")
    assert [line.split()[:2] for line in packets] == [["62:", "NOP"], ["63:", "NOP"]]


def test_many_packets_are_not_all_shown() -> None:
    _, *packets = lines(Memory(*[NOP] * 20).place())
    assert len(packets) == 9
    assert packets[-1].strip() == "..."


def test_what_is_no_packet_is_shown() -> None:
    _, packet = lines(Memory(0xFF, 0x12345678).place())
    assert "000000ff 12345678" in packet


def test_pointers_in_other_units() -> None:
    # PM4 counts dwords: a NOP of type 3 (operation 0x10) with one dword, as in pm4_packets of the kernel.
    memory = Memory(0xC0001000, 7, 0xC0001000, 7, read=2, write=4)
    head, packet, *_ = lines(memory.place("pm4", "gfx1100", 4))
    assert head.startswith("pm4 queue 3 on sw-0: write pointer 0x4, read pointer 0x2, at")
    assert packet.split()[:2] == ["2:", "NOP"]
    # AQL counts packets of 64 bytes; this one is a barrier of type 3 (hsa.h, HSA_PACKET_TYPE_BARRIER_AND).
    aql = Memory(write=1)
    struct.pack_into("<H", aql.ring, 0, 3)
    head, packet = lines(aql.place("aql", "gfx942", 64))
    assert "BARRIER_AND" in packet


def test_a_target_that_nobody_knows_and_memory_that_is_not_there() -> None:
    bad = Memory(NOP).place(target="gfx1")
    gone = Memory(NOP).place()._replace(ring=8)
    texts = lines(bad, gone)
    assert texts[0].endswith("at the read pointer:")
    assert "gfx1" in texts[1]
    assert texts[-1].startswith("sdma queue 3 on sw-0: cannot be read: ")


def test_a_process_whose_memory_cannot_be_read() -> None:
    (line,) = describe(0, [Memory().place()])
    assert line.startswith("the memory of process 0, with its queues, cannot be read: ")
    assert list(describe(0, [])) == []


@pytest.mark.parametrize("kind", ["sdma", "pm4", "aql"])
def test_the_driver_says_where_its_queues_are(kind: str) -> None:
    """As the plugin passes it on: what the driver put into a ring is found there from outside."""
    from pytest_amdgpu.devices.machine import find_machine
    from pytest_amdgpu.driver.device import Device

    target = "gfx942" if kind == "aql" else "gfx1100"
    connection = find_machine("software", target).connect()
    kernel = connection.source.kernel()
    (node,) = connection.source.discover(kernel, nearest_target=False)
    made, closed = [], []

    class Watcher:
        def queue_made(self, queue: object) -> None:
            made.append(queue)

        def queue_closed(self, queue: object) -> None:
            closed.append(queue)

    with Device.open(kernel, node) as device:
        device.queue_watcher = Watcher()
        queue = device.sdma_queue() if kind == "sdma" else device.compute_queue()
        semaphore = device.timeline_semaphore()
        queue.wait(semaphore, 5).submit()
        place = QueuePlace(queue.name, "sw", queue.kind.value, target, *queue.place, queue.UNIT)
        head, *packets = lines(place)
        assert place.kind == kind
        assert f"write pointer {queue.ring.write_pointer:#x}" in head
        assert packets
        semaphore.signal(5)
        queue.wait_idle(60)
        queue.close()
        assert made == closed == [queue]
    connection.renew()
