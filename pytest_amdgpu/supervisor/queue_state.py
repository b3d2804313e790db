"""What stands in the queues of a process that does not run, read from its memory and decoded.

`/proc/PID/mem` reaches memory that belongs to a render node, too: the mappings of amdgpu have an `access`
function (`amdgpu_gem_vm_ops` in amdgpu_gem.c, `ttm_bo_vm_access` in ttm_bo_vm.c).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from pytest_amdgpu.families.registry import UnknownFamilyError, family
from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.listing import listing
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.registers import Registers, compute_registers
from pytest_amdgpu.packets.sdma import sdma_packets
from pytest_amdgpu.supervisor.protocol import QueuePlace

_PENDING = 8
"""Packets that are shown from the read pointer on."""
_READ = 3
"""Packets that are shown from before it."""
_LONGEST = 1 << 16
"""Bytes of a ring that are read."""


def describe(pid: int, queues: Sequence[QueuePlace]) -> Iterator[str]:
    """Yield lines for each queue: pointers, packets that wait, and those before them where they are known."""
    if not queues:
        return
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        yield f"the memory of process {pid}, with its queues, cannot be read: {error.strerror}"
        return
    try:
        for queue in queues:
            try:
                yield from _describe(memory, queue)
            except OSError as error:
                yield f"{queue.name} on {queue.device}: cannot be read: {error.strerror}"
    finally:
        os.close(memory)


def _describe(memory: int, queue: QueuePlace) -> Iterator[str]:
    read, write = (
        int.from_bytes(os.pread(memory, 8, address), "little")
        for address in (queue.read_pointer, queue.write_pointer)
    )
    head = f"{queue.name} on {queue.device}: write pointer {write:#x}, read pointer {read:#x}"
    # Only the difference modulo the ring counts (driver/ring.py).
    start = read * queue.unit % queue.size
    used = (write - read) * queue.unit % queue.size
    yield f"{head}, {'all read' if not used else 'at the read pointer:'}"
    try:
        codec, registers = _codec(queue)
    except UnknownFamilyError as error:
        yield f"    {error}"
        return
    words = _words(memory, queue, start, min(used, queue.size - start, _LONGEST))
    for number, line in enumerate(listing(codec, words, start // 4, registers)):
        if number == _PENDING:
            yield "    ..."
            break
        yield f"    {line}"
    if 0 < write * queue.unit <= queue.size and start <= _LONGEST:
        # The ring has not been filled once, so that packets can be counted from its beginning.
        before = list(listing(codec, _words(memory, queue, 0, start or used), 0, registers)) if start else []
        if before:
            yield "    read before:"
            yield from (f"    {line}" for line in before[-_READ:])


def _words(memory: int, queue: QueuePlace, start: int, size: int) -> Sequence[int]:
    data = os.pread(memory, size, queue.ring + start) if size else b""
    return memoryview(data[: len(data) // 4 * 4]).cast("I")


def _codec(queue: QueuePlace) -> tuple[Codec, Registers | None]:
    row = family(queue.target)
    if queue.kind == "sdma":
        return sdma_packets(row.sdma), None
    if queue.kind == "pm4":
        return pm4_packets(row.pm4), compute_registers(row.registers)
    return aql_packets(), None
